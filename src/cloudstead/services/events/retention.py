"""Archives forget events that are older than their retention, and all events when they are deleted; replays are forgotten after 90 days."""

from __future__ import annotations

import asyncio
import logging

from cloudstead.kernel.clock import Timer
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.events.model import ARCHIVE_COUNTS, ARCHIVED, ARCHIVES, REPLAYS, archived_key
from cloudstead.services.events.replaying import RUNNING

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
DAY = 86_400.0
REPLAYS_FOR = 90 * DAY
A_TURN = 500


class Retention:
    """Sweeps every hour, and when an archive is deleted."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self._timer: Timer | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._timer = self._cloud.clock.call_later(SWEEP_SECONDS, self.soon)

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    def soon(self) -> None:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep(), name="events-retention")

    async def _sweep(self) -> None:
        try:
            await self.sweep()
        except ServiceError as error:
            log.warning("old events could not be forgotten: %s", error)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._cloud.clock.call_later(SWEEP_SECONDS, self.soon)

    async def sweep(self) -> None:
        now = self._cloud.clock.time()
        for count in self._store.table(ARCHIVE_COUNTS).scan():
            archive = self._store.table(ARCHIVES).find("by_uid", (count.uid,))
            if archive is None:
                await self._forget(count.uid, float("inf"))
            elif archive.retention_days:
                await self._forget(count.uid, now - archive.retention_days * DAY)
        old = [row for row in self._store.table(REPLAYS).scan() if row.state not in RUNNING and row.started < now - REPLAYS_FOR]
        if old:
            with self._store.transaction() as tx:
                for row in old:
                    tx.delete(REPLAYS, REPLAYS.key(row))

    async def _forget(self, uid: str, before: float) -> None:
        """Forget the events of one archive that happened before a time."""
        while True:
            events = await self._store.scan_archive(ARCHIVED, (uid,), limit=A_TURN)
            old = [event for event in events if event.time < before]
            count = self._store.table(ARCHIVE_COUNTS).get((uid,))
            with self._store.transaction() as tx:
                for event in old:
                    tx.forget(ARCHIVED, archived_key(event))
                if count is not None and old:
                    size = sum(len(event.event) for event in old)
                    tx.update(ARCHIVE_COUNTS, count, events=max(0, count.events - len(old)), size=max(0, count.size - size))
                if not events and before == float("inf"):
                    tx.delete(ARCHIVE_COUNTS, (uid,))
            if len(old) < A_TURN:
                if old and before == float("inf"):
                    continue
                return
