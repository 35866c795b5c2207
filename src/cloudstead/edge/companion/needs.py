"""What the caller of a request must be allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Need(NamedTuple):
    """One question to the policies."""

    action: str  # "ssm:GetParameter"
    resource: str = ""  # an ARN or "*"; empty when only the companion knows it
    conditions: Mapping[str, str] = {}
