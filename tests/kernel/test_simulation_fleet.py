"""A worked example of a simulation: a controller that keeps fleets of machines alive, with the real store, while everything goes wrong.

A fleet has slots; the machine of slot 2 of fleet f is called f/2. The controller launches what is missing and stops what is too much. Since
a machine is named by its slot, launching it twice is launching it once: that is what makes repetition harmless. The second half of the
file takes exactly that away and shows that the simulation notices.

Run as a program it prints the trace of a seed, for comparing processes:  python tests/kernel/test_simulation_fleet.py 7
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import ClassVar

import msgspec
import pytest

from cloudstead.kernel import ids
from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.reconcile import Actions, Backoff, Controller, controller
from cloudstead.kernel.simulation import DAY, HOUR, MINUTE, Down, Fault, InjectedFault, Simulation, seeds
from cloudstead.kernel.store import MemoryBackend, Row, Store, Table, WriteFailed

FAULTS = [
    Fault("engine.*", fail=0.1, delay=0.1, duplicate=0.05, crash=0.02),
    Fault("engine.tell", fail=0.5),  # a machine's end is not heard of
    Fault("client.*", fail=0.05, crash=0.05),
]


class Fleet(Row, frozen=True, kw_only=True):
    account: str
    name: str
    size: int
    most: int  # a promise to the account: never more machines than this


FLEETS = Table("test.fleets", Fleet, key=lambda fleet: (fleet.account, fleet.name))
ACCOUNT = "123456789012"


class Launch(msgspec.Struct, frozen=True):
    machine: str


class Stop(msgspec.Struct, frozen=True):
    machine: str


def plan(observed: Iterable[str], desired: Fleet | None, now: float) -> Actions[Launch | Stop]:
    """Stop first, so that there is never more than is wanted."""
    wanted = [f"{desired.name}/{slot}" for slot in range(desired.size)] if desired else []
    stops = [Stop(machine) for machine in observed if machine not in wanted]
    launches = [Launch(machine) for machine in wanted if machine not in observed]
    return Actions((*stops, *launches))


class Engine:
    """The world's machines. They outlive the daemon, end by themselves some day, and their end may go unheard."""

    def __init__(self, sim: Simulation, lifetime: float) -> None:
        self.sim = sim
        self.lifetime = lifetime
        self.fleets: dict[str, dict[str, float]] = {}  # fleet -> its machines -> when each was launched
        self.listener = lambda fleet: None  # the daemon's
        self.launched = 0

    async def machines(self, fleet: str) -> list[str]:
        return list(self.fleets.get(fleet, ()))

    async def launch(self, fleet: str, machine: str) -> None:
        machines = self.fleets.setdefault(fleet, {})
        if machine not in machines:
            self.launched += 1
            machines[machine] = self.sim.clock.time()
            self.sim.later(self.sim.random.expovariate(1 / self.lifetime), self.end, fleet, machine, machines[machine])

    async def stop(self, fleet: str, machine: str) -> None:
        self.fleets[fleet].pop(machine, None)

    def end(self, fleet: str, machine: str, launched: float) -> None:
        if self.fleets[fleet].get(machine) == launched:
            del self.fleets[fleet][machine]
            self.sim.record("machine ends", machine)
            self.sim.spawn(self.tell(fleet))

    async def tell(self, fleet: str) -> None:
        async def tell() -> None:
            self.listener(fleet)

        with contextlib.suppress(InjectedFault):  # the controller's resync will find out
            await self.sim.act("engine.tell", tell, fleet)


class Fleets:
    """The reconciler: a few lines, since all that is difficult is the kernel's."""

    plan = staticmethod(plan)

    def __init__(self, sim: Simulation, store: Store, engine: Engine) -> None:
        self.sim = sim
        self.table = store.table(FLEETS)
        self.engine = engine

    def keys(self) -> list[str]:
        return [fleet.name for fleet in self.table.scan((ACCOUNT,))]

    async def observe(self, key: str) -> list[str]:
        return await self.engine.machines(key)

    def desired(self, key: str) -> Fleet | None:
        return self.table.get((ACCOUNT, key))

    async def act(self, key: str, step: Launch | Stop) -> None:
        if isinstance(step, Launch):
            await self.sim.act("engine.launch", lambda: self.engine.launch(key, step.machine), step.machine)
        else:
            await self.sim.act("engine.stop", lambda: self.engine.stop(key, step.machine), step.machine)


