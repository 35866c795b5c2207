"""A botocore model, corrected and cut down to what the listed operations reach."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import botocore
from botocore.loaders import Loader

from generate.config import Config, ShapeOverride

Json = dict[str, Any]

OPERATION_KEYS = (
    "name",
    "http",
    "input",
    "output",
    "errors",
    "endpoint",
    "httpChecksum",
    "httpChecksumRequired",
    "authtype",
    "auth",
    "unsignedPayload",
    "requestcompression",
    "requestcompression",
)
SHAPE_KEYS = (
    "type", "required", "members", "member", "key", "value", "enum", "min", "max", "pattern", "python", "payload", "error", "exception", "fault",
    "timestampFormat", "document", "wrapper", "event", "flattened", "eventstream", "streaming", "locationName", "sparse", "xmlOrder",
    "xmlNamespace", "union", "jsonvalue", "requiresLength", "sensitive",
)  # fmt: skip
MEMBER_KEYS = (
    "shape", "locationName", "location", "xmlNamespace", "jsonvalue", "flattened", "eventpayload", "eventheader", "streaming", "queryName",
    "xmlAttribute", "hostLabel", "idempotencyToken", "timestampFormat", "document",
)  # fmt: skip
METADATA_KEYS = (
    "apiVersion", "endpointPrefix", "protocol", "protocols", "serviceFullName", "serviceId", "jsonVersion", "targetPrefix",
    "xmlNamespace", "awsQueryCompatible", "signingName", "globalEndpoint",
)  # fmt: skip


def pinned() -> str:
    """The version of botocore that the models come from."""
    return str(botocore.__version__)


def load(config: Config) -> Json:
    """The whole model of a service, corrected."""
    model: Json = Loader().load_service_model(config.botocore, "service-2")
    model = plain(model)
    for name, override in config.shapes.items():
        if name not in model["shapes"]:
            raise LookupError(f"models/{config.package}.toml corrects {name}, which the model does not have")
        correct(model["shapes"][name], override)
    if isinstance(config.operations, list):
        unknown = sorted(set(config.operations) - set(model["operations"]))
        if unknown:
            raise LookupError(f"models/{config.package}.toml lists operations that the model does not have: {', '.join(unknown)}")
    return model


def plain(value: Any) -> Any:
    """The same without botocore's OrderedDicts."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def correct(shape: Json, override: ShapeOverride) -> None:
    for key in override.drop:
        del shape[key]
    shape.update(override.set)
    if override.python:
        shape["python"] = override.python
    if override.optional:
        shape["required"] = [name for name in shape["required"] if name not in override.optional]


def cut(model: Json, config: Config) -> Json:
    """The model in botocore's format with the listed operations only, what they reach, and no documentation.

    The other operations stay under "absent" with what identifying them needs.
    """
    operations = {name: keep(op, OPERATION_KEYS) for name, op in model["operations"].items() if config.lists(name)}
    absent = {name: {"http": op["http"]} for name, op in model["operations"].items() if not config.lists(name)}
    for operation in operations.values():
        for key in ("input", "output"):
            if key in operation:
                operation[key] = keep(operation[key], ("shape", "locationName", "xmlNamespace", "payload"))
        if "errors" in operation:
            operation["errors"] = [{"shape": error["shape"]} for error in operation["errors"]]
    shapes = {name: keep_shape(model["shapes"][name]) for name in sorted(reachable(model, operations))}
    return {"metadata": keep(model["metadata"], METADATA_KEYS), "operations": operations, "shapes": shapes, "absent": absent}


def keep(source: Mapping[str, Any], keys: tuple[str, ...]) -> Json:
    return {key: copy.deepcopy(source[key]) for key in keys if key in source}


def keep_shape(shape: Json) -> Json:
    kept = keep(shape, SHAPE_KEYS)
    if "members" in kept:
        kept["members"] = {name: keep(ref, MEMBER_KEYS) for name, ref in kept["members"].items()}
    for key in ("member", "key", "value"):
        if key in kept:
            kept[key] = keep(kept[key], MEMBER_KEYS)
    return kept


def reachable(model: Json, operations: Mapping[str, Json]) -> set[str]:
    """The names of all shapes that the operations' inputs, outputs and errors use."""
    found: set[str] = set()
    waiting: list[str] = []
    for operation in operations.values():
        waiting += [operation[key]["shape"] for key in ("input", "output") if key in operation]
        waiting += [error["shape"] for error in operation.get("errors", ())]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += references(model["shapes"][name])
    return found


def references(shape: Json) -> Iterator[str]:
    """The names of the shapes that this one is made of."""
    for member in shape.get("members", {}).values():
        yield member["shape"]
    for key in ("member", "key", "value"):
        if key in shape:
            yield shape[key]["shape"]
