"""NAT gateways: subnets without public addresses lead out by them."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import addressing, api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import combination, failure, missing, unsupported
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, NAT_GATEWAYS, Address, Attachment, NatGateway, NetworkInterface, Subnet
from cloudstead.services.ec2.places import zone_id

REQUESTER = "nat.ec2.amazonaws.com"
FILTERS: Filters = {
    "nat-gateway-id": lambda row: row.id,
    "state": lambda row: row.state,
    "subnet-id": lambda row: row.subnet,
    "vpc-id": lambda row: row.vpc,
}


def nat_gateway(ctx: Context, row: NatGateway) -> api.NatGateway:
    subnet = kinds.SUBNET.find(ctx, row.subnet)
    state: Any = row.state
    return api.NatGateway(
        create_time=row.created,
        delete_time=row.deleted,
        failure_code=row.failed[0] if row.failed else None,
        failure_message=row.failed[1] if row.failed else None,
        nat_gateway_addresses=[
            api.NatGatewayAddress(
                allocation_id=row.allocation or None,
                network_interface_id=row.interface,
                private_ip=row.private_ip,
                public_ip=row.public_ip if row.public_ip and row.state != "pending" else None,
                association_id=row.association or None,
                is_primary=True,
                status="succeeded" if row.state == "available" else "associating" if row.state == "pending" else "unassigning",
                availability_zone=subnet.zone if subnet else None,
                availability_zone_id=zone_id(subnet.zone) if subnet else None,
            )
        ],
        nat_gateway_id=row.id,
        state=state,
        subnet_id=row.subnet,
        vpc_id=row.vpc,
        tags=tagging.to_list(row.tags),
        connectivity_type="public" if row.public else "private",
        availability_mode="zonal",
    )


@operation(resource=arns.new(kinds.NAT_GATEWAY, "subnet_id"), resource_tags=arns.tags("subnet_id"), conditions=arns.region)
async def create_nat_gateway(ctx: Context, request: api.CreateNatGatewayRequest) -> api.CreateNatGatewayResponse:
    """A gateway with an interface in a subnet; it is pending until its controller has seen to it."""
    begin(
        ctx,
        request,
        "allocation_id",
        "client_token",
        "subnet_id",
        "tag_specifications",
        "connectivity_type",
        "private_ip_address",
        "availability_mode",
    )
    if request.availability_mode == "regional":
        raise unsupported("Regional NAT gateways are not supported by Cloudstead.")
    if not request.subnet_id:
        raise missing("subnetId")
    subnet = kinds.SUBNET.require(ctx, request.subnet_id)
    if known := tagging.recalled(ctx, request):
        row = kinds.NAT_GATEWAY.require(ctx, known)
        return api.CreateNatGatewayResponse(nat_gateway=nat_gateway(ctx, row), client_token=request.client_token)
    address = _address(ctx, request)
    tags = tagging.given(ctx, request, kinds.NAT_GATEWAY)
    ip = request.private_ip_address
    ip = addressing.this_address(ctx, subnet, ip) if ip else addressing.next_addresses(ctx, subnet, 1)[0]
    with ctx.transaction() as tx:
        row = _make(ctx, tx, subnet, address, ip, tags)
        tagging.remember(ctx, tx, request, row.id)
    return api.CreateNatGatewayResponse(nat_gateway=nat_gateway(ctx, row), client_token=request.client_token)


def _address(ctx: Context, request: api.CreateNatGatewayRequest) -> Address | None:
    if request.connectivity_type == "private":
        if request.allocation_id:
            raise combination("An allocation ID cannot be specified for a private NAT gateway.")
        return None
    if not request.allocation_id:
        raise missing("allocationId")
    address: Address = kinds.ADDRESS.require(ctx, request.allocation_id)
    if address.association:
        raise failure("Resource.AlreadyAssociated", f"Elastic IP address [{address.id}] is already associated")
    return address


def _make(ctx: Context, tx: Transaction, subnet: Subnet, address: Address | None, ip: str, tags: dict[str, str]) -> NatGateway:
    id = kinds.NAT_GATEWAY.new_id()
    interface = NetworkInterface(
        account=ctx.account,
        region=ctx.region,
        id=kinds.INTERFACE.new_id(),
        vpc=subnet.vpc,
        subnet=subnet.id,
        zone=subnet.zone,
        ips=(ip,),
        mac=addressing.new_mac(),
        created=ctx.now(),
        description=f"Interface for NAT Gateway {id}",
        interface_type="nat_gateway",
        requester=REQUESTER,
        attachment=Attachment(id=hex_id("ela-attach"), at=ctx.now(), owner="amazon-aws", device_index=1),
        source_dest_check=False,
    )
    tx.insert(INTERFACES, interface)
    association = ""
    if address is not None:
        association = hex_id("eipassoc")
        tx.update(ADDRESSES, address, association=association, interface=interface.id, private_ip=ip)
    row = NatGateway(
        account=ctx.account,
        region=ctx.region,
        id=id,
        tags=tags,
        vpc=subnet.vpc,
        subnet=subnet.id,
        interface=interface.id,
        private_ip=ip,
        state="pending",
        created=ctx.now(),
        public=address is not None,
        allocation=address.id if address else "",
        association=association,
        public_ip=address.ip if address else "",
    )
    return tx.insert(NAT_GATEWAYS, row)


@operation(resource="*", conditions=arns.region)
async def describe_nat_gateways(ctx: Context, request: api.DescribeNatGatewaysRequest) -> api.DescribeNatGatewaysResponse:
    """The NAT gateways of the region; a deleted one is shown for an hour."""
    begin(ctx, request, "filter", "max_results", "nat_gateway_ids", "next_token")
    rows, token = described(ctx, request, kinds.NAT_GATEWAY, request.nat_gateway_ids, request.filter, FILTERS)
    return api.DescribeNatGatewaysResponse(nat_gateways=[nat_gateway(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("nat_gateway_id"), resource_tags=arns.tags("nat_gateway_id"), conditions=arns.region)
async def delete_nat_gateway(ctx: Context, request: api.DeleteNatGatewayRequest) -> api.DeleteNatGatewayResponse:
    """Begin to delete a gateway; its elastic address stays allocated."""
    begin(ctx, request, "nat_gateway_id")
    row = kinds.NAT_GATEWAY.require(ctx, request.nat_gateway_id)
    if row.state not in ("deleting", "deleted"):
        with ctx.transaction() as tx:
            tx.update(NAT_GATEWAYS, row, state="deleting")
    return api.DeleteNatGatewayResponse(nat_gateway_id=row.id)
