"""One service as the protocols see it: botocore's model (wire.json) beside the structs made from it (api.py).

Shapes are botocore's dictionaries. `resolve(reference)` lays the traits of a reference (`{"shape": "TagList", "locationName": "tags"}`) over those of
the shape it names and adds "name", so that `shape["type"]`, `shape.get("flattened")`, `shape["member"]` are all that a codec asks.
A member of a structure is known by the model's name for it; `field(shape, member)` says what the struct calls it.

A codec compiles an operation's parser or serialiser into closures at the first call; `cloudstead.edge.protocols.protocol` keeps them here.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeAlias

import msgspec

from cloudstead.edge.protocols import validation
from cloudstead.edge.protocols.rest import Routes
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import MalformedRequest, ServiceError
from cloudstead.kernel.service_names import package_of
from cloudstead.kernel.shapes import ByteStream, Request, Response, Struct

Shape: TypeAlias = Mapping[str, Any]
Raw: TypeAlias = dict[str, Any]
"""A structure before it is a struct: by the struct's JSON names, with numbers, strings, bytes, seconds, lists and dictionaries as values."""

Parser: TypeAlias = Callable[[HttpRequest, bytes | ByteStream, Mapping[str, str]], Request]
"""From the HTTP request, its body (bytes, or a stream where `streams_input`) and the labels of its path to the operation's request.

Raises:
    MalformedRequest: the bytes are not what the protocol asks for.
    ValidationFailed: constraints of the model do not hold; or the service's own error for that.
"""
Serializer: TypeAlias = Callable[[Response, str], HttpResponse]
"""From the operation's response and the request id to the HTTP response."""

SERVICES = Path(__file__).resolve().parents[2] / "services"
JSON_PROTOCOLS = frozenset({"json", "rest-json", "smithy-rpc-v2-cbor"})


class Field(NamedTuple):
    """A member of a structure in Python."""

    name: str  # the attribute of the struct (or of the error)
    encode_name: str  # its name in JSON, and in Raw


class Protocol(abc.ABC):
    """One wire protocol. The closures it makes are for one model and one operation."""

    name: ClassVar[str]

    @abc.abstractmethod
    def parser(self, model: ServiceModel, operation: str) -> Parser:
        """Compile what reads requests of this operation."""

    @abc.abstractmethod
    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        """Compile what writes responses of this operation."""

    @abc.abstractmethod
    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        """Write an error; without a model, as any service would."""


