"""The ARNs of EventBridge, and what operations declare of a call: resources, tags, condition keys.

Condition keys: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import ConditionValue
from cloudstead.services.events.model import API_DESTINATIONS, BUSES, CONNECTIONS, DEFAULT_BUS, RULES

BusKey = tuple[str, str, str]  # account, region, name


def bus_key(ctx: Context, name_or_arn: str | None) -> BusKey:
    """Where a bus is that a request names, by name or ARN; by default the default bus of the caller's account."""
    if name_or_arn and name_or_arn.startswith("arn:"):
        try:
            arn = Arn.parse(name_or_arn)
        except ValueError:
            return (ctx.account, ctx.region, name_or_arn)
        return (arn.account, arn.region, arn.name)
    return (ctx.account, ctx.region, name_or_arn or DEFAULT_BUS)


def bus_arn(key: BusKey) -> str:
    return f"arn:aws:events:{key[1]}:{key[0]}:event-bus/{key[2]}"


def rule_arn(key: BusKey, name: str) -> str:
    bus = "" if key[2] == DEFAULT_BUS else f"{key[2]}/"
    return f"arn:aws:events:{key[1]}:{key[0]}:rule/{bus}{name}"


def named(kind: str, member: str = "name") -> Callable[[Context, Any], str]:
    """Of the operations on a thing that has a name: archive, replay, connection, api-destination."""

    def arn(ctx: Context, request: Any) -> str:
        return f"arn:{ctx.partition}:events:{ctx.region}:{ctx.account}:{kind}/{getattr(request, member)}"

    return arn


def connection(ctx: Context, request: Any) -> str:
    """With the unique part of its ARN, once it is known."""
    row = ctx.table(CONNECTIONS).get((ctx.account, ctx.region, request.name))
    return row.arn() if row is not None else named("connection")(ctx, request)


def api_destination(ctx: Context, request: Any) -> str:
    row = ctx.table(API_DESTINATIONS).get((ctx.account, ctx.region, request.name))
    return row.arn() if row is not None else named("api-destination")(ctx, request)


def bus(ctx: Context, request: Any) -> str:
    """Of the operations on buses, which call it `Name`."""
    return bus_arn(bus_key(ctx, request.name))


def bus_of_request(ctx: Context, request: Any) -> str:
    return bus_arn(bus_key(ctx, request.event_bus_name))


def rule(ctx: Context, request: Any) -> str:
    """Of the operations on rules; those on targets call it `Rule`."""
    name = request.rule if hasattr(request, "rule") else request.name
    return rule_arn(bus_key(ctx, request.event_bus_name), name)


def entries(ctx: Context, request: Any) -> list[str]:
    """The buses to which events are put."""
    return list(dict.fromkeys(bus_arn(bus_key(ctx, entry.event_bus_name)) for entry in request.entries))


def entry_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {
        "events:source": [entry.source for entry in request.entries if entry.source],
        "events:detail-type": [entry.detail_type for entry in request.entries if entry.detail_type],
        "events:eventBusInvocation": "false",
    }


def entry_policy(ctx: Context, request: Any) -> str | None:
    """The policies of the buses to which events are put, as one: each statement names the bus that it is about."""
    keys = dict.fromkeys(bus_key(ctx, entry.event_bus_name) for entry in request.entries)
    return merged([policy for key in keys if (policy := policy_of(ctx, key))])


def policy_of(ctx: Context, key: BusKey) -> str | None:
    row = ctx.table(BUSES).get(key)
    return None if row is None else row.policy


def bus_policy(ctx: Context, request: Any) -> str | None:
    """Of the operations on rules and buses of other accounts."""
    name = request.event_bus_name if hasattr(request, "event_bus_name") else getattr(request, "name", None)
    return policy_of(ctx, bus_key(ctx, name))


def merged(documents: list[str]) -> str | None:
    if len(documents) < 2:
        return documents[0] if documents else None
    return _merged(tuple(documents))


@lru_cache(maxsize=64)
def _merged(documents: tuple[str, ...]) -> str:
    statements: list[Any] = []
    for text in documents:
        found = json.loads(text)["Statement"]
        statements += found if isinstance(found, list) else [found]
    return json.dumps({"Version": "2012-10-17", "Statement": [{k: v for k, v in one.items() if k != "Sid"} for one in statements]})


def rule_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    """events:source, events:detail-type and events:detail.userIdentity.principalId are the literals of the pattern."""
    found: dict[str, ConditionValue] = {"events:creatorAccount": ctx.account}
    pattern = getattr(request, "event_pattern", None)
    if pattern:
        try:
            document = json.loads(pattern)
        except (ValueError, RecursionError):
            return found
        for key, name in (("events:source", "source"), ("events:detail-type", "detail-type")):
            alternatives = document.get(name) if isinstance(document, dict) else None
            if isinstance(alternatives, list) and alternatives and all(isinstance(one, str) for one in alternatives):
                found[key] = alternatives
    return found


def creator(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    name = request.rule if hasattr(request, "rule") else request.name
    row = ctx.table(RULES).get((*bus_key(ctx, request.event_bus_name), name))
    return {"events:creatorAccount": ctx.account if row is None else row.created_by}


def target_conditions(ctx: Context, request: Any) -> Mapping[str, ConditionValue]:
    return {**creator(ctx, request), "events:TargetArn": [target.arn for target in request.targets]}


def rule_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    name = request.rule if hasattr(request, "rule") else request.name
    row = ctx.table(RULES).get((*bus_key(ctx, request.event_bus_name), name))
    return {} if row is None else row.tags


def bus_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = ctx.table(BUSES).get(bus_key(ctx, request.name))
    return {} if row is None else row.tags


def tagged(ctx: Context, request: Any) -> str:
    """Of the operations on the tags of any resource."""
    return str(request.resource_arn)


def listed_rules(ctx: Context, request: Any) -> str:
    """Of ListRules and its kin: the rules of a bus."""
    return rule_arn(bus_key(ctx, request.event_bus_name), "*")
