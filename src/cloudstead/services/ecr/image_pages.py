"""Images by the page: which of a repository's are wanted, and where the next page begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import IMAGES, ImageRow
from cloudstead.kernel.context import Context
from cloudstead.kernel.pagination import page, page_along
from cloudstead.services.ecr import api, repositories
from cloudstead.services.ecr.image_ids import identifier
from cloudstead.services.ecr.model import RepositoryRow


def wants_status(status: str | None) -> Callable[[ImageRow], bool]:
    """Of a filter by status; without one only active images are wanted."""
    if status == "ANY":
        return lambda image: True
    return lambda image: image.status == (status or "ACTIVE")


def wants_tagged(catalog: Catalog, status: str | None) -> Callable[[ImageRow], bool]:
    if status in (None, "ANY"):
        return lambda image: True
    return lambda image: bool(catalog.tags_of(image.place, image.digest)) == (status == "TAGGED")


def rows(
    ctx: Context, catalog: Catalog, row: RepositoryRow, request: api.DescribeImagesRequest, limit: int
) -> tuple[list[ImageRow], str | None]:
    """Images in the order of their digests."""
    wanted = request.filter or api.DescribeImagesFilter()
    by_status, by_tags = wants_status(wanted.image_status), wants_tagged(catalog, wanted.tag_status)
    return page(
        ctx,
        IMAGES,
        row.place,
        request=request,
        token=request.next_token,
        limit=limit,
        invalid=repositories.invalid_token,
        where=lambda image: by_status(image) and by_tags(image),
    )


def identifiers(
    ctx: Context, catalog: Catalog, row: RepositoryRow, request: api.ListImagesRequest, limit: int
) -> tuple[list[api.ImageIdentifier], str | None]:
    """One for each tag, and one for an image that has none."""
    wanted = request.filter or api.ListImagesFilter()
    by_status = wants_status(wanted.image_status)

    def entries(after: Any) -> Iterator[tuple[tuple[str, str], api.ImageIdentifier]]:
        for image in _from(ctx, catalog, row, "" if after is None else after[0]):
            if not by_status(image):
                continue
            tags = catalog.tags_of(row.place, image.digest)
            if wanted.tag_status == ("UNTAGGED" if tags else "TAGGED"):
                continue
            for tag in tags or [""]:
                if after is None or (image.digest, tag) > tuple(after):
                    yield (image.digest, tag), identifier(image.digest, tag)

    return page_along(ctx, entries, request=request, token=request.next_token, limit=limit, invalid=repositories.invalid_token)


def _from(ctx: Context, catalog: Catalog, row: RepositoryRow, digest: str) -> Iterator[ImageRow]:
    """The images of a repository from a digest on, it included."""
    first = catalog.image(row.place, digest)
    if first is not None:
        yield first
    for _, image in ctx.table(IMAGES).entries(row.place, after=(*row.place, digest) if digest else None):
        yield image
