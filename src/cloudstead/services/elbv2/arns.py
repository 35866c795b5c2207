"""The ARNs of load balancers, and what operations declare of a call.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.store import Table
from cloudstead.services.elbv2.model import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS, Resource

TABLE_OF: dict[str, Table[Any]] = {
    "loadbalancer": LOAD_BALANCERS,
    "listener": LISTENERS,
    "listener-rule": RULES,
    "targetgroup": TARGET_GROUPS,
}


def arn(ctx: Context, resource: str) -> str:
    return f"arn:{ctx.partition}:elasticloadbalancing:{ctx.region}:{ctx.account}:{resource}"


def kind_of(text: str) -> str:
    """What an ARN of ours names: "loadbalancer", "listener"; empty when it is none."""
    try:
        parsed = Arn.parse(text)
    except ValueError:
        return ""
    return parsed.kind if parsed.service == "elasticloadbalancing" else ""


def find(ctx: Context, text: str) -> Resource | None:
    """What an ARN of any kind names in the caller's account and region. The default rule of a listener is the listener."""
    table = TABLE_OF.get(kind_of(text))
    if table is None:
        return None
    found: Resource | None = ctx.table(table).get((ctx.account, ctx.region, text))
    if found is None and table is RULES:
        found = ctx.table(LISTENERS).find("by_default_rule", (ctx.account, ctx.region, text))
    return found


def _tags(ctx: Context, text: str) -> Mapping[str, str]:
    row = find(ctx, text)
    return {} if row is None else row.tags


def new_load_balancer(ctx: Context, request: Any) -> str:
    return arn(ctx, f"loadbalancer/{'net' if request.type == 'network' else 'app'}/{request.name}/*")


def new_target_group(ctx: Context, request: Any) -> str:
    return arn(ctx, f"targetgroup/{request.name}/*")


def load_balancer(ctx: Context, request: Any) -> str:
    return str(request.load_balancer_arn)


def load_balancer_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, request.load_balancer_arn)


def listener(ctx: Context, request: Any) -> str:
    return str(request.listener_arn)


def listener_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, request.listener_arn)


def rule(ctx: Context, request: Any) -> str:
    return str(request.rule_arn)


def rule_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, request.rule_arn)


def ranked_rules(ctx: Context, request: Any) -> list[str]:
    return [pair.rule_arn or arn(ctx, "listener-rule/*") for pair in request.rule_priorities]


def ranked_rules_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _only(ctx, ranked_rules(ctx, request))


def target_group(ctx: Context, request: Any) -> str:
    return str(request.target_group_arn)


def target_group_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    return _tags(ctx, request.target_group_arn)


def tagged(ctx: Context, request: Any) -> list[str]:
    return list(request.resource_arns)


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    return _only(ctx, request.resource_arns)


def _only(ctx: Context, named: Sequence[str]) -> Mapping[str, str]:
    """The tags of the only resource of a call; those of several cannot be told as one."""
    return _tags(ctx, named[0]) if len(named) == 1 else {}
