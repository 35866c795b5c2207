"""TLS from a certificate authority of this installation's own.

The authority is made once and kept in the data directory; a user who wants `https://` without warnings trusts `ca.pem`. Leaf certificates are made
in memory when a name is first asked for (SNI), which takes about a millisecond, and are short-lived because nothing renews a leaf that is never
kept: a daemon that runs for longer makes the next one in time.

`cryptography` costs 40 ms to import; this module is imported only where TLS is configured.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
RENEW_DAYS = 30  # a leaf with less than this left is not served any more
MAX_NAMES = 256  # certificates made on demand that are kept; a client can ask for any name below the allowed ones
ONE_DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority: a key and a self-signed certificate in two files."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """The authority in `directory` (`ca.pem`, `ca.key`), made there when there is none.

        Raises:
            ValueError: the files are damaged.
        """
        certificate, key = directory / "ca.pem", directory / "ca.key"
        if not (certificate.exists() and key.exists()):
            made = cls._make()
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(key, _key_pem(made._key), 0o600)
            _write(certificate, made.pem, 0o644)
            return made
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key} is not an elliptic curve key")
        return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)

    @classmethod
    def _make(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cloudstead local authority")])
        builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, names: Iterable[str]) -> tuple[bytes, bytes]:
        """A certificate for these host names and addresses, with the authority's behind it, and its key; both PEM."""
        names = list(names)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        builder = _builder(subject, self.certificate.subject, key.public_key(), LEAF_DAYS)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension, critical in (
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (issuer, False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM) + self.pem, _key_pem(key)


class Certificates:
    """Which certificate a client gets: the user's own for the names they cover, else one made for the name it asks for."""

    def __init__(
        self, authority: Authority, names: Iterable[str] = ("localhost", "127.0.0.1", "::1"), *, suffixes: Iterable[str] = ()
    ) -> None:
        """
        Args:
            names: what the default certificate covers; it is served to clients that name nothing.
            suffixes: domains below which any name is certified on demand, without the leading dot.
        """
        self._authority = authority
        self._names = tuple(names)
        self._suffixes = tuple("." + suffix.lower() for suffix in suffixes)
        self._own: dict[str, ssl.SSLContext] = {}  # by exact name or "*.domain"
        self._made: dict[str, tuple[ssl.SSLContext, datetime.datetime]] = {}

    def add(self, certificate: Path, key: Path) -> tuple[str, ...]:
        """Serve a certificate of the user's for the names that stand in it; returns them.

        Raises:
            OSError, ValueError, ssl.SSLError: a file cannot be read or the two do not belong together.
        """
        context = _context(certificate, key)
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))
        self._own.update(dict.fromkeys(names, context))
        return names

    def server_context(self) -> ssl.SSLContext:
        """The context to listen with. Others take its place during the handshake when the client names a host."""
        context = self._certified(self._names)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, initial: ssl.SSLContext) -> None:
        connection.context = self.for_name(name or "")

    def for_name(self, name: str) -> ssl.SSLContext:
        """The context for a host name; the default one for names that are not ours, and for none."""
        name = name.lower().rstrip(".")
        own = self._own.get(name) or self._own.get("*." + name.partition(".")[2])
        if own is not None:
            return own
        if name in self._names or not name.endswith(self._suffixes) or not _is_host_name(name):
            return self._certified(self._names)
        # One label deep, a wildcard serves all siblings: buckets and APIs come by the hundred.
        label, _, domain = name.partition(".")
        return self._certified((f"*.{domain}", domain) if label and "." in domain else (name,))

    def _certified(self, names: tuple[str, ...]) -> ssl.SSLContext:
        now = datetime.datetime.now(datetime.UTC)
        known = self._made.get(names[0])
        if known is not None and known[1] > now:
            return known[0]
        certificate, key = self._authority.leaf(names)
        with tempfile.TemporaryDirectory() as directory:  # ssl loads certificates from files only
            paths = Path(directory) / "certificate", Path(directory) / "key"
            for path, pem in zip(paths, (certificate, key), strict=True):
                _write(path, pem, 0o600)
            context = _context(*paths)
        while len(self._made) >= MAX_NAMES:
            del self._made[next(iter(self._made))]
        self._made[names[0]] = context, now + ONE_DAY * (LEAF_DAYS - RENEW_DAYS)
        return context


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - ONE_DAY)  # a client's clock may be behind
        .not_valid_after(now + ONE_DAY * days)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_host_name(name: str) -> bool:
    labels = name.split(".")
    return (
        len(name) < 254
        and all(label and len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels)
        and name.isascii()
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all; nobody else can read it before its mode says so."""
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    partial.replace(path)
