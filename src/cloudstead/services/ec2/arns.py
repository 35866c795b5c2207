"""The ARNs of EC2, and what operations declare of a call.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import ConditionValue
from cloudstead.services.ec2 import kinds
from cloudstead.services.ec2.kinds import Kind
from cloudstead.services.ec2.model import KEY_PAIRS

# What a member of a request names, where its value does not say.
MEMBERS: Mapping[str, Kind] = {
    "vpc_id": kinds.VPC,
    "subnet_id": kinds.SUBNET,
    "route_table_id": kinds.ROUTE_TABLE,
    "internet_gateway_id": kinds.INTERNET_GATEWAY,
    "nat_gateway_id": kinds.NAT_GATEWAY,
    "allocation_id": kinds.ADDRESS,
    "group_id": kinds.SECURITY_GROUP,
    "network_interface_id": kinds.INTERFACE,
    "instance_id": kinds.INSTANCE,
    "network_acl_id": kinds.NETWORK_ACL,
    "dhcp_options_id": kinds.DHCP,
    "key_pair_id": kinds.KEY_PAIR,
}


def arn(ctx: Context, kind: str, id: str) -> str:
    return f"arn:{ctx.partition}:ec2:{ctx.region}:{ctx.account}:{kind}/{id}"


def on(*members: str) -> Callable[[Context, Any], list[str]]:
    """The resources that members of the request name; one that is not given stands for any."""

    def arns(ctx: Context, request: Any) -> list[str]:
        return [arn(ctx, MEMBERS[member].type, getattr(request, member) or "*") for member in members]

    return arns


def new(kind: Kind, *members: str) -> Callable[[Context, Any], list[str]]:
    """A resource that is not there yet, and those that it is made in."""

    def arns(ctx: Context, request: Any) -> list[str]:
        return [arn(ctx, kind.type, "*"), *on(*members)(ctx, request)]

    return arns


def tags(*members: str) -> Callable[[Context, Any], Mapping[str, ConditionValue]]:
    """Of the first of the resources that members of the request name."""

    def found(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
        for member in members:
            if row := MEMBERS[member].find(ctx, getattr(request, member) or ""):
                tags: Mapping[str, ConditionValue] = row.tags
                return tags
        return {}

    return found


def _associated(ctx: Context, kind: Kind, id: str) -> Any:
    """The resource that has an association."""
    if kind is kinds.VPC:
        return next((row for row in kind.all(ctx) if any(one.id == id for one in row.cidrs)), None)
    return ctx.table(kind.table).find("by_association", (ctx.account, ctx.region, id))


def associated(kind: Kind) -> Callable[[Context, Any], str]:
    """Of the operations that end an association: what has it."""

    def found(ctx: Context, request: Any) -> str:
        row = _associated(ctx, kind, request.association_id or "")
        return arn(ctx, kind.type, "*" if row is None else row.id)

    return found


def tags_of_associated(kind: Kind) -> Callable[[Context, Any], Mapping[str, ConditionValue]]:
    def found(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
        row = _associated(ctx, kind, request.association_id or "")
        return {} if row is None else row.tags

    return found


def key_pair(ctx: Context, request: Any) -> str:
    return arn(ctx, "key-pair", getattr(request, "key_name", None) or "*")


def key_pair_tags(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    row = ctx.table(KEY_PAIRS).find("by_name", (ctx.account, ctx.region, request.key_name or "")) or kinds.KEY_PAIR.find(
        ctx, request.key_pair_id or ""
    )
    return {} if row is None else row.tags


def instances(ctx: Context, request: Any) -> list[str]:
    """Of the operations on several instances."""
    return [arn(ctx, "instance", id) for id in request.instance_ids]


def instance_tags(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    for id in request.instance_ids:
        if row := kinds.INSTANCE.find(ctx, id):
            tags: Mapping[str, ConditionValue] = row.tags
            return tags
    return {}


def launched(ctx: Context, request: Any) -> list[str]:
    """Of RunInstances: what is made, and what it is made of."""
    interfaces = request.network_interfaces or ()
    subnets = [request.subnet_id, *(one.subnet_id for one in interfaces)]
    groups = [*(request.security_group_ids or ()), *(group for one in interfaces for group in one.groups or ())]
    named = [one.network_interface_id for one in interfaces if one.network_interface_id]
    return [
        arn(ctx, "instance", "*"),
        f"arn:{ctx.partition}:ec2:{ctx.region}::image/{request.image_id or '*'}",
        arn(ctx, "subnet", next((one for one in subnets if one), "*")),
        *(arn(ctx, "security-group", group) for group in groups or ["*"]),
        *(arn(ctx, "network-interface", one) for one in named or ["*"]),
        *([arn(ctx, "key-pair", request.key_name)] if request.key_name else []),
    ]


def tagged(ctx: Context, request: Any) -> list[str]:
    """Of CreateTags and DeleteTags: all that the ids name."""
    return [arn(ctx, kind.type if (kind := kinds.kind_of(id)) else "*", id) for id in request.resources]


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    for id in request.resources:
        if (kind := kinds.kind_of(id)) and (row := kind.find(ctx, id)):
            tags: Mapping[str, ConditionValue] = row.tags
            return tags
    return {}


def region(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {"ec2:Region": ctx.region}
