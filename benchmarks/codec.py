"""What the codecs cost: CPU microseconds to find the operation, read and check a request, and write its response.

    .venv/bin/python benchmarks/codec.py [--calls 20000] [--json]

For each protocol one small call and one with a list of fifty. No HTTP, no signature, no handler. Models without a package here are generated in memory.
The figure is the smallest of five rounds: others on the machine can only make it larger.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from cloudstead.edge.protocols import ServiceModel, cbor, protocol
from cloudstead.http.messages import HttpRequest
from generate import config, model, wire
from generate.source import Source

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def service(name: str) -> ServiceModel:
    """A service's model: the package's, or one made now."""
    if (ROOT / "src" / "cloudstead" / "services" / name / "wire.json").exists():
        return ServiceModel.load(name)
    options = config.Config(botocore=name, operations="all", package=name)
    cut = model.cut(model.load(options), options)
    source = Source(name, cut, "Made for a benchmark.")
    api = types.ModuleType(f"cloudstead_benchmark_{name}")
    sys.modules[api.__name__] = api
    exec(source.text(), api.__dict__)
    return ServiceModel(name, wire.document(cut, classes=source.classes, patterns=source.patterns, left_out={}, validation_code=""), api)


def calls() -> list[tuple[str, str, ServiceModel, HttpRequest, bytes, Callable[[Any], Any]]]:
    """(title, protocol, model, request, body, answer made from the api module); the operation stands in the title."""
    iam, logs, functions, metrics = service("iam"), service("logs"), service("lambda"), service("cloudwatch")
    user = b"Action=CreateUser&Version=2010-05-08&UserName=alice&Path=%2Fteam%2F&Tags.member.1.Key=team&Tags.member.1.Value=red"
    events = json.dumps(
        {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1 + at, "message": f"line {at}"} for at in range(50)]}
    ).encode()
    get = b'{"logGroupName":"/aws/lambda/f","logStreamName":"s","limit":10,"startFromHead":true}'
    alarm = cbor.encode({"AlarmName": "high", "EvaluationPeriods": 2, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0.5})
    metadata = b'{"FunctionVersion":"1","Name":"live","Description":"what callers use"}'

    def post(body: bytes) -> HttpRequest:
        return HttpRequest.of("POST", "/", [("Content-Type", "application/x-amz-json-1.1")], body)

    return [
        (
            "query CreateUser", "query", iam, post(user), user,
            lambda api: api.CreateUserResponse(
                user=api.User(path="/team/", user_name="alice", user_id="AIDAEXAMPLE", arn="arn:aws:iam::000000000000:user/team/alice", create_date=1e9)
            ),
        ),
        (
            "json GetLogEvents", "json", logs, post(get), get,
            lambda api: api.GetLogEventsResponse(
                events=[api.OutputLogEvent(timestamp=1, message="hello", ingestion_time=2)], next_forward_token="f/1", next_backward_token="b/1"
            ),
        ),
        ("json PutLogEvents", "json", logs, post(events), events, lambda api: api.PutLogEventsResponse(next_sequence_token="1")),
        (
            "rest-json CreateAlias", "rest-json", functions, HttpRequest.of("POST", "/2015-03-31/functions/f/aliases", [], metadata), metadata,
            lambda api: api.CreateAliasResponse(alias_arn="arn:aws:lambda:us-east-1:000000000000:function:f:live", name="live", function_version="1"),
        ),
        (
            "smithy-rpc-v2-cbor PutMetricAlarm", "smithy-rpc-v2-cbor", metrics, post(alarm), alarm,
            lambda api: api.PutMetricAlarmResponse(),
        ),
    ]  # fmt: skip


def microseconds(work: Callable[[], Any], count: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(count // ROUNDS):
            work()
        best = min(best, (time.process_time() - began) / (count // ROUNDS))
    return best * 1e6


def measure(count: int) -> dict[str, float]:
    results = {}
    for title, name, served, request, body, make in calls():
        operation = title.rpartition(" ")[2]
        wire_protocol, answer = protocol(name), make(served.api)

        def work() -> None:
            found, labels = operation, {}  # noqa: B023
            if name.startswith("rest-"):  # noqa: B023
                found, labels = served.routes.match(request.method, request.path, request.query)  # type: ignore[misc]  # noqa: B023
            wire_protocol.parser(served, found)(request, body, labels)  # noqa: B023
            wire_protocol.serializer(served, found)(answer, "f7a4e2d0-9c1b-4a7e-8d35-0123456789ab")  # noqa: B023

        work()
        results[title] = round(microseconds(work, count), 1)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    results = measure(arguments.calls)
    if arguments.json:
        print(json.dumps(results))
        return
    for title, cost in results.items():
        print(f"{title:<40}{cost:>8.1f} µs")


if __name__ == "__main__":
    main()
