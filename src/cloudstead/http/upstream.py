"""A client for servers near by (the companion, functions, containers): pooled connections, bodies that stream both ways at the slower side's pace.

Why not httpx or aiohttp: measured as a proxy they cost five to fifty times as much a request (docs/decisions/0002-http-stack.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from cloudstead.http.body import EmptyBody, IncomingBody
from cloudstead.http.messages import Headers, HttpRequest, HttpResponse, WholeBody
from cloudstead.http.upgrade import RawStream
from cloudstead.http.upstream_connection import Lost, NotSent, UpstreamConnection, UpstreamError, UpstreamResponse

Address: TypeAlias = tuple[str, int] | Path
Dial: TypeAlias = Callable[[], Awaitable[socket.socket]]

# What belongs to one connection and not to the message (RFC 9110, 7.6.1), and the framing, which is made anew.
HOP_BY_HOP = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # idempotent: may be sent again when a kept connection was just closing
EMPTY_BODY_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})  # without a body these say no length


class Upstream:
    """One server, and the connections to it that are kept."""

    def __init__(
        self,
        address: Address,
        *,
        max_idle: int = 32,
        idle_timeout: float = 20.0,
        connect_timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        dial: Dial | None = None,
    ) -> None:
        """
        Args:
            address: host and port, or the path of a unix socket.
            dial: gives a connected, non-blocking socket, where the address cannot be reached from this process itself.
            idle_timeout: seconds; shorter than the server's own, so that it is we who close.
        """
        self.address = address
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._server_name = server_name
        self._dial = dial
        self._idle: list[UpstreamConnection] = []  # the latest used at the end: the rest may grow old
        self._all: set[UpstreamConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None  # somebody waits in `close`

    async def send(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        length: int | None = None,
        upgrade: bool = False,
    ) -> UpstreamResponse:
        """Ask, and give back the answer as soon as its head is there.

        Args:
            headers: sent as they stand, but for those of the connection and the body's framing.
            length: how long a streamed body is; None sends it chunked.
            upgrade: let `Connection` and `Upgrade` through; after a 101 the answer's `raw` is the connection.

        Raises:
            NotSent, Lost; ValueError: a header has a line break in it. Whatever a streamed body raises.
        """
        chunked = not isinstance(body, bytes) and length is None
        head = _head(method, target, headers, body, length, chunked, upgrade, self.address)
        while True:
            connection = self._take() or await self._connect()
            try:
                return await connection.exchange(method, head, body, chunked)
            except Lost:
                # A kept connection that the server was closing as we took it: it never saw the request.
                if connection.fresh or connection.touched or method not in REPEATABLE or not isinstance(body, bytes):
                    raise

    async def forward(
        self, request: HttpRequest, *, target: str | None = None, headers: Iterable[tuple[str, str]] | None = None
    ) -> HttpResponse:
        """Pass a request on as it came, and its answer back.

        Args:
            target, headers: instead of the request's own.

        Raises:
            NotSent, Lost; BodyBroken: the client's body broke off.
        """
        headers = request.headers if headers is None else headers
        fields = Headers(headers)
        upgrade = fields.get("upgrade") is not None and "upgrade" in (fields.get("connection") or "").lower()
        body: bytes | AsyncIterator[bytes] = b""
        at_hand = isinstance(request.body, WholeBody | EmptyBody) or (isinstance(request.body, IncomingBody) and request.body.complete)
        if at_hand or request.whole is not None:
            body = await request.read()
        else:
            body = request.stream()
        origin = target if target is not None else (f"{request.path}?{request.query}" if request.query else request.path)
        response = await self.send(request.method, origin, fields, body, length=request.content_length, upgrade=upgrade)
        passed = [(name, value) for name, value in response.headers if name.lower() not in HOP_BY_HOP]
        if response.raw is not None:
            there = response.raw
            passed += [(name, value) for name, value in response.headers if name.lower() in ("connection", "upgrade")]
            return HttpResponse(101, passed, upgrade=lambda here: splice(here, there))
        length = response.headers.get("content-length")
        if request.method == "HEAD" or response.complete:
            if request.method == "HEAD" and length is not None:
                passed.append(("Content-Length", length))
            return HttpResponse(response.status, passed, await response.read())
        if length is not None:
            passed.append(("Content-Length", length))
        return HttpResponse(response.status, passed, response)

    async def close(self) -> None:
        """Close all connections, used ones too."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        pumps = [connection.pump for connection in self._all if connection.pump is not None]
        for connection in list(self._all):
            connection.abandon()
        if pumps:
            await asyncio.wait(pumps)
        if self._all:
            self._emptied = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied, 1.0)
            self._emptied = None

    def _take(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(self, loop)
        try:
            async with asyncio.timeout(self._connect_timeout):
                if isinstance(self.address, Path):
                    name = self._server_name or ("localhost" if self._tls is not None else None)
                    await loop.create_unix_connection(lambda: connection, str(self.address), ssl=self._tls, server_hostname=name)
                else:
                    host, port = self.address
                    name = (self._server_name or host) if self._tls is not None else None
                    if self._dial is not None:
                        await self._over(await self._dial(), connection, name)
                    else:
                        await loop.create_connection(lambda: connection, host, port, ssl=self._tls, server_hostname=name)
        except (OSError, TimeoutError) as error:
            raise NotSent(f"Cannot connect: {error}") from error
        self._all.add(connection)
        return connection

    async def _over(self, dialled: socket.socket, connection: UpstreamConnection, name: str | None) -> None:
        try:
            await connection.loop.create_connection(lambda: connection, sock=dialled, ssl=self._tls, server_hostname=name)
        except BaseException:
            dialled.close()
            raise

    # The connections' side.

    def release(self, connection: UpstreamConnection) -> None:
        """An exchange is over and the connection can serve another."""
        if len(self._idle) >= self._max_idle:
            connection.abandon()
            return
        connection.idle_since = connection.loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(self._idle_timeout, self._close_old, connection.loop)

    def forget(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        if not self._all and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)
        if connection in self._idle:
            self._idle.remove(connection)

    def _close_old(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = loop.time() - self._idle_timeout
        for connection in [each for each in self._idle if each.idle_since <= oldest]:
            self._idle.remove(connection)
            connection.abandon()
        self._sweep = loop.call_later(self._idle_timeout / 2, self._close_old, loop) if self._idle else None


async def splice(here: RawStream, there: RawStream) -> None:
    """Carry bytes both ways until both sides have ended, each in its own time."""

    async def carry(source: RawStream, sink: RawStream) -> None:
        try:
            while piece := await source.read():
                await sink.write(piece)
            sink.write_eof()
        except ConnectionResetError:
            source.close()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(here, there))
            group.create_task(carry(there, here))
    finally:
        there.close()


def _head(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | AsyncIterator[bytes],
    length: int | None,
    chunked: bool,
    upgrade: bool,
    address: Address,
) -> bytes:
    lines, hosted = [f"{method} {target} HTTP/1.1"], False
    for name, value in headers:
        lower = name.lower()
        if lower in HOP_BY_HOP and not (upgrade and lower in ("connection", "upgrade")):
            continue
        hosted = hosted or lower == "host"
        lines.append(f"{name}: {value}")
    if not hosted:
        lines.append("Host: localhost" if isinstance(address, Path) else f"Host: {address[0]}:{address[1]}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    else:
        size = len(body) if isinstance(body, bytes) else length
        if size or method not in EMPTY_BODY_METHODS:
            lines.append(f"Content-Length: {size}")
    text = "\r\n".join(lines)
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise ValueError("line break in a request's head")
    return f"{text}\r\n\r\n".encode("latin-1", "xmlcharrefreplace")


__all__ = ["Address", "Dial", "Lost", "NotSent", "Upstream", "UpstreamError", "UpstreamResponse", "splice"]
