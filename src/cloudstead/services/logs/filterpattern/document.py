"""JSON patterns: `{ ($.user.id = 1 && $.users[*].email = "John*") || $.flag IS TRUE || $.gone NOT EXISTS }`.

A condition is about *value nodes*: strings, numbers, true and false. One that points to an object, an array or nothing does not hold, whatever
its operator; `NOT EXISTS` alone is about absence. `IS NOT` and `EXISTS` are not part of AWS's language.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.filterpattern.values import Comparison, as_text, read_comparison

MOST_WILDCARDS = 3  # in one pattern; one in a selector
_DEEPEST = 64  # parentheses


class AnyChild(msgspec.Struct, frozen=True):
    """Any element of an array, any member of an object."""


Step: TypeAlias = str | int | AnyChild


class Selector(msgspec.Struct, frozen=True):
    """Where in a document: `$.users[0].name`."""

    source: str
    steps: tuple[Step, ...]

    @property
    def wildcards(self) -> int:
        return sum(isinstance(step, AnyChild) for step in self.steps)

    def nodes(self, document: Any) -> Iterator[Any]:
        """What it points to: at most one node, more with a wildcard."""
        found = [document]
        for step in self.steps:
            found = [inner for node in found for inner in _descend(node, step)]
        return iter(found)


def _descend(node: Any, step: Step) -> list[Any]:
    if isinstance(step, AnyChild):
        return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    if isinstance(step, int):
        return [node[step]] if isinstance(node, list) and step < len(node) else []
    return [node[step]] if isinstance(node, dict) and step in node else []


class Condition(msgspec.Struct, frozen=True):
    selector: Selector
    comparison: Comparison

    def holds(self, document: Any) -> bool:
        return any(isinstance(node, str | int | float) and self.comparison.holds(node) for node in self.selector.nodes(document))

    def selectors(self) -> Iterator[Selector]:
        yield self.selector


class Is(msgspec.Struct, frozen=True):
    selector: Selector
    value: bool | None

    def holds(self, document: Any) -> bool:
        return any(node is self.value for node in self.selector.nodes(document))

    def selectors(self) -> Iterator[Selector]:
        yield self.selector


class NotExists(msgspec.Struct, frozen=True):
    selector: Selector

    def holds(self, document: Any) -> bool:
        return next(self.selector.nodes(document), self) is self

    def selectors(self) -> Iterator[Selector]:
        yield self.selector


class Compound(msgspec.Struct, frozen=True):
    operator: Literal["&&", "||"]
    parts: tuple[Expression, ...]

    def holds(self, document: Any) -> bool:
        if self.operator == "&&":
            return all(part.holds(document) for part in self.parts)
        return any(part.holds(document) for part in self.parts)

    def selectors(self) -> Iterator[Selector]:
        for part in self.parts:
            yield from part.selectors()


Expression: TypeAlias = Condition | Is | NotExists | Compound


class DocumentPattern:
    def __init__(self, expression: Expression) -> None:
        self._expression = expression
        self._selectors = tuple(dict.fromkeys(expression.selectors()))
        self.regexes = _regexes(expression)
        self.needle = b""

    def matches(self, message: bytes) -> bool:
        document = decode(message)
        return document is not None and self._expression.holds(document)

    def extract(self, message: bytes) -> dict[str, str] | None:
        document = decode(message)
        if document is None or not self._expression.holds(document):
            return None
        found: dict[str, str] = {}
        for selector in self._selectors:
            for node in selector.nodes(document):
                if isinstance(node, str | int | float):
                    found[selector.source] = as_text(node)
                    break
        return found


def decode(message: bytes) -> Any:
    """The document that a message is; None when it is none."""
    if message[:1] not in (b"{", b"[") and message.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _regexes(expression: Expression) -> int:
    if isinstance(expression, Compound):
        return sum(_regexes(part) for part in expression.parts)
    return int(isinstance(expression, Condition) and expression.comparison.regex is not None)


def parse_document(text: str) -> DocumentPattern:
    """
    Raises:
        InvalidPattern
    """
    reader = Reader(text)
    reader.expect("{")
    expression = _any_of(reader, 0)
    reader.expect("}")
    reader.space()
    if reader.rest:
        raise InvalidPattern
    if sum(selector.wildcards for selector in expression.selectors()) > MOST_WILDCARDS:
        raise InvalidPattern(f"A filter pattern can contain at most {MOST_WILDCARDS} wildcard selectors")
    return DocumentPattern(expression)


def _any_of(reader: Reader, depth: int) -> Expression:
    parts = [_all_of(reader, depth)]
    while reader.take("||"):
        parts.append(_all_of(reader, depth))
    return parts[0] if len(parts) == 1 else Compound("||", tuple(parts))


def _all_of(reader: Reader, depth: int) -> Expression:
    parts = [_one(reader, depth)]
    while reader.take("&&"):
        parts.append(_one(reader, depth))
    return parts[0] if len(parts) == 1 else Compound("&&", tuple(parts))


def _one(reader: Reader, depth: int) -> Expression:
    reader.space()
    if reader.take("("):
        if depth >= _DEEPEST:
            raise InvalidPattern
        inner = _any_of(reader, depth + 1)
        reader.expect(")")
        reader.space()
        return inner
    selector = read_selector(reader)
    reader.space()
    condition: Expression
    if reader.word("IS"):
        reader.space()
        for word, value in (("NULL", None), ("TRUE", True), ("FALSE", False)):
            if reader.word(word):
                condition = Is(selector, value)
                break
        else:
            raise InvalidPattern
    elif reader.word("NOT"):
        reader.space()
        if not reader.word("EXISTS"):
            raise InvalidPattern
        condition = NotExists(selector)
    else:
        condition = Condition(selector, read_comparison(reader))
    reader.space()
    return condition


def read_selector(reader: Reader) -> Selector:
    """`$.name`, `$.list[0]`, `$.*`, `$.list[*]`, `$.['a name']` come next."""
    start = reader.at
    reader.expect("$")
    steps: list[Step] = []
    while True:
        if reader.take("."):
            if reader.peek() == "[":
                continue
            steps.append(AnyChild() if reader.take("*") else _name(reader))
        elif reader.take("["):
            steps.append(_bracketed(reader))
            reader.expect("]")
        else:
            break
    selector = Selector(reader.text[start : reader.at], tuple(steps))
    if not steps or selector.wildcards > 1:
        raise InvalidPattern
    return selector


def _name(reader: Reader) -> str:
    name = reader.run("_-")
    if not name:
        raise InvalidPattern
    return name


def _bracketed(reader: Reader) -> Step:
    if reader.take("*"):
        return AnyChild()
    for quote in ("'", '"'):
        if reader.take(quote):
            end = reader.text.find(quote, reader.at)
            if end < 0:
                raise InvalidPattern
            name = reader.text[reader.at : end]
            reader.at = end + 1
            return name
    digits = reader.run("")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise InvalidPattern
    return int(digits)
