"""Subnets: a block of a VPC's addresses in one availability zone."""

from __future__ import annotations

from ipaddress import IPv4Network

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, cidrs, kinds, tagging
from cloudstead.services.ec2.addressing import free_addresses
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.defaults import SUBNET_PREFIX
from cloudstead.services.ec2.describing import paged, passing
from cloudstead.services.ec2.failures import combination, failure, in_use, invalid, missing
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.making import make_subnet
from cloudstead.services.ec2.model import INTERFACES, NETWORK_ACLS, ROUTE_TABLES, SUBNETS, VPCS, Subnet
from cloudstead.services.ec2.places import zone_id, zone_of_id, zones

NO_DEFAULT_VPC = "No default VPC exists for this account in this region."

_FILTERS: Filters = {
    "availability-zone": lambda subnet: subnet.zone,
    "availability-zone-id": lambda subnet: zone_id(subnet.zone),
    "cidr-block": lambda subnet: subnet.cidr,
    "customer-owned-ipv4-pool": lambda subnet: [],
    "default-for-az": lambda subnet: subnet.default_for_az,
    "enable-dns64": lambda subnet: False,
    "enable-lni-at-device-index": lambda subnet: [],
    "ipv6-cidr-block-association.ipv6-cidr-block": lambda subnet: [],
    "ipv6-cidr-block-association.association-id": lambda subnet: [],
    "ipv6-cidr-block-association.state": lambda subnet: [],
    "ipv6-native": lambda subnet: False,
    "map-customer-owned-ip-on-launch": lambda subnet: False,
    "map-public-ip-on-launch": lambda subnet: subnet.map_public_ip,
    "outpost-arn": lambda subnet: [],
    "private-dns-name-options-on-launch.hostname-type": lambda subnet: subnet.hostname_type,
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": lambda subnet: subnet.dns_a_record,
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": lambda subnet: False,
    "state": lambda subnet: "available",
    "subnet-arn": lambda subnet: f"arn:aws:ec2:{subnet.region}:{subnet.account}:subnet/{subnet.id}",
    "subnet-id": lambda subnet: subnet.id,
    "vpc-id": lambda subnet: subnet.vpc,
}
ALIASES = {
    "availabilityZone": "availability-zone",
    "availabilityZoneId": "availability-zone-id",
    "cidr": "cidr-block",
    "cidrBlock": "cidr-block",
    "defaultForAz": "default-for-az",
}
FILTERS: Filters = {**_FILTERS, **{alias: _FILTERS[name] for alias, name in ALIASES.items()}}


def subnet(ctx: Context, row: Subnet) -> api.Subnet:
    return api.Subnet(
        availability_zone_id=zone_id(row.zone),
        map_customer_owned_ip_on_launch=False,
        owner_id=row.account,
        assign_ipv6_address_on_creation=False,
        ipv6_cidr_block_association_set=[],
        tags=tagging.to_list(row.tags),
        subnet_arn=arns.arn(ctx, "subnet", row.id),
        enable_dns64=False,
        ipv6_native=False,
        private_dns_name_options_on_launch=api.PrivateDnsNameOptionsOnLaunch(
            hostname_type="resource-name" if row.hostname_type == "resource-name" else "ip-name",
            enable_resource_name_dns_a_record=row.dns_a_record,
            enable_resource_name_dns_aaaa_record=False,
        ),
        block_public_access_states=api.BlockPublicAccessStates(internet_gateway_block_mode="off"),
        subnet_id=row.id,
        state="available",
        vpc_id=row.vpc,
        cidr_block=row.cidr,
        available_ip_address_count=free_addresses(ctx, row),
        availability_zone=row.zone,
        default_for_az=row.default_for_az,
        map_public_ip_on_launch=row.map_public_ip,
    )


