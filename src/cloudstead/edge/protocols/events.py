"""The events of an answer: from the structs that a handler yields to messages of an event stream.

A handler yields the union's struct with one member set; it ends the stream with an error by raising it. An error that the union lists goes out as that
exception, any other as an error message: the status line has long been sent.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from cloudstead.edge.protocols import eventstream
from cloudstead.edge.protocols.eventstream import HeaderValue, Timestamp
from cloudstead.edge.protocols.model import ServiceModel, Shape
from cloudstead.kernel.errors import CommonError, ServiceError
from cloudstead.kernel.shapes import Struct

log = logging.getLogger(__name__)

BodyOf: TypeAlias = Callable[[Shape, frozenset[str]], Callable[[Any], bytes]]
"""What a protocol gives: for a structure, without these members, the writer of its text."""


class _Event(NamedTuple):
    attribute: str  # of the union's struct
    name: str  # on the wire
    headers: list[tuple[str, str, str]]  # (attribute, name, type)
    payload: str  # the attribute of the explicit payload; empty when there is none
    body: Callable[[Any], bytes]
    content_type: str


class EventWriter:
    """Writes one union of events.

    Args:
        body_of: the protocol's writer of structures.
        content_type: of these bodies.
        error_body: the text of an error.
    """

    def __init__(
        self, model: ServiceModel, union: Shape, body_of: BodyOf, content_type: str, error_body: Callable[[ServiceError], bytes]
    ) -> None:
        self._model = model
        self._content_type = content_type
        self._error_body = error_body
        self._events = [self._compile(union, name, body_of) for name in model.members(union)]
        self._exceptions = {ref["shape"]: name for name, ref in union["members"].items() if model.is_error(ref["shape"])}

    def _compile(self, union: Shape, name: str, body_of: BodyOf) -> _Event:
        model = self._model
        shape = model.resolve(union["members"][name])
        headers: list[tuple[str, str, str]] = []
        payload, content_type = "", self._content_type
        body: Callable[[Any], bytes] | None = None
        for member, reference in shape.get("members", {}).items():
            attribute = model.field(shape["name"], member).name
            resolved = model.resolve(reference)
            if reference.get("eventheader"):
                headers.append((attribute, member, resolved["type"]))
            elif reference.get("eventpayload"):
                payload = attribute
                if resolved["type"] == "blob":
                    body, content_type = bytes, "application/octet-stream"
                elif resolved["type"] == "string":
                    body, content_type = str.encode, "text/plain"
                else:
                    body = body_of(resolved, frozenset())
        if body is None:
            in_headers = frozenset(member for member, ref in shape.get("members", {}).items() if ref.get("eventheader"))
            body = body_of(shape, in_headers)
        return _Event(model.field(union["name"], name).name, name, headers, payload, body, content_type)

    def encode(self, value: Struct) -> bytes:
        """One event.

        Raises:
            ValueError: no member of the union is set.
        """
        for event in self._events:
            item = getattr(value, event.attribute)
            if item is not None:
                source = getattr(item, event.payload) if event.payload else item
                payload = b"" if source is None else event.body(source)
                return eventstream.event(event.name, payload, event.content_type, list(_headers(item, event.headers)))
        raise ValueError("an event without content")

    async def frames(self, source: AsyncIterator[Struct] | None) -> AsyncIterator[bytes]:
        """The messages of a whole stream; the source is closed whatever happens."""
        if source is None:
            return
        try:
            async for value in source:
                yield self.encode(value)
        except ServiceError as error:
            yield self._error(error)
        except Exception:
            log.exception("an event stream of %s failed", self._model.name)
            yield eventstream.error("InternalFailure", "An internal error occurred.")
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _error(self, error: ServiceError) -> bytes:
        name = self._exceptions.get(error.shape)
        if name is not None:
            return eventstream.exception(name, self._error_body(error), self._content_type)
        return eventstream.error(error.json_code if isinstance(error, CommonError) else error.code, error.message)


def _headers(item: Struct, headers: list[tuple[str, str, str]]) -> Iterable[tuple[str, HeaderValue]]:
    for attribute, name, kind in headers:
        value = getattr(item, attribute)
        if value is not None:
            yield name, Timestamp(value) if kind == "timestamp" else value


async def with_initial_response(initial: bytes, content_type: str, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream of the RPC protocols: the output's other members go first, in an event of their own."""
    yield eventstream.event("initial-response", initial, content_type)
    async for frame in events:
        yield frame
