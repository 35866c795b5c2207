"""An expression of the cluster query language, asked about one container instance.

It becomes nested functions once and is then asked of a thousand instances. Comparisons of attributes are of texts, except that `>` and its like
compare numbers where both sides are some. An instance that lacks an attribute has no value: it is not equal, not in a list and matches no pattern,
so that `!=`, `not_in` and `!~` hold of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from cloudstead.services.ecs.placement.language import Both, Comparison, Either, Expression, Not, moment, parse
from cloudstead.services.ecs.placement.patterns import compiled

if TYPE_CHECKING:
    from cloudstead.services.ecs.placement.fleet import Instance

Condition: TypeAlias = "Callable[[Instance], bool]"

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_OPPOSITES = {"!=": "==", "!in": "in", "!~": "=~", "!exists": "exists"}


@lru_cache(512)
def condition(expression: str) -> Condition:
    """
    Raises:
        ExpressionInvalid
    """
    return _condition(parse(expression))


@lru_cache(512)
def changes_with_tasks(expression: str) -> bool:
    """Whether its answer depends on the tasks that run there, and not on the instance alone."""

    def inside(tree: Expression) -> bool:
        match tree:
            case Comparison():
                return tree.subject in ("task:group", "runningTasksCount")
            case Not():
                return inside(tree.of)
            case _:
                return inside(tree.left) or inside(tree.right)

    return inside(parse(expression))


def _condition(tree: Expression) -> Condition:
    match tree:
        case Comparison():
            return _comparison(tree)
        case Not():
            inner = _condition(tree.of)
            return lambda instance: not inner(instance)
        case Both():
            left, right = _condition(tree.left), _condition(tree.right)
            return lambda instance: left(instance) and right(instance)
        case Either():
            left, right = _condition(tree.left), _condition(tree.right)
            return lambda instance: left(instance) or right(instance)


def _comparison(tree: Comparison) -> Condition:
    if tree.subject == "runningTasksCount":
        compare, number = _COMPARED[tree.operator], int(tree.arguments[0])
        return lambda instance: compare(instance.running, number)
    if tree.subject == "registeredAt":
        compare, when = _COMPARED[tree.operator], moment(tree.arguments[0])
        return lambda instance: compare(instance.registered, when)
    if tree.subject == "agentVersion":
        compare, version = _COMPARED[tree.operator], _version(tree.arguments[0])
        return lambda instance: compare(_version(instance.agent_version), version)
    if tree.operator in _OPPOSITES:
        inner = _comparison(Comparison(tree.subject, _OPPOSITES[tree.operator], tree.arguments))
        return lambda instance: not inner(instance)
    test = _test(tree)
    if tree.subject == "task:group":
        return lambda instance: any(test(group) for group in instance.groups)
    if tree.subject == "agentConnected":
        return lambda instance: test("true" if instance.connected else "false")
    if tree.subject == "ec2InstanceId":
        return lambda instance: test(instance.ec2_instance_id)
    return _of_attribute(tree.subject.removeprefix("attribute:"), test)


def _of_attribute(name: str, test: Callable[[str], bool]) -> Condition:
    def holds(instance: Instance) -> bool:
        value = instance.attributes.get(name)
        return value is not None and test(value)

    return holds


def _test(tree: Comparison) -> Callable[[str], bool]:
    if tree.operator == "exists":
        return lambda value: True
    if tree.operator == "in":
        return frozenset(tree.arguments).__contains__
    if tree.operator == "=~":
        return compiled(tree.arguments[0]).matches
    if tree.operator == "==":
        return tree.arguments[0].__eq__
    compare, argument = _COMPARED[tree.operator], tree.arguments[0]
    return lambda value: compare(*_comparable(value, argument))


def _comparable(one: str, other: str) -> tuple[Any, Any]:
    try:
        return float(one), float(other)
    except ValueError:
        return one, other


def _version(text: str) -> tuple[int, ...]:
    """1.78 is 1.78.0; what is no version (an agent that never told its own) comes before all."""
    parts = text.removeprefix("v").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return ()
    numbers = [int(part) for part in parts]
    return tuple(numbers + [0] * (4 - len(numbers)))
