"""Network ACLs. They are kept and told, and filter nothing here: what filters is security groups (docs/services/ec2.md)."""

from __future__ import annotations

from typing import Any, TypeAlias

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, cidrs, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import failure, in_use, invalid, missing
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.making import LAST_ENTRY, make_acl
from cloudstead.services.ec2.model import NETWORK_ACLS, AclAssociation, AclEntry, NetworkAcl

Entered: TypeAlias = api.CreateNetworkAclEntryRequest | api.ReplaceNetworkAclEntryRequest
MEMBERS = (
    "network_acl_id",
    "rule_number",
    "protocol",
    "rule_action",
    "egress",
    "cidr_block",
    "ipv6_cidr_block",
    "icmp_type_code",
    "port_range",
)
_NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58", "all": "-1"}


def network_acl(row: NetworkAcl) -> api.NetworkAcl:
    return api.NetworkAcl(
        associations=[
            api.NetworkAclAssociation(network_acl_association_id=one.id, network_acl_id=row.id, subnet_id=one.subnet)
            for one in row.associations
        ],
        entries=[_entry(one) for one in row.entries],
        is_default=row.is_default,
        network_acl_id=row.id,
        tags=tagging.to_list(row.tags),
        vpc_id=row.vpc,
        owner_id=row.account,
    )


def _entry(one: AclEntry) -> api.NetworkAclEntry:
    six = ":" in one.cidr
    return api.NetworkAclEntry(
        cidr_block=None if six else one.cidr,
        ipv6_cidr_block=one.cidr if six else None,
        egress=one.egress,
        icmp_type_code=api.IcmpTypeCode(type=one.icmp[0], code=one.icmp[1]) if one.icmp else None,
        port_range=api.PortRange(from_=one.ports[0], to=one.ports[1]) if one.ports else None,
        protocol=one.protocol,
        rule_action="allow" if one.action == "allow" else "deny",
        rule_number=one.number,
    )


def _of_entries(value: Any) -> Any:
    return lambda row: [value(one) for one in row.entries]


FILTERS: Filters = {
    "association.association-id": lambda row: [one.id for one in row.associations],
    "association.network-acl-id": lambda row: row.id if row.associations else [],
    "association.subnet-id": lambda row: [one.subnet for one in row.associations],
    "default": lambda row: row.is_default,
    "entry.cidr": _of_entries(lambda one: one.cidr if ":" not in one.cidr else None),
    "entry.icmp.code": _of_entries(lambda one: one.icmp[1] if one.icmp else None),
    "entry.icmp.type": _of_entries(lambda one: one.icmp[0] if one.icmp else None),
    "entry.ipv6-cidr": _of_entries(lambda one: one.cidr if ":" in one.cidr else None),
    "entry.port-range.from": _of_entries(lambda one: one.ports[0] if one.ports else None),
    "entry.port-range.to": _of_entries(lambda one: one.ports[1] if one.ports else None),
    "entry.protocol": _of_entries(lambda one: one.protocol),
    "entry.rule-action": _of_entries(lambda one: one.action),
    "entry.egress": _of_entries(lambda one: one.egress),
    "entry.rule-number": _of_entries(lambda one: one.number),
    "network-acl-id": lambda row: row.id,
    "vpc-id": lambda row: row.vpc,
}


@operation(resource=arns.new(kinds.NETWORK_ACL, "vpc_id"), resource_tags=arns.tags("vpc_id"), conditions=arns.region)
async def create_network_acl(ctx: Context, request: api.CreateNetworkAclRequest) -> api.CreateNetworkAclResponse:
    """A list that denies everything, and holds for no subnet yet."""
    begin(ctx, request, "vpc_id", "tag_specifications", "client_token")
    vpc = kinds.VPC.require(ctx, request.vpc_id)
    if known := tagging.recalled(ctx, request):
        row = kinds.NETWORK_ACL.require(ctx, known)
        return api.CreateNetworkAclResponse(network_acl=network_acl(row), client_token=request.client_token)
    tags = tagging.given(ctx, request, kinds.NETWORK_ACL)
    with ctx.transaction() as tx:
        row = make_acl(ctx, tx, vpc, tags=tags)
        tagging.remember(ctx, tx, request, row.id)
    return api.CreateNetworkAclResponse(network_acl=network_acl(row), client_token=request.client_token)


