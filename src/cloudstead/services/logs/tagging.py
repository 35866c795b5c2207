"""Tags of log groups and destinations, by ARN and in the older way by the group's name."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel import tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.services.logs import api, arns, groups
from cloudstead.services.logs.groups import TAG_RULES
from cloudstead.services.logs.model import DESTINATIONS, GROUPS, Destination, LogGroup

_TABLES: dict[str, Table[Any]] = {"log-group": GROUPS, "destination": DESTINATIONS}


def _bearer(ctx: Context, text: str) -> tuple[Table[Any], LogGroup | Destination]:
    """What an ARN names.

    Raises:
        InvalidParameterException, ResourceNotFoundException
    """
    try:
        arn = Arn.parse(text.removesuffix(":*"))
    except ValueError as error:
        raise api.InvalidParameterException("The specified resource ARN is invalid.") from error
    if arn.service != "logs" or arn.kind not in _TABLES:
        raise api.InvalidParameterException("The specified resource ARN is invalid.")
    table = _TABLES[arn.kind]
    row = ctx.table(table).get((ctx.account, ctx.region, arn.name)) if (arn.account, arn.region) == (ctx.account, ctx.region) else None
    if row is None:
        raise api.ResourceNotFoundException("The specified resource does not exist.")
    return table, row


def _write(ctx: Context, table: Table[Any], row: LogGroup | Destination, wanted: dict[str, str]) -> None:
    with ctx.transaction() as tx:
        tx.update(table, row, tags=wanted)


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def tag_resource(ctx: Context, request: api.TagResourceRequest) -> api.TagResourceResponse:
    table, row = _bearer(ctx, request.resource_arn)
    _write(ctx, table, row, tags.merge(row.tags, request.tags, TAG_RULES))
    return api.TagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def untag_resource(ctx: Context, request: api.UntagResourceRequest) -> api.UntagResourceResponse:
    table, row = _bearer(ctx, request.resource_arn)
    _write(ctx, table, row, tags.without(row.tags, request.tag_keys, TAG_RULES))
    return api.UntagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def list_tags_for_resource(ctx: Context, request: api.ListTagsForResourceRequest) -> api.ListTagsForResourceResponse:
    return api.ListTagsForResourceResponse(tags=dict(_bearer(ctx, request.resource_arn)[1].tags))


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def tag_log_group(ctx: Context, request: api.TagLogGroupRequest) -> api.TagLogGroupResponse:
    group = groups.require(ctx, request.log_group_name)
    _write(ctx, GROUPS, group, tags.merge(group.tags, request.tags, TAG_RULES))
    return api.TagLogGroupResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def untag_log_group(ctx: Context, request: api.UntagLogGroupRequest) -> api.UntagLogGroupResponse:
    group = groups.require(ctx, request.log_group_name)
    _write(ctx, GROUPS, group, tags.without(group.tags, request.tags, TAG_RULES))
    return api.UntagLogGroupResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def list_tags_log_group(ctx: Context, request: api.ListTagsLogGroupRequest) -> api.ListTagsLogGroupResponse:
    return api.ListTagsLogGroupResponse(tags=dict(groups.require(ctx, request.log_group_name).tags))
