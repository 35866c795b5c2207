"""NAT gateways come and go: pending → available (or failed), deleting → deleted, and an hour later they are forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, INTERNET_GATEWAYS, NAT_GATEWAYS, NatGateway, key_of

PENDING_SECONDS = 0.5  # so that callers who do not wait are found out here too
SHOWN_SECONDS = 3600.0


class NatProgress:
    """The controller of NAT gateways."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self.controller: Controller[Key] = Controller("ec2.nat_gateways", self._work, clock=cloud.clock, keys=self._keys)

    def start(self) -> None:
        self.controller.watch(self._store, NAT_GATEWAYS, key_of)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=1.0)

    def _keys(self) -> Iterable[Key]:
        return [key_of(row) for row in self._store.table(NAT_GATEWAYS).scan()]

    async def _work(self, key: Key) -> float | None:
        row = self._store.table(NAT_GATEWAYS).get(key)
        if row is None:
            return None
        now = self._cloud.clock.time()
        if row.state == "pending":
            if (left := row.created + PENDING_SECONDS - now) > 0:
                return left
            self._begin(row)
        elif row.state == "deleting":
            self._end(row, now)
        elif row.state == "deleted" and row.deleted is not None:
            if (left := row.deleted + SHOWN_SECONDS - now) > 0:
                return left
            with self._store.transaction() as tx:
                tx.delete(NAT_GATEWAYS, key)
        return None

    def _begin(self, row: NatGateway) -> None:
        place = (row.account, row.region, row.vpc)
        if row.public and self._store.table(INTERNET_GATEWAYS).find("by_vpc", place) is None:
            sentence = f"Network {row.vpc} has no Internet gateway attached"
            with self._store.transaction() as tx:
                tx.update(NAT_GATEWAYS, row, state="failed", failed=("Gateway.NotAttached", sentence))
            return
        with self._store.transaction() as tx:
            tx.update(NAT_GATEWAYS, row, state="available")

    def _end(self, row: NatGateway, now: float) -> None:
        place = (row.account, row.region)
        with self._store.transaction() as tx:
            for address in self._store.table(ADDRESSES).scan((*place, row.interface), index="by_interface"):
                tx.update(ADDRESSES, address, association="", interface="", private_ip="")
            tx.delete(INTERFACES, (*place, row.interface))
            tx.update(NAT_GATEWAYS, row, state="deleted", deleted=now)
