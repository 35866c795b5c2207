"""What a request says about its signature: in the Authorization header or, presigned, in the query. Nothing is verified here."""

from __future__ import annotations

import calendar
import functools
import re
import time
from email.utils import parsedate
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

import msgspec

from cloudstead.edge.sigv4_errors import HeaderMalformed, PayloadHashInvalid, QueryParametersError, UnsupportedSignature
from cloudstead.http.messages import Headers, HttpRequest
from cloudstead.kernel.errors import BadSignature, IncompleteSignature

ALGORITHM: Final = "AWS4-HMAC-SHA256"
ALGORITHM_V4A: Final = "AWS4-ECDSA-P256-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
S3_FAMILY: Final = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
MAX_EXPIRES: Final = 604_800  # seconds: a week

_DIGITS: Final = 64  # of a signature
_REMEMBERED: Final = 1024  # headers, up to this length
_REMEMBERED_LENGTH: Final = 1024
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_QUERY_FIELDS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a request claims. Nothing in it is to be believed before `verify`."""

    access_key_id: str
    date: str  # YYYYMMDD, of the scope
    region: str
    service: str
    signed_headers: str  # as sent: "host;x-amz-date"
    signature: str  # hex
    timestamp: str  # YYYYMMDDTHHMMSSZ
    signed_at: float  # the same in seconds since the epoch
    expires: int | None = None  # seconds; presigned only
    presigned: bool = False
    payload: str = ""  # x-amz-content-sha256: a hash, UNSIGNED-PAYLOAD, STREAMING-…; empty: the body's hash is what was signed
    token: str = ""  # X-Amz-Security-Token

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    @property
    def is_s3(self) -> bool:
        return self.service in S3_FAMILY

    @property
    def streaming(self) -> bool:
        """The body is aws-chunked: `chunked.decode` reads it."""
        return self.payload.startswith("STREAMING-")

    @property
    def needs_body(self) -> bool:
        """Whether `verify` cannot do without the hash of the whole body."""
        return not self.payload

    @property
    def covers_body(self) -> bool:
        """Whether a hash of the whole body was signed: it must be checked, in `verify` or while the body is read (`chunked.checked`)."""
        return not self.payload or len(self.payload) == 64


def parse_authorization(request: HttpRequest) -> Signature | None:
    """What the request says about its signature; None when it has none (or another scheme: Bearer, Basic).

    Raises:
        IncompleteSignature, HeaderMalformed, QueryParametersError: something is missing or cannot be read.
        UnsupportedSignature: SigV4a, or SigV2 in a header.
    """
    authorization = request.headers.get("authorization")
    query = request.query
    signed_query = "X-Amz-" in query and ("X-Amz-Signature=" in query or "X-Amz-Algorithm=" in query)
    if authorization is not None and authorization[:3] == "AWS":
        if signed_query:
            raise IncompleteSignature(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified"
            )
        return _from_header(request.headers, authorization)
    if signed_query:
        return _from_query(request, query)
    return None


class Claim(msgspec.Struct, frozen=True):
    """What an Authorization header says besides the signature: the same in all calls of one client to one service on one day."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: str


_claims: dict[str, Claim] = {}  # by the header without the digits at its end; what stands in here was well-formed, nothing more


def _from_header(headers: Headers, authorization: str) -> Signature:
    index = headers.index()
    timestamp = index.get("x-amz-date") or _from_http_date(index.get("date"))
    shared, given = authorization[:-_DIGITS], authorization[-_DIGITS:]
    claim = _claims.get(shared)
    if claim is None or not timestamp:
        claim, given = _claim(authorization, timestamp)
        if shared.endswith("Signature=") and len(shared) < _REMEMBERED_LENGTH:
            if len(_claims) >= _REMEMBERED:
                _claims.clear()
            _claims[shared] = claim
    signed_at = _moment(timestamp, claim.date)
    payload = index.get("x-amz-content-sha256", "")
    if payload:
        _check_payload(payload)
    elif claim.service in S3_FAMILY:
        raise HeaderMalformed("Missing required header for this request: x-amz-content-sha256")
    return Signature(
        access_key_id=claim.access_key_id,
        date=claim.date,
        region=claim.region,
        service=claim.service,
        signed_headers=claim.signed_headers,
        signature=given,
        timestamp=timestamp,
        signed_at=signed_at,
        payload=payload,
        token=index.get("x-amz-security-token", ""),
    )


