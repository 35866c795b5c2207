"""Connections by OAuth: a token is asked for when the connection is made or changed, to see whether it works."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key
from cloudstead.services.events.failures import understood
from cloudstead.services.events.http_targets import Http
from cloudstead.services.events.model import CONNECTIONS, Connection

WAITING = ("AUTHORIZING",)


class Authorizing:
    """Brings connections from AUTHORIZING to AUTHORIZED or DEAUTHORIZED."""

    def __init__(self, cloud: Cloud, http: Http) -> None:
        self._cloud = cloud
        self._http = http
        self.controller: Controller[Key] = Controller("events.connections", self._work, clock=cloud.clock, keys=self._keys, resync=None)

    def start(self) -> None:
        self.controller.watch(self._cloud.store, CONNECTIONS, lambda row: CONNECTIONS.key(row) if row.state in WAITING else None)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=1.0)

    def _keys(self) -> Iterable[Key]:
        return [CONNECTIONS.key(row) for row in self._cloud.store.table(CONNECTIONS).scan() if row.state in WAITING]

    async def _work(self, key: Key) -> float | None:
        row: Connection | None = self._cloud.store.table(CONNECTIONS).get(key)
        if row is None or row.state not in WAITING:
            return None
        reason = None
        try:
            await self._http.authorization(row, self._cloud.clock.time())
        except Exception as error:
            reason = understood(error).message[:512]
        current = self._cloud.store.table(CONNECTIONS).get(key)
        if current is None or current.version != row.version:
            return 0.0  # it was changed while we asked
        now = self._cloud.clock.time()
        with self._cloud.store.transaction() as tx:
            if reason is None:
                tx.update(CONNECTIONS, row, state="AUTHORIZED", reason=None, authorized=now)
            else:
                tx.update(CONNECTIONS, row, state="DEAUTHORIZED", reason=reason)
        return None
