"""Timestamps as text: the formats of the models, to and from seconds since 1970-01-01T00:00:00Z.

    unixTimestamp   1422172800.123
    iso8601         2015-01-25T08:00:00.123Z     read with any offset; written in UTC, with a fraction only when there is one
    iso8601-seconds 2015-01-25T08:00:00Z         not in the models: services that never write a fraction (IAM, STS); set in models/<service>.toml
    rfc822          Sun, 25 Jan 2015 08:00:00 GMT

https://smithy.io/2.0/spec/protocol-traits.html#timestampformat-trait
"""

from __future__ import annotations

import calendar
import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

_ISO = re.compile(r"(?a)(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,20}))?)?)?(?:[Zz]|([+-])(\d\d):?(\d\d))?")
_RFC = re.compile(
    r"(?a)(?:[A-Za-z]{3,9}, ?)?(\d{1,2})[ -]([A-Za-z]{3})[ -](\d{4}) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,20}))? (?:GMT|UTC|Z|([+-])(\d\d):?(\d\d))"
)
_NUMBER = re.compile(r"(?a)[+-]?\d{1,18}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,2})?")
_MONTHS = {
    name: month for month, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)
}
_MONTH_NAMES = tuple(_MONTHS)
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

EARLIEST = -62135596800.0  # 0001-01-01T00:00:00Z
LATEST = 253402300800.0  # 10000-01-01T00:00:00Z, excluded: later instants have no text
_LAST_MILLISECOND = int(LATEST) * 1000 - 1
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, as all here


def check(seconds: float) -> float:
    """The same number, if it is an instant that all formats can say.

    Raises:
        ValueError
    """
    if not EARLIEST <= seconds < LATEST:
        raise ValueError(f"{seconds} is out of the range of timestamps")
    return seconds


def parse_epoch(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number of seconds")
    return check(float(text))


def parse_iso8601(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 timestamp")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups(default="0")
    return _seconds(int(year), int(month), int(day), int(hour), int(minute), int(second), fraction, sign, offset_hours, offset_minutes)


def parse_rfc822(text: str) -> float:
    match = _RFC.fullmatch(text)
    if match is None or match[2].title() not in _MONTHS:
        raise ValueError(f"{text!r} is not an RFC 822 timestamp")
    day, month, year, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups(default="0")
    month_number = _MONTHS[month.title()]
    return _seconds(int(year), month_number, int(day), int(hour), int(minute), int(second), fraction, sign, offset_hours, offset_minutes)


def parse_any(text: str) -> float:
    """Any of the formats: AWS's services take them all wherever one is asked for.

    Raises:
        ValueError
    """
    for parse in (parse_iso8601, parse_epoch, parse_rfc822):
        try:
            return parse(text)
        except ValueError:
            continue
    raise ValueError(f"{text!r} is not a timestamp")


def _seconds(
    year: int, month: int, day: int, hour: int, minute: int, second: int, fraction: str, sign: str, offset_hours: str, offset_minutes: str
) -> float:
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 60:
        raise ValueError("there is no such date")
    offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
    whole = calendar.timegm((year, month, day, hour, minute, second)) - (offset if sign == "+" else -offset)
    return check(whole + float(f"0.{fraction}"))


def _parts(seconds: float) -> tuple[time.struct_time, int]:
    """The date in UTC and the milliseconds."""
    milliseconds = math.floor(check(seconds) * 1000 + 0.5)
    return time.gmtime(milliseconds // 1000), milliseconds % 1000


def format_epoch(seconds: float) -> str:
    """A whole number where it is one; else with at most six digits after the point."""
    if seconds == int(seconds):
        return str(int(seconds))
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


@lru_cache(maxsize=4096)  # the dates in answers are mostly the same: when things were made
def format_iso8601(seconds: float) -> str:
    milliseconds = min(math.floor(check(seconds) * 1000 + 0.5), _LAST_MILLISECOND)
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{at.isoformat(timespec='milliseconds')}Z" if milliseconds % 1000 else f"{at.isoformat()}Z"


def format_iso8601_seconds(seconds: float) -> str:
    return format_iso8601(math.floor(seconds))


def format_rfc822(seconds: float) -> str:
    at, milliseconds = _parts(seconds)
    fraction = f".{milliseconds:03d}".rstrip("0") if milliseconds else ""
    date = f"{_DAY_NAMES[at.tm_wday]}, {at.tm_mday:02d} {_MONTH_NAMES[at.tm_mon - 1]} {at.tm_year:04d}"
    return f"{date} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}{fraction} GMT"


_FORMATTERS: dict[str, Callable[[float], str]] = {
    "unixtimestamp": format_epoch,
    "iso8601": format_iso8601,
    "iso8601-seconds": format_iso8601_seconds,
    "rfc822": format_rfc822,
    "date-time": format_iso8601,
    "http-date": format_rfc822,
    "epoch-seconds": format_epoch,
}


def parser(format: str) -> Callable[[str], float]:
    """What reads a timestamp for which the model names this format. It takes the other formats too, as AWS does.

    The function raises ValueError for anything else.
    """
    first = {"unixtimestamp": parse_epoch, "epoch-seconds": parse_epoch, "rfc822": parse_rfc822, "http-date": parse_rfc822}.get(
        format.lower(), parse_iso8601
    )

    def parse(text: str) -> float:
        try:
            return first(text)
        except ValueError:
            return parse_any(text)

    return parse


def formatter(format: str) -> Callable[[float], str]:
    """What writes a timestamp in this format of the model: "iso8601", "rfc822", "unixTimestamp"."""
    return _FORMATTERS[format.lower()]
