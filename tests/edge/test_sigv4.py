"""Signatures made by botocore's signers hold; anything changed afterwards, too old, or in another scheme does not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import string
import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.edge import sigv4
from cloudstead.edge.sigv4 import parse_authorization, verify
from cloudstead.edge.sigv4_errors import (
    ContentHashMismatch,
    HeaderMalformed,
    HeadersNotSigned,
    PayloadHashInvalid,
    QueryParametersError,
    RequestExpired,
    RequestTimeTooSkewed,
    UnsupportedSignature,
)
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import AuthenticationError, BadSignature, IncompleteSignature, MissingAuthentication, SignatureExpired

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEXAMPLETOKEN=="
HOST = "logs.us-east-1.amazonaws.com"

segments = st.text(st.sampled_from(string.ascii_letters + string.digits + " -_.~!$&'()*+,;=:@/é漢"), max_size=12)
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="-_.~/") for part in parts))
pairs = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4, unique_by=lambda pair: pair[0])
queries = pairs.map(
    lambda found: urlencode([(k.encode("utf-8", "replace"), v.encode("utf-8", "replace")) for k, v in found], quote_via=quote)
)
values = st.text(st.sampled_from(string.ascii_letters + string.digits + "  \t;=,/"), max_size=16)
headers = st.dictionaries(st.sampled_from(["X-Amz-Target", "Content-Type", "X-Thing", "Accept"]), values, max_size=4)
methods = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])


def sign(
    signer: type[SigV4Auth], service: str, *, method: str = "POST", path: str = "/", query: str = "", headers: dict[str, str] | None = None,
    body: bytes = b"", token: str | None = None, **options: Any,
) -> HttpRequest:  # fmt: skip
    """A request signed by botocore, as it would arrive."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, data=body, headers={"Host": HOST, **(headers or {})})
    signer(Credentials(KEY, SECRET, token), service, "us-east-1", **options).add_auth(request)
    parts = urlsplit(request.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    fields = [(name, str(value).strip(" \t")) for name, value in request.headers.items()]
    return HttpRequest.of(method, target, fields, body)


def accept(request: HttpRequest, body: bytes = b"", *, now: float | None = None, secret: str = SECRET, **more: Any) -> sigv4.Signature:
    signature = parse_authorization(request)
    assert signature is not None
    verify(request, signature, secret, hashlib.sha256(body).hexdigest(), time.time() if now is None else now, **more)
    return signature


def changed(request: HttpRequest, header: str, value: str) -> HttpRequest:
    fields = [(name, value if name.lower() == header else old) for name, old in request.headers]
    return HttpRequest.of(request.method, request.target, fields)


@settings(max_examples=150, deadline=None)
@given(method=methods, path=paths, query=queries, headers=headers, body=st.binary(max_size=40), token=st.sampled_from([None, TOKEN]))
def test_a_header_signature_holds(method: str, path: str, query: str, headers: dict[str, str], body: bytes, token: str | None) -> None:
    request = sign(SigV4Auth, "logs", method=method, path=path, query=query, headers=headers, body=body, token=token)
    found = accept(request, body, service="logs", region="us-east-1")
    assert (found.access_key_id, found.region, found.service, found.token) == (KEY, "us-east-1", "logs", token or "")
    with pytest.raises(BadSignature):
        accept(request, body + b"x")


@settings(max_examples=150, deadline=None)
@given(method=methods, path=paths, query=queries, headers=headers, body=st.binary(max_size=40), token=st.sampled_from([None, TOKEN]))
def test_an_s3_signature_holds(method: str, path: str, query: str, headers: dict[str, str], body: bytes, token: str | None) -> None:
    request = sign(S3SigV4Auth, "s3", method=method, path=path, query=query, headers=headers, body=body, token=token)
    accept(request, body, service="s3")
    with pytest.raises(ContentHashMismatch):
        accept(request, body + b"x")


@settings(max_examples=100, deadline=None)
@given(path=paths, query=queries, token=st.sampled_from([None, TOKEN]), s3=st.booleans())
def test_a_presigned_url_holds(path: str, query: str, token: str | None, s3: bool) -> None:
    signer, service = (S3SigV4QueryAuth, "s3") if s3 else (SigV4QueryAuth, "sts")
    request = sign(signer, service, method="GET", path=path, query=query, token=token, expires=600)
    signature = parse_authorization(request)
    assert signature is not None
    assert signature.presigned
    assert (signature.expires, signature.token) == (600, token or "")
    verify(request, signature, SECRET, None if s3 else sigv4.EMPTY_SHA256, time.time())
    tampered = HttpRequest.of("GET", request.target.replace("X-Amz-Expires=600", "X-Amz-Expires=601"), request.headers.pairs)
    with pytest.raises(BadSignature):
        accept(tampered)


def test_every_part_of_a_request_is_covered() -> None:
    body, extra = b'{"a": 1}', {"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "X-Amz-Security-Token": TOKEN}
    request = sign(SigV4Auth, "logs", path="/a/b", query="x=1&y=2", headers=extra, body=body)
    accept(request, body)
    fields = request.headers.pairs
    tampered = [
        HttpRequest.of("PUT", request.target, fields),
        HttpRequest.of("POST", "/a/c?x=1&y=2", fields),
        HttpRequest.of("POST", "/a/b?x=1&y=3", fields),
        HttpRequest.of("POST", "/a/b?x=1", fields),
        HttpRequest.of("POST", "/a/b?x=1&y=2&z=3", fields),
        changed(request, "x-amz-target", "Logs_20140328.DeleteLogGroup"),
        changed(request, "host", "sts.amazonaws.com"),
        changed(request, "x-amz-security-token", TOKEN + "x"),
        HttpRequest.of("POST", request.target, [*fields, ("X-Amz-Target", "second")]),
    ]
    for each in tampered:
        with pytest.raises(BadSignature):
            accept(each, body)
    with pytest.raises(BadSignature):
        accept(request, body, secret=SECRET[:-1])


def test_every_field_of_the_authorization_is_covered() -> None:
    request = sign(SigV4Auth, "logs")
    authorization = request.headers.get("authorization") or ""
    signature = authorization[-64:]
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for old, new in [
        (signature, flipped),
        (signature, signature.upper()),
        (signature, ""),
        ("us-east-1", "us-east-2"),
        ("/logs/", "/sts/"),
        (";x-amz-date", ""),
    ]:
        with pytest.raises((BadSignature, IncompleteSignature)):
            accept(changed(request, "authorization", authorization.replace(old, new)))


def test_headers_in_another_case_and_unsigned_ones_do_not_matter() -> None:
    request = sign(SigV4Auth, "logs", headers={"X-Thing": "a"})
    fields = [(name.upper(), value) for name, value in request.headers]
    accept(HttpRequest.of("POST", "/", [*fields, ("User-Agent", "x"), ("Via", "1.1 proxy")]))


@pytest.mark.parametrize(("age", "sentence"), [(301, "Signature expired: "), (-302, "Signature not yet current: ")])
def test_a_signature_outside_of_five_minutes_is_refused_in_the_words_of_aws(age: int, sentence: str) -> None:
    request = sign(SigV4Auth, "logs")
    accept(request, now=time.time() + (290 if age > 0 else -290))
    with pytest.raises(SignatureExpired) as refused:
        accept(request, now=time.time() + age)
    assert refused.value.message.startswith(sentence)
    assert refused.value.message.endswith(" 5 min.)")
    assert (refused.value.code, refused.value.json_code, refused.value.status) == (
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        403,
    )


def test_the_sentence_of_an_expired_signature() -> None:
    signature = sigv4.Signature(
        access_key_id=KEY, date="20150830", region="us-east-1", service="logs", signed_headers="host", signature="0" * 64,
        timestamp="20150830T123600Z", signed_at=1440938160.0,
    )  # fmt: skip
    with pytest.raises(SignatureExpired) as refused:
        verify(HttpRequest.of("GET", "/"), signature, SECRET, None, 1440938160.0 + 600)
    assert refused.value.message == "Signature expired: 20150830T123600Z is now earlier than 20150830T124100Z (20150830T124600Z - 5 min.)"


def test_s3_allows_fifteen_minutes_and_has_its_own_error() -> None:
    request = sign(S3SigV4Auth, "s3")
    accept(request, now=time.time() + 880)
    for now in (time.time() + 902, time.time() - 902):
        with pytest.raises(RequestTimeTooSkewed):
            accept(request, now=now)


def test_a_presigned_url_expires() -> None:
    for signer, service, error in ((S3SigV4QueryAuth, "s3", RequestExpired), (SigV4QueryAuth, "sts", SignatureExpired)):
        request = sign(signer, service, method="GET", expires=60)
        accept(request, now=time.time() + 58)
        with pytest.raises(error):
            accept(request, now=time.time() + 62)


@pytest.mark.parametrize("expires", ["604801", "-1", "abc", "9" * 30, "٣"])
def test_a_presigned_url_for_too_long_or_nonsense_is_refused(expires: str) -> None:
    request = sign(S3SigV4QueryAuth, "s3", method="GET", expires=60)
    target = request.target.replace("X-Amz-Expires=60", "X-Amz-Expires=" + quote(expires))
    with pytest.raises(QueryParametersError):
        parse_authorization(HttpRequest.of("GET", target, request.headers.pairs))


def test_the_scope_must_name_the_service_and_region_called() -> None:
    request = sign(SigV4Auth, "logs")
    with pytest.raises(BadSignature, match="Credential should be scoped to correct service: 'sts'"):
        accept(request, service="sts")
    with pytest.raises(BadSignature, match="Credential should be scoped to a valid region"):
        accept(request, region="eu-west-1")


def test_a_target_with_another_host_than_the_signed_one_is_refused() -> None:
    request = sign(S3SigV4QueryAuth, "s3", method="GET", path="/key", expires=60)
    accept(request)
    host = request.headers.get("host")
    accept(HttpRequest.of("GET", f"http://{host}{request.target}", request.headers.pairs))
    with pytest.raises(BadSignature):
        accept(HttpRequest.of("GET", f"http://another-bucket.s3.amazonaws.com{request.target}", request.headers.pairs))


def test_a_target_in_a_header_must_be_signed() -> None:
    request = sign(SigV4Auth, "logs")
    with pytest.raises(BadSignature, match="X-Amz-Target"):
        accept(HttpRequest.of(request.method, request.target, [*request.headers, ("X-Amz-Target", "Logs_20140328.DeleteLogGroup")]))


def test_a_session_token_in_a_header_must_be_signed() -> None:
    request = sign(SigV4Auth, "logs")
    with pytest.raises(BadSignature):
        accept(HttpRequest.of("POST", "/", [*request.headers, ("X-Amz-Security-Token", TOKEN)]))


def test_s3_wants_every_amz_header_signed() -> None:
    request = sign(S3SigV4Auth, "s3", method="PUT", path="/bucket/key")
    with pytest.raises(HeadersNotSigned):
        accept(HttpRequest.of("PUT", "/bucket/key", [*request.headers, ("x-amz-acl", "public-read")]))


def test_host_must_be_signed() -> None:
    request = sign(SigV4Auth, "logs")
    authorization = (request.headers.get("authorization") or "").replace("SignedHeaders=host;", "SignedHeaders=")
    with pytest.raises(BadSignature, match="'Host' or ':authority' must be a 'SignedHeader'"):
        accept(changed(request, "authorization", authorization))


def test_an_unsigned_payload_is_taken_as_declared() -> None:
    request = sign(SigV4Auth, "logs", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert not accept(request, b"anything").covers_body


def test_a_declared_hash_is_checked_for_every_service() -> None:
    declared = hashlib.sha256(b"right").hexdigest()
    request = sign(SigV4Auth, "logs", headers={"X-Amz-Content-SHA256": declared}, body=b"right")
    assert accept(request, b"right").covers_body
    with pytest.raises(BadSignature):
        accept(request, b"wrong")


def test_a_streamed_body_needs_a_declared_hash() -> None:
    request = sign(SigV4Auth, "logs", body=b"x")
    signature = parse_authorization(request)
    assert signature is not None
    assert signature.needs_body
    with pytest.raises(HeaderMalformed):
        verify(request, signature, SECRET, None, time.time())


@pytest.mark.parametrize("path", ["/b/a//b", "/b/./c", "/b/../c", "/b/a%2Fb", "/b/a+b", "/b/(x)", "/b/%C3%A9", "/b/%7Ex"])
def test_the_path_of_an_s3_key_is_not_normalised(path: str) -> None:
    accept(sign(S3SigV4Auth, "s3", method="GET", path=path))


def test_requests_that_are_not_signed() -> None:
    for fields, target in [
        ((), "/"),
        ((("Authorization", "Bearer eyJ"),), "/"),
        ((("Authorization", "Basic QVdT"),), "/?a=b"),
        ((), "/?X-Amz-Date=1"),
    ]:
        assert parse_authorization(HttpRequest.of("GET", target, fields)) is None
    with pytest.raises(MissingAuthentication):
        sigv4.require_signature(None)


@pytest.mark.parametrize(
    ("fields", "target", "words"),
    [
        ([("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/aws4_request, SignedHeaders=host, Signature=00")], "/", "SigV4a"),
        ([], "/?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Signature=0", "SigV4a"),
        ([("Authorization", "AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=")], "/", "Please use AWS4-HMAC-SHA256"),
    ],
)  # fmt: skip
def test_other_schemes_of_aws_are_refused_by_name(fields: list[tuple[str, str]], target: str, words: str) -> None:
    with pytest.raises(UnsupportedSignature, match=words):
        parse_authorization(HttpRequest.of("GET", target, fields))


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        ("AWS4-HMAC-SHA256", "requires 'Credential' parameter. Authorization header requires 'Signature' parameter."),
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0", "exactly 5 slash-delimited elements"),
        (
            "AWS4-HMAC-SHA256 Credential=a/20150830/us-east-1/sts/aws5_request, SignedHeaders=host, Signature=0",
            "valid terminator: 'aws4_request'",
        ),
        ("AWS4-HMAC-SHA256 Credential=a/20150831/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0", "'20150831' != '20150830'"),
        ("AWS4-HMAC-SHA256 Credential=/20150830/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0", "empty element"),
        ("AWS4-HMAC-SHA256 nonsense", "not a valid key=value pair"),
        ("AWS4-HMAC-SHA512 Credential=a", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'"),
    ],
)
def test_a_malformed_header_is_refused_in_the_words_of_aws(authorization: str, words: str) -> None:
    fields = [("Host", HOST), ("X-Amz-Date", "20150830T123600Z"), ("Authorization", authorization)]
    with pytest.raises((IncompleteSignature, BadSignature)) as refused:
        parse_authorization(HttpRequest.of("GET", "/", fields))
    assert words in refused.value.message


@pytest.mark.parametrize("date", ["20151330T123600Z", "20150830T253600Z", "now", ""])
def test_a_timestamp_that_is_none_is_refused(date: str) -> None:
    authorization = f"AWS4-HMAC-SHA256 Credential=a/{date[:8]}/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0"
    with pytest.raises(IncompleteSignature):
        parse_authorization(HttpRequest.of("GET", "/", [("X-Amz-Date", date), ("Authorization", authorization)]))


def test_the_date_header_serves_when_there_is_no_amz_date() -> None:
    request = HttpRequest.of("GET", "/", [("Date", "Sun, 30 Aug 2015 12:36:00 GMT"), ("Authorization", "AWS4-HMAC-SHA256 Credential=a/20150830/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0")])  # fmt: skip
    signature = parse_authorization(request)
    assert signature is not None
    assert signature.timestamp == "20150830T123600Z"


def test_both_ways_of_signing_at_once_are_refused() -> None:
    request = sign(SigV4QueryAuth, "sts", method="GET")
    with pytest.raises(IncompleteSignature, match="Only one auth mechanism allowed"):
        parse_authorization(HttpRequest.of("GET", request.target, [("Authorization", "AWS4-HMAC-SHA256 Credential=x")]))


def test_a_payload_hash_that_is_none_is_refused() -> None:
    request = sign(S3SigV4Auth, "s3")
    with pytest.raises(PayloadHashInvalid):
        parse_authorization(changed(request, "x-amz-content-sha256", "abc"))
    with pytest.raises(HeaderMalformed):
        parse_authorization(HttpRequest.of("GET", "/", [pair for pair in request.headers if pair[0] != "X-Amz-Content-SHA256"]))


def test_long_bodies_are_hashed_on_another_thread_to_the_same_hash() -> None:
    for size in (0, 10, sigv4.HASH_IN_THREAD + 1):
        assert asyncio.run(sigv4.body_sha256(b"a" * size)) == hashlib.sha256(b"a" * size).hexdigest()


@settings(max_examples=300, deadline=None)
@given(
    authorization=st.text(st.characters(max_codepoint=255), max_size=60).map(lambda text: "AWS4-HMAC-SHA256 " + text)
    | st.text(st.characters(max_codepoint=255), max_size=20),
    query=st.text(st.characters(max_codepoint=255), max_size=60)
    | st.just("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=%FF&X-Amz-Credential=%"),
    date=st.text(max_size=20),
)
def test_no_input_makes_anything_but_an_aws_error(authorization: str, query: str, date: str) -> None:
    request = HttpRequest.of("GET", "/?" + query, [("Authorization", authorization), ("X-Amz-Date", date), ("Host", HOST)])
    with contextlib.suppress(AuthenticationError):  # all of them are 400 and 403
        signature = parse_authorization(request)
        if signature is not None:
            verify(request, signature, SECRET, sigv4.EMPTY_SHA256, time.time())
