"""Routes of the REST protocols: method, raw path and query string -> operation and path labels.

    PUT /2015-03-31/functions/{FunctionName}/code
    GET /{Bucket}/{Key+}?tagging          `Key+` is greedy; `tagging` must be in the query

A tree with one level for each part of the path; a literal part comes before a label, a label before a greedy one, as Smithy asks for. Among routes of the
same path the one with most required query parameters wins, S3's `x-id=…` parameters count only as a hint.
https://smithy.io/2.0/spec/http-bindings.html#request-uri-matching
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from cloudstead.kernel.errors import MalformedRequest


class _Route(NamedTuple):
    operation: str
    labels: tuple[str, ...]
    query: tuple[tuple[str, str | None], ...]  # literals that must be there, with a value when the model gives one


class _Node:
    __slots__ = ("greedy", "label", "literals", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.label: _Node | None = None
        self.greedy: dict[tuple[str, ...], dict[str, list[_Route]]] = {}  # by the parts after it, the longest first; routes by method
        self.routes: dict[str, list[_Route]] = {}


class Routes:
    """All routes of one service.

    Args:
        operations: operation -> its `http` trait, {"method": "GET", "requestUri": "/…"}.
    """

    def __init__(self, operations: Mapping[str, Mapping[str, Any]]) -> None:
        self._root = _Node()
        for operation, http in operations.items():
            self._add(operation, http["method"], http["requestUri"])

    def _add(self, operation: str, method: str, uri: str) -> None:
        path, _, query = uri.partition("?")
        node, labels = self._root, []
        parts = path.split("/")[1:]
        routes: dict[str, list[_Route]] | None = None
        for at, part in enumerate(parts):
            if part.startswith("{") and part.endswith("+}"):
                labels.append(part[1:-2])
                routes = node.greedy.setdefault(tuple(parts[at + 1 :]), {})
                node.greedy = dict(sorted(node.greedy.items(), key=lambda entry: -len(entry[0])))
                break
            if part.startswith("{") and part.endswith("}"):
                labels.append(part[1:-1])
                if node.label is None:
                    node.label = _Node()
                node = node.label
            else:
                node = node.literals.setdefault(unquote(part), _Node())
        known = (node.routes if routes is None else routes).setdefault(method, [])
        known.append(_Route(operation, tuple(labels), _literals(query)))
        known.sort(key=_importance)

    def match(self, method: str, path: str, query: str) -> tuple[str, dict[str, str]] | None:
        """The operation that a request is for and its labels, decoded; None when there is no such route.

        Raises:
            MalformedRequest: a label is not UTF-8.
        """
        parts = path.split("/")[1:]
        given = _given(query) if query else {}
        found = self._find(self._root, parts, 0, [], method, given)
        if found is None and len(parts) > 1 and parts[-1] == "":  # many services forgive a slash at the end
            found = self._find(self._root, parts[:-1], 0, [], method, given)
        if found is None:
            return None
        route, values = found
        try:
            return route.operation, {name: unquote(value, errors="strict") for name, value in zip(route.labels, values, strict=True)}
        except UnicodeDecodeError:
            raise MalformedRequest("The path of the request is not encoded in UTF-8.") from None

    def _find(
        self, node: _Node, parts: list[str], at: int, values: list[str], method: str, given: dict[str, list[str]]
    ) -> tuple[_Route, list[str]] | None:
        if at == len(parts):
            return _choose(node.routes.get(method), values, given)
        part = parts[at]
        child = node.literals.get(part) or (node.literals.get(unquote(part)) if "%" in part else None)
        if child is not None and (found := self._find(child, parts, at + 1, values, method, given)):
            return found
        if node.label is not None and part and (found := self._find(node.label, parts, at + 1, [*values, part], method, given)):
            return found
        for after, routes in node.greedy.items():
            end = len(parts) - len(after)
            value = "/".join(parts[at:end])
            if value and tuple(parts[end:]) == after and (found := _choose(routes.get(method), [*values, value], given)):
                return found
        return None


def _literals(query: str) -> tuple[tuple[str, str | None], ...]:
    pairs = [literal.partition("=") for literal in query.split("&") if literal]
    return tuple((name, value if equals and value else None) for name, equals, value in pairs)


def _importance(route: _Route) -> tuple[int, int]:
    hints = sum(name == "x-id" for name, _ in route.query)
    return hints - len(route.query), hints


def _given(query: str) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        given.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return given


def _choose(routes: list[_Route] | None, values: list[str], given: dict[str, list[str]]) -> tuple[_Route, list[str]] | None:
    """The first route whose required query parameters are all there."""
    for route in routes or ():
        if all(name in given and (value is None or value in given[name]) for name, value in route.query if name != "x-id"):
            asked = given.get("x-id")
            if asked is None or ("x-id", asked[0]) in route.query or not any(name == "x-id" for name, _ in route.query):
                return route, values
    return None
