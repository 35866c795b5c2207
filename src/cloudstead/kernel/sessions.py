"""Temporary credentials that need no storage: the session token holds the session, sealed.

A token is a compressed record of the caller (an `Identity`) and its expiry, behind an HMAC under a secret of the store.
The secret key is an HMAC of the same record, so it is nowhere in the token and can be worked out again whenever the token is shown. Making
credentials therefore writes nothing, they survive restarts, and there is nothing to sweep: an expired token is merely refused.

The price is that a single token cannot be taken back. AWS cannot do it either: one denies by `aws:TokenIssueTime`, or deletes the role.

The same key seals other things that are handed out and come back, each under a purpose of its own (`seal`, `unseal`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from cloudstead.kernel import ids
from cloudstead.kernel.identity import Credential, Identity
from cloudstead.kernel.pagination import secret

if TYPE_CHECKING:
    from cloudstead.kernel.context import Cloud

AUTHORIZATION_MESSAGE: Final = "authorization-message"
"""The purpose under which the details of a denial are sealed; sts:DecodeAuthorizationMessage opens them."""

_REMEMBERED: Final = 4096  # opened tokens; opening one costs some 30 µs
_LARGEST: Final = 1 << 16  # bytes of a record: decompressing a forged one must not fill the memory (it is verified before, too)
_SEAL = 32  # bytes of HMAC-SHA-256


class _Session(msgspec.Struct, frozen=True, array_like=True):
    identity: Identity
    expires_at: float


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Session)


class Sessions:
    """Makes and opens temporary credentials."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._opened: OrderedDict[str, Credential] = OrderedDict()  # by token, the latest last

    @classmethod
    def of(cls, cloud: Cloud) -> Sessions:
        """Those of this cloud; their secret is made when it is first needed."""
        known = cloud.parts.get("sessions")
        if known is None:
            known = cloud.parts["sessions"] = cls(secret(cloud.store, "sessions"))
        assert isinstance(known, Sessions)
        return known

    def issue(self, identity: Identity, expires_at: float) -> Credential:
        """New credentials for this caller.

        Args:
            expires_at: seconds since the epoch.
        """
        key_id = ids.access_key_id(identity.account, temporary=True)
        identity = replace(identity, access_key_id=key_id)
        record = zlib.compress(_encode(_Session(identity, expires_at)), 6)
        return self._credential(identity, expires_at, record, self.seal("session", record))

    def find(self, access_key_id: str, session_token: str) -> Credential | None:
        """The credentials that a token stands for; None when it is forged or belongs to another key. They may have expired."""
        known = self._opened.get(session_token)
        if known is None:
            record = self.unseal("session", session_token)
            if record is None:
                return None
            try:
                session = _decoder.decode(zlib.decompressobj().decompress(record, _LARGEST))
            except (zlib.error, msgspec.DecodeError, msgspec.ValidationError):
                return None  # sealed by an older Cloudstead, in another form
            known = self._credential(session.identity, session.expires_at, record, session_token)
            if len(self._opened) >= _REMEMBERED:
                self._opened.popitem(last=False)
            self._opened[session_token] = known
        return known if known.access_key_id == access_key_id else None

    def seal(self, purpose: str, content: bytes) -> str:
        """Content that nobody else can make or change, in URL-safe base64. It can be read by whoever holds it."""
        return base64.urlsafe_b64encode(self._mac(purpose, content) + content).decode("ascii")

    def unseal(self, purpose: str, text: str) -> bytes | None:
        """What was sealed for this purpose; None when it was not sealed here."""
        try:
            sealed = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        seal, content = sealed[:_SEAL], sealed[_SEAL:]
        return content if hmac.compare_digest(seal, self._mac(purpose, content)) else None

    def _credential(self, identity: Identity, expires_at: float, record: bytes, token: str) -> Credential:
        secret = base64.b64encode(self._mac("secret", record)[:30]).decode("ascii")
        return Credential(
            access_key_id=identity.access_key_id,
            secret_access_key=secret,
            identity=identity,
            session_token=token,
            expires_at=expires_at,
        )

    def _mac(self, purpose: str, content: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + content, hashlib.sha256)
