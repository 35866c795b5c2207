"""`cloudstead coverage`: which AWS operations are there, from the coverage.toml of each service.

[operations]
CreateUser = "done"
SimulatePrincipalPolicy = { partial = "resource policies are not read" }
UploadSigningCertificate = "absent"
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cloudstead
from cloudstead.cli.terminal import Failure, out, out_json, paint, table
from cloudstead.kernel.service_names import service_of

Status: TypeAlias = Literal["done", "partial", "absent"]
SERVICES = Path(cloudstead.__file__).parent / "services"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of AWS, and how far it is here."""

    name: str
    status: Status
    missing: str = ""  # of a partial one


def read() -> dict[str, list[Operation]]:
    """Every service that is written here, with all of AWS's operations of it."""
    return {service_of(path.parent.name): parse(tomllib.loads(path.read_text())) for path in sorted(SERVICES.glob("*/coverage.toml"))}


def parse(document: Mapping[str, Any]) -> list[Operation]:
    """
    Raises:
        ValueError: a status is none of the three, or a partial operation does not say what is missing.
    """
    return [_operation(name, value) for name, value in sorted(document["operations"].items())]


def _operation(name: str, value: Any) -> Operation:
    if isinstance(value, Mapping) and set(value) == {"partial"}:
        return Operation(name, "partial", str(value["partial"]))
    if value in get_args(Status) and value != "partial":
        return Operation(name, value)
    raise ValueError(f'{name}: say "done", "absent" or {{ partial = "what is missing" }}, not {value!r}')


def counts(operations: list[Operation]) -> dict[str, int]:
    return {status: sum(operation.status == status for operation in operations) for status in get_args(Status)}


def coverage(arguments: argparse.Namespace) -> None:
    known = read()
    if arguments.service is None:
        if arguments.json:
            out_json({service: counts(operations) for service, operations in known.items()})
            return
        rows: list[tuple[str, ...]] = [("SERVICE", "DONE", "PARTIAL", "ABSENT")]
        rows += [(service, *map(str, counts(operations).values())) for service, operations in known.items()]
        for line in table(rows):
            out(line)
        out()
        out("All other services are answered by the companion (moto) as far as it knows them; what neither knows answers 501.")
        return
    operations = known.get(arguments.service)
    if operations is None:
        raise Failure(f"Cloudstead has no service {arguments.service} of its own; it has {', '.join(known) or 'none'}.")
    if arguments.json:
        out_json([asdict(operation) for operation in operations])
        return
    colours = {"done": "green", "partial": "yellow", "absent": "dim"}
    lines = table((operation.name, operation.missing) for operation in operations)
    for operation, line in zip(operations, lines, strict=True):
        out(f"{paint(operation.status.ljust(7), colours[operation.status])}  {line}")
