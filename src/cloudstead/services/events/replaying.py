"""Replays at work: archived events are sent again to the rules of the bus from which they came.

Some events a turn; each turn writes the deliveries and how far it came in one transaction, so that a restart neither leaves out nor repeats any.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key
from cloudstead.services.events.envelope import opened, replayed
from cloudstead.services.events.model import ARCHIVED, ARCHIVES, REPLAYS, Replay, archived_key, moment
from cloudstead.services.events.routing import Router

A_TURN = 100  # events
RUNNING = ("STARTING", "RUNNING", "CANCELLING")


class Replaying:
    """Carries out the replays."""

    def __init__(self, cloud: Cloud, router: Router) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self._router = router
        self.controller: Controller[Key] = Controller("events.replays", self._work, clock=cloud.clock, keys=self._keys, resync=None)

    def start(self) -> None:
        self.controller.watch(self._store, REPLAYS, lambda row: REPLAYS.key(row) if row.state in RUNNING else None)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=1.0)

    def _keys(self) -> Iterable[Key]:
        return [REPLAYS.key(row) for row in self._store.table(REPLAYS).scan() if row.state in RUNNING]

    async def _work(self, key: Key) -> float | None:
        row = self._store.table(REPLAYS).get(key)
        if row is None or row.state not in RUNNING:
            return None
        if row.state == "CANCELLING":
            self._end(row, "CANCELLED", None)
            return None
        if self._store.table(ARCHIVES).find("by_uid", (row.uid,)) is None:
            self._end(row, "FAILED", "The archive was deleted.")
            return None
        after = row.position or (row.uid, moment(row.begin))
        events = await self._store.scan_archive(ARCHIVED, (row.uid,), after=after, limit=A_TURN)
        row = self._store.table(REPLAYS).get(key)
        if row is None or row.state not in ("STARTING", "RUNNING"):
            return 0.0  # it was cancelled while we read
        now = self._cloud.clock.time()
        wanted = [event for event in events if event.time < row.end]
        with self._store.transaction() as tx:
            for kept in wanted:
                event = replayed(opened(kept.event), row.name)
                found = self._router.wanting((row.account, row.region, row.bus), event, only=frozenset(row.filters), archive=False)
                self._router.write(tx, found, event, now)
            if wanted:
                last = wanted[-1]
                row = tx.update(REPLAYS, row, state="RUNNING", position=archived_key(last), last_replayed=last.time)
        if len(wanted) < A_TURN:
            self._end(row, "COMPLETED", None)
            return None
        return 0.0

    def _end(self, row: Replay, state: str, reason: str | None) -> None:
        with self._store.transaction() as tx:
            tx.update(REPLAYS, row, state=state, reason=reason, ended=self._cloud.clock.time())
