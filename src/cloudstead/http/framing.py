"""From a response to the bytes of its head, and how its body is to be delimited. Pure: no socket in here."""

from __future__ import annotations

import http
import time
from email.utils import formatdate
from typing import Literal, TypeAlias

from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse

Framing: TypeAlias = Literal["none", "length", "chunked", "close"]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in http.HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
SERVER = "Cloudstead"

_OURS = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})  # the headers that `head` has a say in

_date: tuple[int, str] = (0, "")


class UnsafeHeader(ValueError):
    """A header would break out of its line."""


def date_now() -> str:
    """The Date header's value; made once a second. It is the wire's date: of the real clock, also when the cloud's time is virtual."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


class Head:
    """What is sent before a body and how the body follows."""

    __slots__ = ("data", "framing", "keep_alive", "length")

    def __init__(self, data: bytes, framing: Framing, length: int, keep_alive: bool) -> None:
        self.data = data
        self.framing = framing
        self.length = length  # bytes of the body, when framing is "length"
        self.keep_alive = keep_alive


def head(response: HttpResponse, request: HttpRequest | None, keep_alive: bool) -> Head:
    """The head of an answer to `request` (None: to one that could not be understood).

    Raises:
        UnsafeHeader: a name or value has a line break in it.
    """
    status = response.status
    lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} "]
    upgrading = response.upgrade is not None
    length, dated, served = -1, False, False
    for name, value in response.headers:
        lower = name.lower()
        if lower not in _OURS:
            pass
        elif lower == "content-length":
            if not (value.isascii() and value.isdigit()) or upgrading or status < 200 or status == 204:
                continue
            length = int(value)
        elif lower == "transfer-encoding":
            continue  # ours to decide
        elif lower == "connection" and not upgrading:
            keep_alive = keep_alive and "close" not in value.lower()
            continue
        elif lower == "date":
            dated = True
        elif lower == "server":
            served = True
            if not value:
                continue  # whoever answers wants none
        lines.append(f"{name}: {value}")
    if not dated:
        lines.append(f"Date: {date_now()}")
    if not served:
        lines.append(f"Server: {SERVER}")
    framing: Framing = "none"
    if upgrading:
        keep_alive = False
    else:
        framing, length, keep_alive = _delimit(response, request, lines, length, keep_alive)
        if not keep_alive:
            lines.append("Connection: close")
        elif request is not None and request.http_version == "1.0":
            lines.append("Connection: keep-alive")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks:
        raise UnsafeHeader("line break in a header")
    text += "\r\n\r\n"
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = text.encode()
    return Head(data, framing, length, keep_alive)


def _delimit(
    response: HttpResponse, request: HttpRequest | None, lines: list[str], length: int, keep_alive: bool
) -> tuple[Framing, int, bool]:
    """How the body is delimited, its length, whether the connection can be kept; appends the header that says so. `length` is what was declared."""
    body, status = response.body, response.status
    if status < 200 or status in (204, 304):
        return "none", 0, keep_alive
    bodiless = request is not None and request.method == "HEAD"
    if isinstance(body, bytes | FileRegion):
        size = len(body) if isinstance(body, bytes) else body.count
        if length < 0:
            lines.append(f"Content-Length: {size}")
        elif length != size and not bodiless:
            raise ValueError(f"Content-Length {length} with a body of {size} bytes")
        return ("none" if bodiless else "length"), size, keep_alive
    if length >= 0:
        return ("none" if bodiless else "length"), length, keep_alive
    if request is not None and request.http_version == "1.0":
        return ("none" if bodiless else "close"), -1, False
    lines.append("Transfer-Encoding: chunked")
    return ("none" if bodiless else "chunked"), -1, keep_alive
