"""awsQuery: parameters in a form (`Action=CreateUser&Version=…&Tags.member.1.Key=team`), answers in XML.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html

A form is a flat list of names with dots. It is read from the outside in: a structure hands each parameter, without the first part of its name, to the
member that this part names. So a name that the model does not know costs nothing, a list is as long as it has different indices (never as long as
an index says), and nothing is deeper than the model. As with AWS, parameters that the model does not know are passed over.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias
from urllib.parse import unquote_to_bytes

from cloudstead.edge.protocols import xml
from cloudstead.edge.protocols.model import Parser, Protocol, Raw, Serializer, ServiceModel, Shape, build
from cloudstead.edge.protocols.text import Unreadable, text_reader
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import MalformedRequest, ServiceError
from cloudstead.kernel.shapes import ByteStream, Request, Response

Parameters: TypeAlias = list[tuple[str, str]]
Reader: TypeAlias = Callable[[Parameters], Any]

MAX_INDEX_DIGITS = 9
MAX_PARTS = 60  # of a name; shapes that hold themselves have no other bound


def decode_form(form: bytes) -> Parameters:
    """The parameters of a form or a query string, in their order.

    Raises:
        MalformedRequest: a percent-encoding is not UTF-8.
    """
    if not form:
        return []
    parameters = []
    try:
        if b"%" not in form and b"+" not in form:
            pairs = form.decode().split("&")
            return [(name, value) for name, _, value in [pair.partition("=") for pair in pairs] if name]
        for pair in form.split(b"&"):
            name, _, value = pair.partition(b"=")
            if name:
                parameters.append((_unquote(name), _unquote(value)))
    except UnicodeDecodeError:
        raise MalformedRequest("The parameters of the request are not encoded in UTF-8.") from None
    return parameters


_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _unquote(text: bytes) -> str:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" in text:
        if _BROKEN_ESCAPE.search(text):
            text = unquote_to_bytes(text)  # leaves what is no escape as it stands
        else:  # the same as quoted-printable but for the sign, and that is decoded in C: policies are full of escapes
            text = a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))
    return text.decode()


class FormReaders:
    """Compiles the readers of one service's shapes."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model
        self._structures: dict[str, Reader] = {}

    def names(self, name: str, reference: Shape, shape: Shape) -> list[str]:
        """What the first part of a parameter's name may be for this member of a structure, the right one first."""
        names = [shape.get("locationName", name)]
        if shape["type"] == "list" and shape.get("flattened") and (of_items := shape["member"].get("locationName")):
            names.append(of_items)  # so it is in models made before Smithy, and in botocore
        return names

    def unknown(self, name: str) -> None:
        """A parameter that the structure has no member for."""

    def read(self, shape: Shape) -> Reader:
        kind = shape["type"]
        if kind == "structure":
            return self.structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        from_text = text_reader(shape)
        assert from_text is not None, kind

        def read_scalar(parameters: Parameters) -> Any:
            rest, text = parameters[-1]
            if rest:
                raise Unreadable(text, "a single value")
            return from_text(text)

        return read_scalar

    def structure(self, shape: Shape) -> Reader:
        known = self._structures.get(shape["name"])
        if known is not None:
            return known
        scalars: dict[str, tuple[str, Callable[[str], Any]]] = {}
        others: dict[str, tuple[str, Reader]] = {}

        def read_structure(parameters: Parameters) -> dict[str, Any]:
            raw: dict[str, Any] = {}
            groups: dict[str, Parameters] = {}
            for name, text in parameters:
                head, _, rest = name.partition(".")
                if head in scalars:
                    key, from_text = scalars[head]
                    try:
                        if rest:
                            raise Unreadable(text, "a single value")
                        raw[key] = from_text(text)
                    except Unreadable as problem:
                        problem.path.append(head)
                        raise
                elif head in others:
                    if rest.count(".") > MAX_PARTS:
                        raise MalformedRequest("The name of a parameter has too many parts.")
                    groups.setdefault(head, []).append((rest, text))
                elif head:
                    self.unknown(name)
                elif text:
                    raise Unreadable(text, "a structure")
            for head, group in groups.items():
                key, read = others[head]
                try:
                    raw[key] = read(group)
                except Unreadable as problem:
                    problem.path.append(head)
                    raise
            return raw

        self._structures[shape["name"]] = read_structure
        aliases: list[tuple[str, str]] = []
        for name, reference in shape["members"].items():
            member = self.model.resolve(reference)
            key = self.model.field(shape["name"], name).encode_name
            first, *more = self.names(name, reference, member)
            aliases += [(alias, first) for alias in more]
            from_text = text_reader(member)
            if from_text is not None:
                scalars[first] = (key, from_text)
            else:
                others[first] = (key, self.read(member))
        for alias, first in aliases:
            if alias not in scalars and alias not in others:
                if first in scalars:
                    scalars[alias] = scalars[first]
                else:
                    others[alias] = others[first]
        return read_structure

    def _list(self, shape: Shape) -> Reader:
        wrapper = "" if shape.get("flattened") else shape["member"].get("locationName", "member")
        read_item = self.read(self.model.resolve(shape["member"]))

        def read_list(parameters: Parameters) -> list[Any]:
            return [read_at(index, read_item, group) for index, group in numbered(parameters, wrapper)]

        return read_list

    def _map(self, shape: Shape) -> Reader:
        wrapper = "" if shape.get("flattened") else "entry"
        key_name, value_name = shape["key"].get("locationName", "key"), shape["value"].get("locationName", "value")
        read_key, read_value = self.read(self.model.resolve(shape["key"])), self.read(self.model.resolve(shape["value"]))

        def read_map(parameters: Parameters) -> dict[str, Any]:
            entries = {}
            for index, group in numbered(parameters, wrapper):
                parts: dict[str, Parameters] = {key_name: [], value_name: []}
                for name, text in group:
                    head, _, rest = name.partition(".")
                    if head in parts:
                        parts[head].append((rest, text))
                if not parts[key_name] or not parts[value_name]:
                    problem = Unreadable("", "a map entry with a key and a value")
                    problem.path.append(str(index))
                    raise problem
                entries[read_at(index, read_key, parts[key_name])] = read_at(index, read_value, parts[value_name])
            return entries

        return read_map


