"""Which rules and archives of a bus want an event.

Rules are indexed by the literals that they ask of `source` and `detail-type`, which nearly all do; an event is only compared with the patterns of
those that may want it. An index belongs to one bus; it is made when an event comes and thrown away when a rule or archive of the bus changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.store import Store, Transaction
from cloudstead.services.events.arns import BusKey
from cloudstead.services.events.envelope import Envelope
from cloudstead.services.events.model import (
    ARCHIVE_COUNTS,
    ARCHIVED,
    ARCHIVES,
    DELIVERIES,
    RULES,
    TARGETS,
    Archive,
    ArchiveCount,
    ArchivedEvent,
    Delivery,
    Rule,
)
from cloudstead.services.events.pattern import Pattern

MAX_HOPS = 16
"""How many buses may pass an event on. AWS forbids loops between buses and drops what goes round; so do we, after so many."""


@lru_cache(maxsize=4096)
def compiled(text: str) -> Pattern:
    """
    Raises:
        InvalidPattern
    """
    return Pattern(text)


class Wanted(msgspec.Struct, frozen=True):
    """Who wants an event."""

    rules: tuple[Rule, ...] = ()
    archives: tuple[Archive, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules or self.archives)


class RuleIndex:
    """The enabled rules of one bus. `wanting(event)` gives those whose patterns hold."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_source: dict[str, dict[str, list[tuple[Pattern, Rule]]]] = {}
        self._by_type: dict[str, list[tuple[Pattern, Rule]]] = {}
        self._others: list[tuple[Pattern, Rule]] = []
        for rule in rules:
            if rule.pattern is not None and rule.enabled:
                self._add(compiled(rule.pattern), rule)

    def _add(self, pattern: Pattern, rule: Rule) -> None:
        entry = pattern, rule
        if pattern.sources is not None:
            for source in pattern.sources:
                by_type = self._by_source.setdefault(source, {})
                for detail_type in pattern.detail_types if pattern.detail_types is not None else ("",):
                    by_type.setdefault(detail_type, []).append(entry)
        elif pattern.detail_types is not None:
            for detail_type in pattern.detail_types:
                self._by_type.setdefault(detail_type, []).append(entry)
        else:
            self._others.append(entry)

    def wanting(self, event: Mapping[str, Any]) -> list[Rule]:
        source, detail_type = event["source"], event["detail-type"]
        by_type = self._by_source.get(source)
        candidates = self._others
        if by_type is not None:
            # No event has an empty detail-type: that is where rules stand that ask none.
            candidates = [*by_type.get(detail_type, ()), *by_type.get("", ()), *candidates]
        if detail_type in self._by_type:
            candidates = [*self._by_type[detail_type], *candidates]
        return [rule for pattern, rule in candidates if pattern.matches(event)]


class Router:
    """Finds who wants an event, and writes down what follows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[BusKey, tuple[RuleIndex, tuple[Archive, ...]]] = {}
        self._failures = store.failures
        self._ends = [
            store.watch(RULES, lambda old, new: self.changed((new or old).account, (new or old).region, (new or old).bus)),  # type: ignore[union-attr]
            store.watch(ARCHIVES, lambda old, new: self.changed((new or old).account, (new or old).region, (new or old).bus)),  # type: ignore[union-attr]
        ]

    def close(self) -> None:
        for end in self._ends:
            end()

    def changed(self, account: str, region: str, bus: str) -> None:
        """A rule or archive of the bus was written. Operations say so themselves too: watchers hear of it only when it is durable."""
        self._indexes.pop((account, region, bus), None)

    def wanting(self, bus: BusKey, event: Envelope, *, only: frozenset[str] = frozenset(), archive: bool = True) -> Wanted:
        """
        Args:
            only: ARNs of the only rules that count, if there are any.
            archive: False for events that come out of an archive.
        """
        rules, archives = self._index(bus)
        found = rules.wanting(event.document)
        if only:
            found = [rule for rule in found if rule.arn() in only]
        if not found and not archives:
            return Wanted()
        keeping = (one for one in archives if one.pattern is None or compiled(one.pattern).matches(event.document)) if archive else ()
        return Wanted(tuple(found), tuple(keeping))

    def _index(self, bus: BusKey) -> tuple[RuleIndex, tuple[Archive, ...]]:
        if self._failures != self._store.failures:  # rules that were never durable may stand in indexes
            self._indexes.clear()
            self._failures = self._store.failures
        known = self._indexes.get(bus)
        if known is None:
            archives = tuple(row for row in self._store.table(ARCHIVES).scan(bus[:2]) if row.bus == bus[2])
            known = self._indexes[bus] = RuleIndex(self._store.table(RULES).scan(bus)), archives
        return known

    def write(self, tx: Transaction, wanted: Wanted, event: Envelope, now: float, *, hops: int = 0) -> None:
        """Keep the event for each target of the rules, and in the archives."""
        for rule in wanted.rules:
            for target in self._store.table(TARGETS).scan((rule.account, rule.region, rule.bus, rule.name)):
                row = Delivery(
                    account=rule.account,
                    region=rule.region,
                    bus=rule.bus,
                    rule=rule.name,
                    target=target.id,
                    id=hex_digits(32),
                    event=event.text,
                    accepted=now,
                    due=now,
                    hops=hops,
                )
                tx.insert(DELIVERIES, row)
        for archive in wanted.archives:
            kept = tx.put(ARCHIVED, ArchivedEvent(uid=archive.uid, time=event.time, id=event.id, event=event.text))
            tx.archive(ARCHIVED, ARCHIVED.key(kept))
            count = self._store.table(ARCHIVE_COUNTS).get((archive.uid,)) or ArchiveCount(uid=archive.uid)
            tx.put(ARCHIVE_COUNTS, msgspec.structs.replace(count, events=count.events + 1, size=count.size + len(event.text)))

    def accept(self, bus: BusKey, event: Envelope, now: float, *, hops: int = 0) -> None:
        """Find and write in one transaction; writes nothing when nobody wants the event."""
        wanted = self.wanting(bus, event)
        if wanted:
            with self._store.transaction() as tx:
                self.write(tx, wanted, event, now, hops=hops)


__all__ = ["MAX_HOPS", "Router", "RuleIndex", "Wanted", "compiled"]
