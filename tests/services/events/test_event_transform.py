"""Input, InputPath and InputTransformer: AWS's documented and observed results."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.kernel.dates import iso8601
from cloudstead.services.events.envelope import Envelope, MalformedDetail, opened, replayed, seal, seconds
from cloudstead.services.events.model import Target
from cloudstead.services.events.transform import InvalidInput, check_template, path, payload, value_at

ARN = "arn:aws:events:us-east-1:000000000000:rule/big"
DETAIL = {
    "command": "update",
    "payload": {"acc_id": "0a78", "sf_id": "baz"},
    "many": ["ACTIVE", "INACTIVE"],
    "total": 1.5,
    "yes": True,
    "none": None,
}
PATHS = {
    "id": "$.detail.payload.acc_id",
    "payload": "$.detail.payload",
    "many": "$.detail.many",
    "total": "$.detail.total",
    "yes": "$.detail.yes",
    "none": "$.detail.none",
    "gone": "$.detail.gone",
    "type": "$.detail-type",
}


def event(detail: Any = None) -> Envelope:
    return seal(
        id="e-1",
        detail_type="Order",
        source="shop",
        account="000000000000",
        time=1_767_225_600.9,
        region="us-east-1",
        resources=["r-1", "r-2"],
        detail=json.dumps(DETAIL if detail is None else detail),
    )


def target(**input: Any) -> Target:
    return Target(account="0", region="r", bus="default", rule="big", id="t", arn="arn:aws:sqs:r:0:q", **input)


def test_an_envelope_is_aws_s() -> None:
    assert event().text.startswith(
        b'{"version":"0","id":"e-1","detail-type":"Order","source":"shop","account":"000000000000","time":"2026-01-01T00:00:00Z",'
        b'"region":"us-east-1","resources":["r-1","r-2"],"detail":{"command":"update",'
    )
    assert json.loads(event().text) == event().document
    assert opened(event().text).document == event().document
    assert (
        json.loads(replayed(event(), "again").text) == {**event().document, "replay-name": "again"} == replayed(event(), "again").document
    )


def test_numbers_of_a_detail_stay_as_they_were_written() -> None:
    sealed = seal(
        id="1",
        detail_type="t",
        source="s",
        account="0",
        time=0,
        region="r",
        resources=(),
        detail='{ "a" : 1.10, "b": 12345678901234567890123 }',
    )
    assert sealed.text.endswith(b'"detail":{"a":1.10,"b":12345678901234567890123}}')


@pytest.mark.parametrize("detail", ["", "[]", "1", '"x"', "{", '{"a": NaN}', "{} {}", '{"a":' * 5000 + "1" + "}" * 5000])
def test_a_detail_must_be_an_object(detail: str) -> None:
    with pytest.raises(MalformedDetail):
        seal(id="1", detail_type="t", source="s", account="0", time=0, region="r", resources=(), detail=detail)


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_any_time_is_told_in_seconds(moment: int) -> None:
    assert seconds(iso8601(moment + 0.25)) == moment
    assert len(iso8601(moment)) == 20


# Results that AWS gave: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
TEMPLATES = [
    ('"<type> of <id>"', '"Order of 0a78"'),
    ('"nothing: <gone>"', '"nothing: "'),
    ('{"gone": <gone>}', '{"gone": ""}'),
    ('{"id" : <id>}', '{"id" : "0a78"}'),
    ('{"id" : "<id>"}', '{"id" : "0a78"}'),
    ('{"path": "users/<id>/second/<id>"}', '{"path": "users/0a78/second/0a78"}'),
    ('{"all": [<id>, "x"]}', '{"all": ["0a78", "x"]}'),
    ('{"body": <payload>}', '{"body": {"acc_id":"0a78","sf_id":"baz"}}'),
    ('"Payload of <payload>"', '"Payload of {acc_id:0a78,sf_id:baz}"'),
    ('"<many> items"', '"[ACTIVE,INACTIVE] items"'),
    ('{"many": <many>}', '{"many": ["ACTIVE","INACTIVE"]}'),
    ('{"n": <total>, "t": "<total>", "y": <yes>, "z": <none>}', '{"n": 1.5, "t": "1.5", "y": true, "z": null}'),
    ('"one <id>"\n"two <id>"', '"one 0a78"\n"two 0a78"'),
    ('"say \\"<id>\\""', '"say \\"0a78\\""'),
    ("<payload>", '{"acc_id":"0a78","sf_id":"baz"}'),
    ('"<aws.events.rule-arn> <aws.events.rule-name> <aws.events.event.ingestion-time>"', f'"{ARN} big 2026-01-01T00:00:01Z"'),
]


@pytest.mark.parametrize(("template", "expected"), TEMPLATES)
def test_a_template_is_filled_as_aws_fills_it(template: str, expected: str) -> None:
    check_template("t", PATHS, template)
    assert payload(target(input_paths=PATHS, input_template=template), ARN, event(), 1_767_225_601.0) == expected


def test_the_whole_event_is_a_variable() -> None:
    template = '{"json": <aws.events.event.json>, "head": <aws.events.event>}'
    made = json.loads(payload(target(input_template=template), ARN, event(), 1_767_225_700.0))
    assert made["json"] == event().document
    assert made["head"]["detailType"] == "Order"
    assert made["head"]["time"] == "2026-01-01T00:01:40Z"
    assert "detail" not in made["head"]


@pytest.mark.parametrize(
    ("paths", "template", "sentence"),
    [
        ({}, '"<x>"', "InputTemplate for target t contains invalid placeholder x."),
        ({"x": "detail"}, '"<x>"', "InputPath for target t is invalid."),
        ({"AWSx": "$.detail"}, '"<AWSx>"', "InputPathsMap for target t contains a key that starts with AWS"),
        ({"x": "$.detail"}, "<x> items", "Invalid InputTemplate for target t : [Source: (String)"),
        ({"x": "$.detail"}, '{"a": <x>', "Invalid InputTemplate for target t"),
    ],
)
def test_a_template_that_cannot_become_json_is_refused(paths: dict[str, str], template: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence.replace("(", "\\(").replace(")", "\\)").replace("[", "\\[")):
        check_template("t", paths, template)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$", '{"version'),
        ("$.detail.payload", '{"acc_id":"0a78","sf_id":"baz"}'),
        ("$.detail.payload.sf_id", '"baz"'),
        ("$.detail-type", '"Order"'),
        ("$['detail-type']", '"Order"'),
        ("$.resources[1]", '"r-2"'),
        ("$.resources[*]", '["r-1","r-2"]'),
        ("$.resources[9]", "null"),
        ("$.detail.none", "null"),
        ("$.detail.payload.*", '["0a78","baz"]'),
        ("$.source.x", "null"),
    ],
)
def test_an_input_path_takes_a_part(text: str, expected: str) -> None:
    assert payload(target(input_path=text), ARN, event(), 0.0).startswith(expected)


def test_a_constant_input_is_sent_as_it_is() -> None:
    assert payload(target(input='{ "a": 1 }'), ARN, event(), 0.0) == '{ "a": 1 }'


@settings(max_examples=200, deadline=None)
@given(st.text("$.[]*'\"ab0 detail", max_size=30), st.text('<>"\\{}[]:,ab\n', max_size=40))
def test_garbage_is_refused_or_harmless(text: str, template: str) -> None:
    with contextlib.suppress(InvalidInput):
        value_at(event().document, path("$" + text))
    try:
        check_template("t", {"a": "$.detail", "b": "$.source"}, template)
    except InvalidInput:
        return
    payload(target(input_paths={"a": "$.detail", "b": "$.source"}, input_template=template), ARN, event(), 0.0)
