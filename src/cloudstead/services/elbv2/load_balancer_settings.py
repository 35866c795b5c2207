"""What of a load balancer can be changed: attributes, subnets, security groups, the type of its addresses."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.elbv2 import api, arns, attribute_changes, attributes, load_balancers, places
from cloudstead.services.elbv2.failures import misconfigured, unsupported
from cloudstead.services.elbv2.model import LOAD_BALANCERS, LoadBalancer


def _told(row: LoadBalancer) -> list[api.LoadBalancerAttribute]:
    found = attributes.told(attributes.of_load_balancer(row.kind), row.attributes)
    return [api.LoadBalancerAttribute(key=key, value=value) for key, value in found]


@operation(resource="*")
async def describe_load_balancer_attributes(
    ctx: Context, request: api.DescribeLoadBalancerAttributesRequest
) -> api.DescribeLoadBalancerAttributesResponse:
    """All attributes, also those that nobody has set."""
    return api.DescribeLoadBalancerAttributesResponse(attributes=_told(load_balancers.require(ctx, request.load_balancer_arn)))


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def modify_load_balancer_attributes(
    ctx: Context, request: api.ModifyLoadBalancerAttributesRequest
) -> api.ModifyLoadBalancerAttributesResponse:
    """Set some attributes; acts on the next connection or request."""
    row = load_balancers.require(ctx, request.load_balancer_arn)
    known = attributes.of_load_balancer(row.kind)
    kept = attribute_changes.changed(known, row.attributes, request.attributes, "Load balancer")
    with ctx.transaction() as tx:
        row = tx.update(LOAD_BALANCERS, row, attributes=kept)
    return api.ModifyLoadBalancerAttributesResponse(attributes=_told(row))


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def set_subnets(ctx: Context, request: api.SetSubnetsRequest) -> api.SetSubnetsResponse:
    """Be in these subnets instead."""
    row = load_balancers.require(ctx, request.load_balancer_arn)
    if request.ip_address_type not in (None, "ipv4"):
        unsupported(f"The IP address type '{request.ip_address_type}'")
    if request.enable_prefix_for_ipv6_source_nat == "on":
        unsupported("Source NAT for IPv6")
    wanted = load_balancers.wanted_zones(request.subnets, request.subnet_mappings, row.kind)
    vpc, placed = places.zones(await places.subnets(ctx, [one.subnet for one in wanted]), wanted)
    if vpc != row.vpc:
        misconfigured("All subnets must belong to the same VPC as the load balancer")
    row = load_balancers.require(ctx, request.load_balancer_arn)  # time has passed
    with ctx.transaction() as tx:
        row = tx.update(LOAD_BALANCERS, row, zones=placed)
    return api.SetSubnetsResponse(availability_zones=load_balancers.zones(row), ip_address_type="ipv4")


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def set_security_groups(ctx: Context, request: api.SetSecurityGroupsRequest) -> api.SetSecurityGroupsResponse:
    """Have these security groups instead."""
    row = load_balancers.require(ctx, request.load_balancer_arn)
    if row.kind == "network" and not row.security_groups and request.security_groups:
        misconfigured(f"Cannot set security groups on load balancer '{row.arn}', which was created without security groups")
    if not request.security_groups:
        misconfigured("At least one security group must be specified")
    await places.require_groups(ctx, request.security_groups, row.vpc)
    private = request.enforce_security_group_inbound_rules_on_private_link_traffic
    if private is not None and row.kind != "network":
        misconfigured("Security group rules for PrivateLink can be set on load balancers of type 'network' only")
    row = load_balancers.require(ctx, request.load_balancer_arn)
    with ctx.transaction() as tx:
        row = tx.update(
            LOAD_BALANCERS, row, security_groups=tuple(request.security_groups), private_link_rules=private or row.private_link_rules
        )
    return api.SetSecurityGroupsResponse(
        security_group_ids=list(row.security_groups), enforce_security_group_inbound_rules_on_private_link_traffic=private
    )


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def set_ip_address_type(ctx: Context, request: api.SetIpAddressTypeRequest) -> api.SetIpAddressTypeResponse:
    """IPv4 is what there is."""
    load_balancers.require(ctx, request.load_balancer_arn)
    if request.ip_address_type != "ipv4":
        unsupported(f"The IP address type '{request.ip_address_type}'")
    return api.SetIpAddressTypeResponse(ip_address_type="ipv4")


@operation(resource="*")
async def describe_capacity_reservation(
    ctx: Context, request: api.DescribeCapacityReservationRequest
) -> api.DescribeCapacityReservationResponse:
    """No capacity is ever reserved."""
    row = load_balancers.require(ctx, request.load_balancer_arn)
    return api.DescribeCapacityReservationResponse(
        last_modified_time=row.created, decrease_requests_remaining=2, capacity_reservation_state=[]
    )
