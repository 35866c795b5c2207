"""Network interfaces: what has the addresses of subnets."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import addressing, api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import combination, failure, invalid
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.interface_forms import associations, network_interface
from cloudstead.services.ec2.making import default_group
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, NetworkInterface, Subnet
from cloudstead.services.ec2.places import zone_id

NOT_YOURS = "You do not have permission to access the specified resource."


def filters(ctx: Context) -> Filters:
    def group_names(row: NetworkInterface) -> list[str]:
        return [group.name for id in row.groups if (group := kinds.SECURITY_GROUP.find(ctx, id)) is not None]

    def attachment(name: str) -> Any:
        return lambda row: getattr(row.attachment, name) if row.attachment is not None else []

    def association(name: str) -> Any:
        return lambda row: [getattr(one, name) for one in associations(ctx, row).values()]

    return {
        "association.allocation-id": association("allocation_id"),
        "association.association-id": association("association_id"),
        "association.ip-owner-id": association("ip_owner_id"),
        "association.public-ip": association("public_ip"),
        "association.public-dns-name": association("public_dns_name"),
        "addresses.association.owner-id": association("ip_owner_id"),
        "addresses.association.public-ip": association("public_ip"),
        "addresses.primary": lambda row: [at == 0 for at in range(len(row.ips))],
        "addresses.private-ip-address": lambda row: row.ips,
        "attachment.attachment-id": attachment("id"),
        "attachment.attach-time": lambda row: [],
        "attachment.delete-on-termination": attachment("delete_on_termination"),
        "attachment.device-index": attachment("device_index"),
        "attachment.instance-id": lambda row: (row.attachment.instance or []) if row.attachment else [],
        "attachment.instance-owner-id": attachment("owner"),
        "attachment.status": lambda row: "attached" if row.attachment else [],
        "attachment.nat-gateway-id": lambda row: [],
        "availability-zone": lambda row: row.zone,
        "availability-zone-id": lambda row: zone_id(row.zone),
        "description": lambda row: row.description,
        "group-id": lambda row: row.groups,
        "group-name": group_names,
        "interface-type": lambda row: row.interface_type,
        "ipv6-addresses.ipv6-address": lambda row: [],
        "mac-address": lambda row: row.mac,
        "network-interface-id": lambda row: row.id,
        "operator.managed": lambda row: False,
        "operator.principal": lambda row: [],
        "private-dns-name": lambda row: network_interface(ctx, row).private_dns_name,
        "private-ip-address": lambda row: row.ips,
        "requester-id": lambda row: row.requester or [],
        "requester-managed": lambda row: bool(row.requester),
        "source-dest-check": lambda row: row.source_dest_check,
        "status": lambda row: row.status,
        "subnet-id": lambda row: row.subnet,
        "vpc-id": lambda row: row.vpc,
    }


@operation(resource=arns.new(kinds.INTERFACE, "subnet_id"), resource_tags=arns.tags("subnet_id"), conditions=arns.region)
async def create_network_interface(ctx: Context, request: api.CreateNetworkInterfaceRequest) -> api.CreateNetworkInterfaceResponse:
    """An interface with addresses of a subnet. One that a service makes on its own behalf is its alone to change (requester-managed)."""
    begin(
        ctx,
        request,
        "subnet_id",
        "description",
        "private_ip_address",
        "private_ip_addresses",
        "secondary_private_ip_address_count",
        "groups",
        "tag_specifications",
        "client_token",
        "interface_type",
    )
    subnet = kinds.SUBNET.require(ctx, request.subnet_id)
    if request.interface_type not in (None, "interface"):
        raise failure("UnsupportedOperation", f"Interfaces of the type {request.interface_type} are not supported by Cloudstead.")
    if known := tagging.recalled(ctx, request):
        row = kinds.INTERFACE.require(ctx, known)
        return api.CreateNetworkInterfaceResponse(network_interface=network_interface(ctx, row), client_token=request.client_token)
    row = NetworkInterface(
        account=ctx.account,
        region=ctx.region,
        id=kinds.INTERFACE.new_id(),
        tags=tagging.given(ctx, request, kinds.INTERFACE),
        vpc=subnet.vpc,
        subnet=subnet.id,
        zone=subnet.zone,
        ips=_addresses(ctx, subnet, request),
        mac=addressing.new_mac(),
        created=ctx.now(),
        description=request.description or "",
        groups=groups_for(ctx, subnet.vpc, request.groups),
        requester=ctx.identity.arn if ctx.identity.kind == "service" else "",
    )
    with ctx.transaction() as tx:
        row = tx.insert(INTERFACES, row)
        tagging.remember(ctx, tx, request, row.id)
    return api.CreateNetworkInterfaceResponse(network_interface=network_interface(ctx, row), client_token=request.client_token)


def _addresses(ctx: Context, subnet: Subnet, request: api.CreateNetworkInterfaceRequest) -> tuple[str, ...]:
    """The primary address first."""
    specified = request.private_ip_addresses or []
    primary = [one.private_ip_address for one in specified if one.primary and one.private_ip_address]
    if len(primary) > 1:
        raise invalid("Only one primary private IP address can be specified.")
    if request.private_ip_address and primary and primary[0] != request.private_ip_address:
        raise combination("Only one primary private IP address can be specified.")
    if specified and request.secondary_private_ip_address_count:
        raise combination("The parameters privateIpAddresses and secondaryPrivateIpAddressCount may not be used together.")
    wanted = [request.private_ip_address] if request.private_ip_address else list(primary)
    rest = [one.private_ip_address for one in specified if one.private_ip_address and one.private_ip_address not in wanted]
    first = [addressing.this_address(ctx, subnet, ip or "") for ip in wanted]
    others = [addressing.this_address(ctx, subnet, ip) for ip in dict.fromkeys(rest)]
    first = first or list(addressing.next_addresses(ctx, subnet, 1, but=others))
    count = request.secondary_private_ip_address_count or 0
    if count < 0:
        raise invalid(f"Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid. Must be positive.")
    drawn = addressing.next_addresses(ctx, subnet, count, but=[*first, *others]) if count > 0 else ()
    return (*first, *others, *drawn)


def groups_for(ctx: Context, vpc: str, ids: list[str] | None) -> tuple[str, ...]:
    """The groups of an interface: those that are asked for, or the VPC's default one."""
    if not ids:
        return (default_group(ctx, vpc).id,)
    rows = kinds.SECURITY_GROUP.require_all(ctx, ids)
    if any(row.vpc != vpc for row in rows):
        raise invalid("You have specified two resources that belong to different networks.")
    quotas.require(
        ctx,
        "ec2",
        "groups_of_interface",
        len(rows) - 1,
        lambda limit: failure(
            "SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached."
        ),
    )
    return tuple(row.id for row in rows)


