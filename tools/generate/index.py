"""The text of `services/index.json`: all services of AWS, by what a request shows of them.

services        botocore's name -> {"protocols", "version", "endpoint", "signing" (where it is not the endpoint prefix), "target", "id"}
signing_names   signing name -> botocore's names, the likeliest first
targets         prefix of X-Amz-Target -> botocore's names
"""

from __future__ import annotations

import json
from typing import Any

from botocore.loaders import Loader

Json = dict[str, Any]

PREFERRED = {
    "lambda": "lambda", "ecs": "ecs", "ecr": "ecr", "iam": "iam", "s3": "s3", "sqs": "sqs", "dynamodb": "dynamodb", "rds": "rds",
    "elasticloadbalancing": "elbv2", "ses": "ses", "execute-api": "apigatewaymanagementapi", "apigateway": "apigateway", "iot": "iot",
    "es": "opensearch", "sagemaker": "sagemaker", "bedrock": "bedrock",
}  # fmt: skip


def text() -> str:
    services: dict[str, Json] = {}
    signing: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    loader = Loader()
    for name in loader.list_available_services("service-2"):
        metadata = loader.load_service_model(name, "service-2")["metadata"]
        signing_name = metadata.get("signingName", metadata["endpointPrefix"])
        services[name] = row(metadata, signing_name)
        signing.setdefault(signing_name, []).append(name)
        if "targetPrefix" in metadata:
            targets.setdefault(metadata["targetPrefix"], []).append(name)
    for signing_name, found in signing.items():
        first = PREFERRED.get(signing_name, signing_name)
        found.sort(key=lambda name, first=first: (name != first, name))  # type: ignore[misc]
    lines = ["{"]
    for title, table in (("services", services), ("signing_names", signing), ("targets", targets)):
        lines.append(f'"{title}":{{')
        lines += [f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}," for key, value in sorted(table.items())]
        lines[-1] = lines[-1][:-1]
        lines.append("},")
    lines[-1] = "}"
    return "\n".join([*lines, "}"]) + "\n"


def row(metadata: dict[str, Any], signing_name: str) -> Json:
    found: Json = {
        "protocols": metadata.get("protocols", [metadata["protocol"]]),
        "version": metadata["apiVersion"],
        "endpoint": metadata["endpointPrefix"],
        "id": metadata["serviceId"],
    }
    if metadata["protocol"] in found["protocols"]:  # the one that botocore speaks comes first
        found["protocols"] = [metadata["protocol"], *(name for name in found["protocols"] if name != metadata["protocol"])]
    if signing_name != metadata["endpointPrefix"]:
        found["signing"] = signing_name
    if "targetPrefix" in metadata:
        found["target"] = metadata["targetPrefix"]
    return found
