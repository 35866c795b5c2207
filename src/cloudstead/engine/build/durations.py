"""Durations as Go writes them ("1m30s", "1.5h"), in nanoseconds."""

from __future__ import annotations

import re
from decimal import Decimal

from cloudstead.engine.errors import InvalidArgument

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_PART = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h)")
_LARGEST = (1 << 63) - 1


def parse(text: str) -> int:
    """Nanoseconds.

    Raises:
        InvalidArgument: no duration, with Go's sentence; or too long for it.
    """
    if text in ("", "0"):
        return 0
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[0] in "+-" else text
    total, at = Decimal(0), 0
    while match := _PART.match(rest, at):
        total += Decimal(match[1]) * _UNITS[match[2]]
        at = match.end()
    if at != len(rest) or not at or total > _LARGEST:
        missing = "missing unit in duration" if re.fullmatch(r"[\d.]+", rest) else "invalid duration"
        raise InvalidArgument(f'time: {missing} "{text}"')
    return sign * int(total)
