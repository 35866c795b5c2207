"""One connection to a server that we are a client of: requests out, answers in, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import httptools

from cloudstead.http.body import IncomingBody
from cloudstead.http.flow import Flow
from cloudstead.http.framing import LAST_CHUNK
from cloudstead.http.messages import Headers
from cloudstead.http.upgrade import RawStream

if TYPE_CHECKING:
    from cloudstead.http.upstream import Upstream

BUFFER = 256 << 10  # bytes of an answer that wait for whoever reads it; beyond, the server is held back
HEAD_LIMIT = 256 << 10  # bytes of an answer's headers
WRITE_TIMEOUT = 120.0


class UpstreamError(Exception):
    """The other server could not be asked or did not answer."""


class NotSent(UpstreamError):
    """There was no connection. Nothing of the request was taken."""


class Lost(UpstreamError):
    """The connection ended, or broke HTTP, before the answer was complete. Whether the request was carried out is not known."""


class UpstreamResponse:
    """An answer whose body may still be arriving. Iterate it, `read` it, or `aclose` it: until then it keeps its connection."""

    def __init__(
        self, connection: UpstreamConnection, status: int, headers: Headers, body: IncomingBody | None, raw: RawStream | None
    ) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw  # both ways, after 101
        self._body = body
        self._connection = connection

    @property
    def complete(self) -> bool:
        """Whether all of the body is here."""
        return self._body is None or self._body.complete

    @property
    def trailers(self) -> Headers:
        return Headers(self._body.trailers if self._body is not None else ())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises Lost when the rest does not come."""
        piece = await self._body.next() if self._body is not None else b""
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self) -> bytes:
        """All of the body. Raises Lost."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Nothing more of it is wanted; closes the connection unless the body was complete."""
        if not self.complete or self.raw is not None:
            self._connection.abandon()


