"""Sets of DHCP options: which names and name servers the machines of a VPC are told."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import in_use, invalid, missing
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.model import DHCP_OPTIONS, VPCS, DhcpOptions

KNOWN = (
    "domain-name",
    "domain-name-servers",
    "ntp-servers",
    "netbios-name-servers",
    "netbios-node-type",
    "ipv6-address-preferred-lease-time",
)
FILTERS: Filters = {
    "dhcp-options-id": lambda row: row.id,
    "key": lambda row: list(row.configurations),
    "value": lambda row: [value for values in row.configurations.values() for value in values],
}


def dhcp_options(row: DhcpOptions) -> api.DhcpOptions:
    return api.DhcpOptions(
        owner_id=row.account,
        tags=tagging.to_list(row.tags),
        dhcp_options_id=row.id,
        dhcp_configurations=[
            api.DhcpConfiguration(key=key, values=[api.AttributeValue(value=value) for value in values])
            for key, values in row.configurations.items()
        ],
    )


@operation(resource=arns.new(kinds.DHCP), conditions=arns.region)
async def create_dhcp_options(ctx: Context, request: api.CreateDhcpOptionsRequest) -> api.CreateDhcpOptionsResponse:
    """A set that no VPC has yet."""
    begin(ctx, request, "dhcp_configurations", "tag_specifications")
    found: dict[str, tuple[str, ...]] = {}
    for one in request.dhcp_configurations:
        if one.key not in KNOWN:
            raise invalid(f"Value ({one.key}) for parameter name is invalid. Unknown DHCP option")
        if not one.values:
            raise invalid(f"Value () for parameter {one.key} is invalid. DHCP option needs a value")
        found[one.key] = tuple(one.values)
    if not found:
        raise missing("dhcpConfiguration")
    row = DhcpOptions(
        account=ctx.account,
        region=ctx.region,
        id=kinds.DHCP.new_id(),
        tags=tagging.given(ctx, request, kinds.DHCP),
        configurations=found,
    )
    with ctx.transaction() as tx:
        row = tx.insert(DHCP_OPTIONS, row)
    return api.CreateDhcpOptionsResponse(dhcp_options=dhcp_options(row))


@operation(resource="*", conditions=arns.region)
async def describe_dhcp_options(ctx: Context, request: api.DescribeDhcpOptionsRequest) -> api.DescribeDhcpOptionsResponse:
    """The sets of DHCP options of the region."""
    begin(ctx, request, "dhcp_options_ids", "filters", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.DHCP, request.dhcp_options_ids, request.filters, FILTERS)
    return api.DescribeDhcpOptionsResponse(dhcp_options=[dhcp_options(row) for row in rows], next_token=token)


@operation(resource=arns.on("dhcp_options_id", "vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def associate_dhcp_options(ctx: Context, request: api.AssociateDhcpOptionsRequest) -> api.AssociateDhcpOptionsResponse:
    """Give a VPC a set, or ("default") none."""
    begin(ctx, request, "dhcp_options_id", "vpc_id")
    vpc = kinds.VPC.require(ctx, request.vpc_id)
    id = request.dhcp_options_id
    if id != "default":
        kinds.DHCP.require(ctx, id)
    with ctx.transaction() as tx:
        tx.update(VPCS, vpc, dhcp_options=id)
    return api.AssociateDhcpOptionsResponse()


@operation(resource=arns.on("dhcp_options_id"), resource_tags=arns.tags("dhcp_options_id"), conditions=arns.region)
async def delete_dhcp_options(ctx: Context, request: api.DeleteDhcpOptionsRequest) -> api.DeleteDhcpOptionsResponse:
    """Delete a set that no VPC has."""
    begin(ctx, request, "dhcp_options_id")
    row = kinds.DHCP.require(ctx, request.dhcp_options_id)
    if any(vpc.dhcp_options == row.id for vpc in kinds.VPC.all(ctx)):
        raise in_use(f"The dhcpOptions '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        tx.delete(DHCP_OPTIONS, (ctx.account, ctx.region, row.id))
    return api.DeleteDhcpOptionsResponse()
