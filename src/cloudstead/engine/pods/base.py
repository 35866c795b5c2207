"""What every driver must say of itself, and what its layers have in common: records, tasks that outlive their callers.

DriverBase   base.py        the questions that a driver answers
PodLife      pod_life.py    pods and their networks
Lifecycle    lifecycle.py   containers
OciDriver, SimulatedDriver
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from cloudstead.engine.network.api import AttachedInterface, PortMapping
from cloudstead.engine.pods.api import Streams
from cloudstead.engine.pods.execution import RunningExec
from cloudstead.engine.pods.records import Container, Pod, Records
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, Resources
from cloudstead.engine.pods.states import LogRecord, PodEvent, Processes, Stats
from cloudstead.engine.snapshots.api import Change, PathStat
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")


class DriverBase(abc.ABC):
    name = ""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.clock = clock
        self.records = Records(store, clock)
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # the questions

    @abc.abstractmethod
    async def _check(self, pod: Pod, spec: ContainerSpec) -> None:
        """Refuse what can be known to be wrong when a container is created."""

    @abc.abstractmethod
    async def _claim(self, container: Container) -> None:
        """It has been created: whatever it will use is kept for it."""

    @abc.abstractmethod
    def _log_complete(self, container: Container) -> None:
        """A run has ended, and all that it wrote is in its log."""

    @abc.abstractmethod
    async def _run(self, container: Container) -> tuple[int, float]:
        """Start a run: pid and when. Raises Failed, with the sentence that Docker says."""

    @abc.abstractmethod
    async def _signal(self, container: Container, number: int) -> None: ...

    @abc.abstractmethod
    async def _freeze(self, container: Container) -> None: ...

    @abc.abstractmethod
    async def _thaw(self, container: Container) -> None: ...

    @abc.abstractmethod
    async def _limit(self, container: Container, resources: Resources) -> None:
        """New limits; also called for one that does not run, to refuse senseless ones."""

    @abc.abstractmethod
    async def _clean_up(self, container: Container) -> None:
        """A run is over: free what it held, keep its log and files. A second time it does nothing."""

    @abc.abstractmethod
    async def _discard(self, container: Container) -> None:
        """Everything of a container that does not run. A second time it does nothing."""

    @abc.abstractmethod
    async def _discard_pod(self, pod: Pod) -> None: ...

    @abc.abstractmethod
    async def _join_network(self, pod: Pod) -> tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]: ...

    @abc.abstractmethod
    async def _leave_network(self, pod: Pod) -> None: ...

    @abc.abstractmethod
    async def _connect(self, pod: Pod, index: int) -> AttachedInterface: ...

    @abc.abstractmethod
    async def _disconnect(self, pod: Pod, network: str) -> None: ...

    @abc.abstractmethod
    async def _execute(self, container: Container, spec: ExecSpec) -> RunningExec: ...

    @abc.abstractmethod
    async def attach(self, container: str) -> Streams: ...

    @abc.abstractmethod
    def logs(
        self, container: str, *, follow: bool = False, since: float = 0.0, until: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogRecord]: ...

    @abc.abstractmethod
    async def stats(self, container: str) -> Stats: ...

    @abc.abstractmethod
    async def processes(self, container: str, ps_arguments: str = "") -> Processes: ...

    @abc.abstractmethod
    async def _resize(self, container: Container, rows: int, columns: int) -> None: ...

    @abc.abstractmethod
    async def stat_path(self, container: str, path: str) -> PathStat: ...

    @abc.abstractmethod
    def get_archive(self, container: str, path: str) -> AsyncIterator[bytes]: ...

    @abc.abstractmethod
    async def put_archive(
        self, container: str, path: str, tar: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool = False, copy_uid_gid: bool = False
    ) -> None: ...

    @abc.abstractmethod
    async def changes(self, container: str) -> list[Change]: ...

    @abc.abstractmethod
    def export(self, container: str) -> AsyncIterator[bytes]: ...

    # in common

    def subscribe(self, callback: Callable[[PodEvent], None]) -> Callable[[], None]:
        return self.records.subscribe(callback)

    async def _apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it to its end, also when the caller goes away."""
        task = asyncio.ensure_future(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        task.add_done_callback(_complain)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; if nobody does any more, so be it

    async def _end_tasks(self) -> None:
        """For the driver's end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the driver of containers failed", exc_info=error)
