"""The content of all registries, as `engine.registry` keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstead.kernel.context import Cloud, Context

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog


def catalog(ctx: Context) -> Catalog:
    return catalog_of(ctx.cloud)


def catalog_of(cloud: Cloud) -> Catalog:
    """Opened with the first that is asked for."""
    found: Catalog = cloud.parts["engine"].registries()
    return found
