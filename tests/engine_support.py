"""What tests of the engine have in common: a running one, and root file systems made from busybox."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from cloudstead.engine.pods.api import ContainerSpec, Driver, ExecSpec, LogRecord, PodEvent, PodNetwork, PodSpec
from cloudstead.kernel.clock import Clock

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
