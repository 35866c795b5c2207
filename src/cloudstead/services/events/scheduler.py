"""Rules with a schedule.

The next firing of each rule is a row, so that a restart changes nothing: firings that lie ahead stay. Firings that were missed while the daemon did not run
are not made up; the rule goes on with the next one. At a firing the event goes to the rule's own targets, by no pattern, as in AWS.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key
from cloudstead.services.events.envelope import Envelope, seal
from cloudstead.services.events.model import FIRINGS, RULES, Firing, Rule, rule_key
from cloudstead.services.events.routing import Router, Wanted
from cloudstead.services.events.schedule import parse


class Scheduler:
    """Fires the scheduled rules."""

    def __init__(self, cloud: Cloud, router: Router) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self._router = router
        self._began = cloud.clock.time()
        self.controller: Controller[Key] = Controller("events.schedules", self._work, clock=cloud.clock, keys=self._keys, resync=None)

    def start(self) -> None:
        self.controller.watch(self._store, RULES, lambda row: rule_key(row) if row.schedule is not None else None)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=1.0)

    def _keys(self) -> Iterable[Key]:
        rules = [rule_key(row) for row in self._store.table(RULES).scan(index="scheduled")]
        return dict.fromkeys([*rules, *(FIRINGS.key(row) for row in self._store.table(FIRINGS).scan())])

    async def _work(self, key: Key) -> float | None:
        """Fire one rule if it is time; the seconds until the next time."""
        rule, firing = self._store.table(RULES).get(key), self._store.table(FIRINGS).get(key)
        if rule is None or rule.schedule is None or not rule.enabled:
            if firing is not None:
                with self._store.transaction() as tx:
                    tx.delete(FIRINGS, key)
            return None
        now = self._cloud.clock.time()
        if firing is not None and firing.rule_version != rule.version:
            firing = None  # the rule was put anew
        due = firing is not None and self._began <= firing.at <= now
        if firing is None or firing.at <= now:
            # A rule that comes late (its loop was busy) fires once for all firings that have passed.
            following = parse(rule.schedule).next_after(now, rule.enabled_at)
            with self._store.transaction() as tx:
                if due and firing is not None:
                    self._router.write(tx, Wanted(rules=(rule,)), scheduled_event(rule, firing.at), now)
                if following is None:
                    tx.delete(FIRINGS, key)
                    return None
                firing = tx.put(FIRINGS, _firing(rule, following))
        return max(0.001, firing.at - self._cloud.clock.time())


def _firing(rule: Rule, at: float) -> Firing:
    return Firing(account=rule.account, region=rule.region, bus=rule.bus, rule=rule.name, at=at, rule_version=rule.version)


def scheduled_event(rule: Rule, at: float) -> Envelope:
    return seal(
        id=uuid4(),
        detail_type="Scheduled Event",
        source="aws.events",
        account=rule.account,
        time=at,
        region=rule.region,
        resources=(rule.arn(),),
        detail="{}",
    )