class World:
    """What outlives the daemon, and how the daemon boots on it."""

    reconciler: ClassVar = Fleets

    def __init__(self, sim: Simulation, count: int, most: int, lifetime: float) -> None:
        self.sim = sim
        self.names = [f"fleet-{number}" for number in range(count)]
        self.most = most
        self.disk = MemoryBackend()
        self.engine = Engine(sim, lifetime)
        self.acknowledged: dict[str, int] = {}
        self.store: Store
        self.queue: Controller[str]
        sim.invariant(self.never_too_many, "no fleet is larger than was promised")
        sim.invariant(self.nothing_is_lost, "what was acknowledged is there after each restart", every=20)
        self.daemon = sim.daemon(self.boot, down=(0.1, MINUTE))

    async def boot(self) -> None:
        self.store = Store.in_memory(self.disk, clock=self.sim.clock)
        fleets = self.reconciler(self.sim, self.store, self.engine)
        chance = random.Random(f"{self.sim.seed} {self.daemon.lives if hasattr(self, 'daemon') else 1}")
        self.queue = controller(
            "fleets", fleets, clock=self.sim.clock, resync=6 * HOUR, deadline=HOUR, backoff=Backoff(1, 300), chance=chance
        )
        self.queue.watch(self.store, FLEETS, lambda fleet: fleet.name)
        self.queue.start()
        self.engine.listener = self.queue.enqueue

    async def resize(self, name: str, size: int) -> None:
        """A handler of the API: writes what is wanted, durably, and returns. Now and then the disk is full."""
        self.wear_the_disk()
        with self.store.transaction() as tx:
            tx.put(FLEETS, Fleet(account=ACCOUNT, name=name, size=size, most=self.most))
        await self.sim.act("client.resize", self.store.settled, name, size)

    def wear_the_disk(self) -> None:
        if self.sim.random.random() < 0.05:
            self.disk.failures.append(WriteFailed("the disk is full"))

    async def client(self, name: str, changes: int, over: float) -> None:
        """Resizes a fleet now and then, each time until it is acknowledged."""
        for _ in range(changes):
            size = self.sim.random.randint(0, self.most)
            self.acknowledged.pop(name, None)  # from here on either size is right, until an answer comes
            while name not in self.acknowledged:
                try:
                    await self.daemon.call(self.resize, name, size)
                    self.acknowledged[name] = size
                except (Down, InjectedFault, Unavailable):
                    await self.sim.clock.sleep(self.sim.random.uniform(1, 60))
            await self.sim.clock.sleep(self.sim.random.uniform(0, 2 * over / changes))

    def never_too_many(self) -> None:
        for name, machines in self.engine.fleets.items():
            assert len(machines) <= self.most, f"{name} has {len(machines)} machines, {self.most} were promised"

    def nothing_is_lost(self) -> None:
        fleets = Store.in_memory(self.disk).table(FLEETS)
        for name, size in self.acknowledged.items():
            fleet = fleets.get((ACCOUNT, name))
            assert fleet is not None, f"{name} is lost"
            assert fleet.size == size, f"{name} has not the size that was acknowledged"

    def converged(self) -> bool:
        return all(
            sorted(self.engine.fleets.get(name, ())) == [f"{name}/{slot}" for slot in range(self.acknowledged[name])] for name in self.names
        )


async def a_few_days(sim: Simulation, *, world: type[World] = World, count: int = 12, days: float = 10, changes: int = 20) -> World:
    """Clients resize, machines end, the engine fails, the daemon dies; then all is calm and has to come right."""
    cloud = world(sim, count=count, most=5, lifetime=12 * HOUR)
    clients = [sim.spawn(cloud.client(name, changes, days * DAY)) for name in cloud.names]
    await sim.clock.sleep(days * DAY)
    sim.calm()
    for client in clients:
        await client
    cloud.engine.lifetime = 1000 * DAY
    await sim.clock.sleep(7 * HOUR)  # a resync, for ends that nobody heard of
    await sim.until(cloud.converged, within=7 * DAY)
    return cloud


