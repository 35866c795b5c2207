"""JSON Web Tokens: reading them, and checking their signatures with JSON Web Keys. RFC 7519, 7515, 7517, 7518.

Only RS256/384/512 and ES256/384/512 are taken. The algorithm is the key's as much as the token's: an RSA key never checks anything but RS…, so a
token cannot choose to be checked with a public key as if that were a shared secret, nor not at all.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_HASHES: Final = ("256", "384", "512")  # bits of SHA-2
_CURVES: Final = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_LARGEST_RSA: Final = 1024  # bytes of modulus: a bigger one only costs time


class Invalid(ValueError):
    """Not a token."""


class Token(msgspec.Struct, frozen=True):
    """A token, read but not verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        return str(self.header.get("alg", ""))

    @property
    def key_id(self) -> str:
        return str(self.header.get("kid", ""))


def read(text: str) -> Token:
    """Take a token in compact form apart.

    Raises:
        Invalid
    """
    parts = text.split(".")
    if len(parts) != 3:
        raise Invalid("three parts are needed")
    return Token(_object(parts[0]), _object(parts[1]), f"{parts[0]}.{parts[1]}".encode(), decode(parts[2]))


def decode(text: str) -> bytes:
    """base64url without padding.

    Raises:
        Invalid
    """
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("not base64url") from None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(decode(text), parse_constant=_constant)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()  # neither half characters nor numbers beyond all bounds
    except (ValueError, RecursionError):
        raise Invalid("not JSON") from None
    if not isinstance(found, dict):
        raise Invalid("not an object")
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON


def verify(token: Token, key: Mapping[str, Any]) -> bool:
    """Whether this JSON Web Key has signed the token."""
    try:
        if key.get("kty") == "RSA":
            return _verify_rsa(token, key)
        if key.get("kty") == "EC":
            return _verify_ec(token, key)
    except (Invalid, ValueError, TypeError, KeyError):
        return False  # a key that makes no sense has signed nothing
    return False


def _verify_rsa(token: Token, key: Mapping[str, Any]) -> bool:
    # cryptography takes 50 ms to import, and few calls need it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if token.algorithm[:2] != "RS" or token.algorithm[2:] not in _HASHES or key.get("alg", token.algorithm) != token.algorithm:
        return False
    modulus, exponent = decode(key["n"]), decode(key["e"])
    if len(modulus) > _LARGEST_RSA or len(exponent) > 8:
        return False
    public = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    try:
        public.verify(token.signature, token.signed, padding.PKCS1v15(), _hash(token.algorithm[2:]))
    except InvalidSignature:
        return False
    return True


def _verify_ec(token: Token, key: Mapping[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    algorithm, size = _CURVES.get(str(key.get("crv")), ("", 0))
    if not algorithm or token.algorithm != algorithm or len(token.signature) != 2 * size:
        return False
    curve: ec.EllipticCurve = ec.SECP256R1() if size == 32 else ec.SECP384R1() if size == 48 else ec.SECP521R1()
    x, y = int.from_bytes(decode(key["x"]), "big"), int.from_bytes(decode(key["y"]), "big")
    r, s = int.from_bytes(token.signature[:size], "big"), int.from_bytes(token.signature[size:], "big")
    try:
        ec.EllipticCurvePublicNumbers(x, y, curve).public_key().verify(
            encode_dss_signature(r, s), token.signed, ec.ECDSA(_hash(algorithm[2:]))
        )
    except InvalidSignature:
        return False
    return True


def _hash(bits: str) -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256() if bits == "256" else hashes.SHA384() if bits == "384" else hashes.SHA512()
