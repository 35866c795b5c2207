"""URLs presigned with Signature Version 2, for S3 only.

AWS has retired this scheme for new buckets, yet boto3 still makes such URLs by default where it does not know better (us-east-1, and any
`endpoint_url`), so they have to work. Nothing else of SigV2 is taken.

    ?AWSAccessKeyId=<key>&Signature=<base64 HMAC-SHA1>&Expires=<epoch seconds>[&x-amz-security-token=<token>]

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import parse_qsl

from cloudstead.edge.sigv4_claims import UNSIGNED, Signature
from cloudstead.edge.sigv4_errors import QueryParametersError, RequestExpired
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature

MISMATCH: Final = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
VERSION: Final = "AWS2"  # stands in the scope's place

# The parameters that name a part of a resource and so are signed with it.
_SIGNED_PARAMETERS: Final = frozenset(  # the words of a text: a list of so many would fill a screen
    """
    accelerate acl cors defaultObjectAcl lifecycle location logging notification partNumber policy replication requestPayment
    restore response-cache-control response-content-disposition response-content-encoding response-content-language
    response-content-type response-expires tagging torrent uploadId uploads versionId versioning versions website delete analytics
    inventory metrics
    """.split()  # noqa: SIM905
)


def parse(request: HttpRequest) -> Signature | None:
    """What a URL presigned like this claims; None when it is not one.

    Raises:
        QueryParametersError
    """
    if "AWSAccessKeyId=" not in request.query or "Signature=" not in request.query:
        return None
    given = dict(parse_qsl(request.query, keep_blank_values=True))
    expires = given.get("Expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
        raise QueryParametersError("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    return Signature(
        access_key_id=given["AWSAccessKeyId"],
        date=VERSION,
        region="us-east-1",
        service="s3",
        signed_headers="",
        signature=given["Signature"],
        timestamp=expires,
        signed_at=float(expires),
        presigned=True,
        payload=UNSIGNED,
        token=given.get("x-amz-security-token", ""),
    )


def verify(request: HttpRequest, signature: Signature, secret: str, now: float, bucket: str = "") -> None:
    """Return when the URL was signed with `secret` and is still good.

    Args:
        bucket: the one that the host name names, if it does.

    Raises:
        BadSignature, RequestExpired
    """
    if signature.signed_at < now:
        raise RequestExpired("Request has expired")
    expected = hmac.digest(secret.encode(), string_to_sign(request, signature, bucket).encode("latin-1", "replace"), "sha1")
    if not hmac.compare_digest(base64.b64encode(expected), signature.signature.encode("latin-1", "replace")):
        raise BadSignature(MISMATCH)


def string_to_sign(request: HttpRequest, signature: Signature, bucket: str) -> str:
    parameters = parse_qsl(request.query, keep_blank_values=True)
    named = dict(parameters)
    amazon = {name: value for name, value in parameters if name.startswith("x-amz-")}
    for name, value in request.headers:
        if (lower := name.lower()).startswith("x-amz-"):
            amazon[lower] = f"{amazon[lower]},{value.strip()}" if lower in amazon else value.strip()
    parts = sorted((name, value) for name, value in parameters if name in _SIGNED_PARAMETERS)
    resource = (f"/{bucket}" if bucket else "") + request.path
    if parts:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in parts)
    header = request.headers.get
    lines = [
        request.method,
        named.get("content-md5") or header("content-md5") or "",
        named.get("content-type") or header("content-type") or "",
        signature.timestamp,
        *(f"{name}:{value}" for name, value in sorted(amazon.items())),
        resource,
    ]
    return "\n".join(lines)