@operation(resource="*", conditions=arns.region)
async def describe_network_acls(ctx: Context, request: api.DescribeNetworkAclsRequest) -> api.DescribeNetworkAclsResponse:
    """The network ACLs of the region."""
    begin(ctx, request, "network_acl_ids", "filters", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.NETWORK_ACL, request.network_acl_ids, request.filters, FILTERS)
    return api.DescribeNetworkAclsResponse(network_acls=[network_acl(row) for row in rows], next_token=token)


@operation(resource=arns.on("network_acl_id"), resource_tags=arns.tags("network_acl_id"), conditions=arns.region)
async def delete_network_acl(ctx: Context, request: api.DeleteNetworkAclRequest) -> api.DeleteNetworkAclResponse:
    """Delete a list that holds for no subnet and is not the default one."""
    begin(ctx, request, "network_acl_id")
    row = kinds.NETWORK_ACL.require(ctx, request.network_acl_id)
    if row.is_default:
        raise invalid(f"cannot delete default network ACL {row.id}")
    if row.associations:
        raise in_use(f"The networkAcl '{row.id}' has dependencies and cannot be deleted.")
    with ctx.transaction() as tx:
        tx.delete(NETWORK_ACLS, (ctx.account, ctx.region, row.id))
    return api.DeleteNetworkAclResponse()


@operation(resource=arns.on("network_acl_id"), resource_tags=arns.tags("network_acl_id"), conditions=arns.region)
async def create_network_acl_entry(ctx: Context, request: api.CreateNetworkAclEntryRequest) -> api.CreateNetworkAclEntryResponse:
    """An entry under a number that has none in its direction."""
    begin(ctx, request, *MEMBERS)
    row, entry = kinds.NETWORK_ACL.require(ctx, request.network_acl_id), _asked(request)
    if _find(row, entry.number, entry.egress) is not None:
        raise failure("NetworkAclEntryAlreadyExists", f"The network acl entry identified by {entry.number} already exists.")
    quotas.require(
        ctx,
        "ec2",
        "acl_entries",
        sum(one.egress == entry.egress and one.number != LAST_ENTRY for one in row.entries),
        lambda limit: failure("NetworkAclEntryLimitExceeded", "The maximum number of network ACL entries has been reached."),
    )
    with ctx.transaction() as tx:
        tx.update(NETWORK_ACLS, row, entries=_sorted((*row.entries, entry)))
    return api.CreateNetworkAclEntryResponse()


@operation(resource=arns.on("network_acl_id"), resource_tags=arns.tags("network_acl_id"), conditions=arns.region)
async def replace_network_acl_entry(ctx: Context, request: api.ReplaceNetworkAclEntryRequest) -> api.ReplaceNetworkAclEntryResponse:
    """Another entry under the same number."""
    begin(ctx, request, *MEMBERS)
    row, entry = kinds.NETWORK_ACL.require(ctx, request.network_acl_id), _asked(request)
    known = _require(row, entry.number, entry.egress)
    with ctx.transaction() as tx:
        tx.update(NETWORK_ACLS, row, entries=tuple(entry if one == known else one for one in row.entries))
    return api.ReplaceNetworkAclEntryResponse()


@operation(resource=arns.on("network_acl_id"), resource_tags=arns.tags("network_acl_id"), conditions=arns.region)
async def delete_network_acl_entry(ctx: Context, request: api.DeleteNetworkAclEntryRequest) -> api.DeleteNetworkAclEntryResponse:
    """Take an entry away; what denies all the rest stays."""
    begin(ctx, request, "network_acl_id", "rule_number", "egress")
    row = kinds.NETWORK_ACL.require(ctx, request.network_acl_id)
    _check_number(request.rule_number)
    known = _require(row, request.rule_number, request.egress)
    with ctx.transaction() as tx:
        tx.update(NETWORK_ACLS, row, entries=tuple(one for one in row.entries if one != known))
    return api.DeleteNetworkAclEntryResponse()


