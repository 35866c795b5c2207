"""Pods and containers as a driver knows them: in memory, written through to the store, and told to whoever listens.

Memory is what counts while the daemon runs; the rows are for the next one. So a state that the disk refuses is not lost, only late: the next
change of the same container writes it anew. What is made or removed is durable before its call returns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, NotFound, Unavailable
from cloudstead.engine.pods.model import CONTAINERS, PODS, STATES, TABLES, ContainerRow, PodRow, StateRow
from cloudstead.engine.pods.specs import ContainerSpec, PodSpec
from cloudstead.engine.pods.states import ContainerStatus, EventKind, Exit, PodEvent, PodStatus
from cloudstead.kernel import errors as kernel_errors
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger(__name__)

ALIVE = ("running", "paused")


class Container:
    """One container. `status` is replaced with each change, so that whoever holds one holds a moment."""

    def __init__(self, spec: ContainerSpec, pod: Pod, status: ContainerStatus) -> None:
        self.spec = spec
        self.pod = pod
        self.status = status
        self.lock = asyncio.Lock()  # held while it is started, paused, changed or removed
        self.waiters: list[asyncio.Future[Exit]] = []
        self.early: tuple[int, Exit] | None = None  # the end of a process, told before the answer that it runs
        self.delivering: list[int] = []  # signals that are being sent
        self.resuming = False
        self.killed = False  # this run was sent SIGKILL
        self.removed = False

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def alive(self) -> bool:
        return self.status.state in ALIVE

    @property
    def exit(self) -> Exit:
        status = self.status
        return Exit(code=status.exit_code, oom_killed=status.oom_killed, finished=status.finished, error=status.error)


class Pod:
    def __init__(self, row: PodRow) -> None:
        self.row = row
        self.containers: dict[str, Container] = {}  # by name within the pod
        self.lock = asyncio.Lock()  # held while its network is made or given back
        self.starting = 0  # containers that are being started, and so need the network
        self.closing = False  # it is being removed
        self.removed = False

    @property
    def id(self) -> str:
        return self.row.spec.id

    @property
    def spec(self) -> PodSpec:
        return self.row.spec

    @property
    def alive(self) -> bool:
        return any(container.alive for container in self.containers.values())

    def status(self) -> PodStatus:
        row = self.row
        statuses = tuple(container.status for container in self.containers.values())
        return PodStatus(id=self.id, owner=row.spec.owner, interfaces=row.interfaces, ports=row.ports, containers=statuses)


class Records:
    """All of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.pods: dict[str, Pod] = {}
        self.containers: dict[str, Container] = {}
        self._listeners: list[Callable[[PodEvent], None]] = []

    def load(self) -> None:
        """What an earlier daemon kept."""
        self.store.attach(TABLES)
        states = self.store.table(STATES)
        self.pods = {row.spec.id: Pod(row) for row in self.store.table(PODS).scan()}
        rows = self.store.table(CONTAINERS).scan()
        kept = [(row, state) for row in rows if (state := states.get((row.spec.id,))) is not None and row.pod in self.pods]
        for row, state in sorted(kept, key=lambda pair: pair[1].status.created):
            pod = self.pods[row.pod]
            container = Container(row.spec, pod, state.status)
            pod.containers[row.spec.name] = self.containers[row.spec.id] = container

    def pod(self, pod: str) -> Pod:
        found = self.pods.get(pod)
        if found is None:
            raise NotFound(f"there is no pod {pod}")
        return found

    def container(self, container: str) -> Container:
        found = self.containers.get(container)
        if found is None:
            raise NotFound(f"there is no container {container}")
        return found

    async def add_pod(self, spec: PodSpec) -> Pod:
        if spec.id in self.pods:
            raise Conflict(f"there is a pod {spec.id} already")
        pod = Pod(PodRow(spec=spec, created=self.clock.time()))
        self.pods[spec.id] = pod
        try:
            with self.store.transaction() as tx:
                pod.row = tx.put(PODS, pod.row)
            await self.settled()
        except BaseException:
            pod.removed = True
            self.pods.pop(spec.id, None)
            with self.store.transaction() as tx:
                tx.delete(PODS, (spec.id,))
            raise
        return pod

    def change_pod(self, pod: Pod, **changes: Any) -> None:
        pod.row = replace(pod.row, **changes)
        if not pod.removed:
            with self.store.transaction() as tx:
                pod.row = tx.put(PODS, pod.row)

    async def add_container(self, pod: Pod, spec: ContainerSpec) -> Container:
        if pod.closing or pod.removed:
            raise Conflict(f"the pod {pod.id} is being removed")
        if spec.id in self.containers:
            raise Conflict(f"there is a container {spec.id} already")
        if spec.name in pod.containers:
            raise Conflict(f"the pod {pod.id} has a container {spec.name} already")
        status = ContainerStatus(id=spec.id, name=spec.name, pod=pod.id, state="created", created=self.clock.time())
        container = Container(spec, pod, status)
        self.containers[spec.id] = pod.containers[spec.name] = container
        try:
            with self.store.transaction() as tx:
                tx.put(CONTAINERS, ContainerRow(pod=pod.id, spec=spec))
                tx.put(STATES, StateRow(status=status))
            await self.settled()
        except BaseException:  # the caller went away, or the disk refused
            self._drop(container)
            self._delete_rows(container)
            raise
        return container

    def set(self, container: Container, **changes: Any) -> None:
        """Change how a container is."""
        container.status = replace(container.status, **changes)
        if not container.removed:
            with self.store.transaction() as tx:
                tx.put(STATES, StateRow(status=container.status))

    def change_spec(self, container: Container, spec: ContainerSpec) -> None:
        container.spec = spec
        with self.store.transaction() as tx:
            tx.put(CONTAINERS, ContainerRow(pod=container.pod.id, spec=spec))

    async def remove_container(self, container: Container) -> None:
        self.forget_container(container)
        await self.settled()

    def forget_container(self, container: Container) -> None:
        """Remove it. Durable when `settled` has returned."""
        self._drop(container)
        self._delete_rows(container)

    def _delete_rows(self, container: Container) -> None:
        with self.store.transaction() as tx:
            tx.delete(CONTAINERS, (container.id,))
            tx.delete(STATES, (container.id,))

    async def remove_pod(self, pod: Pod) -> None:
        pod.removed = True
        self.pods.pop(pod.id, None)
        with self.store.transaction() as tx:
            tx.delete(PODS, (pod.id,))
        await self.settled()

    def _drop(self, container: Container) -> None:
        container.removed = True
        self.containers.pop(container.id, None)
        container.pod.containers.pop(container.spec.name, None)
        for waiter in container.waiters:
            if not waiter.done():
                waiter.set_exception(NotFound(f"the container {container.id} was removed"))
        container.waiters.clear()

    async def settled(self) -> None:
        """Durable.

        Raises:
            Unavailable: the disk refused, and the store has undone it.
        """
        try:
            await self.store.settled()
        except kernel_errors.Unavailable as error:
            raise Unavailable(str(error)) from error

    # waiting and telling

    def ended(self, container: Container) -> None:
        """Wake those who wait for its end."""
        waiters, container.waiters = container.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(container.exit)

    async def wait(self, container: Container) -> Exit:
        status = container.status
        if status.state == "exited" or (status.state == "created" and status.error):
            return container.exit
        waiter: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        container.waiters.append(waiter)
        try:
            return await waiter
        finally:
            if waiter in container.waiters:
                container.waiters.remove(waiter)

    def subscribe(self, callback: Callable[[PodEvent], None]) -> Callable[[], None]:
        self._listeners.append(callback)

        def end() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return end

    def tell(self, kind: EventKind, container: Container, time: float | None = None, **attributes: str) -> None:
        when = self.clock.time() if time is None else time
        event = PodEvent(kind=kind, time=when, status=container.status, attributes=attributes)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener to the events of containers failed at %s", kind)
