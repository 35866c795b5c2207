"""Images: put, describe, delete."""

from __future__ import annotations

from cloudstead.engine.errors import Failed, InvalidArgument, NoSpace
from cloudstead.engine.registry import deletion, selection
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.errors import DigestInvalid, ManifestBlobUnknown, ManifestInvalid, NameUnknown, TooManyRequests
from cloudstead.engine.registry.gate import Put
from cloudstead.engine.registry.model import IMAGES, TAGS, ImageRow
from cloudstead.engine.registry.selection import Found
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecr_public import api, arns, repositories
from cloudstead.services.ecr_public.checks import invalid, invalid_token
from cloudstead.services.ecr_public.model import PublicRepository

PAGE = 100


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_image(ctx: Context, request: api.PutImageRequest) -> api.PutImageResponse:
    """Take a manifest in, whose layers and configuration have been uploaded."""
    row = repositories.of(ctx, request)
    _check_put(request)
    put = await _put(ctx, row, request)
    if not put.created and not put.tagged:
        raise api.ImageAlreadyExistsException(_already(row, put))
    image = api.Image(
        registry_id=row.account,
        repository_name=row.name,
        image_id=api.ImageIdentifier(image_digest=put.image.digest, image_tag=put.tag or None),
        image_manifest=request.image_manifest,
        image_manifest_media_type=put.image.media_type,
    )
    return api.PutImageResponse(image=image)


def _check_put(request: api.PutImageRequest) -> None:
    if request.image_tag is not None and not selection.TAG.fullmatch(request.image_tag):
        raise invalid("imageTag", f"must satisfy regular expression '{selection.TAG.pattern}'")
    if request.image_digest is not None and not selection.DIGEST.fullmatch(request.image_digest):
        raise invalid("imageDigest", "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'")


async def _put(ctx: Context, row: PublicRepository, request: api.PutImageRequest) -> Put:
    rules = repositories.rules_of(ctx.cloud, row)
    wanted = f"required for pushing image into repository with name '{row.name}' in the registry with id '{row.account}' do not exist"
    try:
        return await repositories.catalog(ctx).put(
            rules,
            request.image_manifest.encode(),
            request.image_manifest_media_type or "",
            digest=request.image_digest or "",
            tag=request.image_tag or "",
        )
    except ManifestBlobUnknown as error:
        digests = f"digests '[{', '.join(error.digests)}]'"
        if error.manifests:
            raise api.ReferencedImagesNotFoundException(f"Images with {digests} {wanted}") from None
        raise api.LayersNotFoundException(f"Layers with {digests} {wanted}") from None
    except DigestInvalid:
        raise api.ImageDigestDoesNotMatchException(
            f"The image with digest '{request.image_digest}' in repository '{row.name}' and registry ID '{row.account}' "
            f"does not match the image digest that Amazon ECR has calculated."
        ) from None
    except (NoSpace, Failed) as error:
        raise api.ServerException(error.message) from None
    except TooManyRequests as error:
        raise api.LimitExceededException(error.message) from None
    except ManifestInvalid as error:
        raise invalid("ImageManifest", error.message) from None
    except NameUnknown:
        raise repositories.unknown(row.account, row.name) from None
    except InvalidArgument as error:  # the digest is of no algorithm that there is
        raise invalid("imageDigest", error.message) from None


def _already(row: PublicRepository, put: Put) -> str:
    return (
        f"Image with digest '{put.image.digest}' and tag '{put.tag or 'null'}' already exists in the repository with name '{row.name}' "
        f"in registry with id '{row.account}'"
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_images(ctx: Context, request: api.DescribeImagesRequest) -> api.DescribeImagesResponse:
    """Those that are named, or all by the page."""
    row, catalog = repositories.of(ctx, request), repositories.catalog(ctx)
    if request.image_ids is not None:
        named = {image.key: image for image in (_require(catalog, row, image_id) for image_id in request.image_ids)}
        return api.DescribeImagesResponse(image_details=[_describe(catalog, row, image) for image in named.values()])
    rows, token = page(
        ctx,
        IMAGES,
        row.place,
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=invalid_token,
    )
    return api.DescribeImagesResponse(image_details=[_describe(catalog, row, image) for image in rows], next_token=token)


def _require(catalog: Catalog, row: PublicRepository, image_id: api.ImageIdentifier) -> ImageRow:
    """
    Raises:
        InvalidParameterException, ImageNotFoundException
    """
    found = selection.look_up(catalog, row.place, image_id.image_digest, image_id.image_tag)
    if isinstance(found, Found):
        return found.image
    if found.invalid:
        raise invalid("imageIds", found.constraint)
    raise api.ImageNotFoundException(
        f"The image with imageId {selection.shown(image_id.image_digest, image_id.image_tag)} does not exist "
        f"within the repository with name '{row.name}' in the registry with id '{row.account}'"
    )


def _describe(catalog: Catalog, row: PublicRepository, image: ImageRow) -> api.ImageDetail:
    return api.ImageDetail(
        registry_id=row.account,
        repository_name=row.name,
        image_digest=image.digest,
        image_tags=catalog.tags_of(row.place, image.digest) or None,
        image_size_in_bytes=selection.size_of(catalog, image),
        image_pushed_at=image.pushed,
        image_manifest_media_type=image.media_type,
        artifact_media_type=image.artifact_type or None,
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_image_tags(ctx: Context, request: api.DescribeImageTagsRequest) -> api.DescribeImageTagsResponse:
    """All tags by the page, with the image that each stands for."""
    row, catalog = repositories.of(ctx, request), repositories.catalog(ctx)
    rows, token = page(
        ctx,
        TAGS,
        row.place,
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=invalid_token,
    )
    details = []
    for tag in rows:
        image = catalog.image(row.place, tag.digest)
        described = None if image is None else _referenced(catalog, image)
        details.append(api.ImageTagDetail(image_tag=tag.tag, created_at=tag.tagged, image_detail=described))
    return api.DescribeImageTagsResponse(image_tag_details=details, next_token=token)


def _referenced(catalog: Catalog, image: ImageRow) -> api.ReferencedImageDetail:
    return api.ReferencedImageDetail(
        image_digest=image.digest,
        image_size_in_bytes=selection.size_of(catalog, image),
        image_pushed_at=image.pushed,
        image_manifest_media_type=image.media_type,
        artifact_media_type=image.artifact_type or None,
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_delete_image(ctx: Context, request: api.BatchDeleteImageRequest) -> api.BatchDeleteImageResponse:
    """Delete tags and images; what nothing else needs is off the disk when this returns."""
    row = repositories.of(ctx, request)
    named = [(image_id.image_digest, image_id.image_tag) for image_id in request.image_ids]
    decided = await deletion.delete(repositories.catalog(ctx), repositories.rules_of(ctx.cloud, row), named)
    return api.BatchDeleteImageResponse(
        image_ids=[api.ImageIdentifier(image_digest=digest, image_tag=tag or None) for digest, tag in decided.deleted],
        failures=[
            api.ImageFailure(image_id=request.image_ids[at], failure_code=refused.code, failure_reason=refused.reason)
            for at, refused in sorted(decided.refused.items())
        ],
    )