class UpstreamConnection(Flow):
    """The protocol object; `Upstream` makes and keeps them."""

    def __init__(self, owner: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, WRITE_TIMEOUT)
        self._owner = owner
        self.idle_since = 0.0
        self.fresh = True  # has not answered yet
        self.touched = False  # something of the answer at hand has come
        self._parser: httptools.HttpResponseParser | None = None
        self._method = ""
        self._flat: list[tuple[str, str]] = []
        self._size = 0
        self._waiter: asyncio.Future[UpstreamResponse] | None = None
        self._body: IncomingBody | None = None
        self._until_close = False
        self._keep = False
        self._raw: RawStream | None = None
        self._busy = False  # with an exchange
        self._sent = False  # all of the request
        self.pump: asyncio.Task[None] | None = None  # sends a streamed body

    async def exchange(self, method: str, head: bytes, body: bytes | AsyncIterator[bytes], chunked: bool) -> UpstreamResponse:
        """Send one request and wait for the head of its answer.

        Raises:
            Lost; whatever a streamed body raises.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise Lost("The connection is closed.")
        self._parser = httptools.HttpResponseParser(self)
        self._method, self.touched = method, False
        waiter: asyncio.Future[UpstreamResponse] = self.loop.create_future()
        self._waiter, self._busy, self._sent = waiter, True, isinstance(body, bytes)
        try:
            if isinstance(body, bytes):
                transport.writelines((head, body)) if body else transport.write(head)
            else:
                transport.write(head)
                self.pump = self.loop.create_task(self._send(body, chunked))
            return await waiter
        except BaseException:
            # Given up: by then the answer may have been complete, and the connection somebody else's.
            if not waiter.done() or waiter.cancelled() or waiter.exception() is not None or not waiter.result().complete:
                self.abandon()
            raise
        finally:
            if self._waiter is waiter:
                self._waiter = None

    async def _send(self, body: AsyncIterator[bytes], chunked: bool) -> None:
        try:
            async for piece in body:
                if piece:
                    self.open_transport().writelines((b"%x\r\n" % len(piece), piece, b"\r\n") if chunked else (piece,))
                    await self.drained()
            if chunked:
                self.open_transport().write(LAST_CHUNK)
            self._sent = True
        except ConnectionResetError:
            return  # `connection_lost` has told everybody
        except Exception as error:
            # The source failed: the other side must see a body that is cut off, and the caller why.
            self._fail(error)
            self.abandon()
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):  # it is running: somebody else reads it
                    await close()
            if self.pump is asyncio.current_task():
                self.pump = None

    def abandon(self) -> None:
        """This connection is of no use any more."""
        if self.pump is not None:
            self.pump.cancel()
        if self.transport is not None:
            self.transport.abort()

    # -- the event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.touched = True
        if self._raw is not None:
            self._raw.feed(data)
            return
        if self._parser is None:  # nobody has asked for anything
            self.abandon()
            return
        parser = self._parser
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self._parser is parser:  # else the answer to a HEAD was complete, and the parser could not know
                self._fail(Lost(f"The answer cannot be understood: {error}"))
            self.abandon()
        else:
            if self._waiter is not None and not self._waiter.done() and self._parser is not None:
                self._size += len(data)
                if self._size > HEAD_LIMIT:
                    self._fail(Lost("The headers of the answer are too large."))
                    self.abandon()
        if self._body is not None and self._body.full:
            self.hold()

    def eof_received(self) -> bool:
        if self._raw is not None:
            self._raw.feed_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.wake()
        if self._raw is not None:
            self._raw.feed_eof()
        if self._body is not None and self._until_close and exc is None:
            self._body.finish()
        self._fail(Lost("The connection ended before the answer was complete."))
        if self.pump is not None:
            self.pump.cancel()
        self._owner.forget(self)

    # -- called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        pair = (name.decode("latin-1"), value.decode("latin-1").rstrip(" \t"))
        if self._body is not None:
            self._body.trailers.append(pair)
        else:
            self._flat.append(pair)

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self._waiter is None or self._waiter.done():
            raise Lost("An answer that nobody asked for.")
        status, headers = parser.get_status_code(), Headers(self._flat)
        self._flat, self._size = [], 0
        if status < 200 and status != 101:
            return  # 100 Continue, 103 Early Hints: the answer is still to come
        index = headers.index()
        self._keep = parser.should_keep_alive() and status != 101
        bodiless = self._method == "HEAD" or status in (101, 204, 304)
        if status == 101:
            self._raw = RawStream(self, b"")
        elif not bodiless:
            self._body = IncomingBody(self, BUFFER)
            self._until_close = "content-length" not in index and "transfer-encoding" not in index
        waiter, self._waiter = self._waiter, None
        waiter.set_result(UpstreamResponse(self, status, headers, self._body, self._raw))
        if bodiless and status != 101:
            self._parser = None
            self._settle()

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._body.feed(data)

    def on_message_complete(self) -> None:
        if self._body is not None:
            self._body.finish()
            self._body = None
            self._parser = None
            if self._until_close:
                self._keep = False
            self.release()
            self._settle()

    def _upgraded(self, rest: bytes) -> None:
        if self._raw is not None and rest:
            self._raw.feed(rest)

    # -- the state of the exchange

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        if self._body is not None:
            self._body.fail(error)
            self._body = None

    def _settle(self) -> None:
        """The answer is complete: back to the pool, or closed."""
        if not self._busy:
            return
        self._busy = self.fresh = False
        if not self._sent:
            # The answer came before all of the request, whose rest will not be wanted.
            self._keep = False
            if self.pump is not None:
                self.pump.cancel()
        if self._keep and self.transport is not None and not self.transport.is_closing():
            self._owner.release(self)
        elif self.transport is not None:
            self.transport.close()

    def body_wanted(self) -> None:
        pass

    def body_kept(self, size: int) -> None:
        pass

    def body_taken(self) -> None:
        if self._body is not None and not self._body.full:
            self.release()
