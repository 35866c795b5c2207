"""The rules of security groups: authorised, revoked, changed, described one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import api, arns, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described
from cloudstead.services.ec2.failures import failure, invalid, missing, unsupported
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.model import GROUP_RULES, GroupRule, SecurityGroup
from cloudstead.services.ec2.permissions import Wanted, cidr4, cidr6, flat, ports_of, protocol_of, wanted
from cloudstead.services.ec2.permissions import described as checked_description
from cloudstead.services.ec2.security_groups import by_name, named, rules_of

Ruled: TypeAlias = (
    api.AuthorizeSecurityGroupIngressRequest
    | api.AuthorizeSecurityGroupEgressRequest
    | api.RevokeSecurityGroupIngressRequest
    | api.RevokeSecurityGroupEgressRequest
)
FLAT = ("ip_protocol", "from_port", "to_port", "cidr_ip", "source_security_group_name", "source_security_group_owner_id")
NO_RULE = "The specified rule does not exist in this security group."

FILTERS: Filters = {
    "group-id": lambda rule: rule.group,
    "security-group-rule-id": lambda rule: rule.id,
}


def rule(ctx: Context, row: GroupRule) -> api.SecurityGroupRule:
    peer = kinds.SECURITY_GROUP.find(ctx, row.peer_group) if row.peer_group else None
    return api.SecurityGroupRule(
        security_group_rule_id=row.id,
        group_id=row.group,
        group_owner_id=row.account,
        is_egress=row.egress,
        ip_protocol=row.protocol,
        from_port=row.from_port,
        to_port=row.to_port,
        cidr_ipv4=row.cidr4 or None,
        cidr_ipv6=row.cidr6 or None,
        referenced_group_info=None
        if peer is None
        else api.ReferencedSecurityGroup(group_id=peer.id, user_id=peer.account, vpc_id=peer.vpc if peer.vpc != row.vpc else None),
        description=row.description,
        tags=tagging.to_list(row.tags),
        security_group_rule_arn=arns.arn(ctx, "security-group-rule", row.id),
    )


def _asked(ctx: Context, group: SecurityGroup, request: Ruled, *, egress: bool) -> list[Wanted]:
    """The rules that a call speaks of."""
    permissions = list(request.ip_permissions or ()) + flat(
        request.ip_protocol,
        request.from_port,
        request.to_port,
        request.cidr_ip,
        request.source_security_group_name,
        request.source_security_group_owner_id,
    )

    def group_of(pair: api.UserIdGroupPair) -> str:
        return _peer(ctx, group, pair)

    return wanted(permissions, egress=egress, group_of=group_of)


def _peer(ctx: Context, group: SecurityGroup, pair: api.UserIdGroupPair) -> str:
    if pair.vpc_peering_connection_id or pair.peering_status:
        raise unsupported("Rules with groups of peered VPCs are not supported by Cloudstead.")
    if pair.user_id not in (None, "", ctx.account):
        raise failure("InvalidGroup.NotFound", f"You have specified two resources that belong to different networks: {pair.group_id}")
    peer: SecurityGroup = (
        kinds.SECURITY_GROUP.require(ctx, pair.group_id) if pair.group_id else by_name(ctx, pair.group_name or "", group.vpc)
    )
    if peer.vpc != group.vpc or pair.vpc_id not in (None, "", peer.vpc):
        raise failure("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
    return peer.id


# ---------------------------------------------------------------------------------------------------------------------- authorising


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def authorize_security_group_ingress(
    ctx: Context, request: api.AuthorizeSecurityGroupIngressRequest
) -> api.AuthorizeSecurityGroupIngressResponse:
    """Let more in."""
    begin(ctx, request, "group_id", "group_name", "ip_permissions", "tag_specifications", *FLAT)
    rows = _authorize(ctx, named(ctx, request.group_id, request.group_name), request, egress=False)
    return api.AuthorizeSecurityGroupIngressResponse(return_=True, security_group_rules=[rule(ctx, row) for row in rows])


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def authorize_security_group_egress(
    ctx: Context, request: api.AuthorizeSecurityGroupEgressRequest
) -> api.AuthorizeSecurityGroupEgressResponse:
    """Let more out."""
    begin(ctx, request, "group_id", "ip_permissions", "tag_specifications", *FLAT)
    rows = _authorize(ctx, named(ctx, request.group_id, None), request, egress=True)
    return api.AuthorizeSecurityGroupEgressResponse(return_=True, security_group_rules=[rule(ctx, row) for row in rows])


def _authorize(
    ctx: Context,
    group: SecurityGroup,
    request: api.AuthorizeSecurityGroupIngressRequest | api.AuthorizeSecurityGroupEgressRequest,
    *,
    egress: bool,
) -> list[GroupRule]:
    asked = _asked(ctx, group, request, egress=egress)
    if not asked:
        raise missing("ipPermissions")
    there = {row.identity for row in rules_of(ctx, group, egress=egress)}
    for one in asked:
        if one.identity in there:
            raise failure("InvalidPermission.Duplicate", f"the specified rule {one.sentence()} already exists")
    quotas.require(
        ctx,
        "ec2",
        "rules",
        len(there) + len(asked) - 1,
        lambda limit: failure("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached."),
    )
    tags = tagging.given(ctx, request, kinds.RULE)
    with ctx.transaction() as tx:
        return [tx.insert(GROUP_RULES, _row(group, one, tags)) for one in asked]


def _row(group: SecurityGroup, one: Wanted, tags: dict[str, str], id: str = "") -> GroupRule:
    return GroupRule(
        account=group.account,
        region=group.region,
        id=id or kinds.RULE.new_id(),
        tags=tags,
        group=group.id,
        vpc=group.vpc,
        egress=one.egress,
        protocol=one.protocol,
        from_port=one.from_port,
        to_port=one.to_port,
        cidr4=one.cidr4,
        cidr6=one.cidr6,
        peer_group=one.peer_group,
        description=one.description,
    )


# ------------------------------------------------------------------------------------------------------------------------- revoking


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def revoke_security_group_ingress(
    ctx: Context, request: api.RevokeSecurityGroupIngressRequest
) -> api.RevokeSecurityGroupIngressResponse:
    """Let less in. Rules are named by their ids, or by all that they say but the description."""
    begin(ctx, request, "group_id", "group_name", "ip_permissions", "security_group_rule_ids", *FLAT)
    rows = _revoke(ctx, named(ctx, request.group_id, request.group_name), request, egress=False)
    return api.RevokeSecurityGroupIngressResponse(return_=True, revoked_security_group_rules=[_revoked(row) for row in rows])


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def revoke_security_group_egress(
    ctx: Context, request: api.RevokeSecurityGroupEgressRequest
) -> api.RevokeSecurityGroupEgressResponse:
    """Let less out."""
    begin(ctx, request, "group_id", "ip_permissions", "security_group_rule_ids", *FLAT)
    rows = _revoke(ctx, named(ctx, request.group_id, None), request, egress=True)
    return api.RevokeSecurityGroupEgressResponse(return_=True, revoked_security_group_rules=[_revoked(row) for row in rows])


def _revoke(
    ctx: Context,
    group: SecurityGroup,
    request: api.RevokeSecurityGroupIngressRequest | api.RevokeSecurityGroupEgressRequest,
    *,
    egress: bool,
) -> list[GroupRule]:
    there = rules_of(ctx, group, egress=egress)
    if request.security_group_rule_ids:
        rows = [_of_group(ctx, group, id) for id in dict.fromkeys(request.security_group_rule_ids)]
        if any(row.egress != egress for row in rows):
            raise failure("InvalidPermission.NotFound", NO_RULE)
    else:
        asked = _asked(ctx, group, request, egress=egress)
        if not asked:
            raise failure("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.")
        by_identity = {row.identity: row for row in there}
        if any(one.identity not in by_identity for one in asked):
            raise failure("InvalidPermission.NotFound", NO_RULE)
        rows = [by_identity[one.identity] for one in asked]
    with ctx.transaction() as tx:
        for row in rows:
            tx.delete(GROUP_RULES, (ctx.account, ctx.region, row.id))
    return rows


def _of_group(ctx: Context, group: SecurityGroup, id: str) -> GroupRule:
    row: GroupRule = kinds.RULE.require(ctx, id)
    if row.group != group.id:
        raise kinds.RULE.unknown(id)
    return row


def _revoked(row: GroupRule) -> api.RevokedSecurityGroupRule:
    return api.RevokedSecurityGroupRule(
        security_group_rule_id=row.id,
        group_id=row.group,
        is_egress=row.egress,
        ip_protocol=row.protocol,
        from_port=row.from_port,
        to_port=row.to_port,
        cidr_ipv4=row.cidr4 or None,
        cidr_ipv6=row.cidr6 or None,
        referenced_group_id=row.peer_group or None,
        description=row.description,
    )


# ------------------------------------------------------------------------------------------------------------ describing, changing


@operation(resource="*", conditions=arns.region)
async def describe_security_group_rules(
    ctx: Context, request: api.DescribeSecurityGroupRulesRequest
) -> api.DescribeSecurityGroupRulesResponse:
    """Rules one by one, each with its id."""
    begin(ctx, request, "filters", "security_group_rule_ids", "next_token", "max_results")
    rows, token = described(ctx, request, kinds.RULE, request.security_group_rule_ids, request.filters, FILTERS)
    return api.DescribeSecurityGroupRulesResponse(security_group_rules=[rule(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def modify_security_group_rules(ctx: Context, request: api.ModifySecurityGroupRulesRequest) -> api.ModifySecurityGroupRulesResponse:
    """Other words for rules, which keep their ids and tags."""
    begin(ctx, request, "group_id", "security_group_rules")
    group = named(ctx, request.group_id, None)
    updates = [(_of_group(ctx, group, one.security_group_rule_id), one.security_group_rule) for one in request.security_group_rules]
    if not updates:
        raise missing("SecurityGroupRule")
    with ctx.transaction() as tx:
        for row, said in updates:
            if said is None:
                raise missing("SecurityGroupRule.SecurityGroupRule")
            _replace(tx, group, row, _said(ctx, group, row, said), ctx)
    return api.ModifySecurityGroupRulesResponse(return_=True)


def _replace(tx: Transaction, group: SecurityGroup, row: GroupRule, one: Wanted, ctx: Context) -> None:
    others = [other for other in rules_of(ctx, group, egress=row.egress) if other.id != row.id]
    if any(other.identity == one.identity for other in others):
        raise failure("InvalidPermission.Duplicate", f"the specified rule {one.sentence()} already exists")
    tx.put(GROUP_RULES, _row(group, one, row.tags, row.id))


def _said(ctx: Context, group: SecurityGroup, row: GroupRule, said: api.SecurityGroupRuleRequest) -> Wanted:
    if said.prefix_list_id:
        raise unsupported("Rules with prefix lists are not supported by Cloudstead.")
    peers = [one for one in (said.cidr_ipv4, said.cidr_ipv6, said.referenced_group_id) if one]
    if len(peers) != 1:
        raise invalid("Exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId must be specified")
    protocol = protocol_of(said.ip_protocol)
    low, high = ports_of(protocol, said.from_port, said.to_port)
    pair = api.UserIdGroupPair(group_id=said.referenced_group_id)
    return Wanted(
        egress=row.egress,
        protocol=protocol,
        from_port=low,
        to_port=high,
        cidr4=cidr4(said.cidr_ipv4) if said.cidr_ipv4 else "",
        cidr6=cidr6(said.cidr_ipv6) if said.cidr_ipv6 else "",
        peer_group=_peer(ctx, group, pair) if said.referenced_group_id else "",
        description=checked_description(said.description),
    )


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def update_security_group_rule_descriptions_ingress(
    ctx: Context, request: api.UpdateSecurityGroupRuleDescriptionsIngressRequest
) -> api.UpdateSecurityGroupRuleDescriptionsIngressResponse:
    """Other descriptions of rules for what comes in."""
    begin(ctx, request, "group_id", "group_name", "ip_permissions", "security_group_rule_descriptions")
    _describe_anew(ctx, request, egress=False)
    return api.UpdateSecurityGroupRuleDescriptionsIngressResponse(return_=True)


@operation(resource=arns.on("group_id"), resource_tags=arns.tags("group_id"), conditions=arns.region)
async def update_security_group_rule_descriptions_egress(
    ctx: Context, request: api.UpdateSecurityGroupRuleDescriptionsEgressRequest
) -> api.UpdateSecurityGroupRuleDescriptionsEgressResponse:
    """Other descriptions of rules for what goes out."""
    begin(ctx, request, "group_id", "group_name", "ip_permissions", "security_group_rule_descriptions")
    _describe_anew(ctx, request, egress=True)
    return api.UpdateSecurityGroupRuleDescriptionsEgressResponse(return_=True)


def _describe_anew(
    ctx: Context,
    request: api.UpdateSecurityGroupRuleDescriptionsIngressRequest | api.UpdateSecurityGroupRuleDescriptionsEgressRequest,
    *,
    egress: bool,
) -> None:
    group = named(ctx, request.group_id, request.group_name)
    asked = wanted(request.ip_permissions or (), egress=egress, group_of=lambda pair: _peer(ctx, group, pair))
    if not asked and not request.security_group_rule_descriptions:
        raise failure("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleDescriptions' should be provided.")
    new = list(_by_identity(ctx, group, asked, egress))
    for one in request.security_group_rule_descriptions or ():
        row = _of_group(ctx, group, one.security_group_rule_id or "")
        if row.egress != egress:
            raise failure("InvalidPermission.NotFound", NO_RULE)
        new.append((row, checked_description(one.description)))
    with ctx.transaction() as tx:
        for row, description in new:
            tx.update(GROUP_RULES, row, description=description)


def _by_identity(ctx: Context, group: SecurityGroup, asked: Iterable[Wanted], egress: bool) -> Iterable[tuple[GroupRule, str | None]]:
    there = {row.identity: row for row in rules_of(ctx, group, egress=egress)}
    for one in asked:
        if one.identity not in there:
            raise failure("InvalidPermission.NotFound", NO_RULE)
        yield there[one.identity], one.description
