"""Answers: JSON, nothing, lines of JSON while something goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloudstead.http.messages import HttpResponse

JSON = ("Content-Type", "application/json")
_encode = msgspec.json.Encoder().encode
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, which clients know as "not yet"


def json_answer(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, [JSON], _encode(value) + b"\n")


def no_content() -> HttpResponse:
    return HttpResponse(204)


def error_answer(status: int, message: str) -> HttpResponse:
    return HttpResponse(status) if status == 304 else json_answer({"message": message}, status)


def json_line(value: Any) -> bytes:
    """One line of a stream."""
    return _encode(value) + b"\r\n"


def stream_answer(pieces: AsyncIterator[bytes], content_type: str = "application/json", status: int = 200) -> HttpResponse:
    """An answer whose pieces go out as they come."""
    return HttpResponse(status, [("Content-Type", content_type)], pieces)


def date(seconds: float) -> str:
    """A time as Go writes it in JSON; what has not happened is year 1."""
    if not seconds:
        return NEVER
    return nano_date(round(seconds * 1e6) * 1000)


def nano_date(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
