"""The driver of real containers: conmon and an OCI runtime, through the engine host.

This side decides and remembers, the host does. Containers outlive both: when this daemon starts, or the host had to be started anew, the host
lists what there is, and the difference to what is known is told (`recovery`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator

from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound, Unavailable
from cloudstead.engine.host.channel import close_all
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.network.api import AttachedInterface, Networks, PortMapping
from cloudstead.engine.pods import commands, limits
from cloudstead.engine.pods.api import Streams
from cloudstead.engine.pods.container_files import ContainerFiles
from cloudstead.engine.pods.execution import RunningExec
from cloudstead.engine.pods.following import Following
from cloudstead.engine.pods.inotify import Growth
from cloudstead.engine.pods.lifecycle import CONTAINER_ID
from cloudstead.engine.pods.namespaces import Namespaces
from cloudstead.engine.pods.reconciling import LOST
from cloudstead.engine.pods.records import Container, Pod
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, Resources
from cloudstead.engine.pods.states import LogRecord, Processes, Stats
from cloudstead.engine.pods.streams import MonitorStreams, TerminalStreams, exec_streams
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.volumes.volumes import Volumes
from cloudstead.kernel import ids
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that a start, a command or a log waits for a host that died
MOST_EARLY = 1000  # ends of commands whose start was not heard of, because the answer was lost
HOST_AGAIN = (0.05, 5.0)  # seconds between attempts to start a new host, at first and at most


class OciDriver(ContainerFiles):
    name = "oci"

    def __init__(self, store: Store, clock: Clock, host: HostClient, networks: Networks, volumes: Volumes, snapshots: Snapshots) -> None:
        super().__init__(store, clock, host, snapshots)
        self.networks = networks
        self.volumes = volumes
        self._namespaces = Namespaces(self.records)
        self._executions: dict[str, RunningExec] = {}
        self._early: dict[str, int] = {}  # exit codes that came before the answer that it runs
        self._attaching: dict[str, list[MonitorStreams]] = {}  # who waits for a container's start
        self._readers: dict[str, list[Following]] = {}  # who follows its log
        self._growth = Growth()
        self._suspects: dict[str, None] = {}  # files of containers that the last sweep did not know
        self._kernel = limits.Kernel()  # what this machine's can limit
        self._there = asyncio.Event()  # the host, and all that is to be known of it; waited for only when it was lost
        self._there.set()
        self._losses = 0  # of hosts
        self._starting_host: asyncio.Task[None] | None = None
        self._stopped = False

    # the driver itself

    async def start_driver(self) -> None:
        self.records.load()
        self.host.on(commands.ContainerExited, self._exited)
        self.host.on(commands.ContainerOom, self._oom)
        self.host.on(commands.ExecExited, self._exec_exited)
        self.host.on(commands.LogRotated, self._log_rotated)
        self.host.lost = self._host_lost
        self._stopped = False
        self._kernel = _kernel(await self.host.call(commands.DescribeHost()))
        await self._reconcile()

    async def stop_driver(self) -> None:
        self._stopped = True
        self.host.lost = lambda: None
        await self._end_tasks()
        for waiting in self._attaching.values():
            for streams in waiting:
                streams.end()
        self._attaching.clear()

    async def sweep(self) -> list[str]:
        """Remove what no row owns, and notice what is gone without having been told."""
        removed = await self.host.call(commands.SweepContainers(containers=tuple(self.records.containers), pods=tuple(self.records.pods)))
        unknown = {
            key: None for key in await self.snapshots.list_writables() if CONTAINER_ID.fullmatch(key) and key not in self.records.containers
        }
        for key in unknown.keys() & self._suspects.keys():  # one seen for the first time may be for a container that is about to be created
            await self.snapshots.remove(key)
            removed.append(f"what the container {key} wrote, which is no more")
        self._suspects = unknown
        removed += await self.volumes.release_strays(self.records.containers)
        await self._reconcile()
        return removed

    def _host_lost(self) -> None:
        """Containers go on; what ran beside them can no longer be heard of."""
        log.warning("the engine host has ended; a new one is started")
        self._losses += 1
        self._there.clear()
        for execution in list(self._executions.values()):
            execution.ended(LOST)
        self._executions.clear()
        if self._starting_host is None or self._starting_host.done():
            self._starting_host = self._spawn(self._host_again())

    async def _host_again(self) -> None:
        """One task only, however often a host ends meanwhile: two would end each other's hosts."""
        pause, longest = HOST_AGAIN
        while not self._stopped:
            losses = self._losses
            try:
                await self.host.restart()
                await self.networks.restore()
                await self._reconcile()
                if self._losses == losses:
                    self._there.set()
                    return
            except (EngineError, OSError) as error:
                log.warning("the engine host cannot be started: %s", error)
            await self.clock.sleep(pause)
            pause = min(longest, pause * 2)

    async def _ready(self) -> None:
        """Wait for a new host that is being started, but not for ever: whoever calls it then is told why there is none."""
        with contextlib.suppress(TimeoutError):
            async with self.clock.timeout(PATIENCE):
                await self._there.wait()

    async def _list(self, only: tuple[str, ...] = ()) -> list[commands.FoundContainer]:
        return await self.host.call(commands.ListContainers(only=only))

    # life

    async def _check(self, pod: Pod, spec: ContainerSpec) -> None:
        for name in _volumes_of(spec):
            self.volumes.get(name)
        limits.check(spec.resources, self._kernel)

    async def _claim(self, container: Container) -> None:
        for name in _volumes_of(container.spec):
            await self.volumes.use(name, container.id)

    async def _run(self, container: Container) -> tuple[int, float]:
        await self._ready()
        waiting = self._attaching.pop(container.id, [])
        try:
            await self._claim(container)
            return await self._create_and_start(container, waiting)
        except BaseException:
            for streams in waiting:
                streams.end()
            raise

    async def _create_and_start(self, container: Container, waiting: list[MonitorStreams]) -> tuple[int, float]:
        several = len(waiting) > 1
        command = self._namespaces.creation(container, start=not several, attach=bool(waiting))
        created, descriptors = await self.host.call_with_descriptors(command)
        for streams, descriptor in zip(waiting, descriptors, strict=False):
            streams.connect(descriptor)
        if not several:
            return created.pid, created.started
        try:
            for streams in waiting[1:]:
                await self._connect_streams(container.id, streams)
            return created.pid, await self.host.call(commands.StartContainer(id=container.id))
        except BaseException:
            await self._quietly(commands.CleanUpContainer(id=container.id))
            raise

    async def _quietly(self, command: commands.CleanUpContainer) -> None:
        try:
            await self.host.call(command)
        except EngineError as error:  # the sweeper meets it again
            log.warning("container %s: %s", command.id, error)

    async def _signal(self, container: Container, number: int) -> None:
        await self.host.call(commands.SignalContainer(id=container.id, signal=number))

    async def _freeze(self, container: Container) -> None:
        await self.host.call(commands.PauseContainer(id=container.id))

    async def _thaw(self, container: Container) -> None:
        await self.host.call(commands.ResumeContainer(id=container.id))

    async def _limit(self, container: Container, resources: Resources) -> None:
        await self.host.call(commands.UpdateContainer(id=container.id, resources=resources))

    async def _clean_up(self, container: Container) -> None:
        await self.host.call(commands.CleanUpContainer(id=container.id))

    async def _discard(self, container: Container) -> None:
        for streams in self._attaching.pop(container.id, []):
            streams.end()
        await self.host.call(commands.RemoveContainer(id=container.id))
        await self.snapshots.remove(container.id)
        await self.volumes.release_all(container.id)

    async def _discard_pod(self, pod: Pod) -> None:
        if pod.spec.share_pids or pod.spec.resources != Resources():  # else it has gone with its last container
            await self.host.call(commands.RemovePod(pod=pod.id))

    # the network

    async def _join_network(self, pod: Pod) -> tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]:
        self._namespaces.check(pod)
        network = pod.spec.network
        if network.mode != "vpc":
            return (), ()
        return await self.networks.attach(pod.id, network, names=self._namespaces.names_of(pod))

    async def _leave_network(self, pod: Pod) -> None:
        if pod.spec.network.mode == "vpc":
            await self.networks.detach(pod.id)

    async def _connect(self, pod: Pod, index: int) -> AttachedInterface:
        return await self.networks.connect(pod.id, pod.spec.network, index, names=self._namespaces.names_of(pod))

    async def _disconnect(self, pod: Pod, network: str) -> None:
        await self.networks.disconnect(pod.id, network)

    async def _network_changed(self, pod: Pod) -> None:
        hosts, resolv_conf = self._namespaces.files(pod)
        for container in list(pod.containers.values()):
            if container.alive:
                with contextlib.suppress(NotFound, Conflict):  # it has just ended
                    await self.host.call(commands.WriteNetworkFiles(id=container.id, hosts=hosts, resolv_conf=resolv_conf))

    # inside

    async def _execute(self, container: Container, spec: ExecSpec) -> RunningExec:
        id = ids.hex_digits(64)
        command = commands.ExecContainer(container=container.id, exec=id, spec=spec)
        await self._ready()
        started, descriptors = await self.host.call_with_descriptors(command)
        streams = exec_streams(spec, descriptors)

        async def signal(number: int) -> None:
            if execution.exit_code is not None:
                raise Conflict(f"exec {id} has ended")
            await self.host.call(commands.SignalExec(exec=id, signal=number))

        async def resize(rows: int, columns: int) -> None:
            if isinstance(streams, TerminalStreams):
                streams.resize(rows, columns)

        execution = RunningExec(id, started.pid, streams, signal=signal, resize=resize)
        if id in self._early:
            execution.ended(self._early.pop(id))
        else:
            self._executions[id] = execution
        return execution

    def _exec_exited(self, event: commands.ExecExited) -> None:
        execution = self._executions.pop(event.exec, None)
        if execution is not None:
            execution.ended(event.exit_code)
        else:
            self._early[event.exec] = event.exit_code
            while len(self._early) > MOST_EARLY:
                del self._early[next(iter(self._early))]

    async def attach(self, container: str) -> Streams:
        found = self.records.container(container)
        streams = MonitorStreams()
        async with found.lock:  # a start that is under way
            self._require_there(found)
            if found.alive:
                await self._connect_streams(container, streams)
            else:
                waiting = self._attaching.setdefault(container, [])
                waiting.append(streams)
                streams.when_closed = lambda: waiting.remove(streams) if streams in waiting else None
        return streams

    async def _connect_streams(self, container: str, streams: MonitorStreams) -> None:
        _, descriptors = await self.host.call_with_descriptors(commands.AttachContainer(id=container))
        streams.connect(descriptors.pop(0))
        close_all(descriptors)

    async def stats(self, container: str) -> Stats:
        self._require_alive(self.records.container(container))
        return await self.host.call(commands.ReadStats(id=container))

    async def processes(self, container: str, ps_arguments: str = "") -> Processes:
        self._require_alive(self.records.container(container))
        return await self.host.call(commands.ListProcesses(id=container, ps_arguments=ps_arguments or "-ef"))

    async def _resize(self, container: Container, rows: int, columns: int) -> None:
        await self.host.call(commands.ResizeContainer(id=container.id, rows=rows, columns=columns))

    # logs

    async def logs(
        self, container: str, *, follow: bool = False, since: float = 0.0, until: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogRecord]:
        found = self.records.container(container)
        if found.spec.log.driver == "none":
            raise InvalidArgument("configured logging driver does not support reading")

        async def open() -> list[int]:
            await self._ready()
            try:
                _, descriptors = await self.host.call_with_descriptors(commands.OpenLog(id=container))
            except Unavailable:  # it ended just now
                await self._ready()
                _, descriptors = await self.host.call_with_descriptors(commands.OpenLog(id=container))
            return descriptors

        reader = Following(open, self._growth, self.clock, live=follow and found.alive)
        readers = self._readers.setdefault(container, [])
        readers.append(reader)
        reading = reader.read(since=since, until=until, tail=tail)
        try:
            async for record in reading:
                yield record
        finally:
            readers.remove(reader)
            if not readers and self._readers.get(container) is readers:
                del self._readers[container]
            await reading.aclose()  # type: ignore[attr-defined]  # it is a generator

    def _log_rotated(self, event: commands.LogRotated) -> None:
        for reader in self._readers.get(event.id, ()):
            reader.turned()

    def _log_complete(self, container: Container) -> None:
        for reader in self._readers.get(container.id, ()):
            reader.ended()


def _kernel(facts: commands.HostFacts) -> limits.Kernel:
    cpus = os.sched_getaffinity(0)
    return limits.Kernel(facts.cgroup_version, frozenset(facts.controllers), facts.swap_limit, cpus=len(cpus), none=facts.no_cgroups)


def _volumes_of(spec: ContainerSpec) -> list[str]:
    return list(dict.fromkeys(mount.source for mount in spec.mounts if mount.type == "volume"))