def read_at(index: int, read: Reader, parameters: Parameters) -> Any:
    try:
        return read(parameters)
    except Unreadable as problem:
        problem.path.append(str(index))
        raise


def numbered(parameters: Parameters, wrapper: str) -> list[tuple[int, Parameters]]:
    """The parameters of each element of a list or a map, by ascending index. `X=` and `X.member=` say that there are none."""
    groups: dict[int, Parameters] = {}
    for name, text in parameters:
        head, _, rest = name.partition(".")
        if wrapper and head == wrapper:
            head, _, rest = rest.partition(".")
        if head.isascii() and head.isdigit() and len(head) <= MAX_INDEX_DIGITS:
            groups.setdefault(int(head), []).append((rest, text))
        elif head or text:
            raise Unreadable(text, "a list with numbered elements")
    return sorted(groups.items(), key=_index)


def _index(group: tuple[int, Parameters]) -> int:
    return group[0]


class QueryProtocol(Protocol):
    """Query with its errors, as IAM, STS, CloudFormation, SNS and others speak it."""

    name: ClassVar[str] = "query"
    content_type: ClassVar[str] = "text/xml"
    timestamp_format: ClassVar[str] = "iso8601"

    def readers(self, model: ServiceModel) -> FormReaders:
        return FormReaders(model)

    def unreadable(self, problem: Unreadable) -> ServiceError:
        where = f" for parameter {problem.where}" if problem.where else ""
        return MalformedRequest(f"The value '{problem.text}'{where} is not {problem.expected}.")

    def build(self, model: ServiceModel, shape: Shape, request_type: type[Request], raw: Raw) -> Request:
        """The struct, or the error for what breaks the model's constraints."""
        return build(model, shape, request_type, raw)

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        request_type = model.request(operation)
        shape = model.input_shape(operation)
        if shape is None:
            return lambda request, body, labels: request_type()
        read = self.readers(model).structure(shape)

        def parse(request: HttpRequest, body: bytes | ByteStream, labels: Mapping[str, str]) -> Request:
            assert isinstance(body, bytes)
            parameters = decode_form(body)
            if request.query:
                parameters += decode_form(request.query.encode("latin-1"))
            try:
                raw = read(parameters)
            except Unreadable as problem:
                raise self.unreadable(problem) from None
            return self.build(model, shape, request_type, raw)

        return parse

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        namespace = xml.namespace(model.metadata.get("xmlNamespace"))
        start = f"<{operation}Response{namespace}>"
        metadata, end = "<ResponseMetadata><RequestId>", f"</RequestId></ResponseMetadata></{operation}Response>\n"
        shape = model.output_shape(operation)
        write = None if shape is None else xml.Writers(model, self.timestamp_format).content(shape)[1]
        result, result_end = f"<{operation}Result>", f"</{operation}Result>"
        content_type = self.content_type

        def serialize(response: Response, request_id: str) -> HttpResponse:
            parts = [start]
            if write is not None:
                parts.append(result)
                write(response, parts.append)
                parts.append(result_end)
            parts += (metadata, request_id, end)
            headers = [("x-amzn-RequestId", request_id), ("Content-Type", content_type)]
            return HttpResponse(200, headers, "".join(parts).encode())

        return serialize

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        namespace = xml.namespace(model.metadata.get("xmlNamespace")) if model is not None else ""
        body = (
            f"<ErrorResponse{namespace}>{error_element(model, error, self.timestamp_format)}"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>\n"
        )
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", self.content_type)]
        return HttpResponse(error.status, headers, body.encode())


def error_element(
    model: ServiceModel | None, error: ServiceError, timestamp_format: str, *, with_type: bool = True, without: frozenset[str] = frozenset()
) -> str:
    """`<Error>` with its type, code, message and modelled members."""
    fault = "<Type>Receiver</Type>" if error.fault == "server" else "<Type>Sender</Type>"
    code = error.query_code or error.code
    parts = [f"<Error>{fault if with_type else ''}<Code>{xml.escape(code)}</Code><Message>{xml.escape(error.message)}</Message>"]
    if model is not None and error.members:
        _members_writer(model, error.shape, timestamp_format, without)(error, parts.append)
    parts.append("</Error>")
    return "".join(parts)


def _members_writer(model: ServiceModel, shape_name: str, timestamp_format: str, without: frozenset[str]) -> xml.Writer:
    """What writes the members of an error besides the message."""
    key = ("xml", shape_name, "error")
    found: xml.Writer | None = model.compiled.get(key)
    if found is None:
        shape = model.shape(shape_name)
        message = {name for name in shape["members"] if name.lower() == "message"}
        found = model.compiled[key] = xml.Writers(model, timestamp_format).content(shape, without | message)[1]
    return found
