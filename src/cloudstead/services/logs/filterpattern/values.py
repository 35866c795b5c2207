"""What a condition compares a value with: `= "x*"`, `!= 404`, `>= 1e-3`, `= %regex%`."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import msgspec

from cloudstead.kernel.wildcards import matches
from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.filterpattern.regex import Regex

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
_OPERATORS: tuple[Operator, ...] = ("!=", "<=", ">=", "=", "<", ">")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_BARE = "_.*+-/:@#?$~^"  # characters of a value without quotes, besides letters and digits


class Comparison(msgspec.Struct, frozen=True):
    """An operator and what stands to its right; exactly one of text, number and regex."""

    operator: Operator
    text: str | None = None  # `*` stands for anything
    number: float | None = None
    regex: Any = None  # a Regex

    def holds(self, value: str | float | bool) -> bool:
        """Whether it holds for a value: a string or number of a JSON document, or a field of a line."""
        if self.operator == "=":
            return self._equals(value)
        if self.operator == "!=":
            return not self._equals(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.number is not None
        match self.operator:
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number
            case ">":
                return value > self.number
            case _:
                return value >= self.number

    def _equals(self, value: str | float | bool) -> bool:
        if self.number is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return value == self.number
        text = as_text(value)
        if self.regex is not None:
            found: bool = self.regex.found_in(text)
            return found
        assert self.text is not None
        return matches(self.text, text)

    def holds_for_text(self, value: str) -> bool:
        """The same for a field of a line, which is a number if it looks like one."""
        if self.number is not None and _NUMBER.match(value):
            return self.holds(float(value))
        return self.holds(value)


def read_comparison(reader: Reader) -> Comparison:
    """An operator and its value come next."""
    reader.space()
    for operator in _OPERATORS:
        if reader.take(operator):
            break
    else:
        raise InvalidPattern
    reader.space()
    if reader.peek() == "%":
        if operator not in ("=", "!="):
            raise InvalidPattern
        return Comparison(operator, regex=Regex(reader.percent()))
    if reader.peek() == '"':
        if operator not in ("=", "!="):
            raise InvalidPattern
        return Comparison(operator, text=reader.quoted())
    bare = reader.run(_BARE)
    if not bare:
        raise InvalidPattern
    if _NUMBER.match(bare):
        return Comparison(operator, text=bare, number=float(bare))
    if operator not in ("=", "!="):
        raise InvalidPattern
    return Comparison(operator, text=bare)


def as_text(value: str | float | bool) -> str:
    """A scalar of a JSON document as it is written there."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
