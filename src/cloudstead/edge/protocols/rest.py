"""Routes of the REST protocols: method, raw path and query string -> operation and path labels.

    PUT /2015-03-31/functions/{FunctionName}/code
    GET /{Bucket}/{Key+}?tagging          `Key+` is greedy; `tagging` must be in the query

A tree with one level for each part of the path; a literal part comes before a label, a label before a greedy one, as Smithy asks for. Among routes of the
same path the one with most literal query parameters wins, then the one with most required members that are there (ListParts needs `uploadId`,
GetObject does not); S3's `x-id=…` parameters count only as a hint.
https://smithy.io/2.0/spec/http-bindings.html#request-uri-matching
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from cloudstead.kernel.errors import MalformedRequest


class _Route(NamedTuple):
    operation: str
    labels: tuple[str, ...]
    query: tuple[tuple[str, str | None], ...]  # literals that must be there, with a value when the model gives one
    required: tuple[tuple[str, str], ...]  # ("querystring" | "header", name) of the members that must be there


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
        operations: operation -> its `http` trait, {"method": "GET", "requestUri": "/…"}, and perhaps "required": [("querystring", "uploadId")].
    """

    def __init__(self, operations: Mapping[str, Mapping[str, Any]]) -> None:
        self._root = _Node()
        for operation, http in operations.items():
            self._add(operation, http["method"], http["requestUri"], tuple(http.get("required", ())))

    def _add(self, operation: str, method: str, uri: str, required: tuple[tuple[str, str], ...]) -> None:
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
        known.append(_Route(operation, tuple(labels), _literals(query), required))
        known.sort(key=_importance)

    def match(self, method: str, path: str, query: str, headers: Container[str] = ()) -> tuple[str, dict[str, str]] | None:
        """The operation that a request is for and its labels, decoded; None when there is no such route.

        Args:
            headers: tells CopyObject (with x-amz-copy-source) from PutObject.

        Raises:
            MalformedRequest: a label is not UTF-8.
        """
        parts = path.split("/")[1:]
        given = _Given(_parameters(query) if query else {}, headers)
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
        self, node: _Node, parts: list[str], at: int, values: list[str], method: str, given: _Given
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


def _importance(route: _Route) -> tuple[int, int, int]:
    hints = sum(name == "x-id" for name, _ in route.query)
    return hints - len(route.query), hints, -len(route.required)


class _Given(NamedTuple):
    """What a request has besides its path."""

    query: dict[str, list[str]]
    headers: Container[str]


def _parameters(query: str) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        given.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return given


def _choose(routes: list[_Route] | None, values: list[str], given: _Given) -> tuple[_Route, list[str]] | None:
    """The first route whose literal query parameters are all there, and its required members too if some of the like of it has them."""
    best: _Route | None = None
    for route in routes or ():
        if best is not None and len(route.query) < len(best.query):
            break
        if not _has_literals(route, given.query):
            continue
        if all(name in (given.query if place == "querystring" else given.headers) for place, name in route.required):
            return route, values
        best = route
    return None if best is None else (best, values)


def _has_literals(route: _Route, query: dict[str, list[str]]) -> bool:
    if not all(name in query and (value is None or value in query[name]) for name, value in route.query if name != "x-id"):
        return False
    asked = query.get("x-id")
    return asked is None or ("x-id", asked[0]) in route.query or not any(name == "x-id" for name, _ in route.query)
