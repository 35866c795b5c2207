"""From bytes to requests: httptools' callbacks, the caps that it lacks, and the refusal of what could be read in two ways.

llhttp itself refuses Content-Length twice or with Transfer-Encoding, bare line feeds, folded lines, spaces before a colon, control characters, bad
chunk sizes. It has no cap on anything, and lets pass what `_check_head` refuses.
"""

from __future__ import annotations

import logging
from typing import NoReturn, Protocol

import httptools

from cloudstead.http.body import EMPTY, Feeder, IncomingBody
from cloudstead.http.limits import Limits
from cloudstead.http.messages import Headers, HttpRequest

log = logging.getLogger(__name__)

HEADER_COST = 4  # ": " and the line's end

_names: dict[bytes, tuple[str, str]] = {}  # header names as they come -> as text, in lower case; clients send the same few again and again
_REMEMBERED = 512  # names, none longer than this
_REMEMBERED_LENGTH = 64


def _learn(name: bytes) -> tuple[str, str]:
    spelled = name.decode("latin-1")
    known = spelled, spelled.lower()
    if len(_names) < _REMEMBERED and len(name) <= _REMEMBERED_LENGTH:
        _names[name] = known
    return known


class Refusal(Exception):
    """What came cannot be served."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Exchange:
    """A request and what is needed to answer it."""

    __slots__ = ("body", "keep_alive", "request")

    def __init__(self, request: HttpRequest, body: IncomingBody | None, keep_alive: bool) -> None:
        self.request = request
        self.body = body  # None when it has none
        self.keep_alive = keep_alive


class Receiver(Feeder, Protocol):
    """The connection, as the parser needs it."""

    peer: tuple[str, int]
    secure: bool

    def accept(self, exchange: Exchange) -> None:
        """The head of a request is complete; its body may still arrive."""


class RequestParser:
    """The requests of one connection."""

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self.in_head = False
        self.incoming: IncomingBody | None = None  # the body being received
        self._head_fed = 0  # bytes of reads that brought neither the beginning nor the end of the head
        self._fresh = False  # the head began in this read
        self._quiet = 0  # bytes since the last of a body: chunk extensions and trailers
        self._target = b""
        self._fields: list[tuple[str, str]] = []
        self._index: dict[str, str] = {}
        self._size = 0
        self._unparsed = 0  # bytes to come of the body of a request that asks for an upgrade
        self._refusal: Refusal | None = None

    def feed(self, data: bytes) -> bytes:
        """Parse. Returns what follows a request that asks for an upgrade: raw bytes or, should it not be granted, the next request.

        Raises:
            Refusal: nothing that follows can be understood.
        """
        if self._unparsed:
            return self._take(data)
        body = self.incoming
        received = body.received if body is not None else 0
        self._fresh = False
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._take(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self._refusal is None and isinstance(error, httptools.HttpParserCallbackError):
                log.error("a parser callback failed", exc_info=error)
            raise self._refusal or Refusal(400, str(error)) from None
        if self.in_head:
            self._head_fed = 0 if self._fresh else self._head_fed + len(data)
            if self._head_fed > self._limits.head_bytes:
                raise Refusal(431, "headers too large")
        elif body is not None and body is self.incoming:
            self._quiet = self._quiet + len(data) if body.received == received else 0
            if self._quiet > self._limits.head_bytes:
                raise Refusal(400, "chunk extensions or trailers too large")
        return rest

    def _take(self, data: bytes) -> bytes:
        """Take what of `data` is the body of a request that asks for an upgrade, which llhttp does not parse; gives back the rest."""
        body, left = self.incoming, self._unparsed
        if body is None or not left:
            self._unparsed = 0
            return data
        taken = data[:left]
        self._unparsed = left - len(taken)
        if taken:
            body.feed(taken)
        if not self._unparsed:
            self.incoming = None
            body.finish()
        return data[left:]

    # Called by httptools.

    def on_message_begin(self) -> None:
        self.in_head = self._fresh = True
        self._target = b""
        self._fields = []
        self._index = {}
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + HEADER_COST
        text = value.decode("latin-1").rstrip(" \t")
        if self.in_head:
            spelled, lower = _names.get(name) or _learn(name)
            self._fields.append((spelled, text))
            self._index.setdefault(lower, text)
        elif self.incoming is not None:
            trailers = self.incoming.trailers
            if self._size > self._limits.head_bytes or len(trailers) >= self._limits.head_fields:
                self._refuse(431, "trailers too large")
            trailers.append((name.decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        self.in_head = False
        fields = self._fields
        if self._size + len(self._target) > self._limits.head_bytes or len(fields) > self._limits.head_fields:
            self._refuse(431, "headers too large")
        self._size = self._quiet = 0
        parser, receiver = self._parser, self._receiver
        version = parser.get_http_version()
        index = self._index
        headers = Headers(fields, index)
        self._check_head(version, headers, index)
        body: IncomingBody | None = None
        length = index.get("content-length")
        size = None if length is None else int(length)
        if size or "transfer-encoding" in index:
            expects = "expect" in index and version == "1.1" and index["expect"].lower() == "100-continue"
            if parser.should_upgrade():
                self._unparsed = size or self._refuse(400, "a chunked body in a request that asks for an upgrade")
            body = self.incoming = IncomingBody(receiver, self._limits.body_buffer, continue_expected=expects)
        peer, port = receiver.peer
        request = HttpRequest(
            parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            headers,
            EMPTY if body is None else body,
            content_length=size,
            peer=peer,
            peer_port=port,
            secure=receiver.secure,
            http_version=version,
        )
        receiver.accept(Exchange(request, body, parser.should_keep_alive()))

    def _check_head(self, version: str, headers: Headers, index: dict[str, str]) -> None:
        if version not in ("1.1", "1.0"):
            self._refuse(400, "HTTP version not supported")
        encoding = index.get("transfer-encoding")
        if encoding is not None and (encoding.lower() != "chunked" or version == "1.0" or "content-length" in index):
            self._refuse(400, "Transfer-Encoding other than chunked, or where it must not be")
        if len(index) != len(headers.pairs) and (len(headers.get_all("host")) > 1 or len(headers.get_all("transfer-encoding")) > 1):
            self._refuse(400, "more than one Host or Transfer-Encoding")
        if version == "1.1" and "host" not in index:
            self._refuse(400, "no Host")  # RFC 9112, 3.2

    def on_body(self, data: bytes) -> None:
        if self.incoming is not None:
            self.incoming.feed(data)

    def on_message_complete(self) -> None:
        if self._unparsed:
            return
        body, self.incoming = self.incoming, None
        if body is not None:
            body.finish()

    def _refuse(self, status: int, reason: str) -> NoReturn:
        self._refusal = Refusal(status, reason)
        raise self._refusal
