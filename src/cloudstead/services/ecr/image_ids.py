"""What an `imageId` of a request stands for, and AWS's words for one that stands for nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import ImageRow
from cloudstead.services.ecr import api
from cloudstead.services.ecr.model import RepositoryRow

TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")
DIGEST = re.compile(r"[a-zA-Z0-9\-_+.]+:[a-fA-F0-9]+")
_DIGEST_RULE = "image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"


class Found(NamedTuple):
    """An image, and the tag by which it was asked for; empty: by its digest."""

    image: ImageRow
    tag: str


def failure(image_id: api.ImageIdentifier, code: api.ImageFailureCode, reason: str) -> api.ImageFailure:
    return api.ImageFailure(image_id=image_id, failure_code=code, failure_reason=reason)


def look_up(catalog: Catalog, row: RepositoryRow, image_id: api.ImageIdentifier) -> Found | api.ImageFailure:
    """For the operations on many images, whose answer names what is wrong with each."""
    digest, tag = image_id.image_digest, image_id.image_tag
    if not digest and not tag:
        return failure(image_id, "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
    if digest and not DIGEST.fullmatch(digest):
        return failure(image_id, "InvalidImageDigest", f"Invalid request parameters: {_DIGEST_RULE}")
    if tag and not TAG.fullmatch(tag):
        return failure(image_id, "InvalidImageTag", f"Invalid request parameters: image tag should satisfy the regex '{TAG.pattern}'")
    image = catalog.image(row.place, digest) if digest else None if tag is None else catalog.resolve(row.place, tag)
    if image is None:
        return failure(image_id, "ImageNotFound", "Requested image not found")
    if digest and tag:
        standing = catalog.tag(row.place, tag)
        if standing is None:
            return failure(image_id, "ImageNotFound", "Requested image not found")
        if standing.digest != digest:
            return failure(image_id, "ImageTagDoesNotMatchDigest", "Requested image tag does not match the requested image digest")
    return Found(image, tag or "")


def require(catalog: Catalog, row: RepositoryRow, image_id: api.ImageIdentifier, member: str = "imageId") -> Found:
    """For the operations on one image.

    Raises:
        InvalidParameterException, ImageNotFoundException
    """
    found = look_up(catalog, row, image_id)
    if isinstance(found, Found):
        return found
    if found.failure_code in ("MissingDigestAndTag", "InvalidImageDigest", "InvalidImageTag"):
        why = str(found.failure_reason).removeprefix("Invalid request parameters: ")
        raise api.InvalidParameterException(f"Invalid parameter at '{member}' failed to satisfy constraint: '{why}'")
    raise unknown(row, image_id)


def unknown(row: RepositoryRow, image_id: api.ImageIdentifier) -> api.ImageNotFoundException:
    return api.ImageNotFoundException(
        f"The image with imageId {shown(image_id)} does not exist within the repository with name '{row.name}' "
        f"in the registry with id '{row.account}'"
    )


def shown(image_id: api.ImageIdentifier) -> str:
    """As AWS's sentences have it."""
    return f"{{imageDigest:'{image_id.image_digest or 'null'}', imageTag:'{image_id.image_tag or 'null'}'}}"


def identifier(digest: str, tag: str = "") -> api.ImageIdentifier:
    return api.ImageIdentifier(image_digest=digest, image_tag=tag or None)
