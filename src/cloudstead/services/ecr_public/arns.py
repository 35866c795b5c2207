"""The ARNs of ECR Public, for what operations declare.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistrypublic.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.services.ecr_public.model import REGISTRIES, REPOSITORIES, PublicRepository


def account_of(ctx: Context, registry: str | None) -> str | None:
    """The account of a registry that is named by its account or its alias; the caller's own when none is named. None: there is no such alias."""
    if registry is None:
        return ctx.account
    if len(registry) == 12 and registry.isdigit():
        return registry
    found = ctx.table(REGISTRIES).find("by_alias", (registry,))
    return None if found is None else found.account


def repository_arn(ctx: Context, account: str, name: str) -> str:
    return f"arn:{ctx.partition}:ecr-public::{account}:repository/{name}"


def registry_arn(ctx: Context, account: str) -> str:
    return f"arn:{ctx.partition}:ecr-public::{account}:registry/{account}"


def registry(ctx: Context, request: Any) -> str:
    """Of the operations on the caller's own registry."""
    return registry_arn(ctx, ctx.account)


def repository(ctx: Context, request: Any) -> str:
    account = account_of(ctx, getattr(request, "registry_id", None))
    return repository_arn(ctx, account or ctx.account, request.repository_name)


def repositories(ctx: Context, request: Any) -> list[str]:
    account = account_of(ctx, request.registry_id) or ctx.account
    return [repository_arn(ctx, account, name) for name in request.repository_names or ["*"]]


def find(ctx: Context, request: Any) -> PublicRepository | None:
    account = account_of(ctx, getattr(request, "registry_id", None))
    return None if account is None else ctx.table(REPOSITORIES).get((account, request.repository_name))


def repository_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = find(ctx, request)
    return {} if row is None else row.tags


def repository_policy(ctx: Context, request: Any) -> str | None:
    row = find(ctx, request)
    return None if row is None else row.policy


def tagged(ctx: Context, request: Any) -> str:
    """Of the operations on the tags of any resource."""
    return str(request.resource_arn)


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    try:
        arn = Arn.parse(request.resource_arn)
    except ValueError:
        return {}
    row = ctx.table(REPOSITORIES).get((arn.account, arn.name)) if arn.kind == "repository" else None
    return {} if row is None else row.tags
