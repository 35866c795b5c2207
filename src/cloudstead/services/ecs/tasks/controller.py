"""Brings tasks to what is wanted of them. What takes long (preparing, stopping) runs beside, so that a wish to stop is seen at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, EngineError, NotFound
from cloudstead.engine.pods.specs import ContainerSpec
from cloudstead.engine.pods.states import PodEvent
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.reconcile import controller
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.tasks import changing, output, plan
from cloudstead.services.ecs.tasks.interfaces import Interfaces
from cloudstead.services.ecs.tasks.link_local import LinkLocal, definition_of
from cloudstead.services.ecs.tasks.model import LOG_POSITIONS, TASKS, Task
from cloudstead.services.ecs.tasks.plan import Problem, Seen, Step, Wanted
from cloudstead.services.ecs.tasks.preparing import CannotStart, Preparing
from cloudstead.services.ecs.tasks.roles import Roles
from cloudstead.services.ecs.translation import Supplies, Unsupported, task_spec

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine

log = logging.getLogger(__name__)

Key = tuple[str, str, str, str]
DELIVERED_WITHIN = 10.0  # seconds for the rest of a task's output
PARALLEL = 32


def _possible(container: ContainerSpec, definition: Definition) -> ContainerSpec:
    """What Fargate gives to all that do not ask for it is left out where this machine cannot: a limit of storage that few file systems can hold, and more
    open files than its own processes may have. What the definition asks for stays."""
    said = definition.container(container.name)
    asked = {ulimit.name for ulimit in said.ulimits or ()} if said is not None else set()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    given = tuple(each for each in container.ulimits if each.name in asked or each.name != "nofile" or most < 0 or each.hard <= most)
    return replace(container, storage_size=container.storage_size if definition.ephemeral_storage is not None else 0, ulimits=given)


class Tasks:
    """A Reconciler, and what it remembers of tasks while the daemon runs; after a restart all of it is found out again."""

    plan = staticmethod(plan.plan)

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.roles = Roles(cloud)
        self._interfaces = Interfaces(cloud)
        self._preparing = Preparing(cloud, self.roles, self._interfaces)
        self._link_local = LinkLocal(cloud, self.roles)
        self._supplies: dict[Key, Supplies] = {}
        self._problems: dict[Key, Problem] = {}
        self._jobs: dict[Key, asyncio.Task[None]] = {}  # preparations
        self._halting: dict[tuple[Key, str], asyncio.Task[None]] = {}
        self._followers: dict[str, output.Follower] = {}  # by container
        self._engine: Engine | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self.controller = controller("ecs.tasks", self, clock=cloud.clock, parallel=PARALLEL, resync=300.0)

    def start(self) -> None:
        self.controller.watch(self._cloud.store, TASKS, lambda row: row.key)
        self.controller.start()

    async def stop(self) -> None:
        """Containers go on."""
        self._unsubscribe()
        await self.controller.stop(grace=2.0)
        running = [*self._jobs.values(), *self._halting.values()]
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for follower in list(self._followers.values()):
            await follower.stop()
        await self._link_local.stop()

    async def engine(self) -> Engine:
        engine: Engine = await self._cloud.parts["engine"].ready()
        if self._engine is not engine:
            self._unsubscribe()
            self._engine = engine
            self._unsubscribe = engine.pods.subscribe(self._told)
        return engine

    def _told(self, event: PodEvent) -> None:
        if event.kind in ("start", "die", "health", "oom", "remove"):
            row = self._cloud.store.table(TASKS).find("by_id", (event.status.pod.removeprefix("ecs-"),))
            if row is not None:
                self.controller.enqueue(row.key)

    # ── observing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def keys(self) -> Iterable[Key]:
        return [row.key for row in self._cloud.store.table(TASKS).scan()]

    async def observe(self, key: Key) -> Seen:
        row = self._cloud.store.table(TASKS).get(key)
        if row is None or row.status == "STOPPED":
            return Seen()
        engine = await self.engine()
        containers = {}
        with contextlib.suppress(NotFound):
            containers = {each.name: each for each in engine.pods.inspect_pod(row.pod).containers}
        if containers:
            await self._accompany(engine, row, {each.id for each in containers.values() if each.state != "created"})
        return Seen(
            containers=containers,
            prepared=key in self._supplies,
            preparing=key in self._jobs,
            problem=self._problems.get(key),
            halting=frozenset(name for owner, name in self._halting if owner == key),
        )

    def desired(self, key: Key) -> Wanted | None:
        row = self._cloud.store.table(TASKS).get(key)
        definition = None if row is None else definition_of(self._cloud, row)
        return None if row is None or definition is None else Wanted(row, definition)

    async def _accompany(self, engine: Engine, row: Task, begun: set[str]) -> None:
        """What goes along with running containers: their output is read, and they are told of themselves."""
        definition = definition_of(self._cloud, row)
        if definition is None or row.status == "DEPROVISIONING":
            return
        for each in row.containers:
            said = definition.container(each.name)
            target = output.target_of(row, said, each.id) if said is not None else None
            if target is not None and each.id in begun and each.id not in self._followers:
                context: Callable[[], Awaitable[Context]] = partial(self.roles.context, row, definition)
                self._followers[each.id] = output.Follower(self._cloud, engine.pods, each.id, target, context)
        if row.interface is not None and row.interface.vpc:
            await self._link_local.serve(engine, row.interface.vpc)

    # ── acting ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def act(self, key: Key, step: Step) -> None:
        match step:
            case plan.Note(changes):
                self._change(key, changes | ({"stopped": self._cloud.clock.time()} if "stopped" in changes else {}))
            case plan.Prepare():
                self._beside(self._jobs, key, key, self._prepare(key))
            case plan.Cancel():
                if (job := self._jobs.get(key)) is not None:
                    job.cancel()
                    await asyncio.wait([job])
            case plan.Create():
                await self._create(key)
            case plan.Start(name):
                await self._start(key, name)
            case plan.Halt(name):
                self._beside(self._halting, (key, name), key, self._halt(key, name))
            case plan.Clean():
                await self._clean(key)
            case plan.Forget():
                self._forget(key)

    def _change(self, key: Key, changes: dict[str, Any]) -> Task | None:
        return changing.change(self._cloud.store, key, self._cloud.clock.time(), changes)

    def _beside(self, jobs: dict[Any, asyncio.Task[None]], name: Any, key: Key, work: Any) -> None:
        job = jobs[name] = asyncio.ensure_future(work)

        def over(job: asyncio.Task[None]) -> None:
            jobs.pop(name, None)
            if not job.cancelled() and (error := job.exception()) is not None:
                log.error("task %s: %s", key[3], error, exc_info=error)
                self.controller.enqueue(key, after=1.0)
            else:
                self.controller.enqueue(key)

        job.add_done_callback(over)

    def _row(self, key: Key) -> Wanted:
        wanted = self.desired(key)
        if wanted is None:
            raise NotFound(f"there is no task {key[3]}")
        return wanted

    async def _prepare(self, key: Key) -> None:
        wanted = self._row(key)
        try:
            self._supplies[key] = await self._preparing.supplies(wanted.row, wanted.definition)
        except CannotStart as cannot:
            self._problems[key] = cannot.problem

    async def _create(self, key: Key) -> None:
        wanted, engine = self._row(key), await self.engine()
        try:
            task = task_spec(wanted.definition, self._supplies[key])
        except Unsupported as error:
            self._problems[key] = Problem(f"CannotCreateContainerError: {error}")
            self.controller.enqueue(key)
            return
        try:
            if wanted.row.interface is not None:
                await self._link_local.serve(engine, wanted.row.interface.vpc)
            for volume in task.volumes:
                if volume.create and engine.volumes.find(volume.name) is None:
                    await engine.volumes.create(volume.name, labels=dict(volume.labels), options=dict(volume.options))
            for pod in task.pods:
                with contextlib.suppress(Conflict):
                    await engine.pods.create_pod(pod.spec)
                there = {each.id for each in engine.pods.inspect_pod(pod.spec.id).containers}
                for container in pod.containers:
                    if container.id not in there:
                        await engine.pods.create_container(pod.spec.id, _possible(container, wanted.definition))
        except EngineError as error:
            self._problems[key] = Problem(f"CannotCreateContainerError: {error.message}")
        self.controller.enqueue(key)

    async def _start(self, key: Key, name: str) -> None:
        container = self._row(key).row.container(name)
        engine = await self.engine()
        if container is not None:
            try:
                await engine.pods.start(container.id)
            except EngineError as error:  # its status says so
                log.info("task %s: container %s: %s", key[3], name, error)
            self.controller.enqueue(key)

    async def _halt(self, key: Key, name: str) -> None:
        container = self._row(key).row.container(name)
        if container is not None:
            with contextlib.suppress(NotFound):
                await (await self.engine()).pods.stop(container.id)

    async def _clean(self, key: Key) -> None:
        row, engine = self._row(key).row, await self.engine()
        followers = [follower for each in row.containers if (follower := self._followers.pop(each.id, None)) is not None]
        with contextlib.suppress(TimeoutError):
            async with self._cloud.clock.timeout(DELIVERED_WITHIN):
                for follower in followers:
                    await follower.over()
        for follower in followers:
            await follower.stop()
        await engine.pods.remove_pod(row.pod, force=True)
        for volume in [each.name for each in engine.volumes.all() if each.name.startswith(f"{row.pod}-")]:
            with contextlib.suppress(NotFound):
                await engine.volumes.remove(volume)
        if row.interface is not None:
            await self._interfaces.give_back(row, row.interface)
            others = (each for each in self._cloud.store.table(TASKS).scan() if each.status != "STOPPED" and each.id != row.id)
            if row.interface.vpc and not any(each.interface is not None and each.interface.vpc == row.interface.vpc for each in others):
                await self._link_local.leave(engine, row.interface.vpc)
        self._supplies.pop(key, None)
        self._problems.pop(key, None)
        with self._cloud.store.transaction() as tx:
            for each in row.containers:
                tx.delete(LOG_POSITIONS, (each.id,))

    def _forget(self, key: Key) -> None:
        with self._cloud.store.transaction() as tx:
            tx.archive(TASKS, key)
