"""The life of a container, step by step, and what is told of it. How it is run is the driver's.

    created ──start──▶ running ◀──resume/pause──▶ paused
       ▲ failed start     └────────── its end ─────────▶ exited ──start──▶ running …

A call that changes something goes on when its caller goes away: a half-started container helps nobody. Starting, pausing, changing and removing a
container take turns; signals and its end do not wait for them. The end of a process may be told before the answer that it runs: it is kept
until then (`Container.early`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

from msgspec.structs import asdict, replace

from cloudstead.engine.errors import Conflict, EngineError, Failed, InvalidArgument, NotFound
from cloudstead.engine.pods import health
from cloudstead.engine.pods.api import Execution
from cloudstead.engine.pods.execution import RunningExec
from cloudstead.engine.pods.failures import exit_code_of
from cloudstead.engine.pods.pod_life import PodLife
from cloudstead.engine.pods.records import Container
from cloudstead.engine.pods.signals import SIGKILL, number_of
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, Resources
from cloudstead.engine.pods.states import ContainerStatus, Exit, Health
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger(__name__)

CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
GRACE = 0.02  # seconds
KILLED_WITHIN = 30.0  # seconds in which SIGKILL must have worked: a process in uninterruptible sleep may take its time


class Lifecycle(PodLife):
    """A Driver but for how containers are run."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._watches: dict[str, asyncio.Task[None]] = {}  # health checks, by container

    async def create_container(self, pod: str, spec: ContainerSpec) -> None:
        found = self.records.pod(pod)
        if not CONTAINER_ID.fullmatch(spec.id):
            raise InvalidArgument(f"{spec.id!r} is no id of a container: 64 hexadecimal digits")
        if not spec.args:
            raise InvalidArgument("no command specified")
        number_of(spec.stop_signal)
        await self._check(found, spec)
        # Without a task of its own, so that its rows go to the disk together with what its caller writes in the same turn of the loop.
        container = await self.records.add_container(found, spec)
        await self._apart(self._is_created(container))

    async def start(self, container: str) -> None:
        await self._apart(self._start(self.records.container(container)))

    async def signal(self, container: str, signal: str) -> None:
        number = number_of(signal)
        found = self.records.container(container)
        self._require_alive(found)
        await self._apart(self._deliver(found, number))

    async def stop(self, container: str, *, within: float | None = None, signal: str = "") -> None:
        found = self.records.container(container)
        number = number_of(signal or found.spec.stop_signal)
        await self._apart(self._stop(found, found.spec.stop_timeout if within is None else within, number))

    async def pause(self, container: str) -> None:
        await self._apart(self._pause(self.records.container(container)))

    async def resume(self, container: str) -> None:
        await self._apart(self._resume(self.records.container(container)))

    async def update(self, container: str, resources: Resources) -> None:
        await self._apart(self._update(self.records.container(container), resources))

    async def wait(self, container: str) -> Exit:
        return await self.records.wait(self.records.container(container))

    def inspect(self, container: str) -> ContainerStatus:
        return self.records.container(container).status

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        await self._apart(self._remove_for_good(self.records.container(container), force))

    async def execute(self, container: str, spec: ExecSpec) -> Execution:
        found = self.records.container(container)
        self._require_alive(found)
        if found.status.state == "paused":
            raise Conflict(f"Container {found.id} is paused, unpause the container before exec")
        if not spec.args:
            raise InvalidArgument("No exec command specified")
        return await self._apart(self._execute_and_tell(found, spec))

    async def resize(self, container: str, rows: int, columns: int) -> None:
        found = self.records.container(container)
        self._require_alive(found)
        await self._resize(found, rows, columns)
        self.records.tell("resize", found, height=str(rows), width=str(columns))

    async def _is_created(self, container: Container) -> None:
        try:
            await self._claim(container)
        except BaseException:
            await self.records.remove_container(container)
            raise
        self.records.tell("create", container)

    # start

    async def _ready(self) -> None:
        """Wait, but not for ever, until commands can be given and all that runs is known."""

    async def _start(self, container: Container) -> None:
        pod = container.pod
        await self._ready()  # without the lock: what runs already may be found again now
        async with container.lock:
            self._require_there(container)
            if container.status.state == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.status.state == "running":
                return
            pod.starting += 1
            container.early = None
            try:
                await self._join(pod)
                pid, started = await self._run(container)
                self._is_running(container, pid, started)
            except EngineError as error:
                self._did_not_start(container, error)
                raise
            finally:
                pod.starting -= 1
                self._leave_later(pod)

    def _is_running(self, container: Container, pid: int, started: float) -> None:
        container.killed = False
        self.records.set(
            container,
            state="running",
            pid=pid,
            started=max(started, container.status.created),
            finished=0.0,
            exit_code=0,
            oom_killed=False,
            error="",
            health=health.first(container.spec.health),
        )
        self.records.tell("start", container)
        self._watch_health(container)
        early, container.early = container.early, None
        if early is not None and early[0] == pid:
            self._has_ended(container, pid, early[1])

    def _did_not_start(self, container: Container, error: EngineError) -> None:
        code = exit_code_of(error.message) if isinstance(error, Failed) else 128
        self.records.set(container, exit_code=code, error=error.message, pid=0)
        self.records.ended(container)

    # end

    def _has_ended(self, container: Container, pid: int, how: Exit) -> None:
        """A process is no more. Called by the driver, once or more often for each run; `pid` tells which."""
        if container.removed:
            return
        if not container.alive:
            container.early = (pid, how)
            return
        if pid and container.status.pid and pid != container.status.pid:
            return
        if container.resuming:  # the answers to what brought its end come after it
            self._is_resumed(container)
        self._unwatch_health(container)
        finished = max(how.finished or self.clock.time(), container.status.started)  # times of files are those of the last tick
        oom = how.oom_killed or container.status.oom_killed
        first = oom and not container.status.oom_killed
        self.records.set(
            container,
            state="exited",
            pid=0,
            exit_code=how.code,
            oom_killed=oom,
            finished=finished,
            error=how.error,
        )
        if first:
            self.records.tell("oom", container)
        for number in container.delivering:
            self.records.tell("kill", container, signal=str(number))
        container.delivering.clear()
        self._log_complete(container)
        self.records.tell("die", container, exitCode=str(how.code))
        self.records.ended(container)
        self._spawn(self._after_end(container, GRACE))
        self._leave_later(container.pod)

    async def _after_end(self, container: Container, grace: float = 0.0) -> None:
        """Clean up, unless within a moment it is removed (`docker run --rm`) or started again, either of which does it in passing."""
        if grace:
            await self.clock.sleep(grace)
        async with container.lock:
            if container.removed or container.alive:
                return
            try:
                await self._clean_up(container)
            except EngineError as error:  # the next start or the sweeper does it
                log.warning("what container %s left cannot be cleaned up now: %s", container.id, error)

    def _out_of_memory(self, container: Container) -> None:
        """A process of it was killed for want of memory. Called by the driver."""
        if container.alive and not container.status.oom_killed:
            self.records.set(container, oom_killed=True)
            self.records.tell("oom", container)

    async def _deliver(self, container: Container, number: int) -> None:
        container.delivering.append(number)
        try:
            await self._signal(container, number)
            container.killed = container.killed or (number == SIGKILL and container.alive)
            if number in container.delivering:
                self.records.tell("kill", container, signal=str(number))
        finally:
            if number in container.delivering:
                container.delivering.remove(number)
        if number in (SIGKILL, number_of(container.spec.stop_signal)):
            await self._let_die(container)

    async def _let_die(self, container: Container) -> None:
        """What is frozen cannot die. Others may want the same, so it may go on by the time that it is its turn."""
        if container.status.state == "paused":
            with contextlib.suppress(Conflict):
                await self._resume(container)

    async def _stop(self, container: Container, within: float, number: int) -> None:
        async with container.lock:  # a start that is under way
            pass
        if not container.alive:
            return
        ended = asyncio.ensure_future(self.records.wait(container))
        try:
            if not await self._signal_and_wait(container, ended, number, None if within < 0 else within):
                await self._kill(container, ended)
        finally:
            ended.cancel()
        if not container.removed:
            self.records.tell("stop", container)

    async def _kill(self, container: Container, ended: asyncio.Future[Exit]) -> None:
        if not await self._signal_and_wait(container, ended, SIGKILL, KILLED_WITHIN):
            raise Failed(f"container {container.id} did not end {KILLED_WITHIN:g} seconds after SIGKILL")

    async def _signal_and_wait(self, container: Container, ended: asyncio.Future[Exit], number: int, within: float | None) -> bool:
        try:
            await self._deliver(container, number)
        except Conflict:  # it has ended: that will be told in a moment
            within = KILLED_WITHIN
        try:
            async with self.clock.timeout(within):
                await asyncio.shield(ended)
        except TimeoutError:
            return False
        except NotFound:
            return True
        return True

    # other changes

    async def _pause(self, container: Container) -> None:
        async with container.lock:
            self._require_alive(container)
            if container.status.state == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            await self._freeze(container)
            if container.killed:  # meanwhile
                await self._thaw(container)
            if container.killed:
                raise Conflict(f"container {container.id} is not running")
            if container.alive:
                self._unwatch_health(container)
                self.records.set(container, state="paused")
                self.records.tell("pause", container)

    async def _resume(self, container: Container) -> None:
        async with container.lock:
            if container.status.state != "paused":
                raise Conflict(f"Container {container.id} is not paused")
            container.resuming = True
            try:
                await self._thaw(container)
                self._is_resumed(container)
            finally:
                container.resuming = False

    def _is_resumed(self, container: Container) -> None:
        if container.status.state == "paused":
            self.records.set(container, state="running")
            self.records.tell("unpause", container)
            self._watch_health(container)

    async def _update(self, container: Container, resources: Resources) -> None:
        async with container.lock:
            self._require_there(container)
            await self._limit(container, resources)
            given = {name: value for name, value in asdict(resources).items() if value}
            self.records.change_spec(container, replace(container.spec, resources=replace(container.spec.resources, **given)))
        await self.records.settled()
        self.records.tell("update", container)

    async def _remove_for_good(self, container: Container, force: bool) -> None:
        await self._remove(container, force)
        await self.records.settled()

    async def _remove(self, container: Container, force: bool) -> None:
        while True:
            if container.alive:
                await self._end_for_removal(container, force)
            async with container.lock:  # a start that is under way; with force, what it has started is ended too
                if container.removed:
                    return
                if not container.alive:
                    await self._discard(container)
                    self.records.forget_container(container)
                    break
        self.records.tell("remove", container)

    async def _end_for_removal(self, container: Container, force: bool) -> None:
        if not force:
            state = container.status.state
            raise Conflict(f"cannot remove container {container.id}: container is {state}: stop the container before removing")
        ended = asyncio.ensure_future(self.records.wait(container))
        try:
            await self._kill(container, ended)
        finally:
            ended.cancel()

    async def _execute_and_tell(self, container: Container, spec: ExecSpec) -> RunningExec:
        execution = await self._execute(container, spec)
        self.records.tell("exec", container, execID=execution.id, pid=str(execution.pid))
        self._spawn(self._tell_end(container, execution))
        return execution

    async def _tell_end(self, container: Container, execution: RunningExec) -> None:
        code = await execution.wait()
        if not container.removed:
            self.records.tell("exec", container, execID=execution.id, exitCode=str(code))

    # health

    def _watch_health(self, container: Container) -> None:
        check, known = container.spec.health, container.status.health
        if check is None or known is None or not container.alive:
            return

        def tell(now: Health) -> None:
            before = container.status.health
            if container.status.state != "running":
                return
            self.records.set(container, health=now)
            if before is None or before.status != now.status:
                self.records.tell("health", container, status=now.status)

        async def execute(spec: ExecSpec) -> Execution:
            return await self.execute(container.id, spec)

        self._unwatch_health(container)
        watch = health.watch(check, known, started=container.status.started, clock=self.clock, execute=execute, tell=tell)
        self._watches[container.id] = self._spawn(watch)

    def _unwatch_health(self, container: Container) -> None:
        watch = self._watches.pop(container.id, None)
        if watch is not None:
            watch.cancel()

    def _require_alive(self, container: Container) -> None:
        self._require_there(container)
        if not container.alive:
            raise Conflict(f"container {container.id} is not running")

    def _require_there(self, container: Container) -> None:
        if container.removed:
            raise NotFound(f"there is no container {container.id}")
