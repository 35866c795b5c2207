"""Subscription filters at work: matching events are carried to Lambda, Kinesis, Firehose or a logical destination.

Each filter has a *cursor*, the number (`seq`) of the last event that is dealt with, and while there is something to do one task. The task asks the
archive for what was accepted since, delivers it stream by stream, moves the cursor, and ends when there is nothing left. A delivery that fails
is tried again, later and later; meanwhile events wait in the archive, not in memory, and events older than a day are given up, as AWS does.
The cursor's row is written every few seconds, so after a crash some events are delivered twice, none is missed.

    payload   gzip of {"messageType": "DATA_MESSAGE", "owner", "logGroup", "logStream", "subscriptionFilters", "logEvents": [{"id", "timestamp", "message"}]}

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.named_calls import call_named
from cloudstead.kernel.store import Key as RowKey
from cloudstead.kernel.store import Transaction
from cloudstead.services.logs.archive import Archive
from cloudstead.services.logs.filterpattern import Pattern, compile_pattern
from cloudstead.services.logs.filterpattern.delimited import DelimitedPattern
from cloudstead.services.logs.journal import Accepted
from cloudstead.services.logs.merge import Source
from cloudstead.services.logs.model import (
    CURSORS,
    DESTINATIONS,
    GROUPS,
    STREAMS,
    SUBSCRIPTIONS,
    Cursor,
    Destination,
    LogGroup,
    SubscriptionFilter,
)
from cloudstead.services.logs.runs import LAST, Run, event_id

S = TypeVar("S", bound=Source)

log = logging.getLogger(__name__)

PRINCIPAL = "logs.amazonaws.com"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts
GIVE_UP_MS = 86_400_000
KEEP_CURSOR_SECONDS = 5.0
COLLECT_SECONDS = 0.2  # so long events are gathered before they are delivered together
LARGEST_PAYLOAD = 900_000  # bytes: a Kinesis record holds a megabyte
_BYTES_AT_ONCE = 2 << 20  # of messages that are gathered for one round


class LogEvent(msgspec.Struct, rename="camel", omit_defaults=True):
    id: str
    timestamp: int
    message: str
    extracted_fields: dict[str, str] | None = None


class Message(msgspec.Struct, rename="camel"):
    message_type: str
    owner: str
    log_group: str
    log_stream: str
    subscription_filters: list[str]
    log_events: list[LogEvent]


def payload(message: Message) -> bytes:
    return gzip.compress(msgspec.json.encode(message), 6, mtime=0)


def control_message(ctx: Context) -> bytes:
    """What AWS sends to a new destination to see whether it takes anything."""
    text = "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."
    event = LogEvent(id="", timestamp=int(ctx.now() * 1000), message=text)
    return payload(Message("CONTROL_MESSAGE", "CloudwatchLogs", "", "", [], [event]))


def target(ctx: Context, destination: str) -> str:
    """The ARN to which a destination leads: its own, or that of the stream behind a logical destination.

    Raises:
        LookupError: there is no such logical destination.
    """
    arn = Arn.parse(destination)
    if arn.service != "logs":
        return destination
    row: Destination | None = ctx.table(DESTINATIONS).get((arn.account, arn.region, arn.name))
    if row is None:
        raise LookupError(destination)
    return row.target


async def send(ctx: Context, destination: str, data: bytes, partition_key: str) -> None:
    """Deliver one payload.

    Raises:
        ServiceError: and whatever else keeps it from arriving.
    """
    arn = Arn.parse(target(ctx, destination))
    there = ctx.replace(account=arn.account, region=arn.region)
    if arn.service == "lambda":
        body = msgspec.json.encode({"awslogs": {"data": base64.b64encode(data).decode("ascii")}})
        await call_named(there, "lambda", "Invoke", {"FunctionName": str(arn), "InvocationType": "Event", "Payload": body})
    elif arn.service == "kinesis":
        name = arn.resource.removeprefix("stream/")
        await call_named(there, "kinesis", "PutRecord", {"StreamName": name, "Data": data, "PartitionKey": partition_key})
    elif arn.service == "firehose":
        name = arn.resource.removeprefix("deliverystream/")
        await call_named(there, "firehose", "PutRecord", {"DeliveryStreamName": name, "Record": {"Data": data}})
    else:
        raise LookupError(destination)


async def probe(ctx: Context, destination: str) -> None:
    """See whether a new destination can be reached: a dry run of a function, a control message to a stream."""
    arn = Arn.parse(target(ctx, destination))
    if arn.service == "lambda":
        there = ctx.replace(account=arn.account, region=arn.region)
        await call_named(there, "lambda", "Invoke", {"FunctionName": str(arn), "InvocationType": "DryRun", "Payload": b"{}"})
    else:
        await send(ctx, destination, control_message(ctx), hex_digits(32))


class _Worker:
    """One filter's delivery."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.kept = seq  # as in the row
        self.task: asyncio.Task[None] | None = None
        self.again = False


