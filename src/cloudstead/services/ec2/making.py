"""What comes with a VPC and with a subnet, whoever makes them: a main route table, a default group and a default network ACL."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import kinds
from cloudstead.services.ec2.model import (
    GROUP_RULES,
    NETWORK_ACLS,
    ROUTE_TABLES,
    SECURITY_GROUPS,
    SUBNETS,
    VPCS,
    AclAssociation,
    AclEntry,
    CidrAssociation,
    GroupRule,
    NetworkAcl,
    Route,
    RouteTable,
    SecurityGroup,
    Subnet,
    TableAssociation,
    Vpc,
)

LAST_ENTRY = 32767  # of an ACL: what no other entry decided is denied
LOCAL = "local"
DEFAULT_GROUP = "default"


def make_vpc(
    ctx: Context, tx: Transaction, cidr: str, *, tenancy: str = "default", is_default: bool = False, tags: dict[str, str] | None = None
) -> Vpc:
    vpc = Vpc(
        account=ctx.account,
        region=ctx.region,
        id=kinds.VPC.new_id(),
        cidrs=(CidrAssociation(hex_id("vpc-cidr-assoc"), cidr),),
        tenancy=tenancy,
        is_default=is_default,
        dns_hostnames=is_default,
        tags=tags or {},
    )
    vpc = tx.insert(VPCS, vpc)
    make_route_table(ctx, tx, vpc, main=True)
    make_acl(ctx, tx, vpc, is_default=True)
    group = make_group(ctx, tx, vpc.id, DEFAULT_GROUP, "default VPC security group")
    make_rule(ctx, tx, group, egress=False, protocol="-1", peer_group=group.id)
    return vpc


def make_route_table(ctx: Context, tx: Transaction, vpc: Vpc, *, main: bool = False, tags: dict[str, str] | None = None) -> RouteTable:
    table = RouteTable(
        account=ctx.account,
        region=ctx.region,
        id=kinds.ROUTE_TABLE.new_id(),
        vpc=vpc.id,
        routes=tuple(Route(destination=one.cidr, target=LOCAL, origin="CreateRouteTable") for one in vpc.cidrs),
        associations=(TableAssociation(id=hex_id("rtbassoc")),) if main else (),
        tags=tags or {},
    )
    return tx.insert(ROUTE_TABLES, table)


def make_acl(ctx: Context, tx: Transaction, vpc: Vpc, *, is_default: bool = False, tags: dict[str, str] | None = None) -> NetworkAcl:
    """The default one lets everything through, any other one nothing."""
    entries = [
        AclEntry(number=number, egress=egress, protocol="-1", action=action, cidr="0.0.0.0/0")
        for egress in (True, False)
        for number, action in ((100, "allow"), (LAST_ENTRY, "deny"))
        if is_default or number == LAST_ENTRY
    ]
    acl = NetworkAcl(
        account=ctx.account,
        region=ctx.region,
        id=kinds.NETWORK_ACL.new_id(),
        vpc=vpc.id,
        is_default=is_default,
        entries=tuple(entries),
        tags=tags or {},
    )
    return tx.insert(NETWORK_ACLS, acl)


def make_group(ctx: Context, tx: Transaction, vpc: str, name: str, description: str, tags: dict[str, str] | None = None) -> SecurityGroup:
    """With the rule that every group begins with: out to anywhere."""
    group = SecurityGroup(
        account=ctx.account,
        region=ctx.region,
        id=kinds.SECURITY_GROUP.new_id(),
        vpc=vpc,
        name=name,
        description=description,
        tags=tags or {},
    )
    group = tx.insert(SECURITY_GROUPS, group)
    make_rule(ctx, tx, group, egress=True, protocol="-1", cidr4="0.0.0.0/0")
    return group


def make_rule(
    ctx: Context, tx: Transaction, group: SecurityGroup, *, egress: bool, protocol: str, cidr4: str = "", peer_group: str = ""
) -> None:
    tx.insert(
        GROUP_RULES,
        GroupRule(
            account=ctx.account,
            region=ctx.region,
            id=kinds.RULE.new_id(),
            group=group.id,
            vpc=group.vpc,
            egress=egress,
            protocol=protocol,
            cidr4=cidr4,
            peer_group=peer_group,
        ),
    )


def make_subnet(
    ctx: Context, tx: Transaction, vpc: Vpc, cidr: str, zone: str, *, default: bool = False, tags: dict[str, str] | None = None
) -> Subnet:
    """In the default network ACL of its VPC, and in its main route table by belonging to no other."""
    subnet = Subnet(
        account=ctx.account,
        region=ctx.region,
        id=kinds.SUBNET.new_id(),
        vpc=vpc.id,
        zone=zone,
        cidr=cidr,
        default_for_az=default,
        map_public_ip=default,
        tags=tags or {},
    )
    subnet = tx.insert(SUBNETS, subnet)
    acl = default_acl(ctx, vpc.id)
    joined = (*acl.associations, AclAssociation(id=hex_id("aclassoc"), subnet=subnet.id))
    tx.update(NETWORK_ACLS, acl, associations=joined)
    return subnet


def default_acl(ctx: Context, vpc: str) -> NetworkAcl:
    found: NetworkAcl = next(acl for acl in kinds.NETWORK_ACL.of_vpc(ctx, vpc) if acl.is_default)
    return found


def default_group(ctx: Context, vpc: str) -> SecurityGroup:
    found = ctx.table(SECURITY_GROUPS).find("by_name", (ctx.account, ctx.region, vpc, DEFAULT_GROUP))
    assert found is not None  # it cannot be deleted but with its VPC
    group: SecurityGroup = found
    return group


def main_table(ctx: Context, vpc: str) -> RouteTable:
    found = ctx.table(ROUTE_TABLES).find("by_subnet", (ctx.account, ctx.region, vpc))
    assert found is not None
    table: RouteTable = found
    return table