def _claim(authorization: str, timestamp: str) -> tuple[Claim, str]:
    """What the header claims, and the signature in it. The timestamp only needs to be there."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        _refuse_algorithm(algorithm)
    credential = signed = given = ""
    for part in rest.split(","):
        part = part.strip(" ")
        name, equals, value = part.partition("=")
        if not equals:
            if part:
                raise IncompleteSignature(
                    f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{authorization}'."
                )
        elif name == "Credential":
            credential = value
        elif name == "SignedHeaders":
            signed = value
        elif name == "Signature":
            given = value
    if not (credential and signed and given and timestamp):
        missing = [
            f"Authorization header requires '{name}' parameter. "
            for name, value in (("Credential", credential), ("Signature", given), ("SignedHeaders", signed))
            if not value
        ]
        if not timestamp:
            missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
        raise IncompleteSignature("".join(missing) + f"Authorization={authorization}")
    return Claim(*_split_credential(credential), signed), given


def _from_query(request: HttpRequest, query: str) -> Signature:
    fields: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name.startswith("X-Amz-"):
            if name in fields:
                raise QueryParametersError(f"The query parameter {name} was given more than once.")
            fields[name] = unquote_to_bytes(wire_bytes(value.replace("+", " "))).decode("latin-1")
    algorithm = fields.get("X-Amz-Algorithm", "")
    if algorithm and algorithm != ALGORITHM:
        _refuse_algorithm(algorithm)
    credential = fields.get("X-Amz-Credential", "")
    is_s3 = credential.split("/")[-2:-1] in (["s3"], ["s3express"], ["s3-object-lambda"], ["s3-outposts"])
    missing = [name for name in _QUERY_FIELDS if not fields.get(name) and (is_s3 or name != "X-Amz-Expires")]
    if missing and is_s3:
        raise QueryParametersError(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise IncompleteSignature(f"AWS query-string parameters must include {names}. Re-examine the query-string parameters.")
    timestamp = fields["X-Amz-Date"]
    key, date, region, service = _split_credential(credential)
    signed_at = _moment(timestamp, date)
    payload = fields.get("X-Amz-Content-Sha256", "")
    if is_s3:
        payload = payload or request.headers.get("x-amz-content-sha256") or UNSIGNED
    if payload:
        _check_payload(payload)
    return Signature(
        access_key_id=key,
        date=date,
        region=region,
        service=service,
        signed_headers=fields["X-Amz-SignedHeaders"],
        signature=fields["X-Amz-Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        expires=_expires(fields.get("X-Amz-Expires")),
        presigned=True,
        payload=payload,
        token=fields.get("X-Amz-Security-Token", ""),
    )


def _split_credential(credential: str) -> tuple[str, str, str, str]:
    parts = credential.split("/")
    if len(parts) != 5:
        raise IncompleteSignature(
            f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        )
    key, date, region, service, terminator = parts
    if terminator != "aws4_request":
        raise BadSignature(f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'.")
    if not key or not region or not service:
        raise IncompleteSignature(f"Credential has an empty element, got '{credential}'")
    return key, date, region, service


@functools.lru_cache(maxsize=64)
def _moment(timestamp: str, date: str) -> float:
    """When a request says it was signed; all requests of a second say the same."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _bad_timestamp(timestamp)
    if timestamp[:8] != date:
        raise BadSignature(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
    try:
        return float(calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        raise _bad_timestamp(timestamp) from None


def _bad_timestamp(timestamp: str) -> IncompleteSignature:
    return IncompleteSignature(f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See http://en.wikipedia.org/wiki/ISO_8601")


def _from_http_date(date: str | None) -> str:
    """The Date header as a basic timestamp; empty when it is missing or cannot be read."""
    if not date or _TIMESTAMP.fullmatch(date):
        return date or ""
    try:
        parsed = parsedate(date)
        return time.strftime("%Y%m%dT%H%M%SZ", parsed) if parsed else ""
    except (ValueError, OverflowError):
        return ""


def _expires(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise QueryParametersError("X-Amz-Expires should be a number")
    if len(text) > 9 or int(text) > MAX_EXPIRES:
        raise QueryParametersError(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
        )
    return int(text)


def _check_payload(payload: str) -> None:
    if payload != UNSIGNED and not payload.startswith("STREAMING-") and not _SHA256.fullmatch(payload):
        raise PayloadHashInvalid(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 value."
        )


def _refuse_algorithm(algorithm: str) -> NoReturn:
    if algorithm.startswith("AWS4-ECDSA-P256-SHA256"):
        raise UnsupportedSignature(f"Cloudstead does not verify {ALGORITHM_V4A} (SigV4a) signatures. Please use {ALGORITHM}.")
    if algorithm in ("AWS", "AWS3", "AWS3-HTTPS"):
        _refuse_v2()
    raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{algorithm}'")


def _refuse_v2() -> NoReturn:
    raise UnsupportedSignature(f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.")


def wire_bytes(text: str) -> bytes:
    """The bytes that `text`, decoded from the wire as latin-1, was."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # only in a request that never was on a wire
        return text.encode()
