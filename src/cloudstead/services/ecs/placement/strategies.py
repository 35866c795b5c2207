"""In which order the instances that would do come into question.

The strategies of a call are applied one after the other, each among those that the ones before left equal:

    spread    where fewest tasks of the group are: on the instance itself, or on all instances with the same value of an attribute
    binpack   where least cpu or memory is left
    random    any of them; what comes after it no longer matters

Several spreads over attributes nest: the second counts within the first's value. Values with equally many tasks, and instances that are equal to the
end, follow a number made of the group's and their own names: the same each time, but not the same place first for every service.
An instance that lacks the attribute counts as one with an empty value: strategies are a best effort, and exclude nobody.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal, TypeAlias

import msgspec

from cloudstead.services.ecs.placement.fleet import Fleet, Instance

MOST_STRATEGIES = 5
INSTANCE_FIELDS = ("instanceid", "host")

Local: TypeAlias = Literal["instance", "cpu", "memory"]


class StrategyInvalid(ValueError):
    """A strategy that AWS would refuse; the message says why."""


class Strategy(msgspec.Struct, frozen=True):
    type: str
    field: str = ""


class Order(msgspec.Struct, frozen=True):
    """Strategies as they are carried out. Those over attributes come first: one that came later would find its candidates on too few instances
    to keep sorted, so what stands before it (`first`) is compared before all."""

    attributes: tuple[str, ...] = ()
    first: tuple[Local, ...] = ()
    then: tuple[Local, ...] = ()
    random: bool = False

    @property
    def grouped(self) -> bool:
        """Whether it matters where the other tasks of the group are."""
        return bool(self.attributes) or "instance" in (*self.first, *self.then)


SERVICE = (Strategy("spread", "attribute:ecs.availability-zone"),)  # unless a service says otherwise


def order(strategies: Sequence[Strategy]) -> Order:
    """
    Raises:
        StrategyInvalid
    """
    if len(strategies) > MOST_STRATEGIES:
        raise StrategyInvalid(f"at most {MOST_STRATEGIES} strategies")
    attributes: list[str] = []
    first: list[Local] = []
    then: list[Local] = []
    for strategy in strategies:
        field = strategy.field.lower()
        if strategy.type == "random":
            return Order(tuple(attributes), tuple(first), tuple(then), random=True)
        if strategy.type == "spread" and field.startswith("attribute:") and len(field) > len("attribute:"):
            first, then = [*first, *then], []
            attributes.append(strategy.field[len("attribute:") :])
        elif strategy.type == "spread" and field in INSTANCE_FIELDS:
            then.append("instance")
        elif strategy.type == "binpack" and field in ("cpu", "memory"):
            then.append("cpu" if field == "cpu" else "memory")
        else:
            raise StrategyInvalid(f"field '{strategy.field}' is not one of strategy '{strategy.type}'")
    return Order(tuple(attributes), tuple(first), tuple(then), random=not strategies)


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────────


def path(attributes: tuple[str, ...], instance: Instance) -> tuple[str, ...]:
    """Its values of the attributes that are spread over."""
    return tuple([instance.attributes.get(name, "") for name in attributes])


def local(kinds: tuple[Local, ...], group: str, instance: Instance) -> tuple[int, ...]:
    """What is compared between instances with the same values."""
    return tuple(
        [instance.groups.get(group, 0) if kind == "instance" else instance.cpu if kind == "cpu" else instance.memory for kind in kinds]
    )


def lot(group: str, name: str) -> int:
    return zlib.crc32(f"{group}/{name}".encode())


def rank(grouped: bool, group: str, instance: Instance) -> int:
    return lot(group, instance.id) if grouped else instance.rank


# ── without preparation ──────────────────────────────────────────────────────────────────────────────────────────────


def choose(order: Order, group: str, fleet: Fleet, candidates: Iterable[Instance], chance: Random) -> Instance | None:
    """The instance that comes first, found by looking at all of them. `view.View` finds the same one without."""
    left = list(candidates)
    left = _least(left, [local(order.first, group, each) for each in left])
    if order.attributes:
        left = _spread(order.attributes, group, fleet, left)
    left = _least(left, [local(order.then, group, each) for each in left])
    if not left:
        return None
    ranked = sorted((rank(order.grouped, group, each), each.id, each) for each in left)
    return ranked[chance.randrange(len(ranked)) if order.random else 0][2]


def _spread(attributes: tuple[str, ...], group: str, fleet: Fleet, candidates: list[Instance]) -> list[Instance]:
    counts: dict[tuple[str, ...], int] = {}
    for instance in fleet:
        if tasks := instance.groups.get(group, 0):
            values = path(attributes, instance)
            for depth in range(1, len(values) + 1):
                counts[values[:depth]] = counts.get(values[:depth], 0) + tasks
    paths = [path(attributes, each) for each in candidates]
    for depth in range(1, len(attributes) + 1):
        keys = [(counts.get(values[:depth], 0), lot(group, values[depth - 1]), values[depth - 1]) for values in paths]
        candidates, paths = _least(candidates, keys), _least(paths, keys)
    return candidates


def _least(things: list, keys: list) -> list:  # type: ignore[type-arg]
    least = min(keys, default=None)
    return [thing for thing, key in zip(things, keys, strict=True) if key == least]
