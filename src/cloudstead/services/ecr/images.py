"""Images by the API: put, get, delete, list. What images are and how they are kept is `engine.registry`'s."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, NoSpace, NotFound
from cloudstead.engine.images import digests
from cloudstead.engine.registry import deletion, errors
from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, image_ids, image_pages, pull_times, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.conversion import converted
from cloudstead.services.ecr.image_ids import failure, identifier
from cloudstead.services.ecr.model import PULL_THROUGH_RULES, RepositoryRow

PAGE = 100
MANIFESTS_AT_ONCE = 32 << 20  # characters of manifests in one response, which is made in memory as a whole


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_image(ctx: Context, request: api.PutImageRequest) -> api.PutImageResponse:
    """Take a manifest in, under a tag or by its digest alone; what it speaks of must be there."""
    row = repositories.of(ctx, request)
    tag = request.image_tag or ""
    if tag and not image_ids.TAG.fullmatch(tag):
        repositories.invalid("imageTag", f"must satisfy regular expression '{image_ids.TAG.pattern}'")
    if request.image_digest and not image_ids.DIGEST.fullmatch(request.image_digest):
        repositories.invalid("imageDigest", f"must satisfy regular expression '{image_ids.DIGEST.pattern}'")
    manifest = request.image_manifest.encode()
    if not request.image_manifest_media_type and not _names_its_type(manifest):
        repositories.invalid("ImageManifest", "image manifest mediatype not provided in manifest or parameter")
    try:
        put = await catalog(ctx).put(
            repositories.rules_of(ctx, row), manifest, request.image_manifest_media_type or "", digest=request.image_digest or "", tag=tag
        )
    except EngineError as error:
        raise _refusal(row, request, error) from None
    if not (put.created or put.tagged or put.restored):
        raise api.ImageAlreadyExistsException(
            f"Image with digest '{put.image.digest}' and tag '{tag or 'null'}' already exists in the repository with name '{row.name}' "
            f"in registry with id '{row.account}'"
        )
    return api.PutImageResponse(image=_image(row, put.image, tag, request.image_manifest, put.image.media_type))


class _Typed(msgspec.Struct):
    media_type: str = msgspec.field(name="mediaType", default="")


def _names_its_type(manifest: bytes) -> bool:
    """Also of one that cannot be understood: what is wrong with it is said elsewhere."""
    try:
        return bool(msgspec.json.decode(manifest, type=_Typed).media_type)
    except msgspec.DecodeError:
        return True


def _refusal(row: RepositoryRow, request: api.PutImageRequest, error: EngineError) -> ServiceError:
    """What the catalog refuses, in AWS's words."""
    where = f"required for pushing image into repository with name '{row.name}' in the registry with id '{row.account}' do not exist"
    match error:
        case errors.ManifestBlobUnknown(manifests=True):
            return api.ReferencedImagesNotFoundException(f"Images with digests '[{', '.join(error.digests)}]' {where}")
        case errors.ManifestBlobUnknown():
            return api.LayersNotFoundException(f"Layers with digests '[{', '.join(error.digests)}]' {where}")
        case errors.TagImmutable():
            return api.ImageTagAlreadyExistsException(error.message)
        case errors.DigestInvalid() | InvalidArgument():  # of another algorithm than we have
            return api.ImageDigestDoesNotMatchException(
                f"The image with digest '{request.image_digest}' in repository '{row.name}' and registry ID '{row.account}' "
                f"does not match the image digest that Amazon ECR has calculated."
            )
        case errors.NameUnknown():
            return repositories.unknown(row.account, row.name)
        case errors.TooManyRequests():
            return api.LimitExceededException(error.message)
        case NoSpace() | Failed():
            return api.ServerException(error.message)
        case _:
            return api.InvalidParameterException(f"Invalid parameter at 'ImageManifest' failed to satisfy constraint: '{error.message}'")


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_get_image(ctx: Context, request: api.BatchGetImageRequest) -> api.BatchGetImageResponse:
    """The manifests of up to 100 images, byte for byte. One that has failed is told among the failures."""
    row = await _repository(ctx, request)
    images: list[api.Image] = []
    failures: list[api.ImageFailure] = []
    size = 0
    for image_id in request.image_ids:
        found = await _pull(ctx, row, image_id, request.accepted_media_types)
        if isinstance(found, api.Image):
            images.append(found)
            size += len(found.image_manifest or "")
            if size > MANIFESTS_AT_ONCE:
                raise api.LimitExceededException("The manifests of these images are too large for one response. Ask for fewer at a time.")
        else:
            failures.append(found)
    return api.BatchGetImageResponse(images=images, failures=failures)


