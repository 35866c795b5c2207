"""Tags of load balancers, listeners, rules and target groups, by ARN."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel import tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.elbv2 import api, arns
from cloudstead.services.elbv2.failures import invalid
from cloudstead.services.elbv2.model import (
    LISTENERS,
    LOAD_BALANCERS,
    TARGET_GROUPS,
    Listener,
    LoadBalancer,
    Resource,
    Rule,
)
from cloudstead.services.elbv2.model import (
    RULES as RULES_TABLE,
)

RULES = tags.Rules(invalid=api.DuplicateTagKeysException, too_many=api.TooManyTagsException)

_ABSENT: dict[str, Any] = {
    "loadbalancer": (api.LoadBalancerNotFoundException, "Load balancer '{}' not found"),
    "listener": (api.ListenerNotFoundException, "Listener '{}' not found"),
    "listener-rule": (api.RuleNotFoundException, "Rule '{}' not found"),
    "targetgroup": (api.TargetGroupNotFoundException, "Target group '{}' not found"),
    "truststore": (api.TrustStoreNotFoundException, "Trust store '{}' not found"),
}


def _require(ctx: Context, text: str) -> Resource:
    absent = _ABSENT.get(arns.kind_of(text))
    if absent is None:
        invalid(f"'{text}' is not a valid ARN")
    row = arns.find(ctx, text)
    if row is None:
        raise absent[0](absent[1].format(text))
    return row


def _table(row: Resource) -> Any:
    if isinstance(row, LoadBalancer):
        return LOAD_BALANCERS
    return LISTENERS if isinstance(row, Listener) else RULES_TABLE if isinstance(row, Rule) else TARGET_GROUPS


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def add_tags(ctx: Context, request: api.AddTagsRequest) -> api.AddTagsResponse:
    """Add tags to several resources, or change them; at most 50 each."""
    given = tags.from_list(request.tags, RULES)
    rows = {row.key: row for row in (_require(ctx, each) for each in request.resource_arns)}
    with ctx.transaction() as tx:
        for row in rows.values():
            tx.update(_table(row), row, tags=tags.merge(row.tags, given, RULES))
    return api.AddTagsResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def remove_tags(ctx: Context, request: api.RemoveTagsRequest) -> api.RemoveTagsResponse:
    """Take tags away by their keys."""
    rows = {row.key: row for row in (_require(ctx, each) for each in request.resource_arns)}
    with ctx.transaction() as tx:
        for row in rows.values():
            tx.update(_table(row), row, tags=tags.without(row.tags, request.tag_keys, RULES))
    return api.RemoveTagsResponse()


@operation(resource="*")
async def describe_tags(ctx: Context, request: api.DescribeTagsRequest) -> api.DescribeTagsResponse:
    """The tags of up to 20 resources."""
    if len(request.resource_arns) > 20:
        invalid("Up to 20 resources can be specified")
    found = [api.TagDescription(resource_arn=each, tags=tags.to_list(_require(ctx, each).tags, api.Tag)) for each in request.resource_arns]
    return api.DescribeTagsResponse(tag_descriptions=found)
