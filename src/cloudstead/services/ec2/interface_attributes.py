"""Attributes and further addresses of network interfaces."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import addressing, api, arns, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.failures import combination, failure, invalid, missing
from cloudstead.services.ec2.interface_forms import attachment, groups
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, NetworkInterface, Subnet
from cloudstead.services.ec2.network_interfaces import groups_for, yours


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def describe_network_interface_attribute(
    ctx: Context, request: api.DescribeNetworkInterfaceAttributeRequest
) -> api.DescribeNetworkInterfaceAttributeResponse:
    """One attribute."""
    begin(ctx, request, "network_interface_id", "attribute")
    row = kinds.INTERFACE.require(ctx, request.network_interface_id)
    answer = api.DescribeNetworkInterfaceAttributeResponse(network_interface_id=row.id)
    if request.attribute is None:
        raise missing("attribute")
    if request.attribute == "description":
        answer.description = api.AttributeValue(value=row.description)
    elif request.attribute == "groupSet":
        answer.groups = groups(ctx, row)
    elif request.attribute == "sourceDestCheck":
        answer.source_dest_check = api.AttributeBooleanValue(value=row.source_dest_check)
    elif request.attribute == "attachment":
        answer.attachment = None if row.attachment is None else attachment(row.attachment)
    else:
        answer.associate_public_ip_address = bool(row.public_ip)
    return answer


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def modify_network_interface_attribute(
    ctx: Context, request: api.ModifyNetworkInterfaceAttributeRequest
) -> api.ModifyNetworkInterfaceAttributeResponse:
    """Change one attribute."""
    begin(
        ctx,
        request,
        "network_interface_id",
        "description",
        "source_dest_check",
        "groups",
        "attachment",
        "associate_public_ip_address",
    )
    row = yours(ctx, request.network_interface_id)
    changes: dict[str, Any] = {}
    if request.description is not None:
        changes["description"] = request.description.value or ""
    if request.source_dest_check is not None:
        changes["source_dest_check"] = bool(request.source_dest_check.value)
    if request.groups:
        changes["groups"] = groups_for(ctx, row.vpc, request.groups)
    if request.attachment is not None:
        changes["attachment"] = _attachment(row, request.attachment)
    if request.associate_public_ip_address is not None:
        changes["public_ip"] = _public(ctx, row, request.associate_public_ip_address)
    if not changes:
        raise missing("attribute")
    if len(changes) > 1:
        raise combination("Fields for multiple attribute types specified: " + ", ".join(changes))
    with ctx.transaction() as tx:
        tx.update(INTERFACES, row, **changes)
    return api.ModifyNetworkInterfaceAttributeResponse()


def _attachment(row: NetworkInterface, said: api.NetworkInterfaceAttachmentChanges) -> Any:
    if said.default_ena_queue_count or said.ena_queue_count is not None:
        raise failure("UnsupportedOperation", "Queues of network interfaces are not supported by Cloudstead.")
    if row.attachment is None or row.attachment.id != said.attachment_id:
        raise failure("InvalidAttachmentID.NotFound", f"The attachment ID '{said.attachment_id}' does not exist")
    return replace(row.attachment, delete_on_termination=bool(said.delete_on_termination))


def _public(ctx: Context, row: NetworkInterface, wanted: bool) -> str:
    if not wanted:
        return ""
    if ctx.table(ADDRESSES).count((ctx.account, ctx.region, row.id), index="by_interface"):
        raise failure("InvalidParameterCombination", f"The network interface '{row.id}' has an elastic address.")
    return row.public_ip or addressing.public_address(ctx)


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def reset_network_interface_attribute(
    ctx: Context, request: api.ResetNetworkInterfaceAttributeRequest
) -> api.ResetNetworkInterfaceAttributeResponse:
    """Check sources and destinations again."""
    begin(ctx, request, "network_interface_id", "source_dest_check")
    row = yours(ctx, request.network_interface_id)
    if request.source_dest_check is None:
        raise missing("sourceDestCheck")
    with ctx.transaction() as tx:
        tx.update(INTERFACES, row, source_dest_check=True)
    return api.ResetNetworkInterfaceAttributeResponse()


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def assign_private_ip_addresses(ctx: Context, request: api.AssignPrivateIpAddressesRequest) -> api.AssignPrivateIpAddressesResponse:
    """Further addresses: these, or so many."""
    begin(ctx, request, "network_interface_id", "private_ip_addresses", "secondary_private_ip_address_count", "allow_reassignment")
    row = yours(ctx, request.network_interface_id)
    named, count = request.private_ip_addresses or [], request.secondary_private_ip_address_count or 0
    if bool(named) == bool(count) or count < 0:
        raise combination("Exactly one of privateIpAddresses and secondaryPrivateIpAddressCount must be specified.")
    subnet: Subnet = kinds.SUBNET.require(ctx, row.subnet)
    new = [ip for ip in dict.fromkeys(named) if ip not in row.ips]
    with ctx.transaction() as tx:
        for ip in new if request.allow_reassignment else ():
            other = ctx.table(INTERFACES).find("by_address", (row.account, row.region, subnet.id, ip))
            if other is not None and ip != other.ip:
                tx.update(INTERFACES, other, ips=tuple(one for one in other.ips if one != ip))
        for ip in new:
            addressing.this_address(ctx, subnet, ip)
        added = tuple(new) if named else addressing.next_addresses(ctx, subnet, count)
        tx.update(INTERFACES, row, ips=(*row.ips, *added))
    return api.AssignPrivateIpAddressesResponse(
        network_interface_id=row.id, assigned_private_ip_addresses=[api.AssignedPrivateIpAddress(private_ip_address=ip) for ip in added]
    )


@operation(resource=arns.on("network_interface_id"), resource_tags=arns.tags("network_interface_id"), conditions=arns.region)
async def unassign_private_ip_addresses(
    ctx: Context, request: api.UnassignPrivateIpAddressesRequest
) -> api.UnassignPrivateIpAddressesResponse:
    """Give further addresses back; the primary one stays."""
    begin(ctx, request, "network_interface_id", "private_ip_addresses")
    row = yours(ctx, request.network_interface_id)
    gone = request.private_ip_addresses or []
    if not gone:
        raise missing("privateIpAddresses")
    for ip in gone:
        if ip not in row.ips[1:]:
            raise invalid(f"Some of the specified addresses are not assigned to interface {row.id}: {ip}")
    with ctx.transaction() as tx:
        for address in ctx.table(ADDRESSES).scan((ctx.account, ctx.region, row.id), index="by_interface"):
            if address.private_ip in gone:
                tx.update(ADDRESSES, address, association="", interface="", private_ip="")
        tx.update(INTERFACES, row, ips=tuple(ip for ip in row.ips if ip not in gone))
    return api.UnassignPrivateIpAddressesResponse()
