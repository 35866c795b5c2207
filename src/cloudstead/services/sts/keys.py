"""The keys of identity providers: from a file of ours, or from the provider's own URL.

A file `<data>/sts/keys/<host[_path]>.json` that holds a JSON Web Key Set stands for the provider: for machines without a network, and for tests.
Without one the provider's discovery document is read, as OpenID Connect Discovery 1.0 has it. What was read is kept for an hour; a token of a key
that is not among them has the provider asked again, at most once a minute.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec

from cloudstead.kernel.context import Cloud
from cloudstead.services.sts import api, jwt

KEPT: Final = 3600.0  # seconds
ASKED_AGAIN: Final = 60.0
PATIENCE: Final = 5.0  # seconds for one answer
_LARGEST: Final = 1 << 20  # bytes of an answer


class KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]
    read_at: float


class Keys:
    """Finds and keeps the keys of issuers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._known: dict[str, KeySet] = {}

    @classmethod
    def of(cls, cloud: Cloud) -> Keys:
        known = cloud.parts.get("sts.keys")
        if known is None:
            known = cloud.parts["sts.keys"] = cls(cloud)
        assert isinstance(known, Keys)
        return known

    async def verify(self, issuer: str, token: jwt.Token) -> bool:
        """Whether a key of the issuer has signed the token.

        Raises:
            IDPCommunicationErrorException: the provider cannot be reached.
            InvalidIdentityTokenException: it has no key of the token's key id.
        """
        now = self._cloud.clock.time()
        known = self._known.get(issuer)
        if known is None or now - known.read_at > KEPT or (not _fitting(known, token) and now - known.read_at > ASKED_AGAIN):
            known = self._known[issuer] = KeySet(await self._read(issuer), now)
        fitting = _fitting(known, token)
        if not fitting:
            raise api.InvalidIdentityTokenException(
                "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation "
                "for requirements"
            )
        return any(jwt.verify(token, key) for key in fitting)

    async def _read(self, issuer: str) -> list[dict[str, Any]]:
        file = self.file(issuer)
        try:
            if file.is_file():
                return _keys_of(json.loads(file.read_text()))
            return await asyncio.to_thread(_fetch, issuer)
        except (OSError, ValueError, RecursionError):
            raise api.IDPCommunicationErrorException(
                f"The keys of {issuer} could not be read. Without a network, put its JSON Web Key Set into {file}."
            ) from None

    def file(self, issuer: str) -> Path:
        """Where the keys of an issuer stand if they are given as a file."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", issuer.removeprefix("https://").rstrip("/")).lstrip(".")
        return self._cloud.data / "sts" / "keys" / f"{name}.json"


def _fitting(known: KeySet, token: jwt.Token) -> list[dict[str, Any]]:
    """The keys that may have signed it: those of its key id; all when it names none."""
    return [key for key in known.keys if key.get("use", "sig") == "sig" and token.key_id in ("", key.get("kid"))]


def _keys_of(document: Any) -> list[dict[str, Any]]:
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a key set")
    return [key for key in keys if isinstance(key, dict)]


def _fetch(issuer: str) -> list[dict[str, Any]]:
    address = issuer if "://" in issuer else f"https://{issuer}"
    discovery = _get(address.rstrip("/") + "/.well-known/openid-configuration")
    if not isinstance(discovery, dict) or not isinstance(discovery.get("jwks_uri"), str):
        raise ValueError("no jwks_uri")
    return _keys_of(_get(discovery["jwks_uri"]))


def _get(address: str) -> Any:
    if not address.startswith("https://"):
        raise ValueError("only https")
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return json.loads(answer.read(_LARGEST))
