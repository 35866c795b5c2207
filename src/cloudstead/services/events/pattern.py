"""Event patterns: which events a rule wants.

A pattern is JSON: at each name of the event either an object (go deeper) or a list of alternatives, each a literal or a matcher such as
`{"prefix": "eu-"}`. It is checked once and compiled to closures; `Pattern.matches(event)` then only walks.

    {"source": ["aws.ec2"], "detail": {"state": ["running", {"prefix": "stop"}], "count": [{"numeric": [">", 0, "<=", 5]}]}}

Arrays in events: a pattern holds when one element does; when the elements are objects, all names of the pattern below that array must hold in
the same element, as in AWS's event-ruler.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

MAX_LENGTH: Final = 4096  # characters
MAX_DEPTH: Final = 100
MAX_COMBINATIONS: Final = 1000  # of $or, multiplied out
MAX_WILDCARDS: Final = 20  # in one wildcard; AWS limits their complexity in a way it does not tell

Value: TypeAlias = Any
Test: TypeAlias = Callable[[Value], bool]  # over one value of the event that is not an array
Node: TypeAlias = Callable[[Mapping[str, Any]], bool]

MISSING: Final = object()
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
_NUMERIC_LIMIT: Final = 5e9  # "between -5.0e9 and +5.0e9 inclusive"


class InvalidPattern(ValueError):
    """The text is not a pattern; the message says why, in AWS's words where they are known."""


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
        raise InvalidPattern("A field may not be named twice")
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


