"""Answers that tell how far something long has come: pull, push, load, import, build.

Work runs in a task of its own and tells lines; the answer begins with the first of them. What fails before that is an answer with its status; what
fails later is told as a line, because the status is gone. A client that leaves cancels the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from cloudstead.engine.dockerapi.answers import json_line, stream_answer
from cloudstead.engine.dockerapi.errors import DockerError
from cloudstead.engine.errors import EngineError
from cloudstead.engine.images.api import Progress
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import CommonError

log = logging.getLogger(__name__)

WAITING = 200  # lines that the client has not taken, after which news of the same layer replace the older
SLOW = 50  # lines after which `send` waits


class Feed:
    """Lines from the one who works to the one who waits."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, dict[str, Any]]] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.started = False  # something was told, so an error must be a line
        self._task: asyncio.Task[None] | None = None

    def tell(self, line: dict[str, Any], about: str = "") -> None:
        """A line, at once. Where many wait, an older one about the same thing gives way."""
        if about and len(self._lines) >= WAITING:
            for at, (subject, _) in enumerate(self._lines):
                if subject == about:
                    del self._lines[at]
                    break
        self._lines.append((about, line))
        self.started = True
        self._changed.set()

    async def send(self, line: dict[str, Any]) -> None:
        """A line; waits while the client is far behind."""
        while len(self._lines) >= SLOW:
            self._room.clear()
            await self._room.wait()
        self.tell(line)

    def progress(self, progress: Progress) -> None:
        """What images tell while they move."""
        self.tell(line_of(progress), progress.id if progress.total else "")

    async def answer(self, work: Awaitable[None], *, request: HttpRequest | None = None) -> HttpResponse:
        """Do the work; the answer when there is something to say.

        Args:
            request: whose body the work reads: Go's clients misread an answer that begins before they have sent all, so it waits for that.
        """
        body = None if request is None else request.body
        task = self._task = asyncio.ensure_future(self._carry_out(work))
        try:
            while not task.done() and not (self.started and getattr(body, "complete", True)):
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    # The end of the body tells nobody here, so it is looked for.
                    await asyncio.wait_for(self._changed.wait(), None if body is None or not self.started else 0.05)
            if task.done() and not self.started:
                await task
        except BaseException:
            await self.close()
            raise
        return stream_answer(_Pieces(self))

    async def _carry_out(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            if not self.started:
                raise
            self.tell(error_line(error))
        finally:
            self._changed.set()

    async def next(self) -> bytes:
        """The lines that wait, joined; empty at the end."""
        assert self._task is not None
        while not self._lines:
            if self._task.done():
                return b""
            self._changed.clear()
            await self._changed.wait()
        pieces = b"".join(json_line(line) for _, line in self._lines)
        self._lines.clear()
        self._room.set()
        return pieces

    async def close(self) -> None:
        """The client is gone, or has all: end the work."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            self._room.set()
            await asyncio.wait([task])
        if task is not None and task.done() and not task.cancelled():
            task.exception()  # looked at, so that nobody logs that it was not


class _Pieces:
    """The feed as a body: an object instead of a generator, because one that was never begun is closed too."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        pieces = await self._feed.next()
        if not pieces:
            raise StopAsyncIteration
        return pieces

    async def aclose(self) -> None:
        await self._feed.close()


def line_of(progress: Progress) -> dict[str, Any]:
    """A line as Docker writes it."""
    line: dict[str, Any] = {"status": progress.status}
    if progress.total or progress.current:
        line["progressDetail"] = {"current": progress.current, **({"total": progress.total} if progress.total else {})}
    elif progress.id:
        line["progressDetail"] = {}
    if progress.id:
        line["id"] = progress.id
    return line


def error_line(error: Exception, code: int | None = None) -> dict[str, Any]:
    """What went wrong, in a stream."""
    if isinstance(error, EngineError | DockerError | CommonError):
        message = error.message
    else:
        log.error("a stream failed", exc_info=error)
        message = "an error inside Cloudstead; its log says more"
    detail: dict[str, Any] = {"message": message}
    if code is not None:
        detail = {"code": code, **detail}
    return {"errorDetail": detail, "error": message}


Work = Callable[[Feed], Awaitable[None]]


async def answer_with(work: Work, *, request: HttpRequest | None = None) -> HttpResponse:
    feed = Feed()
    return await feed.answer(work(feed), request=request)
