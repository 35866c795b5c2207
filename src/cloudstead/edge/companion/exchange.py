"""One HTTP exchange over a unix socket, streaming both ways.

The companion closes every connection after its answer, so there is nothing to pool: a connection, a request, an answer. The request's body is sent
by a task of its own, since an answer may come before all of it is taken (a refused upload); that answer counts and the rest is not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httptools

from cloudstead.edge.http.messages import HttpResponse, ResponseBody

_READ = 256 << 10
_WHOLE = 64 << 10  # an answer up to this is read at once


class NotSent(Exception):
    """Nobody listens on the socket. Nothing of the request was taken."""


class Lost(Exception):
    """The connection ended before the answer did. Whether the request was carried out is not known."""


async def exchange(
    path: Path, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | AsyncIterator[bytes], length: int | None
) -> HttpResponse:
    """Send a request and give back the answer, its body as a stream when it is long.

    Args:
        headers: all but those that frame the body.
        length: how long a streamed body is; None sends it chunked.

    Raises:
        NotSent, Lost
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=_READ)
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise NotSent(str(error)) from error
    whole = body if isinstance(body, bytes) else None
    chunked = whole is None and length is None
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length if whole is None else len(whole)}"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), framing, "Connection: close"]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    answer = _Answer(reader, writer, method)
    try:
        writer.write(head + whole if whole is not None else head)
        if not isinstance(body, bytes):
            answer.sending = asyncio.create_task(_send(writer, body, chunked))
        return await answer.begin()
    except BaseException:
        await answer.close()
        raise


async def _send(writer: asyncio.StreamWriter, body: AsyncIterator[bytes], chunked: bool) -> None:
    async for piece in body:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


class _Answer:
    """The answer as it arrives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self.sending: asyncio.Task[None] | None = None
        self._reader = reader
        self._writer = writer
        self._method = method
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._pieces: list[bytes] = []
        self._head = False
        self._done = False

    async def begin(self) -> HttpResponse:
        """Wait for the head, and for all of a short body."""
        while not self._head:
            if not await self._feed():
                raise Lost("The companion closed the connection without an answer.")
        status = self._parser.get_status_code()
        if self._method == "HEAD" or status in (204, 304):
            self._done = True
        length = next((int(value) for name, value in self._headers if name.lower() == "content-length"), None)
        body: ResponseBody
        if self._done or (length is not None and length <= _WHOLE):
            body = b"".join([piece async for piece in self.stream()])
        else:
            body = self.stream()
        return HttpResponse(status, self._headers, body)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body, no faster than it is taken.

        Raises:
            Lost: it ends early.
        """
        try:
            while True:
                pieces, self._pieces = self._pieces, []
                for piece in pieces:
                    yield piece
                if self._done:
                    return
                if not await self._feed():
                    if any(name.lower() in ("content-length", "transfer-encoding") for name, _ in self._headers):
                        raise Lost("The companion ended its answer early.")
                    return
        finally:
            await self.close()

    async def _feed(self) -> bool:
        """Take what has arrived; False at the end of the connection."""
        try:
            data = await self._reader.read(_READ)
        except ConnectionError as error:
            raise Lost(str(error)) from error
        if not data:
            if self.sending is not None and self.sending.done() and not self.sending.cancelled():
                failure = self.sending.exception()
                if failure is not None and not isinstance(failure, ConnectionError):
                    raise failure  # the client's body broke: that is the reason
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Lost(f"The companion's answer cannot be read: {error}") from error
        return True

    async def close(self) -> None:
        if self.sending is not None:
            self.sending.cancel()
            await asyncio.gather(self.sending, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    # httptools' side.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._head = True
        else:
            self._headers.clear()  # 100 Continue

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head:
            self._done = True
