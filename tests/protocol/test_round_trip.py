"""Every generated operation of every service, there and back: botocore writes a random request that we read, we write a random answer that botocore reads."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import PROTOCOL_PARSERS
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp, percent_encode_sequence
from random_values import Impossible, RandomValues
from suites import plain, response_dict, struct

from cloudstead.edge.http.messages import HttpRequest
from cloudstead.edge.protocols import protocol
from cloudstead.edge.protocols.model import ServiceModel

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 6
REQUEST_ID = "f7a4e2d0-9c1b-4a7e-8d35-0123456789ab"


def generated() -> list[str]:
    services = resources.files("cloudstead.services")
    return sorted(entry.name for entry in services.iterdir() if entry.is_dir() and entry.joinpath("wire.json").is_file())


class Service:
    """One service as we know it and as botocore does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = ServiceModel.load(name)
        wire = json.loads(resources.files("cloudstead.services").joinpath(name, "wire.json").read_bytes())
        self.shapes = wire["shapes"]
        self.operations = list(wire["operations"])
        self.protocols = [name for name in wire["metadata"]["protocols"] if name in PROTOCOL_PARSERS]
        name_there = tomllib.loads((ROOT / "models" / f"{name}.toml").read_text())["botocore"]
        self.botocore = BotocoreModel(Loader().load_service_model(name_there, "service-2"), name_there)

    def operation(self, name: str) -> OperationModel:
        return self.botocore.operation_model(name)


SERVICES = {name: Service(name) for name in generated()}
OPERATIONS = [(service.name, operation) for service in SERVICES.values() for operation in service.operations]


def streams(shapes: Mapping[str, Any], reference: Mapping[str, Any] | None) -> bool:
    members = shapes[reference["shape"]]["members"].values() if reference else ()
    return any(shapes[member["shape"]].get("eventstream") for member in members)


def sent(service: Service, protocol_name: str, operation: OperationModel, parameters: dict[str, Any]) -> HttpRequest:
    """The request that botocore makes of these parameters."""
    written = create_serializer(protocol_name, include_validation=False).serialize_to_request(parameters, operation)
    target, body = written["url_path"], written["body"]
    if written["query_string"]:
        target += ("&" if "?" in target else "?") + percent_encode_sequence(written["query_string"])
    if isinstance(body, dict):
        body = percent_encode_sequence(body).encode()
    return HttpRequest.of(written["method"], target, [(name, str(value)) for name, value in written["headers"].items()], body)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_an_operation_there_and_back(name: str, operation: str) -> None:
    service = SERVICES[name]
    for protocol_name in service.protocols:
        for seed in range(ROUNDS):
            request_survives(service, protocol_name, operation, seed)
            answer_survives(service, protocol_name, operation, seed)


def request_survives(service: Service, protocol_name: str, name: str, seed: int) -> None:
    model, operation = service.model, service.operation(name)
    reference = model.operations[name].get("input")
    if reference is None or streams(service.shapes, reference):
        return
    try:
        parameters = RandomValues(service.shapes, seed).value(reference)
    except Impossible as pattern:
        pytest.skip(f"found no value for {pattern}")
    request = sent(service, protocol_name, operation, parameters)
    labels: Mapping[str, str] = {}
    if protocol_name.startswith("rest-"):
        route = model.routes.match(request.method, request.path, request.query)
        assert route is not None
        assert route[0] == name
        labels = route[1]
    parsed = protocol(protocol_name).parser(model, name)(request, request.body.data, labels)  # type: ignore[attr-defined]
    assert plain(model, reference, parsed, blobs=bytes) == parameters


def answer_survives(service: Service, protocol_name: str, name: str, seed: int) -> None:
    model, operation = service.model, service.operation(name)
    reference = model.operations[name].get("output")
    if streams(service.shapes, reference):
        return
    if reference is None:
        result, answer = {}, model.response(name)()
    else:
        try:
            result = RandomValues(service.shapes, seed).value(reference)
        except Impossible as pattern:
            pytest.skip(f"found no value for {pattern}")
        answer = struct(model, reference, result, model.response(name))
    response = response_dict(protocol(protocol_name).serializer(model, name)(answer, REQUEST_ID), name)
    parser = PROTOCOL_PARSERS[protocol_name](timestamp_parser=lambda value: parse_timestamp(value).timestamp())
    parsed = parser.parse(response, operation.output_shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == REQUEST_ID
    assert parsed == result
