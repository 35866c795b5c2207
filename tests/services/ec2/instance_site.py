"""A region whose machines are simulated: no root, any clock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cloudstead.engine.errors import NotFound
from cloudstead.engine.images.api import ImageConfig
from cloudstead.engine.pods.simulated import Program, SimulatedDriver, SimulatedMachine
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.ec2 import api
from cloudstead.services.ec2.amis import ami_id
from cloudstead.services.ec2.controller import part
from cloudstead.services.ec2.machine_boot import BOOT_PATH
from cloudstead.services.ec2.machines import container_id
from support import context_in, local_cloud

WEB = ami_id("web")
BOOT = f"/bin/sh {BOOT_PATH}"
GIB = 1 << 30


class Images:
    """One image, tagged ami/web."""

    image = SimpleNamespace(id="sha256:" + "1" * 64, tags=("ami/web:latest",), config=ImageConfig())

    def all(self) -> list[Any]:
        return [self.image]

    def resolve(self, name: str) -> Any:
        if name != self.image.id:
            raise NotFound(f"No such image: {name}")
        return self.image

    async def layers_of(self, image: str) -> tuple[str, ...]:
        return ("layer",)


class Networks:
    """Networks of which only the rows are there."""

    def __init__(self) -> None:
        self.specs: dict[str, Any] = {}

    def get(self, network: str) -> Any:
        if network not in self.specs:
            raise NotFound(network)
        return self.specs[network]

    def all(self, owner: str = "") -> list[Any]:
        return list(self.specs.values())

    async def create(self, spec: Any) -> None:
        self.specs[spec.id] = spec

    async def change(self, spec: Any) -> None:
        self.specs[spec.id] = spec

    async def remove(self, network: str) -> None:
        self.specs.pop(network)

    def groups(self, network: str) -> list[Any]:
        return []

    async def put_group(self, group: Any) -> None: ...

    def who_has(self, network: str, ip: str) -> str:
        return ""

    async def listen(self, network: str, address: str, port: int, kind: str = "tcp") -> int:
        return socket.create_server(("127.0.0.1", 0)).detach()

    async def stop_listening(self, network: str, address: str, port: int, kind: str = "tcp") -> None: ...


class Room:
    """In the place of the engine's."""

    def __init__(self, cloud: Cloud, machine: SimulatedMachine) -> None:
        self.engine: Any = None
        pods = SimulatedDriver(cloud.clock, cloud.store, machine)
        self._engine = SimpleNamespace(pods=pods, images=Images(), networks=Networks(), why_not="")

    def images(self) -> Images:
        return Images()

    async def ready(self) -> Any:
        if self.engine is None:
            await self._engine.pods.start_driver()
            self.engine = self._engine
        return self.engine

    async def stop(self) -> None:
        if self.engine is not None:
            await self.engine.pods.stop_driver()


class Site:
    """A region, with what tests ask of it."""

    def __init__(self, ctx: Context, machine: SimulatedMachine) -> None:
        self.ctx = ctx
        self.machine = machine

    async def run(self, count: int = 1, **more: Any) -> list[api.Instance]:
        asked: dict[str, Any] = {"image_id": WEB, "instance_type": "t3.micro", "min_count": count, "max_count": count} | more
        return list((await self.ctx.call(api.RunInstancesRequest(**asked))).instances or ())

    async def one(self, **more: Any) -> str:
        """The id of one that runs."""
        [made] = await self.run(**more)
        await self.until(made.instance_id or "", "running")
        return made.instance_id or ""

    async def told(self, id: str) -> api.Instance:
        answer = await self.ctx.call(api.DescribeInstancesRequest(instance_ids=[id]))
        found: api.Instance = answer.reservations[0].instances[0]
        return found

    async def until(self, id: str, state: str) -> api.Instance:
        for _ in range(400):
            found = await self.told(id)
            if found.state is not None and found.state.name == state:
                return found
            await self.passes(0.25)
        raise AssertionError(f"{id} is {found.state}, not {state}: {found.state_reason}")

    async def passes(self, seconds: float) -> None:
        """Time passes, and what is done in it, the disk's work included."""
        clock: Any = self.ctx.cloud.clock
        for _ in range(20):
            clock.advance(seconds / 20)
            await asyncio.sleep(0.001)

    def container(self, id: str) -> Any:
        return self.machine.containers.get(container_id(id))


@asynccontextmanager
async def site(folder: Path, clock: VirtualClock, *, boots: Any = None, machine: SimulatedMachine | None = None) -> AsyncIterator[Site]:
    machine = machine or SimulatedMachine(clock)
    machine.programs[BOOT] = boots or Program()
    async with local_cloud(folder, clock=clock) as cloud:
        cloud.parts["engine"] = room = Room(cloud, machine)
        ctx = context_in(cloud)
        await cloud.ready("ec2")
        part(ctx).machines.memory = 64 * GIB
        try:
            yield Site(ctx, machine)
        finally:
            await cloud.close()
            await room.stop()
