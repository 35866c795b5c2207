"""Reading what users upload: certificates, private keys and SSH public keys.

cryptography is imported when first needed: it costs some MB that most daemons never need.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from cloudstead.services.iam import api


class SshKey(msgspec.Struct, frozen=True):
    body: str  # "ssh-rsa AAAA…"
    fingerprint: str  # MD5, in pairs of digits


def certificate(pem: str) -> Any:
    """An X.509 certificate (cryptography's) from its PEM form; ValueError when it is none."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode("latin-1"))


def private_key(pem: str) -> Any:
    """
    Raises:
        MalformedCertificateException
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem.encode("latin-1"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a password
        raise api.MalformedCertificateException("Could Not Decode Private Key") from None


def server_pair(body: str, key: str, chain: str) -> float:
    """Check a certificate with its key and chain; returns when it expires.

    Raises:
        MalformedCertificateException, KeyPairMismatchException
    """
    from cryptography import x509

    try:
        found = certificate(body)
    except ValueError:
        raise api.MalformedCertificateException("Unable to parse certificate. Please ensure the certificate is in PEM format.") from None
    if found.public_key() != private_key(key).public_key():
        raise api.KeyPairMismatchException("The private key does not match the certificate.")
    if chain:
        try:
            x509.load_pem_x509_certificates(chain.encode("latin-1"))
        except ValueError:
            raise api.MalformedCertificateException("Unable to parse certificate chain.") from None
    return float(found.not_valid_after_utc.timestamp())


def ssh_key(body: str) -> SshKey:
    """An RSA key in the form of OpenSSH or in PEM.

    Raises:
        UnrecognizedPublicKeyEncodingException, InvalidPublicKeyException
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key, load_ssh_public_key

    data = body.strip().encode("latin-1")
    if not data.startswith((b"ssh-", b"ecdsa-", b"-----BEGIN")):
        raise api.UnrecognizedPublicKeyEncodingException("The encoding of the public key is not recognized.")
    try:
        key = load_pem_public_key(data) if data.startswith(b"-----BEGIN") else load_ssh_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise api.InvalidPublicKeyException("The public key is not valid.") from None
    if not isinstance(key, RSAPublicKey) or not 2048 <= key.key_size <= 16384:
        raise api.InvalidPublicKeyException("The public key must be an RSA key of 2048 to 16384 bits.")
    text = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    digest = hashlib.md5(base64.b64decode(text.split()[1]), usedforsecurity=False).hexdigest()
    return SshKey(text, ":".join(digest[at : at + 2] for at in range(0, 32, 2)))


def ssh_key_as_pem(body: str) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

    return load_ssh_public_key(body.encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
