"""In which order the instances that would do come into question.

The strategies of a call are applied one after the other, each among those that the ones before left equal:

    spread    where fewest tasks of the group are: on the instance itself, or on all instances with the same value of an attribute
    binpack   where least cpu or memory is left
    random    any of them; what comes after it no longer matters

Several spreads over attributes nest: the second counts within the first's value. Values with equally many tasks follow a number made of the group's and
their own name: always the same, but not the same zone first for every service. Among instances that are equal to the end chance decides. An instance
that lacks the attribute counts as one with an empty value: strategies are a best effort, and exclude nobody.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from cloudstead.services.ecs.placement.fleet import Fleet, Instance, Path, path

MOST_STRATEGIES = 5
INSTANCE_FIELDS = ("instanceid", "host")

Resource: TypeAlias = Literal["cpu", "memory"]
Local: TypeAlias = Literal["instance"] | Resource


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

    @property
    def resources(self) -> tuple[Resource, ...]:
        """By what instances with the same values are kept sorted."""
        found = [kind for kind in self.then if kind != "instance"]
        return tuple(dict.fromkeys(found)) or ("memory",)


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
            break
        if strategy.type == "spread" and field.startswith("attribute:") and len(field) > len("attribute:"):
            first, then = [*first, *then], []
            attributes.append(strategy.field[len("attribute:") :])
        elif strategy.type == "spread" and field in INSTANCE_FIELDS:
            then.append("instance")
        elif strategy.type == "binpack" and field in ("cpu", "memory"):
            then.append("cpu" if field == "cpu" else "memory")
        else:
            raise StrategyInvalid(f"field '{strategy.field}' is not one of strategy '{strategy.type}'")
    return Order(tuple(attributes), tuple(first), tuple(then))


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────────


def local(kinds: tuple[Local, ...], group: str, instance: Instance) -> tuple[int, ...]:
    """What is compared between instances with the same values."""
    return tuple(
        [instance.groups.get(group, 0) if kind == "instance" else instance.cpu if kind == "cpu" else instance.memory for kind in kinds]
    )


def turn(counts: Mapping[Path, int], group: str, values: Path) -> tuple[tuple[int, int, str], ...]:
    """When instances with these values come: for each value the tasks that are there, then the lot."""
    return tuple(
        [(counts.get(values[: depth + 1], 0), zlib.crc32(f"{group}/{value}".encode()), value) for depth, value in enumerate(values)]
    )


def least(kinds: tuple[Local, ...], group: str, instances: Sequence[Instance]) -> list[Instance]:
    if not kinds:
        return list(instances)
    keys = [local(kinds, group, each) for each in instances]
    first = min(keys, default=())
    return [each for each, key in zip(instances, keys, strict=True) if key == first]


def best(order: Order, group: str, fleet: Fleet, candidates: Sequence[Instance]) -> list[Instance]:
    """The instances of which any may be the next, found by looking at all of them. `view.View` finds one of them without."""
    left = least(order.first, group, candidates)
    if order.attributes:
        counts = fleet.spread(order.attributes, group)
        turns = [turn(counts, group, path(order.attributes, each)) for each in left]
        first = min(turns, default=())
        left = [each for each, its in zip(left, turns, strict=True) if its == first]
    return least(order.then, group, left)
