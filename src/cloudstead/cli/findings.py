"""What `cloudstead doctor` tells: one thing looked at, and the sentence that mends it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "warning", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: State
    detail: str
    fix: str = ""  # what to do, a whole sentence; empty when all is well
    needed: bool = False  # `cloudstead up` cannot run without it


def which(program: str) -> str | None:
    """Also where root's programs lie: a user's PATH leaves those out."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def tool(name: str, programs: tuple[str, ...], package: str, purpose: str) -> Finding:
    """Whether one of these programs is installed."""
    for program in programs:
        path = which(program)
        if path is not None:
            return Finding(name, "ok", path)
    return Finding(name, "missing", "not installed", f"{purpose}: `apt-get install {package}`.")