class ServiceModel:
    """One service's model with its api module.

    Args:
        wire: wire.json, parsed.
        api: the module generated from the same model; None to import it when it is first needed.
    """

    def __init__(self, name: str, wire: Mapping[str, Any], api: ModuleType | None = None) -> None:
        self.name = name
        self.metadata: Mapping[str, Any] = wire["metadata"]
        self.operations: Mapping[str, Any] = wire["operations"]
        self.absent: Mapping[str, Any] = wire.get("absent", {})
        self.shapes: Mapping[str, Shape] = wire["shapes"]
        self._api = api
        self._fields: dict[str, dict[str, Field]] = {}
        self._streaming: dict[str, bool] = {}
        self.compiled: dict[tuple[str, str, str], Any] = {}  # (protocol, operation, "parser" | "serializer") -> closure

    @classmethod
    def load(cls, service: str) -> ServiceModel:
        """The model of a service that is written here.

        Raises:
            FileNotFoundError: there is no such service here.
        """
        return cls(service, msgspec.json.decode((SERVICES / package_of(service) / "wire.json").read_bytes()))

    @property
    def api(self) -> ModuleType:
        if self._api is None:
            self._api = importlib.import_module(f"cloudstead.services.{package_of(self.name)}.api")
        return self._api

    @property
    def api_version(self) -> str:
        return str(self.metadata.get("apiVersion", ""))

    @cached_property
    def takes_forms(self) -> bool:
        """Whether its operations can be called by query strings and forms, now or by clients of old."""
        return self.metadata["protocol"] in ("query", "ec2") or "awsQueryCompatible" in self.metadata

    @cached_property
    def routes(self) -> Routes:
        """Method, path and query -> operation, for the REST protocols; absent operations are found too."""
        http = {name: operation["http"] for name, operation in self.absent.items()}
        http |= {name: {**operation["http"], "required": self._required(operation)} for name, operation in self.operations.items()}
        return Routes(http)

    def _required(self, operation: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The members of an input that must be in the query string or in headers."""
        if "input" not in operation:
            return []
        shape = self.shapes[operation["input"]["shape"]]
        references = [(name, shape["members"][name]) for name in shape.get("required", ())]
        return [
            (ref["location"], ref.get("locationName", name)) for name, ref in references if ref.get("location") in ("querystring", "header")
        ]

    # Shapes

    def resolve(self, reference: Mapping[str, Any]) -> Shape:
        """The shape that a reference names, with the reference's own traits on top and the shape's name as "name"."""
        name = reference["shape"]
        return {**self.shapes[name], **reference, "name": name}

    def shape(self, name: str) -> Shape:
        return {**self.shapes[name], "name": name}

    def input_shape(self, operation: str) -> Shape | None:
        reference = self.operations[operation].get("input")
        return None if reference is None else self.resolve(reference)

    def output_shape(self, operation: str) -> Shape | None:
        reference = self.operations[operation].get("output")
        return None if reference is None else self.resolve(reference)

    def streams_input(self, operation: str) -> bool:
        """Whether the operation's body is too long to hold, or an event stream."""
        known = self._streaming.get(operation)
        if known is None:
            shape = self.input_shape(operation)
            known = self._streaming[operation] = shape is not None and self.stream_of(shape) is not None
        return known

    def stream_of(self, shape: Shape) -> str | None:
        """The name of the member of an input or output that is a stream of bytes or of events."""
        for name, reference in shape.get("members", {}).items():
            member = self.resolve(reference)
            if member.get("eventstream") or (member.get("streaming") and member["type"] == "blob"):
                return str(name)
        return None

    def is_error(self, shape_name: str) -> bool:
        shape = self.shapes[shape_name]
        return bool(shape.get("exception") or "error" in shape)

    # Structs

    def request(self, operation: str) -> type[Request]:
        found: type[Request] = getattr(self.api, f"{operation}Request")
        return found

    def response(self, operation: str) -> type[Response]:
        found: type[Response] = getattr(self.api, f"{operation}Response")
        return found

    def struct(self, shape_name: str) -> type[Struct]:
        """The struct made for a structure."""
        name = self.shapes[shape_name].get("class", shape_name)
        found: type[Struct] = getattr(self.api, f"{name}Fields" if self.is_error(shape_name) else name)
        return found

    def error_class(self, shape_name: str) -> type[ServiceError] | None:
        """The class of an error of the model; None when the model has no such error."""
        if shape_name not in self.shapes or not self.is_error(shape_name):
            return None
        found: type[ServiceError] = getattr(self.api, self.shapes[shape_name].get("class", shape_name))
        return found

    def field(self, shape_name: str, member: str) -> Field:
        """What the struct (or error) calls a member of a structure."""
        fields = self._fields.get(shape_name)
        if fields is None:
            fields = self._fields[shape_name] = self._pair(shape_name)
        return fields[member]

    def members(self, shape: Shape) -> list[str]:
        """The members that the struct has too: all but the errors among the events of a stream."""
        members: Mapping[str, Any] = shape.get("members", {})
        return [name for name, reference in members.items() if not (shape.get("eventstream") and self.is_error(reference["shape"]))]

    def _pair(self, shape_name: str) -> dict[str, Field]:
        """The generator writes fields in the order of the model's members."""
        shape = self.shapes[shape_name]
        error = self.error_class(shape_name)
        if error is not None:
            fields = {name: Field("message", name) for name in shape.get("members", {}) if name.lower() == "message"}
            others = [name for name in shape.get("members", {}) if name not in fields]
            return fields | {name: Field(field, name) for name, field in zip(others, error.members, strict=True)}
        struct = self.struct(shape_name)
        names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
        return {member: Field(*pair) for member, pair in zip(self.members(shape), names, strict=True)}


def build(model: ServiceModel, shape: Shape, request_type: type[Request], raw: Raw) -> Request:
    """The struct of an input whose scalars have been read.

    Raises:
        ServiceError: constraints do not hold; all of them are listed.
    """
    try:
        return msgspec.convert(raw, request_type)
    except msgspec.ValidationError as problem:
        faults = validation.validate(model, shape, raw)
        if faults:
            raise validation.failure(model, faults) from None
        raise MalformedRequest(str(problem)) from None
