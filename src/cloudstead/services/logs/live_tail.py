"""Live Tail: events as they are accepted, once a second."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.operations import operation
from cloudstead.services.logs import api, arns, groups
from cloudstead.services.logs.controller import Logs, part
from cloudstead.services.logs.filterpattern import Pattern
from cloudstead.services.logs.journal import Accepted
from cloudstead.services.logs.log_events import pattern_of
from cloudstead.services.logs.model import STREAMS, LogGroup

UPDATE_SECONDS = 1.0
MOST_EVENTS = 500  # in one update; of more a sample is shown
MOST_WAITING = 5000  # events that are kept for a client that is slow
LONGEST_SECONDS = 3 * 3600.0
MOST_SESSIONS = 15  # of an account in a region


class Session:
    """What one client sees."""

    def __init__(self, ctx: Context, wanted: Sequence[LogGroup], request: api.StartLiveTailRequest, pattern: Pattern | None) -> None:
        self.account, self.region = ctx.account, ctx.region
        self._groups = {group.uid: f"{group.account}:{group.name}" for group in wanted}
        self._names = None if request.log_stream_names is None else frozenset(request.log_stream_names)
        self._prefixes = None if request.log_stream_name_prefixes is None else tuple(request.log_stream_name_prefixes)
        self._pattern = pattern
        self._streams = ctx.table(STREAMS)
        self._waiting: list[api.LiveTailSessionLogEvent] = []
        self._sampled = False

    def accepted(self, events: Sequence[Accepted]) -> None:
        """Listens to the archive."""
        for each in events:
            group = self._groups.get(each.batch.group)
            if group is not None and (stream := self._wanted_stream(each.batch.stream)) is not None:
                self._keep(group, stream, each)

    def _wanted_stream(self, uid: int) -> str | None:
        row = self._streams.find("by_uid", (uid,))
        if row is None:
            return None
        name: str = row.name
        if self._names is not None and name not in self._names:
            return None
        return name if self._prefixes is None or name.startswith(self._prefixes) else None

    def _keep(self, group: str, stream: str, events: Accepted) -> None:
        for stamp, message in zip(events.stamps, events.messages, strict=True):
            if self._pattern is not None and not self._pattern.matches(message):
                continue
            if len(self._waiting) >= MOST_WAITING:
                self._sampled = True
                return
            self._waiting.append(
                api.LiveTailSessionLogEvent(
                    log_group_identifier=group,
                    log_stream_name=stream,
                    message=message.decode("utf-8", "replace"),
                    timestamp=stamp,
                    ingestion_time=events.batch.ingested,
                )
            )

    def update(self) -> api.LiveTailSessionUpdate:
        """What came since the last one."""
        waiting, self._waiting = self._waiting, []
        sampled, self._sampled = self._sampled or len(waiting) > MOST_EVENTS, False
        if len(waiting) > MOST_EVENTS:
            waiting = [waiting[i] for i in sorted(random.sample(range(len(waiting)), MOST_EVENTS))]
        return api.LiveTailSessionUpdate(session_metadata=api.LiveTailSessionMetadata(sampled=sampled), session_results=waiting)


def _groups_of(ctx: Context, request: api.StartLiveTailRequest) -> list[str]:
    return [arns.stream_arn(ctx, arns.name_in(identifier), "") for identifier in request.log_group_identifiers]


@operation(resource=_groups_of)
async def start_live_tail(ctx: Context, request: api.StartLiveTailRequest) -> api.StartLiveTailResponse:
    """Show the events of up to ten groups from now on, for three hours at most."""
    wanted = _require(ctx, request)
    pattern = pattern_of(request.log_event_filter_pattern)
    logs = part(ctx)
    mine = sum((session.account, session.region) == (ctx.account, ctx.region) for session in logs.live)
    if mine >= MOST_SESSIONS:
        raise api.LimitExceededException("The maximum number of concurrent Live Tail sessions has been reached.")
    session = Session(ctx, wanted, request, pattern)
    start = api.LiveTailSessionStart(
        request_id=ctx.request_id,
        session_id=uuid4(),
        log_group_identifiers=request.log_group_identifiers,
        log_stream_names=request.log_stream_names or [],
        log_stream_name_prefixes=request.log_stream_name_prefixes or [],
        log_event_filter_pattern=request.log_event_filter_pattern or "",
    )
    return api.StartLiveTailResponse(response_stream=_stream(ctx, logs, session, start))


def _require(ctx: Context, request: api.StartLiveTailRequest) -> list[LogGroup]:
    if request.log_stream_names is not None and request.log_stream_name_prefixes is not None:
        raise api.InvalidParameterException("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.")
    if len(request.log_group_identifiers) > 1 and (request.log_stream_names is not None or request.log_stream_name_prefixes is not None):
        raise api.InvalidParameterException("Log streams can be specified only when exactly one log group is.")
    if not all(identifier.startswith("arn:") for identifier in request.log_group_identifiers):
        raise api.InvalidParameterException("Log groups must be specified by their ARNs.")
    wanted = [groups.identified(ctx, identifier) for identifier in request.log_group_identifiers]
    for group in wanted:
        groups.standard_only(group, "Live Tail")
    return wanted


async def _stream(
    ctx: Context, logs: Logs, session: Session, start: api.LiveTailSessionStart
) -> AsyncIterator[api.StartLiveTailResponseStream]:
    clock = ctx.cloud.clock
    ends = clock.monotonic() + LONGEST_SECONDS
    logs.live.add(session)
    try:
        yield api.StartLiveTailResponseStream(session_start=start)
        while clock.monotonic() < ends:
            await clock.sleep(UPDATE_SECONDS)
            if ctx.cloud.stopping:
                return
            yield api.StartLiveTailResponseStream(session_update=session.update())
        raise api.SessionTimeoutException("The Live Tail session has timed out.")
    finally:
        logs.live.discard(session)
