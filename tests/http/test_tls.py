"""TLS with our own authority: names, the user's certificates, the same behaviour as in the clear."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from stack import QUICK, Client, both_loops, echo, get, post, run, until

from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.http.tls import Authority, Certificates


def trusting(directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(port: int, context: ssl.SSLContext, name: str) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name))


def certified_names(client: Client) -> set[str]:
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))


@both_loops
def test_each_host_name_gets_a_certificate_that_covers_it(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        certificates = Certificates(Authority.open(tmp_path), suffixes=["localhost", "localhost.cloudstead.test"])
        server = Server(echo, limits=QUICK)
        port = await server.listen_tcp("127.0.0.1", tls=certificates.server_context())
        context = trusting(tmp_path)
        for name, covered in (
            ("localhost", "localhost"),
            ("127.0.0.1", "localhost"),
            ("bucket.localhost", "bucket.localhost"),
            ("abc.execute-api.us-east-1.localhost", "*.execute-api.us-east-1.localhost"),
            ("bucket.s3.localhost.cloudstead.test", "*.s3.localhost.cloudstead.test"),
        ):
            client = await connect(port, context, name)
            assert covered in certified_names(client)
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert (await client.ask(post(b"hello")))[2] == b"POST / 5 hello"
            client.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, context, "example.com")
        await server.stop()

    run(main(), loop)


def test_the_authority_is_kept_and_private(tmp_path: Path) -> None:
    first, second = Authority.open(tmp_path / "tls"), Authority.open(tmp_path / "tls")
    assert first.pem == second.pem
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600
    leaf = x509.load_pem_x509_certificate(first.leaf(["a", "::1"])[0])
    leaf.verify_directly_issued_by(first.certificate)
    assert leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=91)


def test_a_certificate_of_the_users_own_is_served_for_its_names(tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other")
    certificate, key = other.leaf(["api.example.com", "*.example.org"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)

    async def main() -> None:
        certificates = Certificates(Authority.open(tmp_path / "ours"))
        assert certificates.add(tmp_path / "cert.pem", tmp_path / "key.pem") == ("api.example.com", "*.example.org")
        server = Server(echo, limits=QUICK)
        port = await server.listen_tcp("127.0.0.1", tls=certificates.server_context())
        for name in ("api.example.com", "x.example.org"):
            client = await connect(port, trusting(tmp_path / "other"), name)
            assert (await client.ask(get()))[0] == 200
            client.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, trusting(tmp_path / "other"), "localhost")
        await server.stop()

    run(main())


def test_hostile_host_names_get_the_default_and_cost_no_memory(tmp_path: Path) -> None:
    certificates = Certificates(Authority.open(tmp_path), suffixes=["localhost"])
    default = certificates.for_name("localhost")
    for name in ("", ".", "..localhost", "a" * 64 + ".localhost", "é.localhost", "a b.localhost", "*.localhost", "example.com"):
        assert certificates.for_name(name) is default
    assert certificates.for_name("x.y.localhost") is certificates.for_name("z.y.LOCALHOST.")
    for number in range(300):
        certificates.for_name(f"n{number}.localhost")
    assert len(certificates._made) <= 256


@both_loops
def test_files_and_streams_over_tls(loop: str, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "file").write_bytes(data)

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/file":
            return HttpResponse(200, body=FileRegion(os.open(tmp_path / "file", os.O_RDONLY), 10, 1_500_000))

        async def body() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                yield piece

        return HttpResponse(200, [("X-Secure", str(request.secure))], body())

    async def main() -> None:
        server = Server(handler, limits=QUICK)
        port = await server.listen_tcp("127.0.0.1", tls=Certificates(Authority.open(tmp_path)).server_context())
        client = await connect(port, trusting(tmp_path), "localhost")
        assert (await client.ask(get("/file")))[2] == data[10:1_500_010]
        _, headers, got = await client.ask(post(data, "/echo"))
        assert got == data
        assert headers["x-secure"] == "True"
        client.close()
        await until(lambda: not server.connections)
        await server.stop()

    run(main(), loop)


@both_loops
def test_plain_text_and_broken_handshakes_leave_nothing(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        server = Server(echo, limits=QUICK)
        port = await server.listen_tcp("127.0.0.1", tls=Certificates(Authority.open(tmp_path)).server_context())
        for wire in (get(), b"\x16\x03\x01\x00\x05hello", b"", os.urandom(500)):
            client = await Client.connect(port)
            client.send(wire)
            client.writer.write_eof()
            await asyncio.wait_for(client.at_end(), 5)
            client.close()
        client = await connect(port, trusting(tmp_path), "localhost")
        assert (await client.ask(get()))[0] == 200
        client.close()
        await until(lambda: not server.connections)
        await server.stop()

    run(main(), loop)
