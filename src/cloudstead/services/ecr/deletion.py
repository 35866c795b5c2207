"""Which images and tags a BatchDeleteImage takes: `engine.registry.deletion`, in the structures of the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudstead.engine.registry import deletion
from cloudstead.engine.registry.deletion import ParentsOf, TagsOf
from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.selection import Found, NotFound
from cloudstead.services.ecr import api
from cloudstead.services.ecr.image_ids import failure, identifier

Wanted = tuple[api.ImageIdentifier, Found | api.ImageFailure]


@dataclass(slots=True)
class Deletion:
    images: list[ImageRow] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # of images that stay
    image_ids: list[api.ImageIdentifier] = field(default_factory=list)  # what the answer names as deleted
    failures: list[api.ImageFailure] = field(default_factory=list)


def plan(wanted: Iterable[Wanted], tags_of: TagsOf, parents_of: ParentsOf) -> Deletion:
    """
    Args:
        tags_of: the tags of a digest, in their order.
        parents_of: the indexes that speak of a digest.
    """
    asked = list(wanted)
    found = [(image_id, each) for image_id, each in asked if isinstance(each, Found)]
    decided = deletion.plan([_meant(*each) for each in found], tags_of, parents_of)
    failures = [each for _, each in asked if isinstance(each, api.ImageFailure)]
    failures += [failure(found[at][0], refused.code, refused.reason) for at, refused in sorted(decided.refused.items())]
    return Deletion(decided.images, decided.tags, [identifier(*each) for each in decided.deleted], failures)


def _meant(image_id: api.ImageIdentifier, found: Found) -> Found | NotFound:
    """A digest means the image with all its tags, also where one of them stands beside it."""
    return Found(found.image, "") if image_id.image_digest else found
