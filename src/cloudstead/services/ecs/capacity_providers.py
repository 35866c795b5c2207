"""Capacity providers: FARGATE and FARGATE_SPOT, which are always there, and those of Auto Scaling groups.

What is said of an Auto Scaling group is kept; the group is scaled by it once Auto Scaling is here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from cloudstead.kernel import tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecs import api, arns, checks, references
from cloudstead.services.ecs.model import CAPACITY_PROVIDERS, FARGATE, CapacityProvider, ManagedScaling

_GROUP = re.compile(r"arn:[^:]+:autoscaling:[^:]+:\d{12}:autoScalingGroup:[^:]+:autoScalingGroupName/.+")
_RESERVED = ("aws", "ecs", "fargate")


def require(ctx: Context, text: str) -> CapacityProvider:
    """One of an Auto Scaling group, by name or ARN.

    Raises:
        InvalidParameterException, ClientException
    """
    name = arns.name_of(ctx, "capacity-provider", text)
    if name in FARGATE:
        checks.refused(f"The specified capacity provider {name} is reserved and cannot be changed or deleted.")
    row: CapacityProvider | None = None if name is None else ctx.table(CAPACITY_PROVIDERS).get((ctx.account, ctx.region, name))
    if row is None or row.status != "ACTIVE":
        checks.refused("The specified capacity provider does not exist. Specify a valid name or ARN and try again.")
    return row


def _scaling(given: api.ManagedScaling | None, before: ManagedScaling) -> ManagedScaling:
    """Managed scaling with what is given changed."""
    if given is None:
        return before
    status = given.status or ("ENABLED" if before == ManagedScaling() else before.status)
    found = ManagedScaling(
        status=status,
        target_capacity=_or(given.target_capacity, before.target_capacity),
        minimum_scaling_step_size=_or(given.minimum_scaling_step_size, before.minimum_scaling_step_size),
        maximum_scaling_step_size=_or(given.maximum_scaling_step_size, before.maximum_scaling_step_size),
        instance_warmup_period=_or(given.instance_warmup_period, before.instance_warmup_period),
    )
    if found.minimum_scaling_step_size > found.maximum_scaling_step_size:
        checks.refused("The minimum or maximum scaling step size value is invalid. The minimum must not be greater than the maximum.")
    return found


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _check_protection(row: CapacityProvider) -> None:
    if row.termination_protection == "ENABLED" and row.scaling.status != "ENABLED":
        checks.refused(
            "The managed termination protection setting for the capacity provider is invalid. "
            "To enable managed termination protection for a capacity provider, managed scaling must be enabled."
        )


@operation(resource=arns.capacity_provider)
async def create_capacity_provider(ctx: Context, request: api.CreateCapacityProviderRequest) -> api.CreateCapacityProviderResponse:
    """Make a capacity provider of an Auto Scaling group."""
    if request.managed_instances_provider is not None or request.cluster is not None:
        raise api.UnsupportedFeatureException("Capacity providers of managed instances are not supported by Cloudstead.")
    if not checks.NAME.fullmatch(request.name) or request.name.lower().startswith(_RESERVED):
        checks.refused(
            "The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters (upper and lowercase), "
            'numbers, underscores, and hyphens. The name cannot be prefixed with "aws", "ecs", or "fargate". Specify a valid name and try again.'
        )
    group = request.auto_scaling_group_provider
    if group is None:
        checks.invalid("An Auto Scaling group provider must be specified.")
    if not _GROUP.fullmatch(group.auto_scaling_group_arn):
        checks.refused("The specified Auto Scaling group ARN is invalid. Specify a valid ARN and try again.")
    there = ctx.table(CAPACITY_PROVIDERS).get((ctx.account, ctx.region, request.name))
    if there is not None and there.status == "ACTIVE":
        checks.refused(
            "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider."
        )
    row = CapacityProvider(
        account=ctx.account,
        region=ctx.region,
        name=request.name,
        update_status="CREATE_COMPLETE",
        created=ctx.now(),
        group=group.auto_scaling_group_arn,
        scaling=_scaling(group.managed_scaling, ManagedScaling()),
        termination_protection=group.managed_termination_protection or "DISABLED",
        draining=group.managed_draining or "ENABLED",
        tags=checks.new_tags(ctx, request.tags, arns.capacity_provider(ctx, request), "CreateCapacityProvider"),
    )
    _check_protection(row)
    with ctx.transaction() as tx:
        row = tx.put(CAPACITY_PROVIDERS, row)
    return api.CreateCapacityProviderResponse(capacity_provider=describe(row, with_tags=True))


@operation(resource=arns.capacity_provider, resource_tags=arns.capacity_provider_tags, conditions=arns.of_tags(arns.capacity_provider_tags))
async def update_capacity_provider(ctx: Context, request: api.UpdateCapacityProviderRequest) -> api.UpdateCapacityProviderResponse:
    """Change how its group is scaled; what is not given stays."""
    if request.managed_instances_provider is not None or request.cluster is not None:
        raise api.UnsupportedFeatureException("Capacity providers of managed instances are not supported by Cloudstead.")
    row = require(ctx, request.name)
    group = request.auto_scaling_group_provider
    if group is None:
        checks.invalid("An Auto Scaling group provider must be specified.")
    row = msgspec.structs.replace(
        row,
        update_status="UPDATE_COMPLETE",
        scaling=_scaling(group.managed_scaling, row.scaling),
        termination_protection=group.managed_termination_protection or row.termination_protection,
        draining=group.managed_draining or row.draining,
    )
    _check_protection(row)
    with ctx.transaction() as tx:
        row = tx.update(CAPACITY_PROVIDERS, row)
    return api.UpdateCapacityProviderResponse(capacity_provider=describe(row, with_tags=True))


@operation(resource=arns.capacity_provider, resource_tags=arns.capacity_provider_tags, conditions=arns.of_tags(arns.capacity_provider_tags))
async def delete_capacity_provider(ctx: Context, request: api.DeleteCapacityProviderRequest) -> api.DeleteCapacityProviderResponse:
    """Delete one that no cluster has."""
    if request.cluster is not None:
        raise api.UnsupportedFeatureException("Capacity providers of managed instances are not supported by Cloudstead.")
    row = require(ctx, request.capacity_provider)
    clusters = references.to_capacity_provider(ctx.store, row)
    if clusters:
        checks.refused(
            f"The capacity provider cannot be deleted because it is associated with cluster: {', '.join(clusters)}. "
            "Remove the capacity provider from the cluster and try again."
        )
    with ctx.transaction() as tx:
        row = tx.update(CAPACITY_PROVIDERS, row, status="INACTIVE", update_status="DELETE_COMPLETE", deleted=ctx.now())
    return api.DeleteCapacityProviderResponse(capacity_provider=describe(row, with_tags=True))


@operation(
    resource=arns.capacity_providers, resource_tags=arns.capacity_providers_tags, conditions=arns.of_tags(arns.capacity_providers_tags)
)
async def describe_capacity_providers(ctx: Context, request: api.DescribeCapacityProvidersRequest) -> api.DescribeCapacityProvidersResponse:
    """Describe those that are named, or all that are active; an unknown one is a failure, not an error."""
    if request.cluster is not None:
        raise api.UnsupportedFeatureException("Capacity providers of clusters' own are not supported by Cloudstead.")
    with_tags = "TAGS" in (request.include or ())
    if request.capacity_providers:
        found, failures = _named(ctx, request.capacity_providers, with_tags)
        return api.DescribeCapacityProvidersResponse(capacity_providers=found, failures=failures)
    rows = [row for row in ctx.table(CAPACITY_PROVIDERS).scan((ctx.account, ctx.region)) if row.status == "ACTIVE"]
    everything = [*(_fargate(ctx, name) for name in FARGATE), *(describe(row, with_tags=with_tags) for row in rows)]
    found, token = page_of(
        ctx,
        everything,
        key=lambda each: each.name,
        request=request,
        token=request.next_token,
        limit=min(10, checks.page_size(request.max_results)),
        invalid=checks.invalid_token,
    )
    return api.DescribeCapacityProvidersResponse(capacity_providers=found, failures=[], next_token=token)


def _named(ctx: Context, names: list[str], with_tags: bool) -> tuple[list[api.CapacityProvider], list[api.Failure]]:
    found: list[api.CapacityProvider] = []
    failures: list[api.Failure] = []
    for text in dict.fromkeys(names):
        name = arns.name_of(ctx, "capacity-provider", text)
        row: Any = None if name is None else ctx.table(CAPACITY_PROVIDERS).get((ctx.account, ctx.region, name))
        if name in FARGATE:
            found.append(_fargate(ctx, str(name)))
        elif row is None:
            arn = text if text.startswith("arn:") else arns.of(ctx, "capacity-provider", text)
            failures.append(api.Failure(arn=arn, reason="MISSING"))
        else:
            found.append(describe(row, with_tags=with_tags))
    return found, failures


def _fargate(ctx: Context, name: str) -> api.CapacityProvider:
    kind: Any = name
    return api.CapacityProvider(
        capacity_provider_arn=arns.of(ctx, "capacity-provider", name), name=name, status="ACTIVE", tags=[], type=kind
    )


def describe(row: CapacityProvider, *, with_tags: bool = False) -> api.CapacityProvider:
    update_status: Any = row.update_status
    return api.CapacityProvider(
        capacity_provider_arn=row.arn(),
        name=row.name,
        status=row.status,
        auto_scaling_group_provider=api.AutoScalingGroupProvider(
            auto_scaling_group_arn=row.group,
            managed_scaling=_describe_scaling(row.scaling),
            managed_termination_protection=row.termination_protection,
            managed_draining=row.draining,
        ),
        update_status=update_status,
        tags=tags.to_list(row.tags, api.Tag) if with_tags else [],
        type="EC2_AUTOSCALING",
    )


def _describe_scaling(scaling: ManagedScaling) -> api.ManagedScaling:
    if scaling.status == "DISABLED" and scaling == ManagedScaling():
        return api.ManagedScaling(status="DISABLED")
    return msgspec.convert(scaling, api.ManagedScaling, from_attributes=True)
