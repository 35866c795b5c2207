"""A toy world for the planners of ECS: instances that die, containers that die, versions that do not start or are never healthy, and a daemon that
is killed in the middle of it all.

What is written down (`rows`, the service) and the engine's containers outlive the daemon. A life of the daemon is a loop that does what the controller
does: look how the containers are, plan, carry the plan out in one step, place what it starts, then start and stop containers, which may go wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from msgspec.structs import replace

from cloudstead.kernel.simulation import InjectedFault, Simulation
from cloudstead.services.ecs.deployments.beginning import begin
from cloudstead.services.ecs.deployments.health import healthy, occupies
from cloudstead.services.ecs.deployments.limits import maximum, minimum_healthy
from cloudstead.services.ecs.deployments.model import Deployment, Observed, Plan, Service, Task
from cloudstead.services.ecs.deployments.plan import plan
from cloudstead.services.ecs.deployments.remembering import placed, room, unplaced
from cloudstead.services.ecs.placement.fleet import Fleet, Registered, Share
from cloudstead.services.ecs.placement.needs import Needs
from cloudstead.services.ecs.placement.placing import Placed, Placer, Refusal, closest
from cloudstead.services.ecs.placement.ports import PortNeed
from cloudstead.services.ecs.placement.strategies import SERVICE

STATIC = 8080


@dataclass
class Version:
    """How the containers of a revision behave."""

    name: str
    starts: bool = True  # no: its image is missing
    slow: float = 2.0  # seconds to start, at most
    dies_after: float = 0.0  # of its own
    healthy_after: float = 3.0  # 0: never
    checked: bool = True
    static_port: bool = False


@dataclass
class Row:
    task: Task
    version: str
    share: Share | None = None


@dataclass
class Container:
    task: str
    instance: str
    ports: frozenset[tuple[str, int]]
    status: str = "starting"  # running, stopping, ended
    healthy: bool | None = None
    failed: bool = False
    since: float = 0.0


@dataclass
class World:
    sim: Simulation
    service: Service
    versions: dict[str, Version]
    machines: int = 6
    cpu: int = 1024
    rows: dict[str, Row] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    instances: dict[str, Registered] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    numbers: int = 0
    dying: bool = True  # instances and containers do so by chance

    zones: ClassVar = "abc"

    def __post_init__(self) -> None:
        for _ in range(self.machines):
            self.join()
        self.sim.invariant(self.no_port_has_two_owners, "no port has two owners")

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────────────────

    def join(self) -> None:
        number = self.number()
        id = f"i{number}"
        self.instances[id] = Registered(id=id, zone=self.zones[number % 3], cpu=self.cpu, memory=4096)

    def instance_dies(self, id: str) -> None:
        self.instances.pop(id, None)
        self.sim.record("instance dies", id)
        for container in self.containers.values():
            if container.instance == id:
                container.status = "ended"
        if self.sim.random.random() < 0.8:
            self.sim.later(self.sim.random.uniform(1, 120), self.join)

    def drain(self, id: str, status: str) -> None:
        if id in self.instances:
            self.instances[id] = replace(self.instances[id], status=status)
            self.sim.record("instance is", id, status)

    def no_port_has_two_owners(self) -> bool:
        owned: set[tuple[str, tuple[str, int]]] = set()
        for container in self.containers.values():
            if container.status == "ended":
                continue
            mine = {(container.instance, port) for port in container.ports}
            if owned & mine:
                return False
            owned |= mine
        return True

    async def launch(self, row: Row, version: Version) -> None:
        task = row.task.id
        if task in self.containers or row.share is None or row.task.instance not in self.instances:
            return  # it was launched before, by a daemon that died or whose answer was lost
        ports = frozenset(port for binding in row.share.ports for port in binding.ports())
        self.containers[task] = container = Container(task, row.task.instance, ports)
        if version.starts:
            self.sim.later(self.sim.random.uniform(0.1, version.slow), self.runs, container, version)
        else:
            container.status, container.failed = "ended", True

    def runs(self, container: Container, version: Version) -> None:
        if container.status != "starting":
            return
        container.status, container.since = "running", self.sim.clock.time()
        after = version.healthy_after or 6.0
        self.sim.later(after, self.checks, container, version.healthy_after > 0)
        if version.dies_after:
            self.sim.later(version.dies_after, self.dies, container)
        elif self.dying and self.sim.random.random() < 0.2:
            self.sim.later(self.sim.random.uniform(1, 600), self.dies, container)

    def checks(self, container: Container, fine: bool) -> None:
        if container.status == "running":
            container.healthy = fine

    def dies(self, container: Container) -> None:
        if container.status == "running":
            container.status, container.failed = "ended", True
            self.sim.record("container dies", container.task)

    async def halt(self, task: str) -> None:
        container = self.containers.get(task)
        if container is None:  # it was never launched; and never will be
            self.containers[task] = Container(task, "", frozenset(), "ended")
        elif container.status in ("starting", "running"):
            container.status = "stopping"
            self.sim.later(self.sim.random.uniform(0.1, 20), self.ends, container)

    def ends(self, container: Container) -> None:
        container.status = "ended"

    # ── what users do ────────────────────────────────────────────────────────────────────────────────────────────────

    def update(self, version: str) -> None:
        self.sim.record("update", version)
        self.service = begin(self.service, f"ecs-svc/{self.number()}", version, self.sim.clock.time())

    def scale(self, desired: int) -> None:
        self.sim.record("scale", desired)
        self.service = replace(self.service, desired=desired)

    def mischief(self, chance: Random, versions: list[str]) -> None:
        """One thing that happens to a service."""
        what = chance.choice(["update", "update", "scale", "drain", "back", "instance", "stop", "protect"])
        id = chance.choice([*self.instances, "none"])
        live = [row for row in self.rows.values() if row.task.phase == "RUNNING" and not row.task.stopping]
        if what == "update":
            self.update(chance.choice(versions))
        elif what == "scale":
            self.scale(chance.randrange(1, 9))
        elif what in ("drain", "back"):
            self.drain(id, "DRAINING" if what == "drain" else "ACTIVE")
        elif what == "instance":
            self.instance_dies(id)
        elif live and what == "stop":
            row = chance.choice(live)
            row.task = replace(row.task, stopping=True)
        elif live:
            row = chance.choice(live)
            row.task = replace(row.task, protected_until=self.sim.clock.time() + 300)

    # ── a life of the daemon ─────────────────────────────────────────────────────────────────────────────────────────

    async def boot(self) -> None:
        fleet = Fleet(self.instances.values())
        for row in self.rows.values():
            if row.share is not None and row.task.phase != "STOPPED" and row.task.instance in self.instances:
                fleet.take(row.task.instance, row.share)
        placer = Placer(fleet, Random(self.sim.seed))
        while True:
            self.look(fleet)
            self.apply(plan(self.observed(), self.service, self.sim.clock.time()), placer)
            await asyncio.gather(*[self.carry_out(row) for row in list(self.rows.values()) if self.open(row)])
            await self.sim.clock.sleep(1.0)

    def look(self, fleet: Fleet) -> None:
        """Bring the rows to how the containers and instances are."""
        for id in [each.id for each in fleet if each.id not in self.instances]:
            fleet.drop(id)
        for told in self.instances.values():
            before = len(fleet)
            fleet.put(told)
            if len(fleet) > before:
                self.service = replace(self.service, state=room(self.service))
        for id, row in list(self.rows.items()):
            row.task = self.seen(row.task)
            if row.task.phase == "STOPPED":
                fleet.give_back(id)
                if row.task.settled:
                    del self.rows[id]
                    self.containers.pop(id, None)

    def seen(self, task: Task) -> Task:
        container, there = self.containers.get(task.id), task.instance in self.instances
        task = replace(task, leaving=there and self.instances[task.instance].status == "DRAINING")
        if not there:
            return replace(task, phase="STOPPED")
        if container is None or container.status == "starting":
            return task
        if container.status == "running":
            health = "UNKNOWN" if container.healthy is None else "HEALTHY" if container.healthy else "UNHEALTHY"
            return replace(task, phase="RUNNING", running_since=container.since, health=health)
        return replace(task, phase="STOPPING" if container.status == "stopping" else "STOPPED", failed=container.failed)

    def observed(self) -> Observed:
        active = tuple(sorted(id for id, told in self.instances.items() if told.status == "ACTIVE"))
        return Observed(tasks=tuple(row.task for row in self.rows.values()), instances=active if self.service.kind == "DAEMON" else ())

    @property
    def size(self) -> int:
        return self.service.desired if self.service.kind == "REPLICA" else len(self.observed().instances)

    def apply(self, made: Plan, placer: Placer) -> None:
        """In one step, as in one transaction. What may never be is asserted here, where it would be our doing."""
        now, service = self.sim.clock.time(), self.service
        eligible = set(self.observed().instances) if service.kind == "DAEMON" else set(self.instances)
        good = {id for id, row in self.rows.items() if row.task.instance in eligible and healthy(row.task, service, now)}
        left = good - {stop.task for stop in made.stops}
        assert left == good or len(left) >= minimum_healthy(self.size, service.minimum), "below the minimum by our own doing"
        self.service = replace(service, deployments=made.deployments, completed=made.completed, state=made.state)
        for id in made.proven:
            self.rows[id].task = replace(self.rows[id].task, proven=True)
        for id in made.settled:
            self.rows[id].task = replace(self.rows[id].task, settled=True)
        for stop in made.stops:
            self.rows[stop.task].task = replace(self.rows[stop.task].task, stopping=True)
        for start in made.starts:
            self.start(start.deployment, start.count, start.instance, placer)
        occupied = sum(occupies(row.task) and row.task.instance in eligible for row in self.rows.values())
        assert not made.starts or occupied <= maximum(self.size, service.maximum), "above the maximum"
        self.events += [event.message for event in made.events]
        for event in made.events:
            self.sim.record(event.message)

    def start(self, deployment: str, count: int, instance: str, placer: Placer) -> None:
        revision = next(each.revision for each in self.service.deployments if each.id == deployment)
        version, now = self.versions[revision], self.sim.clock.time()
        ports = (PortNeed(80, host_port=STATIC if version.static_port else 0),)
        needs = Needs(group=f"service:{self.service.name}", cpu=256, memory=128, ports=ports)
        ids = [f"t{self.number()}" for _ in range(count)]
        found: tuple[Placed, ...] = ()
        refusals: tuple[Refusal, ...] = ()
        if instance:
            answer = placer.place_on(needs, ids[0], instance)
            if isinstance(answer, Placed):
                found = (answer,)
            else:
                refusals = (answer,)
        else:
            result = placer.place(needs, ids, SERVICE)
            found, refusals = result.placed, result.refusals
        for each in found:
            zone = self.instances[each.instance].zone
            task = Task(id=each.task, deployment=deployment, created=now, checked=version.checked, instance=each.instance, zone=zone)
            self.rows[each.task] = Row(task, revision, each.share)
        if len(found) == count:
            self.service = replace(self.service, state=placed(self.service))
            return
        refusal = closest(refusals)
        state, events = unplaced(self.service, now, refusal.instance if refusal else "", refusal.reason if refusal else "")
        self.service = replace(self.service, state=state)
        self.events += [event.message for event in events]

    def open(self, row: Row) -> bool:
        container = self.containers.get(row.task.id)
        if row.task.stopping:
            return container is None or container.status in ("starting", "running")
        return container is None and row.task.phase == "PENDING"

    async def carry_out(self, row: Row) -> None:
        with contextlib.suppress(InjectedFault):
            if row.task.stopping:
                await self.sim.act("engine.stop", lambda: self.halt(row.task.id), row.task.id)
            else:
                await self.sim.act("engine.launch", lambda: self.launch(row, self.versions[row.version]), row.task.id)

    # ── for scenarios ────────────────────────────────────────────────────────────────────────────────────────────────

    def steady(self) -> bool:
        """All is as it is wanted, in the engine too."""
        running = [each for each in self.containers.values() if each.status == "running"]
        return self.service.state.steady and len(running) == self.size and len(self.service.deployments) == 1

    def serving(self, version: str = "") -> int:
        """The containers that would answer a client now."""
        return sum(
            container.status == "running" and container.healthy is True and version in ("", self.rows[task].version)
            for task, container in self.containers.items()
            if task in self.rows
        )


def deployment(version: str, now: float) -> Deployment:
    return Deployment(id="ecs-svc/0", revision=version, created=now, updated=now)
