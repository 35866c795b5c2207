"""What containers use, as Docker's API tells it: a sample and the one before, from which clients make percentages."""

from __future__ import annotations

from typing import Any, Final

from cloudstead.engine.dockerapi.observing import described
from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.api import Driver
from cloudstead.engine.pods.states import Stats
from cloudstead.kernel.clock import Clock

INTERVAL: Final = 1.0  # seconds between two samples, at least
STALE: Final = 60.0  # older ones are not compared with
MOST: Final = 10_000  # containers whose last sample is kept


class Sampler:
    """Takes samples when it is asked, and keeps the last two of each container."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._kept: dict[str, tuple[Stats, Stats]] = {}

    async def sample(self, container: str, name: str) -> dict[str, Any] | None:
        """The document of one container; None when it does not run."""
        try:
            before, now = await self._pair(container)
        except EngineError:
            self._kept.pop(container, None)
            return None
        return document(container, name, before, now)

    async def _pair(self, container: str) -> tuple[Stats, Stats]:
        kept = self._kept.get(container)
        age = self._clock.time() - kept[1].read if kept is not None else STALE
        if kept is not None and 0 <= age < INTERVAL:
            return kept
        if kept is not None and age < STALE:
            before = kept[1]
        else:
            before = await self._driver.stats(container)
            await self._clock.sleep(INTERVAL)
        pair = (before, await self._driver.stats(container))
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[container] = pair
        return pair


def document(container: str, name: str, before: Stats, now: Stats) -> dict[str, Any]:
    """Docker's, with the network's rates. Pure."""
    answer = described(container, name, before, now)
    took = now.read - before.read
    if now.networks and took > 0:
        answer["network_rate_stats"] = {
            "rx_bytes_per_sec": _rate(before, now, "rx_bytes", took),
            "tx_bytes_per_sec": _rate(before, now, "tx_bytes", took),
        }
    return answer


def _rate(before: Stats, now: Stats, counter: str, took: float) -> float:
    grown = sum(each.get(counter, 0) for each in now.networks.values()) - sum(each.get(counter, 0) for each in before.networks.values())
    return max(0.0, grown / took)
