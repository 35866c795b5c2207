"""Broken constraints, all listed, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest
from suites import in_memory

from cloudstead.edge.protocols import protocol
from cloudstead.edge.protocols.validation import MAX_SHOWN
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import ValidationFailed

MODEL = in_memory(
    {
        "metadata": {"protocol": "json", "protocols": ["json"], "apiVersion": "2020-01-01", "jsonVersion": "1.1"},
        "operations": {"Put": {"name": "Put", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "PutInput"}}},
        "shapes": {
            "PutInput": {
                "type": "structure",
                "required": ["Name"],
                "members": {
                    "Name": {"shape": "Name"},
                    "Size": {"shape": "Size"},
                    "Share": {"shape": "Share"},
                    "Colour": {"shape": "Colour"},
                    "Names": {"shape": "Names"},
                    "Tags": {"shape": "Tags"},
                    "Labels": {"shape": "Labels"},
                    "Homes": {"shape": "Homes"},
                    "Secret": {"shape": "Secret"},
                    "Data": {"shape": "Data"},
                    "Maybe": {"shape": "Maybe"},
                },
            },
            "Name": {"type": "string", "min": 2, "max": 5, "pattern": "[a-z]+"},
            "Size": {"type": "integer", "min": 1, "max": 9},
            "Share": {"type": "double", "min": 0, "max": 1},
            "Colour": {"type": "string", "enum": ["red", "green"]},
            "Names": {"type": "list", "member": {"shape": "Name"}, "min": 1, "max": 2},
            "Tags": {"type": "list", "member": {"shape": "Tag"}},
            "Tag": {"type": "structure", "required": ["Key"], "members": {"Key": {"shape": "Name"}, "Value": {"shape": "String"}}},
            "Labels": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Name"}},
            "Homes": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "Tag"}},
            "Secret": {"type": "string", "min": 8, "sensitive": True},
            "Data": {"type": "blob", "max": 2},
            "Maybe": {"type": "list", "member": {"shape": "Tag"}, "sparse": True},
            "String": {"type": "string"},
        },
    }
)

NAME_RULES = (
    "[Member must have length less than or equal to 5, Member must have length greater than or equal to 2, "
    "Member must satisfy regular expression pattern: [a-z]+, Member must not be null]"
)


def faults(**members: Any) -> list[str]:
    """The faults of an input that has a good name besides these members."""
    import json

    body = json.dumps({"Name": "name", **members}).encode()
    with pytest.raises(ValidationFailed) as raised:
        protocol("json").parser(MODEL, "Put")(HttpRequest.of("POST", "/", [], body), body, {})
    count, _, listed = raised.value.message.partition(": ")
    found = listed.split("; ")
    assert count == ("1 validation error detected" if len(found) == 1 else f"{len(found)} validation errors detected")
    return found


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"Name": None}, "Value null at 'name' failed to satisfy constraint: Member must not be null"),
        ({"Name": "abcdef"}, "Value 'abcdef' at 'name' failed to satisfy constraint: Member must have length less than or equal to 5"),
        ({"Name": "a"}, "Value 'a' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 2"),
        ({"Name": "aB"}, "Value 'aB' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"),
        ({"Name": "ab\n"}, "Value 'ab\n' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"),
        ({"Size": 0}, "Value '0' at 'size' failed to satisfy constraint: Member must have value greater than or equal to 1"),
        ({"Size": 10}, "Value '10' at 'size' failed to satisfy constraint: Member must have value less than or equal to 9"),
        ({"Share": 1.5}, "Value '1.5' at 'share' failed to satisfy constraint: Member must have value less than or equal to 1.0"),
        ({"Colour": "blue"}, "Value 'blue' at 'colour' failed to satisfy constraint: Member must satisfy enum value set: [red, green]"),
        ({"Names": []}, "Value '[]' at 'names' failed to satisfy constraint: Member must have length greater than or equal to 1"),
        ({"Names": ["ab", "X"]}, f"Value '[ab, X]' at 'names' failed to satisfy constraint: Member must satisfy constraint: {NAME_RULES}"),
        ({"Names": ["ab", None]}, f"Value '[ab, null]' at 'names' failed to satisfy constraint: Member must satisfy constraint: {NAME_RULES}"),
        ({"Tags": [{"Key": "ab"}, {}]}, "Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null"),
        ({"Tags": [None]}, "Value null at 'tags.1.member' failed to satisfy constraint: Member must not be null"),
        ({"Labels": {"A": "ab"}}, f"Value '{{A=ab}}' at 'labels' failed to satisfy constraint: Map keys must satisfy constraint: {NAME_RULES}"),
        ({"Labels": {"ab": "A"}}, f"Value '{{ab=A}}' at 'labels' failed to satisfy constraint: Map value must satisfy constraint: {NAME_RULES}"),
        ({"Homes": {"x": {"Key": "a"}}}, "Value 'a' at 'homes.x.member.key' failed to satisfy constraint: Member must have length greater than or equal to 2"),
        ({"Secret": "short"}, "Value at 'secret' failed to satisfy constraint: Member must have length greater than or equal to 8"),
        ({"Data": "AAAA"}, "Value 'java.nio.HeapByteBuffer[pos=0 lim=3 cap=3]' at 'data' failed to satisfy constraint: Member must have length less than or equal to 2"),
    ],
    ids=range(19),
)  # fmt: skip
def test_a_broken_constraint_is_worded_as_aws_words_it(members: dict[str, Any], fault: str) -> None:
    assert faults(**members) == [fault]


def test_all_faults_are_listed_in_the_order_of_the_model() -> None:
    found = faults(Colour="blue", Name="A", Size=0)
    assert [fault.split("'")[3] for fault in found] == ["name", "name", "size", "colour"]


def test_structures_are_shown_as_java_shows_them() -> None:
    (fault,) = faults(Name="ab", Names=["ab", "cd", "ef"])
    assert fault.startswith("Value '[ab, cd, ef]' at 'names'")


def test_a_sparse_list_may_hold_null() -> None:
    body = b'{"Name":"name","Maybe":[null,{"Key":"ab"}]}'
    request: Any = protocol("json").parser(MODEL, "Put")(HttpRequest.of("POST", "/", [], body), body, {})
    assert request.maybe[0] is None


def test_a_long_value_is_shown_in_part() -> None:
    (fault,) = faults(Colour="b" * 5000)
    assert len(fault) < MAX_SHOWN + 200
