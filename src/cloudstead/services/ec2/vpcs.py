"""VPCs: made, described, deleted; their further address blocks."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from msgspec.structs import replace

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table, Transaction
from cloudstead.services.ec2 import api, arns, cidrs, defaults, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import failure, in_use, invalid, missing, unsupported
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.making import DEFAULT_GROUP, LOCAL, make_vpc
from cloudstead.services.ec2.model import (
    GROUP_RULES,
    NETWORK_ACLS,
    ROUTE_TABLES,
    SECURITY_GROUPS,
    VPCS,
    CidrAssociation,
    Route,
    Vpc,
)

FILTERS: Filters = {
    "cidr": lambda vpc: vpc.cidr,
    "cidr-block-association.cidr-block": lambda vpc: [one.cidr for one in vpc.cidrs],
    "cidr-block-association.association-id": lambda vpc: [one.id for one in vpc.cidrs],
    "cidr-block-association.state": lambda vpc: "associated",
    "dhcp-options-id": lambda vpc: vpc.dhcp_options,
    "ipv6-cidr-block-association.ipv6-cidr-block": lambda vpc: [],
    "ipv6-cidr-block-association.ipv6-pool": lambda vpc: [],
    "ipv6-cidr-block-association.association-id": lambda vpc: [],
    "ipv6-cidr-block-association.state": lambda vpc: [],
    "is-default": lambda vpc: vpc.is_default,
    "isDefault": lambda vpc: vpc.is_default,
    "state": lambda vpc: "available",
    "vpc-id": lambda vpc: vpc.id,
}
FILTERS = {**FILTERS, "cidr-block": FILTERS["cidr"], "cidrBlock": FILTERS["cidr"], "dhcpOptionsId": FILTERS["dhcp-options-id"]}


def vpc(row: Vpc) -> api.Vpc:
    return api.Vpc(
        owner_id=row.account,
        instance_tenancy="default" if row.tenancy == "default" else "dedicated",
        ipv6_cidr_block_association_set=[],
        cidr_block_association_set=[_association(one) for one in row.cidrs],
        is_default=row.is_default,
        tags=tagging.to_list(row.tags),
        block_public_access_states=api.BlockPublicAccessStates(internet_gateway_block_mode="off"),
        vpc_id=row.id,
        state="available",
        cidr_block=row.cidr,
        dhcp_options_id=row.dhcp_options,
    )


def _association(one: CidrAssociation, state: api.VpcCidrBlockStateCode = "associated") -> api.VpcCidrBlockAssociation:
    return api.VpcCidrBlockAssociation(association_id=one.id, cidr_block=one.cidr, cidr_block_state=api.VpcCidrBlockState(state=state))


@operation(resource=arns.new(kinds.VPC), conditions=arns.region)
async def create_vpc(ctx: Context, request: api.CreateVpcRequest) -> api.CreateVpcResponse:
    """A VPC with its main route table, default security group and default network ACL."""
    begin(ctx, request, "cidr_block", "instance_tenancy", "tag_specifications")
    if not request.cidr_block:
        raise missing("cidrBlock")
    if request.instance_tenancy not in (None, "default"):
        raise unsupported(f"The tenancy value {request.instance_tenancy} is not supported by Cloudstead.")
    block = cidrs.of_vpc(request.cidr_block)
    tags = tagging.given(ctx, request, kinds.VPC)
    with ctx.transaction() as tx:
        row = make_vpc(ctx, tx, str(block), tags=tags)
        row = tx.update(VPCS, row, dhcp_options=defaults.options_of_region(ctx, tx).id)
    return api.CreateVpcResponse(vpc=vpc(row))


@operation(resource=arns.new(kinds.VPC), conditions=arns.region)
async def create_default_vpc(ctx: Context, request: api.CreateDefaultVpcRequest) -> api.CreateDefaultVpcResponse:
    """A new default VPC after the first one was deleted."""
    begin(ctx, request)
    if ctx.table(VPCS).find("default", (ctx.account, ctx.region)) is not None:
        raise failure("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
    with ctx.transaction() as tx:
        row = defaults.make(ctx, tx)
    return api.CreateDefaultVpcResponse(vpc=vpc(row))


@operation(resource="*", conditions=arns.region)
async def describe_vpcs(ctx: Context, request: api.DescribeVpcsRequest) -> api.DescribeVpcsResponse:
    """The VPCs of the region."""
    begin(ctx, request, "filters", "vpc_ids", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.VPC, request.vpc_ids, request.filters, FILTERS)
    return api.DescribeVpcsResponse(vpcs=[vpc(row) for row in rows], next_token=token)


@operation(resource=arns.on("vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def delete_vpc(ctx: Context, request: api.DeleteVpcRequest) -> api.DeleteVpcResponse:
    """Delete a VPC in which nothing is left but what came with it."""
    begin(ctx, request, "vpc_id")
    row = kinds.VPC.require(ctx, request.vpc_id)
    if _dependents(ctx, row.id):
        raise in_use(f"The vpc '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        _delete(ctx, tx, row)
    return api.DeleteVpcResponse()


def _dependents(ctx: Context, id: str) -> bool:
    anything = (kinds.SUBNET, kinds.INTERFACE, kinds.INTERNET_GATEWAY)
    return (
        any(kind.of_vpc(ctx, id) for kind in anything)
        or any(nat.state != "deleted" for nat in kinds.NAT_GATEWAY.of_vpc(ctx, id))
        or any(group.name != DEFAULT_GROUP for group in kinds.SECURITY_GROUP.of_vpc(ctx, id))
        or any(not acl.is_default for acl in kinds.NETWORK_ACL.of_vpc(ctx, id))
        or any(not table.main for table in kinds.ROUTE_TABLE.of_vpc(ctx, id))
    )


def _delete(ctx: Context, tx: Transaction, row: Vpc) -> None:
    place = (ctx.account, ctx.region)
    belonging: tuple[Table[Any], ...] = (SECURITY_GROUPS, GROUP_RULES, NETWORK_ACLS, ROUTE_TABLES)
    for table in belonging:
        for one in ctx.table(table).scan((*place, row.id), index="by_vpc"):
            tx.delete(table, (*place, one.id))
    tx.delete(VPCS, (*place, row.id))


# ------------------------------------------------------------------------------------------------------------------- address blocks


@operation(resource=arns.on("vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def associate_vpc_cidr_block(ctx: Context, request: api.AssociateVpcCidrBlockRequest) -> api.AssociateVpcCidrBlockResponse:
    """One more block of addresses for a VPC; every route table gets a local route to it."""
    begin(ctx, request, "vpc_id", "cidr_block")
    if not request.cidr_block:
        raise missing("cidrBlock")
    row = kinds.VPC.require(ctx, request.vpc_id)
    block = cidrs.of_vpc(request.cidr_block)
    if any(block.overlaps(IPv4Network(one.cidr)) for one in row.cidrs):
        raise invalid(f"The CIDR '{request.cidr_block}' conflicts with another CIDR block of the VPC")
    quotas.require(ctx, "ec2", "cidrs", len(row.cidrs), lambda limit: _too_many(row.id, limit))
    new = CidrAssociation(hex_id("vpc-cidr-assoc"), str(block))
    with ctx.transaction() as tx:
        tx.update(VPCS, row, cidrs=(*row.cidrs, new))
        for table in kinds.ROUTE_TABLE.of_vpc(ctx, row.id):
            local = Route(destination=new.cidr, target=LOCAL, origin="CreateRouteTable")
            tx.update(ROUTE_TABLES, table, routes=(*table.routes, local))
    return api.AssociateVpcCidrBlockResponse(cidr_block_association=_association(new, "associating"), vpc_id=row.id)


def _too_many(vpc: str, limit: int) -> Exception:
    return failure("CidrLimitExceeded", f"This network '{vpc}' has met its maximum number of allowed CIDRs: {limit}")


@operation(resource=arns.associated(kinds.VPC), resource_tags=arns.tags_of_associated(kinds.VPC), conditions=arns.region)
async def disassociate_vpc_cidr_block(ctx: Context, request: api.DisassociateVpcCidrBlockRequest) -> api.DisassociateVpcCidrBlockResponse:
    """Take a block of addresses away; not the primary one, nor one that a subnet is in."""
    begin(ctx, request, "association_id")
    id = request.association_id
    row, gone = next(((row, one) for row in kinds.VPC.all(ctx) for one in row.cidrs if one.id == id), (None, None))
    if row is None or gone is None:
        raise failure("InvalidVpcCidrBlockAssociationID.NotFound", f"The vpc CIDR block with association ID {id} does not exist")
    if gone == row.cidrs[0]:
        sentence = f"The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR block of the VPC"
        raise failure("OperationNotPermitted", sentence)
    if any(IPv4Network(subnet.cidr).subnet_of(IPv4Network(gone.cidr)) for subnet in kinds.SUBNET.of_vpc(ctx, row.id)):
        raise failure("InvalidCidrBlock.InUse", f"The vpc {row.id} currently has a subnet within CIDR block {gone.cidr}")
    with ctx.transaction() as tx:
        tx.update(VPCS, row, cidrs=tuple(one for one in row.cidrs if one != gone))
        for table in kinds.ROUTE_TABLE.of_vpc(ctx, row.id):
            tx.put(ROUTE_TABLES, replace(table, routes=tuple(one for one in table.routes if one.destination != gone.cidr)))
    return api.DisassociateVpcCidrBlockResponse(cidr_block_association=_association(gone, "disassociating"), vpc_id=row.id)
