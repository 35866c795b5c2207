"""Layers by the API: which are here, a URL to read one from; begun, sent in parts, completed. The same uploads as those of the registry protocol."""

from __future__ import annotations

from cloudstead.engine.errors import EngineError, NoSpace
from cloudstead.engine.registry import errors, layers
from cloudstead.engine.registry.layers import NoDigest, Parts
from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, downloads, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import RepositoryRow


def parts_of(ctx: Context) -> Parts:
    found: Parts | None = ctx.cloud.parts.get("ecr.parts")
    if found is None:
        found = ctx.cloud.parts["ecr.parts"] = Parts(catalog(ctx))
    return found


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_check_layer_availability(
    ctx: Context, request: api.BatchCheckLayerAvailabilityRequest
) -> api.BatchCheckLayerAvailabilityResponse:
    """Which of up to 100 layers need not be uploaded. Those that are here stay for the image that is being pushed."""
    row = repositories.of(ctx, request)
    checked = [_check(ctx, row, digest) for digest in request.layer_digests]
    return api.BatchCheckLayerAvailabilityResponse(
        layers=[each for each in checked if isinstance(each, api.Layer)],
        failures=[each for each in checked if isinstance(each, api.LayerFailure)],
    )


def _check(ctx: Context, row: RepositoryRow, digest: str) -> api.Layer | api.LayerFailure:
    found = layers.look_up(catalog(ctx), row.place, digest)
    if isinstance(found, NoDigest):
        return api.LayerFailure(layer_digest=digest, failure_code=found.code, failure_reason=found.reason)
    return api.Layer(layer_digest=digest, layer_availability=found.availability, layer_size=found.size, media_type=found.media_type)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_download_url_for_layer(ctx: Context, request: api.GetDownloadUrlForLayerRequest) -> api.GetDownloadUrlForLayerResponse:
    """A URL from which whoever has it can read a layer for a while. Only of layers that an image speaks of."""
    row = repositories.of(ctx, request)
    blob = catalog(ctx).blob(row.place, request.layer_digest)
    if blob is None:
        raise api.LayersNotFoundException(
            f"The layer with digest '{request.layer_digest}' does not exist within the repository with name '{row.name}' "
            f"in the registry with id '{row.account}'"
        )
    if not any(image.status == "ACTIVE" for image in layers.images_with(catalog(ctx), row.place, blob.digest)):
        raise api.LayerInaccessibleException(
            f"The layer with digest '{request.layer_digest}' within the repository with name '{row.name}' in the registry with id "
            f"'{row.account}' is not available because it is not associated with an active image"
        )
    return api.GetDownloadUrlForLayerResponse(download_url=downloads.url(ctx.cloud, blob), layer_digest=blob.digest)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def initiate_layer_upload(ctx: Context, request: api.InitiateLayerUploadRequest) -> api.InitiateLayerUploadResponse:
    """Begin to upload a layer."""
    row = repositories.of(ctx, request)
    return api.InitiateLayerUploadResponse(upload_id=parts_of(ctx).begin(row.place), part_size=layers.PART_SIZE)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def upload_layer_part(ctx: Context, request: api.UploadLayerPartRequest) -> api.UploadLayerPartResponse:
    """Add a part to the end of an upload."""
    row, upload = repositories.of(ctx, request), request.upload_id
    first, last = request.part_first_byte, request.part_last_byte
    most = quotas.limit(ctx, "ecr", "layer_parts")
    try:
        size = await parts_of(ctx).append(row.place, upload, first, last, request.layer_part_blob, most=most)
    except EngineError as error:
        raise _refusal(row, upload, error) from None
    return api.UploadLayerPartResponse(registry_id=row.account, repository_name=row.name, upload_id=upload, last_byte_received=size - 1)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def complete_layer_upload(ctx: Context, request: api.CompleteLayerUploadRequest) -> api.CompleteLayerUploadResponse:
    """Make an upload a layer of the repository, whose digest must be the one that is given."""
    row, upload = repositories.of(ctx, request), request.upload_id
    try:
        digest = await parts_of(ctx).complete(row.place, upload, request.layer_digests)
    except EngineError as error:
        raise _refusal(row, upload, error, request.layer_digests[0]) from None
    return api.CompleteLayerUploadResponse(registry_id=row.account, repository_name=row.name, upload_id=upload, layer_digest=digest)


_REFUSALS: dict[type[EngineError], type[ServiceError]] = {
    errors.UploadUnknown: api.UploadNotFoundException,
    errors.UploadBusy: api.InvalidParameterException,
    errors.DigestInvalid: api.InvalidParameterException,
    errors.NameUnknown: api.RepositoryNotFoundException,
    layers.UploadEmpty: api.EmptyUploadException,
    layers.PartTooSmall: api.LayerPartTooSmallException,
    layers.TooManyParts: api.LimitExceededException,
    layers.LayerExists: api.LayerAlreadyExistsException,
    layers.LayerInvalid: api.InvalidLayerException,
    NoSpace: api.LimitExceededException,
}


def _refusal(row: RepositoryRow, upload: str, error: EngineError, digest: str = "") -> ServiceError:
    """What the uploads refuse, as AWS does."""
    message = layers.sentence(error, account=row.account, name=row.name, upload=upload, digest=digest)
    if isinstance(error, layers.PartInvalid):
        return api.InvalidLayerPartException(
            message, registry_id=row.account, repository_name=row.name, upload_id=upload, last_valid_byte_received=error.last_byte
        )
    return _REFUSALS.get(type(error), api.ServerException)(message)
