"""Replication backfills: start and stop them, see how far they are."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecr import api, image_ids, repositories
from cloudstead.services.ecr.model import BACKFILLS, REGISTRIES, Backfill, Destination
from cloudstead.services.ecr.repositories import invalid

MOST_AT_ONCE = 10
KEPT_SECONDS = 90 * 24 * 3600.0  # after their end
PAGE = 25
RESULTS_PAGE = 100


@operation(resource="*")
async def start_replication_backfill(ctx: Context, request: api.StartReplicationBackfillRequest) -> api.StartReplicationBackfillResponse:
    """Copy what was pushed before the registry replicated to one of its destinations."""
    ctx = repositories.owner(ctx, request)
    to = Destination(request.destination.region, request.destination.registry_id)
    registry = ctx.table(REGISTRIES).get((ctx.account, ctx.region))
    if registry is None or all(to not in rule.destinations for rule in registry.replication):
        invalid("destination", "Destination must be configured in the replication configuration of the registry")
    under_way: list[Backfill] = ctx.table(BACKFILLS).scan((ctx.account, ctx.region), index="open")
    if any(row.to_region == to.region for row in under_way):
        raise api.ReplicationBackfillInProgressException(f"A replication backfill to the Region '{to.region}' is already in progress")
    if len(under_way) >= MOST_AT_ONCE:
        raise api.LimitExceededException(f"The maximum number of replication backfills in progress, {MOST_AT_ONCE}, has been reached")
    row = Backfill(account=ctx.account, region=ctx.region, id=uuid4(), to_region=to.region, to_account=to.account, started=ctx.now())
    with ctx.transaction() as tx:
        for old in ctx.table(BACKFILLS).scan((ctx.account, ctx.region)):
            if not _is_kept(ctx, old):
                tx.delete(BACKFILLS, BACKFILLS.key(old))
        tx.insert(BACKFILLS, row)
    return api.StartReplicationBackfillResponse(
        replication_backfill_id=row.id, registry_id=ctx.account, destination=_destination(row), status=row.status, started_at=row.started
    )


@operation(resource="*")
async def stop_replication_backfill(ctx: Context, request: api.StopReplicationBackfillRequest) -> api.StopReplicationBackfillResponse:
    """What was copied stays."""
    ctx = repositories.owner(ctx, request)
    row = _require(ctx, request.replication_backfill_id)
    if row.status not in ("PREPARING", "IN_PROGRESS"):
        raise api.ReplicationBackfillInvalidStatusException(
            f"The replication backfill with id '{row.id}' cannot be stopped because its status is {row.status}"
        )
    with ctx.transaction() as tx:
        if row.status == "PREPARING":
            row = tx.update(BACKFILLS, row, status="STOPPED", ended=ctx.now())
        else:
            row = tx.update(BACKFILLS, row, status="STOPPING")
    return api.StopReplicationBackfillResponse(
        replication_backfill_id=row.id, registry_id=ctx.account, destination=_destination(row), status=row.status, started_at=row.started
    )


@operation(resource="*")
async def list_replication_backfills(ctx: Context, request: api.ListReplicationBackfillsRequest) -> api.ListReplicationBackfillsResponse:
    """Those under way, and those that ended in the last ninety days; the latest first."""
    ctx = repositories.owner(ctx, request)
    rows, token = page_of(
        ctx,
        [row for row in ctx.table(BACKFILLS).scan((ctx.account, ctx.region)) if _is_kept(ctx, row)],
        key=lambda row: (-row.started, row.id),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=repositories.invalid_token,
    )
    return api.ListReplicationBackfillsResponse(registry_id=ctx.account, backfills=list(map(_describe, rows)), next_token=token)


@operation(resource="*")
async def describe_replication_backfill_results(
    ctx: Context, request: api.DescribeReplicationBackfillResultsRequest
) -> api.DescribeReplicationBackfillResultsResponse:
    """How far it is; after its end, what became of each image."""
    ctx = repositories.owner(ctx, request)
    row = _require(ctx, request.replication_backfill_id)
    wanted = request.result_status_filter
    found, token = page_of(
        ctx,
        [each for each in row.results if wanted is None or wanted == ("FAILED" if each.failure else "COMPLETE")],
        key=lambda each: (each.repository, each.digest, each.tag),
        request=request,
        token=request.next_token,
        limit=request.max_results or RESULTS_PAGE,
        invalid=repositories.invalid_token,
    )
    results = [
        api.ReplicationBackfillResult(
            repository_name=each.repository,
            image_id=image_ids.identifier(each.digest, each.tag),
            status="FAILED" if each.failure else "COMPLETE",
            failure_code=each.failure or None,
        )
        for each in found
    ]
    return api.DescribeReplicationBackfillResultsResponse(
        registry_id=ctx.account,
        replication_backfill_id=row.id,
        destination=_destination(row),
        status=row.status,
        failure_code=row.failure or None,
        progress=_progress(row),
        results=results,
        started_at=row.started,
        ended_at=row.ended,
        next_token=token,
    )


def _require(ctx: Context, id_: str) -> Backfill:
    row: Backfill | None = ctx.table(BACKFILLS).get((ctx.account, ctx.region, id_.lower()))
    if row is None or not _is_kept(ctx, row):
        raise api.ReplicationBackfillNotFoundException(
            f"The replication backfill with id '{id_}' does not exist in the registry with id '{ctx.account}'"
        )
    return row


def _is_kept(ctx: Context, row: Backfill) -> bool:
    return row.ended is None or ctx.now() - row.ended < KEPT_SECONDS


def _describe(row: Backfill) -> api.ReplicationBackfillSummary:
    return api.ReplicationBackfillSummary(
        replication_backfill_id=row.id,
        destination=_destination(row),
        status=row.status,
        failure_code=row.failure or None,
        progress=_progress(row),
        started_at=row.started,
        ended_at=row.ended,
    )


def _destination(row: Backfill) -> api.ReplicationDestination:
    return api.ReplicationDestination(region=row.to_region, registry_id=row.to_account)


def _progress(row: Backfill) -> api.ReplicationBackfillProgress | None:
    if row.total is None:
        return None
    return api.ReplicationBackfillProgress(
        total_replication_count=row.total,
        completed_replication_count=row.completed,
        failed_replication_count=row.failed,
        failure_codes=list(row.failures),
    )
