"""Elastic addresses. They stand for public ones; the world does not know them (docs/services/ec2.md)."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import addressing, api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import passing
from cloudstead.services.ec2.failures import Ec2Error, combination, failure, invalid, missing, unsupported
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, Address, NetworkInterface


def _filters(ctx: Context) -> Filters:
    def interface_of(row: Address) -> NetworkInterface | None:
        found: NetworkInterface | None = kinds.INTERFACE.find(ctx, row.interface) if row.interface else None
        return found

    return {
        "allocation-id": lambda row: row.id,
        "association-id": lambda row: row.association or [],
        "domain": lambda row: "vpc",
        "instance-id": lambda row: _instance(interface_of(row)) or [],
        "network-border-group": lambda row: row.region,
        "network-interface-id": lambda row: row.interface or [],
        "network-interface-owner-id": lambda row: row.account if row.interface else [],
        "private-ip-address": lambda row: row.private_ip or [],
        "public-ip": lambda row: row.ip,
    }


def _instance(interface: NetworkInterface | None) -> str:
    return interface.attachment.instance if interface is not None and interface.attachment is not None else ""


def address(ctx: Context, row: Address) -> api.Address:
    interface = kinds.INTERFACE.find(ctx, row.interface) if row.interface else None
    return api.Address(
        allocation_id=row.id,
        association_id=row.association or None,
        domain="vpc",
        network_interface_id=row.interface or None,
        network_interface_owner_id=row.account if row.interface else None,
        private_ip_address=row.private_ip or None,
        tags=tagging.to_list(row.tags),
        public_ipv4_pool="amazon",
        network_border_group=row.region,
        instance_id=_instance(interface) or None,
        public_ip=row.ip,
    )


@operation(resource=arns.new(kinds.ADDRESS), conditions=arns.region)
async def allocate_address(ctx: Context, request: api.AllocateAddressRequest) -> api.AllocateAddressResponse:
    """An address that nobody else in this cloud has."""
    begin(ctx, request, "domain", "network_border_group", "tag_specifications", "public_ipv4_pool")
    if request.domain == "standard":
        raise unsupported("Addresses of EC2-Classic do not exist any more.")
    if request.public_ipv4_pool not in (None, "", "amazon"):
        raise failure("InvalidPublicIpv4PoolID.NotFound", f"The poolId '{request.public_ipv4_pool}' does not exist.")
    if request.network_border_group not in (None, "", ctx.region):
        raise invalid(f"invalid value for parameter networkBorderGroup: {request.network_border_group}")
    tags = tagging.given(ctx, request, kinds.ADDRESS)
    row = Address(account=ctx.account, region=ctx.region, id=kinds.ADDRESS.new_id(), tags=tags, ip=addressing.public_address(ctx))
    with ctx.transaction() as tx:
        row = tx.insert(ADDRESSES, row)
    return api.AllocateAddressResponse(
        allocation_id=row.id, public_ipv4_pool="amazon", network_border_group=ctx.region, domain="vpc", public_ip=row.ip
    )


@operation(resource="*", conditions=arns.region)
async def describe_addresses(ctx: Context, request: api.DescribeAddressesRequest) -> api.DescribeAddressesResponse:
    """The elastic addresses of the region."""
    begin(ctx, request, "public_ips", "filters", "allocation_ids")
    rows = kinds.ADDRESS.require_all(ctx, request.allocation_ids or ()) + [_of_ip(ctx, ip) for ip in request.public_ips or ()]
    if not request.allocation_ids and not request.public_ips:
        rows = kinds.ADDRESS.all(ctx)
    found = passing({row.id: row for row in rows}.values(), request.filters, _filters(ctx))
    return api.DescribeAddressesResponse(addresses=[address(ctx, row) for row in found])


@operation(resource="*", conditions=arns.region)
async def describe_addresses_attribute(
    ctx: Context, request: api.DescribeAddressesAttributeRequest
) -> api.DescribeAddressesAttributeResponse:
    """Reverse names of addresses: there are none, so that no page has anything on it."""
    begin(ctx, request, "allocation_ids", "attribute", "next_token", "max_results")
    kinds.ADDRESS.require_all(ctx, request.allocation_ids or ())
    return api.DescribeAddressesAttributeResponse(addresses=[])


def _of_ip(ctx: Context, ip: str) -> Address:
    row: Address | None = ctx.table(ADDRESSES).find("by_ip", (ip,))
    if row is None or (row.account, row.region) != (ctx.account, ctx.region):
        raise failure("InvalidAddress.NotFound", f"Address '{ip}' not found.")
    return row


def _named(ctx: Context, allocation: str | None, ip: str | None) -> Address:
    if allocation and ip:
        raise combination("You may specify public IP or allocation id, but not both in the same call")
    if allocation:
        row: Address = kinds.ADDRESS.require(ctx, allocation)
        return row
    if ip:
        return _of_ip(ctx, ip)
    raise missing("allocationId")


@operation(resource=arns.on("allocation_id"), resource_tags=arns.tags("allocation_id"), conditions=arns.region)
async def release_address(ctx: Context, request: api.ReleaseAddressRequest) -> api.ReleaseAddressResponse:
    """Give an address back that is associated with nothing."""
    begin(ctx, request, "allocation_id", "public_ip", "network_border_group")
    if request.network_border_group not in (None, "", ctx.region):
        raise invalid(f"invalid value for parameter networkBorderGroup: {request.network_border_group}")
    row = _named(ctx, request.allocation_id, request.public_ip)
    if row.association:
        raise failure("InvalidIPAddress.InUse", f"Address {row.ip} is in use.")
    with ctx.transaction() as tx:
        tx.delete(ADDRESSES, (ctx.account, ctx.region, row.id))
    return api.ReleaseAddressResponse()


@operation(resource=arns.on("allocation_id", "network_interface_id"), resource_tags=arns.tags("allocation_id"), conditions=arns.region)
async def associate_address(ctx: Context, request: api.AssociateAddressRequest) -> api.AssociateAddressResponse:
    """With an address of a network interface, in a VPC that has an internet gateway."""
    begin(
        ctx,
        request,
        "allocation_id",
        "public_ip",
        "instance_id",
        "network_interface_id",
        "private_ip_address",
        "allow_reassociation",
    )
    row = _named(ctx, request.allocation_id, request.public_ip)
    interface = _interface(ctx, request)
    private = request.private_ip_address or interface.ip
    if private not in interface.ips:
        raise invalid(f"The private IP address {private} is not assigned to the interface {interface.id}.")
    if (row.interface, row.private_ip) == (interface.id, private):
        return api.AssociateAddressResponse(association_id=row.association)
    if row.association and request.allow_reassociation is False:
        raise failure("Resource.AlreadyAssociated", f"resource {row.id} is already associated with associate-id {row.association}")
    if row.association and _managed(ctx, row):
        raise failure("AuthFailure", f"You do not have permission to access the specified resource {row.interface}.", status=403)
    if not kinds.INTERNET_GATEWAY.of_vpc(ctx, interface.vpc):
        raise failure("Gateway.NotAttached", f"Network {interface.vpc} is not attached to any internet gateway")
    associated = replace(row, association=hex_id("eipassoc"), interface=interface.id, private_ip=private)
    with ctx.transaction() as tx:
        for other in ctx.table(ADDRESSES).scan((ctx.account, ctx.region, interface.id), index="by_interface"):
            if other.private_ip == private and other.id != row.id:
                tx.update(ADDRESSES, other, association="", interface="", private_ip="")
        tx.update(ADDRESSES, associated)
        if private == interface.ip and interface.public_ip:  # Amazon's own goes when an elastic one comes
            tx.update(INTERFACES, interface, public_ip="")
    return api.AssociateAddressResponse(association_id=associated.association)


def _managed(ctx: Context, row: Address) -> bool:
    interface = kinds.INTERFACE.find(ctx, row.interface)
    return interface is not None and bool(interface.requester) and interface.requester != ctx.identity.arn


def _interface(ctx: Context, request: api.AssociateAddressRequest) -> NetworkInterface:
    if request.network_interface_id:
        row: NetworkInterface = kinds.INTERFACE.require(ctx, request.network_interface_id)
        return row
    if not request.instance_id:
        raise missing("instanceId or networkInterfaceId")
    for row in kinds.INTERFACE.all(ctx):
        if row.attachment is not None and row.attachment.instance == request.instance_id and row.attachment.device_index == 0:
            return row
    raise _no_instance(request.instance_id)


def _no_instance(id: str) -> Ec2Error:
    return failure("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")


@operation(resource=arns.associated(kinds.ADDRESS), resource_tags=arns.tags_of_associated(kinds.ADDRESS), conditions=arns.region)
async def disassociate_address(ctx: Context, request: api.DisassociateAddressRequest) -> api.DisassociateAddressResponse:
    """The address stays allocated."""
    begin(ctx, request, "association_id", "public_ip")
    if request.association_id:
        row = ctx.table(ADDRESSES).find("by_association", (ctx.account, ctx.region, request.association_id))
        if row is None:
            raise failure("InvalidAssociationID.NotFound", f"The association ID '{request.association_id}' does not exist")
    elif request.public_ip:
        row = _of_ip(ctx, request.public_ip)
    else:
        raise missing("associationId")
    if row.association and _managed(ctx, row):
        raise failure("AuthFailure", f"You do not have permission to access the specified resource {row.interface}.", status=403)
    with ctx.transaction() as tx:
        tx.update(ADDRESSES, row, association="", interface="", private_ip="")
    return api.DisassociateAddressResponse()