@pytest.mark.parametrize("seed", seeds(25))
def test_fleets_come_right_whatever_happens(seed):
    sim = Simulation(seed, faults=FAULTS)
    cloud = sim.run(a_few_days)
    assert cloud.daemon.lives > 1  # or the seed has shown nothing
    assert cloud.engine.launched > 50


def test_the_same_seed_goes_the_same_way_and_another_goes_another():
    def trace(seed):
        sim = Simulation(seed, faults=FAULTS)
        sim.run(lambda sim: a_few_days(sim, count=5))
        return sim.trace, sim.steps, sim.clock.monotonic()

    assert trace(7) == trace(7)
    assert len({trace(seed) for seed in range(4)}) == 4


def test_a_seed_goes_the_same_way_in_every_process():
    """Python orders sets of strings differently in each process, unless told how; nothing may depend on that."""
    traces = {
        subprocess.run(
            [sys.executable, __file__, "7"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1
    assert len(traces.pop().strip()) == 64


def test_a_thousand_fleets_over_days_take_seconds():
    """3,000 machines of 1,000 fleets, each of which ends several times in two days of faults."""

    class Large(World):
        """Looks at everything less often: there is a thousand times more of it."""

        def never_too_many(self) -> None:
            if self.sim.steps % 1000 == 0:
                super().never_too_many()

        def nothing_is_lost(self) -> None:
            if self.sim.steps % 5000 == 0:
                super().nothing_is_lost()

    started = time.process_time()
    sim = Simulation(1, faults=[Fault("engine.*", fail=0.1, delay=0.1, duplicate=0.05, crash=0.001)])
    cloud = sim.run(lambda sim: a_few_days(sim, world=Large, count=1000, days=2, changes=2))
    assert cloud.engine.launched > 5000
    assert cloud.daemon.lives > 3
    assert time.process_time() - started < 60


# -- what a simulation is for: the same controllers with one mistake each


class TrustsItsMemory(Fleets):
    """Remembers what it launched instead of looking: an answer that was lost, or a restart, makes machines that nobody knows of."""

    def __init__(self, *args):
        super().__init__(*args)
        self.launched: dict[str, list[str]] = {}

    async def observe(self, key):
        return self.launched.setdefault(key, [])

    @staticmethod
    def plan(observed, desired, now):
        size = desired.size if desired else 0
        launches = [Launch(ids.hex_id("i")) for _ in range(size - len(observed))]
        return Actions((*launches, *(Stop(machine) for machine in observed[size:])))

    async def act(self, key, step):
        await super().act(key, step)
        if isinstance(step, Launch):
            self.launched[key].append(step.machine)
        else:
            self.launched[key].remove(step.machine)


class WithMemory(World):
    reconciler = TrustsItsMemory


class WritesLater(World):
    """Answers before the disk has it."""

    async def resize(self, name: str, size: int) -> None:
        self.wear_the_disk()
        with self.store.transaction() as tx:
            tx.put(FLEETS, Fleet(account=ACCOUNT, name=name, size=size, most=self.most))
        self.sim.record("resized", name, size)


@pytest.mark.parametrize(
    ("world", "complaint"),
    [(WithMemory, "machines, 5 were promised"), (WritesLater, "is lost|has not the size that was acknowledged")],
)
def test_a_mistake_is_found_and_its_seed_finds_it_again(world, complaint):
    def failure(seed):
        sim = Simulation(seed, faults=FAULTS)
        try:
            sim.run(lambda sim: a_few_days(sim, world=world))
        except AssertionError as error:
            return str(error).splitlines()[0], sim.trace, error.__notes__
        return None

    seed, found = next((seed, found) for seed in range(20) if (found := failure(seed)))
    message, _, (note,) = found
    assert re.search(complaint, message)
    assert f"CLOUDSTEAD_SEED={seed} " in note
    assert failure(seed) == found


if __name__ == "__main__":
    simulation = Simulation(int(sys.argv[1]), faults=FAULTS)
    simulation.run(lambda sim: a_few_days(sim, count=5))
    print(simulation.trace)