def _sorted(entries: tuple[AclEntry, ...]) -> tuple[AclEntry, ...]:
    return tuple(sorted(entries, key=lambda one: (not one.egress, one.number, ":" in one.cidr)))


def _find(row: NetworkAcl, number: int, egress: bool) -> AclEntry | None:
    return next((one for one in row.entries if (one.number, one.egress) == (number, egress)), None)


def _require(row: NetworkAcl, number: int, egress: bool) -> AclEntry:
    known = _find(row, number, egress)
    if known is None:
        raise failure("InvalidNetworkAclEntry.NotFound", f"The network acl entry identified by {number} does not exist")
    return known


def _check_number(number: int) -> None:
    if not 1 <= number < LAST_ENTRY:
        raise invalid(f"Invalid value '{number}' for RuleNumber. Must be between 1 and 32766.")


def _asked(request: Entered) -> AclEntry:
    _check_number(request.rule_number)
    protocol = _NUMBERS.get(request.protocol.lower(), request.protocol)
    if protocol != "-1" and not (len(protocol) <= 3 and protocol.isascii() and protocol.isdecimal() and int(protocol) <= 255):
        raise invalid(f"Invalid value '{request.protocol}' for IP protocol. Unknown protocol.")
    if bool(request.cidr_block) == bool(request.ipv6_cidr_block):
        raise missing("cidrBlock")
    cidr = str(cidrs.block(request.cidr_block)) if request.cidr_block else cidrs.block6(request.ipv6_cidr_block or "", "ipv6CidrBlock")
    ports = icmp = None
    if protocol in ("6", "17"):
        ports = _ports(request.port_range)
    elif protocol in ("1", "58"):
        if (given := request.icmp_type_code) is None:
            raise missing("icmpTypeCode")
        icmp = (-1 if given.type is None else given.type, -1 if given.code is None else given.code)
    return AclEntry(
        number=request.rule_number,
        egress=request.egress,
        protocol=protocol,
        action=request.rule_action,
        cidr=cidr,
        ports=ports,
        icmp=icmp,
    )


def _ports(given: api.PortRange | None) -> tuple[int, int]:
    if given is None or given.from_ is None or given.to is None:
        raise missing("portRange")
    if not 0 <= given.from_ <= given.to <= 65535:
        raise invalid(f"Invalid TCP/UDP port range ({given.from_}:{given.to})")
    return given.from_, given.to


@operation(resource=arns.on("network_acl_id"), resource_tags=arns.tags("network_acl_id"), conditions=arns.region)
async def replace_network_acl_association(
    ctx: Context, request: api.ReplaceNetworkAclAssociationRequest
) -> api.ReplaceNetworkAclAssociationResponse:
    """Another list for a subnet."""
    begin(ctx, request, "association_id", "network_acl_id")
    old = ctx.table(NETWORK_ACLS).find("by_association", (ctx.account, ctx.region, request.association_id))
    if old is None:
        raise failure("InvalidAssociationID.NotFound", f"The association ID '{request.association_id}' does not exist")
    row = kinds.NETWORK_ACL.require(ctx, request.network_acl_id)
    if row.vpc != old.vpc:
        raise invalid(f"network acl {row.id} and network acl {old.id} belong to different networks")
    subnet = next(one.subnet for one in old.associations if one.id == request.association_id)
    new = AclAssociation(id=hex_id("aclassoc"), subnet=subnet)
    with ctx.transaction() as tx:
        tx.update(NETWORK_ACLS, old, associations=tuple(one for one in old.associations if one.subnet != subnet))
        row = kinds.NETWORK_ACL.require(ctx, request.network_acl_id)
        tx.update(NETWORK_ACLS, row, associations=(*row.associations, new))
    return api.ReplaceNetworkAclAssociationResponse(new_association_id=new.id)
