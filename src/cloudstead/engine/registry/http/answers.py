"""Answers: the headers that all have, the bodies of errors, what errors of other rooms are in this protocol."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from cloudstead.engine import errors as engine
from cloudstead.engine.registry.errors import RegistryError
from cloudstead.http.messages import BodyBroken, BodyTooLong, HttpResponse
from cloudstead.kernel.errors import ServiceError, Throttled
from cloudstead.kernel.store import StoreError

log = logging.getLogger("cloudstead.registry")

Header = tuple[str, str]

VERSION: Header = ("Docker-Distribution-Api-Version", "registry/2.0")
JSON: Header = ("Content-Type", "application/json")
EMPTY: Header = ("Content-Length", "0")
DIGEST = "Docker-Content-Digest"

_encode = msgspec.json.Encoder().encode

# What is not a RegistryError: the status and code of the answer. A full disk is 507 and not 503, because clients try again after a 503, to no avail.
_ENGINE: dict[str, tuple[int, str]] = {
    "InvalidArgument": (400, "BLOB_UPLOAD_INVALID"),
    "NotFound": (404, "BLOB_UNKNOWN"),
    "Conflict": (409, "BLOB_UPLOAD_INVALID"),
    "NotPermitted": (403, "DENIED"),
    "Unsupported": (405, "UNSUPPORTED"),
    "NoSpace": (507, "UNKNOWN"),
    "Unauthorized": (403, "DENIED"),
    "Unavailable": (503, "UNAVAILABLE"),
    "Failed": (500, "UNKNOWN"),
}


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    detail: Any = None


class _Errors(msgspec.Struct):
    errors: tuple[_Error, ...]


def json_answer(value: Any, headers: list[Header] | None = None) -> HttpResponse:
    return HttpResponse(200, [JSON, VERSION, *(headers or [])], _encode(value))


def refusal(error: Exception, request_id: str = "") -> tuple[HttpResponse, str]:
    """The answer to a request that failed, and the code in it. What nobody foresaw is logged, and not shown."""
    status, code, message, detail, headers = _told(error, request_id)
    body = _encode(_Errors((_Error(code, message, detail),)))
    return HttpResponse(status, [JSON, VERSION, *headers], body), code


def _told(error: Exception, request_id: str) -> tuple[int, str, str, Any, tuple[Header, ...]]:
    if isinstance(error, RegistryError):
        return error.status, error.oci_code, error.message, error.detail, error.headers
    if isinstance(error, engine.EngineError):
        status, code = _ENGINE.get(error.code, (500, "UNKNOWN"))
        if status >= 500:
            log.error("request_id=%s %s: %s", request_id, error.code, error.message)
        return status, code, error.message, None, ()
    if isinstance(error, Throttled):
        return 429, "TOOMANYREQUESTS", error.message, None, (("Retry-After", "1"),)
    if isinstance(error, BodyTooLong):
        return 413, "SIZE_INVALID", error.message, None, ()
    if isinstance(error, BodyBroken):
        return 400, "BLOB_UPLOAD_INVALID", error.message, None, ()
    if isinstance(error, ServiceError) and error.status < 500:
        return error.status, "DENIED" if error.status == 403 else "UNSUPPORTED", error.message, None, ()
    if isinstance(error, StoreError | ServiceError) and getattr(error, "status", 503) == 503:
        log.error("request_id=%s %s", request_id, error)
        return 503, "UNAVAILABLE", "service unavailable", None, (("Retry-After", "1"),)
    log.error("request_id=%s the registry failed", request_id, exc_info=error)
    return 500, "UNKNOWN", f"An internal error occurred (request id {request_id}).", None, ()
