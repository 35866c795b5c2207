"""The wire protocols of AWS: from HTTP requests to the structs of `services/<name>/api.py`, and back.

protocol(name)   "json" | "rest-json" | "smithy-rpc-v2-cbor" | "query" | "ec2" | "rest-xml"
"""

from __future__ import annotations

import importlib
from functools import cache

from cloudstead.edge.protocols.compression import decompressing
from cloudstead.edge.protocols.model import Parser, Protocol, Serializer, ServiceModel
from cloudstead.http.messages import HttpResponse
from cloudstead.kernel.errors import ServiceError

_CODECS = {
    "json": ("json", "JsonProtocol"),
    "rest-json": ("rest_json", "RestJsonProtocol"),
    "smithy-rpc-v2-cbor": ("rpc_cbor", "RpcCborProtocol"),
    "query": ("query", "QueryProtocol"),
    "ec2": ("ec2", "Ec2Protocol"),
    "rest-xml": ("rest_xml", "RestXmlProtocol"),
}


class Compiled(Protocol):
    """A protocol that compiles each operation once for each model."""

    def __init__(self, codec: Protocol) -> None:
        self._codec = codec
        self._name = codec.name

    def parser(self, model: ServiceModel, operation: str) -> Parser:
        key = (self._name, operation, "parser")
        found: Parser | None = model.compiled.get(key)
        if found is None:
            found = self._codec.parser(model, operation)
            if "requestcompression" in model.operations[operation]:
                found = decompressing(found)
            model.compiled[key] = found
        return found

    def serializer(self, model: ServiceModel, operation: str) -> Serializer:
        key = (self._name, operation, "serializer")
        found: Serializer | None = model.compiled.get(key)
        if found is None:
            found = model.compiled[key] = self._codec.serializer(model, operation)
        return found

    def error(self, model: ServiceModel | None, error: ServiceError, request_id: str) -> HttpResponse:
        return self._codec.error(model, error, request_id)


@cache
def protocol(name: str) -> Compiled:
    """The protocol of this name, as botocore's models call it. Its module is imported now.

    Raises:
        KeyError: there is no such protocol.
    """
    module, attribute = _CODECS[name]
    return Compiled(getattr(importlib.import_module(f"{__name__}.{module}"), attribute)())


__all__ = ["Parser", "Protocol", "Serializer", "ServiceModel", "protocol"]
