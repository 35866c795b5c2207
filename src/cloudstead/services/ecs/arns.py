"""The ARNs of ECS, in the long format, and what operations declare of a call: resources, tags, condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import ConditionValue
from cloudstead.kernel.store import Row, Table
from cloudstead.services.ecs.model import (
    CAPACITY_PROVIDERS,
    CLUSTERS,
    DEFAULT_CLUSTER,
    FAMILIES,
    FARGATE,
    TASK_DEFINITIONS,
    task_definition_key,
)
from cloudstead.services.ecs.tasks.model import TASKS


def of(ctx: Context, kind: str, name: str) -> str:
    return f"arn:{ctx.partition}:ecs:{ctx.region}:{ctx.account}:{kind}/{name}"


def name_of(ctx: Context, kind: str, text: str) -> str | None:
    """The name of a thing that a request calls by name or ARN; None when the ARN is another kind's, account's or region's."""
    if not text.startswith("arn:"):
        return text
    try:
        arn = Arn.parse(text)
    except ValueError:
        return None
    if (arn.service, arn.kind, arn.account, arn.region) != ("ecs", kind, ctx.account, ctx.region):
        return None
    return arn.name


def _arn(ctx: Context, kind: str, text: str) -> str:
    return text if text.startswith("arn:") else of(ctx, kind, text)


TagsOf = Callable[[Context, Any], Mapping[str, str]]


# ── resources ────────────────────────────────────────────────────────────────────────────────────────────────────────


def cluster(ctx: Context, request: Any) -> str:
    return _arn(ctx, "cluster", request.cluster or DEFAULT_CLUSTER)


def new_cluster(ctx: Context, request: Any) -> str:
    return of(ctx, "cluster", request.cluster_name or DEFAULT_CLUSTER)


def clusters(ctx: Context, request: Any) -> list[str]:
    return [_arn(ctx, "cluster", text) for text in request.clusters or [DEFAULT_CLUSTER]]


def capacity_provider(ctx: Context, request: Any) -> str:
    """Of the operations on one, which call it `name` or `capacityProvider`."""
    text = request.capacity_provider if hasattr(request, "capacity_provider") else request.name
    return _arn(ctx, "capacity-provider", text)


def capacity_providers(ctx: Context, request: Any) -> list[str]:
    return [_arn(ctx, "capacity-provider", text) for text in request.capacity_providers or ["*"]]


def new_task_definition(ctx: Context, request: Any) -> str:
    """The revision that a registration is to make."""
    family = ctx.table(FAMILIES).get((ctx.account, ctx.region, request.family))
    return of(ctx, "task-definition", f"{request.family}:{1 if family is None else family.last + 1}")


def task_definitions(ctx: Context, request: Any) -> list[str]:
    return [_arn(ctx, "task-definition", text) for text in request.task_definitions]


def run_task_definition(ctx: Context, request: Any) -> str:
    """The revision that a request runs: the last active one where it names a family."""
    family, _, revision = (name_of(ctx, "task-definition", request.task_definition) or "").partition(":")
    if family and not revision:
        entries = ctx.table(TASK_DEFINITIONS).entries((ctx.account, ctx.region, "ACTIVE", family), index="by_status", reverse=True)
        return next((row.arn() for _, row in entries), of(ctx, "task-definition", family))
    return _arn(ctx, "task-definition", request.task_definition)


def task(ctx: Context, request: Any) -> str:
    return task_arn(ctx, request.cluster, request.task)


def command(ctx: Context, request: Any) -> list[str]:
    """What a command is run in: a task, of a cluster."""
    return [cluster(ctx, request), task(ctx, request)]


def tasks(ctx: Context, request: Any) -> list[str]:
    return [task_arn(ctx, request.cluster, text) for text in request.tasks]


def task_arn(ctx: Context, cluster_text: str | None, text: str) -> str:
    name = name_of(ctx, "cluster", cluster_text or DEFAULT_CLUSTER)
    return text if text.startswith("arn:") else of(ctx, "task", f"{name}/{text}")


def tagged(ctx: Context, request: Any) -> str:
    """Of the operations on the tags of anything."""
    return str(request.resource_arn)


