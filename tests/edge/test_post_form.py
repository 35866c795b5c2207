"""Forms that upload to S3, signed by botocore and by nobody."""

from __future__ import annotations

import time
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from cloudstead.edge import post_form
from cloudstead.edge.post_form import PostForm
from cloudstead.edge.sigv4_errors import EntityTooLarge, EntityTooSmall, FormMalformed, FormUnreadable, PolicyMalformed, PolicyRefused
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TYPE = "multipart/form-data; boundary=b0"


def fields(version: str = "s3v4", **policy: Any) -> dict[str, str]:
    """What boto3 gives an application to put into its page."""
    client = botocore.session.Session().create_client(
        "s3", "us-east-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=SECRET, config=Config(signature_version=version)
    )
    made: dict[str, str] = client.generate_presigned_post("bucket", policy.pop("key", "up/${filename}"), **policy)["fields"]
    return made


def body(given: dict[str, str], *files: bytes) -> bytes:
    parts = [f'--b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in given.items()]
    parts += [
        b'--b0\r\nContent-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: a/b\r\n\r\n' + data + b"\r\n" for data in files
    ]
    return b"".join([*parts, b"--b0--\r\n"])


def form(given: dict[str, str], *files: bytes) -> PostForm:
    return post_form.read(HttpRequest.of("POST", "/bucket", [("Content-Type", TYPE)]), "bucket", body(given, *(files or (b"data",))))


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_form_signed_by_botocore_is_taken(version: str) -> None:
    signed = form(fields(version))
    claimed = signed.claimed()
    assert claimed is not None
    assert claimed.access_key_id == "AKIDEXAMPLE"
    signed.verify(claimed, SECRET)
    signed.check(time.time())


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_form_with_another_policy_or_of_another_secret_is_refused(version: str) -> None:
    signed = form(fields(version))
    claimed = signed.claimed()
    assert claimed is not None
    with pytest.raises(BadSignature):
        signed.verify(claimed, "another")
    other = form(fields(version) | {"policy": fields(version, key="other")["policy"]})
    with pytest.raises(BadSignature):
        other.verify(claimed, SECRET)


def test_a_form_is_no_longer_taken_when_its_policy_has_expired() -> None:
    with pytest.raises(PolicyRefused, match="Policy expired"):
        form(fields(ExpiresIn=60)).check(time.time() + 61)


def test_every_field_must_be_as_a_condition_of_the_policy_wants_it() -> None:
    given = fields(Conditions=[["starts-with", "$Content-Type", "image/"], {"acl": "private"}])
    form(given | {"Content-Type": "image/png", "acl": "private", "x-ignore-me": "1"}).check(time.time())
    with pytest.raises(PolicyRefused, match=r'Policy Condition failed: \["starts-with", "\$content-type", "image/"\]'):
        form(given | {"Content-Type": "text/html", "acl": "private"}).check(time.time())
    with pytest.raises(PolicyRefused, match=r'Policy Condition failed: \["eq", "\$acl", "private"\]'):
        form(given | {"Content-Type": "image/png", "acl": "public-read"}).check(time.time())
    with pytest.raises(PolicyRefused, match="Extra input fields: x-amz-meta-a"):
        form(given | {"Content-Type": "image/png", "acl": "private", "x-amz-meta-a": "1"}).check(time.time())
    with pytest.raises(PolicyRefused, match=r'\["starts-with", "\$key", "up/"\]'):
        form(given | {"Content-Type": "image/png", "acl": "private", "key": "elsewhere"}).check(time.time())


def test_the_file_may_be_no_smaller_and_no_larger_than_the_policy_says() -> None:
    given = fields(Conditions=[["content-length-range", 2, 4]])
    form(given, b"four").check(time.time())
    with pytest.raises(EntityTooLarge):
        form(given, b"fives").check(time.time())
    with pytest.raises(EntityTooSmall):
        form(given, b"1").check(time.time())


def test_a_form_has_one_file() -> None:
    for files in ([], [b"a", b"b"]):
        with pytest.raises(FormMalformed, match="exactly one file"):
            post_form.read(HttpRequest.of("POST", "/bucket", [("Content-Type", TYPE)]), "bucket", body({}, *files))


@pytest.mark.parametrize("text", [b"", b"--b0", b"--b0\r\n\r\n", b"--b0\r\nX: y\r\n\r\nz\r\n--b0--", body({"a": "b"}, b"data")[:-10]])
def test_what_is_no_form_is_refused(text: bytes) -> None:
    with pytest.raises((FormUnreadable, FormMalformed)):
        post_form.read(HttpRequest.of("POST", "/bucket", [("Content-Type", TYPE)]), "bucket", text)
    with pytest.raises(FormUnreadable):
        post_form.read(HttpRequest.of("POST", "/bucket", [("Content-Type", "multipart/form-data")]), "bucket", text)


@pytest.mark.parametrize(
    "policy", ["", "not base64", "e30=", "eyJleHBpcmF0aW9uIjogIjIwMzAtMDEtMDFUMDA6MDA6MDBaIiwgImNvbmRpdGlvbnMiOiBbWyJuZSIsICJhIiwgImIiXV19"]
)
def test_a_policy_that_is_none_is_refused(policy: str) -> None:
    with pytest.raises(PolicyMalformed):
        form(fields() | {"policy": policy}).check(time.time())
