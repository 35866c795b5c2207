"""AWS Signature Version 4, the server's side: who says they signed, and did they.

    signature = parse_authorization(request)            None: the request is not signed
    verify(request, signature, secret, body_sha256, now) raises when it was not signed with that secret, or too long ago

Both are pure: no clock, no store, no reading of bodies. What the caller still has to do: find the secret of `signature.access_key_id`, compare
`signature.token` with the key's session token, and check a body against its hash when it is read after `verify` (`chunked.checked`).

The window. A signature in a header is good for 5 minutes before and after its timestamp (S3: 15), a presigned URL from its timestamp (less that
skew) until X-Amz-Expires, at most 7 days. Older ones are refused; within the window the same request can be sent again, as with AWS: SigV4 has no
nonce, and AWS documents none. Whoever must not do a thing twice uses the operation's idempotency token.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, for S3 .../AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import re
import time
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from cloudstead.edge.sigv4_claims import S3_FAMILY, Signature, parse_authorization, wire_bytes
from cloudstead.edge.sigv4_errors import ContentHashMismatch, HeaderMalformed, HeadersNotSigned, RequestExpired, RequestTimeTooSkewed
from cloudstead.http.messages import Headers, HttpRequest
from cloudstead.kernel.errors import BadSignature, MissingAuthentication, SignatureExpired

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

SKEW: Final = 300  # seconds
S3_SKEW: Final = 900
HASH_IN_THREAD: Final = 256 << 10  # bytes; hashing that many takes about 0.15 ms, which the loop can spare; more it cannot

MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
S3_MISMATCH: Final = "The request signature we calculated does not match the signature you provided. Check your key and signing method."

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_~/-][A-Za-z0-9_~/.-]*", re.ASCII)
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9_.~=&-]*", re.ASCII)
_SPACES = re.compile(r"[ \t\r\n]+")


def verify(
    request: HttpRequest,
    signature: Signature,
    secret: str,
    body_sha256: str | None,
    now: float,
    *,
    service: str | None = None,
    region: str | None = None,
) -> None:
    """Return when `request` was signed with `secret` within its window.

    Args:
        body_sha256: hex hash of the body. None when it is checked later, as it is read; not possible when `signature.needs_body`.
        now: seconds since the epoch.
        service, region: what the scope must name; None: not checked.

    Raises:
        BadSignature, SignatureExpired; for S3 RequestTimeTooSkewed, RequestExpired, HeadersNotSigned, ContentHashMismatch.
    """
    is_s3 = signature.service in S3_FAMILY
    if service is not None:
        check_scope(signature, service)
    if region is not None and region != signature.region:
        raise BadSignature("Credential should be scoped to a valid region. ")
    _check_window(signature, now, is_s3)
    _check_signed_headers(request, signature, is_s3)
    payload = signature.payload
    if not payload:
        if body_sha256 is None:
            raise HeaderMalformed("A request whose body is streamed must be signed with x-amz-content-sha256.")
        payload = body_sha256
    elif body_sha256 is not None and payload != body_sha256 and len(payload) == 64:
        raise ContentHashMismatch() if is_s3 else BadSignature(MISMATCH)
    key = signing_key(secret, signature.date, signature.region, signature.service)
    query = canonical_query(request.query, signature.presigned)
    path = s3_path(request.path) if is_s3 else canonical_path(request.path)
    headers = canonical_headers(request.headers, signature.signed_headers)
    if _matches(key, signature, f"{request.method}\n{path}\n{query}\n{headers}\n\n{signature.signed_headers}\n{payload}"):
        return
    # S3 encodes the decoded path anew; a client that leaves other characters bare has signed them as it sent them.
    if is_s3 and path != request.path:
        path = request.path
        if _matches(key, signature, f"{request.method}\n{path}\n{query}\n{headers}\n\n{signature.signed_headers}\n{payload}"):
            return
    raise BadSignature(S3_MISMATCH if is_s3 else MISMATCH)


def check_scope(signature: Signature, service: str) -> None:
    """A signature for one service is none for another, whatever else the request names: X-Amz-Target, a path, a host, an API's version.

    Raises:
        BadSignature
    """
    if signature.service != service and not (signature.is_s3 and service == "s3"):
        raise BadSignature(f"Credential should be scoped to correct service: '{service}'. ")


def require_signature(signature: Signature | None) -> Signature:
    """Raises MissingAuthentication, in AWS's words, for a call that had to be signed."""
    if signature is None:
        raise MissingAuthentication("Request is missing Authentication Token")
    return signature


@functools.lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service: four HMACs that a client's calls share."""
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


