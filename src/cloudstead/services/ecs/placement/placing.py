"""Places tasks: the instances they get, or the reasons why none will do.

What was placed has its share at once: the next task sees what is left. Whoever asked writes it down in the same step, or gives it back.

Tasks with the same terms and strategies share a view (`view.py`). To make one means looking at all instances. So terms whose expressions come for the
first time with a task or two are looked for in the view without the expressions, which hold of an instance more often than not; or else it is looked
through. The least used of many views are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from random import Random
from typing import TypeAlias

import msgspec

from cloudstead.services.ecs.placement.fleet import Fleet, Instance, Share
from cloudstead.services.ecs.placement.needs import ORDER, Asked, Needs, Terms, asked, refusal
from cloudstead.services.ecs.placement.strategies import Order, Resource, Strategy, best, order
from cloudstead.services.ecs.placement.view import View

MOST_VIEWS = 64
_FEW = 2

_Key: TypeAlias = tuple[Terms, tuple[str, ...], tuple[Resource, ...]]


class Placed(msgspec.Struct, frozen=True):
    task: str
    instance: str
    share: Share  # with the ports and GPUs that it got


class Refusal(msgspec.Struct, frozen=True):
    instance: str
    reason: str  # RESOURCE:CPU …, as in `failures` of RunTask


class Placement(msgspec.Struct, frozen=True):
    placed: tuple[Placed, ...] = ()
    unplaced: tuple[str, ...] = ()  # tasks
    refusals: tuple[Refusal, ...] = ()  # of each instance, when a task was not placed; empty: there are no instances


class Placer:
    """
    Args:
        chance: decides where strategies leave it open; seeded where a run is to be repeated.
    """

    def __init__(self, fleet: Fleet, chance: Random) -> None:
        self.fleet = fleet
        self._chance = chance
        self._views: OrderedDict[_Key, View | None] = OrderedDict()  # None: came once

    def place(self, needs: Needs, tasks: Sequence[str], strategies: Sequence[Strategy] = ()) -> Placement:
        """Place as many of the tasks as will go. One that has a place already keeps it.

        Raises:
            StrategyInvalid
            ExpressionInvalid
        """
        wanted, prepared = order(strategies), asked(needs)
        placed: list[Placed] = []
        for number, task in enumerate(tasks):
            there = self.fleet.where(task)
            instance = self._first(prepared, wanted, len(tasks) - number) if there is None else self.fleet.get(there)
            if instance is None:
                return Placement(tuple(placed), tuple(tasks[number:]), explain(self.fleet, needs))
            placed.append(self._put(needs, task, instance))
        return Placement(tuple(placed))

    def place_on(self, needs: Needs, task: str, instance: str) -> Placed | Refusal:
        """StartTask, and the tasks of daemons: this instance or none."""
        there = self.fleet.get(instance)
        if there is None:
            return Refusal(instance, "MISSING")
        if task not in there.shares and (reason := refusal(needs, there)):
            return Refusal(instance, reason)
        return self._put(needs, task, there)

    def _put(self, needs: Needs, task: str, instance: Instance) -> Placed:
        if task not in instance.shares:
            bindings = instance.ports.bindings(needs.ports) or ()
            gpus = tuple(sorted(instance.gpus)[: needs.gpus])
            share = Share(task=task, group=needs.group, cpu=needs.cpu, memory=needs.memory, enis=needs.enis, gpus=gpus, ports=bindings)
            self.fleet.take(instance.id, share)
        return Placed(task, instance.id, instance.shares[task])

    def _first(self, asked: Asked, order: Order, more: int) -> Instance | None:
        if not order.first:
            return self._view(asked, order, more).first(asked, order, self._chance)
        fitting = [instance for instance in self.fleet if asked.fits(instance)]
        found = best(order, asked.needs.group, self.fleet, fitting)
        return self._chance.choice(found) if found else None

    def _view(self, asked: Asked, order: Order, more: int) -> View:
        key = (asked.terms, order.attributes, order.resources)
        if asked.terms is not asked.broad and more <= _FEW and key not in self._views:
            self._keep(key, None)
            key = (asked.broad, order.attributes, order.resources)
        view = self._views.get(key)
        if view is None:
            view = View(self.fleet, *key)
        self._keep(key, view)
        return view

    def _keep(self, key: _Key, view: View | None) -> None:
        self._views[key] = view
        self._views.move_to_end(key)
        if len(self._views) > MOST_VIEWS:
            self._views.popitem(last=False)


def explain(fleet: Fleet, needs: Needs) -> tuple[Refusal, ...]:
    """What each instance says to such a task; those that would take it say nothing."""
    found = [Refusal(instance.id, refusal(needs, instance)) for instance in fleet]
    return tuple(each for each in found if each.reason)


def closest(refusals: Sequence[Refusal]) -> Refusal | None:
    """The instance that came furthest."""
    return max(refusals, key=lambda each: ORDER.index(each.reason), default=None)
