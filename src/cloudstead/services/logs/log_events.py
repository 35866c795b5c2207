"""Log events: put, get, filter, one by its pointer."""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import InvalidToken, decode, encode, scope_of, secret
from cloudstead.services.logs import api, arns, groups, streams
from cloudstead.services.logs.archive import EVENT_OVERHEAD, PAGE_EVENTS
from cloudstead.services.logs.controller import part
from cloudstead.services.logs.filterpattern import InvalidPattern, Pattern, compile_pattern
from cloudstead.services.logs.model import GROUPS, STREAMS, LogGroup, LogStream
from cloudstead.services.logs.runs import FIRST, LAST, LATEST_ID, Entry, Key, event_id, key_of, pointed, pointer

LARGEST_BATCH = 1_048_576  # bytes, with the overhead of each event
LARGEST_EVENT = 1_048_576 - EVENT_OVERHEAD
HOUR, DAY = 3_600_000, 86_400_000  # ms
LONGEST_SPAN = DAY
OLDEST = 14 * DAY
NEWEST = 2 * HOUR


@operation(resource=arns.stream, resource_tags=arns.group_tags, resource_policy=arns.account_policies)
async def put_log_events(ctx: Context, request: api.PutLogEventsRequest) -> api.PutLogEventsResponse:
    """Accept a batch of events; answered when they are on disk."""
    group = groups.require(ctx, request.log_group_name)
    stream = streams.require(ctx, group.name, request.log_stream_name)
    now = groups.milliseconds(ctx)
    stamps = [event.timestamp for event in request.log_events]
    messages = [event.message.encode("utf-8", "replace") for event in request.log_events]
    check_batch(stamps, messages)
    start, stop, rejected = acceptable(stamps, now, group.retention_in_days)
    if start < stop:
        if stamps[stop - 1] - stamps[start] > LONGEST_SPAN:
            raise api.InvalidParameterException("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
        try:
            await part(ctx).archive.append(group.uid, stream.uid, now, stamps[start:stop], messages[start:stop])
        except OSError:
            raise api.ServiceUnavailableException("The log events could not be written to disk.") from None
    return api.PutLogEventsResponse(
        next_sequence_token=streams.sequence_token(part(ctx).archive.count(group.uid, stream.uid)),
        rejected_log_events_info=rejected,
        rejected_entity_info=None if request.entity is None else api.RejectedEntityInfo(error_type="UnsupportedLogGroupType"),
    )


def check_batch(stamps: list[int], messages: Sequence[bytes]) -> None:
    """Refuse a batch that AWS refuses as a whole."""
    if not stamps:
        raise api.InvalidParameterException(
            "1 validation error detected: Value '[]' at 'logEvents' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        )
    if len(stamps) > PAGE_EVENTS:
        raise api.InvalidParameterException("A single PutLogEvents request can contain at most 10000 log events.")
    size = sum(map(len, messages)) + EVENT_OVERHEAD * len(messages)
    if size > LARGEST_BATCH:
        largest = max(map(len, messages))
        if largest > LARGEST_EVENT:
            raise api.InvalidParameterException(f"Log event too large: {largest + EVENT_OVERHEAD} bytes exceeds limit of {LARGEST_BATCH}")
        raise api.InvalidParameterException(f"Upload too large: {size} bytes exceeds limit of {LARGEST_BATCH}")
    if stamps != sorted(stamps):
        raise api.InvalidParameterException("Log events in a single PutLogEvents request must be in chronological order.")


def acceptable(stamps: Sequence[int], now: int, retention_in_days: int | None) -> tuple[int, int, api.RejectedLogEventsInfo | None]:
    """Which of the events [start, stop) are neither too old nor too new, and what is said of the others."""
    expired = 0 if retention_in_days is None else bisect_left(stamps, now - retention_in_days * DAY)
    old = bisect_left(stamps, now - OLDEST)
    new = bisect_right(stamps, now + NEWEST)
    start = max(expired, old)
    if not start and new == len(stamps):
        return 0, new, None
    info = api.RejectedLogEventsInfo(
        too_new_log_event_start_index=new if new < len(stamps) else None,
        too_old_log_event_end_index=old or None,
        expired_log_event_end_index=expired if expired > old else None,
    )
    return start, new, info


def bounds(ctx: Context, group: LogGroup, start_time: int | None, end_time: int | None) -> tuple[Key, Key]:
    """The keys between which (both exclusive) the events of [start, end) lie that have not expired."""
    start = start_time or 0
    if group.retention_in_days is not None:
        start = max(start, groups.milliseconds(ctx) - group.retention_in_days * DAY)
    after = (start - 1, LAST[1]) if start > 0 else FIRST
    return after, (end_time, 0) if end_time is not None else LAST


@operation(resource=arns.stream, resource_tags=arns.group_tags)
async def get_log_events(ctx: Context, request: api.GetLogEventsRequest) -> api.GetLogEventsResponse:
    """A page of one stream; forward and backward tokens lead on, and at an end lead back to themselves."""
    group = groups.of_request(ctx, request)
    groups.standard_only(group, "GetLogEvents")
    stream = streams.require(ctx, group.name, request.log_stream_name)
    if request.unmask:
        groups.refuse("unmask, because data protection")
    start, end = request.start_time, request.end_time
    if start is not None and end is not None and start > end:
        raise api.InvalidParameterException("startTime cannot be greater than endTime.")
    after, before = bounds(ctx, group, start, end)
    descending = not request.start_from_head
    position: Key | None = None
    if request.next_token is not None:
        descending, position = read_token(request.next_token)
        if descending:
            before = min(before, position)
        else:
            after = max(after, position)
    found = await part(ctx).archive.read(
        group.uid, frozenset((stream.uid,)), after=after, before=before, descending=descending, limit=request.limit or PAGE_EVENTS
    )
    entries = found.entries[::-1] if descending else found.entries
    forward, backward = _tokens(entries, position, after)
    return api.GetLogEventsResponse(
        events=[
            api.OutputLogEvent(timestamp=entry.timestamp, message=entry.message.decode("utf-8", "replace"), ingestion_time=entry.ingested)
            for entry in entries
        ],
        next_forward_token=forward,
        next_backward_token=backward,
    )


def _tokens(entries: Sequence[Entry], position: Key | None, after: Key) -> tuple[str, str]:
    """Where to go on forward and backward. After an empty page: from where this one was asked for."""
    if entries:
        return f"f/{event_id(entries[-1].key)}/s", f"b/{event_id(entries[0].key)}/s"
    here = position if position is not None else min((max(after[0], 0), 0), LATEST_ID)
    return f"f/{event_id(here)}/s", f"b/{event_id(here)}/s"


def read_token(token: str) -> tuple[bool, Key]:
    """Whether a token leads backward, and from where.

    Raises:
        InvalidParameterException
    """
    parts = token.split("/")
    try:
        if len(parts) != 3 or parts[0] not in ("f", "b") or parts[2] != "s":
            raise ValueError
        return parts[0] == "b", key_of(parts[1])
    except ValueError:
        raise groups.invalid_token() from None


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def filter_log_events(ctx: Context, request: api.FilterLogEventsRequest) -> api.FilterLogEventsResponse:
    """Events of all or some streams of a group in the order of time, of those that a pattern matches."""
    group = groups.of_request(ctx, request)
    groups.standard_only(group, "FilterLogEvents")
    if request.unmask:
        groups.refuse("unmask, because data protection")
    if request.start_time is not None and request.end_time is not None and request.start_time > request.end_time:
        raise api.InvalidParameterException("startTime cannot be greater than endTime.")
    wanted = _wanted_streams(ctx, group, request)
    pattern = pattern_of(request.filter_pattern)
    after, before = bounds(ctx, group, request.start_time, request.end_time)
    descending = request.start_from_head is False
    scope = scope_of(ctx, request)
    if request.next_token is not None:
        try:
            position = decode(secret(ctx.store), scope, request.next_token)
        except InvalidToken:
            raise groups.invalid_token() from None
        if descending:
            before = position
        else:
            after = position
    found = await part(ctx).archive.read(
        group.uid,
        wanted,
        after=after,
        before=before,
        descending=descending,
        limit=request.limit or PAGE_EVENTS,
        test=None if pattern is None else pattern.matches,
        needle=b"" if pattern is None else pattern.needle,
    )
    return api.FilterLogEventsResponse(
        events=[
            api.FilteredLogEvent(
                log_stream_name=name,
                timestamp=entry.timestamp,
                message=entry.message.decode("utf-8", "replace"),
                ingestion_time=entry.ingested,
                event_id=event_id(entry.key),
            )
            for entry, name in named(ctx, found.entries)
        ],
        searched_log_streams=[],  # AWS's answer since 2020
        next_token=encode(secret(ctx.store), scope, found.position) if found.more else None,
    )


def named(ctx: Context, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Entries with the names of their streams, without those whose stream was deleted."""
    view = ctx.table(STREAMS)
    names: dict[int, str | None] = {}
    for uid in {entry.stream for entry in entries}:
        row = view.find("by_uid", (uid,))
        names[uid] = None if row is None else row.name
    return [(entry, name) for entry in entries if (name := names[entry.stream]) is not None]


def _wanted_streams(ctx: Context, group: LogGroup, request: api.FilterLogEventsRequest) -> frozenset[int] | None:
    names, prefix = request.log_stream_names, request.log_stream_name_prefix
    if names is not None and prefix is not None:
        raise api.InvalidParameterException("logStreamNamePrefix and logStreamNames are mutually exclusive parameters.")
    if names is not None:
        return frozenset(streams.require(ctx, group.name, name).uid for name in names)
    if prefix is not None:
        return frozenset(stream.uid for stream in streams.of_group(ctx, group, prefix))
    return None


def pattern_of(text: str | None) -> Pattern | None:
    """The pattern of a request; None when everything matches.

    Raises:
        InvalidParameterException
    """
    if text is None or not text.strip():
        return None
    try:
        return compile_pattern(text)
    except InvalidPattern as error:
        raise api.InvalidParameterException(str(error)) from None


def _pointed(ctx: Context, text: str) -> tuple[LogGroup, LogStream, Key]:
    try:
        group_uid, stream_uid, key = pointed(text)
    except ValueError:
        raise api.InvalidParameterException("The specified log record pointer is invalid.") from None
    group: LogGroup | None = ctx.table(GROUPS).find("by_uid", (group_uid,))
    stream: LogStream | None = ctx.table(STREAMS).find("by_uid", (stream_uid,))
    if group is None or stream is None or (group.account, group.region) != (ctx.account, ctx.region) or stream.group_uid != group_uid:
        raise api.ResourceNotFoundException("The specified log record does not exist.")
    return group, stream, key


def _group_of_pointer(ctx: Context, request: api.GetLogRecordRequest) -> str:
    try:
        return arns.stream_arn(ctx, _pointed(ctx, request.log_record_pointer)[0].name, "")
    except (api.InvalidParameterException, api.ResourceNotFoundException):
        return arns.stream_arn(ctx, "", "")


@operation(resource=_group_of_pointer)
async def get_log_record(ctx: Context, request: api.GetLogRecordRequest) -> api.GetLogRecordResponse:
    """All fields of one event, found by the @ptr of a query's result."""
    if request.unmask:
        groups.refuse("unmask, because data protection")
    group, stream, (timestamp, seq) = _pointed(ctx, request.log_record_pointer)
    found = await part(ctx).archive.read(
        group.uid, frozenset((stream.uid,)), after=(timestamp, seq - 1), before=(timestamp, seq + 1), limit=1
    )
    if not found.entries:
        raise api.ResourceNotFoundException("The specified log record does not exist.")
    return api.GetLogRecordResponse(log_record=record(group, stream.name, found.entries[0]))


def record(group: LogGroup, stream: str, entry: Entry) -> dict[str, str]:
    """The fields of an event as Logs Insights sees them: AWS's own with @, and those of a JSON message by their paths."""
    message = entry.message.decode("utf-8", "replace")
    fields = {
        "@timestamp": str(entry.timestamp),
        "@message": message,
        "@logStream": stream,
        "@log": f"{group.account}:{group.name}",
        "@ingestionTime": str(entry.ingested),
        "@ptr": pointer(group.uid, entry.stream, entry.key),
    }
    if message.startswith("{"):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            _flatten("", msgspec.json.decode(entry.message), fields)
    return fields


def _flatten(path: str, value: object, fields: dict[str, str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{path}.{name}" if path else name, inner, fields)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _flatten(f"{path}.{i}", inner, fields)
    elif value is not None and not path.startswith("@"):
        fields[path] = ("true" if value else "false") if isinstance(value, bool) else str(value)
