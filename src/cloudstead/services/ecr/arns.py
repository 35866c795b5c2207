"""The ARNs of ECR, for what operations declare.

A repository of another account is addressed by `registryId`; its own policy, and that of its registry, may let the caller in.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.services.ecr.model import REGISTRIES, REPOSITORIES, RepositoryRow


def registry_id(ctx: Context, request: Any) -> str:
    """The account whose registry a request is about."""
    return getattr(request, "registry_id", None) or ctx.account


def repository_arn(ctx: Context, account: str, name: str) -> str:
    return f"arn:{ctx.partition}:ecr:{ctx.region}:{account}:repository/{name}"


def repository(ctx: Context, request: Any) -> str:
    return repository_arn(ctx, registry_id(ctx, request), request.repository_name)


def repositories(ctx: Context, request: Any) -> list[str]:
    """For the operations on several repositories."""
    names = getattr(request, "repository_names", None) or ["*"]
    return [repository_arn(ctx, registry_id(ctx, request), name) for name in names]


def find(ctx: Context, request: Any) -> RepositoryRow | None:
    name = getattr(request, "repository_name", None)
    return None if name is None else ctx.table(REPOSITORIES).get((registry_id(ctx, request), ctx.region, name))


def repository_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = find(ctx, request)
    return {} if row is None else row.tags


def repository_policy(ctx: Context, request: Any) -> str | None:
    row = find(ctx, request)
    return None if row is None else row.policy


def registry_policy(ctx: Context, request: Any) -> str | None:
    row = ctx.table(REGISTRIES).get((registry_id(ctx, request), ctx.region))
    return None if row is None else row.policy


def tagged(ctx: Context, request: Any) -> str:
    """Of the operations on the tags of any resource."""
    return str(request.resource_arn)


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    try:
        arn = Arn.parse(request.resource_arn)
    except ValueError:
        return {}
    row = ctx.table(REPOSITORIES).get((arn.account, arn.region, arn.name)) if arn.kind == "repository" else None
    return {} if row is None else row.tags
