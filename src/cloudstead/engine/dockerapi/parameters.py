"""The query string, read as Docker's daemon reads it."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import parse_qsl

from cloudstead.engine.errors import InvalidArgument

FALSE = frozenset({"", "0", "no", "n", "false", "f", "none"})
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,30})?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Parameters:
    """What stands behind the question mark; a name may come several times."""

    def __init__(self, query: str) -> None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise InvalidArgument(f"the query string cannot be read: {error}") from None
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The first value of a name."""
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker takes everything for true that does not say false."""
        values = self._values.get(name)
        return values[0].strip().lower() not in FALSE if values else default

    def number(self, name: str, default: int = 0) -> int:
        text = self.text(name).strip()
        return whole(name, text) if text else default

    def moment(self, name: str, now: float) -> float:
        """A time: seconds since the epoch with or without a fraction, an RFC 3339 date, or a duration before now. 0 when there is none."""
        text = self.text(name).strip()
        return moment(name, text, now) if text and text != "0" else 0.0


def whole(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise InvalidArgument(f'invalid value for {name}: "{text[:100]}" is not a number')
    return int(text)


def moment(name: str, text: str, now: float) -> float:
    """Raises InvalidArgument."""
    if re.fullmatch(r"-?\d{1,15}(\.\d{1,30})?", text, re.ASCII):
        return float(text)
    if (before := duration(text)) is not None:
        return now - before
    try:
        if not DATE.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise InvalidArgument(f'invalid value for {name}: "{text[:100]}" is not a time') from None


def duration(text: str) -> float | None:
    """Go's form of a duration, "1h30m", in seconds; None when it is none."""
    if not text or not re.fullmatch(rf"({DURATION.pattern})+", text) or len(text) > 100:
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in DURATION.findall(text))
