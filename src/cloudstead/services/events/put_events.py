"""Events: put them, and try a pattern on one."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.operations import operation
from cloudstead.services.events import api, arns, rules
from cloudstead.services.events.arns import BusKey
from cloudstead.services.events.controller import part
from cloudstead.services.events.envelope import Envelope, MalformedDetail, seal
from cloudstead.services.events.model import BUSES, DEFAULT_BUS
from cloudstead.services.events.routing import Wanted, compiled

LARGEST = 1_048_576  # bytes of all entries together; 256 KB before 2026
_NEEDED = ("id", "account", "source", "time", "region", "resources", "detail-type")


class Refused(Exception):
    """An entry cannot be taken."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@operation(resource=arns.entries, conditions=arns.entry_conditions, resource_policy=arns.entry_policy)
async def put_events(ctx: Context, request: api.PutEventsRequest) -> api.PutEventsResponse:
    """Send events to buses; each entry is taken or refused for itself.

    What rules and archives want is written in one transaction, which is durable before the answer. What nobody wants is not written at all.
    """
    if request.endpoint_id is not None:
        raise api.ResourceNotFoundException(f"Endpoint {request.endpoint_id} does not exist.")
    if sum(map(_size, request.entries)) > LARGEST:
        raise ValidationFailed("Total size of the entries in the request is over the limit.")
    now = ctx.now()
    router = part(ctx).router
    results: list[api.PutEventsResultEntry] = []
    taken: list[tuple[Envelope, Wanted]] = []
    for entry in request.entries:
        bus = arns.bus_key(ctx, entry.event_bus_name)
        try:
            event = _event(ctx, entry, now)
        except Refused as refused:
            results.append(api.PutEventsResultEntry(error_code=refused.code, error_message=str(refused)))
            continue
        results.append(api.PutEventsResultEntry(event_id=event.id))
        if _there(ctx, bus) and (wanted := router.wanting(bus, event)):
            taken.append((event, wanted))
    if taken:
        with ctx.transaction() as tx:
            for event, wanted in taken:
                router.write(tx, wanted, event, now)
    return api.PutEventsResponse(failed_entry_count=sum(one.error_code is not None for one in results), entries=results)


def _there(ctx: Context, bus: BusKey) -> bool:
    """Events for a bus that is not there are accepted and gone, as in AWS."""
    return bus[2] == DEFAULT_BUS or bus in ctx.table(BUSES)


def _size(entry: api.PutEventsRequestEntry) -> int:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size"""
    texts = (entry.source, entry.detail_type, entry.detail, *(entry.resources or ()))
    return sum(len(text.encode()) for text in texts if text) + (0 if entry.time is None else 14)


def _event(ctx: Context, entry: api.PutEventsRequestEntry, now: float) -> Envelope:
    """The event that an entry describes.

    Raises:
        Refused
    """
    source, detail_type, detail = entry.source, entry.detail_type, entry.detail
    if not source:
        raise Refused("InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument.")
    if not detail_type:
        raise Refused("InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument.")
    if not detail:
        raise Refused("InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument.")
    if source.startswith("aws.") and not ctx.identity.is_service:
        raise Refused("NotAuthorizedForSourceException", "Not authorized for the source.")
    try:
        return seal(
            id=uuid4(),
            detail_type=detail_type,
            source=source,
            account=ctx.account,
            time=now if entry.time is None else entry.time,
            region=ctx.region,
            resources=entry.resources or (),
            detail=detail,
        )
    except MalformedDetail:
        raise Refused("MalformedDetail", "Detail is malformed.") from None


@operation(resource="*")
async def test_event_pattern(ctx: Context, request: api.TestEventPatternRequest) -> api.TestEventPatternResponse:
    """Whether a pattern wants an event."""
    rules.check_pattern(request.event_pattern)
    try:
        event: Any = msgspec.json.decode(request.event)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise ValidationFailed("Parameter Event is not valid.")
    for name in _NEEDED:
        if name not in event:
            raise ValidationFailed(f"Parameter Event is not valid. Reason: {name} is a required field.")
    return api.TestEventPatternResponse(result=compiled(request.event_pattern).matches(event))
