"""`cloudstead version`."""

from __future__ import annotations

import argparse
import platform

from cloudstead import __version__
from cloudstead.cli.terminal import out, out_json


def version(arguments: argparse.Namespace) -> None:
    if arguments.json:
        out_json({"version": __version__, "python": platform.python_version()})
    else:
        out(f"cloudstead {__version__}")
