"""Instances come and go: what their rows want, and what their machines are, meet here.

pending        its machine is made and started        ──▶ running; terminated when it cannot be made, stopped when it cannot be started again
running        a machine that ends by itself          ──▶ stopped or terminated, as InstanceInitiatedShutdownBehavior says; or boots again
stopping       its machine is asked to end            ──▶ stopped
shutting-down  its machine and interface are removed  ──▶ terminated, forgotten an hour later
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from typing import Literal, TypeAlias

from cloudstead.engine.errors import EngineError
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key, Transaction
from cloudstead.services.ec2.fabric import Fabric
from cloudstead.services.ec2.instance_states import INTERNAL, OWN_STOP, moved
from cloudstead.services.ec2.machine_boot import REBOOT
from cloudstead.services.ec2.machines import Machines, Seen
from cloudstead.services.ec2.model import ADDRESSES, INSTANCES, INTERFACES, Instance, key_of

log = logging.getLogger(__name__)

SHOWN_SECONDS = 3600.0
Step: TypeAlias = Literal["", "launch", "ran", "reboot", "halt", "stopped", "ended", "remove"]


def plan(row: Instance, seen: Seen) -> Step:
    """The next step towards what the row wants. Pure."""
    if row.state == "pending":
        return "ran" if seen.running else "launch"
    if row.state == "running" and seen.running:
        return "reboot" if row.reboot else ""
    if row.state == "running":
        return "launch" if seen.state == "exited" and (seen.exit_code == REBOOT or row.reboot) else "ended"
    if row.state == "stopping":
        return "halt" if seen.running else "stopped"
    return "remove" if row.state == "shutting-down" else ""


class InstanceProgress:
    """The controller of instances."""

    def __init__(self, cloud: Cloud, fabric: Fabric) -> None:
        self._store = cloud.store
        self._clock = cloud.clock
        self.machines = Machines(cloud, fabric, self._told)
        self.controller: Controller[Key] = Controller("ec2.instances", self._work, clock=cloud.clock, keys=self._keys, resync=60.0)

    def start(self) -> None:
        self.controller.watch(self._store, INSTANCES, key_of)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=5.0)
        await self.machines.stop()

    def _keys(self) -> Iterable[Key]:
        return [key_of(row) for row in self._store.table(INSTANCES).scan()]

    def _told(self, instance: str) -> None:
        for row in self._store.table(INSTANCES).scan():
            if row.id == instance:
                self.controller.enqueue(key_of(row))

    async def _work(self, key: Key) -> float | None:
        row = self._store.table(INSTANCES).get(key)
        if row is None or row.state == "stopped":
            return None
        if row.state == "terminated":
            return self._forget(row)
        try:
            seen = await self.machines.see(row)
        except EngineError as error:  # there is no engine
            return self._without_engine(row, error)
        now = self._store.table(INSTANCES).get(key)
        step = plan(now, seen) if now is not None else ""
        if now is None or not step:
            return None
        try:
            await self._take(now, step)
        except EngineError as error:
            if step != "launch":
                raise
            await self._failed(now, seen, error)
        return None

    def _forget(self, row: Instance) -> float | None:
        left = row.since + SHOWN_SECONDS - self._clock.time()
        if left > 0:
            return left
        with self._store.transaction() as tx:
            tx.delete(INSTANCES, key_of(row))
        return None

    def _without_engine(self, row: Instance, error: EngineError) -> float | None:
        """What cannot be made is terminated; what is to go has nothing that could stay."""
        if row.state == "shutting-down":
            self._move(row, "terminated")
        elif row.state == "pending":
            self._move(row, "terminated", reason=(INTERNAL, f"{INTERNAL}: {error.message}"))
        else:
            log.warning("%s cannot be looked after: %s", row.id, error.message)
            return 10.0
        return None

    async def _take(self, row: Instance, step: Step) -> None:
        if step == "launch":
            if row.reboot:
                self._update(row, reboot=False)
            await self.machines.launch(row)
            if row.state == "pending":  # at once: it may end before anybody looks again
                self._move(row, "running")
        elif step == "reboot":
            await self.machines.halt(row)
            self.controller.enqueue(key_of(row))
        elif step == "halt":
            await self.machines.halt(row)
            self._move(row, "stopped")
        elif step == "remove":
            await self.machines.remove(row)
            self._move(row, "terminated")
        elif step == "ran":
            self._move(row, "running")
        elif step == "stopped":
            self._move(row, "stopped")
        else:
            self._ended(row)

    def _ended(self, row: Instance) -> None:
        self._move(row, "stopped" if row.shutdown == "stop" else "shutting-down", reason=OWN_STOP)

    async def _failed(self, row: Instance, seen: Seen, error: EngineError) -> None:
        """It could not be made, or not be started again."""
        log.warning("%s cannot run: %s", row.id, error.message)
        reason = (INTERNAL, f"{INTERNAL}: {error.message}")
        if seen.state != "absent":
            self._move(row, "stopped", reason=reason)
            return
        with contextlib.suppress(EngineError):
            await self.machines.remove(row)
        self._move(row, "terminated", reason=reason)

    def _update(self, row: Instance, **changes: object) -> None:
        now = self._store.table(INSTANCES).get(key_of(row))
        if now is not None:
            with self._store.transaction() as tx:
                tx.update(INSTANCES, now, **changes)

    def _move(self, row: Instance, state: str, *, reason: tuple[str, str] | None = None) -> None:
        """To the next state, unless somebody has changed it meanwhile: then the next look decides."""
        now = self._store.table(INSTANCES).get(key_of(row))
        if now is None or now.state != row.state:
            return
        with self._store.transaction() as tx:
            gone = state == "terminated"
            if gone:
                self._release(tx, now)
            moved(
                tx,
                now,
                state,
                self._clock.time(),
                reason=reason or now.reason,
                interface="" if gone else now.interface,
                reboot=now.reboot and state == "running",
            )

    def _release(self, tx: Transaction, row: Instance) -> None:
        """Its interface goes with it, or is free again."""
        interface = self._store.table(INTERFACES).get((row.account, row.region, row.interface))
        if interface is None:
            return
        if interface.attachment is None or not interface.attachment.delete_on_termination:
            tx.update(INTERFACES, interface, attachment=None)
            return
        for address in self._store.table(ADDRESSES).scan((row.account, row.region, interface.id), index="by_interface"):
            tx.update(ADDRESSES, address, association="", interface="", private_ip="")
        tx.delete(INTERFACES, key_of(interface))
