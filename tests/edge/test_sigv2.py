"""URLs that boto3 presigns by default for a custom endpoint."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config

from cloudstead.edge import sigv2
from cloudstead.edge.sigv4_errors import QueryParametersError, RequestExpired
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature
from support import client_of

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def presigned(
    operation: str = "get_object", *, style: str = "path", token: str | None = None, seconds: int = 60, **parameters: Any
) -> HttpRequest:
    config = Config(signature_version="s3", s3={"addressing_style": style})
    s3 = client_of("http://s3.localhost:4566", "s3", key="AKIAIOSFODNN7EXAMPLE", secret=SECRET, token=token, config=config)
    method = {"get_object": "GET", "put_object": "PUT", "upload_part": "PUT"}[operation]
    url = urlsplit(
        s3.generate_presigned_url(operation, Params={"Bucket": "some-bucket", "Key": "a b/é+c", **parameters}, ExpiresIn=seconds)
    )
    return HttpRequest.of(method, f"{url.path}?{url.query}", [("Host", url.netloc)])


def check(request: HttpRequest, bucket: str = "", now: float | None = None) -> None:
    signature = sigv2.parse(request)
    assert signature is not None
    sigv2.verify(request, signature, SECRET, time.time() if now is None else now, bucket)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_object", {}),
        ("get_object", {"VersionId": "x", "ResponseContentType": "text/plain; charset=utf-8"}),
        ("put_object", {"ContentType": "text/plain", "Metadata": {"colour": "red"}, "ACL": "private"}),
        ("upload_part", {"UploadId": "u", "PartNumber": 2}),
    ],
)
def test_botocores_urls_verify(operation: str, parameters: dict[str, Any]) -> None:
    check(presigned(operation, **parameters))


def test_a_bucket_in_the_host_name_is_signed() -> None:
    request = presigned(style="virtual")
    assert request.host.startswith("some-bucket.")
    check(request, bucket="some-bucket")
    with pytest.raises(BadSignature):
        check(request, bucket="other")


def test_a_temporary_keys_token_is_signed_and_told() -> None:
    request = presigned(token="a/token+=")
    signature = sigv2.parse(request)
    assert signature is not None
    assert signature.token == "a/token+="
    check(request)


def test_an_old_url_is_refused() -> None:
    with pytest.raises(RequestExpired):
        check(presigned(seconds=5), now=time.time() + 6)


@pytest.mark.parametrize("change", [("a%20b", "a%20c"), ("Expires=", "Expires=9"), ("x-amz-meta-a=1", "x-amz-meta-a=2")])
def test_a_changed_url_is_refused(change: tuple[str, str]) -> None:
    request = presigned("put_object", Metadata={"a": "1"}, ContentType="text/plain")
    changed = HttpRequest.of("PUT", request.target.replace(*change), list(request.headers))
    assert changed.target != request.target
    with pytest.raises(BadSignature):
        check(changed)


def test_another_method_is_refused() -> None:
    request = presigned()
    with pytest.raises(BadSignature):
        check(HttpRequest.of("DELETE", request.target, list(request.headers)))


@pytest.mark.parametrize(
    "query", ["AWSAccessKeyId=A&Signature=x", "AWSAccessKeyId=A&Signature=x&Expires=soon", "AWSAccessKeyId=A&Signature=&Expires=é"]
)
def test_a_url_without_its_parameters_is_refused(query: str) -> None:
    with pytest.raises(QueryParametersError):
        sigv2.parse(HttpRequest.of("GET", f"/b/k?{query}"))


def test_other_urls_are_not_taken_for_signed() -> None:
    assert sigv2.parse(HttpRequest.of("GET", "/b/k?Signature=1")) is None
