"""Load balancers: create, describe, delete."""

from __future__ import annotations

import re

from cloudstead.kernel import ids, quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page, page_of
from cloudstead.services.elbv2 import addresses, api, arns, attributes, hosted_zones, places
from cloudstead.services.elbv2.failures import bad_token, invalid, misconfigured, unsupported
from cloudstead.services.elbv2.model import LISTENERS, LOAD_BALANCERS, RULES, LoadBalancer, Zone
from cloudstead.services.elbv2.tagging import RULES as TAG_RULES

_NAME = re.compile(r"[a-zA-Z0-9-]+")


def require(ctx: Context, arn: str) -> LoadBalancer:
    """
    Raises:
        LoadBalancerNotFoundException, ValidationFailed
    """
    if arns.kind_of(arn) != "loadbalancer":
        invalid(f"'{arn}' is not a valid load balancer ARN")
    row: LoadBalancer | None = ctx.table(LOAD_BALANCERS).get((ctx.account, ctx.region, arn))
    if row is None:
        raise api.LoadBalancerNotFoundException(f"Load balancer '{arn}' not found")
    return row


def zones(row: LoadBalancer) -> list[api.AvailabilityZone]:
    """AWS tells no addresses of application load balancers; here it is where its listeners are on this machine."""
    return [
        api.AvailabilityZone(
            zone_name=one.zone,
            subnet_id=one.subnet,
            load_balancer_addresses=[
                api.LoadBalancerAddress(
                    ip_address=row.address, allocation_id=one.allocation or None, private_i_pv4_address=one.private_ip or None
                )
            ],
        )
        for one in row.zones
    ]


def describe(row: LoadBalancer) -> api.LoadBalancer:
    return api.LoadBalancer(
        load_balancer_arn=row.arn,
        dns_name=row.dns_name,
        canonical_hosted_zone_id=hosted_zones.hosted_zone(row.kind, row.region),
        created_time=row.created,
        load_balancer_name=row.name,
        scheme="internal" if row.scheme == "internal" else "internet-facing",
        vpc_id=row.vpc,
        state=api.LoadBalancerState(code="provisioning" if row.state == "provisioning" else "active", reason=row.reason or None),
        type=row.kind,
        availability_zones=zones(row),
        security_groups=list(row.security_groups) or None,
        ip_address_type="ipv4",
        enforce_security_group_inbound_rules_on_private_link_traffic=row.private_link_rules,
    )


def check_name(name: str) -> None:
    """
    Raises:
        ValidationFailed
    """
    if len(name) > 32:
        invalid(f"The load balancer name '{name}' cannot be longer than '32' characters")
    if not _NAME.fullmatch(name):
        invalid(f"The load balancer name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)")
    if name.startswith("-") or name.endswith("-"):
        invalid(f"The load balancer name '{name}' cannot begin or end with a hyphen(-)")
    if name.startswith("internal-"):
        invalid(f"The load balancer name '{name}' cannot begin with 'internal-'")


def wanted_zones(subnets: list[str] | None, mappings: list[api.SubnetMapping] | None, kind: str) -> list[Zone]:
    """The subnets that a request names, in either of two ways; their zones are not known yet.

    Raises:
        ValidationFailed, InvalidConfigurationRequestException
    """
    if subnets and mappings:
        invalid("Only one of 'Subnets' or 'SubnetMappings' may be specified")
    for each in mappings or ():
        if each.i_pv6_address or each.source_nat_ipv6_prefix:
            unsupported("IPv6")
        if kind == "application" and (each.allocation_id or each.private_i_pv4_address):
            misconfigured("Elastic IPs and private addresses can be specified for load balancers of type 'network' only")
    found = [Zone(zone="", subnet=each) for each in subnets or ()] + [
        Zone(zone="", subnet=each.subnet_id or "", allocation=each.allocation_id or "", private_ip=each.private_i_pv4_address or "")
        for each in mappings or ()
    ]
    least = 2 if kind == "application" else 1
    if not found:
        invalid("A subnet or a subnet mapping must be specified")
    if len(found) < least:
        invalid("At least two subnets in two different Availability Zones must be specified")
    return found


