"""What is a policy document, and what AWS says of a text that is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.kernel.policy import ANY, IDENTITY, MANAGED, RESOURCE, TRUST, Kind, MalformedPolicy, parse
from cloudstead.kernel.policy.positions import Position, statement_positions

GOOD = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
TRUSTING = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


def text(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def without(statement: dict[str, Any], *fields: str, **more: Any) -> dict[str, Any]:
    return {**{field: value for field, value in statement.items() if field not in fields}, **more}


SYNTAX = "Syntax errors in policy."

FAULTS: list[tuple[Kind, str, str]] = [
    (IDENTITY, "This is not a json document", SYNTAX),
    (IDENTITY, "[]", SYNTAX),
    (IDENTITY, "{}", SYNTAX),
    (IDENTITY, "[" * 100_000, SYNTAX),
    (IDENTITY, '{"Version": NaN}', SYNTAX),
    (IDENTITY, text({**GOOD, "Sid": "\ud800"}), SYNTAX),
    (IDENTITY, text(), SYNTAX),
    (IDENTITY, text(GOOD, Extra="field"), SYNTAX),
    (IDENTITY, text(GOOD, Version="2024-01-01"), SYNTAX),
    (IDENTITY, text(GOOD, Id=["cd3a"]), SYNTAX),
    (IDENTITY, text({**GOOD, "Extra": "field"}), SYNTAX),
    (IDENTITY, text(without(GOOD, "Effect")), SYNTAX),
    (IDENTITY, text({**GOOD, "Effect": "Maybe"}), SYNTAX),
    (IDENTITY, text({**GOOD, "NotAction": "s3:*"}), SYNTAX),
    (IDENTITY, text({**GOOD, "Action": 5}), SYNTAX),
    (IDENTITY, text({**GOOD, "Resource": [1]}), SYNTAX),
    (IDENTITY, text({**GOOD, "Sid": 1}), SYNTAX),
    (IDENTITY, text({**GOOD, "Condition": []}), SYNTAX),
    (IDENTITY, text({**GOOD, "Condition": {"StringEqual": {"a:b": "c"}}}), SYNTAX),
    (IDENTITY, text({**GOOD, "Condition": {"NullIfExists": {"a:b": "true"}}}), SYNTAX),
    (IDENTITY, text({**GOOD, "Condition": {"StringEquals": {"a:b": {}}}}), SYNTAX),
    (IDENTITY, '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}}', SYNTAX),
    (IDENTITY, text({**GOOD, "Effect": "allow"}), "The policy failed legacy parsing"),
    (IDENTITY, text({**GOOD, "Condition": {"DateLessThan": {"a:b": "soon"}}}), "The policy failed legacy parsing"),
    (IDENTITY, text(without(GOOD, "Action")), "Policy statement must contain actions."),
    (IDENTITY, text({**GOOD, "Action": []}), "Policy statement must contain actions."),
    (IDENTITY, text(without(GOOD, "Resource")), "Policy statement must contain resources."),
    (IDENTITY, text({**GOOD, "Principal": "*"}), "Policy document should not specify a principal."),
    (IDENTITY, text({**GOOD, "Sid": "a"}, {**GOOD, "Sid": "a"}), "Statement IDs (SID) in a single policy must be unique."),
    (
        IDENTITY,
        text({**GOOD, "Sid": "a b"}),
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
    ),
    (IDENTITY, text({**GOOD, "Action": "invalid"}), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
    (IDENTITY, text({**GOOD, "Action": "a a:ListBucket"}), "Vendor a a is not valid"),
    (IDENTITY, text({**GOOD, "Action": "s3:List:Bucket"}), "Actions/Condition can contain only one colon."),
    (IDENTITY, text({**GOOD, "Resource": "invalid"}), 'Resource invalid must be in ARN format or "*".'),
    (IDENTITY, text({**GOOD, "Resource": "a:b:c"}), 'Partition "b" is not valid for resource "arn:b:c:*:*:*".'),
    (IDENTITY, text({**GOOD, "Resource": "arn:aws"}), "Resource vendor must be fully qualified and cannot contain regexes."),
    (
        IDENTITY,
        text({**GOOD, "Resource": "arn:aws:iam:us-east-1:1:user/x"}),
        "IAM resource arn:aws:iam:us-east-1:1:user/x cannot contain region information.",
    ),
    (MANAGED, text(GOOD, Version="2008-10-17"), "Policy document must be version 2012-10-17 or greater."),
    (MANAGED, json.dumps({"Statement": GOOD}), "Policy document must be version 2012-10-17 or greater."),
    (TRUST, "{", "This policy contains invalid Json"),
    (TRUST, text(), "Could not parse the policy: Statement is empty!"),
    (TRUST, text({**TRUSTING, "Foo": 1}), "Unknown field Foo"),
    (TRUST, text(without(TRUSTING, "Effect")), "Missing required field Effect"),
    (TRUST, text(without(TRUSTING, "Principal")), "Missing required field Principal"),
    (TRUST, text(without(TRUSTING, "Action")), "Missing required field Action"),
    (TRUST, text({**TRUSTING, "Effect": "Maybe"}), "Invalid effect: Maybe"),
    (TRUST, text({**TRUSTING, "Resource": "*"}), "Has prohibited field Resource"),
    (TRUST, text({**TRUSTING, "Action": "s3:GetObject"}), "AssumeRole policy may only specify STS AssumeRole actions."),
    (TRUST, text({**TRUSTING, "Principal": {"AWS": "Jane"}}), 'Invalid principal in policy: "AWS":"Jane"'),
    (TRUST, text({**TRUSTING, "Principal": {"Robot": "x"}}), 'Invalid principal in policy: "Robot"'),
    (TRUST, text({**TRUSTING, "Condition": {"StringEqual": {"a:b": "c"}}}), "Invalid Condition type : StringEqual"),
]


@pytest.mark.parametrize(
    ("kind", "document", "sentence"), FAULTS, ids=[f"{number}: {fault[2][:50]}" for number, fault in enumerate(FAULTS)]
)
def test_a_malformed_document_is_refused_in_the_words_of_aws(kind: Kind, document: str, sentence: str) -> None:
    with pytest.raises(MalformedPolicy) as refusal:
        parse(document, kind)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (MANAGED, text(GOOD)),
        (IDENTITY, json.dumps({"Statement": GOOD})),
        (IDENTITY, text({**GOOD, "Action": ["s3:Get*", "*"], "Resource": ["arn:aws:s3:::b/*", "arn:*:sqs:*:*:q", "arn:aws:ec2:*"]})),
        (IDENTITY, text({**GOOD, "Condition": {"Bool": {"aws:SecureTransport": True}, "NumericLessThan": {"s3:max-keys": 10}}})),
        (IDENTITY, text({**GOOD, "Condition": {"ForAllValues:StringLikeIfExists": {"aws:TagKeys": ["a*"]}}})),
        (TRUST, text(TRUSTING, Version="2008-10-17")),
        (TRUST, text({**TRUSTING, "Principal": {"Service": ["ecs-tasks.amazonaws.com", "lambda.amazonaws.com"]}})),
        (TRUST, text({**TRUSTING, "Principal": {"AWS": ["123456789012", "arn:aws:iam::123456789012:role/x", "AROAIIAZBNHXQLEXAMPLE"]}})),
        (TRUST, text({**TRUSTING, "Action": ["sts:AssumeRole", "sts:TagSession"]})),
        (RESOURCE, text({**GOOD, "Principal": "*"})),
        (RESOURCE, text({"Sid": "no resource, as ECR has it", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"})),
    ],
)
def test_a_good_document_is_taken(kind: Kind, document: str) -> None:
    assert parse(document, kind).statements


def test_a_document_is_compiled_once() -> None:
    assert parse(text(GOOD)) is parse(text(GOOD), IDENTITY)


def test_a_policy_tells_the_condition_keys_that_it_asks_for() -> None:
    document = text(
        {
            **GOOD,
            "Resource": "arn:aws:dynamodb:us-west-2:123456789012:table/${aws:username}",
            "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2015-08-16T12:00:00Z"}},
        }
    )
    assert parse(document).context_keys == ("aws:username", "aws:CurrentTime")


def test_positions_are_those_that_the_cli_reference_shows() -> None:
    lone = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*",'
        '"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}'
    )
    assert statement_positions(lone) == [(Position(1, 38), Position(1, 167))]
    listed = """{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "codecommit:ListRepositories"],
            "Resource": "*"
        }
    ]
}"""
    assert statement_positions(listed) == [(Position(3, 19), Position(9, 10))]


def test_each_of_several_statements_has_its_place() -> None:
    document = '{ "Statement" : [ {"Effect":"Deny","Action":"*","Resource":"*"} ,\n{"Effect":"Allow","Action":"]","Resource":"*"} ] }'
    assert statement_positions(document) == [(Position(1, 18), Position(1, 64)), (Position(1, 64), Position(2, 47))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition", "Version", "Id")
NEARLY = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Deny"]) | JSON, "Action": st.sampled_from(["*", "s3:*", "s3:${x}"]) | JSON},
    optional={
        "Resource": st.sampled_from(["*", "arn:aws:s3:::${aws:username, 'x'}/*", "a:b", "${", "arn:::::${*}"]) | JSON,
        "Principal": st.dictionaries(st.sampled_from(["AWS", "Service", "X"]), JSON, max_size=2) | JSON,
        "Condition": st.dictionaries(
            st.sampled_from(["StringLike", "DateEquals", "IpAddress", "ForAnyValue:BinaryEquals", "Null", "NumericLessThanIfExists", "X"]),
            st.dictionaries(st.text(max_size=4), JSON, max_size=2) | JSON,
            max_size=2,
        ),
    },
)
GARBAGE = (
    st.text()
    | JSON.map(json.dumps)
    | st.builds(lambda statement, field, value: text({**statement, field: value}), NEARLY, st.sampled_from(FIELDS), JSON)
    | NEARLY.map(text)
)


@given(GARBAGE, st.sampled_from([ANY, IDENTITY, MANAGED, TRUST, RESOURCE]))
@settings(max_examples=250, deadline=None)
def test_garbage_is_a_policy_or_malformed_and_nothing_else(document: str, kind: Kind) -> None:
    try:
        policy = parse(document, kind)
    except MalformedPolicy:
        return
    for statement in policy.statements:
        statement.covers("arn:aws:s3:::bucket/key", {"aws:username": ("x",), "": ("1",)})
    assert len(statement_positions(document)) == len(policy.statements)
