"""The machines behind instances: pods of the engine with one container each, limited to what the instance's type has.

    instance i-…   ──▶   pod i-…  with the instance's network interface
                           └── one container: root file system of the AMI, vCPUs and memory of the type, `machine_boot` as its program

What a machine has written stays while its container is there, so a stopped one is started again as it was. Everything is found again by its name: nothing
is remembered here but which networks have been given a metadata service.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cloudstead.engine.errors import EngineError, NotFound, Unsupported
from cloudstead.engine.network.api import Attachment, PodNetwork
from cloudstead.engine.pods.specs import ContainerSpec, LogSpec, Mount, PodSpec, Resources
from cloudstead.kernel.context import Cloud
from cloudstead.services.ec2 import machine_boot
from cloudstead.services.ec2.fabric import Fabric
from cloudstead.services.ec2.machine_types import types
from cloudstead.services.ec2.model import Instance

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine
    from cloudstead.engine.images.api import ExecConfig
    from cloudstead.engine.pods.states import PodEvent
    from cloudstead.services.ec2.machine_metadata import MachineMetadata

OWNER = "ec2"
PERIOD = 100_000  # microseconds
CONSOLE = 64 << 10  # bytes
STOP_SECONDS = 20.0
SEARCH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Seen(msgspec.Struct, frozen=True):
    """How a machine is: "absent", or its container's state."""

    state: str = "absent"
    exit_code: int = 0

    @property
    def running(self) -> bool:
        return self.state in ("running", "paused")


def container_id(instance: str) -> str:
    return hashlib.sha256(instance.encode()).hexdigest()


def resources(type: str) -> Resources:
    """What a machine of a type may use."""
    kind = types()[type]
    memory = kind.mebibytes << 20
    return Resources(memory=memory, memory_swap=memory, cpu_quota=kind.vcpus * PERIOD, cpu_period=PERIOD)


class Machines:
    """Of one cloud. `told` is called with the id of an instance whose machine has changed."""

    def __init__(self, cloud: Cloud, fabric: Fabric, told: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._fabric = fabric
        self._told = told
        self._heard: Engine | None = None
        self._deaf: Callable[[], None] | None = None
        self._metadata: MachineMetadata | None = None
        self.memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes, of all machines together

    async def stop(self) -> None:
        """The machines go on."""
        if self._deaf is not None:
            self._deaf()
        if self._metadata is not None:
            await self._metadata.stop()

    async def see(self, row: Instance) -> Seen:
        engine = await self._engine()
        try:
            status = engine.pods.inspect(container_id(row.id))
        except NotFound:
            return Seen()
        if status.state in ("running", "paused"):
            await self._serve_metadata(engine, row)
        return Seen(status.state, status.exit_code)

    async def launch(self, row: Instance) -> None:
        """Make the machine if it is not there, and start it.

        Raises:
            EngineError
        """
        engine = await self._engine()
        if engine.why_not:
            raise Unsupported(engine.why_not)
        ctx = self._cloud.service_context("ec2.amazonaws.com", row.account, row.region)
        plug = await self._fabric.plug(ctx, row.interface, instance=row.id)
        await self._serve_metadata(engine, row)
        id = container_id(row.id)
        try:
            engine.pods.inspect(id)
        except NotFound:
            await self._make(engine, row, plug)
        else:
            await engine.pods.update(id, resources(row.type))
        await engine.pods.start(id)

    async def _make(self, engine: Engine, row: Instance, plug: Attachment) -> None:
        if not row.root:
            raise Unsupported(
                "the image of this AMI is not here; `cloudstead image bootstrap debian` makes Debian's, or tag one of yours as ami/<name>"
            )
        layers = await engine.images.layers_of(row.root)
        config = engine.images.resolve(row.root).config.config
        hostname = f"ip-{row.ip.replace('.', '-')}"
        with contextlib.suppress(EngineError):  # half of one, left by a start that failed
            await engine.pods.remove_pod(row.id, force=True)
        await engine.pods.create_pod(PodSpec(id=row.id, owner=OWNER, hostname=hostname, network=PodNetwork(attachments=(plug,))))
        await engine.pods.create_container(row.id, _container(row, layers, config))

    async def halt(self, row: Instance) -> None:
        engine = await self._engine()
        with contextlib.suppress(NotFound):
            await engine.pods.stop(container_id(row.id))

    async def remove(self, row: Instance) -> None:
        engine = await self._engine()
        with contextlib.suppress(NotFound):
            await engine.pods.remove_pod(row.id, force=True)

    async def console(self, row: Instance) -> bytes:
        """The last of what a machine has written; nothing for one that is not there."""
        if self._cloud.parts["engine"].engine is None:
            return b""
        engine = await self._engine()
        kept: list[bytes] = []
        try:
            async for record in engine.pods.logs(container_id(row.id), tail=1000):
                kept.append(record.data)
        except EngineError:
            return b""
        return b"".join(kept)[-CONSOLE:]

    async def _serve_metadata(self, engine: Engine, row: Instance) -> None:
        if self._metadata is None:
            from cloudstead.services.ec2.machine_metadata import MachineMetadata  # with the API, which no start needs

            self._metadata = MachineMetadata(self._cloud)
        await self._metadata.serve(engine.networks, (row.account, row.region, row.vpc))

    async def _engine(self) -> Engine:
        engine: Engine = await self._cloud.parts["engine"].ready()
        if self._heard is not engine:
            self._heard, self._deaf = engine, engine.pods.subscribe(self._event)
        return engine

    def _event(self, event: PodEvent) -> None:
        if event.kind in ("start", "die") and event.status.pod.startswith("i-"):
            self._told(event.status.pod)


def _container(row: Instance, layers: tuple[str, ...], config: ExecConfig) -> ContainerSpec:
    script, note = machine_boot.script_of(base64.b64decode(row.user_data))
    files: dict[str, tuple[bytes, int]] = {
        machine_boot.BOOT_PATH: (machine_boot.boot(row.id, note), 0o500),
        machine_boot.SCRIPT_PATH: (script, 0o400),
        machine_boot.KEY_PATH: (row.public_key.strip().encode() + b"\n" if row.public_key else b"", 0o400),
        machine_boot.SWITCH_PATH: (machine_boot.SWITCH, 0o400),
    }
    said = (*(config.env or ()), "HOME=/root", "container=cloudstead", SEARCH)  # a machine's own, whatever the image says of containers
    env = dict(one.split("=", 1) for one in said if "=" in one)
    return ContainerSpec(
        id=container_id(row.id),
        layers=layers,
        args=("/bin/sh", machine_boot.BOOT_PATH),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        mounts=tuple(Mount(type="content", target=target, content=content, mode=mode) for target, (content, mode) in files.items()),
        resources=resources(row.type),
        init=True,
        stop_timeout=STOP_SECONDS,
        log=LogSpec(max_size=1 << 20, max_files=2),
        labels={"com.amazonaws.ec2.instance-id": row.id},
    )
