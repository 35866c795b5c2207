"""Places tasks: the instances they get, or the reasons why none will do.

What was placed has its share at once: the next task sees what is left. Whoever asked writes it down in the same step, or gives it back.

For each kind of task there is a view (`view.py`), made when it pays: looking at all instances once costs a third of making a view of them, so a kind
that comes once is placed by looking, one that comes again or in numbers by its view. The least used of many views are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from random import Random

import msgspec
from msgspec.structs import replace

from cloudstead.services.ecs.placement.fleet import Fleet, Instance, Share
from cloudstead.services.ecs.placement.needs import ORDER, Needs, refusal
from cloudstead.services.ecs.placement.strategies import Order, Strategy, choose, order
from cloudstead.services.ecs.placement.view import View

MOST_VIEWS = 256
_LOOK, _UPDATE = 1, 4  # what looking at an instance costs, and what updating it in a view does


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
        chance: for the strategy `random`; seeded where a run is to be repeated.
    """

    def __init__(self, fleet: Fleet, chance: Random) -> None:
        self.fleet = fleet
        self._chance = chance
        self._views: OrderedDict[tuple[Needs, Order], View | None] = OrderedDict()  # None: it was asked for once

    def place(self, needs: Needs, tasks: Sequence[str], strategies: Sequence[Strategy] = ()) -> Placement:
        """Place as many of the tasks as will go. One that has a place already keeps it.

        Raises:
            StrategyInvalid
            ExpressionInvalid
        """
        wanted = order(strategies)
        placed: list[Placed] = []
        for number, task in enumerate(tasks):
            there = self.fleet.where(task)
            instance = self._first(needs, wanted, len(tasks) - number) if there is None else self.fleet.get(there)
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

    def _first(self, needs: Needs, order: Order, more: int) -> Instance | None:
        view = self._view(needs, order, more)
        if view is not None:
            return view.first(self._chance)
        candidates = (instance for instance in self.fleet if not refusal(needs, instance))
        return choose(order, needs.group, self.fleet, candidates, self._chance)

    def _view(self, needs: Needs, order: Order, more: int) -> View | None:
        """The view to ask; None: looking at all instances is cheaper."""
        if order.first:
            return None
        key = (needs if needs.distinct or order.grouped else replace(needs, group=""), order)
        view, known = self._views.get(key), key in self._views
        if view is None and (known or more > 3):
            view = View(self.fleet, *key)
        self._views[key] = view
        self._views.move_to_end(key)
        if len(self._views) > MOST_VIEWS:
            self._views.popitem(last=False)
        if view is not None and view.behind * _UPDATE > more * len(self.fleet) * _LOOK:
            return None
        return view


def explain(fleet: Fleet, needs: Needs) -> tuple[Refusal, ...]:
    """What each instance says to such a task; those that would take it say nothing."""
    found = [Refusal(instance.id, refusal(needs, instance)) for instance in fleet]
    return tuple(each for each in found if each.reason)


def closest(refusals: Sequence[Refusal]) -> Refusal | None:
    """The instance that came furthest."""
    return max(refusals, key=lambda each: ORDER.index(each.reason), default=None)
