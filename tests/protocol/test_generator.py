"""The generator: its patterns, its names, its code for shapes that are out of the ordinary."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from suites import in_memory

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from cloudstead.edge.protocols import ServiceModel
from generate import names
from generate.patterns import Untranslatable, translate

JAVA = [
    (r"[\w+=,.@-]+", ["a_b@c"], ["ü", "a b", "", "a\n"]),
    (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", ["", "grüße 5", "名前/a", "a\u00a0b"], ["a*", "a\tb", "a\n"]),
    (r"^[a-z]+$", ["abc"], ["abc\n", "ABC"]),
    (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", ["a\U0001f600\n"], ["\x00"]),
    (r"[a-zA-Z0-9-_]+", ["a-_9"], ["a+"]),
    (r"[\w-_]*", ["a-_"], ["a+"]),
    (r"a|b", ["a", "b"], ["ab", "ac"]),
    (r"^a|b$", ["a", "b"], ["ab"]),
    (r"(?<year>\d{4})-\p{Alpha}", ["2024-x"], ["2024-1", "\uff12024-x"]),
    (r"[^\x00-\x1F\x7F]+", ["a b"], ["a\x01"]),
    (r"\d++a", ["12a"], ["12"]),
    (r"[\w\[\]~&|]+", ["[a]~&|"], ["{"]),
    (r"\S{2,3}", ["ab"], ["a b", "a"]),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), JAVA, ids=[pattern for pattern, _, _ in JAVA])
def test_a_translated_pattern_matches_what_javas_does(pattern: str, good: list[str], bad: list[str]) -> None:
    compiled = re.compile(translate(pattern))
    assert all(compiled.search(value) for value in good)
    assert not any(compiled.search(value) for value in bad)


@pytest.mark.parametrize("pattern", [r"[\p{M}]+", r"\P{L}", r"[a&&b]", r"[a[bc]]", r"\Qa\E", "("])
def test_what_python_cannot_say_is_left_out(pattern: str) -> None:
    with pytest.raises(Untranslatable):
        translate(pattern)


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$", r"([a-z0-9]|[a-z0-9-]*)+"])
def test_a_pattern_that_takes_for_ever_is_left_out(pattern: str) -> None:
    with pytest.raises(Untranslatable, match="exponential"):
        translate(pattern)


@pytest.mark.parametrize("service", ["ecr", "ecr-public", "events", "iam", "logs", "sts"])
def test_no_pattern_in_use_takes_long_for_a_long_value(service: str) -> None:
    model = ServiceModel.load(service)
    for shape in model.shapes.values():
        if "python" in shape:
            compiled = re.compile(shape["python"])
            for seed in ("a", "a-", "/", ":", "a.", "arn:aws:x:", " ", "1"):
                value = (seed * 2048)[:2048] + "\x00"
                began = time.process_time()
                compiled.search(value)
                assert time.process_time() - began < 0.5, shape["python"]


@pytest.mark.parametrize(
    ("wire", "field"),
    [("UserName", "user_name"), ("VPCId", "vpc_id"), ("SSHPublicKey", "ssh_public_key"), ("from", "from_"), ("list", "list_"), ("aws-kms", "aws_kms"), ("2nd", "_2nd")],
)  # fmt: skip
def test_names_are_botocores_in_snake_case(wire: str, field: str) -> None:
    assert names.snake(wire) == field


def service(shapes: dict[str, Any], protocol: str = "json", **operations: dict[str, Any]) -> ServiceModel:
    metadata = {"protocol": protocol, "protocols": [protocol], "apiVersion": "2020-01-01", "jsonVersion": "1.1"}
    described = {
        name: {"name": name, "http": {"method": "POST", "requestUri": f"/{name}"}, **operation} for name, operation in operations.items()
    }
    return in_memory({"metadata": metadata, "operations": described, "shapes": {"String": {"type": "string"}, **shapes}})


def test_every_operation_has_a_request_and_a_response_of_its_own() -> None:
    shared = {"Shared": {"type": "structure", "members": {"Name": {"shape": "String"}, "Operation": {"shape": "String"}}}}
    model = service(shared, A={"input": {"shape": "Shared"}, "output": {"shape": "Shared"}}, B={"input": {"shape": "Shared"}}, C={})
    assert [getattr(model.api, f"{name}Request").operation.partition(":")[2] for name in "ABC"] == ["A", "B", "C"]
    assert issubclass(model.response("A"), model.api.Shared)
    assert model.request("A")(name="x", operation_="y") == model.request("A")(name="x", operation_="y")
    assert model.request("C")() is not None


def test_recursive_shapes_work() -> None:
    tree = {
        "Tree": {"type": "structure", "members": {"Left": {"shape": "Tree"}, "Rest": {"shape": "Trees"}, "Named": {"shape": "TreeMap"}}},
        "Trees": {"type": "list", "member": {"shape": "Tree"}, "max": 3},
        "TreeMap": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "Trees"}},
    }
    model = service(tree, Grow={"input": {"shape": "Tree"}})
    body = b'{"Left":{"Left":{}},"Rest":[{}],"Named":{"a":[{"Rest":[]}]}}'
    found: Any = msgspec.json.decode(body, type=model.request("Grow"))
    assert found.named["a"][0].rest == []


def test_a_shape_that_is_called_like_something_python_has_gets_another_name() -> None:
    shapes = {
        "In": {"type": "structure", "members": {"A": {"shape": "Exception"}, "B": {"shape": "list"}, "C": {"shape": "Struct"}, "int": {"shape": "Int"}, "D": {"shape": "Int"}}},
        "Exception": {"type": "structure", "members": {"class": {"shape": "String"}}},
        "list": {"type": "list", "member": {"shape": "String"}, "max": 2},
        "Struct": {"type": "string", "max": 3},
        "Int": {"type": "integer"},
    }  # fmt: skip
    model = service(shapes, Do={"input": {"shape": "In"}})
    found: Any = msgspec.json.decode(b'{"A":{"class":"x"},"B":["y"],"C":"z","int":4,"D":5}', type=model.request("Do"))
    assert (found.a.class_, found.b, found.c, found.int_, found.d) == ("x", ["y"], "z", 4, 5)


def test_an_error_member_does_not_hide_what_every_error_has() -> None:
    shapes = {"Bad": {"type": "structure", "exception": True, "members": {"code": {"shape": "String"}, "message": {"shape": "String"}}}}
    model = service(shapes, Do={"errors": [{"shape": "Bad"}]})
    error: Any = model.api.Bad("no", code_="x")
    assert (error.code, error.code_, error.message) == ("Bad", "x", "no")


def test_a_member_of_the_path_may_be_called_like_one_of_the_body() -> None:
    shapes = {
        "In": {
            "type": "structure",
            "members": {
                "name": {"shape": "String", "location": "uri", "locationName": "id"},
                "title": {"shape": "String", "locationName": "name"},
            },
        }
    }
    model = service(shapes, "rest-json", Do={"input": {"shape": "In"}})
    assert model.field("In", "title").encode_name == "name"
    assert model.field("In", "name").encode_name == "name@uri"
