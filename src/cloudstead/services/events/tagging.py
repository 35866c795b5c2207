"""Tags of rules and event buses."""

from __future__ import annotations

from collections.abc import Mapping

from cloudstead.kernel import tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.services.events import api, arns, buses, rules
from cloudstead.services.events.buses import TAG_RULES
from cloudstead.services.events.model import DEFAULT_BUS, RULES, EventBus, Rule


def _bearer(ctx: Context, text: str) -> Rule | EventBus:
    """What an ARN names.

    Raises:
        ValidationFailed, ResourceNotFoundException
    """
    try:
        arn = Arn.parse(text)
    except ValueError:
        arn = None
    if arn is None or arn.service != "events" or arn.kind not in ("rule", "event-bus"):
        raise ValidationFailed(f"Parameter {text} is not valid. Reason: Provided Arn is not in correct format.")
    there = ctx.replace(account=arn.account, region=arn.region) if arn.account == ctx.account else ctx
    if arn.kind == "event-bus":
        return buses.require(there, (there.account, there.region, arn.name))
    bus, _, name = arn.name.rpartition("/")
    return rules.require(there, bus or DEFAULT_BUS, name)


def _tags_of(
    ctx: Context, request: api.TagResourceRequest | api.UntagResourceRequest | api.ListTagsForResourceRequest
) -> Mapping[str, str]:
    try:
        return _bearer(ctx, request.resource_arn).tags
    except (ValidationFailed, api.ResourceNotFoundException):
        return {}  # the handler says so


def _write(ctx: Context, row: Rule | EventBus, wanted: dict[str, str]) -> None:
    if isinstance(row, EventBus):
        buses.change(ctx, row, tags=wanted)
        return
    with ctx.transaction() as tx:
        tx.update(RULES, row, tags=wanted)


@operation(resource=arns.tagged, resource_tags=_tags_of)
async def tag_resource(ctx: Context, request: api.TagResourceRequest) -> api.TagResourceResponse:
    row = _bearer(ctx, request.resource_arn)
    _write(ctx, row, tags.merge(row.tags, tags.from_list(request.tags, TAG_RULES), TAG_RULES))
    return api.TagResourceResponse()


@operation(resource=arns.tagged, resource_tags=_tags_of)
async def untag_resource(ctx: Context, request: api.UntagResourceRequest) -> api.UntagResourceResponse:
    row = _bearer(ctx, request.resource_arn)
    _write(ctx, row, tags.without(row.tags, request.tag_keys, TAG_RULES))
    return api.UntagResourceResponse()


@operation(resource=arns.tagged, resource_tags=_tags_of)
async def list_tags_for_resource(ctx: Context, request: api.ListTagsForResourceRequest) -> api.ListTagsForResourceResponse:
    return api.ListTagsForResourceResponse(tags=tags.to_list(_bearer(ctx, request.resource_arn).tags, api.Tag))
