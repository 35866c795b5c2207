"""What goes on with Docker's containers beside requests: the driver's events become Docker's, ends are waited for, containers are started again or removed.

The end of a process, in plain words. Whoever waits for the next exit is answered. Then the restart policy is asked (restart.py): if it wants
another run, the container is "restarting" until the delay is over. If not, and it was made with AutoRemove, it is removed. Neither happens while
somebody restarts or removes it by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.restart import Restarts
from cloudstead.engine.errors import Conflict, EngineError, NotFound
from cloudstead.engine.pods.states import PodEvent
from cloudstead.engine.volumes.volumes import Volumes

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

log = logging.getLogger(__name__)

Condition: TypeAlias = Literal["not-running", "next-exit", "removed"]
ACTIONS = {"start": "start", "die": "die", "oom": "oom", "stop": "stop", "kill": "kill", "pause": "pause", "unpause": "unpause", "update": "update", "resize": "resize"}  # fmt: skip


class Outcome(msgspec.Struct, frozen=True):
    code: int
    error: str = ""


class Life:
    """`api.part(Life)`."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._containers = api.part(Containers)
        self._restarts = Restarts(api.engine.clock, self._start_again)
        self._waiters: dict[str, list[tuple[Condition, asyncio.Future[Outcome]]]] = {}
        self._by_hand: set[str] = set()  # being restarted by somebody: their end means nothing
        self._ends: dict[str, Outcome] = {}  # how those ended that are being removed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Listen to the driver; start and remove what its policy says of what ended while nobody looked."""
        self._unsubscribe = self._api.engine.pods.subscribe(self._told)
        for row in self._containers.all():
            status = self._containers.status(row)
            if status.state in ("running", "paused"):
                continue
            if row.host_config.auto_remove:
                self._spawn(self._remove_by_itself(row.id))
            elif status.started and self._restarts.at_boot(row, status.exit_code):
                self._restart_later(row)

    async def stop(self) -> None:
        self._unsubscribe()
        self._restarts.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        for waiters in self._waiters.values():
            for _, waiter in waiters:
                waiter.cancel()

    # waiting

    async def wait(self, row: DockerContainer, condition: Condition) -> Outcome:
        """Returns when it is so."""
        if condition == "not-running" and not self.alive(row):
            return self._outcome(row)
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        entry = (condition, waiter)
        self._waiters.setdefault(row.id, []).append(entry)
        try:
            return await waiter
        finally:
            left = self._waiters.get(row.id, [])
            if entry in left:
                left.remove(entry)
            if not left:
                self._waiters.pop(row.id, None)

    def alive(self, row: DockerContainer) -> bool:
        """Whether it runs, is paused, or is about to be started again."""
        return row.id in self._containers.restarting or self._containers.runs(row)

    def _outcome(self, row: DockerContainer) -> Outcome:
        status = self._containers.status(row)
        return Outcome(status.exit_code, status.error)

    def _wake(self, id: str, outcome: Outcome, *conditions: Condition) -> None:
        for condition, waiter in self._waiters.get(id, []):
            if condition in conditions and not waiter.done():
                waiter.set_result(outcome)

    # what the driver tells

    def _told(self, event: PodEvent) -> None:
        row = self._containers.by_id(event.status.id)
        if row is None:
            return
        if event.kind == "health":
            self._containers.tell(row, f"health_status: {event.attributes.get('status', '')}", time=event.time)
        elif (action := ACTIONS.get(event.kind)) is not None:
            attributes = dict(event.attributes)
            if event.kind == "die":
                attributes["execDuration"] = str(max(0, int(event.time - (event.status.started or event.time))))
            self._containers.tell(row, action, attributes, time=event.time)
        if event.kind == "start":
            self._containers.restarting.discard(row.id)
        elif event.kind == "die":
            self._ended(row, event)

    def _ended(self, row: DockerContainer, event: PodEvent) -> None:
        again, outcome = False, Outcome(event.status.exit_code, event.status.error)
        if row.id in self._containers.removing:
            self._ends[row.id] = outcome
        elif row.id not in self._by_hand:
            again = self._restarts.wanted(row, event.status.exit_code)
        if again:
            self._restart_later(row, ran=event.status.finished - event.status.started)
        self._wake(row.id, outcome, "not-running", "next-exit")
        if not again and row.host_config.auto_remove and row.id not in self._by_hand:
            self._spawn(self._remove_by_itself(row.id))

    # starting again

    def _restart_later(self, row: DockerContainer, *, ran: float = 0.0) -> None:
        self._containers.restarting.add(row.id)
        self._restarts.schedule(row.id, ran=ran)

    def _start_again(self, id: str) -> None:
        self._spawn(self._start_now(id))

    async def _start_now(self, id: str) -> None:
        row = self._containers.by_id(id)
        if row is None or id not in self._containers.restarting:
            return
        self._containers.change(id, restart_count=row.restart_count + 1)
        try:
            await self._api.engine.pods.start(id)
        except EngineError as error:
            log.warning("container %s cannot be started again: %s", row.name, error.message)
            self._gave_up(id)

    def _gave_up(self, id: str) -> None:
        self._containers.restarting.discard(id)
        row = self._containers.by_id(id)
        if row is not None:
            self._wake(id, self._outcome(row), "not-running", "next-exit")

    def cancel_restart(self, row: DockerContainer) -> bool:
        """It shall not be started again; whether it was about to be."""
        waited = row.id in self._containers.restarting
        self._restarts.forget(row.id)
        if waited:
            self._gave_up(row.id)
        return waited

    def policy_changed(self, row: DockerContainer) -> None:
        """One that waits for its restart may have nothing to wait for any more."""
        if row.id in self._containers.restarting and not self._restarts.wanted(row, self._containers.status(row).exit_code):
            self.cancel_restart(row)

    # by hand

    async def start_container(self, row: DockerContainer) -> None:
        """As `docker start`: with a fresh count of restarts. When it cannot be started, and was made with AutoRemove, it is gone."""
        self._restarts.forget(row.id)
        if row.stopped or row.restart_count:
            self._containers.change(row.id, stopped=False, restart_count=0)
        try:
            await self._api.engine.pods.start(row.id)
        except EngineError:
            if row.host_config.auto_remove and not self._containers.runs(row):
                await self._remove_by_itself(row.id)
            raise
        await self._resize_console(row)

    async def stop_container(self, row: DockerContainer, within: float | None, signal: str = "") -> None:
        """As `docker stop`."""
        if not row.stopped:
            self._containers.change(row.id, stopped=True)
        if not self.cancel_restart(row):
            await self._api.engine.pods.stop(row.id, within=within, signal=signal)

    async def restart_container(self, row: DockerContainer, within: float | None, signal: str = "") -> None:
        self._by_hand.add(row.id)
        try:
            self.cancel_restart(row)
            if self._containers.runs(row):
                await self._api.engine.pods.stop(row.id, within=within, signal=signal)
        finally:
            self._by_hand.discard(row.id)
        current = self._containers.by_id(row.id)
        if current is None:
            raise NotFound(f"No such container: {row.id}")
        await self.start_container(current)
        self._containers.tell(current, "restart")

    async def _resize_console(self, row: DockerContainer) -> None:
        size = row.host_config.console_size
        if row.tty and size and all(size):
            try:
                await self._api.engine.pods.resize(row.id, size[0], size[1])
            except EngineError:  # it has ended already
                return

    # removing

    async def remove(self, row: DockerContainer, *, force: bool = False, volumes: bool = False) -> None:
        """With its pod, and with `volumes` those that were made for it alone."""
        if row.id in self._containers.removing:
            raise Conflict(f"removal of container {row.id} is already in progress")
        if not force and self.alive(row):
            state = self._containers.state(row)
            why = (
                "container is paused and must be unpaused first"
                if state == "paused"
                else (f"container is {state}: stop the container before removing or force remove")
            )
            raise Conflict(f'cannot remove container "/{row.name}": {why}')
        self._containers.removing.add(row.id)
        try:
            await asyncio.shield(self._spawn(self._remove(row, volumes)))
        except asyncio.CancelledError:
            raise
        except EngineError as error:
            self._wake(row.id, Outcome(self._outcome(row).code, error.message), "removed")
            raise

    async def _remove(self, row: DockerContainer, with_volumes: bool) -> None:
        volumes = self._api.engine.volumes
        try:
            self.cancel_restart(row)
            outcome = self._outcome(row)
            await self._api.engine.pods.remove_pod(row.id, force=True)
            outcome = self._ends.pop(row.id, outcome)
            await volumes.release_all(row.id)
            self._containers.delete(row.id)
            if not row.host_config.auto_remove:  # else the next daemon, should it find the row, removes it itself
                await self._api.engine.store.settled()
        finally:
            self._containers.removing.discard(row.id)
            self._ends.pop(row.id, None)
        self._containers.tell(row, "destroy")
        self._wake(row.id, Outcome(outcome.code), "not-running", "next-exit", "removed")
        if with_volumes:
            await self._remove_volumes(volumes, row)

    async def _remove_volumes(self, volumes: Volumes, row: DockerContainer) -> None:
        for point in row.mounts:
            if point.type == "volume" and point.anonymous:
                try:
                    await volumes.remove(point.name)
                except (Conflict, NotFound):  # somebody else has it by VolumesFrom
                    continue
                self._api.events.tell("volume", "destroy", point.name, {"driver": "local"})

    async def _remove_by_itself(self, id: str) -> None:
        row = self._containers.by_id(id)
        if row is None or id in self._containers.removing:
            return
        try:
            await self.remove(row, force=True, volumes=True)
        except EngineError as error:
            log.warning("container %s cannot be removed: %s", row.name, error.message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, EngineError):
            log.error("a task of Docker's containers failed", exc_info=error)


async def start(api: DockerApi) -> None:
    await api.part(Life).start()


async def stop(api: DockerApi) -> None:
    await api.part(Life).stop()
