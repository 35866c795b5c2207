"""Deterministic simulation: days of a cloud's life in seconds, with everything going wrong, and the same again from the same seed.

A simulation is one function, the scenario, run on a VirtualLoop. Its *world* is what outlives the daemon (the store's files, a simulated
engine with its containers, the clients); its *daemons* run on it and are killed at any moment. All chance comes from one seed: the order of
ready tasks, the names that are made (`kernel.ids`), the faults, and whatever draws from `simulation.random`.

    async def scenario(sim: Simulation) -> None:
        engine = SimulatedEngine(sim)                          the world: calls back through sim.later, does its work through sim.act
        async def boot() -> None:                              one life of the daemon: opens the store, starts the controllers
            ...
        sim.invariant(lambda: ..., "never more than wanted")   asserted after each step in which something happened
        daemon = sim.daemon(boot)
        await daemon.call(handler, ...)                        what a client asks of it
        await sim.clock.sleep(3 * DAY)
        sim.calm()                                             no more faults: now it has to come right
        await sim.until(lambda: ..., within=HOUR)

    @pytest.mark.parametrize("seed", seeds(20))
    def test_…(seed):
        Simulation(seed, faults=[Fault("engine.*", fail=0.1, crash=0.01)]).run(scenario)

A failure tells the seed, the virtual time, the last events and the command that plays it again. CLOUDSTEAD_SEED=n plays one seed;
CLOUDSTEAD_SEEDS=n tries so many (for a night).

A killed daemon is not cancelled but never runs again: no `finally`, no `except`, as with kill -9. Its tasks are laid to rest when the run is over
and its result stands.

What can still differ between two runs: the order of sets (of strings: by process), `id()`, real time, threads. Use none of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import fnmatch
import hashlib
import os
import shlex
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from random import Random
from typing import Any, TypeVar

import msgspec

from cloudstead.kernel import ids
from cloudstead.kernel.clock import NEW_YEAR_2026, VirtualClock, VirtualTimer
from cloudstead.kernel.simulated_daemon import Daemon, Down, Life, current_life, is_dead, make_stillborn, make_task
from cloudstead.kernel.virtual_loop import VirtualLoop

T = TypeVar("T")

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
_TOLD = 30  # how many of the last events a failure tells


class InjectedFault(Exception):
    """An action failed because the simulation wanted it to."""


class Fault(msgspec.Struct, frozen=True):
    """What may go wrong with an action. Each is a probability, tried on its own."""

    point: str  # the action's name, or a pattern: "engine.*"
    fail: float = 0.0  # it raises; one time in two only after it was done, when just the answer was lost
    crash: float = 0.0  # the daemon dies; one time in two only after it was done
    duplicate: float = 0.0  # it is done twice
    delay: float = 0.0
    seconds: tuple[float, float] = (0.1, 30.0)  # of a delay


class Simulation:
    """One run. `trace` is its fingerprint: two runs with the same one went the same way."""

    def __init__(self, seed: int = 0, *, faults: Iterable[Fault] = (), start: float = NEW_YEAR_2026) -> None:
        self.seed = seed
        self.random = Random(f"{seed} world")
        self.clock = VirtualClock(start)
        self.outside = contextvars.Context()  # of what belongs to no daemon
        self.steps = 0  # events so far
        self.last: deque[str] = deque(maxlen=_TOLD)
        self._faults: Sequence[Fault] = tuple(faults)
        self._chance = Random(f"{seed} faults")
        self._hash = hashlib.sha256()
        self._happened = False
        self._over = False  # the result stands; what is left is cleaning up
        self._failure: BaseException | None = None
        self._invariants: list[tuple[Callable[[], object], str, int]] = []
        self._awaited: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._dead: list[Life] = []
        self._loop = VirtualLoop(self.clock, Random(f"{seed} order"))
        self._loop.is_dead = is_dead
        self._loop.on_turn = self._turn
        self._loop.after_step = self._after_step
        self._loop.set_task_factory(make_task)
        self._loop.set_exception_handler(self._unhandled)

    # -- for scenarios

    def run(self, scenario: Callable[[Simulation], Coroutine[Any, Any, T]]) -> T:
        """Run the scenario to its end and return its result. Once for each Simulation."""
        if self._over:
            raise RuntimeError("a Simulation runs once; make another with the same seed")
        with ids.seeded(self.seed):
            try:
                task = self.outside.run(self.task, scenario(self), "scenario")
                result = self._loop.run_until_complete(task)
                self._after_step()
                return result
            except BaseException as error:
                error.add_note(self.account())
                raise
            finally:
                self._lay_to_rest()

    def daemon(
        self, boot: Callable[[], Coroutine[Any, Any, None]], name: str = "daemon", down: tuple[float, float] = (0.1, 10.0)
    ) -> Daemon:
        """Start a daemon.

        Args:
            boot: one life. It may return, when what it started runs on by itself; an exception of it fails the simulation.
            down: how many seconds a crashed one stays away, at least and at most.
        """
        daemon = Daemon(self, boot, name, down)
        daemon.start()
        return daemon

    def invariant(self, holds: Callable[[], object], name: str, every: int = 1) -> None:
        """Something that is always so. Asserted after each step in which an event was recorded, or after each n-th event (a costly one).

        Args:
            holds: says no by returning False or raising AssertionError.
        """
        self._invariants.append((holds, name, every))

    async def until(self, reached: Callable[[], object], within: float) -> None:
        """Wait until this is so; looked at after each step in which an event was recorded.

        Raises:
            TimeoutError: it did not come about within so many virtual seconds.
        """
        if reached():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._awaited.append((reached, future))
        async with self.clock.timeout(within):
            await future

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self._faults = ()

    # -- for the parts of a world

    def record(self, event: str, *about: object) -> None:
        """Something happened. What is recorded must be the same in each run: no addresses, no sets."""
        if self._over:
            return
        self.steps += 1
        self._happened = True
        line = " ".join((f"{self.clock.monotonic():.6f}", event, *map(str, about)))
        self._hash.update(line.encode() + b"\n")
        self.last.append(line)

    async def act(self, point: str, action: Callable[[], Awaitable[T]], *about: object) -> T:
        """Do something that may go wrong: what a simulated engine wraps its work in.

        Args:
            point: the name by which faults find it: "engine.launch".

        Raises:
            InjectedFault
        """
        fault = next((fault for fault in self._faults if fnmatch.fnmatchcase(point, fault.point)), None)
        if fault is None:
            self.record(point, *about)
            return await action()
        chance = self._chance
        # All is drawn before anything happens, so that the faults of one action do not depend on how the others went.
        delay = chance.uniform(*fault.seconds) if chance.random() < fault.delay else 0.0
        crash = chance.random() < fault.crash and chance.choice(("before", "after"))
        fail = chance.random() < fault.fail and chance.choice(("before", "after"))
        times = 2 if chance.random() < fault.duplicate else 1
        if delay:
            await self.clock.sleep(delay)
        if crash == "before":
            await self._die()
        if fail == "before":
            self.record(f"{point} fails", *about)
            raise InjectedFault(f"{point} failed before it was done")
        for _ in range(times):
            self.record(point, *about)
            result = await action()
        if crash == "after":
            await self._die()
        if fail == "after":
            self.record(f"{point} loses its answer", *about)
            raise InjectedFault(f"{point} was done, but its answer was lost")
        return result

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> VirtualTimer:
        """Call back in the world, whether or not the daemon lives then."""
        return self.outside.run(self.clock.call_later, seconds, callback, *args)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """A task of the world; its exceptions fail the simulation."""
        return self.outside.copy().run(self.task, work, name)

    # -- looking back

    @property
    def trace(self) -> str:
        """The hash of all that was recorded and of how many steps each turn of the loop had."""
        return self._hash.hexdigest()

    def account(self) -> str:
        """Where the run stands and how to come here again."""
        when = datetime.datetime.fromtimestamp(self.clock.time(), datetime.UTC).isoformat(timespec="milliseconds")
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        command = f"CLOUDSTEAD_SEED={self.seed} python -m pytest {shlex.quote(test)}" if test else f"Simulation(seed={self.seed})"
        events = "\n".join(f"    {line}" for line in self.last)
        return f"simulation with seed {self.seed}, after {self.steps} events, at {when}\n  again: {command}\n  last events:\n{events}"

    # -- the machinery

    def task(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task in the current context whose exception fails the simulation."""
        task = self._loop.create_task(work, name=name or None)
        if name != "scenario":  # whose exception `run` raises
            task.add_done_callback(self._ended)
        return task

    def bury(self, life: Life) -> None:
        self._dead.append(life)
        self.clock.cancel_where(lambda timer: timer.context.get(current_life) is life)

    async def _die(self) -> None:
        life = current_life.get()
        if life is None or not life.alive:
            return
        life.daemon.crash()
        await self._loop.create_future()  # for good: the dead do not run

    def _turn(self, ready: int) -> None:
        if not self._over:
            self._hash.update(f"{self.clock.monotonic()!r} {ready}\n".encode())

    def _after_step(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if not self._happened:
            return
        self._happened = False
        for holds, name, every in self._invariants:
            if every > 1 and self.steps % every:
                continue
            assert holds() is not False, f"does not hold: {name}"
        for entry in tuple(self._awaited):
            reached, future = entry
            if future.done() or reached():
                self._awaited.remove(entry)
                if not future.done():
                    future.set_result(None)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    def _unhandled(self, loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        self._failure = self._failure or about.get("exception") or AssertionError(about["message"])

    def _lay_to_rest(self) -> None:
        """End all tasks, the dead ones too: otherwise the garbage collector would, at some moment of a later run."""
        self._over = True
        self._loop.after_step = lambda: None
        self._loop.set_exception_handler(lambda loop, about: None)
        self._faults = ()
        for life in self._dead:
            life.alive = True
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.revive()
        try:
            if tasks:
                rest = self._loop.create_task(asyncio.wait(tasks, timeout=DAY))
                self._loop.set_task_factory(make_stillborn)
                self._loop.run_until_complete(rest)
            self._loop.set_task_factory(None)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def seeds(count: int) -> list[int]:
    """The seeds that a test is to try: so many, or what the environment says."""
    if one := os.environ.get("CLOUDSTEAD_SEED"):
        return [int(one)]
    return list(range(int(os.environ.get("CLOUDSTEAD_SEEDS", count))))


__all__ = ["DAY", "HOUR", "MINUTE", "Daemon", "Down", "Fault", "InjectedFault", "Simulation", "seeds"]
