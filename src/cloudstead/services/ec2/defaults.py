"""The default VPC of a region: made with the first call there, as a new account has it. Once deleted it stays away until CreateDefaultVpc.

https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html
"""

from __future__ import annotations

from ipaddress import IPv4Network

from cloudstead.kernel.context import Context
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import kinds
from cloudstead.services.ec2.making import main_table, make_subnet, make_vpc
from cloudstead.services.ec2.model import (
    DHCP_OPTIONS,
    INTERNET_GATEWAYS,
    REGIONS,
    ROUTE_TABLES,
    VPCS,
    DhcpOptions,
    InternetGateway,
    Region,
    Route,
    Vpc,
)
from cloudstead.services.ec2.places import zones

CIDR = "172.31.0.0/16"
SUBNET_PREFIX = 20


def ensure(ctx: Context) -> None:
    """See to it that the region has been begun with."""
    if (ctx.account, ctx.region) in ctx.table(REGIONS):
        return
    with ctx.transaction() as tx:
        tx.insert(REGIONS, Region(account=ctx.account, region=ctx.region, began=ctx.now()))
        make(ctx, tx)


def make(ctx: Context, tx: Transaction) -> Vpc:
    """A default VPC with all that belongs to it."""
    vpc = make_vpc(ctx, tx, CIDR, is_default=True)
    vpc = tx.update(VPCS, vpc, dhcp_options=options_of_region(ctx, tx).id)
    blocks = IPv4Network(CIDR).subnets(new_prefix=SUBNET_PREFIX)
    for zone, block in zip(zones(ctx.region), blocks, strict=False):
        make_subnet(ctx, tx, vpc, str(block), zone, default=True)
    gateway = InternetGateway(account=ctx.account, region=ctx.region, id=kinds.INTERNET_GATEWAY.new_id(), vpc=vpc.id)
    tx.insert(INTERNET_GATEWAYS, gateway)
    table = main_table(ctx, vpc.id)
    tx.update(ROUTE_TABLES, table, routes=(*table.routes, Route(destination="0.0.0.0/0", target=gateway.id)))
    return vpc


def options_of_region(ctx: Context, tx: Transaction) -> DhcpOptions:
    """The set of DHCP options that new VPCs have: the only one that Amazon made."""
    wanted: dict[str, tuple[str, ...]] = {"domain-name": (domain(ctx.region),), "domain-name-servers": ("AmazonProvidedDNS",)}
    for row in kinds.DHCP.all(ctx):
        options: DhcpOptions = row
        if options.configurations == wanted and not options.tags:
            return options
    return tx.insert(DHCP_OPTIONS, DhcpOptions(account=ctx.account, region=ctx.region, id=kinds.DHCP.new_id(), configurations=wanted))


def domain(region: str) -> str:
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
