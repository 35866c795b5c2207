"""awsJson 1.0 and 1.1: POST /, X-Amz-Target, one JSON object each way.

Requests go from bytes straight into the struct in msgspec, constraints included. Only when that fails are they read again, slowly: to accept what AWS
accepts besides (timestamps as text, "NaN", 1.0 for 1) and to word the refusal. Responses leave through msgspec too, unless a format or a value needs more.
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from cloudstead.edge.protocols import eventstream
from cloudstead.edge.protocols.events import EventWriter, with_initial_response
from cloudstead.edge.protocols.model import Parser, Protocol, Raw, Serializer, ServiceModel, Shape, build
from cloudstead.edge.protocols.values import Readers, Writers
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import AccessDenied, AuthenticationError, CommonError, MalformedRequest, ServiceError, ValidationFailed
from cloudstead.kernel.shapes import ByteStream, Request, Response

encode = msgspec.json.Encoder().encode


def load(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        MalformedRequest
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise MalformedRequest("The request body is not valid JSON.") from None


def read_slowly(model: ServiceModel, shape: Shape, request_type: type[Request], read: Callable[[Any], Raw], body: bytes) -> Request:
    """A request that msgspec has refused.

    Raises:
        ServiceError: what AWS would answer.
    """
    try:
        return build(model, shape, request_type, read(load(body)))
    except RecursionError:
        raise MalformedRequest("The request body is nested too deeply.") from None


def is_plain(model: ServiceModel, shape: Shape, writers: Writers, *, any_timestamp: bool = False) -> bool:
    """Whether msgspec's own JSON of the struct is what the wire wants (but for None among the items of collections and numbers that JSON lacks).

    Args:
        any_timestamp: do not mind the formats of timestamps; in requests, one that is a text just takes the slow path.
    """
    seen: set[str] = set()

    def plain(shape: Shape) -> bool:
        kind = shape["type"]
        if shape.get("jsonvalue") or shape.get("streaming") or shape.get("eventstream"):
            return False
        if kind == "timestamp":
            return any_timestamp or bool(shape.get("timestampFormat", writers.timestamp_format).lower() == "unixtimestamp")
        if kind == "list":
            return plain(model.resolve(shape["member"]))
        if kind == "map":
            return plain(model.resolve(shape["value"]))
        if kind != "structure" or shape["name"] in seen or shape.get("document"):
            return True
        seen.add(shape["name"])
        for name, reference in shape["members"].items():
            if reference.get("location") or writers.wire_name(name, reference) != model.field(shape["name"], name).encode_name:
                return False
            if not plain(model.resolve(reference)):
                return False
        return True

    return plain(shape)


def body_writer(model: ServiceModel, shape: Shape, writers: Writers, without: frozenset[str] = frozenset()) -> Callable[[Any], bytes]:
    """What writes a structure as JSON."""
    write = writers.structure(shape, without)
    if without or not is_plain(model, shape, writers):
        return lambda value: encode(write(value))

    def write_plain(value: Any) -> bytes:
        body = encode(value)
        # None within a collection, NaN and the infinities all come out as null, which a plain answer has nowhere else.
        return encode(write(value)) if b"null" in body else body

    return write_plain


def error_code(error: ServiceError) -> str:
    return error.json_code if isinstance(error, CommonError) else error.code


def error_status(model: ServiceModel | None, error: ServiceError) -> int:
    """The status of an error in JSON and CBOR: those of query-compatible services have, in the model, the status that query answers."""
    if model is not None and "awsQueryCompatible" in model.metadata and not isinstance(error, CommonError):
        return 500 if error.fault == "server" else 400
    if isinstance(error, AccessDenied | AuthenticationError):
        return 400  # as these services answer it, where the XML and REST ones say 403
    return error.status


def query_error(model: ServiceModel | None, error: ServiceError) -> list[tuple[str, str]]:
    """The header by which clients of services that once spoke query learn the old code."""
    if model is None or "awsQueryCompatible" not in model.metadata:
        return []
    return [("x-amzn-query-error", f"{error.query_code or error.code};{'Receiver' if error.fault == 'server' else 'Sender'}")]


def error_members(model: ServiceModel | None, error: ServiceError, writers: type[Writers]) -> dict[str, Any]:
    """The message and the modelled members of an error, by their names on the wire."""
    if model is not None and error.shape and model.error_class(error.shape) is type(error):
        shape = model.shape(error.shape)
        found = writers(model).structure(shape)(error)
        return found if any(name.lower() == "message" for name in shape.get("members", {})) else {**found, "message": error.message}
    return {"message": error.message}


class JsonProtocol(Protocol):
    name: ClassVar[str] = "json"

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        request_type = model.request(operation)
        shape = model.input_shape(operation)
        if shape is None:
            return lambda request, body, labels: request_type()
        decode = msgspec.json.Decoder(request_type).decode
        read = Readers(model).structure(shape)

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            assert isinstance(body, bytes)
            try:
                return decode(body)
            except (ValueError, RecursionError):
                return read_slowly(model, shape, request_type, read, body or b"{}")

        def parse_slowly(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            assert isinstance(body, bytes)
            return read_slowly(model, shape, request_type, read, body or b"{}")

        return parse if is_plain(model, shape, Writers(model), any_timestamp=True) else parse_slowly

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        content_type = ("Content-Type", self.content_type(model))
        shape = model.output_shape(operation)
        if shape is None:
            return lambda response, request_id: HttpResponse(200, [("x-amzn-RequestId", request_id), content_type])
        stream = model.stream_of(shape)
        if stream is not None:
            return self._streamer(model, shape, stream)
        write = body_writer(model, shape, Writers(model))

        def serialize(response: Response, request_id: str) -> HttpResponse:
            return HttpResponse(200, [("x-amzn-RequestId", request_id), content_type], write(response))

        return serialize

    def _streamer(self, model: ServiceModel, shape: Shape, member: str) -> Serializer:
        """Events as the answer; the output's other members go first, in an event of their own."""
        attribute = model.field(shape["name"], member).name
        writers = Writers(model)
        write_initial = body_writer(model, shape, writers, frozenset({member}))
        content_type = self.content_type(model)
        events = EventWriter(
            model,
            model.resolve(shape["members"][member]),
            lambda shape, without: body_writer(model, shape, writers, without),
            content_type,
            lambda error: encode(error_members(model, error, Writers)),
        )

        def serialize(response: Response, request_id: str) -> HttpResponse:
            frames = with_initial_response(write_initial(response), content_type, events.frames(getattr(response, attribute)))
            return HttpResponse(200, [("x-amzn-RequestId", request_id), ("Content-Type", eventstream.CONTENT_TYPE)], frames)

        return serialize

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        body = encode({"__type": self._type(model, error), **error_members(model, error, Writers)})
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", self.content_type(model)), *query_error(model, error)]
        return HttpResponse(error_status(model, error), headers, body)

    @staticmethod
    def content_type(model: ServiceModel | None) -> str:
        return f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.0') if model is not None else '1.1'}"

    @staticmethod
    def _type(model: ServiceModel | None, error: ServiceError) -> str:
        """1.1 has the error's bare name; 1.0 its full name, whose first part says where in AWS's framework it comes from."""
        code = error_code(error)
        if model is None or model.metadata.get("jsonVersion") != "1.0":
            return code
        if isinstance(error, ValidationFailed):
            return f"com.amazon.coral.validate#{code}"
        if isinstance(error, CommonError):
            return f"com.amazon.coral.service#{code}"
        return f"com.amazonaws.{model.name}#{code}"
