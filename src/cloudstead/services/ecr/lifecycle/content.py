"""The images of a repository as a lifecycle policy sees them, and whether they are still so when the plan is carried out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from cloudstead.engine.registry.model import IMAGES, TAGS, ImageRow, Repository
from cloudstead.services.ecr.lifecycle.plan import Image, Taken

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

_STORAGE = {"ACTIVE": "STANDARD", "ARCHIVED": "ARCHIVE", "ACTIVATING": ""}


class Seen(NamedTuple):
    """One image at the time of the plan."""

    row: ImageRow
    tags: tuple[str, ...]

    def image(self) -> Image:
        row = self.row
        return Image(
            digest=row.digest,
            tags=self.tags,
            pushed=row.pushed,
            pulled=row.pulled,
            archived=row.archived,
            activated=row.activated,
            storage=_STORAGE[row.status],
            children=tuple(child.digest for child in row.children),
            subject=row.subject,
        )


def seen(catalog: Catalog, place: Repository) -> dict[str, Seen]:
    """All images of a repository, by their digests."""
    tags: dict[str, list[str]] = {}
    for tag in catalog.store.table(TAGS).scan(place):
        tags.setdefault(tag.digest, []).append(tag.tag)
    return {row.digest: Seen(row, tuple(tags.get(row.digest, ()))) for row in catalog.store.table(IMAGES).scan(place)}


def still(catalog: Catalog, before: dict[str, Seen], taken: Iterable[Taken]) -> list[ImageRow]:
    """Of what was taken, the images that are as they were, and that belong to nothing that stays. To be acted on without waiting in between.

    They are asked about in their order, so that what belongs to an image that was tagged, pulled or spoken of meanwhile stays with it.
    """
    going: dict[str, ImageRow] = {}
    for each in taken:
        row, tags = before[each.digest]
        now = catalog.image(row.place, row.digest)
        held = [holder for holder in _holders(catalog, row, tags) if not _lets_go(holder, each, going)]
        if now is row and not held and tuple(catalog.tags_of(row.place, row.digest)) == tags:
            going[row.digest] = row
    return list(going.values())


def _holders(catalog: Catalog, row: ImageRow, tags: tuple[str, ...]) -> list[ImageRow]:
    subject = catalog.image(row.place, row.subject) if row.subject and not tags else None
    parents = catalog.parents(row.place, row.digest)
    return parents if subject is None else [*parents, subject]


def _lets_go(holder: ImageRow, taken: Taken, going: dict[str, ImageRow]) -> bool:
    return holder.digest in going or (taken.action == "TRANSITION" and holder.status == "ARCHIVED")
