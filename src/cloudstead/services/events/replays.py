"""Replays: start, cancel, describe, list. How they are carried out: replaying.py."""

from __future__ import annotations

from cloudstead.kernel import quotas
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.events import api, arns, buses
from cloudstead.services.events.buses import PAGE
from cloudstead.services.events.model import ARCHIVES, REPLAYS, Archive, Replay
from cloudstead.services.events.replaying import RUNNING


def require(ctx: Context, name: str) -> Replay:
    """
    Raises:
        ResourceNotFoundException
    """
    row: Replay | None = ctx.table(REPLAYS).get((ctx.account, ctx.region, name))
    if row is None:
        raise api.ResourceNotFoundException(f"Replay {name} does not exist.")
    return row


def _archive(ctx: Context, text: str) -> Archive:
    try:
        arn = Arn.parse(text)
    except ValueError:
        arn = None
    row: Archive | None = None
    if arn is not None and arn.kind == "archive" and (arn.account, arn.region) == (ctx.account, ctx.region):
        row = ctx.table(ARCHIVES).get((arn.account, arn.region, arn.name))
    if row is None:
        name = text if arn is None else arn.name
        raise ValidationFailed(f"Parameter EventSourceArn is not valid. Reason: Archive {name} does not exist.")
    return row


def _check_destination(ctx: Context, archive: Archive, destination: api.ReplayDestination) -> None:
    try:
        arn = Arn.parse(destination.arn)
    except ValueError:
        arn = None
    if arn is None or arn.service != "events" or arn.kind != "event-bus":
        raise ValidationFailed("Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN.")
    if (arn.account, arn.region) != (ctx.account, ctx.region):
        raise ValidationFailed("Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")
    buses.require(ctx, (arn.account, arn.region, arn.name))
    if arn.name != archive.bus:
        raise ValidationFailed("Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")


@operation(resource=arns.named("replay", "replay_name"))
async def start_replay(ctx: Context, request: api.StartReplayRequest) -> api.StartReplayResponse:
    """Send the events of an archive again that happened between two moments."""
    if (ctx.account, ctx.region, request.replay_name) in ctx.table(REPLAYS):
        raise api.ResourceAlreadyExistsException(f"Replay {request.replay_name} already exists.")
    archive = _archive(ctx, request.event_source_arn)
    _check_destination(ctx, archive, request.destination)
    if request.event_start_time >= request.event_end_time:
        raise ValidationFailed("Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.")
    running = sum(row.state in RUNNING for row in ctx.table(REPLAYS).scan((ctx.account, ctx.region)))
    quotas.require(ctx, "events", "replays", running, buses.limit_exceeded)
    row = Replay(
        account=ctx.account,
        region=ctx.region,
        name=request.replay_name,
        archive=archive.arn(),
        uid=archive.uid,
        bus=archive.bus,
        begin=request.event_start_time,
        end=request.event_end_time,
        started=ctx.now(),
        description=request.description or None,
        filters=tuple(request.destination.filter_arns or ()),
    )
    with ctx.transaction() as tx:
        tx.insert(REPLAYS, row)
    return api.StartReplayResponse(replay_arn=row.arn(), state=row.state, replay_start_time=row.started)


@operation(resource=arns.named("replay", "replay_name"))
async def cancel_replay(ctx: Context, request: api.CancelReplayRequest) -> api.CancelReplayResponse:
    row = require(ctx, request.replay_name)
    if row.state not in ("STARTING", "RUNNING"):
        raise api.IllegalStatusException(f"Replay {row.name} is not in a valid state for this operation.")
    with ctx.transaction() as tx:
        row = tx.update(REPLAYS, row, state="CANCELLING")
    return api.CancelReplayResponse(replay_arn=row.arn(), state=row.state)


@operation(resource=arns.named("replay", "replay_name"))
async def describe_replay(ctx: Context, request: api.DescribeReplayRequest) -> api.DescribeReplayResponse:
    row = require(ctx, request.replay_name)
    bus = arns.bus_arn((row.account, row.region, row.bus))
    return api.DescribeReplayResponse(
        replay_name=row.name,
        replay_arn=row.arn(),
        description=row.description,
        state=row.state,
        state_reason=row.reason,
        event_source_arn=row.archive,
        destination=api.ReplayDestination(arn=bus, filter_arns=list(row.filters) or None),
        event_start_time=row.begin,
        event_end_time=row.end,
        event_last_replayed_time=row.last_replayed,
        replay_start_time=row.started,
        replay_end_time=row.ended,
    )


@operation(resource="*")
async def list_replays(ctx: Context, request: api.ListReplaysRequest) -> api.ListReplaysResponse:
    filters = (request.name_prefix, request.event_source_arn, request.state)
    if sum(one is not None for one in filters) > 1:
        raise ValidationFailed("At most one filter is allowed for ListReplays. Use either : State, EventSourceArn, or NamePrefix.")
    rows, token = page(
        ctx,
        REPLAYS,
        (ctx.account, ctx.region),
        starts=request.name_prefix or "",
        where=lambda row: request.event_source_arn in (None, row.archive) and request.state in (None, row.state),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    found = [
        api.Replay(
            replay_name=row.name,
            event_source_arn=row.archive,
            state=row.state,
            state_reason=row.reason,
            event_start_time=row.begin,
            event_end_time=row.end,
            event_last_replayed_time=row.last_replayed,
            replay_start_time=row.started,
            replay_end_time=row.ended,
        )
        for row in rows
    ]
    return api.ListReplaysResponse(replays=found, next_token=token)
