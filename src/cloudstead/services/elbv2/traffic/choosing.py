"""Which target gets the next request of a target group.

Those that are healthy, in turn; with too few of them all that are registered and not leaving ("fail open"). A target that is new while others are there
gets its share little by little (slow start). `Turns` remembers whose turn it is and who is how busy; what it decides follows from its arguments alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import msgspec

from cloudstead.kernel.store import Key


class Candidate(msgspec.Struct, frozen=True):
    """A target that may be chosen."""

    key: Key
    healthy: bool
    since: float = 0.0  # when it became healthy


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a group chooses."""

    algorithm: Literal["round_robin", "least_outstanding_requests", "weighted_random"] = "round_robin"
    slow_start: float = 0.0  # seconds
    least_healthy: int = 1  # fewer, and all targets get requests
    least_healthy_percent: int = 0


def usable(candidates: Sequence[Candidate], way: Way) -> list[Candidate]:
    """The targets among which to choose."""
    healthy = [each for each in candidates if each.healthy]
    enough = len(healthy) >= way.least_healthy and len(healthy) * 100 >= way.least_healthy_percent * len(candidates)
    return healthy if healthy and enough else list(candidates)


class Turns:
    """The memory of one target group's choices."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.busy: dict[Key, int] = {}  # requests that are under way
        self._credit: dict[Key, float] = {}
        self._next = 0
        self._chance = chance or random.Random()

    def choose(self, candidates: Sequence[Candidate], way: Way, now: float) -> Key | None:
        """The target of the next request; None when there is none at all."""
        among = usable(candidates, way)
        if not among:
            return None
        if way.algorithm == "weighted_random":
            return self._chance.choice(among).key
        if way.algorithm == "least_outstanding_requests":
            least = min(self.busy.get(each.key, 0) for each in among)
            among = [each for each in among if self.busy.get(each.key, 0) == least]
        elif way.slow_start and any(each.healthy and now - each.since < way.slow_start for each in among):
            return self._weighted([(each.key, share(each, way, now)) for each in among])
        self._next += 1
        return among[self._next % len(among)].key

    def _weighted(self, shares: list[tuple[Key, float]]) -> Key:
        """Smooth turns: everybody is credited its share, the richest pays for all."""
        credit = {key: self._credit.get(key, 0.0) + weight for key, weight in shares}
        chosen = max(credit, key=lambda key: credit[key])
        credit[chosen] -= sum(weight for _, weight in shares)
        self._credit = credit
        return chosen

    def begin(self, key: Key) -> None:
        self.busy[key] = self.busy.get(key, 0) + 1

    def end(self, key: Key) -> None:
        left = self.busy.get(key, 0) - 1
        if left > 0:
            self.busy[key] = left
        else:
            self.busy.pop(key, None)


def share(one: Candidate, way: Way, now: float) -> float:
    """How much of a full share a target gets: from little to all in the course of the slow start."""
    if not one.healthy or not way.slow_start:
        return 1.0
    return min(1.0, max(0.05, (now - one.since) / way.slow_start))


def weighted(groups: Sequence[tuple[str, int]], chance: float) -> str | None:
    """One of several target groups by their weights.

    Args:
        chance: a number from 0 to 1.
    """
    total = sum(weight for _, weight in groups)
    if not total:
        return None
    at = chance * total
    for arn, weight in groups:
        at -= weight
        if at < 0 and weight:
            return arn
    return next(arn for arn, weight in reversed(groups) if weight)
