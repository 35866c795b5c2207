"""Every generated operation of every service, there and back: botocore writes a random request that we read, we write a random answer that botocore reads."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from functools import cache
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
from suites import in_memory, plain, response_dict, struct, without_bound

from cloudstead.edge.protocols import protocol
from cloudstead.edge.protocols.model import ServiceModel
from cloudstead.http.messages import HttpRequest
from generate.model import plain as plain_model  # on the path by way of suites

ROOT = Path(__file__).resolve().parents[2]
REQUEST_ID = "f7a4e2d0-9c1b-4a7e-8d35-0123456789ab"


def generated() -> list[str]:
    services = resources.files("cloudstead.services")
    return sorted(entry.name for entry in services.iterdir() if entry.is_dir() and entry.joinpath("wire.json").is_file())


class Service:
    """One service as we know it and as botocore does."""

    def __init__(self, name: str, model: ServiceModel, name_there: str) -> None:
        self.name = name
        self.model = model
        self.shapes = model.shapes
        self.protocols = [name for name in model.metadata["protocols"] if name in PROTOCOL_PARSERS]
        self.botocore = BotocoreModel(Loader().load_service_model(name_there, "service-2"), name_there)

    def operation(self, name: str) -> OperationModel:
        return self.botocore.operation_model(name)


@cache
def service_of(name: str) -> Service:
    """A service whose code is generated, or one that is generated now: for its protocol's sake, or because its time will come."""
    if name in GENERATED:
        name_there = tomllib.loads((ROOT / "models" / f"{name}.toml").read_text())["botocore"]
        return Service(name, ServiceModel.load(name_there), name_there)
    description = plain_model(Loader().load_service_model(name, "service-2"))
    wanted = OTHERS[name]
    description["operations"] = {
        key: operation
        for key, operation in description["operations"].items()
        # S3 has two operations of one route, one of them old or for another host, and an answer that only botocore's handlers read
        if (not wanted or key in wanted) and not operation.get("deprecated") and key not in ("ListDirectoryBuckets", "GetBucketLocation")
    }
    return Service(name, in_memory(description), name)


OTHERS: dict[str, frozenset[str]] = {
    "s3": frozenset(),
    "route53": frozenset(),
    "lambda": frozenset(),
    "apigateway": frozenset(),
    "cloudwatch": frozenset(),
    "sqs": frozenset(),
    "elbv2": frozenset(),
    "ec2": frozenset(
        [
            "RunInstances",
            "DescribeInstances",
            "CreateVpc",
            "DescribeSecurityGroups",
            "AuthorizeSecurityGroupIngress",
            "CreateLaunchTemplate",
            "DescribeImages",
            "CreateSubnet",
            "CreateTags",
            "DescribeVolumes",
            "ModifyInstanceAttribute",
            "CreateFleet",
            "DescribeRouteTables",
            "CreateNetworkInterface",
        ]
    ),
}
GENERATED = generated()


def operations(name: str) -> list[str]:
    return list(service_of(name).model.operations)


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


@pytest.mark.parametrize(("name", "operation"), [(name, operation) for name in GENERATED for operation in operations(name)])
def test_an_operation_there_and_back(name: str, operation: str) -> None:
    there_and_back(service_of(name), operation, 6)


@pytest.mark.parametrize("name", sorted(OTHERS.keys() - set(GENERATED)))
def test_services_to_come_there_and_back(name: str) -> None:
    for operation in operations(name):
        there_and_back(service_of(name), operation, 2)


def there_and_back(service: Service, operation: str, rounds: int) -> None:
    tried = 0
    for protocol_name in service.protocols:
        for seed in range(rounds):
            with contextlib.suppress(Impossible):
                request_survives(service, protocol_name, operation, seed)
                answer_survives(service, protocol_name, operation, seed)
                tried += 1
    assert tried, "found no value that keeps the constraints"


def request_survives(service: Service, protocol_name: str, name: str, seed: int) -> None:
    model, operation = service.model, service.operation(name)
    reference = model.operations[name].get("input")
    if reference is None or streams(service.shapes, reference):
        return
    parameters = RandomValues(service.shapes, seed).value(reference)
    request = sent(service, protocol_name, operation, parameters)
    labels: Mapping[str, str] = {}
    if protocol_name.startswith("rest-"):
        route = model.routes.match(request.method, request.path, request.query, request.headers)
        assert route is not None
        assert route[0] == name
        labels = route[1]
    parsed = protocol(protocol_name).parser(model, name)(request, request.body.data, labels)  # type: ignore[attr-defined]
    uri = model.operations[name]["http"]["requestUri"]
    assert without_bound(model, reference, plain(model, reference, parsed, blobs=bytes), uri) == parameters


def answer_survives(service: Service, protocol_name: str, name: str, seed: int) -> None:
    model, operation = service.model, service.operation(name)
    reference = model.operations[name].get("output")
    if streams(service.shapes, reference):
        return
    if reference is None:
        result, answer = {}, model.response(name)()
    else:
        result = RandomValues(service.shapes, seed).value(reference)
        answer = struct(model, reference, result, model.response(name))
    response = response_dict(protocol(protocol_name).serializer(model, name)(answer, REQUEST_ID), name)
    parser = PROTOCOL_PARSERS[protocol_name](timestamp_parser=lambda value: parse_timestamp(value).timestamp())
    parsed = parser.parse(response, operation.output_shape)
    # botocore does not look for the id in some answers without output, and takes a body that is a blob for text.
    assert parsed.pop("ResponseMetadata").get("RequestId", REQUEST_ID) == REQUEST_ID
    assert {
        key: item.encode() if isinstance(result.get(key), bytes) and isinstance(item, str) else item for key, item in parsed.items()
    } == result
