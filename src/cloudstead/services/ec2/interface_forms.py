"""Network interfaces as AWS tells them: names, and the public addresses that they are associated with."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.services.ec2 import api, kinds, tagging
from cloudstead.services.ec2.defaults import domain
from cloudstead.services.ec2.model import ADDRESSES, Attachment, NetworkInterface
from cloudstead.services.ec2.places import zone_id


def private_name(region: str, ip: str) -> str:
    return f"ip-{ip.replace('.', '-')}.{domain(region)}"


def public_name(region: str, ip: str) -> str:
    return f"ec2-{ip.replace('.', '-')}.{'compute-1' if region == 'us-east-1' else f'{region}.compute'}.amazonaws.com"


def associations(ctx: Context, row: NetworkInterface) -> dict[str, api.NetworkInterfaceAssociation]:
    """By private address: the elastic addresses, and the one of Amazon's that goes with the primary address."""
    named = _has_names(ctx, row)
    found = {}
    if row.public_ip:
        found[row.ip] = _association(row, row.public_ip, named, owner="amazon")
    for address in ctx.table(ADDRESSES).scan((row.account, row.region, row.id), index="by_interface"):
        association = _association(row, address.ip, named, owner=row.account)
        association.allocation_id, association.association_id = address.id, address.association
        found[address.private_ip] = association
    return found


def _association(row: NetworkInterface, ip: str, named: bool, *, owner: str) -> api.NetworkInterfaceAssociation:
    return api.NetworkInterfaceAssociation(ip_owner_id=owner, public_dns_name=public_name(row.region, ip) if named else "", public_ip=ip)


def _has_names(ctx: Context, row: NetworkInterface) -> bool:
    vpc = kinds.VPC.find(ctx, row.vpc)
    return vpc is not None and bool(vpc.dns_hostnames)


def network_interface(ctx: Context, row: NetworkInterface) -> api.NetworkInterface:
    public, named = associations(ctx, row), _has_names(ctx, row)
    kind: Any = row.interface_type
    return api.NetworkInterface(
        association=public.get(row.ip),
        attachment=None if row.attachment is None else attachment(row.attachment),
        availability_zone=row.zone,
        availability_zone_id=zone_id(row.zone),
        description=row.description,
        groups=groups(ctx, row),
        interface_type=kind,
        ipv6_addresses=[],
        mac_address=row.mac,
        network_interface_id=row.id,
        owner_id=row.account,
        operator=api.OperatorResponse(managed=False),
        private_dns_name=private_name(row.region, row.ip) if named else None,
        private_ip_address=row.ip,
        private_ip_addresses=[
            api.NetworkInterfacePrivateIpAddress(
                association=public.get(ip),
                primary=at == 0,
                private_dns_name=private_name(row.region, ip) if named else None,
                private_ip_address=ip,
            )
            for at, ip in enumerate(row.ips)
        ],
        requester_id=row.requester or None,
        requester_managed=bool(row.requester),
        source_dest_check=row.source_dest_check,
        status="available" if row.attachment is None else "in-use",
        subnet_id=row.subnet,
        tag_set=tagging.to_list(row.tags),
        vpc_id=row.vpc,
    )


def groups(ctx: Context, row: NetworkInterface) -> list[api.GroupIdentifier]:
    rows = [kinds.SECURITY_GROUP.find(ctx, id) for id in row.groups]
    return [api.GroupIdentifier(group_id=group.id, group_name=group.name) for group in rows if group is not None]


def attachment(row: Attachment) -> api.NetworkInterfaceAttachment:
    return api.NetworkInterfaceAttachment(
        attach_time=row.at,
        attachment_id=row.id,
        delete_on_termination=row.delete_on_termination,
        device_index=row.device_index,
        network_card_index=0,
        instance_id=row.instance or None,
        instance_owner_id=row.owner or None,
        status="attached",
    )
