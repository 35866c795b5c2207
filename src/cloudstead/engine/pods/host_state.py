"""What the host keeps about containers while it runs: who is watched, who is busy. Nothing of it is needed to start again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.host.processes import open_pidfd
from cloudstead.engine.host.reaper import Reaper
from cloudstead.engine.host.server import Host
from cloudstead.engine.host.waiting import until_readable
from cloudstead.engine.pods import cgroups
from cloudstead.engine.pods.commands import ContainerExited
from cloudstead.engine.pods.host_records import Files, Found, Record, look

log = logging.getLogger("cloudstead.engine.host.pods")

ROOM = "pods"
KILLED = 137
LOWEST_FREE = 10
PARTS: list[Callable[[Pods], None]] = []
"""What else is to be done for containers that are watched; called once with a new Pods."""
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))  # runtimes that create at the same time: more only wait for each other, and take memory


class Watched:
    """A container whose end is waited for."""

    def __init__(self, record: Record, files: Files, pidfd: int) -> None:
        self.record = record
        self.files = files
        self.pidfd = pidfd
        self.ended = asyncio.get_running_loop().create_future()  # the end was told


class Pods:
    """The room's part of a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.watched: dict[str, Watched] = {}
        self.creating = asyncio.Semaphore(AT_ONCE)
        self.on_watch: list[Callable[[Watched], None]] = []
        self.on_end: list[Callable[[Watched], None]] = []
        self.extra: dict[str, Any] = {}  # what modules of this room keep
        self.making: Counter[str] = Counter()  # containers that are being created, by pod
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self.usual_limits = {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE)}  # of containers
        _raise_descriptors()
        linux.adopt_orphans()
        self._low = _occupy_low_descriptors()

    @contextlib.asynccontextmanager
    async def alone(self, container: str) -> AsyncIterator[None]:
        """One command a container at a time."""
        lock, users = self._locks.get(container, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[container] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[container]
            if users == 1:
                del self._locks[container]
            else:
                self._locks[container] = (lock, users - 1)

    @contextlib.asynccontextmanager
    async def making_in(self, pod: str) -> AsyncIterator[None]:
        """While a container is created."""
        self.making[pod] += 1
        try:
            async with self.creating:
                yield
        finally:
            self.making[pod] -= 1
            if not self.making[pod]:
                del self.making[pod]

    def busy(self, container: str) -> bool:
        return container in self._locks

    # ------------------------------------------------------------------------------------------------ watching

    def watch(self, record: Record, files: Files) -> Watched:
        """Tell the end of a run that is going on."""
        there = self.watched.get(record.id)
        if there is not None:
            there.record = record
            return there
        pidfd = open_pidfd(record.monitor)
        if pidfd is None:
            pidfd = _readable()  # it has ended meanwhile
        watched = self.watched[record.id] = Watched(record, files, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._monitor_ended, watched)
        for callback in self.on_watch:
            callback(watched)
        return watched

    def unwatch(self, container: str) -> None:
        """Its end will not be told."""
        watched = self.watched.pop(container, None)
        if watched is not None:
            self._let_go(watched)

    def close(self) -> None:
        for container in list(self.watched):
            self.unwatch(container)
        for fd in self._low:
            os.close(fd)
        self._low.clear()

    def _let_go(self, watched: Watched) -> None:
        asyncio.get_running_loop().remove_reader(watched.pidfd)
        with contextlib.suppress(OSError):
            os.waitid(os.P_PIDFD, watched.pidfd, os.WEXITED | os.WNOHANG)  # it may be a child of ours
        os.close(watched.pidfd)
        for callback in self.on_end:
            callback(watched)
        if not watched.ended.done():
            watched.ended.set_result(None)

    def _monitor_ended(self, watched: Watched) -> None:
        if look(watched.files, watched.record).finished and watched.files.exit.exists():
            self._tell(watched)
            return
        asyncio.get_running_loop().remove_reader(watched.pidfd)
        task = asyncio.ensure_future(self._unmonitored(watched))
        self.extra.setdefault("tasks", set()).add(task)
        task.add_done_callback(self.extra["tasks"].discard)

    async def _unmonitored(self, watched: Watched) -> None:
        """conmon was killed, or could not write: nobody keeps the log any more or would learn the exit code. So the container ends too."""
        log.warning("the monitor of container %s has ended by itself, which ends the container", watched.record.id)
        init = open_pidfd(watched.record.init)
        if init is not None:
            tree = cgroups.tree()
            cgroups.kill(tree, watched.record.cgroup)
            if cgroups.is_to_freeze(tree, watched.record.cgroup):
                cgroups.freeze(tree, watched.record.cgroup, False)  # what is frozen cannot die
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(init, signal.SIGKILL)  # and with it its PID namespace, where there is no cgroup
            try:
                await until_readable(init, 10.0)
            finally:
                os.close(init)
        if not watched.files.exit.exists() and watched.files.bundle.is_dir():
            with contextlib.suppress(OSError):  # the disk is full, which may be why conmon has ended: LOST, then
                watched.files.exit.write_text(str(KILLED))
        self._tell(watched)

    def _tell(self, watched: Watched) -> None:
        if self.watched.get(watched.record.id) is not watched:
            return
        del self.watched[watched.record.id]
        with contextlib.suppress(OSError):  # the end is told in any case
            note_oom(watched.files, watched.record)
        found = look(watched.files, watched.record)
        if not watched.record.holder:
            self.host.tell(
                ContainerExited(
                    id=watched.record.id,
                    pid=watched.record.init.pid,
                    exit_code=found.exit_code,
                    oom_killed=watched.files.oom_killed.exists(),
                    finished=found.finished,
                )
            )
        self._let_go(watched)

    # ------------------------------------------------------------------------------------------------ finding

    def require(self, container: str) -> tuple[Files, Record]:
        """Raises NotFound."""
        files = files_of(self.host, container)
        record = files.read()
        if record is None or record.holder:
            raise NotFound(f"No such container: {container}")
        return files, record

    def require_running(self, container: str) -> tuple[Files, Record]:
        """Created ones count: their first process is there. Raises NotFound, Conflict."""
        files, record = self.require(container)
        if not is_live(look(files, record)):
            raise Conflict(f"container {container} is not running")
        return files, record


def pods_of(host: Host) -> Pods:
    pods: Pods | None = host.parts.get(ROOM)
    if pods is None:
        pods = host.parts[ROOM] = Pods(host)
        host.closing.append(pods.close)
        host.closing.append(Reaper().close)
        for begin in PARTS:
            begin(pods)
    return pods


def files_of(host: Host, container: str) -> Files:
    if not (container.isascii() and container.isalnum() and 8 <= len(container) <= 64):
        raise InvalidArgument(f"{container!r} is no container id")
    return Files(host.layout, container)


def is_live(found: Found) -> bool:
    return found.state in ("created", "running")


def note_oom(files: Files, record: Record) -> None:
    """Keep what the cgroup knows, since it is about to go."""
    if files.oom.exists():
        files.oom.replace(files.oom_killed)
    elif not files.oom_killed.exists() and files.bundle.is_dir() and cgroups.oom_kills(cgroups.tree(), record.cgroup):
        files.oom_killed.touch()


def _readable() -> int:
    """A descriptor that is readable at once."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(writing)
    return reading


def _raise_descriptors() -> None:
    """A container takes one descriptor of this process; the usual soft limit is 1024. Containers keep the usual one: programs that close or
    poll all numbers up to it are slow with a million."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _occupy_low_descriptors() -> list[int]:
    """A child's descriptors are put in place one by one (dup2): none of those that are still to come may have the number of one before."""
    taken = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    while taken[-1] < LOWEST_FREE:
        taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    return taken
