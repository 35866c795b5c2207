"""Answers: JSON, nothing, lines of JSON while something goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloudstead.engine.errors import EngineError
from cloudstead.http.messages import HttpResponse

log = logging.getLogger(__name__)

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


@contextlib.asynccontextmanager
async def closing(iterator: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Close an iterator at the end, if it can be closed: a generator that is given up runs its `finally` then, and not at some later time."""
    try:
        yield
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def begun(pieces: AsyncIterator[bytes]) -> Begun:
    """The same pieces, after the first has come: what goes wrong at the beginning is raised here, while an answer can still say so."""
    return Begun(await anext(pieces, b""), pieces)


class Begun:
    """A stream whose first piece is here."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> Begun:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        try:
            return await anext(self._rest) if first is None else first
        except EngineError as error:  # all that can be said now is that this is not the whole
            log.warning("an answer was cut off: %s", error.message)
            raise ConnectionResetError(error.message) from None

    async def aclose(self) -> None:
        async with closing(self._rest):
            self._first = None


class Awaited:
    """A body of one piece that comes when a task is done; the task ends with the answer, also with one that nobody took."""

    def __init__(self, task: asyncio.Future[Any], render: Callable[[asyncio.Future[Any]], bytes]) -> None:
        self._task = task
        self._render = render
        self._over = False

    def __aiter__(self) -> Awaited:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        self._over = True
        await asyncio.wait([self._task])
        return self._render(self._task)

    async def aclose(self) -> None:
        self._over = True
        self._task.cancel()
