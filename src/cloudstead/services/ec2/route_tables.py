"""Route tables, and which subnets they hold for."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import Ec2Error, failure, in_use, invalid, missing
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.making import LOCAL, make_route_table
from cloudstead.services.ec2.model import ROUTE_TABLES, Route, RouteTable, TableAssociation
from cloudstead.services.ec2.routing import state_of

ASSOCIATED = api.RouteTableAssociationState(state="associated")


def route_table(ctx: Context, row: RouteTable) -> api.RouteTable:
    return api.RouteTable(
        associations=[
            api.RouteTableAssociation(
                main=not one.subnet,
                route_table_association_id=one.id,
                route_table_id=row.id,
                subnet_id=one.subnet or None,
                association_state=ASSOCIATED,
            )
            for one in row.associations
        ],
        propagating_vgws=[],
        route_table_id=row.id,
        routes=[_route(ctx, row, one) for one in row.routes],
        tags=tagging.to_list(row.tags),
        vpc_id=row.vpc,
        owner_id=row.account,
    )


def _route(ctx: Context, table: RouteTable, row: Route) -> api.Route:
    target = row.target
    return api.Route(
        destination_cidr_block=row.destination if ":" not in row.destination else None,
        destination_ipv6_cidr_block=row.destination if ":" in row.destination else None,
        gateway_id=target if target == LOCAL or target.startswith("igw-") else None,
        nat_gateway_id=target if target.startswith("nat-") else None,
        network_interface_id=target if target.startswith("eni-") else None,
        origin="CreateRouteTable" if row.origin == "CreateRouteTable" else "CreateRoute",
        state=state_of(ctx.store, table, row),
    )


def _filters(ctx: Context) -> Filters:
    def routes(field: str) -> Filters:
        return {field: lambda row: [getattr(_route(ctx, row, one), field) for one in row.routes]}

    members = {
        "route.destination-cidr-block": "destination_cidr_block",
        "route.destination-ipv6-cidr-block": "destination_ipv6_cidr_block",
        "route.destination-prefix-list-id": "destination_prefix_list_id",
        "route.egress-only-internet-gateway-id": "egress_only_internet_gateway_id",
        "route.gateway-id": "gateway_id",
        "route.instance-id": "instance_id",
        "route.nat-gateway-id": "nat_gateway_id",
        "route.transit-gateway-id": "transit_gateway_id",
        "route.origin": "origin",
        "route.state": "state",
        "route.vpc-peering-connection-id": "vpc_peering_connection_id",
    }
    return {
        "association.gateway-id": lambda row: [],
        "association.main": lambda row: [not one.subnet for one in row.associations],
        "association.route-table-association-id": lambda row: [one.id for one in row.associations],
        "association.route-table-id": lambda row: row.id if row.associations else [],
        "association.subnet-id": lambda row: [one.subnet for one in row.associations if one.subnet],
        "route-table-id": lambda row: row.id,
        "vpc-id": lambda row: row.vpc,
        **{name: routes(field)[field] for name, field in members.items()},
    }


@operation(resource=arns.new(kinds.ROUTE_TABLE, "vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def create_route_table(ctx: Context, request: api.CreateRouteTableRequest) -> api.CreateRouteTableResponse:
    """A route table with the VPC's local routes, that holds for no subnet yet. With a client token it is made once."""
    begin(ctx, request, "vpc_id", "tag_specifications", "client_token")
    vpc = kinds.VPC.require(ctx, request.vpc_id)
    if known := tagging.recalled(ctx, request):
        return api.CreateRouteTableResponse(
            route_table=route_table(ctx, kinds.ROUTE_TABLE.require(ctx, known)), client_token=request.client_token
        )
    tags = tagging.given(ctx, request, kinds.ROUTE_TABLE)
    with ctx.transaction() as tx:
        row = make_route_table(ctx, tx, vpc, tags=tags)
        tagging.remember(ctx, tx, request, row.id)
    return api.CreateRouteTableResponse(route_table=route_table(ctx, row), client_token=request.client_token)


