"""Manifests: read, pushed under tags, deleted. What was stored is answered, whatever a client says that it accepts: its bytes are what the digest is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstead.engine.registry.errors import DigestInvalid, ImageReferenced, ManifestInvalid, ManifestUnknown, TooLarge
from cloudstead.engine.registry.http.answers import DIGEST, EMPTY, VERSION, Header
from cloudstead.engine.registry.http.blobs import matches
from cloudstead.engine.registry.http.paths import TAG, Query
from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.uploads import one_digest
from cloudstead.http.messages import BodyTooLong, HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import Call


async def get(call: Call) -> HttpResponse:
    image = await _readable(call)
    etag = f'"{image.digest}"'
    answer = _headers(image, etag)
    held = call.request.headers.get("if-none-match")
    if held is not None and matches(held, etag):
        return HttpResponse(304, answer)
    data = await call.catalog.manifest(image)
    call.gate.pulled(call.caller, call.rules, image)
    return HttpResponse(200, answer, data)


async def head(call: Call) -> HttpResponse:
    image = await _readable(call)
    return HttpResponse(200, [("Content-Length", str(image.size)), *_headers(image, f'"{image.digest}"')])


async def put(call: Call) -> HttpResponse:
    digest, tags = _names(call)
    try:
        data = await call.request.read(call.rules.artifact_size)
    except BodyTooLong:
        raise TooLarge(f"a manifest has {call.rules.artifact_size} bytes at most") from None
    image = await call.catalog.put_tagged(call.rules, data, call.request.headers.get("content-type") or "", digest=digest, tags=tags)
    answer = [("Location", f"/v2/{call.name}/manifests/{image.digest}"), (DIGEST, image.digest), EMPTY, VERSION]
    if image.subject:
        answer.append(("OCI-Subject", image.subject))
    answer += [("OCI-Tag", tag) for tag in tags]
    return HttpResponse(201, answer)


async def delete(call: Call) -> HttpResponse:
    """By tag: the tag, and the image stays; by digest: the image with all its tags."""
    catalog, rules, reference = call.catalog, call.rules, call.rest
    if ":" not in reference:
        if catalog.tag(rules.repository, reference) is None:
            raise _unknown(reference)
        catalog.untag(rules, [reference])
        return HttpResponse(202, [EMPTY, VERSION])
    image = catalog.image(rules.repository, one_digest((reference,)))
    if image is None:
        raise _unknown(reference)
    if parents := catalog.parents(rules.repository, reference):
        raise ImageReferenced(f"the image is part of {parents[0].digest}", detail=[{"digest": each.digest} for each in parents[:100]])
    await catalog.delete(rules, [image])
    return HttpResponse(202, [(DIGEST, reference), EMPTY, VERSION])


async def _readable(call: Call) -> ImageRow:
    """An image that may be pulled, once a pull-through cache has had its turn. One in the archive must be restored first."""
    reference = call.rest
    await call.gate.missing(call.caller, call.rules, reference)
    image = call.catalog.resolve(call.rules.repository, reference)
    if image is None:
        raise _unknown(reference)
    if image.status != "ACTIVE":
        raise ManifestUnknown(f"manifest unknown: the image is {image.status.lower()}", detail={"reference": reference[:256]})
    return image


def _headers(image: ImageRow, etag: str) -> list[Header]:
    return [("Content-Type", image.media_type), (DIGEST, image.digest), ("ETag", etag), VERSION]


def _names(call: Call) -> tuple[str, list[str]]:
    """What a PUT asks for: the digest that the manifest must have, or empty, and its tags: that of the path and those of the query."""
    tags = list(dict.fromkeys(Query(call.request.query).all("tag"))) if call.request.query else []
    digest = ""
    if ":" in call.rest:
        digest = one_digest((call.rest,))
    else:
        tags = [call.rest, *(tag for tag in tags if tag != call.rest)]
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise DigestInvalid(f"{tag[:160]!r} is no digest") if ":" in tag else ManifestInvalid(f"{tag[:160]!r} is no tag")
    return digest, tags


def _unknown(reference: str) -> ManifestUnknown:
    return ManifestUnknown("Requested image not found", detail={"reference": reference[:256]})