class Deliveries:
    """The deliveries of all subscription filters."""

    def __init__(self, cloud: Cloud, archive: Archive) -> None:
        self._cloud = cloud
        self._archive = archive
        self._workers: dict[RowKey, _Worker] = {}
        self._of_group: dict[int, tuple[RowKey, ...]] = {}
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        for row in self._cloud.store.table(SUBSCRIPTIONS).scan():
            self._wake(SUBSCRIPTIONS.key(row))

    async def stop(self) -> None:
        tasks = [worker.task for worker in self._workers.values() if worker.task is not None]
        if self._keeper is not None:
            tasks.append(self._keeper)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keep()

    def accepted(self, events: Sequence[Accepted]) -> None:
        """Listens to the archive."""
        for group in {each.batch.group for each in events}:
            for key in self._filters(group):
                self._wake(key)

    def changed(self, group: int) -> None:
        """Filters of the group were put or deleted, or the group was."""
        self._of_group.pop(group, None)

    def begin(self, tx: Transaction, group: int, key: RowKey) -> None:
        """A new filter is put: it delivers what is accepted from now on, also when it comes to that only after a restart."""
        self.changed(group)
        self._workers[key] = _Worker(self._archive.last_seq)
        tx.put(CURSORS, _cursor(key, self._archive.last_seq))

    def end(self, group: int, key: RowKey) -> None:
        """A filter was deleted."""
        self.changed(group)
        self._end(key)

    def end_all(self, group: LogGroup) -> None:
        """A group was deleted, with its filters."""
        self.changed(group.uid)
        for key in [key for key in self._workers if key[:3] == GROUPS.key(group)]:
            self._end(key)

    def _end(self, key: RowKey) -> None:
        worker = self._workers.pop(key, None)
        if worker is not None and worker.task is not None:
            worker.task.cancel()

    def delivered(self, group: int) -> int:
        """Up to which event all filters of the group are done."""
        return min((self._worker(key).seq for key in self._filters(group)), default=LAST[1])

    def _filters(self, group: int) -> tuple[RowKey, ...]:
        known = self._of_group.get(group)
        if known is None:
            row: LogGroup | None = self._cloud.store.table(GROUPS).find("by_uid", (group,))
            known = ()
            if row is not None:
                found = self._cloud.store.table(SUBSCRIPTIONS).scan((row.account, row.region, row.name))
                known = tuple(SUBSCRIPTIONS.key(each) for each in found)
            self._of_group[group] = known
        return known

    def _worker(self, key: RowKey) -> _Worker:
        worker = self._workers.get(key)
        if worker is None:
            row = self._cloud.store.table(CURSORS).get(key)
            worker = self._workers[key] = _Worker(self._archive.last_seq if row is None else row.seq)
        return worker

    def _wake(self, key: RowKey) -> None:
        worker = self._worker(key)
        worker.again = True
        if worker.task is None or worker.task.done():
            worker.task = asyncio.create_task(self._work(key, worker), name=f"logs-deliver-{key[-1]}")

    async def _work(self, key: RowKey, worker: _Worker) -> None:
        pause = FIRST_PAUSE
        while worker.again:
            worker.again = False
            await self._cloud.clock.sleep(COLLECT_SECONDS)
            row = self._cloud.store.table(SUBSCRIPTIONS).get(key)
            group = self._cloud.store.table(GROUPS).get(key[:3])
            if row is None or group is None:
                return
            try:
                await self._round(row, group, worker)
                pause = FIRST_PAUSE
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it is: a destination that is away must not lose events
                log.warning("Subscription filter %s of %s cannot deliver, next attempt in %.0f s: %r", row.name, row.group, pause, error)
                await self._cloud.clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                worker.again = True

    async def _round(self, row: SubscriptionFilter, group: LogGroup, worker: _Worker) -> None:
        """Deliver what was accepted since the cursor. Sorted blocks hold events of any number, so the cursor moves when all of them are done."""
        sorted_blocks, fresh = await self._archive.since(group.uid, worker.seq)
        for blocks in _portions(sorted_blocks, lambda source: source.block.size):
            await self._deliver(row, group, worker.seq, blocks)
        if sorted_blocks:
            self._advance(worker, max(worker.seq, *(source.block.high_seq for source in sorted_blocks)))
        for batches in _portions(fresh, lambda batch: batch.size):
            await self._deliver(row, group, worker.seq, batches)
            self._advance(worker, batches[-1].last_seq)

    async def _deliver(self, row: SubscriptionFilter, group: LogGroup, done: int, sources: Sequence[Source]) -> None:
        """Deliver the matching events after `done` of some runs, stream by stream."""
        ctx = self._cloud.service_context(PRINCIPAL, row.account, row.region)
        pattern = compile_pattern(row.pattern) if row.pattern.strip() else None
        too_old = int(ctx.now() * 1000) - GIVE_UP_MS
        by_stream = await self._archive.work(_matching, sources, pattern, done, too_old)
        for uid, events in by_stream.items():
            stream = ctx.table(STREAMS).find("by_uid", (uid,))
            if stream is not None:
                await self._send(ctx, row, Message("DATA_MESSAGE", group.account, group.name, stream.name, [row.name], events))

    async def _send(self, ctx: Context, row: SubscriptionFilter, message: Message) -> None:
        data = await self._archive.work(payload, message)
        events = message.log_events
        if len(data) > LARGEST_PAYLOAD and len(events) > 1:
            for half in (events[: len(events) // 2], events[len(events) // 2 :]):
                await self._send(ctx, row, msgspec.structs.replace(message, log_events=half))
            return
        partition_key = message.log_stream[:256] if row.distribution == "ByLogStream" else hex_digits(32)
        await send(ctx, row.destination, data, partition_key)

    def _advance(self, worker: _Worker, seq: int) -> None:
        worker.seq = seq
        self._keep_later()

    def _keep_later(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_soon(), name="logs-cursors")

    async def _keep_soon(self) -> None:
        await self._cloud.clock.sleep(KEEP_CURSOR_SECONDS)
        self._keep()

    def _keep(self) -> None:
        """Write down how far the deliveries are."""
        moved = [(key, worker) for key, worker in self._workers.items() if worker.seq != worker.kept]
        if not moved:
            return
        view: Any = self._cloud.store.table(SUBSCRIPTIONS)
        with self._cloud.store.transaction() as tx:
            for key, worker in moved:
                if key in view:
                    tx.put(CURSORS, _cursor(key, worker.seq))
                worker.kept = worker.seq


def _cursor(key: RowKey, seq: int) -> Cursor:
    account, region, group, name = key
    return Cursor(account=account, region=region, group=group, name=name, seq=seq)


def _portions(sources: Sequence[S], size: Callable[[S], int]) -> Iterator[list[S]]:
    """The same in order, so many bytes at once."""
    portion: list[S] = []
    total = 0
    for source in sources:
        portion.append(source)
        total += size(source)
        if total >= _BYTES_AT_ONCE:
            yield portion
            portion, total = [], 0
    if portion:
        yield portion


def _matching(sources: Sequence[Source], pattern: Pattern | None, done: int, too_old: int) -> dict[int, list[LogEvent]]:
    """The events to deliver, by stream. Runs in a thread: it reads files and may match for long."""
    found: dict[int, list[LogEvent]] = {}
    for source in sources:
        run = source.open()
        if not isinstance(run, Run):
            continue
        for i in range(len(run.stamps)):
            if run.seqs[i] > done and run.ingested[i] >= too_old and (event := _event(pattern, run, i)) is not None:
                found.setdefault(run.stream, []).append(event)
    return found


def _event(pattern: Pattern | None, run: Run, i: int) -> LogEvent | None:
    message = run.message(i)
    fields: dict[str, str] | None = None
    if isinstance(pattern, DelimitedPattern):
        extracted = pattern.extract(message)
        if extracted is None:
            return None
        fields = {name.removeprefix("$"): value for name, value in extracted.items()}
    elif pattern is not None and not pattern.matches(message):
        return None
    return LogEvent(event_id(run.key(i)), run.stamps[i], message.decode("utf-8", "replace"), fields)
