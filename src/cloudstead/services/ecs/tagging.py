"""Tags of clusters, capacity providers, task definitions and tasks, by ARN."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel import tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.services.ecs import api, arns, checks
from cloudstead.services.ecs.checks import TAG_RULES
from cloudstead.services.ecs.tasks.model import TASKS


def _bearer(ctx: Context, text: str) -> tuple[Table[Any], Any]:
    """The row that an ARN names, and its table.

    Raises:
        InvalidParameterException, ClusterNotFoundException, ResourceNotFoundException
    """
    found = arns.bearer(ctx, text)
    if found is None:
        checks.invalid("The specified ARN is invalid. Specify a valid ARN and try again.")
    table: Table[Any] = found[0]
    row: Any = found[1]
    if row is None and ":cluster/" in text:
        raise api.ClusterNotFoundException("Cluster not found.")
    if row is None:
        raise api.ResourceNotFoundException("The specified resource could not be found.")
    if row.status == "STOPPED" if table is TASKS else row.status != "ACTIVE":
        checks.invalid("The specified resource is inactive. Specify an active resource and try again.")
    return table, row


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged, conditions=arns.of_tags(arns.tags_of_tagged))
async def tag_resource(ctx: Context, request: api.TagResourceRequest) -> api.TagResourceResponse:
    """Add tags, or change them; at most 50."""
    table, row = _bearer(ctx, request.resource_arn)
    with ctx.transaction() as tx:
        tx.update(table, row, tags=tags.merge(row.tags, checks.given_tags(request.tags), TAG_RULES))
    return api.TagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged, conditions=arns.of_tags(arns.tags_of_tagged))
async def untag_resource(ctx: Context, request: api.UntagResourceRequest) -> api.UntagResourceResponse:
    """Take tags away by their keys."""
    table, row = _bearer(ctx, request.resource_arn)
    with ctx.transaction() as tx:
        tx.update(table, row, tags=tags.without(row.tags, request.tag_keys, TAG_RULES))
    return api.UntagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged, conditions=arns.of_tags(arns.tags_of_tagged))
async def list_tags_for_resource(ctx: Context, request: api.ListTagsForResourceRequest) -> api.ListTagsForResourceResponse:
    """The tags of a resource."""
    return api.ListTagsForResourceResponse(tags=tags.to_list(_bearer(ctx, request.resource_arn)[1].tags, api.Tag))
