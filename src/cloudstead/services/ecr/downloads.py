"""URLs to read one layer from, without a password: what S3's presigned URLs are to AWS's registry.

The query has what is meant (repository, digest, until when), sealed with a secret of this cloud, so that nothing is kept for it. A URL serves as long as
its layer is there, an hour at most, and parts of the layer too (`Range`).
"""

from __future__ import annotations

import msgspec

from cloudstead.engine.errors import NotFound
from cloudstead.engine.registry.errors import RegistryError
from cloudstead.engine.registry.http import ranges
from cloudstead.engine.registry.model import BlobRow, Repository
from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ecr.catalogs import catalog_of

PATH = "/_cloudstead/ecr/layer"
SECONDS = 3600.0
_PURPOSE = "ecr layer"
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class _Grant(msgspec.Struct, frozen=True, array_like=True):
    registry: str
    repository: str
    digest: str
    expires: float


def url(cloud: Cloud, blob: BlobRow) -> str:
    grant = _Grant(blob.registry, blob.repository, blob.digest, cloud.clock.time() + SECONDS)
    token = Sessions.of(cloud).seal(_PURPOSE, msgspec.msgpack.encode(grant)).rstrip("=")
    return f"{cloud.endpoint}{PATH}?token={token}"


async def answer(cloud: Cloud, request: HttpRequest) -> HttpResponse:
    """The page at PATH."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(405, [("Allow", "GET, HEAD"), _PLAIN], b"Method not allowed\n")
    grant = _opened(cloud, request.query)
    if grant is None or grant.expires <= cloud.clock.time():
        return HttpResponse(403, [_PLAIN], b"This URL is not valid (any longer).\n")
    catalog = catalog_of(cloud)
    blob = catalog.blob(Repository(grant.registry, grant.repository), grant.digest)
    if blob is None:
        return _gone()
    headers = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"), ("ETag", f'"{blob.digest}"')]
    if request.method == "HEAD":
        return HttpResponse(200, [*headers, ("Content-Length", str(blob.size))])
    try:
        span = ranges.wanted(request.headers.get("range") or "", blob.size)
        descriptor = catalog.content.open(blob.digest)
    except RegistryError as error:
        return HttpResponse(error.status, [_PLAIN, *error.headers], f"{error.message}\n".encode())
    except NotFound:
        return _gone()
    if span is None:
        return HttpResponse(200, headers, FileRegion(descriptor, 0, blob.size))
    headers.append(("Content-Range", f"bytes {span.start}-{span.start + span.length - 1}/{blob.size}"))
    return HttpResponse(206, headers, FileRegion(descriptor, span.start, span.length))


def _opened(cloud: Cloud, query: str) -> _Grant | None:
    name, _, token = query.partition("=")
    content = Sessions.of(cloud).unseal(_PURPOSE, token + "=" * (-len(token) % 4)) if name == "token" else None
    try:
        return None if content is None else msgspec.msgpack.decode(content, type=_Grant)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # sealed by another version


def _gone() -> HttpResponse:
    return HttpResponse(404, [_PLAIN], b"The layer is gone.\n")
