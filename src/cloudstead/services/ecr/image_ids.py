"""What an `imageId` of a request stands for, and AWS's words for one that stands for nothing."""

from __future__ import annotations

from cloudstead.engine.registry import selection
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.selection import DIGEST, TAG, Found
from cloudstead.services.ecr import api
from cloudstead.services.ecr.model import RepositoryRow

__all__ = ["DIGEST", "TAG", "Found", "failure", "identifier", "look_up", "require", "shown", "unknown"]


def failure(image_id: api.ImageIdentifier, code: api.ImageFailureCode, reason: str) -> api.ImageFailure:
    return api.ImageFailure(image_id=image_id, failure_code=code, failure_reason=reason)


def look_up(catalog: Catalog, row: RepositoryRow, image_id: api.ImageIdentifier) -> Found | api.ImageFailure:
    """For the operations on many images, whose answer names what is wrong with each."""
    found = selection.look_up(catalog, row.place, image_id.image_digest, image_id.image_tag)
    return found if isinstance(found, Found) else failure(image_id, found.code, found.reason)


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
    return selection.shown(image_id.image_digest, image_id.image_tag)


def identifier(digest: str, tag: str = "") -> api.ImageIdentifier:
    return api.ImageIdentifier(image_digest=digest, image_tag=tag or None)
