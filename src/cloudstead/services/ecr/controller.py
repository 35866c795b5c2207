"""What ECR keeps running. This module imports no API, so that it costs little to start with the daemon.

    lifecycle       expires and archives images
    scanning        scans what was pushed
    replication     copies what was pushed to other regions and accounts
    backfilling     copies what was pushed before
    fetches         pulls through the cache that are under way
    restoring       brings images back from the archive

Each is a part with `start()` and `async stop()`, made here in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.ecr.backfilling import Backfilling
from cloudstead.services.ecr.catalogs import catalog_of
from cloudstead.services.ecr.fetches import Fetches
from cloudstead.services.ecr.lifecycle.running import Lifecycle
from cloudstead.services.ecr.replicating import Replication
from cloudstead.services.ecr.restoring import Restoring
from cloudstead.services.ecr.scanning.scanner import Scanner

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog


class Running(Protocol):
    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Ecr:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.lifecycle = Lifecycle(cloud)
        self.replication = Replication(self)
        self.backfilling = Backfilling(self)
        self.fetches = Fetches()
        self.scanner = Scanner(cloud)
        self._running: list[Running] = [self.lifecycle, self.scanner, self.replication, self.backfilling, self.fetches, Restoring(cloud)]

    @property
    def catalog(self) -> Catalog:
        return catalog_of(self.cloud)

    def start(self) -> None:
        for each in self._running:
            each.start()

    async def stop(self) -> None:
        for each in reversed(self._running):
            await each.stop()


async def start(cloud: Cloud) -> Ecr:
    ecr = Ecr(cloud)
    ecr.start()
    return ecr


def part(ctx: Context) -> Ecr:
    found: Ecr = ctx.cloud.parts["ecr"]
    return found
