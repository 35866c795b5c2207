"""One request, passed on to one target, and its answer on the way back.

A target that cannot be connected to, or breaks off before its answer has begun, is 502; one that keeps us waiting is 504, as AWS does. An answer that has
begun and breaks off ends the client's connection: there is no other way to tell it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from cloudstead.http.body import EmptyBody, IncomingBody
from cloudstead.http.messages import BodyBroken, HttpRequest, HttpResponse, WholeBody
from cloudstead.http.upgrade import RawStream
from cloudstead.http.upstream import HOP_BY_HOP, NotSent, Upstream, UpstreamError, UpstreamResponse
from cloudstead.kernel.clock import Clock
from cloudstead.services.elbv2.traffic.pages import page
from cloudstead.services.elbv2.traffic.splicing import splice

_CONNECTION = frozenset(("connection", "upgrade"))


class Exchange:
    """A request to a target, and what is to be done when it is over (once, however it ends)."""

    __slots__ = ("_clock", "_idle", "_over", "_upstream")

    def __init__(self, upstream: Upstream, clock: Clock, idle: float, over: Callable[[], None]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._idle = idle
        self._over: Callable[[], None] | None = over

    def over(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()

    async def __call__(self, request: HttpRequest, headers: list[tuple[str, str]]) -> HttpResponse:
        keep = False
        try:
            response = await self._ask(request, headers)
            answer = await self._passed(request, response)
            keep = not isinstance(answer.body, bytes) or answer.upgrade is not None
            return answer
        except NotSent as error:
            return page(504 if isinstance(error.__cause__, TimeoutError) else 502)
        except TimeoutError:
            return page(504)
        except BodyBroken:
            return page(400)
        except (UpstreamError, ValueError):
            return page(502)
        finally:
            if not keep:
                self.over()

    async def _ask(self, request: HttpRequest, headers: list[tuple[str, str]]) -> UpstreamResponse:
        upgrade = request.headers.get("upgrade") is not None and "upgrade" in (request.headers.get("connection") or "").lower()
        target = f"{request.path}?{request.query}" if request.query else request.path
        body = request.body
        at_hand = isinstance(body, WholeBody | EmptyBody) or (isinstance(body, IncomingBody) and body.complete)
        if at_hand:
            whole = await request.read()
            async with self._clock.timeout(self._idle):
                return await self._upstream.send(request.method, target, headers, whole, upgrade=upgrade)
        watch = _Watch(self._clock, self._idle)
        async with self._clock.timeout(None) as scope:
            watch.begin(scope)
            try:
                return await self._upstream.send(
                    request.method, target, headers, watch.stream(request), length=request.content_length, upgrade=upgrade
                )
            finally:
                watch.end()

    async def _passed(self, request: HttpRequest, response: UpstreamResponse) -> HttpResponse:
        named = {word.strip().lower() for word in (response.headers.get("connection") or "").split(",")}
        passed = [(name, value) for name, value in response.headers if (lower := name.lower()) not in HOP_BY_HOP and lower not in named]
        if response.raw is not None:
            there = response.raw
            passed += [(name, value) for name, value in response.headers if name.lower() in _CONNECTION]

            async def both_ways(here: RawStream) -> None:
                try:
                    await splice(here, there, self._clock, self._idle)
                finally:
                    self.over()

            return HttpResponse(101, passed, _Untaken(there, self), upgrade=both_ways)
        length = response.headers.get("content-length")
        if request.method == "HEAD":
            if length is not None:
                passed.append(("Content-Length", length))
            return HttpResponse(response.status, passed)
        if response.complete:
            return HttpResponse(response.status, passed, await response.read())
        if length is not None:
            passed.append(("Content-Length", length))
        return HttpResponse(response.status, passed, _Passing(response, self, self._clock, self._idle))


class _Passing:
    """The body of an answer that is still arriving."""

    __slots__ = ("_clock", "_exchange", "_idle", "_response")

    def __init__(self, response: UpstreamResponse, exchange: Exchange, clock: Clock, idle: float) -> None:
        self._response = response
        self._exchange = exchange
        self._clock = clock
        self._idle = idle

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with self._clock.timeout(self._idle):
                return await self._response.__anext__()
        except (TimeoutError, UpstreamError) as error:
            raise ConnectionResetError("The target broke off.") from error  # so that the client's connection ends, too

    async def aclose(self) -> None:
        await self._response.aclose()
        self._exchange.over()


class _Untaken:
    """Stands in place of the body of an upgraded connection, to be closed also when the client was gone before it could be handed over."""

    __slots__ = ("_exchange", "_there")

    def __init__(self, there: RawStream, exchange: Exchange) -> None:
        self._there = there
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._there.close()
        self._exchange.over()


class _Watch:
    """A time limit that begins anew with each piece of a request's body."""

    __slots__ = ("_clock", "_idle", "_scope", "_timer")

    def __init__(self, clock: Clock, idle: float) -> None:
        self._clock = clock
        self._idle = idle
        self._scope: Any = None
        self._timer: Any = None

    def begin(self, scope: object) -> None:
        self._scope = scope
        self._again()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._scope = None

    def _again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(self._idle, self._expired)

    def _expired(self) -> None:
        if self._scope is not None:
            self._scope.reschedule(float("-inf"))

    async def stream(self, request: HttpRequest) -> AsyncIterator[bytes]:
        async for piece in request.stream():
            if self._scope is not None:
                self._again()
            yield piece
