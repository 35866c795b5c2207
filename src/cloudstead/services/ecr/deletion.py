"""Which images and tags a BatchDeleteImage takes: a decision over what there is, without touching it.

A tag that is named goes; the last one takes its image along. A digest takes its image with all tags. An image that an index speaks of stays, unless
all these indexes go in the same call.
https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cloudstead.engine.registry.model import ImageRow
from cloudstead.services.ecr import api
from cloudstead.services.ecr.image_ids import Found, failure, identifier

Wanted = tuple[api.ImageIdentifier, Found | api.ImageFailure]


@dataclass(slots=True)
class Deletion:
    images: list[ImageRow] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # of images that stay
    image_ids: list[api.ImageIdentifier] = field(default_factory=list)  # what the answer names as deleted
    failures: list[api.ImageFailure] = field(default_factory=list)


def plan(wanted: Iterable[Wanted], tags_of: Callable[[str], list[str]], parents_of: Callable[[str], list[ImageRow]]) -> Deletion:
    """
    Args:
        tags_of: the tags of a digest, in their order.
        parents_of: the indexes that speak of a digest.
    """
    decided = Deletion()
    named: dict[str, dict[str, api.ImageIdentifier]] = {}  # digest -> the tags that were named
    whole: dict[str, tuple[ImageRow, api.ImageIdentifier]] = {}  # images that are to go, and which identifier says so
    for image_id, found in wanted:
        if isinstance(found, api.ImageFailure):
            decided.failures.append(found)
            continue
        digest = found.image.digest
        tags = named.setdefault(digest, {})
        if image_id.image_digest:
            whole[digest] = (found.image, image_id)
            continue
        tags[found.tag] = image_id
        if len(tags) == len(tags_of(digest)):
            whole.setdefault(digest, (found.image, image_id))
    for digest, by in _kept(whole, parents_of).items():
        _, image_id = whole.pop(digest)
        decided.failures.append(
            failure(image_id, "ImageReferencedByManifestList", f"Requested image referenced by manifest list: [{', '.join(by)}]")
        )
        named[digest].pop(image_id.image_tag or "", None)
    for digest, tags in named.items():
        if digest in whole:
            decided.images.append(whole[digest][0])
            decided.image_ids += [identifier(digest, tag) for tag in tags_of(digest) or [""]]
        else:
            decided.tags += tags
            decided.image_ids += [identifier(digest, tag) for tag in tags]
    return decided


def _kept(whole: dict[str, tuple[ImageRow, api.ImageIdentifier]], parents_of: Callable[[str], list[ImageRow]]) -> dict[str, list[str]]:
    """The images that must stay, with the indexes that want them. An index that must stay keeps its images too."""
    kept: dict[str, list[str]] = {}
    while True:
        more = {}
        for digest in whole:
            by = [parent.digest for parent in parents_of(digest) if parent.digest not in whole or parent.digest in kept]
            if by and digest not in kept:
                more[digest] = by
        if not more:
            return kept
        kept |= more
