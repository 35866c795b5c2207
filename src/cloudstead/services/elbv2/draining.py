"""Targets on their way out: each stays until nothing of it is under way any more, at most for its deregistration delay."""

from __future__ import annotations

from cloudstead.kernel.clock import Clock
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key, Store
from cloudstead.services.elbv2.model import TARGETS, target_key
from cloudstead.services.elbv2.traffic.groups import Groups


class Draining:
    """Removes targets whose time has come."""

    def __init__(self, store: Store, clock: Clock, groups: Groups) -> None:
        self._store = store
        self._clock = clock
        self._groups = groups
        self._controller: Controller[Key] = Controller("elbv2.draining", self._look, clock=clock, keys=self._all, resync=None)

    def start(self) -> None:
        self._groups.idle = self._controller.enqueue
        self._controller.watch(self._store, TARGETS, target_key)
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop(0.0)

    def _all(self) -> list[Key]:
        return [target_key(row) for row in self._store.table(TARGETS).scan() if row.leaves is not None]

    async def _look(self, key: Key) -> float | None:
        row = self._store.table(TARGETS).get(key)
        if row is None:
            self._groups.cut(key)
            return None
        if row.leaves is None:
            return None
        left = row.leaves - self._clock.time()
        if left > 0 and self._groups.busy(key):
            return left
        with self._store.transaction() as tx:
            tx.delete(TARGETS, key)
        return None
