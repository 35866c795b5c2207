"""botocore's protocol suites turned round: what they expect a client to send is what we must understand, what they feed a client is what we answer.

A suite file is a list of models, each with cases. A case has an operation (`given`) and either `params` with the request that they become (`serialized`)
or a `result` or `error` with the `response` that it comes from.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import itertools
import json
import math
import sys
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import create_serializer
from botocore.utils import percent_encode_sequence

import botocore_source
from cloudstead.edge.protocols.model import ServiceModel
from cloudstead.http.messages import HttpRequest, HttpResponse

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from generate import config, model, wire
from generate.source import Source

Json = dict[str, Any]

IDEMPOTENCY_TOKEN = "00000000-0000-4000-8000-000000000000"  # what the suites' clients make of a token that is not given

_numbers = itertools.count()


class Case:
    """One case of a suite with the model that it stands in."""

    def __init__(self, identifier: str, description: Json, case: Json) -> None:
        self.id = identifier
        self.description = {key: value for key, value in description.items() if key != "cases"}
        self.case = case
        self.given: Json = case["given"]
        self.operation: str = self.given.get("name", "OperationName")
        self.protocol: str = description["metadata"]["protocol"]

    @property
    def model_dict(self) -> Json:
        """A botocore model with this one operation."""
        errors = [{"shape": name} for name, shape in self.description["shapes"].items() if shape.get("exception")]
        operation = {"name": self.operation, "http": {"method": "POST", "requestUri": "/"}, **self.given, "errors": errors}
        return {**copy.deepcopy(self.description), "operations": {self.operation: copy.deepcopy(operation)}}

    def model(self) -> ServiceModel:
        return in_memory(self.model_dict)

    def __repr__(self) -> str:
        return self.id


def in_memory(description: Json) -> ServiceModel:
    """A service made of a botocore model by the generator, without any file."""
    description["metadata"].setdefault("serviceFullName", "Suite")
    _lay_down(description["shapes"])
    options = config.Config(botocore="suite", operations="all", package=f"suite_{next(_numbers)}")
    cut = model.cut(description, options)
    source = Source(options.package, cut, "Made for a test.")
    api = types.ModuleType(f"cloudstead_{options.package}_api")
    sys.modules[api.__name__] = api  # where msgspec looks for the names in annotations
    exec(source.text(), api.__dict__)
    document = wire.document(cut, classes=source.classes, patterns=source.patterns, left_out=source.left_out, validation_code="")
    return ServiceModel(options.package, document, api)


def _lay_down(shapes: Json) -> None:
    """Old cases have the location of a member at its shape; in the models of today it stands at the reference."""
    for shape in shapes.values():
        for reference in shape.get("members", {}).values():
            target = shapes[reference["shape"]]
            if "location" in target:
                reference.setdefault("location", target["location"])
                if "locationName" in target:
                    reference.setdefault("locationName", target["locationName"])


def cases(direction: str) -> Iterator[Case]:
    """All cases of one direction, "input" or "output", in the order of the files."""
    root = botocore_source.tests_directory() / "unit" / "protocols"
    for folder in (root / direction, root / "legacy" / direction):
        for path in sorted(folder.glob("*.json")):
            yield from _cases(path, ("legacy/" if "legacy" in folder.parts else "") + f"{direction}/{path.stem}")


def _cases(path: Path, prefix: str) -> Iterator[Case]:
    for suite, description in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        for number, case in enumerate(description["cases"]):
            yield Case(f"{prefix}:{case.get('id') or f'{suite}-{number}'}", description, case)


def http_request(case: Case) -> HttpRequest:
    """The request that the case says a client sends."""
    sent = case.case["serialized"]
    body = sent.get("body") or ""
    data = base64.b64decode(body) if case.protocol == "smithy-rpc-v2-cbor" else body.encode()
    headers = [(name, str(value)) for name, value in (sent.get("headers") or {}).items()]
    if (sent.get("headers") or {}).get("Content-Encoding", "").endswith("gzip") and not body:
        data = gzip.compress(_written(case))  # the suites do not record what becomes of the body
    if "host" in sent:
        headers.append(("Host", sent["host"]))
    # A client's endpoint may have a path, which comes before the operation's; ours has none.
    target = sent.get("uri", "/").removeprefix(urlsplit(case.description.get("clientEndpoint", "")).path) or "/"
    return HttpRequest.of(sent.get("method", case.given.get("http", {}).get("method", "POST")), target, headers, data)


def _written(case: Case) -> bytes:
    """The body that botocore makes of the case's parameters."""
    operation = OperationModel(case.model_dict["operations"][case.operation], BotocoreModel(case.model_dict))
    body = create_serializer(case.protocol, include_validation=False).serialize_to_request(case.case["params"], operation)["body"]
    return percent_encode_sequence(body).encode() if isinstance(body, dict) else bytes(body)


