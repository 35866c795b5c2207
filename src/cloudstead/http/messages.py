"""What a handler is given and what it gives back: requests, responses and their headers.

    async def handler(request: HttpRequest) -> HttpResponse

Nothing is normalised: header names keep their case, duplicates and order, the target is what stood on the request line. Signatures, REST API
events and Docker need all three. Text is latin-1 on both sides, so that every byte of the wire survives a round trip.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cloudstead.kernel.errors import CommonError, MalformedRequest

if TYPE_CHECKING:
    from cloudstead.http.upgrade import RawStream

DEFAULT_BODY_LIMIT = 64 << 20  # bytes that `HttpRequest.read` takes unless told otherwise


class BodyTooLong(CommonError):
    """The body is longer than whoever reads it whole allows."""

    code, json_code, status = "RequestEntityTooLarge", "RequestEntityTooLargeException", 413


class BodyBroken(MalformedRequest):
    """The body ended early or its framing (chunk sizes, trailers) is wrong. The connection closes after the answer."""

    code = "IncompleteBody"


class Headers:
    """Header fields in the order and spelling of the wire; looked up without regard to case.

    The lower-case index is built at the first look-up; the parser, which has every name in hand, brings its own.
    """

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = (), index: dict[str, str] | None = None) -> None:
        self.pairs: list[tuple[str, str]] = pairs if isinstance(pairs, list) else list(pairs)
        self._index = index

    def get(self, name: str) -> str | None:
        """The first value of this name, or None."""
        index = self._index
        if index is None:
            index = self.index()
        value = index.get(name)
        return index.get(name.lower()) if value is None else value

    def get_all(self, name: str) -> list[str]:
        """Every value of this name, in order."""
        name = name.lower()
        return [value for key, value in self.pairs if key.lower() == name]

    def index(self) -> dict[str, str]:
        """First value by lower-case name. Read only."""
        index = self._index
        if index is None:
            index = {}
            for name, value in self.pairs:
                name = name.lower()
                if name not in index:
                    index[name] = value
            self._index = index
        return index

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and other.pairs == self.pairs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


class Body(Protocol):
    """The bytes of a request as they arrive. `http.body.IncomingBody` is the one on a connection."""

    trailers: list[tuple[str, str]]  # complete when `next` has returned b""

    async def next(self) -> bytes:
        """The next piece, never empty before the end; b"" at the end, again and again.

        Raises:
            BodyBroken: the rest will never come, or cannot be understood.
        """
        ...

    def keep(self, size: int) -> None:
        """Whoever reads this body says that so many bytes of it stay in memory until the request is answered.

        Raises:
            Throttled: all requests together keep too much.
        """
        ...


class WholeBody:
    """A body that is all there."""

    __slots__ = ("data", "trailers")

    def __init__(self, data: bytes, trailers: Iterable[tuple[str, str]] = ()) -> None:
        self.data = data
        self.trailers = list(trailers)

    async def next(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def keep(self, size: int) -> None:
        """It is in memory already."""


class HttpRequest:
    """One request. `method`, `target`, `path` and `query` are raw: percent-encoding, double slashes and dots are as the client sent them."""

    __slots__ = (
        "_host", "_whole", "body", "content_length", "headers", "http_version", "method", "path", "peer", "peer_port", "query", "secure", "target",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: Body,
        *,
        content_length: int | None = None,
        peer: str = "",
        peer_port: int = 0,
        secure: bool = False,
        http_version: str = "1.1",
    ) -> None:
        self.method = method
        self.target = target
        self._host: str | None = None
        self.path, _, self.query = self._origin(target).partition("?")
        self.headers = headers
        self.body = body
        self._whole: bytes | None = None
        self.content_length = content_length  # None when the body is chunked or there is none
        self.peer = peer  # the client's IP address; empty on a unix socket
        self.peer_port = peer_port
        self.secure = secure  # came over TLS
        self.http_version = http_version

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        peer: str = "127.0.0.1",
        secure: bool = False,
        trailers: Iterable[tuple[str, str]] = (),
    ) -> HttpRequest:
        """A request that never was on a socket, for tests and inner calls."""
        fields = Headers(headers)
        return cls(method, target, fields, WholeBody(body, trailers), content_length=len(body), peer=peer, secure=secure)

    def _origin(self, target: str) -> str:
        """The path and query of the target; of an absolute-form one (RFC 9112, 3.2.2) the host is noted too."""
        if target[:1] == "/":
            return target
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            return target  # "*"; whatever else there is, no route will match
        cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        self._host, path = rest[:cut].rpartition("@")[2], rest[cut:]
        return path if path[:1] == "/" else "/" + path

    @property
    def host(self) -> str:
        """What the client thinks it talks to, port included: from an absolute-form target, else from Host; may be empty."""
        return self._host if self._host is not None else self.headers.get("host") or ""

    @property
    def trailers(self) -> Headers:
        """The trailer fields of a chunked body; complete once the body has been read. Never mixed with the headers."""
        return Headers(self.body.trailers)

    async def read(self, limit: int = DEFAULT_BODY_LIMIT) -> bytes:
        """The whole body; the same bytes each time it is called.

        Raises:
            BodyTooLong: there are more than `limit` bytes; when Content-Length says so, nothing is read.
            Throttled: all requests together hold too much. Bodies that come in one piece do not count.
            BodyBroken
        """
        if self._whole is None:
            if self.content_length is not None and self.content_length > limit:
                raise BodyTooLong(f"The request body is longer than {limit} bytes.")
            first = await self.body.next()
            if first:
                pieces, size = [first], len(first)
                while size <= limit and (piece := await self.body.next()):
                    self.body.keep(len(piece))
                    pieces.append(piece)
                    size += len(piece)
                if size > limit:
                    raise BodyTooLong(f"The request body is longer than {limit} bytes.")
                first = b"".join(pieces) if len(pieces) > 1 else first
            self._whole = first
        return self._whole

    @property
    def whole(self) -> bytes | None:
        """The body, if it has been `read` before; None otherwise."""
        return self._whole

    async def batches(self, size: int) -> AsyncIterator[list[bytes]]:
        """As `stream`, with fewer turns: pieces that are some `size` bytes together, where the body can wait for so many.

        Raises:
            BodyBroken
        """
        gather = getattr(self.body, "gather", None)
        if self._whole is not None or gather is None:
            async for piece in self.stream():
                yield [piece]
            return
        while pieces := await gather(size):
            yield pieces

    async def stream(self) -> AsyncIterator[bytes]:
        """The body piece by piece, no faster than it is taken. After `read` it is that whole body.

        Raises:
            BodyBroken
        """
        if self._whole is not None:
            if self._whole:
                yield self._whole
            return
        while piece := await self.body.next():
            yield piece

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {self.target}>"


class FileRegion:
    """A part of an open file as a body: sent by the kernel (sendfile) where that is possible.

    Owns the descriptor: it is closed when the response has been sent or given up.
    """

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


ResponseBody: TypeAlias = bytes | AsyncIterator[bytes] | FileRegion
Upgrade: TypeAlias = Callable[["RawStream"], Awaitable[None]]


class HttpResponse:
    """One answer.

    `headers` are sent as they stand; Date, Server, Content-Length, Transfer-Encoding and Connection are added where they are missing and needed.
    An async iterator is sent chunked, or, when `headers` has a Content-Length, as exactly that many bytes; it is closed (`aclose`) whatever happens.

    With `upgrade`, the head is sent without any framing and the connection is handed to the callback as a raw stream (WebSocket, Docker's hijack);
    the request's body must have been read before. The connection closes when the callback returns, and the callback is cancelled when it is lost.
    """

    __slots__ = ("body", "headers", "status", "upgrade")

    def __init__(
        self,
        status: int = 200,
        headers: list[tuple[str, str]] | None = None,
        body: ResponseBody = b"",
        *,
        upgrade: Upgrade | None = None,
    ) -> None:
        self.status = status
        self.headers = [] if headers is None else headers
        self.body = body
        self.upgrade = upgrade

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}>"


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]
