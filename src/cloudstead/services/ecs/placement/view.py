"""The instances of a fleet that meet some terms, kept in the order in which they come into question.

    values of the attributes that are spread over
    └── sorted: (what is left of cpu or memory, rank, id) of each instance with these values

Neither the group nor the size of a task is in it, so that all tasks with the same terms and strategies share one view. Which values come first the
fleet's counts tell; among the instances with these values a task that asks for so much looks only at those that have so much. It takes the first of
them when it packs; else one by chance, which seldom is one that will not do, and looks through them only when it often was.

Before a view is asked it looks at the instances that the fleet's journal names since the last time. Placing a task changes one: the next costs a few
steps in sorted lists, however large the fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from sortedcontainers import SortedList

from cloudstead.services.ecs.placement.fleet import Fleet, Instance, Path, path
from cloudstead.services.ecs.placement.needs import Asked, Terms
from cloudstead.services.ecs.placement.strategies import Local, Order, Resource, least, local, turn

_TRIES = 6  # by chance, before looking at one after the other

Accept: TypeAlias = Callable[[Instance], bool]
_Entry: TypeAlias = tuple[tuple[int, ...], int, str]


class View:
    """Of orders without `first`: what comes before a spread over an attribute cannot be kept sorted like this."""

    def __init__(self, fleet: Fleet, terms: Terms, attributes: tuple[str, ...], resources: tuple[Resource, ...]) -> None:
        self._fleet = fleet
        self._terms = terms
        self._attributes = attributes
        self._resources: tuple[Local, ...] = resources
        self._start_over()

    def first(self, asked: Asked, order: Order, chance: Random) -> Instance | None:
        """An instance than which none comes earlier."""
        self._catch_up()
        group = asked.needs.group
        paths = list(self._sorted)
        if len(paths) > 1:
            counts = self._fleet.spread(self._attributes, group)
            paths.sort(key=lambda values: turn(counts, group, values))
        for values in paths:
            found = self._among(values, asked, order.then, chance)
            if found is not None:
                return found
        return None

    # one task

    def _among(self, values: Path, asked: Asked, kinds: tuple[Local, ...], chance: Random) -> Instance | None:
        entries = self._sorted[values]
        low = entries.bisect_left(((getattr(asked.needs, self._resources[0]),),))
        if kinds and kinds[0] != "instance":
            return self._packed(entries, low, asked, kinds, chance)
        members = self._fleet.members(asked.needs.group)
        if not kinds or not members:
            accept: Accept = asked.fits
        else:
            accept = lambda instance: instance.id not in members and asked.fits(instance)  # noqa: E731
        if len(kinds) < 2:
            found = self._any(entries, low, len(entries), accept, chance)
        else:
            found = self._packed(entries, low, asked, kinds[1:], chance, accept)
        if found is not None or not kinds:
            return found
        there = [instance for id in members if (instance := self._fleet.get(id)) is not None and path(self._attributes, instance) == values]
        return _one(least(kinds, asked.needs.group, [each for each in there if asked.fits(each)]), chance)

    def _packed(
        self, entries: SortedList, low: int, asked: Asked, kinds: tuple[Local, ...], chance: Random, accept: Accept | None = None
    ) -> Instance | None:
        """Of the fullest that will do."""
        accept = accept or asked.fits
        for at in range(low, len(entries)):
            instance = self._at(entries, at)
            if not accept(instance):
                continue
            equal = entries.bisect_left(((entries[at][0][0] + 1,),))
            if len(kinds) == 1:
                return self._any(entries, at, equal, accept, chance)
            others = [self._at(entries, each) for each in range(at, equal)]
            return _one(least(kinds, asked.needs.group, [each for each in others if accept(each)]), chance)
        return None

    def _any(self, entries: SortedList, low: int, high: int, accept: Accept, chance: Random) -> Instance | None:
        if low >= high:
            return None
        for _ in range(_TRIES):
            at = chance.randrange(low, high)
            instance = self._at(entries, at)
            if accept(instance):
                return instance
        for each in range(high - low):
            instance = self._at(entries, low + (at - low + each) % (high - low))
            if accept(instance):
                return instance
        return None

    def _at(self, entries: SortedList, at: int) -> Instance:
        instance = self._fleet.get(entries[at][2])
        assert instance is not None  # the view has caught up
        return instance

    # keeping up

    def _start_over(self) -> None:
        self._seen: dict[str, tuple[Path, _Entry]] = {}
        self._sorted: dict[Path, SortedList] = {}
        self._since = self._fleet.now
        for instance in self._fleet:
            self._look(instance.id)

    def _catch_up(self) -> None:
        behind = self._fleet.behind(self._since)
        if behind is None or behind > 2 * len(self._fleet) + 16:
            self._start_over()
        elif behind:
            changed = self._fleet.changed(self._since)
            self._since = self._fleet.now
            for instance in dict.fromkeys(changed):
                self._look(instance)

    def _look(self, id: str) -> None:
        instance = self._fleet.get(id)
        was, now = self._seen.get(id), None
        if instance is not None and self._terms.met_by(instance):
            now = (path(self._attributes, instance), (local(self._resources, "", instance), instance.rank, id))
        if was == now:
            return
        if was is not None:
            entries = self._sorted[was[0]]
            entries.remove(was[1])
            if not entries:
                del self._sorted[was[0]]
            del self._seen[id]
        if now is not None:
            if now[0] not in self._sorted:
                self._sorted[now[0]] = SortedList()
            self._sorted[now[0]].add(now[1])
            self._seen[id] = now


def _one(instances: list[Instance], chance: Random) -> Instance | None:
    return chance.choice(instances) if instances else None
