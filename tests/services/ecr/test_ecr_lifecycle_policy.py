"""The document of a lifecycle policy: what AWS's examples mean, and what is refused with which sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.ecr.lifecycle.policy import PolicyInvalid, Rule, normalised, parse

BEFORE = "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: "
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


def rule(priority: Any = 1, status: str = "untagged", action: Any = EXPIRE, **selection: Any) -> dict[str, Any]:
    """A valid rule unless told otherwise; None takes a member out."""
    made = {"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": 1} | selection
    if status == "tagged" and not {"tagPatternList", "tagPrefixList"} & selection.keys():
        made["tagPatternList"] = ["v*"]
    return {"rulePriority": priority, "selection": {name: value for name, value in made.items() if value != "gone"}, "action": action}


def days(number: Any = 1, kind: str = "sinceImagePushed", **more: Any) -> dict[str, Any]:
    return {"countType": kind, "countUnit": "days", "countNumber": number} | more


def text(*rules: Any) -> str:
    return json.dumps({"rules": list(rules)})


def why(document: str) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        parse(document)
    message = str(caught.value)
    assert message.startswith(BEFORE)
    assert message.endswith("'")
    return message[len(BEFORE) : -1]


def test_rules_come_in_the_order_of_their_priorities() -> None:
    policy = text(
        rule(20, "tagged", ARCHIVE, tagPatternList=["prod*", "*1*2*3*"], **days(30, "sinceImagePulled")),
        rule(3, "tagged", tagPrefixList=["a", "b"], countNumber=7),
        rule(40, "any", storageClass="archive", **days(365, "sinceImageTransitioned")),
    )
    assert parse(policy) == (
        Rule(priority=3, tag_status="tagged", prefixes=("a", "b"), count_type="imageCountMoreThan", number=7, action="EXPIRE"),
        Rule(
            priority=20, tag_status="tagged", patterns=("prod*", "*1*2*3*"), count_type="sinceImagePulled", number=30, action="TRANSITION"
        ),
        Rule(priority=40, tag_status="any", storage_class="ARCHIVE", count_type="sinceImageTransitioned", number=365, action="EXPIRE"),
    )


def test_a_policy_is_given_back_without_white_space_and_otherwise_as_it_came() -> None:
    given_text = json.dumps({"rules": [rule(2) | {"description": "größer"}, rule(1, "any")]}, indent=4)
    assert json.loads(normalised(given_text)) == json.loads(given_text)
    assert " " not in normalised(given_text).replace("größer", "")
    assert normalised(normalised(given_text)) == normalised(given_text)


NOT_A_POLICY = ["", "nonsense", "[]", "null", '"rules"', "[" * 30_000, '{"rules": [1e999]}', '{"rules": "\\ud800"}', '{"rules": NaN}']


@pytest.mark.parametrize("document", NOT_A_POLICY)
def test_what_is_no_object_cannot_be_mapped(document: str) -> None:
    assert why(document) == "Could not map policyString into LifecyclePolicy."


ONE_OF_4 = "instance failed to match exactly one schema (matched 0 out of 4)\n"
ONE_OF_2 = "instance failed to match exactly one schema (matched 0 out of 2)\n"
SCHEMA = {
    "no rules": ("{}", 'object has missing required properties (["rules"])\n'),
    "not a list": ('{"rules": {}}', 'instance type (object) does not match any allowed primitive type (allowed: ["array"])\n'),
    "empty": ('{"rules": []}', "array is too short: must have at least 1 elements but instance has 0 elements\n"),
    "51 rules": (
        text(*(rule(number, "tagged", tagPatternList=[f"v{number}"]) for number in range(1, 52))),
        "array is too long: must have at most 50 elements but instance has 51 elements\n",
    ),
    "other member": (
        '{"rules": [], "version": 1}',
        'object instance has properties which are not allowed by the schema: ["version"]\n'
        "array is too short: must have at least 1 elements but instance has 0 elements\n",
    ),
    "not a rule": (text("x"), 'instance type (string) does not match any allowed primitive type (allowed: ["object"])\n'),
    "nothing in a rule": (text({}), 'object has missing required properties (["action","rulePriority","selection"])\n'),
    "priority 0": (text(rule(0)), "numeric instance is lower than the required minimum (minimum: 1, found: 0)\n"),
    "priority huge": (
        text(rule(10**18)),
        f"numeric instance is greater than the required maximum (maximum: 2147483647, found: {10**18})\n",
    ),
    "priority a string": (text(rule("1")), 'instance type (string) does not match any allowed primitive type (allowed: ["integer"])\n'),
    "priority true": (text(rule(True)), 'instance type (boolean) does not match any allowed primitive type (allowed: ["integer"])\n'),
    "priority a fraction": (text(rule(1.5)), 'instance type (number) does not match any allowed primitive type (allowed: ["integer"])\n'),
    "description": (
        text(rule() | {"description": None}),
        'instance type (null) does not match any allowed primitive type (allowed: ["string"])\n',
    ),
    # https://github.com/simple-container-com/api/issues/34
    "null lists": (
        text(rule(tagPatternList=None, tagPrefixList=None)),
        'instance type (null) does not match any allowed primitive type (allowed: ["array"])\n' * 2,
    ),
    "tagStatus": (
        text(rule(1, "some")),
        'instance value ("some") not found in enum (possible values: ["any","tagged","untagged"])\n',
    ),
    "storageClass": (
        text(rule(storageClass="glacier")),
        'instance value ("glacier") not found in enum (possible values: ["archive","standard"])\n',
    ),
    "number 0": (text(rule(countNumber=0)), "numeric instance is lower than the required minimum (minimum: 1, found: 0)\n"),
    "no number": (text(rule(countNumber="gone")), 'object has missing required properties (["countNumber"])\n'),
    "other selection": (
        text(rule(countWeight=1)),
        'object instance has properties which are not allowed by the schema: ["countWeight"]\n',
    ),
    "countType": (text(rule(countType="imageCount")), ONE_OF_4),
    "unhashable countType": (text(rule(countType=["x"])), ONE_OF_4),
    # https://github.com/hashicorp/terraform-provider-aws/pull/45909, https://github.com/cloudposse/terraform-aws-ecr/pull/132
    "unit of a count": (text(rule(countUnit="days")), ONE_OF_4),
    "null unit": (text(rule(countUnit=None)), ONE_OF_4),
    "days without unit": (text(rule(countType="sinceImagePushed")), ONE_OF_4),
    "weeks": (text(rule(**days(countUnit="weeks"))), ONE_OF_4),
    # https://github.com/cloudposse/terraform-aws-ecr/issues/158
    "null target": (text(rule(action={"type": "expire", "targetStorageClass": None})), ONE_OF_2),
    "no target": (text(rule(action={"type": "transition"})), ONE_OF_2),
    "other action": (text(rule(action={"type": "delete"})), ONE_OF_2),
    "action a string": (
        text(rule(action="expire")),
        'instance type (string) does not match any allowed primitive type (allowed: ["object"])\n',
    ),
}


@pytest.mark.parametrize(("document", "expected"), SCHEMA.values(), ids=SCHEMA.keys())
def test_faults_of_the_schema_are_told_in_the_words_of_its_validator(document: str, expected: str) -> None:
    assert why(document) == expected


TOGETHER = {
    "same priority": (text(rule(1), rule(1, "any")), "Duplicate priority in multiple rules."),
    "two untagged": (text(rule(1), rule(2)), "Only one rule can select Untagged images per storage class."),
    "two any": (text(rule(1, "any"), rule(2, "any")), "Only one rule can specify tagStatus=ANY per storage class."),
    "any first": (text(rule(1, "any"), rule(2)), "Rule for tagStatus=ANY must have the lowest priority per storage class."),
    "no tags": (
        text(rule(1, "tagged", tagPatternList="gone")),
        "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.",
    ),
    "empty list": (text(rule(1, "tagged", tagPrefixList=[])), "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."),
    "both": (
        text(rule(1, "tagged", tagPrefixList=["a"], tagPatternList=["b"])),
        "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList.",
    ),
    "untagged with tags": (text(rule(tagPrefixList=["a"])), "Cannot specify tagPrefixList when tagStatus=UNTAGGED."),
    "any with tags": (text(rule(1, "any", tagPatternList=["a"])), "Cannot specify tagPatternList when tagStatus=ANY."),
    "five wildcards": (text(rule(1, "tagged", tagPatternList=["test*1*2*3*4*5*6"])), "Invalid tag pattern provided."),
    "same patterns": (
        text(rule(1, "tagged", tagPatternList=["a*", "b*"]), rule(2, "tagged", tagPrefixList=["b", "a"])),
        "The set of all rules selecting a storage class must contain a unique set of tag prefixes and patterns.",
    ),
    "pulled and expire": (text(rule(**days(90, "sinceImagePulled"))), "SINCE_IMAGE_PULLED supports the TRANSITION action only."),
    "count in the archive": (
        text(rule(storageClass="archive")),
        "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only.",
    ),
    "transitioned in standard": (
        text(rule(**days(90, "sinceImageTransitioned"))),
        "SINCE_IMAGE_TRANSITIONED supports the ARCHIVE storage class only.",
    ),
    "transitioned twice": (
        text(rule(action=ARCHIVE, storageClass="archive", **days(90, "sinceImageTransitioned"))),
        "SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only.",
    ),
    "89 days": (
        text(rule(storageClass="archive", **days(89, "sinceImageTransitioned"))),
        "countNumber must be at least 90 when countType=SINCE_IMAGE_TRANSITIONED.",
    ),
}


@pytest.mark.parametrize(("document", "expected"), TOGETHER.values(), ids=TOGETHER.keys())
def test_rules_that_mean_nothing_together_are_refused(document: str, expected: str) -> None:
    assert why(document) == expected


def test_four_wildcards_and_the_same_selection_in_another_storage_class_are_allowed() -> None:
    assert len(parse(text(rule(1, "tagged", tagPatternList=["*test*1*2*3", "test*1*2*3*"])))) == 1
    archived = days(90, "sinceImageTransitioned", storageClass="archive")
    both = [rule(1), rule(2, "tagged"), rule(3, "any"), rule(4, **archived), rule(5, "tagged", **archived), rule(6, "any", **archived)]
    assert len(parse(text(*both))) == 6


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["rules", "rulePriority", "selection", "action", "tagStatus", "countType", "countUnit", "countNumber", "type", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_no_document_is_answered_by_anything_but_a_refusal_or_rules(document: Any) -> None:
    for given_text in (json.dumps(document), json.dumps({"rules": document}), json.dumps({"rules": [document]})):
        assert answer(given_text)[:1] in (BEFORE[:1], "1")


def answer(document: str) -> str:
    try:
        return str(len(parse(document)))
    except PolicyInvalid as error:
        return str(error)
