"""Amazon Resource Names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel.arn import Arn, is_arn


@pytest.mark.parametrize(
    ("text", "parts", "kind", "name"),
    [
        ("arn:aws:iam::123456789012:role/service-role/B", ("aws", "iam", "", "123456789012"), "role", "service-role/B"),
        ("arn:aws:iam::aws:policy/AdministratorAccess", ("aws", "iam", "", "aws"), "policy", "AdministratorAccess"),
        ("arn:aws:s3:::bucket/a:b/c", ("aws", "s3", "", ""), "bucket", "a:b/c"),
        ("arn:aws:sqs:eu-west-1:123456789012:queue", ("aws", "sqs", "eu-west-1", "123456789012"), "", "queue"),
        ("arn:aws-cn:lambda:cn-north-1:123456789012:function:f:1", ("aws-cn", "lambda", "cn-north-1", "123456789012"), "function", "f:1"),
        ("arn:aws:logs:us-east-1:123456789012:log-group:/aws/x:*", ("aws", "logs", "us-east-1", "123456789012"), "log-group", "/aws/x:*"),
        ("arn:aws:apigateway:us-east-1::/restapis/a", ("aws", "apigateway", "us-east-1", ""), "", "restapis/a"),
    ],
)
def test_an_arn_is_taken_apart_and_put_together(text, parts, kind, name):
    arn = Arn.parse(text)
    assert (arn.partition, arn.service, arn.region, arn.account) == parts
    assert (arn.kind, arn.name) == (kind, name)
    assert str(arn) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 of 6 parts"),
        ("role/x", "1 of 6 parts"),
        ("arn:aws:iam::role/x", "5 of 6 parts"),
        ("urn:aws:iam::123456789012:role/x", "does not begin with 'arn:'"),
        ("arn::iam::123456789012:role/x", "partition is empty"),
        ("arn:aws:::123456789012:role/x", "service is empty"),
        ("arn:aws:iam::123456789012:", "resource is empty"),
        ("arn:aws:iam::1234:role/x", "'1234' is not an account"),
        ("arn:aws:iam::12345678901x:role/x", "is not an account"),
        ("arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/x", "is not an account"),
    ],
)
def test_what_is_no_arn_is_refused_with_the_reason(text, why):
    with pytest.raises(ValueError, match=why) as raised:
        Arn.parse(text)
    assert repr(text) in str(raised.value)
    assert not is_arn(text)


word = st.text("abcdefghijklmnop-", min_size=1)


@given(word, word, word | st.just(""), st.from_regex(r"\A[0-9]{12}\Z") | st.just(""), st.text(min_size=1))
def test_every_arn_survives_the_round_trip(partition, service, region, account, resource):
    arn = Arn(partition, service, region, account, resource)
    assert Arn.parse(str(arn)) == arn


@given(st.text())
def test_any_text_is_an_arn_or_a_value_error(text):
    assert not is_arn(text) or str(Arn.parse(text)) == text