@operation(resource="*", conditions=arns.region)
async def describe_network_interfaces(ctx: Context, request: api.DescribeNetworkInterfacesRequest) -> api.DescribeNetworkInterfacesResponse:
    """The interfaces of the region, those of services too (which need not be asked for with IncludeManagedResources)."""
    begin(ctx, request, "filters", "network_interface_ids", "next_token", "max_results", "include_managed_resources")
    rows, token = described(ctx, request, kinds.INTERFACE, request.network_interface_ids, request.filters, filters(ctx))
    return api.DescribeNetworkInterfacesResponse(network_interfaces=[network_interface(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def delete_network_interface(ctx: Context, request: api.DeleteNetworkInterfaceRequest) -> api.DeleteNetworkInterfaceResponse:
    """Delete an interface that is attached to nothing."""
    begin(ctx, request, "network_interface_id")
    row = yours(ctx, request.network_interface_id)
    if row.attachment is not None:
        raise invalid(f"Network interface '{row.id}' is currently in use.")
    with ctx.transaction() as tx:
        for address in ctx.table(ADDRESSES).scan((ctx.account, ctx.region, row.id), index="by_interface"):
            tx.update(ADDRESSES, address, association="", interface="", private_ip="")
        tx.delete(INTERFACES, (ctx.account, ctx.region, row.id))
    return api.DeleteNetworkInterfaceResponse()


def yours(ctx: Context, id: str) -> NetworkInterface:
    """An interface that the caller may change: not one of a service's.

    Raises:
        AuthFailure, or that there is none
    """
    row: NetworkInterface = kinds.INTERFACE.require(ctx, id)
    if row.requester and ctx.identity.arn != row.requester:
        raise failure("AuthFailure", NOT_YOURS, status=403)
    return row
