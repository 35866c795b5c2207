"""`python -m cloudstead` is the command line."""

from __future__ import annotations

import sys

from cloudstead.cli.main import main

sys.exit(main())
