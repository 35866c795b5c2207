"""The driver whose containers are simulated: the same life, records and events as of real ones, on any clock, with faults.

    driver = SimulatedDriver(clock, store, machine)

What runs is the machine's (`simulated_machine`), which outlives the driver as a real machine outlives the daemon: a new driver on the same store and
machine finds everything again. Addresses are made up, unless there are networks to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from msgspec.structs import asdict, replace

from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument
from cloudstead.engine.network.api import AttachedInterface, Networks, PodNetwork, PortMapping
from cloudstead.engine.pods import limits
from cloudstead.engine.pods.api import Streams
from cloudstead.engine.pods.commands import ContainerExited, ContainerOom, ExecExited, FoundContainer
from cloudstead.engine.pods.execution import RunningExec
from cloudstead.engine.pods.reconciling import Reconciling
from cloudstead.engine.pods.records import Container, Pod
from cloudstead.engine.pods.simulated_container import SimulatedContainer
from cloudstead.engine.pods.simulated_machine import Faults, SimulatedMachine
from cloudstead.engine.pods.simulated_programs import Process, Program
from cloudstead.engine.pods.simulated_streams import SimulatedStreams
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, Resources
from cloudstead.engine.pods.states import LogRecord, Processes, Stats
from cloudstead.engine.snapshots.api import Change, PathStat
from cloudstead.kernel import ids
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

T = TypeVar("T")

KERNEL = limits.Kernel()
FIRST_PORT, LAST_PORT = 32768, 60999

__all__ = ["Faults", "Process", "Program", "SimulatedDriver", "SimulatedMachine"]


class SimulatedDriver(Reconciling):
    name = "simulated"

    def __init__(
        self, clock: Clock, store: Store | None = None, machine: SimulatedMachine | None = None, *, networks: Networks | None = None
    ) -> None:
        super().__init__(store or Store.in_memory(clock=clock), clock)
        self.machine = machine or SimulatedMachine(clock)
        self.networks = networks
        self._executions: dict[str, RunningExec] = {}
        self._addresses = 0

    async def start_driver(self) -> None:
        self.records.load()
        self.machine.listen(self._told, self._host_lost)
        await self._find_again()

    async def stop_driver(self) -> None:
        self.machine.deaf()
        await self._end_tasks()

    async def sweep(self) -> list[str]:
        """Remove what no row owns."""
        strays = [id for id, container in self.machine.containers.items() if id not in self.records.containers and container.main is None]
        for id in strays:
            await self.machine.do("sweep", lambda id=id: self._drop(id))  # type: ignore[misc]
        for pod in self.records.pods.values():
            self._leave_later(pod)
        return [f"the container {id}" for id in strays]

    async def _drop(self, id: str) -> None:
        self.machine.containers.pop(id, None)

    def _told(self, event: object) -> None:
        if isinstance(event, ContainerExited):
            self._exited(event)
        elif isinstance(event, ContainerOom):
            self._oom(event)
        elif isinstance(event, ExecExited) and (execution := self._executions.pop(event.exec, None)) is not None:
            execution.ended(event.exit_code)

    def _host_lost(self) -> None:
        self._spawn(self._find_again())

    async def _find_again(self) -> None:
        while True:
            await self.machine.back()
            try:
                await self._reconcile()
                return
            except EngineError:
                await self.clock.sleep(1.0)

    # what a driver answers

    async def _list(self, only: tuple[str, ...] = ()) -> list[FoundContainer]:
        found = await self.machine.do("list", _answer(self.machine.list))
        return [each for each in found if not only or each.id in only]

    async def _check(self, pod: Pod, spec: ContainerSpec) -> None:
        limits.check(spec.resources, KERNEL)

    async def _claim(self, container: Container) -> None:
        pass

    def _log_complete(self, container: Container) -> None:
        pass

    async def _run(self, container: Container) -> tuple[int, float]:
        async def run() -> tuple[int, float]:
            found = self.machine.container(container.spec, container.pod.spec)
            if found.main is not None:  # an answer was lost
                return found.main.pid, found.started
            return await self.machine.run(found)

        try:
            return await self.machine.do("start", run)
        except EngineError:
            if (found := self.machine.containers.get(container.id)) is not None:
                for streams in found.attached:
                    streams.end()
                found.attached = []
            raise

    async def _signal(self, container: Container, number: int) -> None:
        await self.machine.do("signal", _answer(lambda: self.machine.require(container.id).signal(number)))

    async def _freeze(self, container: Container) -> None:
        await self.machine.do("pause", _answer(lambda: self.machine.require(container.id).freeze()))

    async def _thaw(self, container: Container) -> None:
        await self.machine.do("resume", _answer(lambda: self.machine.require(container.id).thaw()))

    async def _limit(self, container: Container, resources: Resources) -> None:
        limits.check(resources, KERNEL, update=True)

        def limit() -> None:
            found = self.machine.containers.get(container.id)
            if found is not None and found.main is not None:
                given = {name: value for name, value in asdict(resources).items() if value}
                found.spec = replace(found.spec, resources=replace(found.spec.resources, **given))
                found.check_memory(found.main)

        await self.machine.do("update", _answer(limit))

    async def _clean_up(self, container: Container) -> None:
        def clean_up() -> None:
            found = self.machine.containers.get(container.id)
            if found is not None:
                found.cleaned = True

        await self.machine.do("clean up", _answer(clean_up))

    async def _discard(self, container: Container) -> None:
        await self.machine.do("remove", lambda: self._drop(container.id))

    async def _discard_pod(self, pod: Pod) -> None:
        pass

    async def _resize(self, container: Container, rows: int, columns: int) -> None:
        found = self.machine.require(container.id)
        found.size = (rows, columns)
        if found.main is not None:
            found.main.size = found.size

    # the network

    async def _join_network(self, pod: Pod) -> tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]:
        network = pod.spec.network
        if network.mode == "pod" and not self.records.pod(network.pod).alive:
            raise Conflict(f"cannot join network of a non running container: {network.pod}")
        if self.networks is not None and network.mode == "vpc":
            return await self.networks.attach(pod.id, network, names=tuple(pod.containers))
        interfaces = tuple(self._interface(network, index) for index in range(len(network.attachments)))
        return interfaces, self._ports(network)

    def _interface(self, network: PodNetwork, index: int) -> AttachedInterface:
        wanted = network.attachments[index]
        self._addresses += 1
        high, low = divmod(self._addresses, 250)
        ip = wanted.ip or f"10.0.{high}.{low + 4}"
        mac = wanted.mac or f"02:42:0a:00:{high:02x}:{low + 4:02x}"
        return AttachedInterface(
            network=wanted.network, subnet=wanted.subnet, name=f"eth{index}", ip=ip, prefix=16, gateway="10.0.0.1", mac=mac
        )

    def _ports(self, network: PodNetwork) -> tuple[PortMapping, ...]:
        taken = {port.host_port for pod in self.records.pods.values() for port in pod.row.ports}
        given: list[PortMapping] = []
        for port in network.ports:
            if port.host_port in taken:
                raise Conflict(f"Bind for {port.host_ip or '0.0.0.0'}:{port.host_port} failed: port is already allocated")
            host_port = port.host_port or next(free for free in range(FIRST_PORT, LAST_PORT) if free not in taken)
            taken.add(host_port)
            given.append(replace(port, host_port=host_port))
        return tuple(given)

    async def _leave_network(self, pod: Pod) -> None:
        if self.networks is not None and pod.spec.network.mode == "vpc":
            await self.networks.detach(pod.id)

    async def _connect(self, pod: Pod, index: int) -> AttachedInterface:
        if self.networks is not None:
            return await self.networks.connect(pod.id, pod.spec.network, index)
        return self._interface(pod.spec.network, index)

    async def _disconnect(self, pod: Pod, network: str) -> None:
        if self.networks is not None:
            await self.networks.disconnect(pod.id, network)

    # inside

    async def _execute(self, container: Container, spec: ExecSpec) -> RunningExec:
        id = ids.hex_digits(64)
        streams = SimulatedStreams()

        async def execute() -> Process:
            return self.machine.require(container.id).execute(id, spec, streams)

        process = await self.machine.do("exec", execute)

        async def signal(number: int) -> None:
            if process.exit_code is not None:
                raise Conflict(f"exec {id} has ended")
            process.signalled(number)

        async def resize(rows: int, columns: int) -> None:
            process.size = (rows, columns)

        execution = self._executions[id] = RunningExec(id, process.pid, streams, signal=signal, resize=resize)
        self._spawn(_end_with(execution, streams))
        return execution

    async def attach(self, container: str) -> Streams:
        found = self.records.container(container)
        spec = found.spec
        here = self.machine.container(spec, found.pod.spec)
        streams = SimulatedStreams(closes_input=spec.stdin_once)
        if here.main is not None:
            streams.begin(here.main)
        here.attached.append(streams)
        return streams

    async def logs(
        self, container: str, *, follow: bool = False, since: float = 0.0, until: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogRecord]:
        found = self.records.container(container)
        if found.spec.log.driver == "none":
            raise InvalidArgument("configured logging driver does not support reading")
        here = self.machine.containers.get(found.id)
        at = 0
        if here is not None and tail is not None:
            at = max(0, len(here.log) - tail) if tail > 0 else len(here.log)
        while True:
            here = self.machine.containers.get(found.id)
            changed = None if here is None else asyncio.ensure_future(here.changed())
            try:
                while here is not None and at < len(here.log):
                    record = here.log[at]
                    at += 1
                    if until and record.time > until:
                        return
                    if record.time >= since:
                        yield record
                if not follow or changed is None or not found.alive or (here is not None and here.main is None):
                    return
                await changed
            finally:
                if changed is not None:
                    changed.cancel()

    async def stats(self, container: str) -> Stats:
        found = self.records.container(container)
        self._require_alive(found)
        here = self.machine.require(container)
        ran = int((self.clock.time() - here.started) * 1e9)
        return Stats(
            read=self.clock.time(),
            cpu_total=ran // 100,
            host_cpu_total=ran,
            memory=here.memory,
            memory_usage=here.memory,
            memory_peak=here.memory_peak,
            memory_limit=here.spec.resources.memory or here.pod.resources.memory or 8 << 30,
            pids=1 + len(here.others),
            pids_limit=max(0, here.spec.resources.pids_limit),
        )

    async def processes(self, container: str, ps_arguments: str = "") -> Processes:
        found = self.records.container(container)
        self._require_alive(found)
        here = self.machine.require(container)
        return Processes(("UID", "PID", "PPID", "CMD"), tuple(_rows(here)))

    # files

    def _files_of(self, container: str) -> SimulatedContainer:
        found = self.records.container(container)
        return self.machine.container(found.spec, found.pod.spec)

    async def stat_path(self, container: str, path: str) -> PathStat:
        return self._files_of(container).files.stat(path)

    async def get_archive(self, container: str, path: str) -> AsyncIterator[bytes]:
        yield self._files_of(container).files.archive(path)

    async def put_archive(
        self, container: str, path: str, tar: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool = False, copy_uid_gid: bool = False
    ) -> None:
        content = b"".join([piece async for piece in tar])
        self._files_of(container).files.unarchive(path, content, no_overwrite_dir_non_dir=no_overwrite_dir_non_dir)

    async def changes(self, container: str) -> list[Change]:
        return self._files_of(container).files.changes()

    async def export(self, container: str) -> AsyncIterator[bytes]:
        yield self._files_of(container).files.archive("/")


async def _end_with(execution: RunningExec, streams: SimulatedStreams) -> None:
    await execution.wait()
    streams.end()


def _answer(action: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def answer() -> T:
        return action()

    return answer


def _rows(container: SimulatedContainer) -> list[tuple[str, ...]]:
    processes = [container.main, *container.others.values()]
    return [("root", str(each.pid), "0", " ".join(each.args)) for each in processes if each is not None]
