"""Between a client and a process: a connection that has been taken over (hijacked), and the process's streams.

Output goes to the client as it comes, in frames unless there is a tty (for exec: unless the client says so). What the client sends is the process's input; when it sends no more, the
process reads end of file, and output goes on. Two kinds of processes read no end of file, for others may write to them later: those with a tty, and
containers without StdinOnce; there the conversation ends. So it does with the end of the output, and when the client goes away altogether; the
process goes on then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from cloudstead.engine.dockerapi.detach import DetachKeys
from cloudstead.engine.dockerapi.frames import RAW_STREAM, frames
from cloudstead.engine.dockerapi.routing import DockerRequest
from cloudstead.engine.pods.api import Streams
from cloudstead.http.messages import HttpResponse, Upgrade
from cloudstead.http.upgrade import RawStream

HEAD_START = (
    0.005  # seconds between the head of an answer and output that is there already: docker-py loses what comes together with the head
)
LOOK_AGAIN = 0.5  # seconds between two looks whether a client that sends no more is still there


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the streams go to the client, and how."""

    stdin: bool
    stdout: bool
    stderr: bool
    framed: bool  # each piece with a header that says of which stream it is
    closes_input: (
        bool  # whether the end of the client's input is the end of the process's; otherwise it ends the conversation, as Docker has it
    )
    detach: DetachKeys | None = None


def hijacked(request: DockerRequest, streams: Streams | None, upgrade: Upgrade) -> HttpResponse:
    """101 where the client asks for it, else Docker's old way: 200, and the connection is taken over all the same."""
    body = Held(streams)
    if "upgrade" in request.http.headers:
        headers = [("Content-Type", RAW_STREAM), ("Connection", "Upgrade"), ("Upgrade", "tcp")]
        return HttpResponse(101, headers, body, upgrade=upgrade)
    return HttpResponse(200, [("Content-Type", RAW_STREAM)], body, upgrade=upgrade)


class Held:
    """The streams that an answer holds, let go with it: also when it could not be sent."""

    def __init__(self, streams: Streams | None) -> None:
        self._streams = streams

    def __aiter__(self) -> Held:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if self._streams is not None:
            await self._streams.close()


async def relay(raw: RawStream, streams: Streams, ways: Ways, detached: Callable[[], None] = lambda: None) -> bool:
    """Returns when there is no more output, or the client has gone (False)."""
    output = asyncio.ensure_future(_send_output(raw, streams, ways))
    input = asyncio.ensure_future(_take_input(raw, streams, ways, detached))
    try:
        await asyncio.wait([output, input], return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            return False  # the client has gone, detached, or has no more to say
        return _result(output)
    finally:
        for task in (output, input):
            task.cancel()
        await asyncio.wait([output, input])
        for task in (output, input):
            if not task.cancelled():
                task.exception()


def _result(output: asyncio.Future[None]) -> bool:
    error = output.exception()
    if error is None:
        return True
    if isinstance(error, ConnectionError):
        return False
    raise error


async def _send_output(raw: RawStream, streams: Streams, ways: Ways) -> None:
    while (piece := await streams.read()) is not None:
        stream, data = piece
        if ways.stdout if stream == "stdout" else ways.stderr:
            await raw.write(frames(stream, data) if ways.framed else data)


async def _take_input(raw: RawStream, streams: Streams, ways: Ways, detached: Callable[[], None]) -> None:
    """Returns when the client has gone, or typed the keys that detach."""
    while data := await raw.read():
        if not ways.stdin:
            continue
        if ways.detach is not None:
            data, over = ways.detach.take(data)
            if over:
                await _write(streams, data)
                detached()
                return
        await _write(streams, data)
    if ways.stdin and not ways.closes_input:
        await asyncio.sleep(LOOK_AGAIN)  # for what the last input brings forth
        return
    if ways.stdin:
        with contextlib.suppress(ConnectionError):
            await streams.close_input()
    while not raw.hung_up():  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(LOOK_AGAIN)


async def _write(streams: Streams, data: bytes) -> None:
    if data:
        with contextlib.suppress(ConnectionError):
            await streams.write(data)
