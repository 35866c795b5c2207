"""Targets: register, deregister, tell how they do."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.elbv2 import api, arns, attributes, controller, places, target_groups
from cloudstead.services.elbv2.failures import invalid, unsupported
from cloudstead.services.elbv2.health.states import NOT_REGISTERED, Verdict
from cloudstead.services.elbv2.model import LISTENERS, LOAD_BALANCERS, TARGETS, Target, TargetGroup, target_key


def _row(ctx: Context, group: TargetGroup, given: api.TargetDescription, ip: str = "") -> Target:
    if given.quic_server_id is not None:
        unsupported("A QUIC server ID")
    return Target(
        account=ctx.account,
        region=ctx.region,
        group=group.arn,
        id=given.id,
        port=given.port or group.port,
        ip=ip,
        zone=given.availability_zone or "",
        registered=ctx.now(),
    )


async def _addresses(ctx: Context, group: TargetGroup, given: list[api.TargetDescription]) -> dict[str, str]:
    """The private addresses of instances; of other kinds of targets nothing, but they are checked.

    Raises:
        InvalidTargetException
    """
    wanted = list(dict.fromkeys(each.id for each in given))
    if group.target_type == "ip":
        for each in wanted:
            _require_ip(each)
        return {}
    if group.target_type == "alb":
        for one in given:
            _require_load_balancer(ctx, group, one)
        return {}
    if bad := [each for each in wanted if not each.startswith("i-")]:
        raise api.InvalidTargetException(f"The following targets are not valid instances: '{', '.join(bad)}'")
    found = await places.instances(ctx, wanted)
    if absent := [each for each in wanted if each not in found or found[each]["VpcId"] != group.vpc]:
        raise api.InvalidTargetException(f"The following targets are not in the target group VPC '{group.vpc}': '{', '.join(absent)}'")
    if idle := [each for each in wanted if found[each]["State"]["Name"] != "running"]:
        raise api.InvalidTargetException(f"The following targets are not in a running state and cannot be registered: '{', '.join(idle)}'")
    return {each: str(found[each]["PrivateIpAddress"]) for each in wanted}


def _require_ip(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        raise api.InvalidTargetException(f"The IP address '{text}' is not a valid IPv4 address") from None


def _require_load_balancer(ctx: Context, group: TargetGroup, given: api.TargetDescription) -> None:
    row = ctx.table(LOAD_BALANCERS).get((ctx.account, ctx.region, given.id))
    if row is None or row.kind != "application" or row.vpc != group.vpc:
        raise api.InvalidTargetException(f"The target '{given.id}' is not an Application Load Balancer in the VPC '{group.vpc}'")
    port = given.port or group.port
    if port != group.port:
        raise api.InvalidTargetException(f"The port '{port}' of the target must match the target group port '{group.port}'")
    if not ctx.table(LISTENERS).count((ctx.account, ctx.region, row.arn, port), index="by_port"):
        raise api.InvalidTargetException(f"The load balancer '{given.id}' has no listener on port '{port}'")


@operation(resource=arns.target_group, resource_tags=arns.target_group_tags)
async def register_targets(ctx: Context, request: api.RegisterTargetsRequest) -> api.RegisterTargetsResponse:
    """Add targets; each gets requests once it has passed a health check. One that was leaving stays."""
    group = target_groups.require(ctx, request.target_group_arn)
    if not request.targets:
        invalid("At least one target must be specified")
    found = await _addresses(ctx, group, request.targets)
    rows = {target_key(row): row for row in (_row(ctx, group, each, found.get(each.id, "")) for each in request.targets)}
    table = ctx.table(TARGETS)
    group = target_groups.require(ctx, request.target_group_arn)  # time has passed
    quotas.require(
        ctx,
        "elbv2",
        "targets-per-target-group",
        table.count((ctx.account, ctx.region, group.arn)) + sum(key not in table for key in rows) - 1,
        lambda limit: api.TooManyTargetsException(f"The maximum number of targets ('{limit}') of the target group has been reached"),
    )
    with ctx.transaction() as tx:
        for key, row in rows.items():
            known = table.get(key)
            if known is None or known.leaves is not None:
                tx.put(TARGETS, row)
    return api.RegisterTargetsResponse()


@operation(resource=arns.target_group, resource_tags=arns.target_group_tags)
async def deregister_targets(ctx: Context, request: api.DeregisterTargetsRequest) -> api.DeregisterTargetsResponse:
    """Let targets go: they get nothing new from now on, and what they are doing may end within the deregistration delay."""
    group = target_groups.require(ctx, request.target_group_arn)
    if not request.targets:
        invalid("At least one target must be specified")
    delay = int(attributes.group_value(group, "deregistration_delay.timeout_seconds"))
    in_use = bool(target_groups.load_balancers(ctx, group.arn))
    with ctx.transaction() as tx:
        for each in _unique(_row(ctx, group, given) for given in request.targets):
            known = ctx.table(TARGETS).get(target_key(each))
            if known is None or known.leaves is not None:
                continue
            if in_use:
                tx.update(TARGETS, known, leaves=ctx.now() + delay)
            else:
                tx.delete(TARGETS, target_key(known))
    return api.DeregisterTargetsResponse()


def _unique(rows: Iterable[Target]) -> list[Target]:
    return list({target_key(row): row for row in rows}.values())


@operation(resource="*")
async def describe_target_health(ctx: Context, request: api.DescribeTargetHealthRequest) -> api.DescribeTargetHealthResponse:
    """How targets do: all of a group, or some."""
    group = target_groups.require(ctx, request.target_group_arn)
    table = ctx.table(TARGETS)
    with_anomalies = bool(set(request.include or ()) & {"AnomalyDetection", "All"})
    if request.targets:
        wanted = _unique(_row(ctx, group, each) for each in request.targets)
        rows = [(table.get(target_key(each)) or each, target_key(each) in table) for each in wanted]
    else:
        rows = [(row, True) for row in table.scan((ctx.account, ctx.region, group.arn))]
    health = controller.part(ctx).health
    found = [_describe(row, group, health.verdict(row) if known else NOT_REGISTERED, with_anomalies) for row, known in rows]
    return api.DescribeTargetHealthResponse(target_health_descriptions=found)


def _describe(row: Target, group: TargetGroup, verdict: Verdict, with_anomalies: bool) -> api.TargetHealthDescription:
    port = str(row.port) if group.check.port == "traffic-port" else group.check.port
    return api.TargetHealthDescription(
        target=api.TargetDescription(id=row.id, port=row.port, availability_zone=row.zone or None),
        health_check_port=port,
        target_health=api.TargetHealth(state=verdict.state, reason=verdict.reason, description=verdict.description),
        anomaly_detection=api.AnomalyDetection(result="normal", mitigation_in_effect="no") if with_anomalies else None,
    )
