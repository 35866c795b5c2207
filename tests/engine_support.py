"""What tests of the engine have in common: a running one, and root file systems made from busybox."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from cloudstead.engine.engine import Engine
from cloudstead.engine.host.programs import PATH
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.api import Driver
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, PodSpec
from cloudstead.engine.pods.states import LogRecord, PodEvent
from cloudstead.engine.start import EngineSettings, close, open_engine, stock
from cloudstead.kernel.clock import Clock, SystemClock
from cloudstead.kernel.store import Store

_numbers = itertools.count(1)


def container_id() -> str:
    return os.urandom(32).hex()


class Ground:
    """A driver and a way to run scenarios on it; remembers what it made, and removes it."""

    kind = ""

    def __init__(self, driver: Driver, clock: Clock, layers: tuple[str, ...]) -> None:
        self.driver = driver
        self.clock = clock
        self.layers = layers
        self.events: list[PodEvent] = []
        self.pods: list[str] = []

    async def pod(self, **options: Any) -> str:
        name = f"test-{next(_numbers)}"
        options.setdefault("network", PodNetwork(mode="none"))
        await self.driver.create_pod(PodSpec(id=name, owner="test", **options))
        self.pods.append(name)
        return name

    async def container(self, *args: str, pod: str = "", **options: Any) -> str:
        """Created, in a pod of its own unless one is named."""
        network = options.pop("network", None)
        pod = pod or await (self.pod() if network is None else self.pod(network=network))
        id = container_id()
        options.setdefault("env", ("PATH=/bin",))
        await self.driver.create_container(pod, ContainerSpec(id=id, layers=self.layers, args=args, **options))
        return id

    async def started(self, *args: str, **options: Any) -> str:
        id = await self.container(*args, **options)
        await self.driver.start(id)
        return id

    async def ran(self, *args: str, **options: Any) -> str:
        """Started, and ended."""
        id = await self.started(*args, **options)
        await self.driver.wait(id)
        return id

    async def log(self, container: str, **options: Any) -> list[LogRecord]:
        return [record async for record in self.driver.logs(container, **options)]

    async def text(self, container: str, stream: str = "stdout") -> str:
        return b"".join(record.data for record in await self.log(container) if record.stream == stream).decode()

    async def executed(self, container: str, *args: str, **options: Any) -> tuple[int, str]:
        """The exit code and the output of a command inside."""
        execution = await self.driver.execute(container, ExecSpec(args=args, **options))
        output = b""
        while (piece := await execution.streams.read()) is not None:
            output += piece[1]
        code = await execution.wait()
        await execution.streams.close()
        return code, output.decode()

    async def until(self, reached: Callable[[], object], within: float = 15.0) -> None:
        async with self.clock.timeout(within):
            while not reached():
                await self.clock.sleep(0.01)

    async def until_it(self, ask: Callable[[], Coroutine[Any, Any, Any]], answer: object, within: float = 15.0) -> None:
        """Until it gives this answer."""
        async with self.clock.timeout(within):
            while await ask() != answer:
                await self.clock.sleep(0.05)

    def kinds(self, container: str, *without: str) -> list[str]:
        return [event.kind for event in self.events if event.status.id == container and event.kind not in without]

    async def tidy(self) -> None:
        for pod in reversed(self.pods):
            await self.driver.remove_pod(pod, force=True)
        self.pods.clear()

    async def play(self, scenario: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        end = self.driver.subscribe(self.events.append)
        try:
            await scenario(self)
        finally:
            try:
                await self.tidy()
            finally:
                end()


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------------- the real engine

BUSYBOX = "/bin/busybox"


@cache
def why_no_engine() -> str:
    """Why no container can run here; empty when they can. For pytest.mark.skipif."""
    if os.geteuid() != 0:
        return "containers need root's rights"
    for program in ("runc", "conmon", "nft", "ip"):
        if shutil.which(program, path=PATH) is None:
            return f"{program} is not installed"
    if not os.access(BUSYBOX, os.X_OK):
        return "busybox-static is not installed"
    return ""


@contextlib.asynccontextmanager
async def running_engine(data: Path, *, store: Store | None = None, **settings: Any) -> AsyncIterator[Engine]:
    """An engine with all its parts. Its data directory makes it an instance of its own; containers that are left at the end are removed.

    With a `store` of the caller's it is a life among several: nothing is removed.
    """
    clock = SystemClock()
    data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    mine = store or Store.open(data)
    kept = EngineSettings(data=data, **settings)
    goods = stock(kept, mine, clock)
    engine = await open_engine(kept, goods)
    try:
        yield engine
        if store is None:
            await remove_all(engine)
    finally:
        await close(engine)
        await goods.images.stop()
        if store is None:
            await mine.close()


async def remove_all(engine: Engine) -> None:
    for pod in engine.pods.list_pods():
        await engine.pods.remove_pod(pod.id, force=True)
    for network in engine.networks.all():
        await engine.networks.remove(network.id)


@cache
def busybox_tar() -> bytes:
    """A root file system: busybox with its applets as links, and the folders that programs expect."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(info)
        program = Path(BUSYBOX).read_bytes()
        files = {
            "bin/busybox": (program, 0o755),
            "etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644),
            "etc/group": (b"root:x:0:\nnogroup:x:65534:\n", 0o644),
        }
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
        for applet in applets:
            if applet != "busybox":
                info = tarfile.TarInfo(f"bin/{applet}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return out.getvalue()


async def busybox_layers(engine: Engine) -> tuple[str, ...]:
    """The chain ids of a busybox root file system, unpacked."""
    blob = os.memfd_create("busybox")
    try:
        os.write(blob, busybox_tar())
        os.lseek(blob, 0, os.SEEK_SET)
        unpacked = await engine.snapshots.unpack(blob, media_type="application/vnd.oci.image.layer.v1.tar", parent="")
    finally:
        os.close(blob)
    return (unpacked.chain_id,)