@operation(resource=arns.new(kinds.SUBNET, "vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def create_subnet(ctx: Context, request: api.CreateSubnetRequest) -> api.CreateSubnetResponse:
    """A block within the VPC that no other subnet has."""
    begin(ctx, request, "tag_specifications", "availability_zone", "availability_zone_id", "cidr_block", "vpc_id")
    vpc = kinds.VPC.require(ctx, request.vpc_id)
    if not request.cidr_block:
        raise missing("cidrBlock")
    zone = _zone(ctx, request.availability_zone, request.availability_zone_id) or zones(ctx.region)[0]
    taken = [row.cidr for row in kinds.SUBNET.of_vpc(ctx, vpc.id)]
    block = cidrs.of_subnet(request.cidr_block, [one.cidr for one in vpc.cidrs], taken)
    tags = tagging.given(ctx, request, kinds.SUBNET)
    with ctx.transaction() as tx:
        row = make_subnet(ctx, tx, vpc, str(block), zone, tags=tags)
    return api.CreateSubnetResponse(subnet=subnet(ctx, row))


def _zone(ctx: Context, name: str | None, id: str | None) -> str | None:
    if name and id:
        raise combination("You can't specify both AvailabilityZone and AvailabilityZoneId in the same call.")
    known = zones(ctx.region)
    if id and (found := zone_of_id(ctx.region, id)) is None:
        raise invalid(
            f"Value ({id}) for parameter availabilityZoneId is invalid. Subnets can currently only be created in the following availability zones: "
            f"{', '.join(zone_id(zone) for zone in known)}."
        )
    if name and name not in known:
        raise invalid(
            f"Value ({name}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: "
            f"{', '.join(known)}."
        )
    return found if id else name


@operation(resource=arns.new(kinds.SUBNET), conditions=arns.region)
async def create_default_subnet(ctx: Context, request: api.CreateDefaultSubnetRequest) -> api.CreateDefaultSubnetResponse:
    """A default subnet in the place of one that was deleted."""
    begin(ctx, request, "availability_zone", "availability_zone_id")
    vpc = ctx.table(VPCS).find("default", (ctx.account, ctx.region))
    if vpc is None:
        raise failure("DefaultVpcDoesNotExist", NO_DEFAULT_VPC)
    zone = _zone(ctx, request.availability_zone, request.availability_zone_id)
    if zone is None:
        raise missing("availabilityZone")
    there = kinds.SUBNET.of_vpc(ctx, vpc.id)
    if known := next((row for row in there if row.default_for_az and row.zone == zone), None):
        raise failure("DefaultSubnetAlreadyExistsInAvailabilityZone", f"'{known.id}' is already the default subnet in {zone}.")
    taken = [IPv4Network(row.cidr) for row in there]
    blocks = IPv4Network(vpc.cidr).subnets(new_prefix=SUBNET_PREFIX)
    block = next((block for block in blocks if not any(block.overlaps(other) for other in taken)), None)
    if block is None:
        raise failure("InsufficientCidrBlocks", "There are not enough CIDR blocks available to complete the request.")
    with ctx.transaction() as tx:
        row = make_subnet(ctx, tx, vpc, str(block), zone, default=True)
    return api.CreateDefaultSubnetResponse(subnet=subnet(ctx, row))


@operation(resource="*", conditions=arns.region)
async def describe_subnets(ctx: Context, request: api.DescribeSubnetsRequest) -> api.DescribeSubnetsResponse:
    """The subnets of the region, with the number of addresses that are free in each."""
    begin(ctx, request, "filters", "subnet_ids", "next_token", "max_results")
    counted: Filters = {
        **FILTERS,
        "available-ip-address-count": lambda row: free_addresses(ctx, row),
        "availableIpAddressCount": lambda row: free_addresses(ctx, row),
    }
    every = kinds.SUBNET.require_all(ctx, request.subnet_ids) if request.subnet_ids else kinds.SUBNET.all(ctx)
    rows, token = paged(ctx, request, passing(every, request.filters, counted), key=lambda row: row.id)
    return api.DescribeSubnetsResponse(subnets=[subnet(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("subnet_id"), resource_tags=arns.tags("subnet_id"), conditions=arns.region)
async def modify_subnet_attribute(ctx: Context, request: api.ModifySubnetAttributeRequest) -> api.ModifySubnetAttributeResponse:
    """Change one attribute."""
    names = (
        "map_public_ip_on_launch",
        "private_dns_hostname_type_on_launch",
        "enable_resource_name_dns_a_record_on_launch",
    )
    begin(ctx, request, "subnet_id", *names)
    row = kinds.SUBNET.require(ctx, request.subnet_id)
    changes: dict[str, object] = {}
    if request.map_public_ip_on_launch is not None:
        changes["map_public_ip"] = bool(request.map_public_ip_on_launch.value)
    if request.private_dns_hostname_type_on_launch is not None:
        changes["hostname_type"] = request.private_dns_hostname_type_on_launch
    if request.enable_resource_name_dns_a_record_on_launch is not None:
        changes["dns_a_record"] = bool(request.enable_resource_name_dns_a_record_on_launch.value)
    if len(changes) > 1:
        raise combination("Fields for multiple attribute types specified")
    with ctx.transaction() as tx:
        tx.update(SUBNETS, row, **changes)
    return api.ModifySubnetAttributeResponse()


@operation(resource=arns.on("subnet_id"), resource_tags=arns.tags("subnet_id"), conditions=arns.region)
async def delete_subnet(ctx: Context, request: api.DeleteSubnetRequest) -> api.DeleteSubnetResponse:
    """Delete a subnet in which there is no network interface."""
    begin(ctx, request, "subnet_id")
    row = kinds.SUBNET.require(ctx, request.subnet_id)
    place = (ctx.account, ctx.region)
    if ctx.table(INTERFACES).count((*place, row.id), index="by_address"):
        raise in_use(f"The subnet '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        for table in ctx.table(ROUTE_TABLES).scan((*place, row.id), index="by_subnet"):
            tx.update(ROUTE_TABLES, table, associations=tuple(one for one in table.associations if one.subnet != row.id))
        for acl in ctx.table(NETWORK_ACLS).scan((*place, row.id), index="by_subnet"):
            tx.update(NETWORK_ACLS, acl, associations=tuple(one for one in acl.associations if one.subnet != row.id))
        tx.delete(SUBNETS, (*place, row.id))
    return api.DeleteSubnetResponse()
