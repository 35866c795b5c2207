"""The attributes of target groups."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.elbv2 import api, arns, attribute_changes, attributes, target_groups
from cloudstead.services.elbv2.failures import misconfigured
from cloudstead.services.elbv2.model import TARGET_GROUPS, TargetGroup


def _told(row: TargetGroup) -> list[api.TargetGroupAttribute]:
    found = attributes.told(attributes.of_target_group(row), row.attributes)
    return [api.TargetGroupAttribute(key=key, value=value) for key, value in found]


@operation(resource="*")
async def describe_target_group_attributes(
    ctx: Context, request: api.DescribeTargetGroupAttributesRequest
) -> api.DescribeTargetGroupAttributesResponse:
    """All attributes, also those that nobody has set."""
    return api.DescribeTargetGroupAttributesResponse(attributes=_told(target_groups.require(ctx, request.target_group_arn)))


@operation(resource=arns.target_group, resource_tags=arns.target_group_tags)
async def modify_target_group_attributes(
    ctx: Context, request: api.ModifyTargetGroupAttributesRequest
) -> api.ModifyTargetGroupAttributesResponse:
    """Set some attributes; acts on the next request."""
    row = target_groups.require(ctx, request.target_group_arn)
    known = attributes.of_target_group(row)
    kept = attribute_changes.changed(known, row.attributes, request.attributes, "Target group")
    read = {key: attributes.value(known, kept, key) for key in known}
    if read.get("slow_start.duration_seconds", "0") != "0" and read["load_balancing.algorithm.type"] != "round_robin":
        misconfigured("Slow start mode cannot be enabled with the load balancing algorithm type " + read["load_balancing.algorithm.type"])
    if read["stickiness.enabled"] == "true" and read["stickiness.type"] == "app_cookie" and not read["stickiness.app_cookie.cookie_name"]:
        misconfigured("An application cookie name must be specified for stickiness of type 'app_cookie'")
    with ctx.transaction() as tx:
        row = tx.update(TARGET_GROUPS, row, attributes=kept)
    return api.ModifyTargetGroupAttributesResponse(attributes=_told(row))
