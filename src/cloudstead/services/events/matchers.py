"""What the alternatives of an event pattern ask of one value: literals, and matchers such as `{"prefix": "eu-"}`.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cloudstead.kernel.wildcards import fits

MAX_WILDCARDS: Final = 20  # in one wildcard; AWS limits their complexity in a way it does not tell

Value: TypeAlias = Any
Test: TypeAlias = Callable[[Value], bool]  # over one value of the event that is neither an array nor an object

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


def matcher(alternative: Any) -> Test:
    """What one alternative of a list asks of a value."""
    if isinstance(alternative, dict):
        if not alternative:
            raise InvalidPattern("Match expression name not found")
        kind = next(iter(alternative))
        make = MATCHERS.get(kind)
        if make is None:
            raise InvalidPattern(f"Unrecognized match type {kind}")
        if len(alternative) != 1:
            raise InvalidPattern("Only one key allowed in match expression")
        return make(alternative[kind])
    if isinstance(alternative, list):
        raise InvalidPattern("Match value must be String, number, true, false, or null")
    return literal(alternative)


def literal(wanted: Any) -> Test:
    if isinstance(wanted, str):
        return lambda value: isinstance(value, str) and value == wanted
    if wanted is None or isinstance(wanted, bool):
        return lambda value: value is wanted
    number = as_number(wanted, "Match value must be String, number, true, false, or null")
    return lambda value: is_number(value) and value == number


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(operand: Any, otherwise: str) -> int | float:
    if not is_number(operand) or (isinstance(operand, float) and not math.isfinite(operand)):
        raise InvalidPattern(otherwise)
    number: int | float = operand
    return number


def text_of(kind: str, operand: Any) -> str:
    if not isinstance(operand, str):
        raise InvalidPattern(f"{kind} match pattern must be a string")
    return operand


def exactly(operand: Any) -> Test:
    return literal(text_of("exact", operand))


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
    """The text of {"equals-ignore-case": text}, which may stand in a prefix or suffix."""
    if not operand:
        raise InvalidPattern(f"{kind.capitalize()} expression name not found")
    name = next(iter(operand))
    if name != "equals-ignore-case":
        raise InvalidPattern(f"Unsupported {kind} pattern: {name}")
    if len(operand) != 1:
        raise InvalidPattern("Only one key allowed in match expression")
    return text_of("equals-ignore-case", operand[name])


def equals_ignore_case(operand: Any) -> Test:
    folded = text_of("equals-ignore-case", operand).lower()
    return lambda value: isinstance(value, str) and value.lower() == folded


def wildcard(operand: Any) -> Test:
    expression = wildcard_expression(text_of("wildcard", operand))
    return lambda value: isinstance(value, str) and expression(value)


def wildcard_expression(text: str) -> Callable[[str], bool]:
    """`*` is any run of characters; `\\*` and `\\\\` are those characters."""
    parts, at = [""], 0
    while at < len(text):
        one = text[at]
        if one == "\\":
            at += 1
            if at == len(text) or text[at] not in "*\\":
                raise InvalidPattern(f"Invalid escape character at pos {at}")  # AWS counts the quotation mark before the text
            parts[-1] += text[at]
        elif one == "*":
            if text[at + 1 : at + 2] == "*":
                raise InvalidPattern(f"Consecutive wildcard characters at pos {at + 1}")
            parts.append("")
        else:
            parts[-1] += one
        at += 1
    if len(parts) > MAX_WILDCARDS + 1:
        raise InvalidPattern(
            "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
        )
    return lambda value: fits(parts, value)


_BUT_TEXTS: Final = {"prefix": "prefix/suffix", "suffix": "prefix/suffix", "wildcard": "wildcard"}


def anything_but(operand: Any) -> Test:
    """A value that is there and is none of these."""
    tests = _but_expression(operand) if isinstance(operand, dict) else _but_literals(operand)
    if len(tests) == 1:
        (refused,) = tests
        return lambda value: value is not MISSING and not refused(value)
    return lambda value: value is not MISSING and not any(test(value) for test in tests)


def _but_expression(operand: Mapping[str, Any]) -> list[Test]:
    if not operand:
        raise InvalidPattern("Anything-But expression name not found")
    kind = next(iter(operand))
    if kind not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
        raise InvalidPattern(f"Unsupported anything-but pattern: {kind}")
    if len(operand) != 1:
        raise InvalidPattern("Only one key allowed in match expression")
    alternatives = operand[kind] if isinstance(operand[kind], list) else [operand[kind]]
    for one in alternatives:
        if not isinstance(one, str):
            if kind == "equals-ignore-case":
                raise InvalidPattern("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
            raise InvalidPattern(f"{_BUT_TEXTS[kind]} match pattern must be a string")
        if not one and kind in ("prefix", "suffix"):
            raise InvalidPattern("Null prefix/suffix not allowed")
    if not alternatives:
        raise InvalidPattern("Empty arrays are not allowed")
    return [MATCHERS[kind](one) for one in alternatives]


def _but_literals(operand: Any) -> list[Test]:
    alternatives = operand if isinstance(operand, list) else [operand]
    if any(isinstance(one, dict | list | bool) or one is None for one in alternatives):
        if not isinstance(operand, list):
            raise InvalidPattern("Value of anything-but must be an array or single string/number value.")
        raise InvalidPattern("Inside anything but list, start|null|boolean is not supported.")
    if not alternatives or len({isinstance(one, str) for one in alternatives}) > 1:
        raise InvalidPattern("Inside anything but list, either all values are number or string, mixed type is not supported")
    return [literal(one) for one in alternatives]


def numeric(operand: Any) -> Test:
    """`[">", 0, "<=", 5]`: one comparison, or a lower and an upper bound."""
    if not isinstance(operand, list):
        raise InvalidPattern("Value of numeric must be an array.")
    if not operand or not isinstance(operand[0], str):
        raise InvalidPattern("Invalid member in numeric match: " + (json.dumps(operand[0]) if operand else "]"))
    sign, *rest = operand
    if sign not in _COMPARISONS:
        raise InvalidPattern(f"Unrecognized numeric range operator: {sign}")
    bound = _bound(sign, rest[0] if rest else None)
    compare = _COMPARISONS[sign]
    if len(rest) == 1:
        return lambda value: is_number(value) and compare(value, bound)
    if not sign.startswith(">"):
        raise InvalidPattern("Too many elements in numeric expression")
    return _between(compare, bound, rest[1:])


def _between(above: Callable[[float, float], bool], bottom: float, rest: list[Any]) -> Test:
    sign = rest[0]
    if not isinstance(sign, str):
        raise InvalidPattern(f"Bad value in numeric range: {json.dumps(sign)}")
    if sign not in ("<", "<="):
        raise InvalidPattern(f"Bad numeric range operator: {sign}")
    top = _bound(sign, rest[1] if len(rest) > 1 else None)
    if len(rest) > 2:
        raise InvalidPattern("Too many terms in numeric range expression")
    if bottom >= top:
        raise InvalidPattern("Bottom must be less than top")
    below = _COMPARISONS[sign]
    return lambda value: is_number(value) and above(value, bottom) and below(value, top)


def _bound(sign: str, operand: Any) -> float:
    number = as_number(operand, f"Value of {'equals' if sign == '=' else sign} must be numeric")
    if abs(number) > _NUMERIC_LIMIT:
        raise InvalidPattern("Value must be between -5.0E9 and 5.0E9, inclusive")
    return number


def cidr(operand: Any) -> Test:
    text = text_of("prefix", operand)  # AWS's engine says "prefix" here too
    address, slash, bits = text.partition("/")
    if not slash or "/" in bits:
        raise InvalidPattern("Malformed CIDR, one '/' required")
    if not (bits.isascii() and bits.isdigit() and len(bits) < 4):
        raise InvalidPattern("Malformed CIDR, mask bits must be an integer")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        raise InvalidPattern(f"Nonstandard IP address: {address}") from None
    if int(bits) > (32 if version == 4 else 128):
        raise InvalidPattern(f"IPv{version} mask bits must be < {32 if version == 4 else 128}")
    network = ipaddress.ip_network(f"{address}/{int(bits)}", strict=False)
    return lambda value: isinstance(value, str) and _in_network(value, network)


def _in_network(value: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(value) in network
    except ValueError:
        return False


def exists(operand: Any) -> Test:
    if not isinstance(operand, bool):
        raise InvalidPattern("exists match pattern must be either true or false.")
    return (lambda value: value is not MISSING) if operand else (lambda value: value is MISSING)


MATCHERS: Final[Mapping[str, Callable[[Any], Test]]] = {
    "exactly": exactly,
    "prefix": prefix,
    "suffix": suffix,
    "equals-ignore-case": equals_ignore_case,
    "wildcard": wildcard,
    "anything-but": anything_but,
    "numeric": numeric,
    "cidr": cidr,
    "exists": exists,
}
RESERVED_IN_OR: Final = frozenset(MATCHERS) | frozenset(
    (
        *_COMPARISONS,
        "regex",
        "not-wildcard",
        "not-equals-ignore-case",
        "date-after",
        "date-on-or-after",
        "date-before",
        "date-on-or-before",
        "in-date-range",
        "ip-address-in-range",
        "ip-address-not-in-range",
    )
)
"""Names that AWS keeps for matchers of today and later: no field of an event may be called so inside $or."""
