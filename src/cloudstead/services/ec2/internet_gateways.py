"""Internet gateways: what a VPC leads out by."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import failure, in_use
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.model import ADDRESSES, INTERNET_GATEWAYS, InternetGateway

FILTERS: Filters = {
    "attachment.state": lambda row: "available" if row.vpc else [],
    "attachment.vpc-id": lambda row: row.vpc or [],
    "internet-gateway-id": lambda row: row.id,
}


def internet_gateway(row: InternetGateway) -> api.InternetGateway:
    # AWS says "available" of this attachment, which is none of the states that the model lists.
    attached = api.InternetGatewayAttachment(state="available", vpc_id=row.vpc)  # type: ignore[arg-type]
    return api.InternetGateway(
        attachments=[attached] if row.vpc else [], internet_gateway_id=row.id, owner_id=row.account, tags=tagging.to_list(row.tags)
    )


@operation(resource=arns.new(kinds.INTERNET_GATEWAY), conditions=arns.region)
async def create_internet_gateway(ctx: Context, request: api.CreateInternetGatewayRequest) -> api.CreateInternetGatewayResponse:
    """A gateway that is attached to no VPC yet."""
    begin(ctx, request, "tag_specifications")
    tags = tagging.given(ctx, request, kinds.INTERNET_GATEWAY)
    row = InternetGateway(account=ctx.account, region=ctx.region, id=kinds.INTERNET_GATEWAY.new_id(), tags=tags)
    with ctx.transaction() as tx:
        row = tx.insert(INTERNET_GATEWAYS, row)
    return api.CreateInternetGatewayResponse(internet_gateway=internet_gateway(row))


@operation(resource="*", conditions=arns.region)
async def describe_internet_gateways(ctx: Context, request: api.DescribeInternetGatewaysRequest) -> api.DescribeInternetGatewaysResponse:
    """The internet gateways of the region."""
    begin(ctx, request, "filters", "internet_gateway_ids", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.INTERNET_GATEWAY, request.internet_gateway_ids, request.filters, FILTERS)
    return api.DescribeInternetGatewaysResponse(internet_gateways=[internet_gateway(row) for row in rows], next_token=token)


@operation(resource=arns.on("internet_gateway_id", "vpc_id"), resource_tags=arns.tags("internet_gateway_id"), conditions=arns.region)
async def attach_internet_gateway(ctx: Context, request: api.AttachInternetGatewayRequest) -> api.AttachInternetGatewayResponse:
    """To a VPC that has none."""
    begin(ctx, request, "internet_gateway_id", "vpc_id")
    row, vpc = kinds.INTERNET_GATEWAY.require(ctx, request.internet_gateway_id), kinds.VPC.require(ctx, request.vpc_id)
    if row.vpc:
        raise failure("Resource.AlreadyAssociated", f"resource {row.id} is already attached to network {row.vpc}")
    if known := kinds.INTERNET_GATEWAY.of_vpc(ctx, vpc.id):
        raise failure("InvalidParameterValue", f"Network {vpc.id} already has an internet gateway attached: {known[0].id}")
    with ctx.transaction() as tx:
        tx.update(INTERNET_GATEWAYS, row, vpc=vpc.id)
    return api.AttachInternetGatewayResponse()


@operation(resource=arns.on("internet_gateway_id", "vpc_id"), resource_tags=arns.tags("internet_gateway_id"), conditions=arns.region)
async def detach_internet_gateway(ctx: Context, request: api.DetachInternetGatewayRequest) -> api.DetachInternetGatewayResponse:
    """From a VPC in which nothing has a public address."""
    begin(ctx, request, "internet_gateway_id", "vpc_id")
    row, vpc = kinds.INTERNET_GATEWAY.require(ctx, request.internet_gateway_id), kinds.VPC.require(ctx, request.vpc_id)
    if row.vpc != vpc.id:
        raise failure("Gateway.NotAttached", f"resource {row.id} is not attached to network {vpc.id}")
    if any(_is_public(ctx, interface.id, interface.public_ip) for interface in kinds.INTERFACE.of_vpc(ctx, vpc.id)):
        raise in_use(
            f"Network {vpc.id} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
        )
    with ctx.transaction() as tx:
        tx.update(INTERNET_GATEWAYS, row, vpc="")
    return api.DetachInternetGatewayResponse()


def _is_public(ctx: Context, interface: str, public_ip: str) -> bool:
    return bool(public_ip) or ctx.table(ADDRESSES).count((ctx.account, ctx.region, interface), index="by_interface") > 0


@operation(resource=arns.on("internet_gateway_id"), resource_tags=arns.tags("internet_gateway_id"), conditions=arns.region)
async def delete_internet_gateway(ctx: Context, request: api.DeleteInternetGatewayRequest) -> api.DeleteInternetGatewayResponse:
    """Delete a gateway that is attached to no VPC."""
    begin(ctx, request, "internet_gateway_id")
    row = kinds.INTERNET_GATEWAY.require(ctx, request.internet_gateway_id)
    if row.vpc:
        raise in_use(f"The internetGateway '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        tx.delete(INTERNET_GATEWAYS, (ctx.account, ctx.region, row.id))
    return api.DeleteInternetGatewayResponse()
