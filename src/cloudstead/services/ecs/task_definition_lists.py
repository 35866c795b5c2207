"""Lists of task definitions and their families."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page, page_along
from cloudstead.services.ecs import api, checks
from cloudstead.services.ecs.model import FAMILIES, TASK_DEFINITIONS


@operation(resource="*")
async def list_task_definitions(ctx: Context, request: api.ListTaskDefinitionsRequest) -> api.ListTaskDefinitionsResponse:
    """The ARNs of the revisions of one status, ACTIVE by default, by family and number; of all families, or of the one that is named."""
    prefix = (ctx.account, ctx.region, request.status or "ACTIVE")
    rows, token = page(
        ctx,
        TASK_DEFINITIONS,
        prefix if request.family_prefix is None else (*prefix, request.family_prefix),
        index="by_status",
        reverse=request.sort == "DESC",
        request=request,
        token=request.next_token,
        limit=checks.page_size(request.max_results),
        invalid=checks.invalid_token,
    )
    return api.ListTaskDefinitionsResponse(task_definition_arns=[row.arn() for row in rows], next_token=token)


@operation(resource="*")
async def list_task_definition_families(
    ctx: Context, request: api.ListTaskDefinitionFamiliesRequest
) -> api.ListTaskDefinitionFamiliesResponse:
    """The families whose names begin so: with an ACTIVE revision, with none but others, or both."""
    families = ctx.table(FAMILIES)

    def entries(after: tuple[str, ...] | None) -> Iterator[tuple[tuple[str, ...], str]]:
        for position, row in families.entries((ctx.account, ctx.region), starts=request.family_prefix or "", after=after):
            status = _status(ctx, row.name)
            if status is not None and request.status in (None, "ALL", status):
                yield position, row.name

    found, token = page_along(
        ctx,
        entries,
        request=request,
        token=request.next_token,
        limit=checks.page_size(request.max_results),
        invalid=checks.invalid_token,
    )
    return api.ListTaskDefinitionFamiliesResponse(families=found, next_token=token)


def _status(ctx: Context, family: str) -> str | None:
    """None: all its revisions are gone; only their last number is left."""
    rows = ctx.table(TASK_DEFINITIONS)
    for status, counted in (("ACTIVE", ("ACTIVE",)), ("INACTIVE", ("INACTIVE", "DELETE_IN_PROGRESS"))):
        entries = chain.from_iterable(rows.entries((ctx.account, ctx.region, each, family), index="by_status") for each in counted)
        if next(iter(entries), None) is not None:
            return status
    return None