async def body_sha256(body: bytes) -> str:
    """Hex hash; of a long body on another thread."""
    if len(body) <= HASH_IN_THREAD:
        return hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()


def _matches(key: bytes, signature: Signature, canonical: str) -> bool:
    digest = hashlib.sha256(wire_bytes(canonical)).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{signature.timestamp}\n{signature.date}/{signature.region}/{signature.service}/aws4_request\n{digest}"
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return hmac.compare_digest(expected.encode(), signature.signature.encode())


# -- the canonical request


def canonical_path(path: str) -> str:
    """Dot segments and double slashes resolved, then encoded once more: every service but S3."""
    if _PLAIN_PATH.fullmatch(path) and "//" not in path and "/." not in path:
        return path
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment and segment != ".":
            segments.append(segment)
    resolved = "/" + "/".join(segments)
    if path[-1:] == "/" and segments:
        resolved += "/"
    return quote(wire_bytes(resolved), safe="/~")


def s3_path(path: str) -> str:
    """The path decoded and encoded S3's way: a key may have dots and double slashes that count."""
    if _PLAIN_PATH.fullmatch(path):
        return path
    return quote(unquote_to_bytes(wire_bytes(path)), safe="/~") or "/"


def canonical_query(query: str, presigned: bool = False) -> str:
    """Sorted, each part decoded and encoded again; without X-Amz-Signature when that is where it is."""
    if not query:
        return ""
    pairs: list[tuple[str, str]] = []
    plain = _PLAIN_QUERY.fullmatch(query) is not None
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if not plain or "=" in value:
            name, value = _recode(name), _recode(value)
        if presigned and name == "X-Amz-Signature":
            continue
        pairs.append((name, value))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def canonical_headers(headers: Headers, signed: str) -> str:
    """A line for each signed header, in the order in which `signed` has them (sorted, or the signature will not match)."""
    index, names = headers.index(), signed.split(";")
    if len(index) == len(headers.pairs):  # none stands there twice
        return "\n".join([f"{name}:{_trim(index.get(name, ''))}" for name in names])
    return "\n".join([f"{name}:{','.join(map(_trim, headers.get_all(name)))}" for name in names])


def _trim(value: str) -> str:
    return _SPACES.sub(" ", value).strip(" ") if "  " in value or "\t" in value or "\n" in value else value.strip(" ")


def _recode(part: str) -> str:
    return quote(unquote_to_bytes(wire_bytes(part.replace("+", " "))), safe="-_.~")


# -- checks


def _check_window(signature: Signature, now: float, is_s3: bool) -> None:
    skew = S3_SKEW if is_s3 else SKEW
    age = now - signature.signed_at
    if age < -skew:
        if is_s3:
            raise RequestExpired("Request is not yet valid") if signature.presigned else RequestTimeTooSkewed()
        raise SignatureExpired(
            f"Signature not yet current: {signature.timestamp} is still later than {_stamp(now + skew)} ({_stamp(now)} + {skew // 60} min.)"
        )
    limit = skew if signature.expires is None else signature.expires
    if age > limit:
        if is_s3:
            raise RequestExpired("Request has expired") if signature.presigned else RequestTimeTooSkewed()
        if signature.expires is None:
            span = f"{skew // 60} min."
        else:
            span = f"{limit // 60} min." if limit % 60 == 0 else f"{limit} sec."
        raise SignatureExpired(
            f"Signature expired: {signature.timestamp} is now earlier than {_stamp(now - limit)} ({_stamp(now)} - {span})"
        )


def _check_signed_headers(request: HttpRequest, signature: Signature, is_s3: bool) -> None:
    signed = signature.signed_headers.split(";")
    if "host" not in signed and ":authority" not in signed:
        raise BadSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    index = request.headers.index()
    if "host" in signed and request.host != index.get("host"):
        raise BadSignature("The host of the request's target is not the one that its Host header names.")
    if is_s3:
        for name in index:
            if name[:6] == "x-amz-" and name not in signed and not (signature.presigned and name == "x-amz-content-sha256"):
                raise HeadersNotSigned()
    else:
        for header in ("X-Amz-Security-Token", "X-Amz-Target"):
            if header.lower() in index and header.lower() not in signed:
                raise BadSignature(f"'{header}' must be a 'SignedHeader' in the AWS Authorization.")


def _stamp(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


__all__ = [
    "EMPTY_SHA256",
    "MISMATCH",
    "S3_MISMATCH",
    "Signature",
    "body_sha256",
    "check_scope",
    "parse_authorization",
    "require_signature",
    "signing_key",
    "verify",
]