def compile_object(pattern: Mapping[str, Any], depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise InvalidPattern("Event pattern is nested too deeply")
    if not pattern:
        raise InvalidPattern("Empty objects are not allowed")
    nodes = [_either(below, depth) if name == "$or" and _is_or(below) else _field(name, below, depth) for name, below in pattern.items()]
    if len(nodes) == 1:
        return nodes[0]
    return lambda event: all(node(event) for node in nodes)


def _is_or(below: Any) -> bool:
    """`$or` is an ordinary name unless it holds a list of at least two objects that are not matchers."""
    return (
        isinstance(below, list)
        and len(below) > 1
        and all(isinstance(one, dict) and one and not set(one) <= MATCHERS.keys() for one in below)
    )


def _either(alternatives: list[Any], depth: int) -> Node:
    nodes = [compile_object(one, depth + 1) for one in alternatives]
    return lambda event: any(node(event) for node in nodes)


def _field(name: str, below: Any, depth: int) -> Node:
    if isinstance(below, dict):
        return _deeper(name, compile_object(below, depth + 1), _may_be_absent(below))
    if not isinstance(below, list):
        raise InvalidPattern(f'"{name}" must be an object or an array')
    if not below:
        raise InvalidPattern("Empty arrays are not allowed")
    tests = [matcher(one) for one in below]
    return _leaf(name, tests)


def _may_be_absent(pattern: Mapping[str, Any]) -> bool:
    """Whether the pattern can hold where there is nothing: it asks that something does not exist."""
    return any(
        _may_be_absent(below) if isinstance(below, dict) else isinstance(below, list) and {"exists": False} in below
        for below in pattern.values()
    )


def _deeper(name: str, node: Node, may_be_absent: bool) -> Node:
    def test(event: Mapping[str, Any]) -> bool:
        below = event.get(name, MISSING)
        if isinstance(below, dict):
            return node(below)
        if isinstance(below, list):
            return any(_inside(one, node) for one in below)
        return may_be_absent and below is MISSING and node({})

    return test


def _inside(value: Value, node: Node) -> bool:
    """An element of an array; arrays of arrays are looked through."""
    if isinstance(value, dict):
        return node(value)
    return isinstance(value, list) and any(_inside(one, node) for one in value)


def _leaf(name: str, tests: list[Test]) -> Node:
    def test(event: Mapping[str, Any]) -> bool:
        value = event.get(name, MISSING)
        if isinstance(value, list):
            # An array is there even when it is empty, which only `exists` can ask.
            return any(any(one(element) for one in tests) for element in _flat(value)) if value else any(one(MISSING) for one in tests)
        return any(one(value) for one in tests)

    return test


def _flat(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    waiting = list(reversed(values))
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        else:
            found.append(one)
    return found


def matcher(alternative: Any) -> Test:
    """What one alternative of a list asks of a value."""
    if isinstance(alternative, dict):
        if len(alternative) != 1:
            raise InvalidPattern("Only one key allowed in match expression")
        ((kind, operand),) = alternative.items()
        make = MATCHERS.get(kind)
        if make is None:
            raise InvalidPattern(f"Unrecognized match type {kind}")
        return make(operand)
    if isinstance(alternative, list):
        raise InvalidPattern("Match value must be String, number, true, false, or null")
    return literal(alternative)


def literal(wanted: Any) -> Test:
    if isinstance(wanted, str):
        return lambda value: isinstance(value, str) and value == wanted
    if wanted is None or isinstance(wanted, bool):
        return lambda value: value is wanted
    number = as_number(wanted)
    return lambda value: is_number(value) and value == number


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(operand: Any) -> float:
    if not is_number(operand) or not math.isfinite(operand):
        raise InvalidPattern("Value of numeric must be a number")
    return float(operand)


def text_of(kind: str, operand: Any) -> str:
    if not isinstance(operand, str):
        raise InvalidPattern(f"{kind} match pattern must be a string")
    return operand


def prefix(operand: Any) -> Test:
    if isinstance(operand, dict):
        folded = _only(operand, "prefix").lower()
        return lambda value: isinstance(value, str) and value.lower().startswith(folded)
    wanted = text_of("prefix", operand)
    return lambda value: isinstance(value, str) and value.startswith(wanted)


def suffix(operand: Any) -> Test:
    if isinstance(operand, dict):
        folded = _only(operand, "suffix").lower()
        return lambda value: isinstance(value, str) and value.lower().endswith(folded)
    wanted = text_of("suffix", operand)
    return lambda value: isinstance(value, str) and value.endswith(wanted)


def _only(operand: Mapping[str, Any], kind: str) -> str:
    if set(operand) != {"equals-ignore-case"}:
        raise InvalidPattern(f"Unsupported {kind} pattern: only equals-ignore-case may stand in it")
    return text_of(kind, operand["equals-ignore-case"])


def equals_ignore_case(operand: Any) -> Test:
    folded = text_of("equals-ignore-case", operand).lower()
    return lambda value: isinstance(value, str) and value.lower() == folded


def wildcard(operand: Any) -> Test:
    expression = wildcard_expression(text_of("wildcard", operand))
    return lambda value: isinstance(value, str) and expression(value)


def wildcard_expression(text: str) -> Callable[[str], bool]:
    """`*` is any run of characters; `\\*` and `\\\\` are those characters."""
    parts, at, wildcards = [""], 0, 0
    while at < len(text):
        one = text[at]
        if one == "\\":
            at += 1
            if at == len(text) or text[at] not in "*\\":
                raise InvalidPattern("Invalid escape character at pos " + str(at - 1))
            parts[-1] += text[at]
        elif one == "*":
            if at and text[at - 1] == "*" and parts[-1] == "" and wildcards:
                raise InvalidPattern("Consecutive wildcard characters at pos " + str(at - 1))
            wildcards += 1
            parts.append("")
        else:
            parts[-1] += one
        at += 1
    if wildcards > MAX_WILDCARDS:
        raise InvalidPattern(
            "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard"
        )
    return lambda value: _fits(value, parts)


def _fits(value: str, parts: list[str]) -> bool:
    """Whether the parts stand in the value in this order, the first at its begin and the last at its end. Greedy, so in linear time."""
    first, *middle, last = parts if len(parts) > 1 else (*parts, None)
    if last is None:
        return value == first
    if not value.startswith(first) or len(value) < len(first) + len(last) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for part in middle:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def anything_but(operand: Any) -> Test:
    """A value that is there and is none of these."""
    if isinstance(operand, dict):
        if len(operand) != 1:
            raise InvalidPattern("Only one key allowed in match expression")
        ((kind, inner),) = operand.items()
        if kind not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
            raise InvalidPattern(f"Unsupported anything-but pattern: {kind}")
        tests = [MATCHERS[kind](one) for one in (inner if isinstance(inner, list) else [inner])]
    else:
        alternatives = operand if isinstance(operand, list) else [operand]
        if any(isinstance(one, dict | list | bool) or one is None for one in alternatives):
            raise InvalidPattern("Inside anything-but list, either all values are numbers or all are strings")
        tests = [literal(one) for one in alternatives]
    if not tests:
        raise InvalidPattern("Empty arrays are not allowed")
    return lambda value: value is not MISSING and not any(test(value) for test in tests)


def numeric(operand: Any) -> Test:
    """`[">", 0, "<=", 5]`: one comparison, or a lower and an upper bound."""
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise InvalidPattern("Invalid numeric match: it needs one or two comparisons")
    tests = []
    for sign, bound in zip(operand[::2], operand[1::2], strict=True):
        if not isinstance(sign, str) or sign not in _COMPARISONS:
            raise InvalidPattern(f"Unrecognized numeric range operator: {sign}")
        number = as_number(bound)
        if abs(number) > _NUMERIC_LIMIT:
            raise InvalidPattern("Value must be between -5.0E9 and 5.0E9, inclusive")
        tests.append((_COMPARISONS[sign], number))
    if len(tests) == 2:
        if operand[0][0] != ">" or operand[2][0] != "<":
            raise InvalidPattern("Bad numeric range: a lower bound must come first, then an upper bound")
        if tests[0][1] >= tests[1][1]:
            raise InvalidPattern("Bottom must be less than top")
    return lambda value: is_number(value) and all(compare(value, bound) for compare, bound in tests)


def cidr(operand: Any) -> Test:
    try:
        network = ipaddress.ip_network(text_of("cidr", operand), strict=False)
    except ValueError as error:
        raise error if isinstance(error, InvalidPattern) else InvalidPattern("Malformed CIDR, one '/' required") from None
    return lambda value: isinstance(value, str) and _in_network(value, network)


def _in_network(value: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(value) in network
    except ValueError:
        return False


def exists(operand: Any) -> Test:
    if not isinstance(operand, bool):
        raise InvalidPattern("exists match pattern must be either true or false.")
    # Only leaves exist: an object is a node on the way to them.
    return (
        (lambda value: value is not MISSING and not isinstance(value, dict))
        if operand
        else (lambda value: value is MISSING or isinstance(value, dict))
    )


MATCHERS: Final[Mapping[str, Callable[[Any], Test]]] = {
    "prefix": prefix,
    "suffix": suffix,
    "equals-ignore-case": equals_ignore_case,
    "wildcard": wildcard,
    "anything-but": anything_but,
    "numeric": numeric,
    "cidr": cidr,
    "exists": exists,
}
