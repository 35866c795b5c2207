"""Which service, protocol and operation a request is for, also when it says several things at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudstead.edge.identify import FORM, Identifier, Target
from cloudstead.edge.procedures import Procedures
from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.edge.sigv4 import Signature
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature, UnknownOperation
from support import local_cloud

INDEX = ServiceIndex.load()
CBOR = ("Smithy-Protocol", "rpc-v2-cbor")
JSON = ("Content-Type", "application/x-amz-json-1.1")


def identify(request: HttpRequest, scope: str = "", region: str = "eu-west-1") -> Target:
    signature = None
    if scope:
        signature = Signature(
            access_key_id="k", date="20260101", region=region, service=scope, signed_headers="", signature="", timestamp="", signed_at=0
        )
    return asyncio.run(Identifier(INDEX).identify(request, signature))


@pytest.mark.parametrize(
    ("scope", "request_", "found"),
    [
        ("logs", HttpRequest.of("POST", "/", [("X-Amz-Target", "Logs_20140328.PutLogEvents"), JSON]), ("logs", "json", "PutLogEvents")),
        ("", HttpRequest.of("POST", "/", [("X-Amz-Target", "Logs_20140328.PutLogEvents"), JSON]), ("logs", "json", "PutLogEvents")),
        ("iam", HttpRequest.of("POST", "/", [("Content-Type", FORM)], b"Action=ListUsers&Version=2010-05-08"), ("iam", "query", "ListUsers")),
        ("", HttpRequest.of("GET", "/?Version=2010-05-08&Action=ListUsers"), ("iam", "query", "ListUsers")),
        ("ec2", HttpRequest.of("GET", "/?Version=2016-11-15&Action=DescribeVpcs"), ("ec2", "ec2", "DescribeVpcs")),
        ("monitoring", HttpRequest.of("POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics", [CBOR]), ("cloudwatch", "smithy-rpc-v2-cbor", "ListMetrics")),
        ("ecr-public", HttpRequest.of("POST", "/", [("X-Amz-Target", "SpencerFrontendService.PutImage"), JSON]), ("ecr-public", "json", "PutImage")),
        ("lambda", HttpRequest.of("GET", "/2015-03-31/functions", [("X-Amz-Target", "x.y")]), ("lambda", "rest-json", "")),
        ("elasticloadbalancing", HttpRequest.of("GET", "/?Version=2012-06-01&Action=x"), ("elb", "query", "x")),
        ("elasticloadbalancing", HttpRequest.of("GET", "/?Version=2015-12-01&Action=x"), ("elbv2", "query", "x")),
        ("sqs", HttpRequest.of("GET", "/?Action=ListQueues"), ("sqs", "query", "ListQueues")),
        ("", HttpRequest.of("GET", "/", [("Host", "sns.eu-west-1.amazonaws.com")]), ("sns", "query", "")),
        ("", HttpRequest.of("GET", "/bucket/key"), ("s3", "rest-xml", "")),
    ],
)  # fmt: skip
def test_the_signs_are_read_in_order(scope: str, request_: HttpRequest, found: tuple[str, str, str]) -> None:
    target = identify(request_, scope)
    assert (target.service, target.protocol, target.operation) == found
    assert target.region == ("eu-west-1" if scope or target.service == "sns" else "us-east-1")


@pytest.mark.parametrize(
    ("scope", "request_"),
    [
        ("nothing", HttpRequest.of("GET", "/")),
        ("", HttpRequest.of("POST", "/service/Nothing/operation/Do", [CBOR])),
        ("logs", HttpRequest.of("POST", "/", [("X-Amz-Target", "Logs_20140328.a b<c>")])),
        ("iam", HttpRequest.of("GET", "/?Action=..%2Fx")),
        ("iam", HttpRequest.of("GET", "/?Action=" + "x" * 200)),
    ],
)
def test_what_names_nothing_is_refused(scope: str, request_: HttpRequest) -> None:
    with pytest.raises(UnknownOperation):
        identify(request_, scope)


def test_a_region_must_look_like_one() -> None:
    with pytest.raises(BadSignature, match="valid region"):
        identify(HttpRequest.of("GET", "/"), "s3", "../x")


def test_a_json_service_takes_no_forms(tmp_path: Path) -> None:
    """Not even for an operation that it has: an answer of events could not be put into the XML."""

    async def story() -> None:
        async with local_cloud(tmp_path, in_memory=True) as cloud:
            procedures = Procedures(cloud)
            with pytest.raises(UnknownOperation):
                await procedures.find(Target("logs", "query", "us-east-1", "StartLiveTail"))
            assert (await procedures.find(Target("iam", "query", "us-east-1", "ListUsers"))).operation.name == "ListUsers"

    asyncio.run(story())
