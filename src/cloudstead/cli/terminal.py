"""What the commands print with: colours on a terminal, plain text elsewhere, JSON where a script reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Failure(Exception):
    """A command cannot do its work; the message says why and what to do about it."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def coloured(stream: TextIO) -> bool:
    """Whether to colour: only on a terminal, and not where NO_COLOR (https://no-color.org) or a dumb terminal says no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if coloured(stream or sys.stdout) else text


def say(text: str = "") -> None:
    """A line for the person, on standard error: standard output is for what was asked for."""
    print(text, file=sys.stderr, flush=True)


def out(text: str = "") -> None:
    print(text, flush=True)


def out_json(value: Any) -> None:
    out(json.dumps(value, indent=2, sort_keys=False))


def table(rows: Iterable[Sequence[str]], *, indent: str = "") -> list[str]:
    """Rows as lines with aligned columns; the last column is left as long as it is."""
    kept = [list(row) for row in rows]
    widths = [max((len(row[column]) for row in kept), default=0) for column in range(max((len(row) for row in kept), default=0))]
    return [
        indent + "  ".join(cell.ljust(widths[at]) if at < len(row) - 1 else cell for at, cell in enumerate(row)).rstrip() for row in kept
    ]


def ago(seconds: float) -> str:
    """A duration as a person says it."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{int(seconds)} second{'s' if int(seconds) != 1 else ''}"
