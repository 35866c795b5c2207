"""Catalog data: what a gallery shows of a repository. There is no gallery here; it is kept and told."""

from __future__ import annotations

import base64

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr_public import api, arns, repositories
from cloudstead.services.ecr_public.model import LOGOS, REPOSITORIES, CatalogData, Logo, PublicRepository

_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"<svg", "image/svg+xml"))


def read(given: api.RepositoryCatalogDataInput | None) -> CatalogData:
    """What a client says; all that was said before is replaced by it."""
    if given is None:
        return CatalogData()
    return CatalogData(
        given.description,
        tuple(dict.fromkeys(given.architectures or ())),
        tuple(dict.fromkeys(given.operating_systems or ())),
        given.about_text,
        given.usage_text,
        bool(given.logo_image_blob),
    )


def keep_logo(tx: Transaction, row: PublicRepository, given: api.RepositoryCatalogDataInput) -> None:
    if given.logo_image_blob:
        tx.put(LOGOS, Logo(account=row.account, repository=row.name, image=given.logo_image_blob))
    else:
        tx.delete(LOGOS, row.key)


def describe(ctx: Context, row: PublicRepository) -> api.RepositoryCatalogData:
    """Empty where nothing was said."""
    data = row.catalog_data
    if data == CatalogData():
        return api.RepositoryCatalogData()
    return api.RepositoryCatalogData(
        description=data.description,
        architectures=list(data.architectures) or None,
        operating_systems=list(data.operating_systems) or None,
        logo_url=logo_url(ctx, row) if data.has_logo else None,
        about_text=data.about_text,
        usage_text=data.usage_text,
        marketplace_certified=False,
    )


def logo_url(ctx: Context, row: PublicRepository) -> str | None:
    """A URL that holds the picture itself: AWS has a host for them, here there is none."""
    logo = ctx.table(LOGOS).get(row.key)
    if logo is None:
        return None
    kind = next((kind for magic, kind in _KINDS if logo.image.startswith(magic)), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(logo.image).decode('ascii')}"


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_repository_catalog_data(ctx: Context, request: api.GetRepositoryCatalogDataRequest) -> api.GetRepositoryCatalogDataResponse:
    """Empty where nothing was said."""
    return api.GetRepositoryCatalogDataResponse(catalog_data=describe(ctx, repositories.of(ctx, request)))


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_repository_catalog_data(ctx: Context, request: api.PutRepositoryCatalogDataRequest) -> api.PutRepositoryCatalogDataResponse:
    """Replace it as a whole."""
    row = replace(repositories.of(ctx, request), catalog_data=read(request.catalog_data))
    with ctx.transaction() as tx:
        tx.put(REPOSITORIES, row)
        keep_logo(tx, row, request.catalog_data)
    return api.PutRepositoryCatalogDataResponse(catalog_data=describe(ctx, row))
