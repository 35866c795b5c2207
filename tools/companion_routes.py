"""Writes src/cloudstead/edge/companion/routes.json: the routes of the REST services that moto answers, from botocore's models.

Usage: python tools/companion_routes.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from botocore.session import Session
from moto.backends import list_of_moto_modules

TABLE = Path(__file__).resolve().parents[1] / "src" / "cloudstead" / "edge" / "companion" / "routes.json"
OWN_RULES = {"s3", "apigateway", "apigatewayv2"}  # their actions are not their operations


def table() -> str:
    """One line a service, so that a change of botocore's models can be read as a difference."""
    session = Session()
    known = {name.removeprefix("aws").replace("_", "").replace("-", "") for name in list_of_moto_modules()}
    lines = []
    for service in sorted(set(session.get_available_services()) - OWN_RULES):
        model = session.get_service_model(service)
        if service.replace("-", "") not in known or model.metadata["protocol"] not in ("rest-json", "rest-xml"):
            continue
        routes = {}
        for name in sorted(model.operation_names):
            http = model.operation_model(name).http
            routes[name] = f"{http['method']} {http['requestUri']}"
        lines.append(f"{json.dumps(service)}:{json.dumps(routes, separators=(',', ':'))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    made = table()
    if "--check" not in sys.argv[1:]:
        TABLE.write_text(made)
        return 0
    if TABLE.exists() and TABLE.read_text() == made:
        return 0
    print(f"{TABLE} is not what tools/companion_routes.py makes; run it and commit.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
