"""Keeps what is said about coverage true: every services/<name>/coverage.toml, docs/coverage.md and the table in README.md.

Usage: python tools/coverage_tables.py [--check]

The code decides what it can: an operation with a handler is "done" unless the file says what is missing of it, one without is "absent".
What a person writes there, and this keeps, is `{ partial = "what is missing" }`.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

from cloudstead.cli.coverage import SERVICES as FOLDER
from cloudstead.cli.coverage import Operation, counts, parse
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.service_names import package_of
from cloudstead.services import SERVICES

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
HEADER = """\
# AWS's operations of this service: "done", "absent" or { partial = "what is missing" }.
# tools/coverage_tables.py keeps the list complete and in order; only what is missing is written by hand.

[operations]
"""


def updated(service: str, registry: Registry) -> list[Operation]:
    """The operations of a service as the code and the person's words have them."""
    path = FOLDER / package_of(service) / "coverage.toml"
    said = {operation.name: operation for operation in parse(tomllib.loads(path.read_text()))} if path.exists() else {}
    wire = json.loads((FOLDER / package_of(service) / "wire.json").read_text())
    there = registry.operations(service)
    found = []
    for name in sorted({*wire["operations"], *wire.get("absent", ())}):
        before = said.get(name)
        if name not in there:
            found.append(Operation(name, "absent"))
        else:
            found.append(before if before is not None and before.status == "partial" else Operation(name, "done"))
    return found


def toml(operations: list[Operation]) -> str:
    def value(operation: Operation) -> str:
        quoted = json.dumps(operation.missing, ensure_ascii=False)
        return f"{{ partial = {quoted} }}" if operation.status == "partial" else f'"{operation.status}"'

    return HEADER + "".join(f"{operation.name} = {value(operation)}\n" for operation in operations)


def title(service: str) -> str:
    """AWS's name of a service."""
    metadata = json.loads((FOLDER / package_of(service) / "wire.json").read_text())["metadata"]
    return str(metadata.get("serviceAbbreviation") or metadata.get("serviceFullName") or service)


def summary(coverage: dict[str, list[Operation]]) -> str:
    lines = ["| service | done | partial | absent |", "|---|---:|---:|---:|"]
    for service, operations in coverage.items():
        number = counts(operations)
        lines.append(f"| [{title(service)}](docs/coverage.md#{service}) | {number['done']} | {number['partial']} | {number['absent']} |")
    return "\n".join(lines)


def page(coverage: dict[str, list[Operation]]) -> str:
    parts = [
        "# Coverage\n",
        "Every operation of the AWS services that Cloudstead writes itself. `cloudstead coverage SERVICE` shows the same. An absent operation",
        "answers `501 NotImplemented` and names itself. All other services are answered by [the companion](companion.md), as far as moto knows them.\n",
        "Made by `tools/coverage_tables.py`; do not edit.\n",
    ]
    for service, operations in coverage.items():
        parts.append(f"## {service}\n")
        parts.append(f"{title(service)}\n")
        for status in ("done", "partial", "absent"):
            chosen = [operation for operation in operations if operation.status == status]
            if not chosen:
                continue
            parts.append(f"**{status.capitalize()}** ({len(chosen)})\n")
            if status == "partial":
                parts += ["| operation | what is missing |", "|---|---|"]
                parts += [f"| {operation.name} | {operation.missing} |" for operation in chosen]
                parts.append("")
            else:
                parts.append(", ".join(operation.name for operation in chosen) + "\n")
    return "\n".join(parts)


def main() -> int:
    registry = Registry(SERVICES)
    coverage = {service.name: updated(service.name, registry) for service in sorted(SERVICES, key=lambda service: service.name)}
    wanted = {FOLDER / package_of(service) / "coverage.toml": toml(operations) for service, operations in coverage.items()}
    wanted[ROOT / "docs" / "coverage.md"] = page(coverage)
    readme = (ROOT / "README.md").read_text()
    before, _, rest = readme.partition(BEGIN)
    wanted[ROOT / "README.md"] = f"{before}{BEGIN}\n{summary(coverage)}\n{END}{rest.partition(END)[2]}"
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date; run tools/coverage_tables.py.")
        return bool(stale)
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
