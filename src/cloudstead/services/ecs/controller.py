"""What ECS keeps running. This module imports no API, so that it costs little to start.

    forgetting      revisions that are to go, once nothing uses them; clusters and capacity providers that were deleted an hour ago
    tasks           what runs; loaded with the first task

Each is a part with `start()` and `async stop()`, made here in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.ecs.forgetting import Forgetting
from cloudstead.services.ecs.tasks.model import TASKS

if TYPE_CHECKING:
    from cloudstead.services.ecs.tasks.controller import Tasks


class Running(Protocol):
    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Ecs:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._tasks: Tasks | None = None
        self.forgetting = Forgetting(cloud)
        self._running: list[Running] = [self.forgetting]

    def start(self) -> None:
        for each in self._running:
            each.start()

    async def tasks(self) -> Tasks:
        """What runs tasks; made for the first of them."""
        await self._cloud.ready("ec2")
        if self._tasks is None:
            from cloudstead.services.ecs.tasks.controller import Tasks

            self._tasks = Tasks(self._cloud)
            self._running.append(self._tasks)
            self._tasks.start()
        return self._tasks

    async def stop(self) -> None:
        for each in reversed(self._running):
            await each.stop()


async def start(cloud: Cloud) -> Ecs:
    ecs = Ecs(cloud)
    ecs.start()
    if len(cloud.store.table(TASKS)):
        await ecs.tasks()
    return ecs


def part(ctx: Context) -> Ecs:
    found: Ecs = ctx.cloud.parts["ecs"]
    return found
