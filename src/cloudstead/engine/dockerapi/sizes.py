"""Sizes as people write them, and as Docker shows them."""

from __future__ import annotations

import re

from cloudstead.engine.errors import InvalidArgument

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def size_of(text: str) -> int:
    """ "64m" is 67108864. Raises InvalidArgument."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidArgument(f"invalid size: '{text[:100]}'")
    return int(float(found[1]) * (1 << _POWERS[found[2].lower()]))
