"""The ARNs of ECR, for what operations declare.

A repository of another account is addressed by `registryId`; its own policy, and that of its registry, may let the caller in.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.services.ecr.model import REGISTRIES, REPOSITORIES, SETTINGS, RepositoryRow

# What a registry's policy counts for in its first version; in the second, which new registries have, for everything.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-permissions-create.html
FIRST_SCOPE = frozenset(("ecr:ReplicateImage", "ecr:BatchImportUpstreamImage", "ecr:CreateRepository"))


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
    """The repository that a request is about, also where it is the only one of a list."""
    name = getattr(request, "repository_name", None)
    names = getattr(request, "repository_names", None)
    if name is None and names is not None and len(names) == 1:
        name = names[0]
    return None if name is None else ctx.table(REPOSITORIES).get((registry_id(ctx, request), ctx.region, name))


def repository_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = find(ctx, request)
    return {} if row is None else row.tags


def repository_policy(ctx: Context, request: Any) -> str | None:
    """What lets callers into a repository: its policy, and that of its registry."""
    row = find(ctx, request)
    return combined(None if row is None else row.policy, registry_policy(ctx, request))


def registry_policy(ctx: Context, request: Any) -> str | None:
    """The policy of a registry, as far as its scope says that it counts for this operation."""
    return registry_policy_of(ctx, registry_id(ctx, request), request.operation)


def registry_policy_of(ctx: Context, account: str, action: str) -> str | None:
    row = ctx.table(REGISTRIES).get((account, ctx.region))
    if row is None or row.policy is None:
        return None
    scope = ctx.table(SETTINGS).get((account, ctx.region, "REGISTRY_POLICY_SCOPE"))
    return row.policy if scope is None or scope.value == "V2" or action in FIRST_SCOPE else None


@lru_cache(1024)
def combined(first: str | None, second: str | None) -> str | None:
    """Two policies of one resource as one: whatever either denies is denied, whatever either allows is allowed."""
    if first is None or second is None:
        return second if first is None else first
    documents = [json.loads(first), json.loads(second)]
    statements = [_unnamed(each) for document in documents for each in _listed(document["Statement"])]
    return json.dumps({"Version": max(document.get("Version", "2008-10-17") for document in documents), "Statement": statements})


def _unnamed(statement: dict[str, Any]) -> dict[str, Any]:
    """Without its name, which is unique in its own policy only."""
    return {key: value for key, value in statement.items() if key != "Sid"}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
