"""Routes of a table: to an internet gateway, a NAT gateway or a network interface."""

from __future__ import annotations

from typing import TypeAlias

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, cidrs, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.failures import failure, invalid, missing
from cloudstead.services.ec2.kinds import Kind
from cloudstead.services.ec2.making import LOCAL
from cloudstead.services.ec2.model import ROUTE_TABLES, Route, RouteTable

Routed: TypeAlias = api.CreateRouteRequest | api.ReplaceRouteRequest

ACTS = (
    "route_table_id",
    "destination_cidr_block",
    "destination_ipv6_cidr_block",
    "gateway_id",
    "nat_gateway_id",
    "network_interface_id",
)


@operation(resource=arns.on("route_table_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def create_route(ctx: Context, request: api.CreateRouteRequest) -> api.CreateRouteResponse:
    """A route to a destination that the table has none to."""
    begin(ctx, request, *ACTS)
    table = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)
    destination, target = _destination(request), _target(ctx, table, request)
    if (known := _find(table, destination)) is not None:
        if known.target == target:
            return api.CreateRouteResponse(return_=True)
        raise failure("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    quotas.require(
        ctx,
        "ec2",
        "routes",
        len(table.routes),
        lambda limit: failure("RouteLimitExceeded", f"You've reached the limit on the number of routes per route table: {limit}"),
    )
    with ctx.transaction() as tx:
        tx.update(ROUTE_TABLES, table, routes=(*table.routes, Route(destination=destination, target=target)))
    return api.CreateRouteResponse(return_=True)


@operation(resource=arns.on("route_table_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def replace_route(ctx: Context, request: api.ReplaceRouteRequest) -> api.ReplaceRouteResponse:
    """Another target for a destination."""
    begin(ctx, request, *ACTS, "local_target")
    table = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)
    destination = _destination(request)
    known = _find(table, destination)
    if known is None:
        raise invalid(f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead.")
    target = LOCAL if request.local_target else _target(ctx, table, request)
    if (known.origin == "CreateRouteTable") != (target == LOCAL):
        raise invalid(f"cannot replace the route of {destination} by one to {target}")
    new = Route(destination=destination, target=target, origin=known.origin)
    with ctx.transaction() as tx:
        tx.update(ROUTE_TABLES, table, routes=tuple(new if one == known else one for one in table.routes))
    return api.ReplaceRouteResponse()


@operation(resource=arns.on("route_table_id"), resource_tags=arns.tags("route_table_id"), conditions=arns.region)
async def delete_route(ctx: Context, request: api.DeleteRouteRequest) -> api.DeleteRouteResponse:
    """Take a route away; the local ones stay."""
    begin(ctx, request, "route_table_id", "destination_cidr_block", "destination_ipv6_cidr_block")
    table = kinds.ROUTE_TABLE.require(ctx, request.route_table_id)
    destination = _destination(request)
    known = _find(table, destination)
    if known is None:
        member = "destination-ipv6-cidr-block" if ":" in destination else "destination-cidr-block"
        raise failure("InvalidRoute.NotFound", f"no route with {member} {destination} in route table {table.id}")
    if known.target == LOCAL:
        raise invalid(f"cannot remove local route {destination} in route table {table.id}")
    with ctx.transaction() as tx:
        tx.update(ROUTE_TABLES, table, routes=tuple(one for one in table.routes if one != known))
    return api.DeleteRouteResponse()


def _find(table: RouteTable, destination: str) -> Route | None:
    return next((one for one in table.routes if one.destination == destination), None)


def _destination(request: Routed | api.DeleteRouteRequest) -> str:
    if request.destination_cidr_block:
        return str(cidrs.block(request.destination_cidr_block, "destinationCidrBlock"))
    if request.destination_ipv6_cidr_block:
        return cidrs.block6(request.destination_ipv6_cidr_block, "destinationIpv6CidrBlock")
    raise missing("destinationCidrBlock or destinationIpv6CidrBlock")


def _target(ctx: Context, table: RouteTable, request: Routed) -> str:
    """
    Raises:
        what says that there is none, more than one, or one that does not serve the VPC
    """
    given: list[tuple[Kind, str]] = [
        (kind, id)
        for kind, id in (
            (kinds.INTERNET_GATEWAY, request.gateway_id),
            (kinds.NAT_GATEWAY, request.nat_gateway_id),
            (kinds.INTERFACE, request.network_interface_id),
        )
        if id
    ]
    if not given:
        raise missing("gatewayId, natGatewayId or networkInterfaceId")
    if len(given) > 1:
        raise failure("InvalidParameterCombination", "Only one target can be specified for a route")
    kind, id = given[0]
    if kind is kinds.INTERNET_GATEWAY and not id.startswith("igw-"):
        raise failure("InvalidGatewayID.NotFound", f"The gateway ID '{id}' does not exist")
    row = kind.require(ctx, id)
    if row.vpc != table.vpc:
        raise invalid(f"route table {table.id} and network gateway {id} belong to different networks")
    if kind is kinds.NAT_GATEWAY and row.state in ("deleting", "deleted"):
        raise kind.unknown(id)
    return id
