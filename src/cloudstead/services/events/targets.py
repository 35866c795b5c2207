"""The kinds of targets: one short function each, which delivers an event or raises.

A new kind is a function and an entry in `KINDS`. What is not there is refused by PutTargets.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from cloudstead.kernel import identity as identities
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.named_calls import call_named
from cloudstead.services.events.arns import bus_arn, policy_of
from cloudstead.services.events.envelope import Envelope
from cloudstead.services.events.failures import Undelivered
from cloudstead.services.events.http_targets import call_api_destination
from cloudstead.services.events.model import BUSES, DEFAULT_BUS, Rule, Target
from cloudstead.services.events.routing import MAX_HOPS
from cloudstead.services.events.transform import MISSING, path, value_at

OLDEST, NEWEST = 13.9 * 86_400, 2 * 3600.0  # seconds; what CloudWatch Logs takes, which is 14 days


class Invocation(msgspec.Struct, frozen=True):
    """One event for one target."""

    ctx: Context  # in the account and region of the target, as EventBridge or as the target's role
    arn: Arn
    target: Target
    rule: Rule
    event: Envelope
    payload: str
    id: str  # the same at each attempt
    hops: int


Deliver: TypeAlias = Callable[[Invocation], Awaitable[None]]


class Kind(msgspec.Struct, frozen=True):
    """What there is to know of a kind of target."""

    deliver: Deliver
    needs_role: bool = False
    whole_event: bool = False  # takes no Input, InputPath or InputTransformer
    parameters: str = ""  # the member of the request that is its own


async def to_log_group(call: Invocation) -> None:
    """One log event; the stream is the target's own and made when it is needed."""
    from cloudstead.services.logs import api as logs  # the daemon starts without it

    group = call.arn.name.removesuffix(":*")
    stream = f"{call.rule.name}/{call.target.id}"
    stamp, message = call.event.time, call.payload
    if call.target.input_template is not None:
        stamp, message = _log_event(call, stamp)
    now = call.ctx.now()
    if not now - OLDEST < stamp < now + NEWEST:
        stamp = now
    event = logs.InputLogEvent(timestamp=int(stamp * 1000), message=message or " ")
    request = logs.PutLogEventsRequest(log_group_name=group, log_stream_name=stream, log_events=[event])
    try:
        await call.ctx.call(request)
    except logs.ResourceNotFoundException:
        with contextlib.suppress(logs.ResourceAlreadyExistsException):  # another event was here first
            await call.ctx.call(logs.CreateLogStreamRequest(log_group_name=group, log_stream_name=stream))
        await call.ctx.call(request)


def _log_event(call: Invocation, stamp: float) -> tuple[float, str]:
    """A template for a log group makes {"timestamp": milliseconds or ISO time, "message": text}; any other is the message itself."""
    try:
        made = msgspec.json.decode(call.payload)
    except ValueError:
        return stamp, call.payload
    if not isinstance(made, dict) or "message" not in made or made.keys() - {"timestamp", "message"}:
        return stamp, call.payload
    given, message = made.get("timestamp"), made["message"]
    if isinstance(given, int) and not isinstance(given, bool):
        stamp = given / 1000
    return stamp, message if isinstance(message, str) else json.dumps(message)


async def to_queue(call: Invocation) -> None:
    await send_message(call.ctx, call.arn, call.payload, **_fifo(call.target))


def _fifo(target: Target) -> dict[str, str]:
    group = target.parameters.get("SqsParameters", {}).get("MessageGroupId")
    return {"MessageGroupId": group} if group else {}


async def send_message(ctx: Context, arn: Arn, body: str, **more: object) -> None:
    """Put a message into a queue of SQS."""
    parameters = {"QueueUrl": f"{ctx.cloud.endpoint}/{arn.account}/{arn.resource}", "MessageBody": body, **more}
    await call_named(ctx, "sqs", "SendMessage", parameters, resource=str(arn))


async def to_topic(call: Invocation) -> None:
    await call_named(call.ctx, "sns", "Publish", {"TopicArn": str(call.arn), "Message": call.payload}, resource=str(call.arn))


