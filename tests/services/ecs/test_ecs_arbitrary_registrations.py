"""Whatever a client sends within the model: a refusal in AWS's manner, or a row that can be told again and given to the engine. Never a crash."""

from __future__ import annotations

import contextlib
import random
import typing
from typing import Any

import msgspec
import pytest

from cloudstead.services.ecs import api, defaults, reading, requirements, validation
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.translation import Image, Supplies, Unsupported, task_spec

TEXTS = [
    "",
    "a",
    "b",
    "app",
    "/a",
    "a:b",
    "1",
    "0",
    "-1",
    "256",
    "512",
    "1 GB",
    "80-90",
    "é",
    "x" * 300,
    "arn:aws:s3:::b/a.env",
    "fs-12345678",
    "CMD",
]
NUMBERS = [0, 1, 2, 5, 30, 64, 80, 256, -1, -(2**31), 2**31 - 1]
# What is mostly said of these, so that something is right now and then.
LIKELY: dict[str, list[Any]] = {
    "name": ["a", "b", "c", "d"],
    "image": ["nginx", "app:1"],
    "memory": [64],
    "family": ["web"],
    "container_name": ["a", "b"],
    "source_container": ["a", "b"],
    "source_volume": ["a", "b"],
    "container_path": ["/a", "/b"],
    "soft_limit": [1],
    "hard_limit": [2],
    "command": [["CMD", "x"]],
    "log_driver": ["json-file"],
    "condition": ["START"],
    "enabled": [True],
    "container_port": [80, 81],
    "size": [1],
    "namespace": ["net.core.somaxconn"],
    "value": ["1"],
}
OTHERWISE = {(api.Ulimit, "name"), (api.RegisterTaskDefinitionRequest, "memory")}
ALWAYS = ("name", "image", "memory", "container_port", "source_volume", "container_path", "source_container", "namespace", "value")


def arbitrary(chance: random.Random, kind: Any, depth: int = 0) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return arbitrary(chance, arguments[0], depth)
    if origin is typing.Literal:
        return chance.choice(arguments)
    if origin is list:
        return [arbitrary(chance, arguments[0], depth + 1) for _ in range(chance.choice((0, 1, 1, 2)))]
    if origin is dict:
        return {chance.choice(TEXTS): chance.choice(TEXTS) for _ in range(chance.choice((0, 1, 2)))}
    if origin is not None:  # a union with None
        return arbitrary(chance, arguments[0], depth)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        given = {}
        for field in msgspec.structs.fields(kind):
            if not (field.required or chance.random() < (0.95 if field.name in ALWAYS and not task(kind) else 0.06)):
                continue
            likely = field.name in LIKELY and (kind, field.name) not in OTHERWISE and chance.random() < 0.9
            given[field.name] = chance.choice(LIKELY[field.name]) if likely else arbitrary(chance, hints[field.name], depth + 1)
        return kind(**given)
    return chance.choice({str: TEXTS, bool: [True, False]}.get(kind, NUMBERS))


def task(kind: type) -> bool:
    return kind is api.RegisterTaskDefinitionRequest


def taken(request: api.RegisterTaskDefinitionRequest) -> Definition | None:
    given = reading.definition(request)
    try:
        validation.check(given)
    except (api.ClientException, api.InvalidParameterException):
        return None
    return defaults.fill(given)


@pytest.mark.parametrize("seed", range(8))
def test_anything_is_refused_or_can_be_kept_told_and_run(seed: int) -> None:
    chance = random.Random(seed)
    kept = 0
    for _ in range(400):
        definition = taken(arbitrary(chance, api.RegisterTaskDefinitionRequest))
        if definition is None:
            continue
        kept += 1
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(definition), type=Definition) == definition
        told = msgspec.convert(definition, api.TaskDefinition, from_attributes=True)
        again = {name: getattr(told, name) for name in Definition.__struct_fields__}
        assert taken(api.RegisterTaskDefinitionRequest(**again)) == definition, "what was told is not what was meant"
        assert requirements.attributes(definition) is not None
        assert requirements.compatibilities(definition)
        names = [each.called for each in definition.container_definitions]
        supplies = Supplies(task_id="t", ids={name: name for name in names}, images={name: Image(layers=()) for name in names})
        with contextlib.suppress(Unsupported):
            assert task_spec(definition, supplies).pods
    assert kept > 20, "nothing was right; the test would see nothing"
