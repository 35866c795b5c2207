"""How many namespaces each router keeps ready, and when they are made: in the pauses after one was taken, one at a time.

A router that gives namespaces away quickly keeps as many as it gave in the last seconds, one that is used now and then keeps one, and one that
has not been used for ten minutes none. So a cloud at rest holds nothing of the kernel's for containers that nobody asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudstead.engine.network.host_fabric import Fabric
    from cloudstead.engine.network.host_router import Router

log = logging.getLogger("cloudstead.engine.network")

WINDOW = 5.0  # seconds over which the demand is counted
MOST = 16
IDLE = 600.0  # seconds
PAUSE = 0.02  # seconds after a namespace was taken, so that the container that it is for comes first


class Stock:
    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._taken: dict[int, deque[float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        fabric.took = self._took

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def wanted(self, slot: int, now: float) -> int:
        times = self._taken.get(slot, deque())
        while times and times[0] < now - IDLE:
            times.popleft()
        recent = sum(moment > now - WINDOW for moment in times)
        return min(MOST, max(recent, 1)) if times else 0

    def _took(self, router: Router) -> None:
        self._taken.setdefault(router.slot, deque(maxlen=MOST)).append(time.monotonic())
        self._again(PAUSE)

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._turn)

    def _turn(self) -> None:
        """Make one, or let those go that nobody wants; come again soon while something lacks, later while something is kept."""
        now = time.monotonic()
        self._timer = None
        for router in self._fabric.routers.values():
            wanted = self.wanted(router.slot, now)
            if len(router.ready) < wanted:
                try:
                    router.ready.append(router.make_ready())
                except OSError as error:
                    log.warning("a namespace could not be made ahead: %s", error)
                    self._again(WINDOW)
                    return
                self._again(0.001)
                return
            router.drain(wanted)
        if any(router.ready for router in self._fabric.routers.values()):
            self._again(WINDOW)
        for slot in [slot for slot in self._taken if slot not in self._fabric.routers]:
            del self._taken[slot]
