"""Layers on their way into a repository by the API: begun, sent in parts, completed. The same uploads as those of the registry protocol.

Only one thing is known here that the protocol does not ask for: that every part but the last has at least 5 MiB. It is told when the upload is completed,
as on AWS, and is remembered until then; a restart forgets it, and an upload that went on after one is taken with parts that were too small.
"""

from __future__ import annotations

from collections import OrderedDict

from cloudstead.engine.errors import EngineError, NoSpace
from cloudstead.engine.images import digests
from cloudstead.engine.registry import errors
from cloudstead.engine.registry.uploads import Uploads
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, repositories
from cloudstead.services.ecr.controller import catalog
from cloudstead.services.ecr.model import RepositoryRow

PART_SIZE = 20_971_520  # bytes, the most of one part
SMALLEST_PART = 5 << 20
_REMEMBERED = 10_000  # uploads


class ShortParts:
    """Uploads whose last part was short; and those where another part came after it."""

    def __init__(self) -> None:
        self._uploads: OrderedDict[str, bool] = OrderedDict()

    def came(self, upload: str, size: int) -> None:
        if upload in self._uploads:
            self._uploads[upload] = True
        elif size < SMALLEST_PART:
            self._uploads[upload] = False
            if len(self._uploads) > _REMEMBERED:
                self._uploads.popitem(last=False)

    def too_small(self, upload: str) -> bool:
        return self._uploads.get(upload, False)

    def over(self, upload: str) -> None:
        self._uploads.pop(upload, None)

    @classmethod
    def of(cls, ctx: Context) -> ShortParts:
        found: ShortParts = ctx.cloud.parts.setdefault("ecr.short parts", cls())
        return found


def uploads(ctx: Context) -> Uploads:
    found: Uploads | None = ctx.cloud.parts.get("ecr.uploads")
    if found is None:
        found = ctx.cloud.parts["ecr.uploads"] = Uploads(catalog(ctx))
    return found


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def initiate_layer_upload(ctx: Context, request: api.InitiateLayerUploadRequest) -> api.InitiateLayerUploadResponse:
    """Begin to upload a layer."""
    row = repositories.of(ctx, request)
    return api.InitiateLayerUploadResponse(upload_id=uploads(ctx).begin(row.place), part_size=PART_SIZE)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def upload_layer_part(ctx: Context, request: api.UploadLayerPartRequest) -> api.UploadLayerPartResponse:
    """Add a part to the end of an upload."""
    row = repositories.of(ctx, request)
    upload, data = request.upload_id.lower(), request.layer_part_blob
    try:
        if request.part_last_byte - request.part_first_byte + 1 != len(data) or not data:
            raise errors.RangeInvalid("the part has another size")
        size = await uploads(ctx).append(row.place, upload, data, offset=request.part_first_byte)
    except errors.RangeInvalid:
        raise _invalid_part(ctx, row, request.upload_id) from None
    except EngineError as error:
        raise _refusal(row, request.upload_id, error) from None
    ShortParts.of(ctx).came(upload, len(data))
    return api.UploadLayerPartResponse(
        registry_id=row.account, repository_name=row.name, upload_id=request.upload_id, last_byte_received=size - 1
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def complete_layer_upload(ctx: Context, request: api.CompleteLayerUploadRequest) -> api.CompleteLayerUploadResponse:
    """Make an upload a layer of the repository, whose digest must be the one that is given."""
    row = repositories.of(ctx, request)
    upload, content = request.upload_id.lower(), uploads(ctx)
    given = _one(request.layer_digests)
    try:
        if not content.size(row.place, upload):
            raise api.EmptyUploadException(
                f"The upload with id '{request.upload_id}' in the repository with name '{row.name}' in registry with id '{row.account}' "
                f"cannot be completed because it does not have any parts"
            )
        if ShortParts.of(ctx).too_small(upload):
            raise api.LayerPartTooSmallException("All layer parts except the last part should be at least 5MB")
        if catalog(ctx).blob(row.place, given) is not None:
            await content.cancel(row.place, upload)
            raise api.LayerAlreadyExistsException(
                f"The layer with digest '{given}' already exists in the repository with name '{row.name}' in registry with id '{row.account}'"
            )
        digest, _ = await content.complete(row.place, upload, given)
    except errors.DigestInvalid:
        ShortParts.of(ctx).over(upload)
        raise api.InvalidLayerException(
            f"The digest of the layer uploaded with id '{request.upload_id}' to the repository with name '{row.name}' in registry with id "
            f"'{row.account}' does not match the digest '{given}'"
        ) from None
    except EngineError as error:
        raise _refusal(row, request.upload_id, error) from None
    ShortParts.of(ctx).over(upload)
    return api.CompleteLayerUploadResponse(
        registry_id=row.account, repository_name=row.name, upload_id=request.upload_id, layer_digest=digest
    )


def _one(given: list[str]) -> str:
    """The digest that the layer must have. Of several, in whatever algorithms, all must be the same.

    Raises:
        InvalidParameterException
    """
    found = list(dict.fromkeys(each.lower() for each in given))
    if len(found) > 1:
        repositories.invalid("layerDigests", "the digests of one layer must be the same")
    try:
        return digests.require(found[0])
    except EngineError as error:
        repositories.invalid("layerDigests", error.message)


def _invalid_part(ctx: Context, row: RepositoryRow, upload: str) -> ServiceError:
    try:
        size = uploads(ctx).size(row.place, upload.lower())
    except errors.UploadUnknown as error:
        return _refusal(row, upload, error)
    return api.InvalidLayerPartException(
        f"Invalid layer part upload for upload with id '{upload}' in the repository with name '{row.name}' in the registry with id '{row.account}'",
        registry_id=row.account,
        repository_name=row.name,
        upload_id=upload,
        last_valid_byte_received=size - 1 if size else None,
    )


def _refusal(row: RepositoryRow, upload: str, error: EngineError) -> ServiceError:
    """What the uploads refuse, in AWS's words."""
    match error:
        case errors.UploadUnknown():
            return api.UploadNotFoundException(
                f"Upload with id '{upload}' could not be found for the repository with name '{row.name}' in the registry with id '{row.account}'"
            )
        case errors.UploadBusy():
            return api.InvalidParameterException(f"Upload with id '{upload}' is being written to by another request")
        case NoSpace():
            return api.LimitExceededException("There is no space left on the device.")
        case _:
            return api.ServerException(error.message)