@operation(resource=arns.new_load_balancer)
async def create_load_balancer(ctx: Context, request: api.CreateLoadBalancerRequest) -> api.CreateLoadBalancerResponse:
    """Make one; asked for the same again, tell the one that is there. It listens once it has listeners."""
    check_name(request.name)
    kind = request.type or "application"
    if kind == "gateway":
        unsupported("A load balancer of type 'gateway'")
    _refuse_what_is_not_here(request)
    wanted = wanted_zones(request.subnets, request.subnet_mappings, kind)
    vpc, placed = places.zones(await places.subnets(ctx, [one.subnet for one in wanted]), wanted)
    groups = tuple(request.security_groups or ())
    if groups:
        await places.require_groups(ctx, groups, vpc)
    elif kind == "application":
        groups = (await places.default_group(ctx, vpc),)
    scheme = request.scheme or "internet-facing"
    bearing = tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES)
    known = ctx.table(LOAD_BALANCERS).find("by_name", (ctx.account, ctx.region, request.name))
    if known is not None:
        if (known.kind, known.scheme, known.zones, known.security_groups, known.tags) != (kind, scheme, placed, groups, bearing):
            raise api.DuplicateLoadBalancerNameException(
                f"A load balancer with the same name '{request.name}' exists, but with different settings"
            )
        return api.CreateLoadBalancerResponse(load_balancers=[describe(known)])
    _within_quota(ctx, kind)
    number = ids.hex_digits(16)
    row = LoadBalancer(
        account=ctx.account,
        region=ctx.region,
        arn=arns.arn(ctx, f"loadbalancer/{'app' if kind == 'application' else 'net'}/{request.name}/{number}"),
        name=request.name,
        id=number,
        kind=kind,
        scheme=scheme,
        vpc=vpc,
        zones=placed,
        created=ctx.now(),
        address=addresses.free(ctx, number),
        security_groups=groups,
        tags=bearing,
    )
    with ctx.transaction() as tx:
        row = tx.insert(LOAD_BALANCERS, row)
    return api.CreateLoadBalancerResponse(load_balancers=[describe(row)])


def _refuse_what_is_not_here(request: api.CreateLoadBalancerRequest) -> None:
    if request.ip_address_type not in (None, "ipv4"):
        unsupported(f"The IP address type '{request.ip_address_type}'")
    if request.customer_owned_ipv4_pool is not None:
        unsupported("A customer-owned address pool")
    if request.enable_prefix_for_ipv6_source_nat == "on":
        unsupported("Source NAT for IPv6")
    if request.ipam_pools is not None and request.ipam_pools.ipv4_ipam_pool_id is not None:
        unsupported("An IPAM pool")


def _within_quota(ctx: Context, kind: str) -> None:
    used = sum(row.kind == kind for row in ctx.table(LOAD_BALANCERS).scan((ctx.account, ctx.region)))
    quotas.require(
        ctx,
        "elbv2",
        f"{kind}-load-balancers",
        used,
        lambda limit: api.TooManyLoadBalancersException(f"The maximum number of load balancers ('{limit}') has been reached"),
    )


@operation(resource="*")
async def describe_load_balancers(ctx: Context, request: api.DescribeLoadBalancersRequest) -> api.DescribeLoadBalancersResponse:
    """Those of some ARNs or names, or all."""
    arns_, names = request.load_balancer_arns or [], request.names or []
    if arns_ and names:
        invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
    limit = request.page_size or 400
    table = ctx.table(LOAD_BALANCERS)
    if arns_ or names:
        found = {each: table.get((ctx.account, ctx.region, each)) for each in arns_} | {
            each: table.find("by_name", (ctx.account, ctx.region, each)) for each in names
        }
        absent = [each for each, row in found.items() if row is None]
        if absent:
            raise api.LoadBalancerNotFoundException(f"Load balancers '[{', '.join(absent)}]' not found")
        named = [row for row in found.values() if row is not None]
        rows, marker = page_of(ctx, named, key=lambda row: row.arn, request=request, token=request.marker, limit=limit, invalid=bad_token)
    else:
        rows, marker = page(
            ctx, LOAD_BALANCERS, (ctx.account, ctx.region), request=request, token=request.marker, limit=limit, invalid=bad_token
        )
    return api.DescribeLoadBalancersResponse(load_balancers=[describe(row) for row in rows], next_marker=marker)


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def delete_load_balancer(ctx: Context, request: api.DeleteLoadBalancerRequest) -> api.DeleteLoadBalancerResponse:
    """Delete one with its listeners and rules; one that is not there is no error. Its target groups stay."""
    if arns.kind_of(request.load_balancer_arn) != "loadbalancer":
        invalid(f"'{request.load_balancer_arn}' is not a valid load balancer ARN")
    row = ctx.table(LOAD_BALANCERS).get((ctx.account, ctx.region, request.load_balancer_arn))
    if row is None:
        return api.DeleteLoadBalancerResponse()
    if attributes.balancer_value(row, "deletion_protection.enabled") == "true":
        raise api.OperationNotPermittedException(f"Load balancer '{row.arn}' cannot be deleted because deletion protection is enabled")
    if any(target.group for target in addresses.registered(ctx, row)):
        raise api.ResourceInUseException(
            f"Load balancer '{row.arn}' cannot be deleted because it is currently associated with another service"
        )
    with ctx.transaction() as tx:
        for listener in ctx.table(LISTENERS).scan((ctx.account, ctx.region, row.arn), index="by_port"):
            for rule in ctx.table(RULES).scan((ctx.account, ctx.region, listener.arn), index="by_priority"):
                tx.delete(RULES, rule.key)
            tx.delete(LISTENERS, listener.key)
        tx.delete(LOAD_BALANCERS, row.key)
    return api.DeleteLoadBalancerResponse()
