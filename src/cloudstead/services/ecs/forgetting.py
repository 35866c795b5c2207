"""Rows that are kept for a while after their deletion, and then go.

A revision with DELETE_IN_PROGRESS goes when no task and no service names it any more (`references.py`). A deleted cluster or capacity provider
can be described for an hour, as INACTIVE; AWS says "for a period of time".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Row, Table
from cloudstead.services.ecs import references
from cloudstead.services.ecs.model import CAPACITY_PROVIDERS, CLUSTERS, TASK_DEFINITIONS, CapacityProvider, Cluster, TaskDefinition

KEPT = 3600.0  # seconds
AGAIN = 60.0  # seconds until a revision that is used is looked at again

Key = tuple[str, ...]  # the table's name, then the row's key
_TABLES: dict[str, Table[Any]] = {table.name: table for table in (CLUSTERS, CAPACITY_PROVIDERS, TASK_DEFINITIONS)}


class Forgetting:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._controller: Controller[Key] = Controller("ecs.forgetting", self._work, clock=cloud.clock, keys=self._keys, resync=None)

    def start(self) -> None:
        for table in _TABLES.values():
            self._controller.watch(self._cloud.store, table, key_of)
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()

    async def settled(self) -> None:
        """Return when all is done that needs no more time. For tests."""
        await self._controller.settled()

    def _keys(self) -> Iterable[Key]:
        store = self._cloud.store
        return [key for table in _TABLES.values() for row in store.table(table).scan() if (key := key_of(row)) is not None]

    async def _work(self, key: Key) -> float | None:
        table = _TABLES[key[0]]
        row = self._cloud.store.table(table).get(key[1:])
        if row is None or key_of(row) is None:
            return None
        left = self._left(row)
        if left > 0:
            return left
        with self._cloud.store.transaction() as tx:
            tx.delete(table, key[1:])
        return None

    def _left(self, row: Row) -> float:
        """In how many seconds to look again; 0: it may go."""
        if isinstance(row, TaskDefinition):
            return AGAIN if references.to_task_definition(self._cloud.store, row) else 0.0
        assert isinstance(row, Cluster | CapacityProvider)
        now = self._cloud.clock.time()
        return max(0.0, min(KEPT, (row.deleted or now) + KEPT - now))  # whoever sets the clock back does not wait for longer


def key_of(row: Cluster | CapacityProvider | TaskDefinition) -> Key | None:
    """The key of a row that is to go; None for one that stays."""
    if isinstance(row, TaskDefinition):
        return (TASK_DEFINITIONS.name, *row.key) if row.status == "DELETE_IN_PROGRESS" else None
    table = CLUSTERS if isinstance(row, Cluster) else CAPACITY_PROVIDERS
    return (table.name, *row.key) if row.status == "INACTIVE" else None
