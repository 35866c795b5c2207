"""What Logs keeps running: the archive, the sweep of expired events, the delivery to subscriptions, the publishing of metrics.

This module imports no API, so that it costs little to start with the daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cloudstead.kernel.clock import Timer
from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.logs.archive import Archive
from cloudstead.services.logs.delivery import Deliveries
from cloudstead.services.logs.journal import Accepted
from cloudstead.services.logs.metrics import Metrics
from cloudstead.services.logs.model import CURSORS, GROUPS, STREAMS, LogGroup

if TYPE_CHECKING:
    from cloudstead.services.logs.insights.pool import Queries

log = logging.getLogger(__name__)

DAY = 86_400_000  # ms
SWEEP_SECONDS = 3600.0


class Listener(Protocol):
    """A Live Tail session."""

    account: str
    region: str

    def accepted(self, events: Sequence[Accepted]) -> None: ...


class Logs:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.archive = Archive(cloud.data / "logs", self._alive)
        self.deliveries = Deliveries(cloud, self.archive)
        self.metrics = Metrics(cloud)
        self._queries: Queries | None = None
        self.live: set[Listener] = set()  # Live Tail sessions
        self._timer: Timer | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def queries(self) -> Queries:
        """The queries of Logs Insights. Their language is loaded with the first one: the daemon starts without it."""
        if self._queries is None:
            from cloudstead.services.logs.insights.pool import Queries

            self._queries = Queries(self._cloud.clock)
        return self._queries

    def _alive(self, group: int, stream: int) -> bool:
        row = self._cloud.store.table(STREAMS).find("by_uid", (stream,))
        return row is not None and row.group_uid == group

    async def start(self) -> None:
        # A cursor may stand at an event that was on its way to the disk when its filter was put, and never got there.
        await self.archive.start(after=max((row.seq for row in self._cloud.store.table(CURSORS).scan()), default=0))
        self.archive.needed_seq = self.deliveries.delivered
        self.archive.listeners += [self.deliveries.accepted, self.metrics.accepted, self._tell_live]
        self.deliveries.start()
        self._wait()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._queries is not None:
            await self._queries.stop()
        await self.deliveries.stop()
        await self.metrics.stop()
        await self.archive.close()

    def _tell_live(self, events: Sequence[Accepted]) -> None:
        for session in tuple(self.live):
            session.accepted(events)

    async def forget_group(self, group: LogGroup) -> None:
        self.deliveries.end_all(group)
        self.metrics.changed(group.uid)
        await self.archive.delete_group(group.uid)

    def _wait(self) -> None:
        self._timer = self._cloud.clock.call_later(SWEEP_SECONDS, self._sweep_soon)

    def _sweep_soon(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep_and_wait(), name="logs-sweep")

    async def _sweep_and_wait(self) -> None:
        try:
            await self.sweep()
        except OSError as error:
            log.error("Expired log events could not be deleted: %s", error)
        self._wait()

    async def sweep(self) -> None:
        """Delete what has expired, and what is left over of groups that are gone."""
        now = int(self._cloud.clock.time() * 1000)
        view = self._cloud.store.table(GROUPS)
        for group in view.scan(index="with_retention"):
            assert group.retention_in_days is not None
            self.archive.expire(group.uid, now - group.retention_in_days * DAY)
            await asyncio.sleep(0)
        for uid in self.archive.groups_on_disk():
            if view.find("by_uid", (uid,)) is None:
                await self.archive.delete_group(uid)
        self.archive.rotate_if_older(now - DAY)


async def start(cloud: Cloud) -> Logs:
    logs = Logs(cloud)
    await logs.start()
    return logs


def part(ctx: Context) -> Logs:
    logs: Logs = ctx.cloud.parts["logs"]
    return logs
