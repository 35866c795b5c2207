"""Regions, availability zones and what an account has of its own accord."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.failures import invalid
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.model import VPCS
from cloudstead.services.ec2.places import REGIONS, zone_id, zones

ZONE_FILTERS: Filters = {
    "group-name": lambda zone: zone.group_name,
    "message": lambda zone: [],
    "opt-in-status": lambda zone: zone.opt_in_status,
    "parent-zone-id": lambda zone: [],
    "parent-zone-name": lambda zone: [],
    "region-name": lambda zone: zone.region_name,
    "state": lambda zone: zone.state,
    "zone-id": lambda zone: zone.zone_id,
    "zone-name": lambda zone: zone.zone_name,
    "zone-type": lambda zone: zone.zone_type,
}
REGION_FILTERS: Filters = {
    "endpoint": lambda region: region.endpoint,
    "opt-in-status": lambda region: region.opt_in_status,
    "region-name": lambda region: region.region_name,
}


@operation(resource="*", conditions=arns.region)
async def describe_availability_zones(ctx: Context, request: api.DescribeAvailabilityZonesRequest) -> api.DescribeAvailabilityZonesResponse:
    """Every region has three zones here: a, b and c. None needs to be opted in to, so AllAvailabilityZones gives no more."""
    begin(ctx, request, "zone_names", "zone_ids", "all_availability_zones", "filters")
    found = [_zone(ctx.region, name) for name in zones(ctx.region)]
    for name in request.zone_names or ():
        if name not in (zone.zone_name for zone in found):
            raise invalid(f"Invalid availability zone: [{name}]")
    for id in request.zone_ids or ():
        if id not in (zone.zone_id for zone in found):
            raise invalid(f"Invalid availability zone-id: [{id}]")
    if request.zone_names:
        found = [zone for zone in found if zone.zone_name in request.zone_names]
    if request.zone_ids:
        found = [zone for zone in found if zone.zone_id in request.zone_ids]
    passes = chosen(request.filters, ZONE_FILTERS)
    return api.DescribeAvailabilityZonesResponse(availability_zones=[zone for zone in found if passes(zone)])


def _zone(region: str, name: str) -> api.AvailabilityZone:
    return api.AvailabilityZone(
        opt_in_status="opt-in-not-required",
        messages=[],
        region_name=region,
        zone_name=name,
        zone_id=zone_id(name),
        group_name=f"{region}-zg-1" if region == "us-east-1" else region,
        network_border_group=region,
        zone_type="availability-zone",
        state="available",
    )


@operation(resource="*", conditions=arns.region)
async def describe_regions(ctx: Context, request: api.DescribeRegionsRequest) -> api.DescribeRegionsResponse:
    """The regions that need no opting in, or (AllRegions) all."""
    begin(ctx, request, "region_names", "all_regions", "filters")
    for name in request.region_names or ():
        if name not in REGIONS:
            raise invalid(f"Invalid region names: [{name}]")
    wanted = request.region_names or [name for name, status in REGIONS.items() if request.all_regions or status == "opt-in-not-required"]
    regions = [
        api.Region(region_name=name, endpoint=f"ec2.{name}.amazonaws.com", opt_in_status=REGIONS[name]) for name in dict.fromkeys(wanted)
    ]
    passes = chosen(request.filters, REGION_FILTERS)
    return api.DescribeRegionsResponse(regions=[region for region in regions if passes(region)])


class Attribute(msgspec.Struct, frozen=True):
    name: str
    values: tuple[str, ...]


@operation(resource="*", conditions=arns.region)
async def describe_account_attributes(ctx: Context, request: api.DescribeAccountAttributesRequest) -> api.DescribeAccountAttributesResponse:
    """What has been the same for every account for years, and which VPC is the default one."""
    begin(ctx, request, "attribute_names")
    default = ctx.table(VPCS).find("default", (ctx.account, ctx.region))
    every = (
        Attribute("supported-platforms", ("VPC",)),
        Attribute("vpc-max-security-groups-per-interface", ("5",)),
        Attribute("max-elastic-ips", ("5",)),
        Attribute("max-instances", ("20",)),
        Attribute("vpc-max-elastic-ips", ("5",)),
        Attribute("default-vpc", (default.id if default else "none",)),
    )
    wanted: Any = request.attribute_names
    return api.DescribeAccountAttributesResponse(
        account_attributes=[
            api.AccountAttribute(
                attribute_name=one.name, attribute_values=[api.AccountAttributeValue(attribute_value=value) for value in one.values]
            )
            for one in every
            if not wanted or one.name in wanted
        ]
    )
