"""Event patterns: which events a rule wants.

A pattern is JSON: at each name of the event either an object (go deeper) or a list of alternatives, each a literal or a matcher such as
`{"prefix": "eu-"}`. It is checked once and compiled to closures; `Pattern.matches(event)` then only walks.

    {"source": ["aws.ec2"], "detail": {"state": ["running", {"prefix": "stop"}], "count": [{"numeric": [">", 0, "<=", 5]}]}}

Arrays in events: a pattern holds when one element does; when the elements are objects, all names of the pattern below that array must hold in
the same element. An empty array has no values: it is as if it were not there. Only values can match or exist; an object is a node on the way to
them. What is asked not to exist below an array must be absent in the element in which the other names of the pattern hold, or, when the
pattern asks nothing else of the elements, in all of them.

These rules, and the sentences of the errors, are those of AWS's own engine: https://github.com/aws/event-ruler
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cloudstead.services.events.matchers import MISSING, RESERVED_IN_OR, InvalidPattern, Test, matcher

MAX_LENGTH: Final = 4096  # characters
MAX_DEPTH: Final = 100
MAX_COMBINATIONS: Final = 1000  # of $or, multiplied out
Node: TypeAlias = Callable[[Mapping[str, Any]], bool]
_ABSENT: Final = [{"exists": False}]


class Pattern:
    """A compiled pattern.

    `sources` and `detail_types` are the literals of which one must be the event's, or None when it does not say: rules are indexed by them.
    """

    __slots__ = ("_node", "detail_types", "sources", "text")

    def __init__(self, text: str) -> None:
        """
        Raises:
            InvalidPattern
        """
        self.text = text
        document = read(text)
        self._node = compile_object(document, 0)
        self.sources = literals(document.get("source"))
        self.detail_types = literals(document.get("detail-type"))

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether a rule with this pattern wants the event (in the form of its JSON: "detail-type", …)."""
        return self._node(event)


def literals(alternatives: Any) -> frozenset[str] | None:
    if not isinstance(alternatives, list) or not all(isinstance(one, str) for one in alternatives):
        return None
    return frozenset(alternatives)


def read(text: str) -> dict[str, Any]:
    if len(text) > MAX_LENGTH:
        raise InvalidPattern(f"Event pattern must not be longer than {MAX_LENGTH} characters")
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InvalidPattern) else InvalidPattern("Event pattern is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidPattern("Filter is not an object")
    if not document:
        raise InvalidPattern("Empty patterns are not allowed")
    if combinations(document) > MAX_COMBINATIONS:
        raise InvalidPattern(f"Rule is too complex - try using fewer $or, at most {MAX_COMBINATIONS} combinations")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if any(name == other for other, _ in pairs[:at]))
        raise InvalidPattern(f"Path `{twice}` cannot be allowed multiple times")
    return found


def _no_constant(text: str) -> float:
    raise InvalidPattern("Event pattern is not valid JSON")


def combinations(pattern: Any, depth: int = 0) -> int:
    """How many patterns without $or it stands for."""
    if not isinstance(pattern, dict) or depth > MAX_DEPTH:
        return 1
    total = 1
    for name, below in pattern.items():
        if name == "$or" and isinstance(below, list):
            total *= sum(combinations(one, depth + 1) for one in below) or 1
        else:
            total *= combinations(below, depth + 1)
        if total > MAX_COMBINATIONS:
            break
    return total


def compile_object(pattern: Mapping[str, Any], depth: int, *, in_or: bool = False) -> Node:
    if depth > MAX_DEPTH:
        raise InvalidPattern("Event pattern is nested too deeply")
    if not pattern:
        raise InvalidPattern("Empty objects are not allowed")
    nodes = []
    for name, below in pattern.items():
        if name == "$or":
            nodes.append(_either(below, depth))
        elif in_or and name in RESERVED_IN_OR:
            raise InvalidPattern(f"{name} is Ruler reserved fieldName which cannot be used inside $or.")
        else:
            nodes.append(_field(name, below, depth, in_or))
    if len(nodes) == 1:
        return nodes[0]
    if len(nodes) == 2:
        first, second = nodes
        return lambda event: first(event) and second(event)
    together = tuple(nodes)

    def test(event: Mapping[str, Any]) -> bool:
        for node in together:  # noqa: SIM110 (a loop costs half of what a generator does)
            if not node(event):
                return False
        return True

    return test


def _either(alternatives: Any, depth: int) -> Node:
    if not isinstance(alternatives, list):
        raise InvalidPattern("It must be an Array followed with $or.")
    if not all(isinstance(one, dict) for one in alternatives):
        raise InvalidPattern("Only JSON object is allowed in array of $or relationship.")
    if len(alternatives) < 2:
        raise InvalidPattern("There must have at least 2 Objects in $or relationship.")
    nodes = [compile_object(one, depth + 1, in_or=True) for one in alternatives]
    return lambda event: any(node(event) for node in nodes)


def _field(name: str, below: Any, depth: int, in_or: bool) -> Node:
    if isinstance(below, dict):
        return _deeper(name, compile_object(below, depth + 1, in_or=in_or), _asks_only_absence(below))
    if not isinstance(below, list):
        raise InvalidPattern(f'"{name}" must be an object or an array')
    if not below:
        raise InvalidPattern("Empty arrays are not allowed")
    if all(isinstance(one, str) for one in below):
        return _one_of(name, frozenset(below))
    return _leaf(name, [matcher(one) for one in below])


def _asks_only_absence(pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return all(
            all(_asks_only_absence(one) for one in below) if name == "$or" else _asks_only_absence(below) for name, below in pattern.items()
        )
    return bool(pattern == _ABSENT)


def _deeper(name: str, node: Node, only_absence: bool) -> Node:
    holds_on_nothing = node({})  # it asks that something does not exist

    def test(event: Mapping[str, Any]) -> bool:
        below = event.get(name, MISSING)
        if isinstance(below, dict):
            return node(below)
        if isinstance(below, list):
            objects = [one for one in _flat(below) if isinstance(one, dict)]
            if not objects:
                return holds_on_nothing
            return all(map(node, objects)) if only_absence else any(map(node, objects))
        return holds_on_nothing

    return test


def _one_of(name: str, wanted: frozenset[str]) -> Node:
    """Of nothing but strings, which most patterns consist of."""

    def test(event: Mapping[str, Any]) -> bool:
        value = event.get(name)
        if isinstance(value, str):
            return value in wanted
        return isinstance(value, list) and any(isinstance(one, str) and one in wanted for one in _flat(value))

    return test


def _leaf(name: str, tests: list[Test]) -> Node:
    def test(event: Mapping[str, Any]) -> bool:
        value = event.get(name, MISSING)
        if isinstance(value, list):
            values = [one for one in _flat(value) if not isinstance(one, dict)]
            return any(one(element) for element in values or (MISSING,) for one in tests)
        if isinstance(value, dict):
            value = MISSING
        return any(one(value) for one in tests)

    return test


def _flat(values: list[Any]) -> list[Any]:
    """The elements of an array and of the arrays in it."""
    if not any(isinstance(one, list) for one in values):
        return values
    found: list[Any] = []
    waiting = list(reversed(values))
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        else:
            found.append(one)
    return found


__all__ = ["InvalidPattern", "Pattern"]
