"""Where load balancers are: subnets, VPCs, security groups and instances, as EC2 tells.

EC2 is asked on the load balancers' own behalf, as AWS's service-linked role does: whoever may create a load balancer need not be allowed to describe
subnets. It is asked by its names on the wire, so that it does not matter whether EC2 is answered here or by the companion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError, Unavailable, ValidationFailed
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.failures import misconfigured
from cloudstead.services.elbv2.model import Zone

PRINCIPAL = "elasticloadbalancing.amazonaws.com"


class Subnet(msgspec.Struct, frozen=True):
    id: str
    zone: str
    vpc: str


async def ask(ctx: Context, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """One operation of EC2, with the names and in the form that boto3 gives.

    Raises:
        ServiceError
    """
    own = ctx.cloud.service_context(PRINCIPAL, ctx.account, ctx.region)
    service = ctx.cloud.registry.services.get("ec2")
    if service is not None:
        kind = service.attribute(f"api:{operation}Request")
        found: dict[str, Any] = msgspec.to_builtins(await own.call(msgspec.convert(dict(parameters), kind)))
        return found
    if ctx.cloud.companion is None:
        raise Unavailable("EC2 is not available.")
    return await ctx.cloud.companion.call(own, "ec2", operation, parameters)


async def subnets(ctx: Context, ids: Sequence[str]) -> dict[str, Subnet]:
    """
    Raises:
        SubnetNotFoundException
    """
    try:
        answer = await ask(ctx, "DescribeSubnets", {"SubnetIds": list(ids)})
    except ServiceError as error:
        if "Subnet" not in error.code and "Subnet" not in getattr(error, "query_code", ""):
            raise
        raise api.SubnetNotFoundException(f"The subnet ID '{_first(ids, error.message)}' does not exist") from None
    found = {one["SubnetId"]: Subnet(one["SubnetId"], one["AvailabilityZone"], one["VpcId"]) for one in answer["Subnets"]}
    for each in ids:
        if each not in found:
            raise api.SubnetNotFoundException(f"The subnet ID '{each}' does not exist")
    return found


def _first(ids: Sequence[str], message: str) -> str:
    return next((each for each in ids if each in message), ids[0])


def zones(found: Mapping[str, Subnet], wanted: Sequence[Zone]) -> tuple[str, tuple[Zone, ...]]:
    """The VPC of some subnets, and their zones in order.

    Raises:
        InvalidConfigurationRequestException
    """
    if len({found[one.subnet].vpc for one in wanted}) > 1:
        misconfigured("All subnets must belong to the same VPC")
    placed = [msgspec.structs.replace(one, zone=found[one.subnet].zone) for one in wanted]
    if len({one.zone for one in placed}) < len(placed):
        misconfigured("A load balancer cannot be attached to multiple subnets in the same Availability Zone")
    return found[wanted[0].subnet].vpc, tuple(sorted(placed, key=lambda one: one.zone))


async def require_groups(ctx: Context, ids: Sequence[str], vpc: str) -> None:
    """
    Raises:
        InvalidSecurityGroupException
    """
    try:
        answer = await ask(ctx, "DescribeSecurityGroups", {"GroupIds": list(ids)})
    except ServiceError as error:
        if "Group" not in error.code:
            raise
        raise api.InvalidSecurityGroupException("One or more security groups are invalid") from None
    if {one["GroupId"] for one in answer["SecurityGroups"] if one["VpcId"] == vpc} != set(ids):
        raise api.InvalidSecurityGroupException("One or more security groups are invalid")


async def default_group(ctx: Context, vpc: str) -> str:
    """The default security group of a VPC."""
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    answer = await ask(ctx, "DescribeSecurityGroups", {"Filters": filters})
    return str(answer["SecurityGroups"][0]["GroupId"])


async def require_vpc(ctx: Context, vpc: str) -> None:
    """
    Raises:
        ValidationFailed
    """
    try:
        await ask(ctx, "DescribeVpcs", {"VpcIds": [vpc]})
    except ServiceError as error:
        if "Vpc" not in error.code:
            raise
        raise ValidationFailed(f"The VPC ID '{vpc}' is not found") from None


async def instances(ctx: Context, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What EC2 tells of some instances, by id.

    Raises:
        InvalidTargetException
    """
    try:
        answer = await ask(ctx, "DescribeInstances", {"InstanceIds": list(ids)})
    except ServiceError as error:
        if "Instance" not in error.code:
            raise
        raise api.InvalidTargetException(f"The following targets are not valid instances: '{', '.join(ids)}'") from None
    return {one["InstanceId"]: one for each in answer["Reservations"] for one in each["Instances"]}
