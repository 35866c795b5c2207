"""Ten thousand calls that are wrong in every way a client can be wrong: no 5xx but 501, no hang, nothing that grows.

Each is shaped after a real operation: its parameters are random and valid at first, then some are dropped, or replaced by values of another type,
length or meaning. The other half of the issue, raw bytes on the socket, is tests/http/test_garbage.py.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import msgspec
import pytest

from cloudstead.kernel.service_names import package_of
from cloudstead.services import SERVICES
from protocol.random_values import Impossible, RandomValues
from support import Daemon

CALLS = 10_000
SEED = int(os.environ.get("CLOUDSTEAD_SEED", "20261123"))
LONGEST = 10.0  # seconds for one answer
NATIVE = Path(__file__).parents[2] / "src" / "cloudstead" / "services"
NASTY: list[Any] = [
    "", " ", "\0", "../../etc/passwd", "é" * 300, "😀", "x" * 70_000, "*", "null", "-1", "${aws:username}", "%", "%00", "a\r\nb: c", "arn:aws:iam::",
    "arn:aws:logs:us-east-1:000000000000:log-group:x:*", "[]", "{", "{ $.a = ", '{"Version":"2012-10-17","Statement":[]}', "rate(1 minute)", "cron(",
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 1.5, -0.0, 1e308, True, False, None, [], {}, [None], {"": None}, [[]], {"a": {"b": [1, "2", None]}},
]  # fmt: skip
SILENT = {"StartLiveTail"}  # answers for hours when it is right


def spoil(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """The same value with some of it wrong."""
    if chance.random() < 0.12 or depth > 12:
        return chance.choice(NASTY)
    if isinstance(value, dict):
        spoilt = {name: spoil(chance, one, depth + 1) for name, one in value.items() if chance.random() > 0.08}
        if chance.random() < 0.05:
            spoilt[chance.choice(["Unknown", "", "a" * 500, "é", "Tags.member.1"])] = chance.choice(NASTY)
        return spoilt
    if isinstance(value, list):
        return [spoil(chance, one, depth + 1) for one in value] * chance.choice([1, 1, 1, 2, 60])
    return value


def form(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """As the query protocol flattens it, more or less."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from form(one, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list):
        for number, one in enumerate(value, 1):
            yield from form(one, f"{prefix}.member.{number}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, default=str)


def ec2_form(value: Any, shape: dict[str, Any], shapes: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The same in the form of EC2: names as the model has them for the wire, lists without `member`. What the model has no name for stays as it is."""
    if isinstance(value, dict):
        for key, one in value.items():
            member = shape.get("members", {}).get(key, {})
            name = member.get("queryName") or member.get("locationName", key)
            yield from ec2_form(one, shapes.get(member.get("shape"), {}), shapes, f"{prefix}.{name[:1].upper()}{name[1:]}".lstrip("."))
    elif isinstance(value, list):
        for number, one in enumerate(value, 1):
            yield from ec2_form(one, shapes.get(shape.get("member", {}).get("shape"), {}), shapes, f"{prefix}.{number}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, default=str)


class Caller:
    """One connection, opened anew when the server closes it, as it may after bad framing."""

    def __init__(self, endpoint: str) -> None:
        self._address = urlsplit(endpoint)
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=LONGEST)
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection = None
                if attempt == 2:
                    raise
        raise AssertionError

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def requests(service: str, seed: int) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """(operation, headers, body) for ever."""
    wire = msgspec.json.decode((NATIVE / package_of(service) / "wire.json").read_bytes())
    metadata, names = wire["metadata"], sorted(set(wire["operations"]) - SILENT)
    values, chance = RandomValues(wire["shapes"], seed), random.Random(seed)
    while True:
        name = chance.choice(names)
        shape = wire["operations"][name].get("input")
        try:
            parameters = values.value(shape) if shape else {}
        except Impossible:
            parameters = {}
        parameters = spoil(
            chance, json.loads(json.dumps(parameters, default=lambda one: one.decode("latin-1") if isinstance(one, bytes) else str(one)))
        )
        scope = f"Credential=000000000000/20260101/us-east-1/{metadata.get('signingName', metadata['endpointPrefix'])}/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
            "X-Amz-Date": "20260101T000000Z",
        }
        if metadata["protocol"] in ("query", "ec2"):
            described = form(parameters)
            if metadata["protocol"] == "ec2":
                described = ec2_form(parameters, wire["shapes"].get((shape or {}).get("shape"), {}), wire["shapes"])
            pairs = [("Action", name), ("Version", metadata["apiVersion"]), *described]
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs).encode()
        else:
            headers["Content-Type"] = f"application/x-amz-json-{metadata.get('jsonVersion', '1.0')}"
            headers["X-Amz-Target"] = f"{metadata['targetPrefix']}.{name}"
            body = json.dumps(parameters).encode()
        if chance.random() < 0.03:
            body = body[: chance.randrange(len(body) + 1)] + chance.randbytes(chance.randrange(40))
        yield name, headers, body


def footprint(pid: int) -> tuple[int, int, float]:
    """Open descriptors, threads, resident MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    figures = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith(("Threads", "VmRSS"))}
    return len(os.listdir(f"/proc/{pid}/fd")), int(figures["Threads"]), int(figures["VmRSS"]) / 1000


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_no_fuzzed_call_breaks_the_daemon(service: str, tmp_path: Path) -> None:
    calls = CALLS // len(SERVICES)
    statuses: Counter[int] = Counter()
    with Daemon(tmp_path / "data") as daemon:
        assert daemon.process is not None
        caller = Caller(daemon.endpoint)
        source = requests(service, SEED)
        before = footprint(daemon.process.pid)
        for number in range(calls):
            name, headers, body = next(source)
            began = time.monotonic()
            status, answer = caller.call("POST", "/", headers, body)
            statuses[status] += 1
            assert status < 500 or status == 501, f"call {number} (seed {SEED}) {name} {status} {answer[:500]!r}\n{body[:3000]!r}"
            assert time.monotonic() - began < LONGEST
        after = footprint(daemon.process.pid)
        caller.close()
        assert calls - statuses[501] > calls / 4, f"hardly anything reached an operation: {statuses}"
        assert after[0] <= before[0] + 40, f"descriptors: {before} → {after}"
        assert after[1] <= before[1] + 8, f"threads: {before} → {after}"
        assert after[2] <= before[2] + 120, f"memory: {before} → {after}"
        assert daemon.client("sts").get_caller_identity()["Account"] == "000000000000"
