"""Rules of application load balancers' listeners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudstead.kernel import ids, quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import actions, api, arns, conditions, listeners, load_balancers
from cloudstead.services.elbv2.failures import bad_token, invalid, misconfigured, unsupported
from cloudstead.services.elbv2.model import LISTENERS, RULES, Listener, Rule
from cloudstead.services.elbv2.tagging import RULES as TAG_RULES


def require(ctx: Context, arn: str) -> Rule:
    """A rule that is no default rule.

    Raises:
        RuleNotFoundException, OperationNotPermittedException
    """
    row: Rule | None = ctx.table(RULES).get((ctx.account, ctx.region, arn))
    if row is None:
        if ctx.table(LISTENERS).find("by_default_rule", (ctx.account, ctx.region, arn)) is not None:
            raise api.OperationNotPermittedException(f"Default rule '{arn}' cannot be modified")
        raise api.RuleNotFoundException("One or more rules not found")
    return row


def _of_listener(ctx: Context, arn: str) -> list[Rule]:
    return list(ctx.table(RULES).scan((ctx.account, ctx.region, arn), index="by_priority"))


def describe(row: Rule) -> api.Rule:
    return api.Rule(
        rule_arn=row.arn,
        priority=str(row.priority),
        conditions=[conditions.describe(each) for each in row.conditions],
        actions=actions.describe(row.action),
        is_default=False,
        transforms=[],
    )


def describe_default(row: Listener) -> api.Rule:
    return api.Rule(
        rule_arn=row.default_rule, priority="default", conditions=[], actions=actions.describe(row.action), is_default=True, transforms=[]
    )


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def create_rule(ctx: Context, request: api.CreateRuleRequest) -> api.CreateRuleResponse:
    """Add a rule; acts on the next request."""
    listener = listeners.require(ctx, request.listener_arn)
    balancer = load_balancers.require(ctx, listener.load_balancer)
    if balancer.kind != "application":
        misconfigured("Rules can be created for listeners of load balancers of type 'application' only")
    _refuse_transforms(request.transforms)
    found = conditions.parse(ctx, request.conditions)
    action = actions.parse(ctx, request.actions, balancer, listener.protocol)
    if ctx.table(RULES).count((ctx.account, ctx.region, listener.arn, request.priority), index="by_priority"):
        raise api.PriorityInUseException(f"Priority '{request.priority}' is currently in use")
    siblings = ctx.table(LISTENERS).scan((ctx.account, ctx.region, balancer.arn), index="by_port")
    quotas.require(
        ctx,
        "elbv2",
        "rules-per-application-load-balancer",
        sum(len(_of_listener(ctx, each.arn)) for each in siblings),
        lambda limit: api.TooManyRulesException(f"The maximum number of rules ('{limit}') of the load balancer has been reached"),
    )
    row = Rule(
        account=ctx.account,
        region=ctx.region,
        arn=arns.arn(ctx, f"listener-rule/{listener.arn.partition(':listener/')[2]}/{ids.hex_digits(16)}"),
        listener=listener.arn,
        priority=request.priority,
        conditions=found,
        action=action,
        tags=tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES),
    )
    with ctx.transaction() as tx:
        row = tx.insert(RULES, row)
    return api.CreateRuleResponse(rules=[describe(row)])


def _refuse_transforms(given: list[api.RuleTransform] | None) -> None:
    for each in given or ():
        unsupported(f"A transform of type '{each.type}'")


@operation(resource="*")
async def describe_rules(ctx: Context, request: api.DescribeRulesRequest) -> api.DescribeRulesResponse:
    """The rules of a listener in order, its default rule last; or those of some ARNs."""
    if request.listener_arn and request.rule_arns:
        invalid("A listener ARN and rule ARNs cannot be specified at the same time")
    ranked: list[tuple[int, api.Rule]]
    if request.listener_arn:
        listener = listeners.require(ctx, request.listener_arn)
        ranked = [(row.priority, describe(row)) for row in _of_listener(ctx, listener.arn)] + [(50001, describe_default(listener))]
    elif request.rule_arns:
        ranked = list(enumerate(_named(ctx, request.rule_arns)))
    else:
        invalid("A listener ARN or rule ARNs must be specified")
    found, marker = page_of(
        ctx,
        ranked,
        key=lambda item: item[0],
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    return api.DescribeRulesResponse(rules=[rule for _, rule in found], next_marker=marker)


def _named(ctx: Context, wanted: Iterable[str]) -> list[api.Rule]:
    found: list[api.Rule] = []
    for arn in wanted:
        row = arns.find(ctx, arn) if arns.kind_of(arn) == "listener-rule" else None
        if row is None:
            raise api.RuleNotFoundException("One or more rules not found")
        found.append(describe(row) if isinstance(row, Rule) else describe_default(_listener(row)))
    return found


def _listener(row: Any) -> Listener:
    assert isinstance(row, Listener)
    return row


@operation(resource=arns.rule, resource_tags=arns.rule_tags)
async def modify_rule(ctx: Context, request: api.ModifyRuleRequest) -> api.ModifyRuleResponse:
    """Replace the conditions or the action of a rule."""
    row = require(ctx, request.rule_arn)
    listener = listeners.require(ctx, row.listener)
    if request.transforms and request.reset_transforms:
        invalid("Transforms cannot be specified and reset at the same time")
    _refuse_transforms(request.transforms)
    found = row.conditions if request.conditions is None else conditions.parse(ctx, request.conditions)
    action = row.action
    if request.actions is not None:
        action = actions.parse(ctx, request.actions, load_balancers.require(ctx, listener.load_balancer), listener.protocol)
    with ctx.transaction() as tx:
        row = tx.update(RULES, row, conditions=found, action=action)
    return api.ModifyRuleResponse(rules=[describe(row)])


@operation(resource=arns.rule, resource_tags=arns.rule_tags)
async def delete_rule(ctx: Context, request: api.DeleteRuleRequest) -> api.DeleteRuleResponse:
    """Delete a rule that is no default rule."""
    if ctx.table(LISTENERS).find("by_default_rule", (ctx.account, ctx.region, request.rule_arn)) is not None:
        raise api.OperationNotPermittedException(f"Default rule '{request.rule_arn}' cannot be deleted")
    row = require(ctx, request.rule_arn)
    with ctx.transaction() as tx:
        tx.delete(RULES, row.key)
    return api.DeleteRuleResponse()


@operation(resource=arns.ranked_rules, resource_tags=arns.ranked_rules_tags)
async def set_rule_priorities(ctx: Context, request: api.SetRulePrioritiesRequest) -> api.SetRulePrioritiesResponse:
    """Give several rules of one listener other priorities, all at once: two of them may change places."""
    if not request.rule_priorities:
        invalid("At least one rule priority must be specified")
    wanted: dict[str, int] = {}
    for pair in request.rule_priorities:
        if pair.rule_arn is None or pair.priority is None:
            invalid("A rule ARN and a priority must be specified")
        wanted[pair.rule_arn] = pair.priority
    rows = {arn: require(ctx, arn) for arn in wanted}
    if len({row.listener for row in rows.values()}) > 1:
        invalid("All rules must belong to the same listener")
    if len(set(wanted.values())) < len(wanted):
        invalid("Priorities must be unique")
    kept = {row.priority for row in _of_listener(ctx, next(iter(rows.values())).listener) if row.arn not in wanted}
    for priority in wanted.values():
        if priority in kept:
            raise api.PriorityInUseException(f"Priority '{priority}' is currently in use")
    with ctx.transaction() as tx:
        changed = [tx.update(RULES, row, priority=wanted[arn]) for arn, row in rows.items()]
    return api.SetRulePrioritiesResponse(rules=[describe(row) for row in changed])
