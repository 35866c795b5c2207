"""The text of `services/index.json`: all services of AWS, by what a request shows of them.

    services        botocore's name -> [protocol, API version, endpoint prefix, signing name, target prefix, XML namespace], trailing "" left out
    signing_names   signing name -> botocore's names, the likeliest first
    targets         prefix of X-Amz-Target -> botocore's names
"""

from __future__ import annotations

import json
from typing import Any

from botocore.loaders import Loader

PREFERRED = {
    "lambda": "lambda", "ecs": "ecs", "ecr": "ecr", "iam": "iam", "s3": "s3", "sqs": "sqs", "dynamodb": "dynamodb", "rds": "rds",
    "elasticloadbalancing": "elbv2", "ses": "ses", "execute-api": "apigatewaymanagementapi", "apigateway": "apigateway", "iot": "iot",
    "es": "opensearch", "sagemaker": "sagemaker", "bedrock": "bedrock",
}  # fmt: skip


def text() -> str:
    services: dict[str, list[str]] = {}
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


def row(metadata: dict[str, Any], signing_name: str) -> list[str]:
    namespace = metadata.get("xmlNamespace", "")
    namespace = namespace["uri"] if isinstance(namespace, dict) else namespace
    found = [metadata["protocol"], metadata["apiVersion"], metadata["endpointPrefix"], signing_name, metadata.get("targetPrefix", ""), namespace]
    while not found[-1]:
        found.pop()
    return found
