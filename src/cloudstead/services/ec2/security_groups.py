"""Security groups."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, kinds, permissions, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import paged, passing
from cloudstead.services.ec2.failures import failure, in_use, invalid, missing
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.making import DEFAULT_GROUP, make_group
from cloudstead.services.ec2.model import GROUP_RULES, INTERFACES, SECURITY_GROUPS, VPCS, GroupRule, SecurityGroup


def security_group(ctx: Context, row: SecurityGroup) -> api.SecurityGroup:
    return api.SecurityGroup(
        group_id=row.id,
        ip_permissions_egress=permissions.grouped(rules_of(ctx, row, egress=True), row.account),
        tags=tagging.to_list(row.tags),
        vpc_id=row.vpc,
        security_group_arn=row.arn(),
        owner_id=row.account,
        group_name=row.name,
        description=row.description,
        ip_permissions=permissions.grouped(rules_of(ctx, row, egress=False), row.account),
    )


def rules_of(ctx: Context, row: SecurityGroup, *, egress: bool) -> list[GroupRule]:
    return ctx.table(GROUP_RULES).scan((row.account, row.region, row.id, egress), index="by_group")


def _filters(ctx: Context) -> Filters:
    def of_rules(prefix: str, egress: bool) -> Filters:
        def each(value: Any) -> Any:
            return lambda row: [value(rule) for rule in rules_of(ctx, row, egress=egress)]

        return {
            f"{prefix}.cidr": each(lambda rule: rule.cidr4 or None),
            f"{prefix}.ipv6-cidr": each(lambda rule: rule.cidr6 or None),
            f"{prefix}.from-port": each(lambda rule: rule.from_port),
            f"{prefix}.to-port": each(lambda rule: rule.to_port),
            f"{prefix}.protocol": each(lambda rule: rule.protocol),
            f"{prefix}.group-id": each(lambda rule: rule.peer_group or None),
            f"{prefix}.group-name": each(lambda rule: _name_of(ctx, rule.peer_group)),
            f"{prefix}.prefix-list-id": lambda row: [],
            f"{prefix}.user-id": each(lambda rule: rule.account if rule.peer_group else None),
        }

    return {
        "description": lambda row: row.description,
        "group-id": lambda row: row.id,
        "group-name": lambda row: row.name,
        "vpc-id": lambda row: row.vpc,
        **of_rules("ip-permission", False),
        **of_rules("egress.ip-permission", True),
    }


def _name_of(ctx: Context, id: str) -> str | None:
    row = kinds.SECURITY_GROUP.find(ctx, id) if id else None
    return None if row is None else row.name


def default_vpc(ctx: Context) -> str:
    row = ctx.table(VPCS).find("default", (ctx.account, ctx.region))
    if row is None:
        raise failure("VPCIdNotSpecified", "No default VPC for this user")
    id: str = row.id
    return id


def by_name(ctx: Context, name: str, vpc: str = "") -> SecurityGroup:
    """A group of a VPC, by default the default one, by its name."""
    vpc = vpc or default_vpc(ctx)
    row: SecurityGroup | None = ctx.table(SECURITY_GROUPS).find("by_name", (ctx.account, ctx.region, vpc, name))
    if row is None:
        raise failure("InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC '{vpc}'")
    return row


def named(ctx: Context, group_id: str | None, group_name: str | None) -> SecurityGroup:
    """The group that a call is about."""
    if group_id:
        row: SecurityGroup = kinds.SECURITY_GROUP.require(ctx, group_id)
        return row
    if group_name:
        return by_name(ctx, group_name)
    raise missing("GroupName or GroupId")


@operation(resource=arns.new(kinds.SECURITY_GROUP, "vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def create_security_group(ctx: Context, request: api.CreateSecurityGroupRequest) -> api.CreateSecurityGroupResponse:
    """A group that lets everything out and nothing in. Names are unique within a VPC."""
    begin(ctx, request, "description", "group_name", "vpc_id", "tag_specifications")
    vpc = kinds.VPC.require(ctx, request.vpc_id).id if request.vpc_id else default_vpc(ctx)
    _check(request.group_name, request.description)
    if ctx.table(SECURITY_GROUPS).find("by_name", (ctx.account, ctx.region, vpc, request.group_name)) is not None:
        raise failure("InvalidGroup.Duplicate", f"The security group '{request.group_name}' already exists for VPC '{vpc}'")
    tags = tagging.given(ctx, request, kinds.SECURITY_GROUP)
    with ctx.transaction() as tx:
        row = make_group(ctx, tx, vpc, request.group_name, request.description, tags)
    return api.CreateSecurityGroupResponse(group_id=row.id, tags=tagging.to_list(row.tags), security_group_arn=row.arn())


def _check(name: str, description: str) -> None:
    if name.startswith("sg-"):
        raise invalid(f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*.")
    if name == DEFAULT_GROUP:
        raise invalid(f"Cannot use reserved security group name: {name}")
    for parameter, text in (("GroupName", name), ("GroupDescription", description)):
        if not text:
            raise missing(parameter)
        if len(text) > 255:
            raise invalid(f"Value ({text}) for parameter {parameter} is invalid. Must be less than or equal to 255 characters.")
        if not text.isascii():
            raise invalid(f"Value ({text}) for parameter {parameter} is invalid. Character sets beyond ASCII are not supported.")


@operation(resource="*", conditions=arns.region)
async def describe_security_groups(ctx: Context, request: api.DescribeSecurityGroupsRequest) -> api.DescribeSecurityGroupsResponse:
    """The security groups of the region, with their rules as IpPermissions."""
    begin(ctx, request, "group_ids", "group_names", "filters", "next_token", "max_results")
    rows = kinds.SECURITY_GROUP.require_all(ctx, request.group_ids or ())
    rows += [by_name(ctx, name) for name in request.group_names or ()]
    if not request.group_ids and not request.group_names:
        rows = kinds.SECURITY_GROUP.all(ctx)
    found = passing({row.id: row for row in rows}.values(), request.filters, _filters(ctx))
    rows, token = paged(ctx, request, found, key=lambda row: row.id)
    return api.DescribeSecurityGroupsResponse(security_groups=[security_group(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def delete_security_group(ctx: Context, request: api.DeleteSecurityGroupRequest) -> api.DeleteSecurityGroupResponse:
    """Delete a group that no network interface is in, and that no other group's rules speak of."""
    begin(ctx, request, "group_id", "group_name")
    row = named(ctx, request.group_id, request.group_name)
    if row.name == DEFAULT_GROUP:
        raise failure("CannotDelete", f'the specified group: "{row.id}" name: "{row.name}" cannot be deleted by a user')
    place = (ctx.account, ctx.region, row.id)
    speaking = ctx.table(GROUP_RULES).scan(place, index="by_peer")
    if ctx.table(INTERFACES).count(place, index="by_group") or any(rule.group != row.id for rule in speaking):
        raise in_use(f"resource {row.id} has a dependent object")
    with ctx.transaction() as tx:
        for rule in ctx.table(GROUP_RULES).scan(place, index="by_group"):
            tx.delete(GROUP_RULES, (ctx.account, ctx.region, rule.id))
        tx.delete(SECURITY_GROUPS, place)
    return api.DeleteSecurityGroupResponse(return_=True, group_id=row.id)


@operation(resource="*", conditions=arns.region)
async def describe_security_group_references(
    ctx: Context, request: api.DescribeSecurityGroupReferencesRequest
) -> api.DescribeSecurityGroupReferencesResponse:
    """Groups of peered VPCs that speak of some groups: there are none, as there is no peering."""
    begin(ctx, request, "group_id")
    kinds.SECURITY_GROUP.require_all(ctx, request.group_id)
    return api.DescribeSecurityGroupReferencesResponse(security_group_reference_set=[])
