"""Rules: put, delete, enable, disable, describe, list."""

from __future__ import annotations

from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.events import api, arns, buses
from cloudstead.services.events.buses import PAGE, TAG_RULES
from cloudstead.services.events.controller import part
from cloudstead.services.events.model import DEFAULT_BUS, RULES, TARGETS, Rule, rule_key
from cloudstead.services.events.pattern import InvalidPattern
from cloudstead.services.events.routing import compiled
from cloudstead.services.events.schedule import InvalidSchedule, parse


def check_pattern(text: str) -> None:
    """
    Raises:
        InvalidEventPatternException
    """
    try:
        compiled(text)
    except InvalidPattern as error:
        raise api.InvalidEventPatternException(f"Event pattern is not valid. Reason: {error}") from None


def _check_schedule(text: str) -> None:
    try:
        parse(text)
    except InvalidSchedule:
        raise ValidationFailed("Parameter ScheduleExpression is not valid.") from None


def require(ctx: Context, bus: str | None, name: str) -> Rule:
    """The rule of that name on a bus.

    Raises:
        ResourceNotFoundException
    """
    found = buses.named(ctx, bus)
    row: Rule | None = ctx.table(RULES).get((found.account, found.region, found.name, name))
    if row is None:
        raise api.ResourceNotFoundException(f"Rule {name} does not exist on EventBus {found.name}.")
    return row


def changed(ctx: Context, rule: Rule) -> None:
    """Let the router know at once: who puts a rule and then an event means the one to see the other."""
    part(ctx).router.changed(rule.account, rule.region, rule.bus)


@operation(resource=arns.rule, conditions=arns.rule_conditions, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def put_rule(ctx: Context, request: api.PutRuleRequest) -> api.PutRuleResponse:
    """Create a rule, or replace all of it but its tags and targets."""
    bus = buses.named(ctx, request.event_bus_name)
    pattern, schedule = request.event_pattern or None, request.schedule_expression or None
    if pattern is None and schedule is None:
        raise ValidationFailed("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if schedule is not None and bus.name != DEFAULT_BUS:
        raise ValidationFailed("ScheduleExpression is supported only on the default event bus.")
    if pattern is not None:
        check_pattern(pattern)
    if schedule is not None:
        _check_schedule(schedule)
    buses.pass_role(ctx, request.role_arn)
    key = (bus.account, bus.region, bus.name, request.name)
    old: Rule | None = ctx.table(RULES).get(key)
    if old is None:
        quotas.require(ctx, "events", "rules", ctx.table(RULES).count(key[:3]), buses.limit_exceeded)
        given = tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES)
    else:
        given = dict(old.tags)
    state = request.state or "ENABLED"
    goes_on = old is not None and old.schedule == schedule and old.enabled and state != "DISABLED"
    rule = Rule(
        account=bus.account,
        region=bus.region,
        bus=bus.name,
        name=request.name,
        created_by=ctx.account if old is None else old.created_by,
        state=state,
        enabled_at=old.enabled_at if old is not None and goes_on else ctx.now(),
        pattern=pattern,
        schedule=schedule,
        description=request.description or None,
        role=request.role_arn,
        tags=given,
    )
    with ctx.transaction() as tx:
        tx.put(RULES, rule)
    changed(ctx, rule)
    return api.PutRuleResponse(rule_arn=rule.arn())


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def delete_rule(ctx: Context, request: api.DeleteRuleRequest) -> api.DeleteRuleResponse:
    """Delete a rule without targets; one that is not there is no error. No rule here is managed by a service, so `Force` changes nothing."""
    bus = buses.named(ctx, request.event_bus_name)
    rule: Rule | None = ctx.table(RULES).get((bus.account, bus.region, bus.name, request.name))
    if rule is not None:
        if ctx.table(TARGETS).count(rule_key(rule)):
            raise ValidationFailed("Rule can't be deleted since it has targets.")
        with ctx.transaction() as tx:
            tx.delete(RULES, rule_key(rule))
        changed(ctx, rule)
    return api.DeleteRuleResponse()


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def enable_rule(ctx: Context, request: api.EnableRuleRequest) -> api.EnableRuleResponse:
    _set_state(ctx, require(ctx, request.event_bus_name, request.name), "ENABLED")
    return api.EnableRuleResponse()


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def disable_rule(ctx: Context, request: api.DisableRuleRequest) -> api.DisableRuleResponse:
    _set_state(ctx, require(ctx, request.event_bus_name, request.name), "DISABLED")
    return api.DisableRuleResponse()


def _set_state(ctx: Context, rule: Rule, state: str) -> None:
    if rule.state != state:
        with ctx.transaction() as tx:
            tx.update(RULES, rule, state=state, enabled_at=rule.enabled_at if rule.enabled else ctx.now())
        changed(ctx, rule)


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def describe_rule(ctx: Context, request: api.DescribeRuleRequest) -> api.DescribeRuleResponse:
    rule = require(ctx, request.event_bus_name, request.name)
    return api.DescribeRuleResponse(
        name=rule.name,
        arn=rule.arn(),
        event_pattern=rule.pattern,
        schedule_expression=rule.schedule,
        state=rule.state,  # type: ignore[arg-type]  # one of the model's states, from PutRule
        description=rule.description,
        role_arn=rule.role,
        event_bus_name=rule.bus,
        created_by=rule.created_by,
    )


@operation(resource=arns.listed_rules, resource_policy=arns.bus_policy)
async def list_rules(ctx: Context, request: api.ListRulesRequest) -> api.ListRulesResponse:
    bus = buses.named(ctx, request.event_bus_name)
    rows, token = page(
        ctx,
        RULES,
        (bus.account, bus.region, bus.name),
        starts=request.name_prefix or "",
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    found = [
        api.Rule(
            name=rule.name,
            arn=rule.arn(),
            event_pattern=rule.pattern,
            schedule_expression=rule.schedule,
            state=rule.state,  # type: ignore[arg-type]
            description=rule.description,
            role_arn=rule.role,
            event_bus_name=rule.bus,
        )
        for rule in rows
    ]
    return api.ListRulesResponse(rules=found, next_token=token)
