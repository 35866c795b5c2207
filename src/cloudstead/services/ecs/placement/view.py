"""The instances on which one kind of task could go, kept in the order in which they come into question.

    Branch of the first attribute    values by (tasks of the group, lot)
    └── Branch of the second         the same within the value
        └── Leaf                     instances by (what the other strategies compare, rank)

Only instances that would take the task are in it, so the first is the answer. Before a view is asked it looks at the instances that the fleet's journal
names since the last time: placing a task changes one, so the next task costs one look and a few steps in sorted lists, however large the fleet.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from sortedcontainers import SortedList

from cloudstead.services.ecs.placement.fleet import Fleet, Instance
from cloudstead.services.ecs.placement.needs import Needs, refusal
from cloudstead.services.ecs.placement.strategies import Order, local, lot, path, rank

_LAST = (float("inf"),)


class _Leaf:
    __slots__ = ("_sorted",)

    def __init__(self) -> None:
        self._sorted = SortedList()  # of (compared, rank, id)

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, path: tuple[str, ...], depth: int, key: _Key) -> None:
        self._sorted.add(key)

    def remove(self, path: tuple[str, ...], depth: int, key: _Key) -> None:
        self._sorted.remove(key)

    def count(self, path: tuple[str, ...], depth: int, tasks: int) -> None:
        pass

    def first(self, chance: Random | None) -> str:
        least = self._sorted[0]
        if chance is not None:
            least = self._sorted[chance.randrange(self._sorted.bisect_right((least[0], *_LAST)))]
        return str(least[2])


class _Key(NamedTuple):
    compared: tuple[int, ...]
    rank: int
    id: str


class _Branch:
    __slots__ = ("_children", "_counts", "_group", "_size", "_sorted", "_under")

    def __init__(self, group: str, under: int) -> None:
        self._group = group
        self._under = under  # how many more attributes there are below
        self._counts: dict[str, int] = {}  # tasks of the group, wherever they are; also where no more can go
        self._children: dict[str, _Branch | _Leaf] = {}
        self._sorted = SortedList()  # of (count, lot, value) of the values that have instances to offer
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, path: tuple[str, ...], depth: int, key: _Key) -> None:
        child = self._child(path[depth])
        if not len(child):
            self._sorted.add(self._place(path[depth]))
        child.add(path, depth + 1, key)
        self._size += 1

    def remove(self, path: tuple[str, ...], depth: int, key: _Key) -> None:
        child = self._children[path[depth]]
        child.remove(path, depth + 1, key)
        self._size -= 1
        if not len(child):
            self._sorted.remove(self._place(path[depth]))

    def count(self, path: tuple[str, ...], depth: int, tasks: int) -> None:
        """So many more tasks of the group are there, or fewer."""
        value = path[depth]
        child = self._child(value)
        offered = len(child) > 0
        if offered:
            self._sorted.remove(self._place(value))
        self._counts[value] = self._counts.get(value, 0) + tasks
        if offered:
            self._sorted.add(self._place(value))
        child.count(path, depth + 1, tasks)

    def first(self, chance: Random | None) -> str:
        return self._children[self._sorted[0][2]].first(chance)

    def _child(self, value: str) -> _Branch | _Leaf:
        child = self._children.get(value)
        if child is None:
            child = self._children[value] = _Branch(self._group, self._under - 1) if self._under else _Leaf()
        return child

    def _place(self, value: str) -> tuple[int, int, str]:
        return (self._counts.get(value, 0), lot(self._group, value), value)


class _Seen(NamedTuple):
    """An instance as it stands in the view."""

    path: tuple[str, ...]
    tasks: int
    key: _Key | None  # None: it would not take the task


_NOWHERE = _Seen((), 0, None)


class View:
    """Of an order without `first`: what comes before a spread over an attribute cannot be kept sorted like this."""

    def __init__(self, fleet: Fleet, needs: Needs, order: Order) -> None:
        self._fleet = fleet
        self._needs = needs
        self._order = order
        self._start_over()

    def first(self, chance: Random) -> Instance | None:
        """The instance that comes first, in the fleet as it is now."""
        self._catch_up()
        if not len(self._root):
            return None
        return self._fleet.get(self._root.first(chance if self._order.random else None))

    @property
    def behind(self) -> int:
        """At how many instances it would have to look first."""
        behind = self._fleet.behind(self._since)
        return len(self._fleet) if behind is None else min(behind, len(self._fleet))

    def _start_over(self) -> None:
        self._seen: dict[str, _Seen] = {}
        depth = len(self._order.attributes)
        self._root: _Branch | _Leaf = _Branch(self._needs.group, depth - 1) if depth else _Leaf()
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
        was = self._seen.get(id, _NOWHERE)
        instance = self._fleet.get(id)
        now = _NOWHERE if instance is None else self._standing(instance)
        if now == was:
            return
        if was.key is not None and (was.key != now.key or was.path != now.path):
            self._root.remove(was.path, 0, was.key)
        if was.path != now.path or was.tasks != now.tasks:
            self._recount(was, now)
        if now.key is not None and (was.key != now.key or was.path != now.path):
            self._root.add(now.path, 0, now.key)
        if instance is None:
            self._seen.pop(id, None)
        else:
            self._seen[id] = now

    def _recount(self, was: _Seen, now: _Seen) -> None:
        if was.path == now.path:
            self._root.count(now.path, 0, now.tasks - was.tasks)
            return
        if was.tasks:
            self._root.count(was.path, 0, -was.tasks)
        if now.tasks:
            self._root.count(now.path, 0, now.tasks)

    def _standing(self, instance: Instance) -> _Seen:
        group, order = self._needs.group, self._order
        values = path(order.attributes, instance)
        tasks = instance.groups.get(group, 0) if order.attributes else 0
        if refusal(self._needs, instance):
            return _Seen(values, tasks, None)
        return _Seen(values, tasks, _Key(local(order.then, group, instance), rank(order.grouped, group, instance), instance.id))
