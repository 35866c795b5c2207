"""Tags: of everything that has an id, given when it is made or later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cloudstead.kernel import idempotency
from cloudstead.kernel import tags as rules
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import api, arns
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import paged
from cloudstead.services.ec2.failures import Ec2Error, failure, invalid, missing
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.kinds import KINDS, Kind, kind_of


def _invalid(sentence: str) -> Ec2Error:
    return invalid(sentence)


def _too_many(sentence: str) -> Ec2Error:
    return failure("TagLimitExceeded", f"More than {rules.Rules().limit} tags specified for a resource.")


RULES = rules.Rules(invalid=_invalid, too_many=_too_many, longest_key=127, longest_value=255, any_character=True)


def given(ctx: Context, request: Any, kind: Kind) -> dict[str, str]:
    """The tags with which a request makes a resource; needs the permission to tag it."""
    found: dict[str, str] = {}
    for one in request.tag_specifications or ():
        if one.resource_type != kind.type:
            raise invalid(f"'{one.resource_type}' is not a valid taggable resource type for this operation.")
        if not one.tags:
            raise invalid("Tag specification must have at least one tag")
        found = rules.merge(found, from_list(one.tags), RULES)
    if found:
        name = type(request).operation.partition(":")[2]
        ctx.require("ec2:CreateTags", arns.arn(ctx, kind.type, "*"), {"ec2:CreateAction": name})
    return found


def recalled(ctx: Context, request: Any) -> str | None:
    """The id of what the same call made before, with its client token."""
    return idempotency.recall(ctx, request, str, mismatch=_mismatch)


def _mismatch() -> Ec2Error:
    return failure("IdempotentParameterMismatch", "The client token you have provided is associated with a resource of other parameters.")


def remember(ctx: Context, tx: Transaction, request: Any, id: str) -> None:
    idempotency.record(ctx, tx, request, id)


def from_list(tags: Iterable[api.Tag] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in tags or ():
        if not tag.key:
            raise invalid("Tag key cannot be null or empty.")
        found[tag.key] = tag.value or ""
    return found


def to_list(tags: Mapping[str, str]) -> list[api.Tag]:
    return rules.to_list(tags, api.Tag)


def _tagged(ctx: Context, ids: Iterable[str]) -> list[tuple[Kind, Any]]:
    found = []
    for id in dict.fromkeys(ids):
        kind = kind_of(id)
        if kind is None:
            raise failure("InvalidID", f"The ID '{id}' is not valid")
        found.append((kind, kind.require(ctx, id)))
    return found


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged, conditions=arns.region)
async def create_tags(ctx: Context, request: api.CreateTagsRequest) -> api.CreateTagsResponse:
    """Add tags to resources of any kinds, or change them; at most 50 each."""
    begin(ctx, request, "resources", "tags")
    new = from_list(request.tags)
    if not new:
        raise missing("tagSet")
    rows = _tagged(ctx, request.resources)
    with ctx.transaction() as tx:
        for kind, row in rows:
            tx.update(kind.table, row, tags=rules.merge(row.tags, new, RULES))
    return api.CreateTagsResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged, conditions=arns.region)
async def delete_tags(ctx: Context, request: api.DeleteTagsRequest) -> api.DeleteTagsResponse:
    """Take tags away: those named, if they have the value that is given with them; all when none is named."""
    begin(ctx, request, "resources", "tags")
    rows = _tagged(ctx, request.resources)
    with ctx.transaction() as tx:
        for kind, row in rows:
            tx.update(kind.table, row, tags=_left(row.tags, request.tags))
    return api.DeleteTagsResponse()


def _left(tags: Mapping[str, str], gone: list[api.Tag] | None) -> dict[str, str]:
    if not gone:
        return {key: value for key, value in tags.items() if key.startswith(rules.RESERVED)}
    wanted = {tag.key: tag.value for tag in gone}
    return {key: value for key, value in tags.items() if key not in wanted or wanted[key] not in (None, value)}


class Tagged(msgspec.Struct, frozen=True):
    """One tag of one resource."""

    id: str
    type: str
    key: str
    value: str
    tags: dict[str, str]  # this one, for the filter tag:<key>


FILTERS: Filters = {
    "resource-id": lambda one: one.id,
    "resource-type": lambda one: one.type,
    "key": lambda one: one.key,
    "value": lambda one: one.value,
}


@operation(resource="*", conditions=arns.region)
async def describe_tags(ctx: Context, request: api.DescribeTagsRequest) -> api.DescribeTagsResponse:
    """All tags of the region."""
    begin(ctx, request, "filters", "max_results", "next_token")
    passes = chosen(request.filters, FILTERS)
    every = (
        Tagged(row.id, kind.type, key, value, {key: value}) for kind in KINDS for row in kind.all(ctx) for key, value in row.tags.items()
    )
    found, token = paged(ctx, request, filter(passes, every), key=lambda one: (one.id, one.key))
    return api.DescribeTagsResponse(
        tags=[api.TagDescription(key=one.key, resource_id=one.id, resource_type=_type(one), value=one.value) for one in found],
        next_token=token,
    )


def _type(one: Tagged) -> Any:
    return one.type
