"""RunTask. What can be refused is refused before anything is written; what goes wrong later is told of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from cloudstead.kernel import idempotency
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api as ec2_api
from cloudstead.services.ecs import api, arns, checks, clusters, strategies, task_definitions, validation
from cloudstead.services.ecs.controller import part
from cloudstead.services.ecs.definition import EphemeralStorage
from cloudstead.services.ecs.model import FARGATE, Cluster, StrategyItem, TaskDefinition
from cloudstead.services.ecs.overriding import ContainerOverride, Overrides, overridden
from cloudstead.services.ecs.tasks.describing import describe
from cloudstead.services.ecs.tasks.interfaces import PRINCIPAL
from cloudstead.services.ecs.tasks.launching import Launch, launch
from cloudstead.services.ecs.tasks.model import TASKS, Task

MOST: Final = 10  # of one call
PLATFORM: Final = "1.4.0"
_NO_INSTANCES = "No Container Instances were found in your cluster."


@operation(resource=arns.run_task_definition, resource_tags=arns.run_task_tags, conditions=arns.in_cluster)
async def run_task(ctx: Context, request: api.RunTaskRequest) -> api.RunTaskResponse:
    """Start up to ten tasks of a task definition."""
    if (known := idempotency.recall(ctx, request, list[str], mismatch=lambda: _conflict())) is not None:
        return api.RunTaskResponse(tasks=[describe(row, tagged=True) for row in _rows(ctx, known)], failures=[])
    count = 1 if request.count is None else request.count
    if not 1 <= count <= MOST:
        checks.invalid(f"count must be between 1 and {MOST}.")
    cluster, definition = clusters.require(ctx, request.cluster), _definition(ctx, request.task_definition)
    providers = _providers(ctx, request, cluster, definition, count)
    _refuse_placement(request)
    _refuse_in_definition(definition)
    _require_sane(request)
    overrides = _overrides(ctx, definition, request.overrides)
    _pass_roles(ctx, definition, overrides)
    zones = await _subnets(ctx, request.network_configuration)
    groups = await _groups(ctx, request.network_configuration)
    tagged = _tags(ctx, request, cluster, definition)
    running = await part(ctx).tasks()
    with ctx.transaction() as tx:
        rows = []
        for number, provider in enumerate(providers):
            subnet = list(zones)[number % len(zones)]
            wanted = Launch(
                cluster=cluster,
                definition=definition,
                overrides=overrides,
                capacity_provider=provider,
                platform_version=_platform(request.platform_version),
                group=request.group or "",
                started_by=request.started_by or "",
                execute_command=bool(request.enable_execute_command),
                subnet=subnet,
                zone=zones[subnet],
                security_groups=groups,
                tags=tagged,
            )
            rows.append(launch(ctx, tx, wanted))
        idempotency.record(ctx, tx, request, [row.id for row in rows])
    for row in rows:
        running.controller.enqueue(row.key)
    return api.RunTaskResponse(tasks=[describe(row, tagged=True) for row in rows], failures=[])


def _conflict() -> Exception:
    return api.ConflictException("The client token was used with other parameters before.")


def _rows(ctx: Context, known: list[str]) -> list[Task]:
    found = [ctx.table(TASKS).find("by_id", (id,)) for id in known]
    return [row for row in found if row is not None]


def _definition(ctx: Context, text: str) -> TaskDefinition:
    row = task_definitions.find(ctx, text)
    if row is None:
        checks.refused("TaskDefinition not found.")
    if row.status != "ACTIVE":
        checks.refused("TaskDefinition is inactive")
    return row


def _providers(ctx: Context, request: api.RunTaskRequest, cluster: Cluster, definition: TaskDefinition, count: int) -> list[str]:
    """The capacity provider of each task; empty for the launch type FARGATE.

    Raises:
        InvalidParameterException, ClientException
    """
    given = request.capacity_provider_strategy
    if given and request.launch_type:
        checks.invalid("Specify either Launch Type or Capacity Provider Strategy, but not both.")
    strategy = strategies.default(ctx, given, cluster.capacity_providers) if given else () if request.launch_type else cluster.strategy
    names: list[str] = spread(strategy, count) if strategy else [str(request.launch_type or "EC2")] * count
    if any(name not in FARGATE for name in names):
        checks.invalid(_NO_INSTANCES)
    if "FARGATE" not in definition.compatibilities:
        checks.invalid("Task definition does not support launch_type FARGATE.")
    return names if strategy else [""] * count


def spread(strategy: Sequence[StrategyItem], count: int) -> list[str]:
    """A provider for each of so many tasks: the base first, then in proportion to the weights. Pure."""
    base = [item.capacity_provider for item in strategy for _ in range(item.base)][:count]
    found, given = list(base), {item.capacity_provider: 0 for item in strategy}
    weighted = [item for item in strategy if item.weight]
    while len(found) < count and weighted:
        item = min(weighted, key=lambda one: (given[one.capacity_provider] + 1) / one.weight)
        given[item.capacity_provider] += 1
        found.append(item.capacity_provider)
    return found or [strategy[0].capacity_provider] * count


def _refuse_placement(request: api.RunTaskRequest) -> None:
    if request.placement_constraints:
        checks.invalid("Placement constraints are not supported with FARGATE launch type.")
    if request.placement_strategy:
        checks.invalid("Placement strategies are not supported with FARGATE launch type.")
    if request.volume_configurations:
        checks.unsupported("A volume that is configured at launch")


def _refuse_in_definition(definition: TaskDefinition) -> None:
    """What a task definition may say, and nothing acts on yet."""
    for each in definition.definition.container_definitions:
        if each.repository_credentials is not None:
            checks.unsupported("Pulling with repositoryCredentials")
        if each.log_configuration is not None and each.log_configuration.secret_options:
            checks.unsupported("A log driver with secretOptions")


def _require_sane(request: api.RunTaskRequest) -> None:
    if (request.group or "").startswith("service:"):
        checks.invalid("Invalid namespace for group: the prefix 'service:' is reserved.")
    if len(request.group or "") > 255:
        checks.invalid("group length cannot exceed 255.")
    if len(request.started_by or "") > 128:
        checks.invalid("startedBy length cannot exceed 128.")
    if len(request.reference_id or "") > 1024:
        checks.invalid("referenceId length cannot exceed 1024.")
    if request.propagate_tags == "SERVICE":
        checks.invalid("Invalid value for propagateTags: SERVICE")


def _platform(version: str | None) -> str:
    if version not in (None, "", "LATEST", PLATFORM):
        raise api.PlatformUnknownException("The specified platform does not exist.")
    return PLATFORM


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _overrides(ctx: Context, definition: TaskDefinition, given: api.TaskOverride | None) -> Overrides:
    if given is None:
        return Overrides()
    if given.inference_accelerator_overrides:
        checks.unsupported("Elastic Inference")
    storage = given.ephemeral_storage
    found = Overrides(
        containers=tuple(_container(definition, each) for each in given.container_overrides or ()),
        cpu=given.cpu,
        memory=given.memory,
        task_role_arn=checks.role_arn(ctx, given.task_role_arn) if given.task_role_arn else None,
        execution_role_arn=checks.role_arn(ctx, given.execution_role_arn) if given.execution_role_arn else None,
        ephemeral_storage=None if storage is None else EphemeralStorage(size_in_gi_b=storage.size_in_gi_b),
    )
    if given.cpu or given.memory or given.ephemeral_storage or found.containers:
        validation.check(overridden(definition.definition, found))
    return found


def _container(definition: TaskDefinition, each: api.ContainerOverride) -> ContainerOverride:
    if each.name is None or definition.definition.container(each.name) is None:
        checks.invalid(f"Override for container named {each.name} is not a container in the TaskDefinition.")
    if each.resource_requirements:
        checks.unsupported("Resource requirements of a container")
    found: ContainerOverride = msgspec.convert(each, ContainerOverride, from_attributes=True)
    return found


def _pass_roles(ctx: Context, definition: TaskDefinition, overrides: Overrides) -> None:
    """Who runs a task hands its roles to it, those of the definition too."""
    said = definition.definition
    for role, instead in ((said.task_role_arn, overrides.task_role_arn), (said.execution_role_arn, overrides.execution_role_arn)):
        if role and not instead:
            ctx.require("iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})


# ── the network ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def _subnets(ctx: Context, given: api.NetworkConfiguration | None) -> dict[str, str]:
    """The subnets, with their zones."""
    vpc = None if given is None else given.awsvpc_configuration
    if vpc is None:
        checks.invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not 1 <= len(vpc.subnets) <= 16:
        checks.invalid("subnets can have between 1 and 16 items." if vpc.subnets else "subnets can not be empty.")
    if vpc.assign_public_ip not in (None, "ENABLED", "DISABLED"):
        checks.invalid("Invalid value for assignPublicIp.")
    service = ctx.cloud.service_context(PRINCIPAL, ctx.account, ctx.region)
    try:
        told = await service.call(ec2_api.DescribeSubnetsRequest(subnet_ids=list(vpc.subnets)))
    except ServiceError as error:
        checks.invalid(f"Error retrieving subnet information for {_listed(vpc.subnets)}: {error.message} (ErrorCode: {error.code})")
    return {each.subnet_id: each.availability_zone for each in told.subnets}


async def _groups(ctx: Context, given: api.NetworkConfiguration | None) -> tuple[str, ...]:
    vpc = None if given is None else given.awsvpc_configuration
    groups = [] if vpc is None else vpc.security_groups or []
    if len(groups) > 5:
        checks.invalid("securityGroups can have at most 5 items.")
    if groups:
        service = ctx.cloud.service_context(PRINCIPAL, ctx.account, ctx.region)
        try:
            await service.call(ec2_api.DescribeSecurityGroupsRequest(group_ids=groups))
        except ServiceError as error:
            checks.invalid(f"Error retrieving security group information for {_listed(groups)}: {error.message} (ErrorCode: {error.code})")
    return tuple(groups)


def _listed(ids: list[str]) -> str:
    return f"[{', '.join(ids)}]"


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tags(ctx: Context, request: api.RunTaskRequest, cluster: Cluster, definition: TaskDefinition) -> dict[str, str]:
    given = checks.new_tags(ctx, request.tags, arns.of(ctx, "task", f"{cluster.name}/*"), "RunTask")
    found = {**(definition.tags if request.propagate_tags == "TASK_DEFINITION" else {}), **given}
    return found | ({"aws:ecs:clusterName": cluster.name} if request.enable_ecs_managed_tags else {})
