"""Layers by the API: which are here; begun, sent in parts, completed. The same uploads as those of the registry protocol."""

from __future__ import annotations

from cloudstead.engine.errors import EngineError, InvalidArgument, NoSpace
from cloudstead.engine.images import digests
from cloudstead.engine.registry import errors, parts
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import IMAGES, BlobRow
from cloudstead.engine.registry.parts import Parts
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr_public import api, arns, repositories
from cloudstead.services.ecr_public.images import invalid
from cloudstead.services.ecr_public.model import PublicRepository


def parts_of(ctx: Context) -> Parts:
    known = ctx.cloud.parts.get("ecr-public.parts")
    if known is None:
        known = ctx.cloud.parts["ecr-public.parts"] = Parts(repositories.catalog(ctx))
    assert isinstance(known, Parts)
    return known


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_check_layer_availability(
    ctx: Context, request: api.BatchCheckLayerAvailabilityRequest
) -> api.BatchCheckLayerAvailabilityResponse:
    """Which of up to 100 layers need not be uploaded. Those that are here stay for the image that is being pushed."""
    row, catalog = repositories.of(ctx, request), repositories.catalog(ctx)
    checked = [_check(catalog, row, digest) for digest in request.layer_digests]
    return api.BatchCheckLayerAvailabilityResponse(
        layers=[each for each in checked if isinstance(each, api.Layer)],
        failures=[each for each in checked if isinstance(each, api.LayerFailure)],
    )


def _check(catalog: Catalog, row: PublicRepository, digest: str) -> api.Layer | api.LayerFailure:
    if not digest:
        return api.LayerFailure(layer_digest=digest, failure_code="MissingLayerDigest", failure_reason="Layer digest is missing")
    try:
        digests.require(digest)
    except InvalidArgument:
        return api.LayerFailure(layer_digest=digest, failure_code="InvalidLayerDigest", failure_reason=f"Invalid layer digest '{digest}'")
    blob = catalog.blob(row.place, digest)
    if blob is None:
        return api.Layer(layer_digest=digest, layer_availability="UNAVAILABLE")
    catalog.claim(blob)
    return api.Layer(layer_digest=digest, layer_availability="AVAILABLE", layer_size=blob.size, media_type=_media_type(catalog, blob))


def _media_type(catalog: Catalog, blob: BlobRow) -> str | None:
    """As an image calls it; before there is one, nobody knows."""
    image = catalog.store.table(IMAGES).find("by_blob", (blob.registry, blob.repository, blob.digest))
    return None if image is None else next(each.media_type for each in image.blobs if each.digest == blob.digest)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def initiate_layer_upload(ctx: Context, request: api.InitiateLayerUploadRequest) -> api.InitiateLayerUploadResponse:
    """Begin to upload a layer."""
    row = repositories.of(ctx, request)
    return api.InitiateLayerUploadResponse(upload_id=parts_of(ctx).begin(row.place), part_size=parts.PART_SIZE)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def upload_layer_part(ctx: Context, request: api.UploadLayerPartRequest) -> api.UploadLayerPartResponse:
    """Add a part to the end of an upload."""
    row, upload = repositories.of(ctx, request), request.upload_id
    first, last = request.part_first_byte, request.part_last_byte
    try:
        size = await parts_of(ctx).append(row.place, upload.lower(), first, last, request.layer_part_blob)
    except EngineError as error:
        raise _refusal(row, upload, error) from None
    return api.UploadLayerPartResponse(registry_id=row.account, repository_name=row.name, upload_id=upload, last_byte_received=size - 1)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def complete_layer_upload(ctx: Context, request: api.CompleteLayerUploadRequest) -> api.CompleteLayerUploadResponse:
    """Make an upload a layer of the repository, whose digest must be the one that is given."""
    row, upload = repositories.of(ctx, request), request.upload_id
    given = [each.lower() for each in request.layer_digests]
    try:
        digest = await parts_of(ctx).complete(row.place, upload.lower(), given)
    except EngineError as error:
        raise _refusal(row, upload, error, given[0]) from None
    return api.CompleteLayerUploadResponse(registry_id=row.account, repository_name=row.name, upload_id=upload, layer_digest=digest)


def _refusal(row: PublicRepository, upload: str, error: EngineError, digest: str = "") -> ServiceError:
    """What the uploads refuse, in AWS's words."""
    where = f"in the repository with name '{row.name}' in the registry with id '{row.account}'"
    match error:
        case errors.UploadUnknown():
            return api.UploadNotFoundException(f"Upload with id '{upload}' could not be found {where}")
        case parts.PartInvalid():
            return api.InvalidLayerPartException(
                f"Invalid layer part upload for upload with id '{upload}' {where}",
                registry_id=row.account,
                repository_name=row.name,
                upload_id=upload,
                last_valid_byte_received=error.size - 1 if error.size else None,
            )
        case parts.UploadEmpty():
            return api.EmptyUploadException(f"Upload with id '{upload}' {where} cannot be completed because it does not have any parts")
        case parts.PartTooSmall():
            return api.LayerPartTooSmallException("All layer parts except the last part should be at least 5MB")
        case parts.LayerExists():
            return api.LayerAlreadyExistsException(f"The layer with digest '{digest}' already exists {where}")
        case parts.LayerInvalid():
            return api.InvalidLayerException(f"The layer uploaded with id '{upload}' {where} does not match the digest '{digest}'")
        case errors.DigestInvalid():
            return invalid("layerDigests", error.message)
        case errors.UploadBusy() | errors.RangeInvalid():
            return api.InvalidParameterException(f"Upload with id '{upload}' is being written to by another request")
        case errors.NameUnknown():
            return repositories.unknown(row.account, row.name)
        case NoSpace():
            return api.LimitExceededException("There is no space left on the device.")
        case _:
            return api.ServerException(error.message)