@operation(resource="*", conditions=arns.region)
async def describe_route_tables(ctx: Context, request: api.DescribeRouteTablesRequest) -> api.DescribeRouteTablesResponse:
    """The route tables of the region."""
    begin(ctx, request, "filters", "route_table_ids", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.ROUTE_TABLE, request.route_table_ids, request.filters, _filters(ctx))
    return api.DescribeRouteTablesResponse(route_tables=[route_table(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("route_table_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def delete_route_table(ctx: Context, request: api.DeleteRouteTableRequest) -> api.DeleteRouteTableResponse:
    """Delete a table that holds for no subnet and is not the main one."""
    begin(ctx, request, "route_table_id")
    row = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)
    if row.associations:
        raise in_use(f"The routeTable '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        tx.delete(ROUTE_TABLES, (ctx.account, ctx.region, row.id))
    return api.DeleteRouteTableResponse()


@operation(resource=arns.on("route_table_id", "subnet_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def associate_route_table(ctx: Context, request: api.AssociateRouteTableRequest) -> api.AssociateRouteTableResponse:
    """From now on the table holds for a subnet."""
    begin(ctx, request, "subnet_id", "route_table_id")
    if not request.subnet_id:
        raise missing("subnetId or gatewayId")
    row, subnet = kinds.ROUTE_TABLE.require(ctx, request.route_table_id), kinds.SUBNET.require(ctx, request.subnet_id)
    if row.vpc != subnet.vpc:
        raise _other_networks(row.id, subnet.id)
    known = ctx.table(ROUTE_TABLES).find("by_subnet", (ctx.account, ctx.region, subnet.id))
    if known is not None and known.id == row.id:
        id = next(one.id for one in row.associations if one.subnet == subnet.id)
        return api.AssociateRouteTableResponse(association_id=id, association_state=ASSOCIATED)
    if known is not None:
        raise failure(
            "Resource.AlreadyAssociated", f"the specified association for route table {row.id} conflicts with an existing association"
        )
    new = TableAssociation(id=hex_id("rtbassoc"), subnet=subnet.id)
    with ctx.transaction() as tx:
        tx.update(ROUTE_TABLES, row, associations=(*row.associations, new))
    return api.AssociateRouteTableResponse(association_id=new.id, association_state=ASSOCIATED)


def _other_networks(table: str, subnet: str) -> Ec2Error:
    return invalid(f"Route table {table} and subnet {subnet} belong to different networks")


def _association(ctx: Context, id: str) -> tuple[RouteTable, TableAssociation]:
    row = ctx.table(ROUTE_TABLES).find("by_association", (ctx.account, ctx.region, id))
    if row is None:
        raise failure("InvalidAssociationID.NotFound", f"The association ID '{id}' does not exist")
    return row, next(one for one in row.associations if one.id == id)


@operation(resource=arns.on("route_table_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def replace_route_table_association(
    ctx: Context, request: api.ReplaceRouteTableAssociationRequest
) -> api.ReplaceRouteTableAssociationResponse:
    """Another table for a subnet, or as the main one."""
    begin(ctx, request, "association_id", "route_table_id")
    old, association = _association(ctx, request.association_id)
    row = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)
    if row.vpc != old.vpc:
        raise _other_networks(row.id, association.subnet or old.vpc)
    new = TableAssociation(id=hex_id("rtbassoc"), subnet=association.subnet)
    with ctx.transaction() as tx:
        _drop(tx, old, association)
        row = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)  # it may be the same
        tx.update(ROUTE_TABLES, row, associations=(*row.associations, new))
    return api.ReplaceRouteTableAssociationResponse(new_association_id=new.id, association_state=ASSOCIATED)


@operation(resource=arns.associated(kinds.ROUTE_TABLE), resource_tags=arns.tags_of_associated(kinds.ROUTE_TABLE), conditions=arns.region)
async def disassociate_route_table(ctx: Context, request: api.DisassociateRouteTableRequest) -> api.DisassociateRouteTableResponse:
    """The main table holds for the subnet again."""
    begin(ctx, request, "association_id")
    row, association = _association(ctx, request.association_id)
    if not association.subnet:
        raise invalid(f"cannot disassociate the main route table association {association.id}")
    with ctx.transaction() as tx:
        _drop(tx, row, association)
    return api.DisassociateRouteTableResponse()


def _drop(tx: Transaction, row: RouteTable, association: TableAssociation) -> None:
    tx.update(ROUTE_TABLES, row, associations=tuple(one for one in row.associations if one != association))
