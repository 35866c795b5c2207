"""AWS's own signature test suite, as botocore's source distribution carries it, verified instead of signed."""

from __future__ import annotations

import asyncio
import calendar
import hashlib
import time
from pathlib import Path

import pytest

from cloudstead.edge.sigv4 import EMPTY_SHA256, canonical_headers, canonical_path, canonical_query, parse_authorization, verify
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = float(calendar.timegm(time.strptime("20150830T123600Z", "%Y%m%dT%H%M%SZ")))


def suite(botocore_tests: Path) -> list[Path]:
    return sorted((botocore_tests / "unit" / "auth" / "aws4_testsuite").rglob("*.req"))


def read_request(text: str) -> HttpRequest:
    head, _, body = text.partition("\n\n")
    line, *lines = head.split("\n")
    method, _, rest = line.partition(" ")
    target = rest.rpartition(" ")[0]
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):  # folded: the server refuses it, the suite has it
            headers[-1] = (headers[-1][0], headers[-1][1] + " " + line)
        elif line:
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" ")))
    return HttpRequest.of(method, target, headers, body.encode("latin-1"))


def load(path: Path, kind: str) -> str:
    return path.with_suffix(kind).read_text("latin-1").replace("\r\n", "\n")


def case(path: Path) -> HttpRequest:
    """The request that the signature belongs to. A session token that the signer adds stands only in the canonical request."""
    request = read_request(load(path, ".req"))
    fields = [*request.headers, ("Authorization", load(path, ".authz").strip())]
    token = next((line for line in load(path, ".creq").split("\n") if line.startswith("x-amz-security-token:")), None)
    if token is not None and "x-amz-security-token" not in request.headers:
        fields.append(("X-Amz-Security-Token", token.partition(":")[2]))
    return HttpRequest.of(request.method, request.target, fields, asyncio.run(request.read()))


def test_the_whole_suite_of_aws_verifies(botocore_tests: Path) -> None:
    cases = suite(botocore_tests)
    assert len(cases) >= 30
    for path in cases:
        request = case(path)
        signature = parse_authorization(request)
        assert signature is not None, path.name
        body = hashlib.sha256(asyncio.run(request.read())).hexdigest()
        verify(request, signature, SECRET, body, NOW, service="service", region="us-east-1")
        with pytest.raises(BadSignature):
            verify(request, signature, SECRET + "x", body, NOW)


def test_a_token_added_after_signing_is_refused(botocore_tests: Path) -> None:
    """The suite's post-sts-header-after. Some real services take it; here a token that came in a header has to be signed."""
    path = next(path for path in suite(botocore_tests) if path.stem == "post-sts-header-after")
    request = read_request(load(path, ".sreq"))
    assert "x-amz-security-token" in request.headers
    signature = parse_authorization(request)
    assert signature is not None
    with pytest.raises(BadSignature):
        verify(request, signature, SECRET, EMPTY_SHA256, NOW)


def test_the_canonical_requests_are_those_of_the_suite(botocore_tests: Path) -> None:
    for path in suite(botocore_tests):
        request = case(path)
        method, uri, query, *headers, signed, _ = load(path, ".creq").split("\n")
        assert request.method == method
        assert canonical_path(request.path) == uri, path.name
        assert canonical_query(request.query) == query, path.name
        assert canonical_headers(request.headers, signed) == "\n".join(headers).rstrip("\n"), path.name
