"""A server of the stack under test and a client that speaks raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cloudstead.http.limits import Limits
from cloudstead.http.messages import Handler, HttpRequest, HttpResponse
from cloudstead.http.server import Server, loop_factory
from cloudstead.http.upstream import Upstream

QUICK = Limits(
    idle_timeout=30, head_timeout=0.3, body_timeout=0.3, write_timeout=0.5, half_closed_timeout=0.3, linger_timeout=0.3, sweep_interval=0.05
)

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": loop_factory(), "asyncio": asyncio.new_event_loop}


def run(main: Coroutine[Any, Any, Any], loop: str = "uvloop", limit: float = 60.0) -> Any:
    """Run a test's coroutine; fail when it hangs or leaves a task behind."""

    async def bounded() -> Any:
        async with asyncio.timeout(limit):
            result = await main
        for _ in range(20):  # what was cancelled, and asyncio's own tasks of accepting, need some turns to end
            left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
            if not left:
                break
            await asyncio.sleep(0.01)
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(bounded())


both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@contextlib.asynccontextmanager
async def serving(handler: Handler, *, limits: Limits = QUICK, grace: float = 1.0) -> AsyncIterator[tuple[Server, int]]:
    server = Server(handler, limits=limits)
    port = await server.listen_tcp("127.0.0.1")
    try:
        yield server, port
    finally:
        await server.stop(grace)
        assert not server.connections


class Client:
    """Writes bytes and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int | Path) -> Client:
        if isinstance(port, Path):
            return cls(*await asyncio.open_unix_connection(str(port)))
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers (names in lower case), body."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = text.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        status = int(line.split(" ")[1])
        if head or status < 200 or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return status, headers, body
        if "content-length" in headers:
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))
        return status, headers, await self.reader.read()

    async def ask(self, data: bytes, **more: Any) -> tuple[int, dict[str, str], bytes]:
        self.send(data)
        return await self.answer(**more)

    async def at_end(self) -> bool:
        """Whether the server closes, with nothing more said."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Go away without a word."""
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def talking(handler: Handler, **more: Any) -> AsyncIterator[Client]:
    """A server and one client of it."""
    async with serving(handler, **more) as (_, port):
        client = await Client.connect(port)
        try:
            yield client
        finally:
            client.close()


async def echo(request: HttpRequest) -> HttpResponse:
    """Says what it got."""
    body = await request.read()
    text = f"{request.method} {request.target} {len(body)} ".encode() + body
    return HttpResponse(200, [("Content-Type", "text/plain")], text)


def get(target: str = "/", *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: test", *headers, "", ""]).encode("latin-1")


def post(body: bytes, target: str = "/", *headers: str) -> bytes:
    return get(target, f"Content-Length: {len(body)}", *headers, method="POST") + body


async def until(true: Callable[[], bool], limit: float = 5.0) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.01)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.asynccontextmanager
async def asking(port: int | Path, **options: object) -> AsyncIterator[Upstream]:
    upstream = Upstream(port if isinstance(port, Path) else ("127.0.0.1", port), **options)  # type: ignore[arg-type]
    try:
        yield upstream
    finally:
        await upstream.close()
        assert not upstream._all
