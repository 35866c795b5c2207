"""Attributes of VPCs: names, metrics, tenancy."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.failures import combination, missing
from cloudstead.services.ec2.model import VPCS

# AWS's name: where it stands in the row
ATTRIBUTES = {
    "enableDnsSupport": "dns_support",
    "enableDnsHostnames": "dns_hostnames",
    "enableNetworkAddressUsageMetrics": "usage_metrics",
}


@operation(resource=arns.on("vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def describe_vpc_attribute(ctx: Context, request: api.DescribeVpcAttributeRequest) -> api.DescribeVpcAttributeResponse:
    """One attribute."""
    begin(ctx, request, "attribute", "vpc_id")
    row = kinds.VPC.require(ctx, request.vpc_id)
    value = api.AttributeBooleanValue(value=getattr(row, ATTRIBUTES[request.attribute]))
    answer = api.DescribeVpcAttributeResponse(vpc_id=row.id)
    if request.attribute == "enableDnsSupport":
        answer.enable_dns_support = value
    elif request.attribute == "enableDnsHostnames":
        answer.enable_dns_hostnames = value
    else:
        answer.enable_network_address_usage_metrics = value
    return answer


@operation(resource=arns.on("vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def modify_vpc_attribute(ctx: Context, request: api.ModifyVpcAttributeRequest) -> api.ModifyVpcAttributeResponse:
    """Change one attribute."""
    begin(ctx, request, "enable_dns_hostnames", "enable_dns_support", "vpc_id", "enable_network_address_usage_metrics")
    row = kinds.VPC.require(ctx, request.vpc_id)
    asked = {
        "dns_hostnames": request.enable_dns_hostnames,
        "dns_support": request.enable_dns_support,
        "usage_metrics": request.enable_network_address_usage_metrics,
    }
    changes = {name: bool(given.value) for name, given in asked.items() if given is not None}
    if not changes:
        raise missing("attribute")
    if len(changes) > 1:
        raise combination("Fields for multiple attribute types specified: enableDnsHostnames, enableDnsSupport")
    with ctx.transaction() as tx:
        tx.update(VPCS, row, **changes)
    return api.ModifyVpcAttributeResponse()


@operation(resource=arns.on("vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def modify_vpc_tenancy(ctx: Context, request: api.ModifyVpcTenancyRequest) -> api.ModifyVpcTenancyResponse:
    """Make the tenancy the default one, which is the only one there is here."""
    begin(ctx, request, "vpc_id", "instance_tenancy")
    row = kinds.VPC.require(ctx, request.vpc_id)
    with ctx.transaction() as tx:
        tx.update(VPCS, row, tenancy=request.instance_tenancy)
    return api.ModifyVpcTenancyResponse(return_value=True)
