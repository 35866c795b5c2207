"""Layers by the API: which are here, and a URL to read one from."""

from __future__ import annotations

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import digests
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import IMAGES, BlobRow, ImageRow
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, downloads, repositories
from cloudstead.services.ecr.controller import catalog
from cloudstead.services.ecr.model import RepositoryRow

MOST_IMAGES = 1000  # that are looked at for one that is active


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_check_layer_availability(
    ctx: Context, request: api.BatchCheckLayerAvailabilityRequest
) -> api.BatchCheckLayerAvailabilityResponse:
    """Which of up to 100 layers need not be uploaded. Those that are here stay for the image that is being pushed."""
    row = repositories.of(ctx, request)
    content = catalog(ctx)
    layers: list[api.Layer] = []
    failures: list[api.LayerFailure] = []
    for digest in request.layer_digests:
        found = _check(content, row, digest)
        if isinstance(found, api.Layer):
            layers.append(found)
        else:
            failures.append(found)
    return api.BatchCheckLayerAvailabilityResponse(layers=layers, failures=failures)


def _check(content: Catalog, row: RepositoryRow, digest: str) -> api.Layer | api.LayerFailure:
    if not digest:
        return api.LayerFailure(layer_digest=digest, failure_code="MissingLayerDigest", failure_reason="Layer digest is missing")
    try:
        digests.require(digest)
    except InvalidArgument:
        return api.LayerFailure(layer_digest=digest, failure_code="InvalidLayerDigest", failure_reason=f"Invalid layer digest '{digest}'")
    blob = content.blob(row.place, digest)
    if blob is None:
        return api.Layer(layer_digest=digest, layer_availability="UNAVAILABLE")
    content.claim(blob)
    images = _images(content, blob)
    archived = bool(images) and not any(image.status == "ACTIVE" for image in images)
    return api.Layer(
        layer_digest=digest,
        layer_availability="ARCHIVED" if archived else "AVAILABLE",
        layer_size=blob.size,
        media_type=_media_type(images, digest),
    )


def _images(content: Catalog, blob: BlobRow) -> list[ImageRow]:
    """Those of its repository that speak of a blob."""
    key = (blob.registry, blob.repository, blob.digest)
    return content.store.table(IMAGES).scan(key, index="by_blob", limit=MOST_IMAGES)


def _media_type(images: list[ImageRow], digest: str) -> str | None:
    """As an image calls it; before there is one, nobody knows."""
    return next((blob.media_type for image in images for blob in image.blobs if blob.digest == digest), None)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_download_url_for_layer(ctx: Context, request: api.GetDownloadUrlForLayerRequest) -> api.GetDownloadUrlForLayerResponse:
    """A URL from which whoever has it can read a layer for a while. Only of layers that an image speaks of."""
    row = repositories.of(ctx, request)
    content = catalog(ctx)
    blob = content.blob(row.place, request.layer_digest)
    if blob is None:
        raise api.LayersNotFoundException(
            f"The layer with digest '{request.layer_digest}' does not exist within the repository with name '{row.name}' "
            f"in the registry with id '{row.account}'"
        )
    if not any(image.status == "ACTIVE" for image in _images(content, blob)):
        raise api.LayerInaccessibleException(
            f"The layer with digest '{request.layer_digest}' within the repository with name '{row.name}' in the registry with id "
            f"'{row.account}' is not available because it is not associated with an active image"
        )
    return api.GetDownloadUrlForLayerResponse(download_url=downloads.url(ctx.cloud, blob), layer_digest=blob.digest)
