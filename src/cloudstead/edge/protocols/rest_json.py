"""restJson1: resources as paths, JSON bodies, members in labels, query strings and headers.

https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from cloudstead.edge.protocols import eventstream
from cloudstead.edge.protocols.bindings import IN_RESPONSES, located, request_reader, response_writer
from cloudstead.edge.protocols.events import EventWriter
from cloudstead.edge.protocols.json import JsonProtocol, body_writer, encode, error_code, error_members, is_plain, load, query_error
from cloudstead.edge.protocols.model import Parser, Protocol, Raw, Serializer, ServiceModel, Shape, build
from cloudstead.edge.protocols.values import Readers, Writers
from cloudstead.http.messages import HttpRequest, HttpResponse, ResponseBody
from cloudstead.kernel.errors import MalformedRequest, ServiceError
from cloudstead.kernel.shapes import ByteStream, Request, Response

CONTENT_TYPE = "application/json"
NO_BODY = frozenset({204, 205, 304})


class RestJsonProtocol(Protocol):
    name: ClassVar[str] = "rest-json"

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        request_type = model.request(operation)
        shape = model.input_shape(operation)
        if shape is None:
            return lambda request, body, labels: request_type()
        if not located(shape) and "payload" not in shape and is_plain(model, shape, Writers(model), any_timestamp=True):
            return JsonProtocol().parser(model, operation)
        read_located = request_reader(model, shape)
        if "payload" in shape:
            return self._payload_parser(model, shape, request_type, read_located)
        outside = located(shape)
        read_body = Readers(model).structure(shape, outside)
        located_names = [model.field(shape["name"], name).encode_name for name in outside]
        has_body = len(outside) < len(shape["members"])

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            raw = read_located(request, labels)
            if not has_body or not body:
                return build(model, shape, request_type, raw)
            assert isinstance(body, bytes)
            given = load(body)
            if isinstance(given, dict):
                # Most bodies are in order: msgspec converts and checks them at once. A member that belongs in a header is none in the body.
                direct = {**given, **raw}
                for name in located_names:
                    if name in given and name not in raw:
                        del direct[name]
                try:
                    return msgspec.convert(direct, request_type)
                except (msgspec.ValidationError, RecursionError):
                    pass
            try:
                return build(model, shape, request_type, {**read_body(given), **raw})
            except RecursionError:
                raise MalformedRequest("The request body is nested too deeply.") from None

        return parse

    def _payload_parser(
        self, model: ServiceModel, shape: Shape, request_type: type[Request], read_located: Callable[[HttpRequest, Mapping[str, str]], Raw]
    ) -> Parser:
        """What reads requests whose body is one member as it is."""
        member = shape["payload"]
        key = model.field(shape["name"], member).encode_name
        read = payload_reader(model.resolve(shape["members"][member]), lambda payload: json_reader(model, payload))

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            raw = read_located(request, labels)
            value = read(body)
            if value is not None:
                raw[key] = value
            return build(model, shape, request_type, raw)

        return parse

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        default = int(model.operations[operation]["http"].get("responseCode", 200))
        shape = model.output_shape(operation)
        if shape is None:
            return lambda response, request_id: HttpResponse(default, [("x-amzn-RequestId", request_id)])
        write_headers = response_writer(model, shape)
        content_type, write_body = self._body(model, shape)

        def serialize(response: Response, request_id: str) -> HttpResponse:
            headers = [("x-amzn-RequestId", request_id)]
            status = write_headers(response, headers) or default
            body = b"" if status in NO_BODY else write_body(response)
            if content_type and body != b"" and not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", content_type))
            return HttpResponse(status, headers, body)

        return serialize

    def _body(self, model: ServiceModel, shape: Shape) -> tuple[str, Callable[[Any], ResponseBody]]:
        """The content type of an output's body, and what writes it."""
        writers = Writers(model)
        outside = located(shape, IN_RESPONSES)
        payload = shape.get("payload")
        if payload is not None:
            attribute = model.field(shape["name"], payload).name
            member = model.resolve(shape["members"][payload])
            if member.get("eventstream"):
                events = json_events(model, member)
                return eventstream.CONTENT_TYPE, lambda response: events.frames(getattr(response, attribute))
            return payload_writer(attribute, member, CONTENT_TYPE, lambda payload: body_writer(model, payload, writers))
        if len(outside) == len(shape.get("members", {})) and outside:
            return "", lambda response: b""
        return CONTENT_TYPE, body_writer(model, shape, writers, outside)

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", CONTENT_TYPE), ("x-amzn-ErrorType", error_code(error))]
        members = error_members(model, error, Writers)
        if model is not None and error.shape and model.error_class(error.shape) is type(error):
            shape = model.shape(error.shape)
            response_writer(model, shape)(error, headers)
            for name in located(shape, IN_RESPONSES):
                members.pop(shape["members"][name].get("locationName", name), None)
        headers += query_error(model, error)
        return HttpResponse(error.status, headers, encode(members))


def json_reader(model: ServiceModel, payload: Shape) -> Callable[[bytes], Any]:
    """What reads a body that is one structure or document."""
    read = Readers(model).read(payload)

    def read_json(body: bytes) -> Any:
        try:
            value = load(body)
            return None if value is None else read(value)
        except RecursionError:
            raise MalformedRequest("The request body is nested too deeply.") from None

    return read_json


def json_events(model: ServiceModel, union: Shape) -> EventWriter:
    writers = Writers(model)
    return EventWriter(
        model,
        union,
        lambda shape, without: body_writer(model, shape, writers, without),
        CONTENT_TYPE,
        lambda error: encode(error_members(model, error, Writers)),
    )


def payload_reader(payload: Shape, of_structure: Callable[[Shape], Callable[[bytes], Any]]) -> Callable[[bytes | ByteStream], Any]:
    """What reads a body that is one member: a stream as it comes, bytes, a string, or a structure in the protocol's own format.

    An empty body is no value, but for bytes and streams that are there all the same.
    """
    kind = payload["type"]
    if kind == "blob" and payload.get("streaming"):
        return lambda body: body if not isinstance(body, bytes) else _once(body)
    if kind == "blob":
        return lambda body: body or None
    if kind == "string":

        def read_text(body: bytes | ByteStream) -> str | None:
            assert isinstance(body, bytes)
            try:
                return body.decode() if body else None
            except UnicodeDecodeError:
                raise MalformedRequest("The request body is not encoded in UTF-8.") from None

        return read_text
    read = of_structure(payload)

    def read_body(body: bytes | ByteStream) -> Any:
        assert isinstance(body, bytes)
        return read(body) if body else None

    return read_body


async def _once(body: bytes) -> ByteStream:
    if body:
        yield body


def payload_writer(
    attribute: str, payload: Shape, content_type: str, of_structure: Callable[[Shape], Callable[[Any], bytes]]
) -> tuple[str, Callable[[Any], ResponseBody]]:
    """The content type of an answer whose body is one member, and what writes it."""
    kind = payload["type"]
    if kind == "blob":
        return "application/octet-stream", lambda response: _or_empty(getattr(response, attribute))
    if kind == "string":
        return "text/plain", lambda response: (getattr(response, attribute) or "").encode()
    write = of_structure(payload) if kind == "structure" and not payload.get("document") else encode

    def write_payload(response: Any) -> bytes:
        value = getattr(response, attribute)
        return b"" if value is None else write(value)

    return content_type, write_payload


def _or_empty(value: ResponseBody | None) -> ResponseBody:
    return b"" if value is None else value
