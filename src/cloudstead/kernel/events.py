"""The bus: what happened, told to whoever wants to know, once it is certain.

An event is written in the transaction that caused it (`tx.emit`) and delivered when that transaction is durable; if it is undone, nobody hears
of it. Every subscriber has its own queue, worked off one event at a time in the order of the transactions, so a slow or failing one holds up
nobody else.

    live      hears what happens from now on; what is in its queue when the process ends is lost
    durable   hears every event since its first subscription, at least once, also across restarts

For the durable ones an event also becomes a row of the outbox, with the names of those who have yet to take it; the row goes when the last has.
The names are rows too: an event emitted before a subscriber of an earlier run is back is kept for it.

A callback that raises is called again after a while, longer each time. An event that failed five times goes to the end of the queue, so that one
bad event does not hold up the others for ever.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from cloudstead.kernel.clock import Clock
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.store import Key, Row, Store, Table, Transaction

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context

log = logging.getLogger(__name__)

LIVE_QUEUE = 10_000  # events a live subscriber may be behind; the oldest are dropped
TURN = 5  # attempts before an event goes to the end of the queue
LONGEST_PAUSE = 60.0  # seconds between attempts


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html"""

    id: str = msgspec.field(default_factory=uuid4)
    time: float  # seconds since the epoch
    source: str  # "aws.ecs"
    detail_type: str  # "ECS Task State Change"
    detail: dict[str, Any]  # only what JSON can say
    account: str
    region: str
    resources: tuple[str, ...] = ()  # ARNs


def event(ctx: Context, source: str, detail_type: str, detail: dict[str, Any], resources: Iterable[str] = ()) -> Event:
    """An event that happens now, in the account and region of a context."""
    return Event(
        time=ctx.now(),
        source=source,
        detail_type=detail_type,
        detail=detail,
        account=ctx.account,
        region=ctx.region,
        resources=tuple(resources),
    )


class Subscription(Row, frozen=True, kw_only=True):
    """A durable subscriber, there or not."""

    name: str


class Outgoing(Row, frozen=True, kw_only=True):
    """An event that durable subscribers have yet to take."""

    sequence: int
    event: Event
    pending: tuple[str, ...]


SUBSCRIPTIONS = Table("kernel.subscriptions", Subscription, key=lambda row: (row.name,))
OUTBOX = Table("kernel.outbox", Outgoing, key=lambda row: _key(row.sequence))

Callback: TypeAlias = Callable[[Event], Awaitable[object] | object]


def _key(sequence: int) -> Key:
    return (f"{sequence:020d}",)


