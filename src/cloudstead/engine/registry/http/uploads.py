"""Uploads: a POST begins one, PATCH adds to it, PUT completes it. A POST may also do it all, or need no upload because a repository has the blob.

docker sends one PATCH without Content-Range and Content-Type; others send chunks with Content-Range, which must go on where the upload stands.

Our own engine pushes a `StoredBlob`: it says that the content store has the blob, so nothing is read or hashed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstead.engine.images import digests
from cloudstead.engine.images.own import StoredBlob
from cloudstead.engine.registry.errors import DigestInvalid, RangeInvalid, SizeInvalid
from cloudstead.engine.registry.http import ranges
from cloudstead.engine.registry.http.answers import DIGEST, EMPTY, VERSION, Header
from cloudstead.engine.registry.http.paths import Query
from cloudstead.engine.registry.uploads import one_digest
from cloudstead.http.messages import HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import Call

BATCH = 256 << 10  # bytes for which the loop turns once; twice as many may wait


async def begin(call: Call) -> HttpResponse:
    query = Query(call.request.query)
    mount, digest, algorithm = query.get("mount"), query.get("digest"), query.get("digest-algorithm")
    if mount is not None and await _mount(call, one_digest((mount,)), query.get("from") or ""):
        return _created(call, mount)
    if mount is None and digest is not None:
        one_digest((digest,))
        call.rules = await call.gate.enter(call.caller, call.name, "upload-complete")
        await _whole(call, digest)
        return _created(call, digest)
    if algorithm is not None and algorithm not in digests.ALGORITHMS:
        raise DigestInvalid(f"unsupported digest algorithm: {algorithm[:100]!r}")
    upload = call.uploads.begin(call.rules.repository, algorithm or "sha256")
    return HttpResponse(202, [*_progress(call, upload, 0), EMPTY])


async def _mount(call: Call, digest: str, source: str) -> bool:
    """Whether the repository has the blob now, without its bytes being sent. Where it may not come from there, an upload begins instead."""
    catalog, place = call.catalog, call.rules.repository
    own = catalog.blob(place, digest)
    if own is not None:
        catalog.claim(own)
        return True
    with catalog.content.lease(digest):
        size = catalog.content.size(digest) if call.gate.mountable(call.caller, call.rules, digest, source) else None
        if size is not None:
            await catalog.link(place, (digest, size))
    return size is not None


async def _whole(call: Call, digest: str) -> None:
    """From the request's body, or, where that comes from our own engine and is here already, without a byte of it."""
    body, place = call.request.body, call.rules.repository
    if isinstance(body, StoredBlob) and body.digest == digest and body.content is call.catalog.content:
        await call.uploads.adopt(place, digest, body.size)
    else:
        await call.uploads.whole(place, digest, call.request.batches(BATCH))


async def append(call: Call) -> HttpResponse:
    place, upload = call.rules.repository, call.rest
    chunk = _chunk(call)
    try:
        size = await call.uploads.append(place, upload, call.request.batches(BATCH), offset=None if chunk is None else chunk.first)
    except RangeInvalid as error:
        raise _told_where(call, error) from None
    if chunk is not None and size != chunk.last + 1:
        raise SizeInvalid(f"the chunk should have ended at byte {chunk.last}; the upload has {size} bytes now")
    return HttpResponse(202, [*_progress(call, upload, size), EMPTY])


async def complete(call: Call) -> HttpResponse:
    given = tuple(Query(call.request.query).all("digest"))
    chunk = _chunk(call)
    body, place = call.request.body, call.rules.repository
    if isinstance(body, StoredBlob) and given == (body.digest,) and call.uploads.size(place, call.rest) == 0:
        await call.uploads.adopt(place, body.digest, body.size)
        await call.uploads.cancel(place, call.rest)
        return _created(call, body.digest)
    try:
        digest, _ = await call.uploads.complete(
            place, call.rest, *given, data=call.request.batches(BATCH), offset=None if chunk is None else chunk.first
        )
    except RangeInvalid as error:
        raise _told_where(call, error) from None
    return _created(call, digest)


async def status(call: Call) -> HttpResponse:
    return HttpResponse(204, _progress(call, call.rest, call.uploads.size(call.rules.repository, call.rest)))


async def cancel(call: Call) -> HttpResponse:
    await call.uploads.cancel(call.rules.repository, call.rest)
    return HttpResponse(204, [VERSION])


def _chunk(call: Call) -> ranges.Chunk | None:
    """What the request says of itself. Raises UploadInvalid, SizeInvalid."""
    header = call.request.headers.get("content-range")
    if not header:
        return None
    chunk, length = ranges.chunk(header), call.request.content_length
    if length is not None and length != chunk.last - chunk.first + 1:
        raise SizeInvalid(f"a chunk of {length} bytes is not what {header[:100]!r} says")
    return chunk


def _progress(call: Call, upload: str, size: int) -> list[Header]:
    """An upload of no bytes has the range 0-0, as that of one byte has: every registry says so, and the specification has no other way."""
    location = f"/v2/{call.name}/blobs/uploads/{upload}"
    return [("Location", location), ("Range", f"0-{size - 1 if size else 0}"), ("Docker-Upload-UUID", upload), VERSION]


def _told_where(call: Call, error: RangeInvalid) -> RangeInvalid:
    """With the place where the upload stands; a client may also GET it."""
    offset = error.detail["offset"]
    return RangeInvalid(error.message, detail=error.detail, headers=tuple(_progress(call, call.rest, offset)[:3]))


def _created(call: Call, digest: str) -> HttpResponse:
    return HttpResponse(201, [("Location", f"/v2/{call.name}/blobs/{digest}"), (DIGEST, digest), EMPTY, VERSION])
