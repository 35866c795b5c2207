"""Smithy RPC v2 CBOR: POST /service/<service>/operation/<operation>, one CBOR map each way.

https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from cloudstead.edge.protocols import cbor, eventstream, timestamps
from cloudstead.edge.protocols.events import EventWriter, with_initial_response
from cloudstead.edge.protocols.json import error_code, error_members, error_status, query_error
from cloudstead.edge.protocols.model import Parser, Protocol, Serializer, ServiceModel, Shape, build
from cloudstead.edge.protocols.values import FLOATS, Reader, Readers, Writer, Writers, refuse, same
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import MalformedRequest, ServiceError
from cloudstead.kernel.shapes import ByteStream, Request, Response

CONTENT_TYPE = "application/cbor"
PROTOCOL = ("smithy-protocol", "rpc-v2-cbor")


class CborReaders(Readers):
    """Members have the model's names; bytes and special floats are CBOR's own."""

    def wire_name(self, name: str, reference: Shape) -> str:
        return name

    def blob(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        raise refuse(value, "Blob")

    def timestamp(self, format: str) -> Reader:
        def read_timestamp(value: Any) -> float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                try:
                    return timestamps.check(float(value))
                except (ValueError, OverflowError):
                    raise MalformedRequest("The value is not a valid timestamp.") from None
            raise refuse(value, "Timestamp")

        return read_timestamp


class CborWriters(Writers):
    def wire_name(self, name: str, reference: Shape) -> str:
        return name

    def scalar(self, shape: Shape) -> Writer:
        kind = shape["type"]
        if kind == "timestamp":
            return cbor.Epoch
        return float if kind in FLOATS else same


def body_writer(model: ServiceModel, shape: Shape, without: frozenset[str] = frozenset()) -> Callable[[Any], bytes]:
    write = CborWriters(model).structure(shape, without)
    return lambda value: cbor.encode(write(value))


class RpcCborProtocol(Protocol):
    name: ClassVar[str] = "smithy-rpc-v2-cbor"

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        request_type = model.request(operation)
        shape = model.input_shape(operation)
        if shape is None:
            return lambda request, body, labels: request_type()
        read = CborReaders(model).structure(shape)

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            assert isinstance(body, bytes)
            if not body:
                return build(model, shape, request_type, {})
            try:
                return build(model, shape, request_type, read(cbor.decode(body)))
            except cbor.CborError as problem:
                raise MalformedRequest(f"The request body is not valid CBOR: {problem}.") from None

        return parse

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        shape = model.output_shape(operation)
        if shape is None:
            return lambda response, request_id: HttpResponse(200, [("x-amzn-RequestId", request_id), PROTOCOL])
        stream = model.stream_of(shape)
        if stream is not None:
            return self._streamer(model, shape, stream)
        write = body_writer(model, shape)
        content_type = ("Content-Type", CONTENT_TYPE)

        def serialize(response: Response, request_id: str) -> HttpResponse:
            return HttpResponse(200, [("x-amzn-RequestId", request_id), PROTOCOL, content_type], write(response))

        return serialize

    def _streamer(self, model: ServiceModel, shape: Shape, member: str) -> Serializer:
        attribute = model.field(shape["name"], member).name
        write_initial = body_writer(model, shape, frozenset({member}))
        events = EventWriter(
            model,
            model.resolve(shape["members"][member]),
            lambda shape, without: body_writer(model, shape, without),
            CONTENT_TYPE,
            lambda error: cbor.encode(error_members(model, error, CborWriters)),
        )

        def serialize(response: Response, request_id: str) -> HttpResponse:
            frames = with_initial_response(write_initial(response), CONTENT_TYPE, events.frames(getattr(response, attribute)))
            return HttpResponse(200, [("x-amzn-RequestId", request_id), PROTOCOL, ("Content-Type", eventstream.CONTENT_TYPE)], frames)

        return serialize

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        body = cbor.encode({"__type": error_code(error), **error_members(model, error, CborWriters)})
        headers = [("x-amzn-RequestId", request_id), PROTOCOL, ("Content-Type", CONTENT_TYPE), *query_error(model, error)]
        return HttpResponse(error_status(model, error), headers, body)
