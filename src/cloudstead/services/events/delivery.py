"""The way of events to their targets.

An event that a rule wants is a row for each of the rule's targets before PutEvents answers; the row goes when the target has it. So nothing is lost when
the daemon dies; an event whose row was still there is delivered again. One worker at a time sees to a target and sends some of its
events at once: a slow target holds up no other.

What fails is tried again after about 1, 2, 4 … seconds, at most 10 minutes, as long as the target's retry policy allows (by default 185 times within
a day), and then goes to the target's dead-letter queue, if it has one. Errors that no repetition heals (the target is gone, permission is
missing) go there at once.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

import msgspec

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.reconcile import Backoff, Controller
from cloudstead.kernel.store import Key
from cloudstead.services.events import acting
from cloudstead.services.events.envelope import opened
from cloudstead.services.events.failures import Undelivered, understood
from cloudstead.services.events.model import DELIVERIES, RULES, TARGETS, Delivery, Rule, Target
from cloudstead.services.events.targets import Invocation, deliver, send_message
from cloudstead.services.events.transform import payload

log = logging.getLogger(__name__)

MAX_ATTEMPTS, MAX_AGE = 185, 86_400  # repetitions; seconds
AT_ONCE = 32  # events of one target
TARGETS_AT_ONCE = 16
BACKOFF = Backoff(first=1.0, cap=600.0)
LONGEST_ATTEMPT = 60.0  # seconds
DEAD_LETTERS_FOR = 2 * 86_400.0  # seconds for which a dead-letter queue may be out of reach


class Later(msgspec.Struct, frozen=True):
    """An attempt failed; another one is to follow."""

    due: float
    error: tuple[str, str]


def verdict(row: Delivery, target: Target, failure: Undelivered, now: float, chance: random.Random) -> Later | str:
    """What follows from a failed attempt: when to try again, or the EXHAUSTED_RETRY_CONDITION with which it is given up ("" for none)."""
    if not failure.again:
        return ""
    if row.attempts >= (MAX_ATTEMPTS if target.max_attempts is None else target.max_attempts):
        return "MaximumRetryAttempts"
    due = now + max(BACKOFF.delay(row.attempts + 1, chance), failure.after)
    if due > row.accepted + (MAX_AGE if target.max_age is None else target.max_age):
        return "MaximumEventAgeInSeconds"
    return Later(due, (failure.code, failure.message))


class Deliveries:
    """The workers of all targets."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self._chance = random.Random(hex_digits(16))  # so that a simulation can be played again
        self._opened = cloud.store.table(DELIVERIES)
        self.controller: Controller[Key] = Controller(
            "events.deliveries", self._work, clock=cloud.clock, keys=self._keys, parallel=TARGETS_AT_ONCE, resync=None
        )
        self._end = cloud.store.watch(DELIVERIES, self._written)

    def start(self) -> None:
        self.controller.start()

    async def stop(self) -> None:
        self._end()
        await self.controller.stop(grace=2.0)

    def _keys(self) -> Iterable[Key]:
        return dict.fromkeys(DELIVERIES.key(row)[:5] for row in self._opened.scan())

    def _written(self, old: Delivery | None, new: Delivery | None) -> None:
        if old is None and new is not None:
            self.controller.enqueue(DELIVERIES.key(new)[:5])

    async def _work(self, key: Key) -> float | None:
        """Deliver what is due at one target; the seconds until more is."""
        now = self._cloud.clock.time()
        waiting = self._opened.scan(key, index="by_due", limit=AT_ONCE)
        due = [row for row in waiting if row.due <= now]
        if not due:
            return waiting[0].due - now if waiting else None
        target, rule = self._store.table(TARGETS).get(key), self._store.table(RULES).get(key[:4])
        if target is None or rule is None:  # what was still on its way to a target that was taken away is not sent any more
            self._settle([(row, None) for row in self._opened.scan(key)])
            return None
        outcomes = await asyncio.gather(*[self._attempt(row, target, rule) for row in due])
        self._settle(zip(due, outcomes, strict=True))
        return 0.0 if len(waiting) == AT_ONCE else self._next(key)

    def _next(self, key: Key) -> float | None:
        first = self._opened.scan(key, index="by_due", limit=1)
        return max(0.0, first[0].due - self._cloud.clock.time()) if first else None

    def _settle(self, outcomes: Iterable[tuple[Delivery, Later | None]]) -> None:
        with self._store.transaction() as tx:
            for row, later in outcomes:
                current = self._opened.get(DELIVERIES.key(row))
                if current is None:
                    continue
                if later is None:
                    tx.delete(DELIVERIES, DELIVERIES.key(row))
                else:
                    tx.update(DELIVERIES, current, due=later.due, attempts=row.attempts + 1, error=later.error)

    async def _attempt(self, row: Delivery, target: Target, rule: Rule) -> Later | None:
        """Try once; None when the event is delivered or given up."""
        try:
            async with self._cloud.clock.timeout(LONGEST_ATTEMPT):
                await self._deliver(row, target, rule)
        except Exception as error:
            failure = understood(error)
        else:
            return None
        now = self._cloud.clock.time()
        decided = verdict(row, target, failure, now, self._chance)
        if isinstance(decided, Later):
            return decided
        return await self._give_up(row, target, rule, failure, decided, now)

    async def _deliver(self, row: Delivery, target: Target, rule: Rule) -> None:
        arn = Arn.parse(target.arn)
        here = self._cloud.service_context(acting.PRINCIPAL, rule.account, rule.region)
        if target.role is not None:
            here = await acting.as_role(here, target.role, row.id)
        event = opened(row.event)
        text = payload(target, rule.arn(), event, row.accepted)
        there = here.replace(account=arn.account or rule.account, region=arn.region or rule.region)
        await deliver(Invocation(there, arn, target, rule, event, text, row.id, row.hops))

    async def _give_up(self, row: Delivery, target: Target, rule: Rule, failure: Undelivered, exhausted: str, now: float) -> Later | None:
        about = {"rule": rule.arn(), "target": target.arn, "code": failure.code, "reason": failure.message}
        if target.dead_letter is None:
            log.warning("an event could not be delivered and is dropped: %s", failure.message, extra=about)
            return None
        attributes = {
            "RULE_ARN": rule.arn(),
            "TARGET_ARN": target.arn,
            "ERROR_CODE": failure.code,
            "ERROR_MESSAGE": failure.message or failure.code,
            "RETRY_ATTEMPTS": str(row.attempts),
        }
        if exhausted:
            attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
        queue = Arn.parse(target.dead_letter)
        ctx = self._cloud.service_context(acting.PRINCIPAL, queue.account, queue.region)
        try:
            told = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
            await send_message(ctx, queue, row.event.decode(), MessageAttributes=told)
        except Exception as error:
            refused = understood(error)
            if refused.again and now < row.accepted + DEAD_LETTERS_FOR:
                return Later(now + BACKOFF.cap / 10, (failure.code, failure.message))
            log.warning("an event could not be sent to its dead-letter queue and is dropped: %s", refused.message, extra=about)
        return None