async def _repository(ctx: Context, request: api.BatchGetImageRequest) -> RepositoryRow:
    """Also one that a pull through the cache is yet to make."""
    try:
        return repositories.of(ctx, request)
    except api.RepositoryNotFoundException:
        account = arns.registry_id(ctx, request)
        if not _is_cached(ctx, account):
            raise
        for image_id in request.image_ids:
            await _fetch(ctx, account, request.repository_name, image_id)
        return repositories.of(ctx, request)


def _is_cached(ctx: Context, account: str) -> bool:
    """Whether the registry caches any other."""
    return ctx.table(PULL_THROUGH_RULES).count((account, ctx.region)) > 0


async def _fetch(ctx: Context, account: str, name: str, image_id: api.ImageIdentifier) -> None:
    """Have an image here of which there is one upstream."""
    from cloudstead.services.ecr import pulling_through  # speaks HTTP; nobody without a rule needs it

    reference = image_id.image_digest or image_id.image_tag or ""
    if digests.is_one(reference) or image_ids.TAG.fullmatch(reference):
        owner = ctx if account == ctx.account else ctx.replace(identity=ctx.identity, account=account)
        await pulling_through.fetch(owner, name, reference)


async def _pull(
    ctx: Context, row: RepositoryRow, image_id: api.ImageIdentifier, accepted: Collection[str] | None
) -> api.Image | api.ImageFailure:
    content = catalog(ctx)
    if _is_cached(ctx, row.account):
        try:
            await _fetch(ctx, row.account, row.name, image_id)
        except ServiceError as error:
            from cloudstead.services.ecr.pulling_through import failure_code

            return failure(image_id, failure_code(error), error.message)
    found = image_ids.look_up(content, row, image_id)
    if isinstance(found, api.ImageFailure):
        return found
    gone = failure(image_id, "ImageNotFound", "Requested image not found")
    image, media_type = found.image, found.image.media_type
    if image.status != "ACTIVE":
        return failure(image_id, "ImageInaccessible", "Requested image is archived; it cannot be pulled until it is restored")
    try:
        manifest = await content.manifest(image)
    except NotFound:  # it was deleted in this moment
        return gone
    if accepted is not None and media_type not in accepted:
        other = converted(manifest, media_type, accepted) if found.tag and not image_id.image_digest else None
        if other is None:
            return gone
        manifest, media_type = other
    pull_times.note(ctx, row.account, image)
    return _image(row, image, found.tag, manifest.decode(), media_type)


def _image(row: RepositoryRow, image: ImageRow, tag: str, manifest: str, media_type: str) -> api.Image:
    return api.Image(
        registry_id=row.account,
        repository_name=row.name,
        image_id=identifier(image.digest, tag),
        image_manifest=manifest,
        image_manifest_media_type=media_type,
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_delete_image(ctx: Context, request: api.BatchDeleteImageRequest) -> api.BatchDeleteImageResponse:
    """Delete tags and images; what nothing else needs is off the disk when this returns."""
    row = repositories.of(ctx, request)
    named = [(image_id.image_digest, image_id.image_tag) for image_id in request.image_ids]
    decided = await deletion.delete(catalog(ctx), repositories.rules_of(ctx, row), named)
    return api.BatchDeleteImageResponse(
        image_ids=[identifier(digest, tag) for digest, tag in decided.deleted],
        failures=[failure(request.image_ids[at], refused.code, refused.reason) for at, refused in sorted(decided.refused.items())],
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def list_images(ctx: Context, request: api.ListImagesRequest) -> api.ListImagesResponse:
    """Digests with their tags: one item for each tag, and one for an image without any."""
    row = repositories.of(ctx, request)
    listed, token = image_pages.identifiers(ctx, catalog(ctx), row, request, request.max_results or PAGE)
    return api.ListImagesResponse(image_ids=listed, next_token=token)
