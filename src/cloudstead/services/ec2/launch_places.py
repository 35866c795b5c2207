"""Where new instances are put: a subnet, addresses, groups; and the interfaces that they get there."""

from __future__ import annotations

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import addressing, api, kinds, model
from cloudstead.services.ec2.failures import combination, failure, invalid, unsupported
from cloudstead.services.ec2.model import INTERFACES, SECURITY_GROUPS, VPCS, NetworkInterface, Subnet
from cloudstead.services.ec2.network_interfaces import groups_for, yours


class Place(msgspec.Struct, frozen=True, kw_only=True):
    subnet: Subnet
    groups: tuple[str, ...]
    ip: str = ""  # asked for
    public: bool = False
    description: str = ""
    delete: bool = True  # the interface, with the instance
    existing: NetworkInterface | None = None


def choose(ctx: Context, request: api.RunInstancesRequest) -> Place:
    if request.network_interfaces:
        return _of_interface(ctx, request)
    subnet = _subnet(ctx, request)
    if request.private_ip_address and request.max_count > 1:
        raise combination("A private IP address can be specified for one instance only.")
    named = _named(ctx, subnet, request.security_groups or [])
    return Place(
        subnet=subnet,
        groups=groups_for(ctx, subnet.vpc, [*(request.security_group_ids or []), *named]),
        ip=request.private_ip_address or "",
        public=subnet.map_public_ip,
    )


def _subnet(ctx: Context, request: api.RunInstancesRequest) -> Subnet:
    """The one that is named, or the default one of a zone."""
    placement = request.placement or api.Placement()
    zone = placement.availability_zone
    for name in placement.__struct_fields__:
        value = getattr(placement, name)
        if value and name != "availability_zone" and (name, value) != ("tenancy", "default"):
            raise unsupported(f"The placement {name} is not supported by Cloudstead.")
    if request.subnet_id:
        subnet: Subnet = kinds.SUBNET.require(ctx, request.subnet_id)
        if zone and zone != subnet.zone:
            raise invalid(f"Value ({zone}) for parameter availabilityZone is invalid. The subnet is in {subnet.zone}.")
        return subnet
    vpc = ctx.table(VPCS).find("default", (ctx.account, ctx.region))
    if vpc is None:
        raise failure("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
    found: list[Subnet] = [one for one in kinds.SUBNET.of_vpc(ctx, vpc.id) if one.default_for_az and zone in (None, "", one.zone)]
    if not found:
        where = f" in availability zone '{zone}'" if zone else ""
        raise failure("MissingInput", f"No subnets found for the default VPC '{vpc.id}'{where}. Please specify a subnet.")
    return min(found, key=lambda one: one.zone)


def _named(ctx: Context, subnet: Subnet, names: list[str]) -> list[str]:
    found = []
    for name in names:
        group = ctx.table(SECURITY_GROUPS).find("by_name", (ctx.account, ctx.region, subnet.vpc, name))
        if group is None:
            raise failure("InvalidGroup.NotFound", f"The security group '{name}' does not exist in VPC '{subnet.vpc}'")
        found.append(group.id)
    return found


def _of_interface(ctx: Context, request: api.RunInstancesRequest) -> Place:
    [first, *others] = request.network_interfaces or []
    if others:
        raise unsupported("Instances with more than one network interface are not supported by Cloudstead.")
    for name in ("subnet_id", "security_group_ids", "security_groups", "private_ip_address"):
        if getattr(request, name):
            raise combination(
                "Network interfaces and an instance-level subnet ID, security groups or address may not be specified on the same request"
            )
    _refuse(first)
    delete = first.delete_on_termination is not False
    if first.network_interface_id:
        if request.max_count > 1:
            raise combination("A network interface can be attached to one instance only.")
        row = yours(ctx, first.network_interface_id)
        if row.attachment is not None:
            raise failure("InvalidNetworkInterface.InUse", f"The network interface '{row.id}' is currently in use.")
        subnet = kinds.SUBNET.require(ctx, row.subnet)
        return Place(subnet=subnet, groups=row.groups, existing=row, delete=first.delete_on_termination is True)
    inner = api.RunInstancesRequest(max_count=1, min_count=1, subnet_id=first.subnet_id, placement=request.placement)
    subnet = _subnet(ctx, inner)
    if first.private_ip_address and request.max_count > 1:
        raise combination("A private IP address can be specified for one instance only.")
    public = subnet.map_public_ip if first.associate_public_ip_address is None else first.associate_public_ip_address
    return Place(
        subnet=subnet,
        groups=groups_for(ctx, subnet.vpc, first.groups),
        ip=first.private_ip_address or "",
        public=public,
        description=first.description or "",
        delete=delete,
    )


_ACTS = (
    "associate_public_ip_address",
    "delete_on_termination",
    "description",
    "device_index",
    "groups",
    "network_interface_id",
    "private_ip_address",
    "subnet_id",
    "interface_type",
)


def _refuse(said: api.InstanceNetworkInterfaceSpecification) -> None:
    for name in said.__struct_fields__:
        if name not in _ACTS and getattr(said, name):
            raise unsupported(f"{name} of a network interface of a new instance is not supported by Cloudstead.")
    if said.device_index != 0:
        raise invalid("Each network interface requires a device index; the first one's is 0.")
    if said.interface_type not in (None, "interface"):
        raise unsupported(f"Interfaces of the type {said.interface_type} are not supported by Cloudstead.")


def interfaces(ctx: Context, tx: Transaction, place: Place, count: int, tags: dict[str, str]) -> list[NetworkInterface]:
    """One for each instance, attached to it; its attachment says the id that the instance will have."""
    if place.existing is not None:
        return [tx.update(INTERFACES, place.existing, attachment=_attachment(ctx, place))]
    subnet = place.subnet
    ips = (addressing.this_address(ctx, subnet, place.ip),) if place.ip else addressing.next_addresses(ctx, subnet, count)
    return [
        tx.insert(
            INTERFACES,
            NetworkInterface(
                account=ctx.account,
                region=ctx.region,
                id=kinds.INTERFACE.new_id(),
                tags=tags,
                vpc=subnet.vpc,
                subnet=subnet.id,
                zone=subnet.zone,
                ips=(ip,),
                mac=addressing.new_mac(),
                created=ctx.now(),
                description=place.description,
                groups=place.groups,
                attachment=_attachment(ctx, place),
                public_ip=addressing.public_address(ctx) if place.public else "",
            ),
        )
        for ip in ips
    ]


def _attachment(ctx: Context, place: Place) -> model.Attachment:
    return model.Attachment(
        id=hex_id("eni-attach"), at=ctx.now(), instance=kinds.INSTANCE.new_id(), owner=ctx.account, delete_on_termination=place.delete
    )
