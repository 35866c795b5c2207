"""Health checks in time: every target of a group that some listener or rule leads to is asked again and again, each on its own, many at once.

What is known is in memory only. After a start all targets are new, are asked at once, and get requests meanwhile, because none of them is healthy.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from cloudstead.kernel.clock import Clock
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key, Store
from cloudstead.services.elbv2.health.states import DRAINING, HEALTHY, NOT_IN_USE, Progress, Verdict, after, wait
from cloudstead.services.elbv2.model import (
    LISTENERS,
    RULES,
    TARGET_GROUPS,
    TARGETS,
    HealthCheck,
    Listener,
    Rule,
    Target,
    TargetGroup,
    groups_of,
    target_key,
)

MOST_AT_ONCE = 512

Probe = Callable[[Target, TargetGroup], Awaitable[Verdict]]


class Health:
    """Makes the checks and remembers what they found."""

    def __init__(self, store: Store, clock: Clock, probe: Probe, *, chance: random.Random | None = None) -> None:
        self._store = store
        self._clock = clock
        self._probe = probe
        self._chance = chance or random.Random()
        self._known: dict[Key, Progress] = {}
        self.changed: Callable[[str], object] = lambda group: None  # the state of one of its targets
        self._controller: Controller[Key] = Controller(
            "elbv2.health", self._check, clock=clock, keys=self._all, parallel=MOST_AT_ONCE, resync=None, chance=self._chance
        )
        self._unwatch: list[Callable[[], None]] = []

    def start(self) -> None:
        self._controller.watch(self._store, TARGETS, target_key)
        self._unwatch = [
            self._store.watch(TARGET_GROUPS, self._group_changed),
            self._store.watch(LISTENERS, self._leads_elsewhere),
            self._store.watch(RULES, self._leads_elsewhere),
        ]
        self._controller.start()

    async def stop(self) -> None:
        for unwatch in self._unwatch:
            unwatch()
        await self._controller.stop(0.0)

    def progress(self, key: Key) -> Progress:
        return self._known.get(key) or Progress()

    def verdict(self, row: Target) -> Verdict:
        """How a registered target does."""
        if row.leaves is not None:
            return DRAINING
        if not self.in_use((row.account, row.region, row.group)):
            return NOT_IN_USE
        return self.progress(target_key(row)).verdict

    def in_use(self, group: Key) -> bool:
        store = self._store
        return bool(store.table(LISTENERS).count(group, index="by_group") or store.table(RULES).count(group, index="by_group"))

    def _all(self) -> list[Key]:
        return [target_key(row) for row in self._store.table(TARGETS).scan()]

    def _group_changed(self, old: TargetGroup | None, new: TargetGroup | None) -> None:
        if new is not None and (old is None or old.check != new.check):
            self._look_at((new.account, new.region, new.arn))

    def _leads_elsewhere(self, old: Listener | Rule | None, new: Listener | Rule | None) -> None:
        before, now = (set(groups_of(row.action)) if row is not None else set() for row in (old, new))
        row = new or old
        assert row is not None
        for group in sorted(before ^ now):
            self._look_at((row.account, row.region, group))

    def _look_at(self, group: Key) -> None:
        for row in self._store.table(TARGETS).scan(group):
            self._controller.enqueue(target_key(row))

    async def _check(self, key: Key) -> float | None:
        found = self._checked(key)
        if found is None:
            if self._known.pop(key, None) is not None:
                self.changed(key[2])
            return None
        row, group = found
        outcome = await self._probe(row, group)
        found = self._checked(key)
        if found is None or found[0].registered != row.registered:
            return 0.0
        return self.learn(key, outcome, found[1].check)

    def _checked(self, key: Key) -> tuple[Target, TargetGroup] | None:
        """A target with its group, if it is to be checked."""
        row = self._store.table(TARGETS).get(key)
        group = self._store.table(TARGET_GROUPS).get(key[:3])
        if row is None or group is None or row.leaves is not None or not self.in_use(key[:3]):
            return None
        return row, group

    def learn(self, key: Key, outcome: Verdict, check: HealthCheck) -> float:
        """The outcome of a check; returns the seconds until the next."""
        before = self._known.get(key) or Progress()
        progress = after(before, outcome, check, self._clock.time())
        self._known[key] = progress
        if (progress.state == HEALTHY.state) != (before.state == HEALTHY.state):
            self.changed(key[2])
        return wait(progress, check, self._chance.random())
