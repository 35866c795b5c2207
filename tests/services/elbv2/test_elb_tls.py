"""Where TLS ends: certificates for the names of the wanted ones, versions by the security policy."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from balanced import World, echo, forward, named, world
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloudstead.services.elbv2 import api
from cloudstead.services.iam import api as iam


def pair(name: str) -> tuple[str, str]:
    """A certificate for a host name, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName(f"*.{name}")]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return certificate, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


async def uploaded(lb: World, host: str) -> list[api.Certificate]:
    body, key = pair(host)
    request = iam.UploadServerCertificateRequest(server_certificate_name="shop", certificate_body=body, private_key=key)
    metadata = (await lb.call(request)).server_certificate_metadata
    return [api.Certificate(certificate_arn=metadata.arn)]


def trusting(lb: World, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(lb.cloud.data / "tls" / "ca.pem"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


async def ask(lb: World, port: int, host: str, context: ssl.SSLContext) -> str:
    reader, writer = await asyncio.open_connection(lb.address, port, ssl=context, server_hostname=host)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()


async def test_https_is_for_the_names_of_the_certificate_and_of_the_load_balancer(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group), protocol="HTTPS", certificates=await uploaded(lb, "shop.example"))
        await lb.register(group, await lb.serve("echo", echo))
        for host in ("shop.example", "www.shop.example", str(lb.balancer.dns_name)):
            answer = await ask(lb, port, host, trusting(lb))
            assert answer.startswith("HTTP/1.1 200")
            assert '"X-Forwarded-Proto":"https"' in answer
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(lb, port, "other.example", trusting(lb))


@pytest.mark.parametrize(
    ("policy", "version", "spoken"),
    [
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", ssl.TLSVersion.TLSv1_2, False),
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", ssl.TLSVersion.TLSv1_3, True),
        ("ELBSecurityPolicy-2016-08", ssl.TLSVersion.TLSv1_2, True),
        ("ELBSecurityPolicy-2016-08", ssl.TLSVersion.TLSv1_3, False),
    ],
)
async def test_the_policy_decides_on_versions(tmp_path: Path, policy: str, version: ssl.TLSVersion, spoken: bool) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group()
        settings: dict[str, Any] = {"certificates": await uploaded(lb, "shop.example"), "ssl_policy": policy}
        _, port = await lb.listen(forward(group), protocol="HTTPS", **settings)
        await lb.register(group, await lb.serve("one", named("one")))
        if spoken:
            assert (await ask(lb, port, "shop.example", trusting(lb, version))).endswith("one")
        else:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(lb, port, "shop.example", trusting(lb, version))


async def test_a_network_load_balancer_ends_tls_and_relays_what_was_in_it(tmp_path: Path) -> None:
    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        _, port = await lb.listen(forward(group), protocol="TLS", certificates=await uploaded(lb, "shop.example"))
        await lb.register(group, await lb.serve("one", named("one")))
        assert (await ask(lb, port, "shop.example", trusting(lb))).endswith("one")
