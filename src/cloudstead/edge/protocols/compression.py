"""Compressed requests: operations with the `requestcompression` trait (CloudWatch's PutMetricData) take their body in gzip.

https://smithy.io/2.0/spec/behavior-traits.html#requestcompression-trait

Elsewhere Content-Encoding is the operation's own business: to S3 it is a property of the object.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from cloudstead.edge.protocols.model import Parser
from cloudstead.http.messages import BodyTooLong, Headers, HttpRequest
from cloudstead.kernel.errors import MalformedRequest
from cloudstead.kernel.shapes import ByteStream, Request

MAX_BYTES = 64 << 20  # of a body once it is decompressed
_GZIP = 16 + zlib.MAX_WBITS


def decompressing(parse: Parser) -> Parser:
    """The same parser for a body that may be compressed."""

    def parse_decompressed(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
        encoding = request.headers.get("content-encoding")
        if encoding and isinstance(body, bytes):
            *others, last = [name.strip() for name in encoding.split(",")]
            if last.lower() == "gzip":
                return parse(_with_encoding(request, ", ".join(others)), decompress(body), labels)
        return parse(request, body, labels)

    return parse_decompressed


def decompress(body: bytes) -> bytes:
    """
    Raises:
        MalformedRequest: this is not gzip, or not all of it.
        BodyTooLong: it becomes more than MAX_BYTES.
    """
    inflate = zlib.decompressobj(_GZIP)
    try:
        whole = inflate.decompress(body, MAX_BYTES)
    except zlib.error:
        raise MalformedRequest("The body of the request is not compressed as its Content-Encoding says.") from None
    if inflate.unconsumed_tail:
        raise BodyTooLong(f"The request body is longer than {MAX_BYTES} bytes when decompressed.")
    if not inflate.eof or inflate.unused_data:
        raise MalformedRequest("The compressed body of the request is incomplete or has something after its end.")
    return whole


def _with_encoding(request: HttpRequest, encoding: str) -> HttpRequest:
    """The request as it was before the client compressed it."""
    headers = [(name, value) for name, value in request.headers if name.lower() != "content-encoding"]
    if encoding:
        headers.append(("Content-Encoding", encoding))
    return HttpRequest(
        request.method,
        request.target,
        Headers(headers),
        request.body,
        peer=request.peer,
        peer_port=request.peer_port,
        secure=request.secure,
        http_version=request.http_version,
    )
