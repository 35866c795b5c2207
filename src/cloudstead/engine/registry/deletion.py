"""What a BatchDeleteImage takes: `plan` decides over what there is without touching it, `delete` does it.

A tag that is named goes; the last one takes its image along. A digest takes its image with all tags. An image that an index speaks of stays, unless
all these indexes go in the same call.
https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.selection import Found, NotFound, look_up

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog
    from cloudstead.engine.registry.gate import Rules

TagsOf: TypeAlias = Callable[[str], list[str]]
ParentsOf: TypeAlias = Callable[[str], list[ImageRow]]


@dataclass(slots=True)
class Deletion:
    images: list[ImageRow] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # of images that stay
    deleted: list[tuple[str, str]] = field(default_factory=list)  # what the answer names as deleted: digest and tag, which may be empty
    refused: dict[int, NotFound] = field(default_factory=dict)  # by the position among those wanted


@dataclass(slots=True)
class _Named:
    """What a call says of one image."""

    image: ImageRow
    tags: dict[str, int] = field(default_factory=dict)  # and the position of each
    whole: set[int] = field(default_factory=set)  # the positions of what lets the image itself go: its digest, the last of its tags


async def delete(catalog: Catalog, rules: Rules, named: Sequence[tuple[str | None, str | None]]) -> Deletion:
    """Delete what pairs of digest and tag name; what nothing else needs is off the disk when this returns."""
    place = rules.repository
    wanted = [_meant(look_up(catalog, place, digest, tag), digest) for digest, tag in named]
    decided = plan(wanted, lambda digest: catalog.tags_of(place, digest), lambda digest: catalog.parents(place, digest))
    if decided.tags:
        catalog.untag(rules, decided.tags)
    if decided.images:
        await catalog.delete(rules, decided.images)  # decided in this turn of the loop: nothing has changed since
    return decided


def _meant(found: Found | NotFound, digest: str | None) -> Found | NotFound:
    """A digest means the image with all its tags, also where one of them stands beside it."""
    return Found(found.image, "") if digest and isinstance(found, Found) else found


def plan(wanted: Sequence[Found | NotFound], tags_of: TagsOf, parents_of: ParentsOf) -> Deletion:
    """
    Args:
        wanted: a Found without a tag was asked for by its digest.
        tags_of: the tags of a digest, in their order.
        parents_of: the indexes that speak of a digest.
    """
    decided = Deletion(refused={at: each for at, each in enumerate(wanted) if isinstance(each, NotFound)})
    named = _named(wanted, tags_of)
    for digest, parents in _kept({digest for digest, one in named.items() if one.whole}, parents_of).items():
        one = named[digest]
        refused = NotFound("ImageReferencedByManifestList", f"Requested image referenced by manifest list: [{', '.join(parents)}]")
        decided.refused |= dict.fromkeys(one.whole, refused)
        one.tags = {tag: at for tag, at in one.tags.items() if at not in one.whole}
        one.whole = set()
    for digest, one in named.items():
        if one.whole:
            decided.images.append(one.image)
            decided.deleted += [(digest, tag) for tag in tags_of(digest) or [""]]
        else:
            decided.tags += one.tags
            decided.deleted += [(digest, tag) for tag in one.tags]
    return decided


def _named(wanted: Sequence[Found | NotFound], tags_of: TagsOf) -> dict[str, _Named]:
    named: dict[str, _Named] = {}
    for at, each in enumerate(wanted):
        if isinstance(each, NotFound):
            continue
        one = named.setdefault(each.image.digest, _Named(each.image))
        if not each.tag:
            one.whole.add(at)
            continue
        if each.tag in one.tags:
            continue
        one.tags[each.tag] = at
        if len(one.tags) == len(tags_of(each.image.digest)):
            one.whole.add(at)
    return named


def _kept(going: set[str], parents_of: ParentsOf) -> dict[str, list[str]]:
    """The images that must stay, with the indexes that want them. An index that must stay keeps its images too."""
    kept: dict[str, list[str]] = {}
    while True:
        more = {}
        for digest in going - kept.keys():
            parents = [parent.digest for parent in parents_of(digest) if parent.digest not in going or parent.digest in kept]
            if parents:
                more[digest] = parents
        if not more:
            return kept
        kept |= more
