"""Values of queries: a text, a number, true or false, or nothing; how they compare, and what the functions make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

Value: TypeAlias = str | float | bool | None


def number(value: Value) -> float | None:
    """The number that a value is or looks like."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def text(value: Value) -> str:
    """How a value is shown."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def moment(milliseconds: float) -> str:
    """How a time is shown."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return text(milliseconds)


def truth(value: Value) -> bool:
    if isinstance(value, str):
        return value not in ("", "0", "false")
    return bool(value)


def order(value: Value) -> tuple[int, float, str]:
    """Sorts numbers before texts, and nothing before both."""
    if value is None:
        return 0, 0.0, ""
    found = number(value)
    return (1, found, "") if found is not None else (2, 0.0, text(value))


def equal(left: Value, right: Value) -> bool:
    if left is None or right is None:
        return False
    a, b = number(left), number(right)
    return a == b if a is not None and b is not None else text(left) == text(right)


def _compared(test: Callable[[Any, Any], bool]) -> Callable[..., Value]:
    def compare(left: Value, right: Value) -> Value:
        if left is None or right is None:
            return False
        a, b = number(left), number(right)
        if a is not None and b is not None:
            return test(a, b)
        return a is None and b is None and test(text(left), text(right))  # a text is neither more nor less than a number

    return compare


def _calculated(calculate: Callable[..., float]) -> Callable[..., Value]:
    """A function of numbers: nothing if an argument is none, or the result none that can be shown."""

    def call(*arguments: Value) -> Value:
        numbers = [number(each) for each in arguments]
        if None in numbers:
            return None
        try:
            found = calculate(*numbers)
        except (ArithmeticError, ValueError):
            return None
        return found if isinstance(found, int | float) and math.isfinite(found) else None

    return call


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


def _substr(value: Value, start: Value, length: Value = None) -> Value:
    begin = int(number(start) or 0)
    if begin < 0:
        return None
    whole = text(value)
    return whole[begin:] if length is None else whole[begin : begin + max(0, int(number(length) or 0))]


def _floor_to(value: float, period: float) -> float:
    return value - value % period


def _ceil_to(value: float, period: float) -> float:
    return value + -value % period


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "=": equal,
    "!=": lambda left, right: left is not None and right is not None and not equal(left, right),
    "<": _compared(lambda a, b: a < b),
    "<=": _compared(lambda a, b: a <= b),
    ">": _compared(lambda a, b: a > b),
    ">=": _compared(lambda a, b: a >= b),
    "not": lambda value: not truth(value),
    "+": _calculated(lambda a, b: a + b),
    "-": _calculated(lambda a, b: a - b),
    "*": _calculated(lambda a, b: a * b),
    "/": _calculated(lambda a, b: a / b),
    "%": _calculated(lambda a, b: math.fmod(a, b)),
    "^": _calculated(_power),
    "abs": _calculated(abs),
    "ceil": _calculated(math.ceil),
    "floor": _calculated(math.floor),
    "sqrt": _calculated(math.sqrt),
    "log": _calculated(math.log),
    "greatest": _calculated(max),
    "least": _calculated(min),
    "ispresent": lambda value: value is not None,
    "isempty": lambda value: value is None or text(value) == "",
    "isblank": lambda value: value is None or not text(value).strip(),
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "concat": lambda *values: "".join(map(text, values)),
    "strlen": lambda value: None if value is None else float(len(text(value))),
    "toupper": lambda value: None if value is None else text(value).upper(),
    "tolower": lambda value: None if value is None else text(value).lower(),
    "trim": lambda value: None if value is None else text(value).strip(),
    "ltrim": lambda value: None if value is None else text(value).lstrip(),
    "rtrim": lambda value: None if value is None else text(value).rstrip(),
    "substr": _substr,
    "replace": lambda value, old, new: None if value is None else text(value).replace(text(old), text(new)),
    "strcontains": lambda value, part: float(value is not None and text(part) in text(value)),
    "datefloor": _calculated(_floor_to),
    "dateceil": _calculated(_ceil_to),
    "tomillis": _calculated(lambda value: value),
    "frommillis": _calculated(lambda value: value),
}
TIMES = frozenset({"bin", "datefloor", "dateceil", "frommillis"})
"""What these give is a time, and is shown as one."""
