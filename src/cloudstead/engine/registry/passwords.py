"""Passwords of registries: what a GetAuthorizationToken hands out, and what an Authorization header shows.

A password is a sealed record of who asked, for which registry, and until when (`kernel.sessions`): nothing is written for it, and it is good after a
restart too. It cannot be taken back. Each family of registries seals for a purpose of its own, so that none takes the others' passwords.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from typing import Final

import msgspec

from cloudstead.engine.registry.errors import Unauthorized
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.sessions import Sessions

LIFETIME: Final = 12 * 3600.0
USER: Final = "AWS"
_REMEMBERED: Final = 4096  # headers that were verified
_LONGEST_HEADER: Final = 16 << 10
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+", re.ASCII)


class Pass(msgspec.Struct, frozen=True, array_like=True):
    """What a password stands for."""

    identity: Identity
    account: str
    region: str
    expires: float


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Pass)


class Passwords:
    """Those of one family of registries."""

    def __init__(self, cloud: Cloud, purpose: str) -> None:
        self._cloud = cloud
        self._purpose = purpose
        self._shown: OrderedDict[str, Pass] = OrderedDict()  # by the header, the latest used last

    def token(self, granted: Pass) -> str:
        """User and password as GetAuthorizationToken gives them."""
        password = Sessions.of(self._cloud).seal(self._purpose, _encode(granted))
        return base64.b64encode(f"{USER}:{password}".encode()).decode("ascii")

    def verify(self, header: str) -> Pass | None:
        """What an Authorization header stands for, expired or not; None when it shows no password that was made here."""
        granted = self._shown.get(header)
        if granted is not None:
            self._shown.move_to_end(header)
            return granted
        shown = basic(header) if len(header) <= _LONGEST_HEADER else None
        granted = self._open(shown[1]) if shown is not None and shown[0] == USER else None
        if granted is not None:
            if len(self._shown) >= _REMEMBERED:
                self._shown.popitem(last=False)
            self._shown[header] = granted
        return granted

    def _open(self, password: str) -> Pass | None:
        record = Sessions.of(self._cloud).unseal(self._purpose, password)
        if record is None:
            return None
        try:
            return _decoder.decode(record)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None  # sealed by an older Cloudstead, in another form


def basic(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, separator, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if separator else None


def challenge(request: HttpRequest, message: str, *, service: str, host: str) -> Unauthorized:
    """The refusal that tells a client how to show a password.

    Args:
        host: what stands in the realm when the request's own Host is none.
    """
    realm = f"{'https' if request.secure else 'http'}://{request.host if _HOST.fullmatch(request.host) else host}/"
    return Unauthorized(message, headers=(("WWW-Authenticate", f'Basic realm="{realm}",service="{service}"'),))