async def to_stream(call: Invocation) -> None:
    """By default the event's id decides on the shard."""
    key = call.event.id
    if chosen := call.target.parameters.get("KinesisParameters", {}).get("PartitionKeyPath"):
        found = value_at(call.event.document, path(chosen))
        if found is not MISSING:
            key = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    parameters = {"StreamName": call.arn.name, "Data": call.payload.encode(), "PartitionKey": key[:256] or call.event.id}
    await call_named(call.ctx, "kinesis", "PutRecord", parameters, resource=str(call.arn))


async def to_delivery_stream(call: Invocation) -> None:
    parameters = {"DeliveryStreamName": call.arn.name, "Record": {"Data": call.payload.encode()}}
    await call_named(call.ctx, "firehose", "PutRecord", parameters, resource=str(call.arn))


async def to_state_machine(call: Invocation) -> None:
    """The name makes a second attempt harmless."""
    parameters = {"stateMachineArn": str(call.arn), "name": f"{call.event.id}_{call.id}"[:80], "input": call.payload}
    await call_named(call.ctx, "states", "StartExecution", parameters, resource=str(call.arn))


async def to_bus(call: Invocation) -> None:
    """The event itself, once more, on another bus; one of another account must have let us in."""
    key = (call.arn.account, call.arn.region, call.arn.name)
    own = call.rule.account
    if call.hops >= MAX_HOPS:
        raise Undelivered("CROSS_ACCOUNT_INGESTION_FAILED", "The event went round from bus to bus too often.", again=False)
    if call.arn.account != own and call.event.document["account"] != own:
        raise Undelivered("THIRD_ACCOUNT_HOP_DETECTED", "Events of another account are not sent on to a third.", again=False)
    if call.arn.name != DEFAULT_BUS and call.ctx.table(BUSES).get(key) is None:
        raise Undelivered("NO_RESOURCE", f"Event bus {call.arn.name} does not exist.", again=False)
    if call.arn.account != own:
        sender = call.ctx.identity if not call.ctx.identity.is_service else identities.root(own)
        conditions = {
            "events:source": call.event.document["source"],
            "events:detail-type": call.event.document["detail-type"],
            "events:eventBusInvocation": "true",
        }
        call.ctx.replace(identity=sender, account=own).admit("events:PutEvents", bus_arn(key), policy_of(call.ctx, key), conditions)
    elif not call.ctx.identity.is_service:
        call.ctx.require("events:PutEvents", bus_arn(key))
    call.ctx.cloud.parts["events"].router.accept(key, call.event, call.ctx.now(), hops=call.hops + 1)


async def to_api_destination(call: Invocation) -> None:
    await call_api_destination(call.ctx, call.arn, call.target, call.event, call.payload)


KINDS: dict[str, Kind] = {
    "events:event-bus": Kind(to_bus, whole_event=True),
    "events:api-destination": Kind(to_api_destination, parameters="HttpParameters"),
    "logs:log-group": Kind(to_log_group),
    "sqs": Kind(to_queue, parameters="SqsParameters"),
    "sns": Kind(to_topic),
    "kinesis:stream": Kind(to_stream, parameters="KinesisParameters", needs_role=True),
    "firehose:deliverystream": Kind(to_delivery_stream, needs_role=True),
    "states:stateMachine": Kind(to_state_machine, needs_role=True),
}


def kind_of(arn: Arn) -> Kind | None:
    """The kind of what an ARN names; None when nothing can be delivered there."""
    return KINDS.get(f"{arn.service}:{arn.kind}") or (KINDS.get(arn.service) if not arn.kind else None)


async def deliver(call: Invocation) -> None:
    """
    Raises:
        Exception: of any kind; `failures.understood` knows what it means.
    """
    kind = kind_of(call.arn)
    if kind is None:
        raise Undelivered("SDK_CLIENT_ERROR", f"Nothing can be delivered to {call.arn}.", again=False)
    await kind.deliver(call)


__all__ = ["KINDS", "Invocation", "Kind", "deliver", "kind_of", "send_message"]