def plain(model: ServiceModel, reference: Mapping[str, Any], value: Any, *, blobs: type = str) -> Any:
    """A struct as botocore's dictionary, in the suites' terms: bytes as text (unless `blobs` is bytes), special floats by name."""
    shape = model.resolve(reference)
    if value is None or shape.get("document"):
        return value
    kind = shape["type"]
    if kind == "structure":
        found = {name: getattr(value, model.field(shape["name"], name).name) for name in shape["members"]}
        return {name: plain(model, shape["members"][name], member, blobs=blobs) for name, member in found.items() if member is not None}
    if kind == "list":
        return [plain(model, shape["member"], item, blobs=blobs) for item in value]
    if kind == "map":
        return {key: plain(model, shape["value"], item, blobs=blobs) for key, item in value.items()}
    if kind == "blob":
        data = value if isinstance(value, bytes) else asyncio.run(_collect(value))
        return data if blobs is bytes else data.decode()
    if kind in ("float", "double") and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


async def _events(events: list[Any]) -> AsyncIterator[Any]:
    for event in events:
        yield event


async def _collect(stream: Any) -> bytes:
    return b"".join([piece async for piece in stream])


def given(model: ServiceModel, reference: Mapping[str, Any], value: Any) -> Any:
    """The suites' values as `plain` gives them: null members left out, what clients fill in filled in, JSON in headers as its value."""
    shape = model.resolve(reference)
    if shape.get("document"):
        return value
    if shape.get("jsonvalue"):
        return json.loads(value) if shape.get("location") == "header" and isinstance(value, str) else value
    if isinstance(value, dict) and shape["type"] == "structure":
        tokens = {name: IDEMPOTENCY_TOKEN for name, member in shape["members"].items() if member.get("idempotencyToken")}
        return tokens | {name: given(model, shape["members"][name], item) for name, item in value.items() if item is not None}
    if isinstance(value, list) and shape["type"] == "list":
        return [given(model, shape["member"], item) for item in value]
    if isinstance(value, dict) and shape["type"] == "map":
        return {key: given(model, shape["value"], item) for key, item in value.items()}
    return value


def struct(model: ServiceModel, reference: Mapping[str, Any], value: Any, kind: type | None = None) -> Any:
    """botocore's dictionary as a struct; the reverse of `plain`."""
    shape = model.resolve(reference)
    if value is None or shape.get("document"):
        return value
    if shape.get("eventstream"):
        return _events([struct(model, {"shape": shape["name"], "eventstream": False}, event) for event in value])
    if shape["type"] == "structure":
        make = kind or model.struct(shape["name"])
        return make(**{model.field(shape["name"], name).name: struct(model, shape["members"][name], item) for name, item in value.items()})
    if shape["type"] == "list":
        return [struct(model, shape["member"], item) for item in value]
    if shape["type"] == "map":
        return {key: struct(model, shape["value"], item) for key, item in value.items()}
    if shape["type"] == "blob":
        return value if isinstance(value, bytes) else value.encode()
    if shape["type"] in ("float", "double"):
        return float(value)
    return value


def without_bound(model: ServiceModel, reference: Mapping[str, Any], values: Json, uri: str = "") -> Json:
    """The parameters, where a map for the whole query string holds nothing that another member is bound to.

    Smithy has a server put all parameters into such a map, and a client leave these out of it; the suites have it either way.

    Args:
        uri: of the operation, whose literal parameters are left out too.
    """
    members = model.resolve(reference)["members"]
    literals = {literal.partition("=")[0] for literal in uri.partition("?")[2].split("&")}
    in_query = {name: member for name, member in members.items() if member.get("location") == "querystring"}
    bound = {member.get("locationName", name) for name, member in in_query.items() if model.resolve(member)["type"] != "map"}
    out = dict(values)
    for name, member in in_query.items():
        if name in out and model.resolve(member)["type"] == "map":
            out[name] = {key: value for key, value in out[name].items() if key not in bound and key not in literals}
            if not out[name]:
                del out[name]
    return out


class RawBody:
    """The body of an answer with an event stream, as botocore's parsers take it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


def response_dict(response: HttpResponse, operation: str) -> Json:
    """What botocore's parsers take."""
    from botocore.awsrequest import HeadersDict

    body = response.body if isinstance(response.body, bytes) else asyncio.run(_collect(response.body))
    headers = HeadersDict()
    for name, value in response.headers:
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    streams = headers.get("content-type") == "application/vnd.amazon.eventstream"
    return {
        "status_code": response.status,
        "headers": headers,
        "body": RawBody(body) if streams else body,
        "context": {"operation_name": operation},
    }
