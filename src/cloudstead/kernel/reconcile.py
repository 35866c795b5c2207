"""Controllers: they bring what is to what should be.

The mechanism in plain words. A call of the API only writes down what is *desired* (this service has three tasks) and returns. What is
*observed* (two of them run) changes by itself: processes end, machines are lost. For each kind of object one controller sees to it that the
two meet. It does not react to what happened, but looks at how things are: it reads both, compares them, and takes the steps that are
missing. So nothing is lost when a message is lost or the daemon dies halfway; looking once more is always right, and never does harm.

    desired (store) ──┐
                      ├──▶ plan(observed, desired, now) ──▶ Actions(steps, requeue_after)      pure: no waiting, no writing, no randomness
    observed (engine) ┘                                        │
                      ▲                                        ▼
                      └─────────────────────────────────── act(key, step), one after the other

*When* to look is the queue's business; it holds keys, never messages:

- A key is queued when a row changes (`watch`), when somebody says so (`enqueue`), at the start and every `resync` seconds (all keys), after
  `requeue_after` seconds if the plan asked for it, and after a failure. A key that is queued twice is looked at once.
- **At most one worker for a key.** What happens to a key while it is worked on makes it queued again when that worker ends.
- Different keys are worked on in parallel, at most `parallel` at a time, in the order in which they were queued.
- A failure (any exception) is logged and tried again after `backoff.first` seconds, then twice as long each time up to `backoff.cap`, less
  up to a half by chance, so that things which failed together do not come back together. A success forgets the failures.
- A change to a key that waits after a failure brings it forward, but not closer to the failure than `backoff.first`: a user's correction is
  seen soon, while a step that fails and writes its failure into the row that is watched cannot spin.
- `stop` lets the workers finish for some seconds, then cancels them. Afterwards no task, timer or watch is left.

An idle controller has no task: workers are made when there is a key to work on. Ten thousand idle controllers cost no more than their dicts.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from cloudstead.kernel.clock import Clock, Timer

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Key = TypeVar("Key", contravariant=True)
Observed = TypeVar("Observed")
Desired = TypeVar("Desired")
Step = TypeVar("Step")


class Actions(msgspec.Struct, Generic[Step], frozen=True):
    """What a plan decided."""

    steps: tuple[Step, ...] = ()  # carried out in this order; the first that fails ends the attempt
    requeue_after: float | None = None  # seconds until the key is to be looked at again although nothing changed


class Reconciler(Protocol[K, Observed, Desired, Step]):
    """What a controller of one kind of object consists of; everything that is not the mechanism."""

    def keys(self) -> Iterable[K]:
        """All keys there are, for the start and each resync."""

    async def observe(self, key: K) -> Observed:
        """What is."""

    def desired(self, key: K) -> Desired:
        """What should be. Read after observing and without waiting, so that the plan is made from the latest wish."""

    def plan(self, observed: Observed, desired: Desired, now: float) -> Actions[Step]:
        """The difference, as steps. A pure function of its arguments (a `staticmethod` of the module's `plan`)."""

    async def act(self, key: K, step: Step) -> None:
        """Take one step. It may have been taken before by somebody who died before he could tell: it must bear repetition."""


class Watchable(Protocol):
    """The part of the store that a controller needs."""

    def watch(self, table: Any, callback: Callable[[Any, Any], None]) -> Callable[[], None]:
        """Call back with the old and the new row (None: there is none) of each durable change, until the returned function is called."""


class Backoff(msgspec.Struct, frozen=True):
    """Seconds to wait after a failure."""

    first: float = 0.5
    cap: float = 300.0

    def delay(self, failures: int, chance: random.Random) -> float:
        """How long to wait after so many failures in a row (from 1): between half of the doubled time and all of it."""
        return min(self.cap, self.first * 2.0 ** min(failures - 1, 62)) * (1.0 - chance.random() / 2)


class Metrics(msgspec.Struct):
    """How a controller does. The first three are of this moment, the others count from the start."""

    depth: int = 0  # keys that wait for a worker
    delayed: int = 0  # keys that wait for their time: back-off or requeue_after
    in_flight: int = 0
    runs: int = 0
    failures: int = 0
    retries: int = 0  # runs that followed a failure of the same key


class Failing(msgspec.Struct):
    """A key whose last run failed."""

    failures: int
    since: float  # clock.monotonic() of the last failure
    error: str


class Controller(Generic[K]):
    """The queue and its workers.

    Args:
        name: for logs and tasks: "ecs.tasks".
        work: looks at one key; returns the seconds after which to look again, or None. Raising means failing.
        keys: all keys there are.
        parallel: how many keys are worked on at the same time.
        resync: seconds between looks at everything; None for never.
        deadline: seconds after which one run counts as failed; None for no limit.
        chance: where the jitter comes from; seeded in simulations.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[K], Awaitable[float | None]],
        *,
        clock: Clock,
        keys: Callable[[], Iterable[K]] = tuple,
        parallel: int = 16,
        resync: float | None = 600.0,
        deadline: float | None = None,
        backoff: Backoff = Backoff(),  # noqa: B008  (frozen)
        chance: random.Random | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._clock = clock
        self._keys = keys
        self._parallel = parallel
        self._resync = resync
        self._deadline = deadline
        self._backoff = backoff
        self._chance = chance or random.Random()
        # Dicts serve as ordered sets: the order of a set of strings differs from process to process, and simulations must not.
        self._ready: OrderedDict[K, None] = OrderedDict()  # a plain dict takes longer and longer to find its first key
        self._timers: dict[K, tuple[float, Timer]] = {}  # key -> when (of monotonic()), timer
        self._working: dict[K, asyncio.Task[None]] = {}
        self._again: dict[K, None] = {}  # queued while being worked on
        self._failing: dict[K, Failing] = {}
        self._unwatch: list[Callable[[], None]] = []
        self._resync_timer: Timer | None = None
        self._idle: asyncio.Event | None = None
        self._running = False
        self._context = contextvars.Context()
        self._count = Metrics()

    # -- asking for work

    def start(self) -> None:
        """Begin with all keys there are. Needs a running event loop."""
        if self._running:
            return
        self._running = True
        # Workers are made by whoever queues a key, but must not inherit from him: his request id is not theirs.
        self._context = contextvars.copy_context()
        self._look_at_all()

    def watch(self, store: Watchable, table: Any, key: Callable[[Any], K | None]) -> None:
        """Queue a key whenever a row of this table changes. May be called for several tables: the own one and those of children.

        Args:
            key: the key that a row concerns, or None. It is asked about the old and the new row, which may concern different keys.
        """

        def changed(old: Any, new: Any) -> None:
            for row in (old, new):
                if row is not None and (found := key(row)) is not None:
                    self.enqueue(found)

        self._unwatch.append(store.watch(table, changed))

    def enqueue(self, key: K, after: float = 0.0) -> None:
        """Look at this key, after so many seconds; if that was asked for before, at the earlier of both. Does nothing when stopped."""
        if not self._running:
            return
        if key in self._working:
            if after <= 0:
                self._again[key] = None
                return
        elif key in self._ready:
            return
        failing = self._failing.get(key)
        if failing is not None:
            after = max(after, failing.since + self._backoff.first - self._clock.monotonic())
        if after > 0:
            self._delay(key, after)
            return
        self._forget_timer(key)
        self._ready[key] = None
        self._hire()

    def failing(self) -> dict[K, Failing]:
        """The keys whose last run failed, and why."""
        return dict(self._failing)

    def metrics(self) -> Metrics:
        return msgspec.structs.replace(self._count, depth=len(self._ready), delayed=len(self._timers), in_flight=len(self._working))

    async def settled(self) -> None:
        """Return when no key is worked on or waits for a worker; those that wait for their time do not count. For tests."""
        while self._ready or self._working:
            self._idle = self._idle or asyncio.Event()
            await self._idle.wait()

    async def stop(self, grace: float = 5.0) -> None:
        """Take no more work, give the workers so many seconds to finish, then cancel them. Returns when nothing is left."""
        self._running = False
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch.clear()
        if self._resync_timer is not None:
            self._resync_timer.cancel()
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._again.clear()
        try:
            async with self._clock.timeout(grace):
                await self.settled()
        except TimeoutError:
            late = list(self._working)
            log.warning(
                "controller stopped before its work was done", extra={"controller": self.name, "keys": late[:20], "count": len(late)}
            )
        finally:
            workers = list(self._working.values())
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    # -- the queue

    def _look_at_all(self) -> None:
        if self._resync is not None:
            # Earlier by up to a tenth, so that the controllers of a daemon do not all look at everything in the same moment.
            self._resync_timer = self._clock.call_later(self._resync * (1 - self._chance.random() / 10), self._look_at_all)
        for key in self._keys():
            self.enqueue(key)

    def _delay(self, key: K, after: float) -> None:
        when = self._clock.monotonic() + after
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= when:
                return
            known[1].cancel()
        self._timers[key] = when, self._clock.call_later(after, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        if not self._running or key in self._ready:
            return
        if key in self._working:
            self._again[key] = None
            return
        self._ready[key] = None
        self._hire()

    def _forget_timer(self, key: K) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            known[1].cancel()

    # -- the workers

    def _hire(self) -> None:
        while self._ready and len(self._working) < self._parallel:
            key, _ = self._ready.popitem(last=False)
            task = asyncio.get_running_loop().create_task(self._run(key), name=f"{self.name} {key}", context=self._context.copy())
            self._working[key] = task
            task.add_done_callback(lambda _, key=key: self._done(key))  # type: ignore[misc]  # also runs when cancelled before its first step

    def _done(self, key: K) -> None:
        del self._working[key]
        if key in self._again:
            del self._again[key]
            self.enqueue(key)
        self._hire()
        if self._idle is not None and not self._ready and not self._working:
            self._idle.set()
            self._idle = None

    async def _run(self, key: K) -> None:
        self._again.pop(key, None)  # what was queued between hiring and now is seen by this run
        failing = self._failing.get(key)
        self._count.runs += 1
        self._count.retries += failing is not None
        try:
            async with self._clock.timeout(self._deadline):
                after = await self._work(key)
        except Exception as error:
            self._failed(key, error)
            return
        except asyncio.CancelledError as error:
            worker = asyncio.current_task()
            if worker is None or worker.cancelling():
                raise  # it is this worker that is to end
            self._failed(key, error)  # the work waited for something that was cancelled
            return
        self._failing.pop(key, None)
        if after is not None:
            if after <= 0:
                self._again[key] = None
            elif self._running:
                self._delay(key, after)

    def _failed(self, key: K, error: BaseException) -> None:
        known = self._failing.get(key)
        failures = known.failures + 1 if known else 1
        reason = f"{type(error).__name__}: {error}"
        self._failing[key] = Failing(failures, self._clock.monotonic(), reason)
        self._count.failures += 1
        delay = self._backoff.delay(failures, self._chance)
        about = {"controller": self.name, "key": key, "attempt": failures, "retry_in": round(delay, 3)}
        if failures == 1:  # its traceback once; the others say the same again
            log.error("%s %s failed: %s", self.name, key, reason, extra=about, exc_info=error)
        else:
            log.warning("%s %s failed again (%d times): %s", self.name, key, failures, reason, extra=about)
        if self._running:
            self._forget_timer(key)  # of an earlier requeue_after: it must not cut the back-off short
            self._delay(key, delay)


def controller(
    name: str,
    reconciler: Reconciler[K, Observed, Desired, Step],
    *,
    clock: Clock,
    parallel: int = 16,
    resync: float | None = 600.0,
    deadline: float | None = None,
    backoff: Backoff = Backoff(),  # noqa: B008  (frozen)
    chance: random.Random | None = None,
) -> Controller[K]:
    """A controller that observes, plans and acts. For the arguments see `Controller`."""

    async def work(key: K) -> float | None:
        observed = await reconciler.observe(key)
        actions = reconciler.plan(observed, reconciler.desired(key), clock.time())
        for step in actions.steps:
            await reconciler.act(key, step)
        return actions.requeue_after

    return Controller(
        name, work, clock=clock, keys=reconciler.keys, parallel=parallel, resync=resync, deadline=deadline, backoff=backoff, chance=chance
    )
