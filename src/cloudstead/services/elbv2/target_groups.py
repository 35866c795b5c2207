"""Target groups: create, describe, modify, delete."""

from __future__ import annotations

import re

from msgspec.structs import replace

from cloudstead.kernel import ids, quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import api, arns, places
from cloudstead.services.elbv2.failures import bad_token, invalid, misconfigured, unsupported
from cloudstead.services.elbv2.health_settings import defaults, with_changes
from cloudstead.services.elbv2.model import HTTP, LISTENERS, RULES, TARGET_GROUPS, TARGETS, TargetGroup
from cloudstead.services.elbv2.tagging import RULES as TAG_RULES

_NAME = re.compile(r"[a-zA-Z0-9-]+")
_HERE = frozenset(("HTTP", "HTTPS", "TCP", "TLS"))


def require(ctx: Context, arn: str) -> TargetGroup:
    """
    Raises:
        TargetGroupNotFoundException, ValidationFailed
    """
    if arns.kind_of(arn) != "targetgroup":
        invalid(f"'{arn}' is not a valid target group ARN")
    row: TargetGroup | None = ctx.table(TARGET_GROUPS).get((ctx.account, ctx.region, arn))
    if row is None:
        raise api.TargetGroupNotFoundException(f"Target groups '{arn}' not found")
    return row


def load_balancers(ctx: Context, arn: str) -> list[str]:
    """The load balancers that send to a target group, by their listeners and rules."""
    place = (ctx.account, ctx.region, arn)
    found = {row.load_balancer: None for row in ctx.table(LISTENERS).scan(place, index="by_group")}
    for rule in ctx.table(RULES).scan(place, index="by_group"):
        listener = ctx.table(LISTENERS).get((rule.account, rule.region, rule.listener))
        if listener is not None:
            found[listener.load_balancer] = None
    return list(found)


def describe(ctx: Context, row: TargetGroup) -> api.TargetGroup:
    check = row.check
    return api.TargetGroup(
        target_group_arn=row.arn,
        target_group_name=row.name,
        protocol=row.protocol,  # type: ignore[arg-type]  # one of the model's
        port=row.port,
        vpc_id=row.vpc,
        health_check_protocol=check.protocol,  # type: ignore[arg-type]
        health_check_port=check.port,
        health_check_enabled=check.enabled,
        health_check_interval_seconds=check.interval,
        health_check_timeout_seconds=check.timeout,
        healthy_threshold_count=check.healthy,
        unhealthy_threshold_count=check.unhealthy,
        health_check_path=check.path,
        matcher=None if check.matcher is None else api.Matcher(http_code=check.matcher),
        load_balancer_arns=load_balancers(ctx, row.arn),
        target_type=row.target_type,  # type: ignore[arg-type]
        protocol_version=row.protocol_version,
        ip_address_type="ipv4",
    )


def _check_name(name: str) -> None:
    if len(name) > 32:
        invalid(f"Target group name '{name}' cannot be longer than '32' characters")
    if not _NAME.fullmatch(name):
        invalid(f"Target group name '{name}' can only contain characters that are alphanumeric characters or hyphens(-)")
    if name.startswith("-") or name.endswith("-"):
        invalid(f"Target group name '{name}' cannot begin or end with '-'")


def _refuse_what_is_not_here(request: api.CreateTargetGroupRequest) -> None:
    if request.target_type == "lambda":
        unsupported("The target type 'lambda'")
    if request.protocol not in _HERE:
        unsupported(f"The protocol '{request.protocol}' of target groups")
    if request.protocol_version not in (None, "", "HTTP1"):  # Terraform says that it says nothing
        unsupported(f"The protocol version '{request.protocol_version}'")
    if request.ip_address_type not in (None, "ipv4"):
        unsupported(f"The IP address type '{request.ip_address_type}'")
    if request.target_control_port is not None:
        unsupported("A target control port")


