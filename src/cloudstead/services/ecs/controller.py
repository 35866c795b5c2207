"""What ECS keeps running. This module imports no API, so that it costs little to start.

    forgetting      revisions that are to go, once nothing uses them; clusters and capacity providers that were deleted an hour ago

Each is a part with `start()` and `async stop()`, made here in this order.
"""

from __future__ import annotations

from typing import Protocol

from cloudstead.kernel.context import Cloud
from cloudstead.services.ecs.forgetting import Forgetting


class Running(Protocol):
    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Ecs:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self.forgetting = Forgetting(cloud)
        self._running: list[Running] = [self.forgetting]

    def start(self) -> None:
        for each in self._running:
            each.start()

    async def stop(self) -> None:
        for each in reversed(self._running):
            await each.stop()


async def start(cloud: Cloud) -> Ecs:
    ecs = Ecs(cloud)
    ecs.start()
    return ecs
