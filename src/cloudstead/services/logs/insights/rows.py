"""Rows of a query, and expressions as functions of a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cloudstead.services.logs.insights import values
from cloudstead.services.logs.insights.regexes import regex_of
from cloudstead.services.logs.insights.syntax import Call, Contained, Expression, Field, Matches, Number, Text
from cloudstead.services.logs.insights.values import FUNCTIONS, Value

Evaluate = Callable[["Row"], Value]


class Row:
    """An event, with what commands have added to it; or a line of stats."""

    __slots__ = ("_document", "added", "known", "message")

    def __init__(self, known: dict[str, Value], message: bytes | None = None) -> None:
        self.known = known  # @timestamp and the like; the columns of stats
        self.added: dict[str, Value] = {}
        self.message = message
        self._document: Any = msgspec.UNSET

    def get(self, name: str) -> Value:
        if name in self.added:
            return self.added[name]
        if name in self.known:
            return self.known[name]
        return None if self.message is None else self._field(name)

    def _field(self, name: str) -> Value:
        """A field of a JSON message: `a.b`, `list.0`."""
        if self._document is msgspec.UNSET:
            self._document = _decoded(self.message or b"")
        node = self._document
        if isinstance(node, dict) and name in node:
            return _scalar(node[name])
        for part in name.split("."):
            if isinstance(node, dict):
                node = node.get(part)
            elif isinstance(node, list) and part.isascii() and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None
        return _scalar(node)


def _decoded(message: bytes) -> Any:
    if not message.lstrip().startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _scalar(node: Any) -> Value:
    if node is None or isinstance(node, str | bool | int | float):
        return node
    return msgspec.json.encode(node).decode()


def evaluator(expression: Expression) -> Evaluate:
    """An expression as a function of a row."""
    match expression:
        case Field(name):
            return lambda row: row.get(name)
        case Text(text):
            return lambda row: text
        case Number(value):
            return lambda row: value
        case Matches(inner, _, _):
            search, of = regex_of(expression).search, evaluator(inner)
            return lambda row: (found := of(row)) is not None and search(values.text(found)) is not None
        case Contained(inner, among):
            of, options = evaluator(inner), [evaluator(each) for each in among]
            return lambda row: any(values.equal(of(row), option(row)) for option in options)
        case Call("and", (left, right)):
            a, b = evaluator(left), evaluator(right)
            return lambda row: values.truth(a(row)) and values.truth(b(row))
        case Call("or", (left, right)):
            a, b = evaluator(left), evaluator(right)
            return lambda row: values.truth(a(row)) or values.truth(b(row))
        case Call("bin", (period,)):
            length = evaluator(period)
            return lambda row: FUNCTIONS["datefloor"](row.get("@timestamp"), length(row))
        case Call(name, arguments):
            function, inputs = FUNCTIONS[name], [evaluator(each) for each in arguments]
            return lambda row: function(*[each(row) for each in inputs])
    raise AssertionError(expression)
