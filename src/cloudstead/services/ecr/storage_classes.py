"""The storage classes of images by the API; how an image changes between them is `restoring`'s."""

from __future__ import annotations

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, image_ids, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import RepositoryRow
from cloudstead.services.ecr.restoring import archive, restore


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def update_image_storage_class(ctx: Context, request: api.UpdateImageStorageClassRequest) -> api.UpdateImageStorageClassResponse:
    """Archive an image, or have it restored."""
    row = repositories.of(ctx, request)
    content = catalog(ctx)
    found = image_ids.require(content, row, request.image_id)
    image = found.image
    if request.target_storage_class == "ARCHIVE":
        if image.status == "ACTIVATING":
            raise _unsupported(row, request.image_id, "it is being restored")
        using = [parent.digest for parent in content.parents(row.place, image.digest) if parent.status == "ACTIVE"]
        if using:
            raise _unsupported(row, request.image_id, f"it is referenced by manifest list: [{', '.join(using)}]")
    with ctx.transaction() as tx:
        if request.target_storage_class == "ARCHIVE":
            image = archive(tx, row, image, ctx.now())
        else:
            image = restore(tx, row, image, ctx.now())
            for part in _parts(content, image):
                restore(tx, row, part, ctx.now())
    return api.UpdateImageStorageClassResponse(
        registry_id=row.account,
        repository_name=row.name,
        image_id=image_ids.identifier(image.digest, found.tag),
        image_status=image.status,
    )


def _parts(content: Catalog, image: ImageRow) -> list[ImageRow]:
    """The images that an index speaks of, and those of the indexes among them: without them it is of no use."""
    found: dict[str, ImageRow] = {}
    ahead = [image]
    while ahead:
        for child in ahead.pop().children:
            row = content.image(image.place, child.digest)
            if row is not None and row.digest not in found:
                found[row.digest] = row
                ahead.append(row)
    return list(found.values())


def _unsupported(row: RepositoryRow, image_id: api.ImageIdentifier, why: str) -> api.ImageStorageClassUpdateNotSupportedException:
    return api.ImageStorageClassUpdateNotSupportedException(
        f"The storage class of the image with imageId {image_ids.shown(image_id)} within the repository with name '{row.name}' "
        f"in the registry with id '{row.account}' cannot be updated because {why}"
    )
