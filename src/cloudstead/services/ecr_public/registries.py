"""Registries: one an account, with the alias by which the world finds it."""

from __future__ import annotations

import hashlib
import itertools

from msgspec.structs import replace

from cloudstead.engine.registry import addresses
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Store, Transaction
from cloudstead.services.ecr_public import api, arns, regions
from cloudstead.services.ecr_public.checks import invalid_token
from cloudstead.services.ecr_public.model import REGISTRIES, PublicRegistry

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_ALIAS_LENGTH = 8


def registry_host(cloud: Cloud) -> str:
    """Host and port under which all public registries are."""
    return addresses.below(cloud.endpoint, "public.ecr")


def uri_of(cloud: Cloud, alias: str) -> str:
    return f"{registry_host(cloud)}/{alias}"


def find(ctx: Context, account: str) -> PublicRegistry:
    return ctx.table(REGISTRIES).get((account,)) or PublicRegistry(account=account, alias="")


def alias_of(ctx: Context, account: str) -> str:
    return find(ctx, account).alias


def ensure_alias(ctx: Context, tx: Transaction, account: str) -> None:
    """Give a registry its default alias when its first repository is made."""
    row = find(ctx, account)
    if not row.alias:
        tx.put(REGISTRIES, replace(row, alias=free_alias(ctx.store, account)))


def free_alias(store: Store, account: str) -> str:
    """The same one for an account on every machine, unless two accounts should meet: what refers to an image works after a reset, too."""
    for attempt in itertools.count():
        number = int.from_bytes(hashlib.sha256(f"ecr-public/{account}/{attempt}".encode()).digest(), "big")
        alias = _LETTERS[number % 26]
        for _ in range(_ALIAS_LENGTH - 1):
            number //= len(_LETTERS)
            alias += _LETTERS[number % len(_LETTERS)]
        if store.table(REGISTRIES).find("by_alias", (alias,)) is None:
            return alias
    raise AssertionError


@operation(resource=arns.registry)
async def describe_registries(ctx: Context, request: api.DescribeRegistriesRequest) -> api.DescribeRegistriesResponse:
    """The caller's registry: there is one, so there is no second page."""
    regions.require(ctx, request.operation)
    if request.next_token is not None:
        raise invalid_token()
    alias = alias_of(ctx, ctx.account)
    aliases = [api.RegistryAlias(name=alias, status="ACTIVE", primary_registry_alias=True, default_registry_alias=True)] if alias else []
    found = api.Registry(
        registry_id=ctx.account,
        registry_arn=arns.registry_arn(ctx, ctx.account),
        registry_uri=uri_of(ctx.cloud, alias) if alias else "",
        verified=False,
        aliases=aliases,
    )
    return api.DescribeRegistriesResponse(registries=[found])


@operation(resource=arns.registry)
async def get_registry_catalog_data(ctx: Context, request: api.GetRegistryCatalogDataRequest) -> api.GetRegistryCatalogDataResponse:
    """The display name, if there is one."""
    regions.require(ctx, request.operation)
    return api.GetRegistryCatalogDataResponse(registry_catalog_data=_catalog_data(find(ctx, ctx.account)))


@operation(resource=arns.registry)
async def put_registry_catalog_data(ctx: Context, request: api.PutRegistryCatalogDataRequest) -> api.PutRegistryCatalogDataResponse:
    """Set the display name, or take it away."""
    regions.require(ctx, request.operation)
    row = replace(find(ctx, ctx.account), display_name=request.display_name or None)
    with ctx.transaction() as tx:
        tx.put(REGISTRIES, row)
    return api.PutRegistryCatalogDataResponse(registry_catalog_data=_catalog_data(row))


def _catalog_data(row: PublicRegistry) -> api.RegistryCatalogData:
    return api.RegistryCatalogData(display_name=row.display_name)
