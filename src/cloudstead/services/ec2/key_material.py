"""Keys for SSH: made, read, and their fingerprints in the several ways of EC2. cryptography is imported when first needed.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

from cloudstead.services.ec2.failures import failure


class Key(NamedTuple):
    kind: str  # rsa, ed25519
    fingerprint: str
    public: str  # a line of OpenSSH's


def generate(kind: str) -> tuple[Key, str]:
    """A new key, and its private half as PEM."""
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    if kind == "ed25519":
        own = ed25519.Ed25519PrivateKey.generate()
        pem = own.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        line = own.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        return Key(kind, _sha256(line), line), pem.decode()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Key("rsa", _colons(hashlib.sha1(der, usedforsecurity=False).hexdigest()), line), pem.decode().rstrip("\n")


def read(material: bytes) -> Key:
    """A public key in OpenSSH's form (or that in base64 once more, or PEM).

    Raises:
        InvalidKey.Format
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key, load_ssh_public_key

    text = material.strip()
    try:
        public = load_pem_public_key(text) if text.startswith(b"-----BEGIN") else load_ssh_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise _bad() from None
    line = (
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() if isinstance(public, Ed25519PublicKey | RSAPublicKey) else ""
    )
    comment = text.decode("utf-8", "replace").split(None, 2)[2:] if not text.startswith(b"-----BEGIN") else []
    kept = " ".join([line, *comment])
    if isinstance(public, Ed25519PublicKey):
        return Key("ed25519", _sha256(line), kept)
    if isinstance(public, RSAPublicKey) and public.key_size in (1024, 2048, 4096):
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Key("rsa", _colons(hashlib.md5(der, usedforsecurity=False).hexdigest()), kept)
    raise _bad()


def _bad() -> Exception:
    return failure("InvalidKey.Format", "Key is not in valid OpenSSH public key format")


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _sha256(line: str) -> str:
    return base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode()