@operation(resource=arns.new_target_group)
async def create_target_group(ctx: Context, request: api.CreateTargetGroupRequest) -> api.CreateTargetGroupResponse:
    """Make one; asked for the same again, tell the one that is there."""
    _check_name(request.name)
    kind = request.target_type or "instance"
    if request.protocol is None and kind != "lambda":
        invalid("A protocol must be specified")
    _refuse_what_is_not_here(request)
    protocol = request.protocol or ""
    if request.port is None:
        invalid("A port must be specified")
    if request.vpc_id is None:
        invalid("A VPC ID must be specified")
    if kind == "alb" and protocol != "TCP":
        invalid("Target groups with target type 'alb' must have the protocol 'TCP'")
    if protocol not in HTTP and request.protocol_version:
        invalid("Protocol version cannot be specified for target groups of this protocol")
    check = with_changes(defaults(protocol, kind), request, protocol)
    await places.require_vpc(ctx, request.vpc_id)
    row = TargetGroup(
        account=ctx.account,
        region=ctx.region,
        arn=arns.arn(ctx, f"targetgroup/{request.name}/{ids.hex_digits(16)}"),
        name=request.name,
        target_type=kind,
        protocol=protocol,
        port=request.port,
        vpc=request.vpc_id,
        check=check,
        created=ctx.now(),
        protocol_version="HTTP1" if protocol in HTTP else None,
        tags=tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES),
    )
    known = ctx.table(TARGET_GROUPS).find("by_name", (ctx.account, ctx.region, request.name))
    if known is not None:
        same = replace(row, arn=known.arn, created=known.created, attributes=known.attributes, version=known.version)
        if known != same:
            raise api.DuplicateTargetGroupNameException(
                f"A target group with the same name '{request.name}' exists, but with different settings"
            )
        return api.CreateTargetGroupResponse(target_groups=[describe(ctx, known)])
    quotas.require(
        ctx,
        "elbv2",
        "target-groups",
        ctx.table(TARGET_GROUPS).count((ctx.account, ctx.region)),
        lambda limit: api.TooManyTargetGroupsException(f"The maximum number of target groups ('{limit}') has been reached"),
    )
    with ctx.transaction() as tx:
        row = tx.insert(TARGET_GROUPS, row)
    return api.CreateTargetGroupResponse(target_groups=[describe(ctx, row)])


@operation(resource="*")
async def describe_target_groups(ctx: Context, request: api.DescribeTargetGroupsRequest) -> api.DescribeTargetGroupsResponse:
    """Those of a load balancer, of some ARNs or names, or all."""
    arns_, names, balancer = request.target_group_arns or [], request.names or [], request.load_balancer_arn
    if sum(map(bool, (arns_, names, balancer))) > 1:
        invalid("Target group names, target group ARNs, and a load balancer ARN cannot be specified at the same time")
    table = ctx.table(TARGET_GROUPS)
    if balancer:
        if arns.find(ctx, balancer) is None:
            raise api.LoadBalancerNotFoundException(f"Load balancer '{balancer}' not found")
        found = [row for row in table.scan((ctx.account, ctx.region)) if balancer in load_balancers(ctx, row.arn)]
    elif arns_:
        found = list({each: require(ctx, each) for each in arns_}.values())
    elif names:
        named = {each: table.find("by_name", (ctx.account, ctx.region, each)) for each in names}
        if any(row is None for row in named.values()):
            raise api.TargetGroupNotFoundException("One or more target groups not found")
        found = [row for row in named.values() if row is not None]
    else:
        found = list(table.scan((ctx.account, ctx.region)))
    rows, marker = page_of(
        ctx,
        found,
        key=lambda row: row.arn,
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    return api.DescribeTargetGroupsResponse(target_groups=[describe(ctx, row) for row in rows], next_marker=marker)


@operation(resource=arns.target_group, resource_tags=arns.target_group_tags)
async def modify_target_group(ctx: Context, request: api.ModifyTargetGroupRequest) -> api.ModifyTargetGroupResponse:
    """Change the health check."""
    row = require(ctx, request.target_group_arn)
    check = with_changes(row.check, request, row.protocol)
    with ctx.transaction() as tx:
        row = tx.update(TARGET_GROUPS, row, check=check)
    return api.ModifyTargetGroupResponse(target_groups=[describe(ctx, row)])


@operation(resource=arns.target_group, resource_tags=arns.target_group_tags)
async def delete_target_group(ctx: Context, request: api.DeleteTargetGroupRequest) -> api.DeleteTargetGroupResponse:
    """Delete one with its targets, unless a listener or rule leads to it; one that is not there is no error."""
    if arns.kind_of(request.target_group_arn) != "targetgroup":
        misconfigured(f"'{request.target_group_arn}' is not a valid target group ARN")
    row = ctx.table(TARGET_GROUPS).get((ctx.account, ctx.region, request.target_group_arn))
    if row is None:
        return api.DeleteTargetGroupResponse()
    place = (ctx.account, ctx.region, row.arn)
    if ctx.table(LISTENERS).count(place, index="by_group") or ctx.table(RULES).count(place, index="by_group"):
        raise api.ResourceInUseException(f"Target group '{row.arn}' is currently in use by a listener or a rule")
    with ctx.transaction() as tx:
        for target in ctx.table(TARGETS).scan(place):
            tx.delete(TARGETS, target.key)
        tx.delete(TARGET_GROUPS, row.key)
    return api.DeleteTargetGroupResponse()
