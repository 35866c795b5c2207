"""Blobs: read whole or in part, asked for, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstead.engine.errors import NotFound
from cloudstead.engine.registry.errors import BlobUnknown
from cloudstead.engine.registry.http import ranges
from cloudstead.engine.registry.http.answers import DIGEST, EMPTY, VERSION, Header
from cloudstead.engine.registry.model import BlobRow
from cloudstead.engine.registry.uploads import one_digest
from cloudstead.http.messages import FileRegion, HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import Call

TYPE: Header = ("Content-Type", "application/octet-stream")
ACCEPT_RANGES: Header = ("Accept-Ranges", "bytes")
CACHE: Header = ("Cache-Control", "max-age=31536000")  # what a digest stands for never changes


async def get(call: Call) -> HttpResponse:
    row = _require(call)
    headers = call.request.headers.index()
    tag = f'"{row.digest}"'
    answer = [TYPE, (DIGEST, row.digest), ("ETag", tag), ACCEPT_RANGES, CACHE, VERSION]
    if "if-none-match" in headers and matches(headers["if-none-match"], tag):
        return HttpResponse(304, answer)
    span = None
    if "range" in headers and headers.get("if-range", tag) == tag:
        span = ranges.wanted(headers["range"], row.size)
    try:
        descriptor = call.catalog.content.open(row.digest)
    except NotFound:
        raise _unknown(row.digest) from None
    if span is None:
        return HttpResponse(200, answer, FileRegion(descriptor, 0, row.size))
    answer.append(("Content-Range", f"bytes {span.start}-{span.start + span.length - 1}/{row.size}"))
    return HttpResponse(206, answer, FileRegion(descriptor, span.start, span.length))


async def head(call: Call) -> HttpResponse:
    """Who is told that a blob is here may count on it for a while, and push an image that speaks of it."""
    row = _require(call)
    call.catalog.claim(row)
    return HttpResponse(
        200, [("Content-Length", str(row.size)), TYPE, (DIGEST, row.digest), ("ETag", f'"{row.digest}"'), ACCEPT_RANGES, CACHE, VERSION]
    )


async def delete(call: Call) -> HttpResponse:
    row = _require(call)
    await call.catalog.delete_blob(row)
    return HttpResponse(202, [(DIGEST, row.digest), EMPTY, VERSION])


def matches(header: str, tag: str) -> bool:
    """Of If-None-Match: one of its entity tags, or any."""
    return header == tag or any(each.strip().removeprefix("W/") in (tag, "*") for each in header.split(","))


def _require(call: Call) -> BlobRow:
    row = call.catalog.blob(call.rules.repository, call.rest)
    if row is None:
        raise _unknown(one_digest((call.rest,)))
    return row


def _unknown(digest: str) -> BlobUnknown:
    return BlobUnknown("blob unknown to registry", detail={"digest": digest})