# ── rows by ARN ──────────────────────────────────────────────────────────────────────────────────────────────────────


def bearer(ctx: Context, text: str) -> tuple[Table[Any], Row | None] | None:
    """The table and row of what an ARN names; None when nothing of that kind bears tags here."""
    try:
        arn = Arn.parse(text)
    except ValueError:
        return None
    here = (ctx.account, ctx.region)
    if (arn.service, arn.account, arn.region) != ("ecs", *here):
        return None
    if arn.kind == "cluster":
        return CLUSTERS, ctx.table(CLUSTERS).get((*here, arn.name))
    if arn.kind == "capacity-provider" and arn.name not in FARGATE:
        return CAPACITY_PROVIDERS, ctx.table(CAPACITY_PROVIDERS).get((*here, arn.name))
    if arn.kind == "task":
        return TASKS, ctx.table(TASKS).get((*here, *arn.name.split("/", 1)))
    family, _, revision = arn.name.rpartition(":")
    if arn.kind == "task-definition" and is_revision(revision):
        return TASK_DEFINITIONS, ctx.table(TASK_DEFINITIONS).get(task_definition_key(*here, family, int(revision)))
    return None


def is_revision(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _tags(ctx: Context, arn: str) -> Mapping[str, str]:
    found = bearer(ctx, arn)
    return getattr(found[1], "tags", {}) if found is not None else {}


def _of_one(ctx: Context, arns: list[str]) -> Mapping[str, str]:
    return _tags(ctx, arns[0]) if len(arns) == 1 else {}


# ── tags of resources ────────────────────────────────────────────────────────────────────────────────────────────────


def cluster_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, cluster(ctx, request))


def clusters_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _of_one(ctx, clusters(ctx, request))


def capacity_provider_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, capacity_provider(ctx, request))


def capacity_providers_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _of_one(ctx, capacity_providers(ctx, request))


def task_definitions_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _of_one(ctx, task_definitions(ctx, request))


def run_task_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, run_task_definition(ctx, request))


def task_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, task(ctx, request))


def tasks_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _of_one(ctx, tasks(ctx, request))


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, request.resource_arn)


# ── condition keys ───────────────────────────────────────────────────────────────────────────────────────────────────


def of_tags(tags_of: TagsOf) -> Callable[[Context, Any], Mapping[str, ConditionValue]]:
    """`ecs:ResourceTag/<key>`, which ECS had before AWS had `aws:ResourceTag/<key>`."""

    def conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
        return {f"ecs:ResourceTag/{key}": value for key, value in tags_of(ctx, request).items()}

    return conditions


def in_cluster(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    """`ecs:cluster`, and for what may be run, `ecs:enable-execute-command`."""
    found: dict[str, ConditionValue] = {"ecs:cluster": cluster(ctx, request)}
    if hasattr(request, "enable_execute_command"):
        found["ecs:enable-execute-command"] = "true" if request.enable_execute_command else "false"
    return found


def command_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {**in_cluster(ctx, request), **({"ecs:container-name": str(request.container)} if request.container else {})}


def cluster_capacity_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {**of_tags(cluster_tags)(ctx, request), **capacity_provider_conditions(ctx, request)}


def capacity_provider_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    """`ecs:capacity-provider`: those that a cluster is to have."""
    wanted = list(request.capacity_providers or ())
    return {"ecs:capacity-provider": [_arn(ctx, "capacity-provider", text) for text in wanted]} if wanted else {}


def registration_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    """What a policy can ask of a task definition: its size, launch types, and whether a container has all rights."""
    privileged = any(each.privileged for each in request.container_definitions)
    found: dict[str, ConditionValue] = {"ecs:privileged": "true" if privileged else "false"}
    if request.cpu:
        found["ecs:task-cpu"] = str(request.cpu)
    if request.memory:
        found["ecs:task-memory"] = str(request.memory)
    if request.requires_compatibilities:
        found["ecs:compute-compatibility"] = list(request.requires_compatibilities)
    return found


def account_setting_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {"ecs:account-setting": str(request.name)}