class _Subscriber:
    __slots__ = ("callback", "durable", "failures", "missed", "name", "queue", "task", "tried")

    def __init__(self, name: str, callback: Callback, durable: bool) -> None:
        self.name = name
        self.callback = callback
        self.durable = durable
        self.queue: deque[tuple[Event, str]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.failures = 0  # in a row, whatever the event
        self.tried = 0  # of the first event in the queue
        self.missed = 0


class Bus:
    """The one bus of a cloud; becomes the store's emitter. One to a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._subscribers: dict[str, _Subscriber] = {}
        self._closed = False
        rows = store.table(OUTBOX).scan()
        self._last = rows[-1].sequence if rows else 0  # the last that was emitted
        self._told = self._last  # the last that is durable
        self._names = tuple(row.name for row in store.table(SUBSCRIPTIONS).scan())
        store.emitter = self

    # ── for those who tell ───────────────────────────────────────────────────────────────────────────────────────

    def publish(self, event: Event) -> None:
        """Emit an event: in the transaction whose block we are in, if any, else in one of its own."""
        if self._store.current is not None:
            self._store.current.emit(event)
        else:
            with self._store.transaction() as tx:
                tx.emit(event)

    # ── for those who hear ───────────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, name: str, callback: Callback, *, durable: bool = False) -> Callable[[], None]:
        """Have every event given to a callback, plain or async, one after the other.

        Args:
            name: of the subscriber, unique; a durable one is known by it across restarts.

        Returns:
            what ends it; for a durable subscriber events are kept nevertheless, until `forget`.
        """
        if name in self._subscribers:
            raise ValueError(f"{name} has subscribed already")
        subscriber = self._subscribers[name] = _Subscriber(name, callback, durable)
        if durable:
            if name in self._names:
                backlog = self._store.table(OUTBOX).scan(stop=_key(self._told + 1))
                subscriber.queue.extend((row.event, _key(row.sequence)[0]) for row in backlog if name in row.pending)
            else:
                with self._store.transaction() as tx:
                    tx.put(SUBSCRIPTIONS, Subscription(name=name))
                self._names = (*self._names, name)
            self._wake(subscriber)

        def end() -> None:
            if self._subscribers.get(name) is subscriber:
                del self._subscribers[name]
                if subscriber.task is not None:
                    subscriber.task.cancel()

        return end

    def forget(self, name: str) -> None:
        """Keep no more events for a durable subscriber; call this after ending its subscription."""
        self._names = tuple(known for known in self._names if known != name)
        with self._store.transaction() as tx:
            tx.delete(SUBSCRIPTIONS, (name,))
            for row in self._store.table(OUTBOX).scan():
                self._take(tx, row, name)

    async def idle(self) -> None:
        """Return when every event so far was taken (or failed and waits to be tried again). For tests and for a clean stop."""
        while True:
            await self._store.settled()
            busy = [one.task for one in self._subscribers.values() if one.task is not None and not one.failures]
            if not busy:
                return
            await asyncio.wait(busy, timeout=0.05)

    async def close(self) -> None:
        """Call no subscriber any more. What the durable ones have not taken they get after the restart."""
        self._closed = True
        tasks = [one.task for one in self._subscribers.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── for the store ────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, tx: Transaction, event: Event) -> str:
        """Within the transaction: keep the event for the durable subscribers."""
        if not self._names:
            return ""
        self._last += 1
        tx.insert(OUTBOX, Outgoing(sequence=self._last, event=event, pending=self._names))
        return _key(self._last)[0]

    def deliver(self, events: list[tuple[Event, str]]) -> None:
        """After the transaction: into the queues."""
        for event, kept in events:
            if kept:
                self._told = int(kept)
            for subscriber in self._subscribers.values():
                if subscriber.durable and not kept:
                    continue
                subscriber.queue.append((event, kept if subscriber.durable else ""))
                if not subscriber.durable and len(subscriber.queue) > LIVE_QUEUE:
                    self._drop(subscriber)
                self._wake(subscriber)

    # ── one subscriber ───────────────────────────────────────────────────────────────────────────────────────────

    def _wake(self, subscriber: _Subscriber) -> None:
        if subscriber.task is None and subscriber.queue and not self._closed:
            subscriber.task = asyncio.get_running_loop().create_task(self._serve(subscriber), name=f"events for {subscriber.name}")

    async def _serve(self, subscriber: _Subscriber) -> None:
        try:
            while subscriber.queue:
                event, kept = subscriber.queue[0]
                try:
                    taken = subscriber.callback(event)
                    if inspect.isawaitable(taken):
                        await taken
                except Exception:
                    await self._pause(subscriber, event)
                    continue
                subscriber.failures = subscriber.tried = 0
                # A queue that ran over while the callback was busy has lost its first event already.
                if subscriber.queue and subscriber.queue[0][0] is event:
                    subscriber.queue.popleft()
                if kept:
                    self._taken(subscriber.name, kept)
        finally:
            subscriber.task = None

    async def _pause(self, subscriber: _Subscriber, event: Event) -> None:
        subscriber.failures += 1
        subscriber.tried += 1
        pause = min(LONGEST_PAUSE, 2.0 ** min(subscriber.failures - 1, 10))
        log.exception("%s failed on event %s of %s, trying again in %g s", subscriber.name, event.id, event.source, pause)
        if subscriber.tried >= TURN:
            subscriber.tried = 0
            subscriber.queue.rotate(-1)
        await self._clock.sleep(pause)

    def _taken(self, name: str, sequence: str) -> None:
        row = self._store.table(OUTBOX).get((sequence,))
        if row is not None:
            with self._store.transaction() as tx:
                self._take(tx, row, name)

    @staticmethod
    def _take(tx: Transaction, row: Outgoing, name: str) -> None:
        pending = tuple(one for one in row.pending if one != name)
        if not pending:
            tx.delete(OUTBOX, _key(row.sequence))
        elif pending != row.pending:
            tx.update(OUTBOX, row, pending=pending)

    @staticmethod
    def _drop(subscriber: _Subscriber) -> None:
        subscriber.queue.popleft()
        subscriber.missed += 1
        if subscriber.missed % 1000 == 1:
            log.warning("%s is too slow: %d events were not told to it", subscriber.name, subscriber.missed)
