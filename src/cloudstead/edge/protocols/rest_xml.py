"""restXml: resources as paths, XML bodies, members in labels, query strings and headers. S3, Route 53 and CloudFront speak it.

https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html

S3 differs in its errors, which have no element around them, and in the names of its headers:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from cloudstead.edge.protocols import eventstream, xml, xml_body
from cloudstead.edge.protocols.bindings import IN_RESPONSES, located, request_reader, response_writer
from cloudstead.edge.protocols.events import EventWriter
from cloudstead.edge.protocols.model import Parser, Protocol, Serializer, ServiceModel, Shape, build
from cloudstead.edge.protocols.query import error_element
from cloudstead.edge.protocols.rest_json import NO_BODY, payload_reader, payload_writer
from cloudstead.edge.protocols.text import MILLISECONDS, Unreadable
from cloudstead.http.messages import HttpRequest, HttpResponse, ResponseBody
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.shapes import ByteStream, Request, Response

CONTENT_TYPE = "application/xml"
PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'
S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"  # botocore's model does not have it


class RestXmlProtocol(Protocol):
    name: ClassVar[str] = "rest-xml"

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        request_type = model.request(operation)
        shape = model.input_shape(operation)
        if shape is None:
            return lambda request, body, labels: request_type()
        read_located = request_reader(model, shape)
        outside = located(shape)
        payload = shape.get("payload")
        if payload is not None:
            key = model.field(shape["name"], payload).encode_name
            read = payload_reader(model.resolve(shape["members"][payload]), lambda payload: document_reader(model, payload))
        elif len(outside) < len(shape["members"]):
            read = _whole(document_reader(model, shape, outside))
        else:
            read = _nothing

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            raw = read_located(request, labels)
            value = read(body)
            if value is not None:
                if payload is None:
                    raw = {**value, **raw}
                else:
                    raw[key] = value
            return build(model, shape, request_type, raw)

        return parse

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        default = int(model.operations[operation]["http"].get("responseCode", 200))
        ids = request_ids(model)
        shape = model.output_shape(operation)
        if shape is None:
            return lambda response, request_id: HttpResponse(default, ids(request_id))
        write_headers = response_writer(model, shape)
        content_type, write_body = self._body(model, shape)

        def serialize(response: Response, request_id: str) -> HttpResponse:
            headers = ids(request_id)
            status = write_headers(response, headers) or default
            body = b"" if status in NO_BODY else write_body(response)
            if content_type and body != b"" and not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", content_type))
            return HttpResponse(status, headers, body)

        return serialize

    def _body(self, model: ServiceModel, shape: Shape) -> tuple[str, Callable[[Any], ResponseBody]]:
        """The content type of an output's body, and what writes it."""
        outside = located(shape, IN_RESPONSES)
        payload = shape.get("payload")
        if payload is not None:
            reference = shape["members"][payload]
            member = model.resolve(reference)
            attribute = model.field(shape["name"], payload).name
            if member.get("eventstream"):
                events = EventWriter(
                    model, member, lambda event, without: document_writer(model, event, event["name"], without), "text/xml", _error_body
                )
                return eventstream.CONTENT_TYPE, lambda response: events.frames(getattr(response, attribute))
            named = reference.get("locationName", payload)
            root = named if named != payload else model.shapes[member["name"]].get("locationName", member["name"])
            return payload_writer(attribute, member, CONTENT_TYPE, lambda payload: document_writer(model, payload, root))
        if len(outside) == len(shape["members"]):
            return "", lambda response: b""
        if is_s3(model) and shape["name"] == "GetBucketLocationOutput":
            return CONTENT_TYPE, bucket_location
        return CONTENT_TYPE, document_writer(model, shape, model.shapes[shape["name"]].get("locationName", shape["name"]), outside)

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        headers = [*request_ids(model)(request_id), ("Content-Type", CONTENT_TYPE)]
        outside: frozenset[str] = frozenset()
        if model is not None and error.shape and model.error_class(error.shape) is type(error):
            shape = model.shape(error.shape)
            outside = located(shape, IN_RESPONSES)
            response_writer(model, shape)(error, headers)
        if is_s3(model):
            element = error_element(model, error, MILLISECONDS, with_type=False, without=outside)
            body = f"{element.removesuffix('</Error>')}<RequestId>{request_id}</RequestId><HostId>{request_id}</HostId></Error>"
        else:
            element = error_element(model, error, MILLISECONDS, without=outside)
            body = f"<ErrorResponse{xml.namespace(root_namespace(model))}>{element}<RequestId>{request_id}</RequestId></ErrorResponse>"
        return HttpResponse(error.status, headers, (PROLOG + body).encode())


def is_s3(model: ServiceModel | None) -> bool:
    """Without a model too: S3 is what everything is that nothing else is."""
    return model is None or model.metadata.get("serviceId") == "S3"


def request_ids(model: ServiceModel | None) -> Callable[[str], list[tuple[str, str]]]:
    """What makes the headers that tell a request's id."""
    if is_s3(model):
        return lambda request_id: [("x-amz-request-id", request_id), ("x-amz-id-2", request_id)]
    return lambda request_id: [("x-amzn-RequestId", request_id)]


def root_namespace(model: ServiceModel | None) -> object:
    """The namespace of a service's documents: the model's, or that of the bodies it takes."""
    if is_s3(model):
        return S3_NAMESPACE
    assert model is not None
    inputs = (operation["input"].get("xmlNamespace") for operation in model.operations.values() if "input" in operation)
    return model.metadata.get("xmlNamespace") or next(filter(None, inputs), None)


def document_reader(model: ServiceModel, shape: Shape, without: frozenset[str] = frozenset()) -> Callable[[bytes], Any]:
    """What reads a body that is one structure."""
    readers = xml_body.Readers(model)
    read = readers.structure(shape, without) if shape["type"] == "structure" else readers.element(shape)

    def read_document(body: bytes) -> Any:
        try:
            return read(xml_body.parse(body))
        except Unreadable as problem:
            where = f": {problem.where} is not {problem.expected}." if problem.where else ""
            raise xml_body.MalformedXml(xml_body.INVALID + where) from None

    return read_document


def document_writer(model: ServiceModel, shape: Shape, root: str, without: frozenset[str] = frozenset()) -> Callable[[Any], bytes]:
    """What writes a body that is one structure."""
    attributed = {"xmlNamespace": root_namespace(model), **shape}
    write = xml.Writers(model, MILLISECONDS).element(root, attributed, without)

    def write_document(value: Any) -> bytes:
        parts = [PROLOG]
        write(value, parts.append)
        return "".join(parts).encode()

    return write_document


def bucket_location(response: Any) -> bytes:
    """The one answer of S3 whose root is a text; none for us-east-1. Only Smithy's model says so (s3UnwrappedXmlOutput)."""
    region = xml.escape(response.location_constraint or "")
    return f'{PROLOG}<LocationConstraint xmlns="{S3_NAMESPACE}">{region}</LocationConstraint>'.encode()


def _whole(read: Callable[[bytes], Any]) -> Callable[[bytes | ByteStream], Any]:
    def read_body(body: bytes | ByteStream) -> Any:
        assert isinstance(body, bytes)
        return read(body) if body else None

    return read_body


def _nothing(body: bytes | ByteStream) -> None:
    """The operation has no member in the body; what stands there is not looked at."""


def _error_body(error: ServiceError) -> bytes:
    return error_element(None, error, MILLISECONDS).encode()
