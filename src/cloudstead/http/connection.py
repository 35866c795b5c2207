"""One client's connection: bytes in, requests to the handler, answers out, in order.

How it works, in plain words. The parser turns whatever has come into requests; the body of the last may still be arriving. One request at a time
is with the handler, in a task of its own; requests that came in the same read wait in `_queue`, later bytes unparsed in `_stash` (and beyond a limit
the client is held back). So a client that sends ahead gets its answers in order and cannot make us hold more than that.

The task of a request is started when its head is complete, and runs at the loop's next turn: a small body that came with the head is there by then.

    idle ──first byte──▶ head ──end of headers──▶ serving (body may be arriving) ──answered──▶ idle, or the next in the queue
                                                                                └─ rest of an unread body ─▶ discarding ─▶ idle
    any ──last answer──▶ lingering (our side closed, theirs read and thrown away) ──▶ closed

`deadline` is when the peer has waited too long in the state it is in; `Server` looks at it about once a second. There are no timers here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from cloudstead.http import delivery, framing
from cloudstead.http.flow import NEVER, Flow
from cloudstead.http.messages import BodyBroken, FileRegion, HttpResponse, ResponseBody
from cloudstead.http.parsing import Exchange, Refusal, RequestParser
from cloudstead.http.upgrade import RawStream

if TYPE_CHECKING:
    from cloudstead.http.server import Server

log = logging.getLogger(__name__)

COPY_BELOW = 32 << 10  # a body up to this is copied behind its head and written at once


class Connection(Flow):
    """The protocol object that the event loop talks to."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.loop, server.limits.write_timeout)
        self.secure = False
        self.peer: tuple[str, int] = ("", 0)
        self._server = server
        self._limits = server.limits
        self._parser = RequestParser(self, server.limits)
        self._queue: deque[Exchange | Refusal] = deque()
        self._stash: list[bytes] = []
        self._stashed = 0
        self._task: asyncio.Task[None] | None = None
        self._current: Exchange | None = None
        self._raw: RawStream | None = None
        self._deaf = False  # nothing that comes is listened to any more
        self._ended = False  # the client has closed its side
        self._last = False  # close after the answer at hand
        self._lingering = False
        self.deadline = NEVER

    # -- the event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.secure = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) >= 2:
            self.peer = (peer[0], peer[1])
        self.deadline = self.loop.time() + self._limits.idle_timeout
        if not self._server.adopt(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
        elif self._deaf:
            return
        elif self._task is not None and self._parser.incoming is None:
            self._put_by(data)
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """The client sends no more. What it has asked for is still answered, unless it takes long: see `half_closed_timeout`."""
        self._ended = True
        if self._raw is not None:
            self._raw.feed_eof()
            return not self.secure
        self._fail_body("The request body terminated unexpectedly.")
        self._deaf = True
        if self._task is None or self._lingering:
            return False
        self.deadline = self.loop.time() + self._limits.half_closed_timeout
        return not self.secure  # TLS has no half-close

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._deaf = self._last = True
        self._queue.clear()
        self._stash.clear()
        self._fail_body("The client closed the connection.")
        if self._raw is not None:
            self._raw.feed_eof()
        self.wake()
        if self._task is not None:
            self._server.outlive(self._task)
            self._task.cancel()
        self._server.forget(self)

    # -- the server's side

    @property
    def waiting(self) -> bool:
        """For a request, or for the rest of its head."""
        return self._task is None and self.transport is not None and not self.transport.is_closing()

    def expire(self, now: float) -> None:
        """A deadline has passed: the sweep calls this."""
        transport = self.transport
        if transport is None:
            return
        if self.write_deadline <= now or self._lingering:
            transport.abort()
        elif self.deadline > now:
            return
        elif self._ended:
            transport.abort()  # half-closed for too long: gone
        elif self._task is not None:
            self.deadline = NEVER
            body = self._current.body if self._current is not None else None
            if body is not None and body.waiting:
                self._fail_body("The request body did not arrive in time.")
                self._deaf = self._last = True
        elif self._parser.in_head:
            self._refuse(Refusal(408, "the request did not arrive in time"))
        else:
            transport.close()

    def drain(self) -> None:
        """Finish what runs, take nothing new."""
        if self._task is None and self.transport is not None and not self._lingering:
            self.transport.close()
        elif self._raw is not None:
            self._raw.when_draining()

    def abort(self) -> None:
        """End at once, whatever runs."""
        if self._task is not None:
            self._server.outlive(self._task)
            self._task.cancel()
        if self.transport is not None:
            self.transport.abort()

    # -- receiving

    def _parse(self, data: bytes) -> None:
        parser, body = self._parser, self._parser.incoming
        try:
            rest = parser.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if rest:
            self._put_by(rest)
        if parser.incoming is not None:
            if parser.incoming.full:
                self.hold()
            elif parser.incoming.discarding and parser.incoming.received > self._limits.discard:
                self._close()
        elif body is not None:
            if self.held and self._stashed <= self._limits.stash:
                self.release()
            if body.discarding and self._task is None:
                self._next()
        elif parser.in_head and self._task is None and self.deadline - self.loop.time() > self._limits.head_timeout:
            self.deadline = self.loop.time() + self._limits.head_timeout

    def accept(self, exchange: Exchange) -> None:
        if self._task is None:
            self._begin(exchange)
        else:
            self._queue.append(exchange)

    def _put_by(self, data: bytes) -> None:
        self._stash.append(data)
        self._stashed += len(data)
        if self._stashed > self._limits.stash:
            self.hold()

    def _fail_body(self, why: str) -> None:
        body, self._parser.incoming = self._parser.incoming, None
        if body is not None:
            self._last = True
            body.fail(BodyBroken(why))

    def _refuse(self, refusal: Refusal) -> None:
        """The bytes make no sense from here on: answer what came before, then say so, then close."""
        self._deaf = True
        log.debug("refused %s: %d %s", self.peer, refusal.status, refusal.reason)
        if self._parser.incoming is not None:
            # Whoever reads this body is told, and answers; nobody else can.
            self._fail_body(f"The request body is malformed: {refusal.reason}")
            if self._task is None:
                self._close()
        elif self._task is not None:
            self._queue.append(refusal)
        else:
            self._answer_refusal(refusal)

    def _answer_refusal(self, refusal: Refusal) -> None:
        if self.transport is not None and not self.transport.is_closing():
            text = f"{refusal.reason}\n".encode()
            head = framing.head(HttpResponse(refusal.status, [("Content-Type", "text/plain")], text), None, False)
            self.transport.write(head.data + text)
        self._close()

    # -- answering

    def _begin(self, exchange: Exchange) -> None:
        self.deadline = self.loop.time() + self._limits.half_closed_timeout if self._ended else NEVER
        self._current = exchange
        self._task = self.loop.create_task(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        keep = False
        try:
            response = await self._ask(exchange)
            try:
                keep = await self._answer(exchange, response)
            finally:
                if not isinstance(response.body, bytes):
                    await _close_body(response.body)
        except ConnectionResetError:
            pass
        except Exception:
            log.exception("answering %s %s failed", exchange.request.method, exchange.request.path)
            if self.transport is not None:
                self.transport.abort()
        finally:
            if exchange.body is not None:
                self._server.kept -= exchange.body.kept
            self._current = self._task = None
            if keep:
                self._next()
            else:
                self._close()

    async def _ask(self, exchange: Exchange) -> HttpResponse:
        try:
            return await self._server.handler(exchange.request)
        except asyncio.CancelledError:
            if self._task is None or self._task.cancelling():
                raise
            log.exception("the handler of %s %s cancelled itself", exchange.request.method, exchange.request.path)
        except Exception:
            log.exception("the handler of %s %s failed", exchange.request.method, exchange.request.path)
        exchange.keep_alive = False
        return HttpResponse(500)

    async def _answer(self, exchange: Exchange, response: HttpResponse) -> bool:
        """Send a response; whether the connection can go on. After an exception raised in here it cannot."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        body, content = exchange.body, response.body
        keep = exchange.keep_alive and not self._last and not self._server.draining
        if body is not None and not body.complete and isinstance(content, bytes):
            keep = keep and self._worth_discarding(exchange)
        try:
            head = framing.head(response, exchange.request, keep)
        except ValueError:
            log.exception("the response to %s %s cannot be sent", exchange.request.method, exchange.request.path)
            content = b""
            head = framing.head(HttpResponse(500), exchange.request, False)
            transport.write(head.data)
            return False
        if response.upgrade is not None:
            await self._hand_over(response, head)
            return False
        if head.framing == "none":
            transport.write(head.data)
        elif isinstance(content, bytes):
            if len(content) < COPY_BELOW:
                transport.write(head.data + content)
            else:
                transport.writelines((head.data, content))
        elif isinstance(content, FileRegion):
            await delivery.send_file(self, head, content)
        else:
            await delivery.send_stream(self, head, content)
        if self.blocked:
            await self.drained()
        if body is not None and not body.complete:
            return head.keep_alive and not self._last and self._discard(exchange)
        return head.keep_alive and not self._last

    async def _hand_over(self, response: HttpResponse, head: framing.Head) -> None:
        assert self.transport is not None
        assert response.upgrade is not None
        self._queue.clear()
        raw = self._raw = RawStream(self, b"".join(self._stash))
        self._stash.clear()
        if self._ended:
            raw.feed_eof()
        self.deadline = NEVER
        self.transport.write(head.data)
        self.release()
        try:
            await response.upgrade(raw)
        finally:
            if self.transport is not None:
                self.transport.close()
            self._server.forget(self)  # `connection_lost` does not come here when the transport was given another protocol

    def _worth_discarding(self, exchange: Exchange) -> bool:
        """Whether the rest of an unread body is short enough to be awaited. A client that still waits for "100 Continue" may never send it."""
        body, length = exchange.body, exchange.request.content_length
        assert body is not None
        return not body.continue_expected and length is not None and length - body.received <= self._limits.discard

    def _discard(self, exchange: Exchange) -> bool:
        body = exchange.body
        assert body is not None
        if body.continue_expected:
            return False
        body.discard()
        self.release()
        return True

    def _next(self) -> None:
        """The answer is out, or the body that nobody read is gone: what is next?"""
        if self.transport is None:
            return
        limits = self._limits
        if self._queue:
            following = self._queue.popleft()
            if isinstance(following, Refusal):
                self._answer_refusal(following)
            elif self._server.draining:
                self._close()
            else:
                self._begin(following)
        elif self._last or self._deaf or self._server.draining:
            self._close()
        elif self._parser.incoming is not None:
            self.deadline = self.loop.time() + limits.body_timeout
        else:
            self.deadline = self.loop.time() + (limits.head_timeout if self._parser.in_head else limits.idle_timeout)
            if self._stash:
                data = b"".join(self._stash)
                self._stash.clear()
                self._stashed = 0
                self.release()
                self._parse(data)

    def _close(self) -> None:
        """Nothing more will be said. What the client is still sending is read for a while: closing on it would reset what we have said."""
        transport = self.transport
        unread = self._parser.incoming is not None or bool(self._stash) or self._deaf
        self._deaf = self._last = True
        if transport is None or transport.is_closing() or self._lingering:
            return
        if not unread or self._ended or self.secure or self._raw is not None or not transport.can_write_eof():
            transport.close()
            return
        self._fail_body("The connection is closing.")
        self._lingering = True
        self.deadline = self.loop.time() + self._limits.linger_timeout
        transport.write_eof()
        self.release()

    # -- flow

    def body_wanted(self) -> None:
        exchange = self._current
        if exchange is None or exchange.body is None or self.transport is None:
            return
        if exchange.body.continue_expected:
            exchange.body.continue_expected = False
            if not exchange.body.received and not self.transport.is_closing():
                self.transport.write(framing.CONTINUE)
        self.deadline = self.loop.time() + self._limits.body_timeout

    def body_kept(self, size: int) -> None:
        self._server.keep(size)

    def body_taken(self) -> None:
        incoming = self._parser.incoming
        if self.held and incoming is not None and not incoming.full:
            self.release()


async def _close_body(body: ResponseBody) -> None:
    if isinstance(body, FileRegion):
        body.close()
    elif not isinstance(body, bytes):
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
