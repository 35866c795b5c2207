"""Bodies that stream are checked while they pass.

A small body is hashed before anything is done. A long one is passed on as it comes; what its signature covers is checked on the way, and the call
fails when it does not hold, before whoever reads it has seen the end: the last piece is kept until everything is known to be right. A reader that
was told a length so never gets all of a body that is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from cloudstead.edge import chunked, digests
from cloudstead.edge.sigv4 import Signature
from cloudstead.http.messages import Body, HttpRequest


class CheckedBody:
    """A request's body (`messages.Body`) read through something that raises when it is not what was signed."""

    __slots__ = ("_body", "_source", "trailers")

    def __init__(self, source: AsyncIterator[bytes], body: Body) -> None:
        self._source = source
        self._body = body
        self.trailers = body.trailers

    async def next(self) -> bytes:
        return await anext(self._source, b"")

    def keep(self, size: int) -> None:
        self._body.keep(size)


def verified(request: HttpRequest, signature: Signature, secret: str) -> HttpRequest:
    """The same request with a body that is checked as it is read. The request's own signature has been verified.

    Raises:
        UnsupportedSignature, MissingDecodedLength, …: see chunked.decode.
    """
    length = request.content_length
    if signature.streaming:
        source, length = rechunked(chunked.decode(request, signature, secret)), None
    elif signature.covers_body:
        source = chunked.checked(request.stream(), signature.payload)
    else:
        return request
    return reading(request, source, length)


async def as_described(request: HttpRequest, body: bytes | None) -> HttpRequest:
    """The same request to S3, its body checked against the checksums in its headers: now if it is all there, else as it is read.

    Raises:
        ChecksumMismatch, DigestMalformed
    """
    claimed = digests.claims(request)
    if not claimed:
        return request
    if body is None:
        return reading(request, digests.checked(claimed, request.stream()), request.content_length)
    await digests.check(claimed, body)
    return request


def reading(request: HttpRequest, source: AsyncIterator[bytes], length: int | None) -> HttpRequest:
    """The same request with another body."""
    return HttpRequest(
        request.method,
        request.target,
        request.headers,
        CheckedBody(all_but_the_last_at_once(source), request.body),
        content_length=length,
        peer=request.peer,
        peer_port=request.peer_port,
        secure=request.secure,
        http_version=request.http_version,
    )


async def all_but_the_last_at_once(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, each when the next one is there, the last when the source has ended and not failed."""
    held = b""
    async for piece in source:
        if held:
            yield held
        held = piece
    if held:
        yield held


async def rechunked(body: chunked.ChunkedBody) -> AsyncIterator[bytes]:
    """aws-chunked again, without the signatures: the reader behind the edge needs the trailers too, and the headers announce this coding."""
    async for piece in body:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    trailers = "".join(f"{name}:{value}\r\n" for name, value in body.trailers)
    yield f"0\r\n{trailers}\r\n".encode("latin-1")
