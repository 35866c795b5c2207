"""Uploads to S3 by the form of a web page: a POST to the bucket whose fields are signed through a policy.

    POST /bucket, multipart/form-data:  key, policy, x-amz-algorithm, x-amz-credential, x-amz-date, x-amz-signature, …, file

The signature covers the policy alone (its base64 text); the policy says which fields may have which values. boto3 also still makes forms with
signatures of version 2 (AWSAccessKeyId, signature). A form is small but for its file, which stands last; all of it is in memory here.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cloudstead.edge import sigv2
from cloudstead.edge.protocols.timestamps import parse_iso8601
from cloudstead.edge.sigv4 import S3_MISMATCH, Signature, signing_key
from cloudstead.edge.sigv4_claims import ALGORITHM, UNSIGNED
from cloudstead.edge.sigv4_errors import EntityTooLarge, EntityTooSmall, FormMalformed, FormUnreadable, PolicyMalformed, PolicyRefused
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature

FILE: Final = "file"
MOST_FIELDS: Final = 200
_UNCHECKED: Final = {FILE, "policy", "x-amz-signature", "awsaccesskeyid", "signature", "bucket"}  # fields that no condition has to name
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'(?:^|[;\s])name=(?:"([^"]*)"|([^\s;]+))', re.IGNORECASE)


class PostForm(msgspec.Struct, frozen=True):
    """The fields of a form, by their names in lower case, and the number of bytes in its file."""

    bucket: str
    fields: Mapping[str, str]
    size: int

    def claimed(self) -> Signature | None:
        """Whose signature it says it has; None when it is not signed.

        Raises:
            FormMalformed
        """
        fields = self.fields
        token = fields.get("x-amz-security-token", "")
        if fields.get("awsaccesskeyid") and fields.get("signature"):
            return Signature(
                access_key_id=fields["awsaccesskeyid"],
                date=sigv2.VERSION,
                region="us-east-1",
                service="s3",
                signed_headers="",
                signature=fields["signature"],
                timestamp="",
                signed_at=0.0,
                payload=UNSIGNED,
                token=token,
            )
        if "x-amz-signature" not in fields:
            return None
        scope = fields.get("x-amz-credential", "").split("/")
        if fields.get("x-amz-algorithm") != ALGORITHM or len(scope) != 5 or scope[3:] != ["s3", "aws4_request"] or "policy" not in fields:
            raise FormMalformed("The form must have policy, x-amz-algorithm, x-amz-credential, x-amz-date and x-amz-signature.")
        return Signature(
            access_key_id=scope[0],
            date=scope[1],
            region=scope[2],
            service="s3",
            signed_headers="",
            signature=fields["x-amz-signature"],
            timestamp=fields.get("x-amz-date", ""),
            signed_at=0.0,
            payload=UNSIGNED,
            token=token,
        )

    def verify(self, signature: Signature, secret: str) -> None:
        """Return when the policy was signed with `secret`.

        Raises:
            BadSignature
        """
        policy = self.fields.get("policy", "").encode()
        if signature.date == sigv2.VERSION:
            expected = base64.b64encode(hmac.digest(secret.encode(), policy, "sha1"))
        else:
            key = signing_key(secret, signature.date, signature.region, signature.service)
            expected = hmac.digest(key, policy, "sha256").hex().encode()
        if not hmac.compare_digest(expected, signature.signature.encode("utf-8", "replace")):
            raise BadSignature(S3_MISMATCH)

    def check(self, now: float) -> None:
        """Return when the form is as its policy wants it.

        Raises:
            PolicyMalformed, PolicyRefused, EntityTooLarge, EntityTooSmall
        """
        expiration, conditions = _policy(self.fields.get("policy", ""))
        if expiration <= now:
            raise PolicyRefused("Invalid according to Policy: Policy expired.")
        named = set(_UNCHECKED)
        for condition in conditions:
            if condition[0] == "content-length-range":
                self._check_size(int(condition[1]), int(condition[2]))
            else:
                named.add(self._check_field(*condition))
        extra = [name for name in self.fields if name not in named and not name.startswith("x-ignore-")]
        if extra:
            raise PolicyRefused(f"Invalid according to Policy: Extra input fields: {', '.join(extra)}")

    def _check_field(self, operator: str, field: str, wanted: str) -> str:
        name = field.removeprefix("$").lower()
        given = self.bucket if name == "bucket" else self.fields.get(name, "")
        if not (given == wanted if operator == "eq" else given.startswith(wanted)):
            condition = msgspec.json.encode([operator, f"${name}", wanted]).decode().replace('","', '", "')
            raise PolicyRefused(f"Invalid according to Policy: Policy Condition failed: {condition}")
        return name

    def _check_size(self, least: int, most: int) -> None:
        if self.size < least:
            raise EntityTooSmall()
        if self.size > most:
            raise EntityTooLarge()


def is_form(request: HttpRequest) -> bool:
    """Whether this request to S3 is an upload by a form."""
    return request.method == "POST" and (request.headers.get("content-type") or "").lower().startswith("multipart/form-data")


def read(request: HttpRequest, bucket: str, body: bytes) -> PostForm:
    """
    Raises:
        FormUnreadable: it is no multipart/form-data.
        FormMalformed: it has no file, or more than one.
    """
    boundary = _BOUNDARY.search(request.headers.get("content-type") or "")
    if boundary is None:
        raise FormUnreadable()
    mark = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    data = b"\r\n" + body  # so that the first mark looks like the others
    fields: dict[str, str] = {}
    size = -1
    at = data.find(mark)
    while at >= 0 and data[at + len(mark) : at + len(mark) + 2] != b"--":
        begin = at + len(mark)
        head = data.find(b"\r\n\r\n", begin)
        at = data.find(mark, begin)
        if head < 0 or at < 0 or head > at or len(fields) > MOST_FIELDS:
            raise FormUnreadable()
        found = _NAME.search(data, begin, head)
        if found is None:
            raise FormUnreadable()
        name = (found[1] or found[2] or b"").decode("utf-8", "replace").lower()
        if name == FILE:
            if size >= 0:
                raise FormMalformed("POST requires exactly one file upload per request.")
            size = at - head - 4
        else:
            fields[name] = data[head + 4 : at].decode("utf-8", "replace")
    if at < 0:
        raise FormUnreadable()
    if size < 0:
        raise FormMalformed("POST requires exactly one file upload per request.")
    return PostForm(bucket, fields, size)


def _policy(text: str) -> tuple[float, list[list[Any]]]:
    """When a policy expires, in seconds since the epoch, and its conditions as lists of operator, field and value.

    Raises:
        PolicyMalformed
    """
    try:
        document = msgspec.json.decode(base64.b64decode(text, validate=True))
        expiration = parse_iso8601(document["expiration"])
        conditions = [
            condition
            for given in document["conditions"]
            for condition in ([["eq", name, value] for name, value in given.items()] if isinstance(given, dict) else [given])
        ]
        for operator, first, second in conditions:
            if operator == "content-length-range":
                int(first), int(second)
            elif operator not in ("eq", "starts-with") or not isinstance(first, str) or not isinstance(second, str):
                raise PolicyMalformed(f"Invalid Policy: Invalid condition: {operator}.")
    except (binascii.Error, msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolicyMalformed("Invalid Policy: Invalid JSON.") from error
    return expiration, conditions
