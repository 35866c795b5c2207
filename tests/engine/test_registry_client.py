"""Pull and push: against Debian's docker-registry, with skopeo as a second opinion, and against registries that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from image_support import (
    Told,
    basic_auth,
    fetch,
    make_image,
    needs_registry,
    needs_skopeo,
    registry,
    run,
    shop,
    skopeo,
    tar_of,
)
from scripted_registry import ScriptedRegistry, basic, digest_of, scripted

from cloudstead.engine.errors import (
    EngineError,
    Failed,
    InvalidArgument,
    NotFound,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from cloudstead.engine.images import fetching, transport
from cloudstead.engine.images.api import Credentials, Platform
from cloudstead.engine.images.auth import Challenge, parse_challenges
from cloudstead.http.tls import Authority

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WAIT_SECONDS", 0.01)
    for name in ("push", "upload"):
        monkeypatch.setattr(f"cloudstead.engine.images.{name}.WAIT_SECONDS", 0.01)


@pytest.fixture(scope="module")
def debian_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def put(url: str, data: bytes, media_type: str) -> None:
    import urllib.request

    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": media_type})
    urllib.request.urlopen(request, timeout=20).close()


# ---------------------------------------------------------------------------------------------------------------- docker-registry


@needs_registry
def test_what_is_pushed_is_pulled_with_the_same_digests(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        name = f"{debian_registry}/team/app:1.0"
        async with shop(tmp_path / "a") as here:
            made = await make_image(here.images, name, {"a": b"1"}, {"b": os.urandom(9 << 20)}, {}, {"c": b"3"})
            told = Told()
            pushed = await here.images.push(name, tell=told)
            assert pushed == made.manifest
            assert told[0].status == f"The push refers to repository [{debian_registry}/team/app]"
            assert told[-1].status == f"1.0: digest: {pushed.digest} size: {pushed.size}"
            assert told.statuses()[1:-1] == ["Preparing", "Pushing", "Pushed"]
            assert here.images.resolve(name).digests == (f"{debian_registry}/team/app@{pushed.digest}",)
            again = Told()
            await here.images.push(name, tell=again)
            assert again.statuses()[1:-1] == ["Preparing", "Layer already exists"]
            await here.images.push(name, tell=again)
        async with shop(tmp_path / "b") as there:
            told = Told()
            pulled = await there.images.pull(name, tell=told)
            assert (pulled.id, pulled.manifest, pulled.config, pulled.layers) == (made.id, made.manifest, made.config, made.layers)
            assert pulled.digests == (f"{debian_registry}/team/app@{pushed.digest}",)
            assert pulled.tags == (name,)
            assert told[0].status == "Pulling from team/app"
            assert told[0].id == "1.0"
            assert [each.status for each in told[-2:]] == [f"Digest: {pushed.digest}", f"Status: Downloaded newer image for {name}"]
            for layer in pulled.layers:
                of_layer = list(dict.fromkeys(each.status for each in told if each.id == layer.digest[7:19]))
                assert [each for each in of_layer if each != "Waiting"] == [
                    "Pulling fs layer",
                    "Downloading",
                    "Verifying Checksum",
                    "Download complete",
                    "Extracting",
                    "Pull complete",
                ]
            assert len(there.snapshots.unpacked) == 4
            told = Told()
            await there.images.pull(name, tell=told)
            assert set(told.statuses()) == {
                "Pulling from team/app",
                "Already exists",
                f"Digest: {pushed.digest}",
                f"Status: Image is up to date for {name}",
            }
            by_digest = await there.images.pull(f"{debian_registry}/team/app@{pushed.digest}")
            assert by_digest.id == made.id
            assert not there.leftovers()

    run(story())


@needs_registry
@needs_skopeo
def test_skopeo_finds_and_copies_what_was_pushed(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            name = f"{debian_registry}/skopeo/app:1"
            made = await make_image(here.images, name, {"a": b"1"}, {"b": b"2"}, compress=False)
            await here.images.push(name)
            seen = json.loads(await asyncio.to_thread(skopeo, "inspect", "--tls-verify=false", f"docker://{name}"))
            assert seen["Digest"] == made.manifest.digest
            assert seen["Layers"] == [layer.digest for layer in made.layers]
            # Turned into Docker's own format, and compressed, by somebody else.
            other = f"{debian_registry}/skopeo/app:2"
            await asyncio.to_thread(
                skopeo,
                "copy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                "--format",
                "v2s2",
                f"docker://{name}",
                f"docker://{other}",
            )
            pulled = await here.images.pull(other)
            assert pulled.manifest.media_type == SCHEMA2
            assert pulled.config.rootfs == made.config.rootfs
            status, data = await asyncio.to_thread(fetch, f"http://{debian_registry}/v2/skopeo/app/manifests/2", Accept=SCHEMA2)
            assert status == 200
            assert await here.images.raw(pulled.manifest.digest) == data
            third = f"{debian_registry}/elsewhere:3"
            here.images.tag(other, third)
            assert (await here.images.push(third)).digest == digest_of(data)

    run(story())


@needs_registry
def test_a_layer_that_another_repository_has_is_mounted(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            first, second = f"{debian_registry}/mount/one:1", f"{debian_registry}/mount/two:1"
            await make_image(here.images, first, {"a": os.urandom(10_000)})
            await here.images.push(first)
            here.images.tag(first, second)
            told = Told()
            await here.images.push(second, tell=told)
            assert "Mounted from mount/one" in told.statuses()
            assert "Pushing" not in told.statuses()
            assert (
                await asyncio.to_thread(
                    fetch, f"http://{debian_registry}/v2/mount/two/manifests/1", Accept="application/vnd.oci.image.manifest.v1+json"
                )
            )[0] == 200

    run(story())


@needs_registry
def test_many_images_of_the_same_layers_are_pushed_and_pulled_at_once(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        shared = {"shared": os.urandom(2 << 20)}
        async with shop(tmp_path / "a") as here, shop(tmp_path / "b") as there:
            names = [f"{debian_registry}/many/app{number % 3}:{number}" for number in range(9)]
            made = [await make_image(here.images, name, shared, {"own": name.encode()}) for name in names]
            await asyncio.gather(*(here.images.push(name) for name in names))
            pulled = await asyncio.gather(*(there.images.pull(name) for name in names * 2))
            assert [image.id for image in pulled] == [image.id for image in made] * 2
            assert not there.leftovers()

    run(story())


@needs_registry
def test_what_is_not_there_is_said_in_dockers_words(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            name = f"{debian_registry}/words/app"
            await make_image(here.images, f"{name}:1", {"a": b"1"})
            await here.images.push(f"{name}:1")
            for reference, message in (
                (f"{name}:2", f"manifest for {name}:2 not found: manifest unknown: manifest unknown"),
                (
                    f"{debian_registry}/words/none:1",
                    f"manifest for {debian_registry}/words/none:1 not found: manifest unknown: manifest unknown",
                ),
                (f"{name}@sha256:{'0' * 64}", f"manifest for {name}@sha256:{'0' * 64} not found: manifest unknown: manifest unknown"),
            ):
                with pytest.raises(NotFound) as refused:
                    await here.images.pull(reference)
                assert refused.value.message == message
            with pytest.raises(NotFound, match=f"tag does not exist: {name}:3"):
                await here.images.push(f"{name}:3")
            with pytest.raises(InvalidArgument, match="cannot push a digest reference"):
                await here.images.push(f"{name}@sha256:{'0' * 64}")
            assert [image.tags for image in here.images.all()] == [(f"{name}:1",)]

    run(story())


@needs_registry
def test_a_registry_with_passwords_lets_in_who_knows_one(tmp_path: Path) -> None:
    async def story(address: str) -> None:
        right, wrong = Credentials("user", "pässword"), Credentials("user", "wrong")
        async with shop(tmp_path / "a") as here:
            name = f"{address}/app:1"
            await make_image(here.images, name, {"a": b"1"})
            for credentials in (None, wrong):
                with pytest.raises(Unauthorized):
                    await here.images.push(name, credentials=credentials)
                with pytest.raises(
                    NotFound, match=r"pull access denied for .*/app, repository does not exist or may require 'docker login'"
                ):
                    await here.images.pull(name, credentials=credentials)
            with pytest.raises(Unauthorized, match=r"login attempt to .* failed"):
                await here.images.check_credentials(address, wrong)
            await here.images.check_credentials(address, right)
            await here.images.push(name, credentials=right)
            assert (await here.images.pull(name, credentials=right)).tags == (name,)
            descriptor, platforms = await here.images.inspect_remote(name, credentials=right)
            assert descriptor == here.images.resolve(name).manifest
            assert platforms == (Platform("linux", "amd64"),)

    with registry(tmp_path / "r", auth=basic_auth(tmp_path / "r", "user", "pässword")) as address:
        run(story(address))


@needs_registry
def test_a_registry_with_tls_is_trusted_when_its_authority_is(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "ca")
    certificate, key = authority.leaf(["registry.test", "localhost", "127.0.0.1"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)

    async def story(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        port = address.partition(":")[2]
        monkeypatch.setattr(transport.Transport, "is_insecure", lambda self, domain: False)
        trusted = tmp_path / "certs.d" / f"localhost:{port}"
        trusted.mkdir(parents=True)
        async with shop(tmp_path / "a") as here:
            name = f"localhost:{port}/app:1"
            await make_image(here.images, name, {"a": b"1"})
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await here.images.push(name)
            (trusted / "ca.crt").write_bytes(authority.pem)
            here.images._room.transport = transport.Transport(here.images._room.clock, (), (tmp_path / "certs.d",))
            await here.images.push(name)
            assert (await here.images.pull(name)).tags == (name,)
            here.images.tag(name, f"127.0.0.2:{port}/app:1")
            with pytest.raises(Unavailable):  # the name is another
                await here.images.push(f"127.0.0.2:{port}/app:1")
            await here.images.stop()

    with (
        registry(tmp_path / "r", tls=(tmp_path / "cert.pem", tmp_path / "key.pem")) as address,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        run(story(address, monkeypatch))


@needs_registry
def test_on_this_machine_any_certificate_will_do(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "ca")
    certificate, key = authority.leaf(["somebody.else"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)

    async def story(address: str) -> None:
        async with shop(tmp_path / "a") as here:
            await make_image(here.images, f"{address}/app:1", {"a": b"1"})
            await here.images.push(f"{address}/app:1")
            await here.images.pull(f"{address}/app:1")

    with registry(tmp_path / "r", tls=(tmp_path / "cert.pem", tmp_path / "key.pem")) as address:
        run(story(address))


@needs_registry
def test_all_tags_of_a_repository_are_listed(tmp_path: Path, debian_registry: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            name = f"{debian_registry}/tags/app"
            await make_image(here.images, f"{name}:0", {"a": b"1"})
            tags = [str(number) for number in range(7)]
            for tag in tags:
                here.images.tag(f"{name}:0", f"{name}:{tag}")
                await here.images.push(f"{name}:{tag}")
            assert set(await here.images.remote_tags(name)) == set(tags)
            with pytest.raises(NotFound, match=r"repository .*/tags/none not found: name unknown"):
                await here.images.remote_tags(f"{debian_registry}/tags/none")
        async with scripted() as remote, shop(tmp_path / "b") as here:
            for tag in tags:
                remote.add_image(tag)
            assert await here.images.remote_tags(f"{remote.address}/app") == tuple(tags)
            assert len(remote.seen("GET", "tags/list")) == 4
            assert len(remote.seen("GET", "last=5")) == 1

    run(story())


# ---------------------------------------------------------------------------------------------------------------- tokens, for real


class TokenServer(ThreadingHTTPServer):
    """Signs tokens that docker-registry checks (distribution's docs/spec/auth/jwt.md)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), TokenHandler)
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        import datetime

        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )
        (folder / "bundle.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was given up has gone."""

    def token(self, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if not name.startswith("private/"):
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": "tests",
            "aud": "registry",
            "sub": "user",
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": access,
        }
        chain = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        parts = [_encode({"typ": "JWT", "alg": "ES256", "x5c": [chain]}), _encode(claims)]
        r, s = decode_dss_signature(self.key.sign(".".join(parts).encode(), ec.ECDSA(hashes.SHA256())))
        parts.append(base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode().rstrip("="))
        return ".".join(parts)


def _encode(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


class TokenHandler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        from urllib.parse import parse_qs, urlsplit

        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(self.path)
        allowed = self.headers.get("Authorization") == basic("user", "secret")
        body = json.dumps({"token": self.server.token(query.get("scope", []))}).encode() if allowed else b"{}"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@contextlib.contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    folder.mkdir(parents=True)
    with TokenServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@needs_registry
def test_a_registry_with_tokens_lets_in_who_gets_one(tmp_path: Path) -> None:
    async def story(address: str, tokens: TokenServer) -> None:
        known = Credentials("user", "secret")
        async with shop(tmp_path / "a") as here:
            first, second = f"{address}/team/app:1", f"{address}/team/other:1"
            await make_image(here.images, first, {"a": os.urandom(6 << 20)}, {"b": b"2"})
            with pytest.raises(Unauthorized):
                await here.images.push(first)
            await here.images.push(first, credentials=known)
            here.images.tag(first, second)
            told = Told()
            await here.images.push(second, credentials=known, tell=told)  # with both repositories in one token
            assert "Mounted from team/app" in told.statuses()
            assert any(each.count("scope=") == 2 for each in tokens.asked)
            assert all("account=user" in each and "service=registry" in each for each in tokens.asked if "account" in each)
            await here.images.pull(first, credentials=known)
            await here.images.check_credentials(address, known)
            with pytest.raises(Unauthorized):
                await here.images.check_credentials(address, Credentials("user", "wrong"))
            here.images.tag(first, f"{address}/private/app:1")
            with pytest.raises(Unauthorized):
                await here.images.push(f"{address}/private/app:1", credentials=known)

    with token_server(tmp_path / "r") as tokens:
        realm = f"http://127.0.0.1:{tokens.server_address[1]}/token"
        bundle = tmp_path / "r" / "bundle.pem"
        auth = f"auth: {{token: {{realm: '{realm}', service: registry, issuer: tests, rootcertbundle: {bundle}}}}}"
        with registry(tmp_path / "r", auth=auth) as address:
            run(story(address, tokens))


# ---------------------------------------------------------------------------------------------------------------- challenges and tokens


@pytest.mark.parametrize(
    ("lines", "challenges"),
    [
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://auth/token",service="registry",scope="repository:a/b:pull,push"'],
            [Challenge("bearer", {"realm": "https://auth/token", "service": "registry", "scope": "repository:a/b:pull,push"})],
        ),
        (
            ['Basic realm="a, b=\\"c\\"", Bearer realm=https://x , service = y'],
            [Challenge("basic", {"realm": 'a, b="c"'}), Challenge("bearer", {"realm": "https://x", "service": "y"})],
        ),
        (["Negotiate", "BASIC REALM=x"], [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        (['Bearer realm="unclosed'], [Challenge("bearer", {})]),
        (["", '"', "=", "a=b", ","], []),
    ],
)
def test_challenges_are_read(lines: list[str], challenges: list[Challenge]) -> None:
    assert parse_challenges(lines) == challenges


def test_a_challenge_made_to_be_slow_is_read_quickly() -> None:
    begun = time.perf_counter()
    for text in ('Bearer realm="' + "\\" * 100_000, "Basic " + "a=" * 50_000, "Basic " + " " * 100_000 + "!", "Basic " + "a=b," * 20_000):
        parse_challenges([text])
    assert time.perf_counter() - begun < 2


def test_an_identity_token_is_exchanged(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted(tokens=[{"access_token": "t1", "expires_in": 300}]) as remote, shop(tmp_path / "a") as here:
            remote.challenge = f'Bearer realm="http://{remote.address}/token",service="svc"'
            remote.add_image("1", tar_of({"a": b"1"}))
            await here.images.pull(f"{remote.address}/team/app:1", credentials=Credentials(identity_token="identity"))
            (method, _, body, authorization) = remote.token_requests[0]
            assert (method, authorization) == ("POST", "")
            assert "grant_type=refresh_token" in body
            assert "refresh_token=identity" in body
            assert "scope=repository%3Ateam%2Fapp%3Apull" in body
            assert len(remote.token_requests) == 1  # one token for all requests

    run(story())


def test_a_registry_token_is_used_as_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted(challenge="Bearer realm=x", accepts={"Bearer given"}) as remote, shop(tmp_path / "a") as here:
            remote.add_image("1", tar_of({"a": b"1"}))
            await here.images.pull(f"{remote.address}/app:1", credentials=Credentials(registry_token="given"))
            with pytest.raises(NotFound):
                await here.images.pull(f"{remote.address}/app:1", credentials=Credentials(registry_token="other"))
            assert not remote.token_requests

    run(story())


def test_a_token_that_ran_out_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        tokens = [{"token": f"t{number}", "expires_in": 1000} for number in range(9)]
        async with scripted(tokens=tokens) as remote, shop(tmp_path / "a") as here:
            remote.challenge = f'Bearer realm="http://{remote.address}/token",service="svc",scope="x"'
            remote.add_image("1", tar_of({"a": b"1"}), tar_of({"b": b"2"}))
            plain = remote.answer

            async def forgetful(request: Any) -> Any:
                if "/blobs/" in request.path and request.headers.get("authorization") == "Bearer t0":
                    remote.accepts.discard("Bearer t0")
                return await plain(request)

            remote.answer = forgetful  # type: ignore[method-assign]
            from cloudstead.http.server import Server

            server = Server(forgetful)
            remote.address = f"127.0.0.1:{await server.listen_tcp('127.0.0.1')}"
            await here.images.pull(f"{remote.address}/app:1")
            await server.stop(0.5)
            assert len(remote.token_requests) in (2, 3)

    run(story())


def test_a_password_is_not_sent_unencrypted_for_a_registry_that_is_elsewhere(tmp_path: Path) -> None:
    from cloudstead.engine.images.auth import Authorizer
    from cloudstead.kernel.clock import SystemClock

    asked: list[str] = []

    async def ask(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        asked.append(url)
        return 200, b'{"token": "x"}'

    async def story() -> None:
        authorizer = Authorizer(Credentials("user", "secret"), ask, SystemClock(), secure=True)
        assert authorizer.challenged(parse_challenges(['Bearer realm="http://evil/token"']), frozenset({"s"}), None)
        with pytest.raises(Unauthorized, match="unencrypted"):
            await authorizer.header(frozenset({"s"}))
        for realm in ("ftp://x/", "file:///etc/passwd", "nothing", "//x"):
            authorizer.challenged([Challenge("bearer", {"realm": realm})], frozenset(), None)
            with pytest.raises(InvalidArgument):
                await authorizer.header(frozenset())
        assert asked == []

    run(story())


# ---------------------------------------------------------------------------------------------------------------- downloads that go wrong


def big_layer(seed: int = 1, size: int = 700_000) -> bytes:
    return tar_of({"big": random.Random(seed).randbytes(size)})


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_is_gone_on_with(tmp_path: Path, ranges: bool) -> None:
    async def story() -> None:
        async with scripted(ranges=ranges) as remote, shop(tmp_path / "a") as here:
            layer = big_layer()
            remote.add_image("1", layer)
            remote.break_after = [-1, 300_000, 500_000 if not ranges else 200_000]  # the first is the configuration
            told = Told()
            image = await here.images.pull(f"{remote.address}/app:1", tell=told)
            assert image.layers[0].digest == digest_of(layer)
            asked = [headers.get("range") for _, headers in remote.seen("GET", digest_of(layer))]
            assert asked[0] is None
            assert asked[1] is not None
            assert int(asked[1][6:-1]) > 100_000
            assert "Retrying" in told.statuses()

    run(story())


def test_a_download_that_was_given_up_is_gone_on_with_by_the_next_pull_of_another_process(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote:
            layer = big_layer()
            remote.add_image("1", layer)
            remote.break_after = [-1, 300_000, 0, 0, 0, 0, 0]
            async with shop(tmp_path / "a") as here:
                with pytest.raises(Unavailable):
                    await here.images.pull(f"{remote.address}/app:1")
                assert here.images.all() == []
            remote.break_after = []
            remote.requests.clear()
            async with shop(tmp_path / "a") as here:
                await here.images.pull(f"{remote.address}/app:1")
                (_, headers), *more = remote.seen("GET", digest_of(layer))
                assert not more
                assert int(headers["range"][6:-1]) >= 100_000
                assert not here.leftovers()

    run(story())


def test_what_was_left_damaged_is_loaded_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            layer = big_layer()
            remote.add_image("1", layer)
            async with here.images.content.ingest("pull-" + digest_of(layer).replace(":", "-")) as opened:
                await opened.write(b"damaged" * 1000)
            await here.images.pull(f"{remote.address}/app:1")
            assert [headers.get("range") for _, headers in remote.seen("GET", digest_of(layer))] == ["bytes=7000-", None]

    run(story())


@pytest.mark.parametrize("lie", ["other", "shorter", "longer"])
def test_a_layer_that_is_not_what_its_digest_says_is_refused(tmp_path: Path, lie: str) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            layer = big_layer(size=50_000)
            remote.add_image("1", layer)
            remote.blobs[digest_of(layer)] = {"other": b"x" * len(layer), "shorter": layer[:-1], "longer": layer + b"x"}[lie]
            with pytest.raises(EngineError) as refused:
                await here.images.pull(f"{remote.address}/app:1")
            assert isinstance(refused.value, Failed | Unavailable)
            assert here.images.all() == []
            assert digest_of(layer) not in here.blobs()
            remote.blobs[digest_of(layer)] = layer
            await here.images.pull(f"{remote.address}/app:1")

    run(story())


def test_a_layer_whose_diff_id_is_another_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            rootfs = {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}
            remote.add_image("1", tar_of({"a": b"1"}), config={"rootfs": rootfs})
            with pytest.raises(InvalidArgument):
                await here.images.pull(f"{remote.address}/app:1")
            remote.add_image("2", tar_of({"a": b"1"}), config={"rootfs": {"type": "layers", "diff_ids": []}})
            with pytest.raises(InvalidArgument, match="1 layers, its configuration 0"):
                await here.images.pull(f"{remote.address}/app:2")
            assert here.images.all() == []

    run(story())


def test_three_layers_are_loaded_at_once_and_unpacked_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted(slow=0.03) as remote, shop(tmp_path / "a") as here:
            layers = [tar_of({f"f{number}": b"x"}) for number in range(10)]
            remote.add_image("1", *layers)
            told = Told()
            await here.images.pull(f"{remote.address}/app:1", tell=told)
            assert remote.most_at_once == 3
            assert "Waiting" in told.statuses()
            assert len(here.snapshots.unpacked) == 10
            first = next(number for number, each in enumerate(told) if each.status == "Pull complete")
            last = max(number for number, each in enumerate(told) if each.status == "Download complete")
            assert first < last, "unpacking waits for the last download"

    run(story())


def test_a_pull_that_is_given_up_leaves_no_image_and_can_be_repeated(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted(slow=0.1) as remote, shop(tmp_path / "a") as here:
            remote.add_image("1", *(big_layer(number, 100_000) for number in range(6)))
            for delay in (0.0, 0.02, 0.08, 0.13):
                task = asyncio.create_task(here.images.pull(f"{remote.address}/app:1"))
                await asyncio.sleep(delay)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert here.images.all() == []
            await here.images.pull(f"{remote.address}/app:1")
            assert not here.leftovers()

    run(story())


def test_when_one_of_two_pulls_of_the_same_layer_is_given_up_the_other_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted(slow=0.05) as remote, shop(tmp_path / "a") as here:
            remote.add_image("1", big_layer())
            first = asyncio.create_task(here.images.pull(f"{remote.address}/app:1"))
            second = asyncio.create_task(here.images.pull(f"{remote.address}/app:1"))
            third = asyncio.create_task(here.images.pull(f"{remote.address}/app:1"))
            await asyncio.sleep(0.09)
            first.cancel()
            assert (await second).id == (await third).id
            with pytest.raises(asyncio.CancelledError):
                await first

    run(story())


def test_a_redirect_takes_no_password_along(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as storage, scripted() as remote, shop(tmp_path / "a") as here:
            remote.challenge, remote.accepts = 'Basic realm="x"', {basic("user", "secret")}
            layer = big_layer()
            remote.add_image("1", layer)
            storage.blobs = remote.blobs
            remote.redirect = f"http://{storage.address}"
            await here.images.pull(f"{remote.address}/app:1", credentials=Credentials("user", "secret"))
            assert storage.requests
            assert all("authorization" not in headers for _, _, headers in storage.requests)
            assert all(target.endswith("signed=1") for _, target, _ in storage.requests)

    run(story())


def test_redirects_without_end_are_not_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            remote.add_image("1", big_layer())
            remote.redirect = f"http://{remote.address}"
            with pytest.raises(Failed, match="redirects more than"):
                await here.images.pull(f"{remote.address}/app:1")
            assert len(remote.requests) < 30
            for target in ("ftp://x", "http://[::1", "gopher:", "http://"):
                remote.redirect = target
                with pytest.raises(EngineError):
                    await here.images.pull(f"{remote.address}/app:1")

    run(story())


def test_a_foreign_layer_is_loaded_from_its_url_and_not_pushed(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as elsewhere, scripted() as remote, shop(tmp_path / "a") as here:
            layer = tar_of({"a": b"1"})
            media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar"
            elsewhere.blobs[digest_of(layer)] = layer
            urls = ["ftp://nowhere/", f"http://{elsewhere.address}/v2/x/blobs/{digest_of(layer)}"]
            described = [{"mediaType": media_type, "digest": digest_of(layer), "size": len(layer), "urls": urls}]
            remote.add_image("1", layer, layers=described)
            del remote.blobs[digest_of(layer)]
            image = await here.images.pull(f"{remote.address}/app:1")
            assert image.layers[0].urls == tuple(urls)
            remote.blobs.clear()
            await here.images.push(f"{remote.address}/app:1")
            assert set(remote.blobs) == {image.id}

    run(story())


def test_a_foreign_layer_that_nobody_serves_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            layer = tar_of({"a": b"1"})
            media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            fields = {"mediaType": media_type, "digest": digest_of(layer), "size": len(layer)}
            remote.add_image("1", layer, layers=[fields | {"urls": ["http://127.0.0.1:1/layer"]}])
            del remote.blobs[digest_of(layer)]
            with pytest.raises(Unavailable, match=r'Get "http://127\.0\.0\.1:1/layer": Cannot connect'):
                await here.images.pull(f"{remote.address}/app:1")

    run(story())


@pytest.mark.parametrize("system", ["windows", "unknown"])
def test_an_image_of_another_system_is_refused_before_its_layers_are_loaded(tmp_path: Path, system: str) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            layer = tar_of({"a": b"1"})
            remote.add_image("1", layer, config={"os": system})
            with pytest.raises(InvalidArgument, match=f'image operating system "{system}" cannot be used on this platform'):
                await here.images.pull(f"{remote.address}/app:1")
            assert not any(digest_of(layer) in target for _, target, _ in remote.requests)

    run(story())


# ---------------------------------------------------------------------------------------------------------------- manifests


def add_index(remote: ScriptedRegistry, tag: str, platforms: list[dict[str, str] | None], media_type: str = INDEX) -> list[bytes]:
    """An image for each platform; their manifests."""
    made, described = [], []
    for number, platform in enumerate(platforms):
        settings = {name: value for name, value in (platform or {}).items() if name in ("architecture", "os", "variant")}
        data = remote.add_image(f"{tag}-{number}", tar_of({"platform": json.dumps(platform).encode()}), config=settings)
        made.append(data)
        fields: dict[str, Any] = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest_of(data), "size": len(data)}
        described.append(fields | ({"platform": platform} if platform else {}))
    remote.add_manifest(tag, {"schemaVersion": 2, "mediaType": media_type, "manifests": described})
    return made


@pytest.mark.parametrize("media_type", [INDEX, LIST])
def test_of_many_platforms_the_right_one_is_chosen(tmp_path: Path, media_type: str) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            platforms: list[dict[str, str] | None] = [
                {"os": "unknown", "architecture": "unknown"},
                {"os": "windows", "architecture": "amd64", "os.version": "10.0.1"},
                {"os": "linux", "architecture": "arm", "variant": "v5"},
                {"os": "linux", "architecture": "arm", "variant": "v7"},
                {"os": "linux", "architecture": "arm64", "variant": "v8"},
                {"os": "linux", "architecture": "amd64"},
                {"os": "linux", "architecture": "amd64", "variant": "v3"},
            ]
            made = add_index(remote, "1", platforms, media_type)
            name = f"{remote.address}/app:1"
            for wanted, number in (
                (Platform("linux", "amd64"), 5),
                (Platform("linux", "amd64", "v3"), 6),
                (Platform("linux", "amd64", "v2"), 5),
                (Platform("linux", "arm64"), 4),
                (Platform("linux", "arm", "v7"), 3),
                (Platform("linux", "arm", "v6"), 2),
            ):
                image = await here.images.pull(name, platform=wanted)
                assert image.manifest.digest == digest_of(made[number]), wanted
                index = digest_of(remote.manifests["1"][0])
                assert f"{remote.address}/app@{index}" in image.digests
            for wanted, text in ((Platform("linux", "s390x"), "linux/s390x"), (Platform("linux", "arm64", "v7"), "linux/arm64/v7")):
                with pytest.raises(NotFound) as refused:
                    await here.images.pull(name, platform=wanted)
                assert refused.value.message == f"no matching manifest for {text} in the manifest list entries"
            arm = await here.images.pull(name, platform=Platform("linux", "arm64"))
            with pytest.raises(NotFound, match="wanted linux/amd64, actual: linux/arm64/v8"):
                here.images.resolve(name, platform=Platform("linux", "amd64"))
            assert here.images.resolve(name, platform=Platform("linux", "arm64", "v8")).id == arm.id
            told = Told()
            await here.images.pull(f"{remote.address}/app:1-4", platform=Platform("linux", "s390x"), tell=told)
            warning = "was found but does not match the specified platform: wanted linux/s390x, actual: linux/arm64/v8"
            assert [each.status for each in told if each.status.startswith("WARNING")] == [
                f"WARNING: image with reference {remote.address}/app:1-4 {warning}"
            ]
            target, offered = await here.images.inspect_remote(name)
            assert target.media_type == media_type
            assert [each.architecture for each in offered] == ["unknown", "amd64", "arm", "arm", "arm64", "amd64", "amd64"]

    run(story())


def test_an_index_in_an_index_is_followed_but_not_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            add_index(remote, "1", [{"os": "linux", "architecture": "amd64"}])
            for number in range(2, 6):
                inner = remote.manifests[str(number - 1)][0]
                fields = {"mediaType": INDEX, "digest": digest_of(inner), "size": len(inner)}
                remote.add_manifest(str(number), {"schemaVersion": 2, "mediaType": INDEX, "manifests": [fields]})
            await here.images.pull(f"{remote.address}/app:2", platform=Platform("linux", "amd64"))
            with pytest.raises(NotFound, match="more than 3 indexes"):
                await here.images.pull(f"{remote.address}/app:5")

    run(story())


@pytest.mark.parametrize(
    ("fields", "media_type", "error"),
    [
        ({"schemaVersion": 1, "name": "x"}, "application/vnd.docker.distribution.manifest.v1+prettyjws", Unsupported),
        ({"schemaVersion": 1, "name": "x"}, "", Unsupported),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []}, INDEX, InvalidArgument),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "config": {}}, INDEX, InvalidArgument),
        ({"schemaVersion": 2, "mediaType": SCHEMA2, "manifests": []}, SCHEMA2, InvalidArgument),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, SCHEMA2, InvalidArgument),
        ({"schemaVersion": 2, "mediaType": "text/html", "layers": []}, "text/html", InvalidArgument),
        ({"schemaVersion": 2, "layers": []}, SCHEMA2, InvalidArgument),
        (
            {"schemaVersion": 2, "config": {"mediaType": "x", "digest": "sha256:../../../../x", "size": 1}, "layers": []},
            SCHEMA2,
            InvalidArgument,
        ),
        ({"schemaVersion": 2, "config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": -1}}, SCHEMA2, InvalidArgument),
        ({"schemaVersion": 2, "config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1 << 62}}, SCHEMA2, InvalidArgument),
        (
            {"schemaVersion": 2, "config": {"mediaType": "application/x-helm", "digest": "sha256:" + "0" * 64, "size": 1}},
            SCHEMA2,
            Unsupported,
        ),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, INDEX, NotFound),
        ([1, 2], "", InvalidArgument),
        ("text", "", InvalidArgument),
        ({"schemaVersion": 2, "manifests": {}}, "", InvalidArgument),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, fields: Any, media_type: str, error: type[EngineError]) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            remote.manifests["1"] = json.dumps(fields).encode(), media_type
            with pytest.raises(error):
                await here.images.pull(f"{remote.address}/app:1")
            for data in (b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"x" * ((4 << 20) + 1)):
                remote.manifests["2"] = data, SCHEMA2
                with pytest.raises(InvalidArgument):
                    await here.images.pull(f"{remote.address}/app:2")
            assert here.images.all() == []

    run(story())


def test_a_manifest_by_digest_must_have_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            data = remote.add_image("1", tar_of({"a": b"1"}))
            remote.manifests[digest_of(data)] = data + b" ", remote.manifests["1"][1]
            with pytest.raises(Failed, match="manifest verification failed for digest"):
                await here.images.pull(f"{remote.address}/app@{digest_of(data)}")

    run(story())


@pytest.mark.parametrize("kind", ["gzip", "zstd", "docker", "members"])
def test_layers_may_be_compressed_in_any_way(tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            plain = tar_of({"a": b"1" * 5000})
            packed, media_type = {
                "gzip": (gzip.compress(plain), "application/vnd.oci.image.layer.v1.tar+gzip"),
                "zstd": (zstandard.compress(plain), "application/vnd.oci.image.layer.v1.tar+zstd"),
                "docker": (gzip.compress(plain), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
                "members": (gzip.compress(plain), "application/vnd.oci.image.layer.v1.tar+gzip"),
            }[kind]
            rootfs = {"type": "layers", "diff_ids": [digest_of(plain)]}
            remote.add_image("1", packed, config={"rootfs": rootfs}, layer_type=media_type)
            image = await here.images.pull(f"{remote.address}/app:1")
            assert image.size == len(plain)
            remote.blobs.clear()
            remote.manifests, before = {}, dict(remote.manifests)
            await here.images.push(f"{remote.address}/app:1")
            assert remote.manifests["1"] == before["1"]

    run(story())


def test_what_go_writes_as_null_is_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            settings = {
                "config": {"Cmd": None, "Entrypoint": "run", "Env": None, "Labels": None, "Volumes": {"/x": {}}, "Memory": 0, "User": None},
                "container_config": {"Hostname": "x"},
                "history": None,
                "created": None,
                "author": None,
            }
            remote.add_image("1", tar_of({"a": b"1"}), config=settings)
            image = await here.images.pull(f"{remote.address}/app:1")
            assert image.config.config.entrypoint == ("run",)
            assert image.config.config.cmd is None
            assert image.config.config.volumes == {"/x": {}}
            assert image.created == 0.0
            for broken in ({"config": []}, {"rootfs": {"diff_ids": ["x"]}}, {"history": {}}, {"config": {"Env": "x"}}):
                remote.add_image("2", config=broken)
                with pytest.raises(InvalidArgument):
                    await here.images.pull(f"{remote.address}/app:2")

    run(story())


# ---------------------------------------------------------------------------------------------------------------- uploads that go wrong


@pytest.mark.parametrize("size", [100_000, 6_000_000])
@pytest.mark.parametrize("single_put", [True, False])
def test_uploads_go_in_one_or_in_parts(tmp_path: Path, size: int, single_put: bool) -> None:
    async def story() -> None:
        async with scripted(single_put=single_put) as remote, shop(tmp_path / "a") as here:
            name = f"{remote.address}/app:1"
            image = await make_image(here.images, name, {"a": random.Random(7).randbytes(size)})
            await here.images.push(name)
            assert set(remote.blobs) == {image.id, image.layers[0].digest}
            assert bool(remote.seen("PATCH")) == (size > 4 << 20 or not single_put)
            assert all("content-range" not in headers for _, headers in remote.seen("PATCH"))

    run(story())


def test_an_upload_that_breaks_off_is_gone_on_with(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            name = f"{remote.address}/app:1"
            image = await make_image(here.images, name, {"a": random.Random(7).randbytes(8_000_000)})
            remote.break_upload = [5_000_000, 7_000_000]
            await here.images.push(name)
            assert image.layers[0].digest in remote.blobs
            ranges = [headers.get("content-range") for target, headers in remote.seen("PATCH")]
            assert ranges[0] is None
            assert [each and int(each.split("-")[0]) for each in ranges[1:]] == [5_000_000, 7_000_000]

    run(story())


def test_a_registry_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here, shop(tmp_path / "b") as there:
            name = f"{remote.address}/app:1"
            made = await make_image(here.images, name, {"a": b"1"})
            remote.failures = [("PUT", "/manifests/", 503), ("PUT", "/manifests/", 429), ("PUT", "/upload/", 500)]
            await here.images.push(name)
            remote.failures = [("GET", "/blobs/", 503), ("GET", "/blobs/", 502)]
            assert (await there.images.pull(name)).id == made.id
            assert not remote.failures
            remote.failures = [("GET", "/manifests/", 503)]
            with pytest.raises(Unavailable, match="not able to answer now"):
                await there.images.pull(name)

    run(story())


def test_a_push_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    async def story() -> None:
        async with scripted() as remote, shop(tmp_path / "a") as here:
            name = f"{remote.address}/app:1"
            await make_image(here.images, name, *({"a": random.Random(number).randbytes(5_000_000)} for number in range(3)))
            for delay in (0.0, 0.005, 0.01, 0.03):
                task = asyncio.create_task(here.images.push(name))
                await asyncio.sleep(delay)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await here.images.push(name)

    run(story())


# ---------------------------------------------------------------------------------------------------------------- where registries are


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            with pytest.raises(Unavailable, match="Cannot connect"):
                await here.images.pull("127.0.0.1:1/app:1")
            with pytest.raises(InvalidArgument):
                await here.images.check_credentials("x:99999999", Credentials())

    run(story())


def test_plain_http_is_for_this_machine_and_what_is_configured(tmp_path: Path) -> None:
    def schemes(domain: str, *insecure: str) -> list[str]:
        return [str(each) for each in transport.Transport(None, insecure).origins(domain)]  # type: ignore[arg-type]

    assert schemes("quay.io") == ["https://quay.io"]
    assert schemes("quay.io:5000") == ["https://quay.io:5000"]
    assert schemes("10.1.2.3:5000") == ["https://10.1.2.3:5000"]
    assert schemes("127.5.6.7:5000") == ["https://127.5.6.7:5000", "http://127.5.6.7:5000"]
    assert schemes("localhost") == ["https://localhost", "http://localhost"]
    assert schemes("[::1]:5000") == ["https://[::1]:5000", "http://[::1]:5000"]
    assert schemes("10.1.2.3:5000", "10.0.0.0/8") == ["https://10.1.2.3:5000", "http://10.1.2.3:5000"]
    assert schemes("registry.lan:5000", "registry.lan:5000") == ["https://registry.lan:5000", "http://registry.lan:5000"]
    assert schemes("registry.lan:5001", "registry.lan:5000") == ["https://registry.lan:5001"]


def test_a_registry_that_says_nothing_does_not_hold_a_pull_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(transport, "STALL_SECONDS", 0.2)

    async def story() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (await reader.read(1)) == b"\x16":  # TLS: refused, as plain servers do
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                await reader.read(1 << 20)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf" if stall else b"")
                await asyncio.sleep(2)
            writer.close()

        for stall in (False, True):  # noqa: B007 - the server looks at it
            server = await asyncio.start_server(silent, "127.0.0.1", 0)
            async with shop(tmp_path / "a") as here:
                port = server.sockets[0].getsockname()[1]
                with pytest.raises(Unavailable):
                    await here.images.pull(f"127.0.0.1:{port}/app:1")
            server.close()
        await asyncio.sleep(2)

    run(story())


def test_errors_of_the_registry_are_told_as_it_says_them() -> None:
    from cloudstead.engine.images.registry_client import read_fault

    body = json.dumps({"errors": [{"code": "DENIED", "message": "no"}, {"code": "TOOMANYREQUESTS", "message": "slow down", "detail": {}}]})
    assert read_fault(403, body.encode()).message == "denied: no; toomanyrequests: slow down"
    assert isinstance(read_fault(429, b""), Unavailable)
    assert isinstance(read_fault(502, b"<html>"), Unavailable)
    assert isinstance(read_fault(401, b"[" * 10_000), Unauthorized)
    assert read_fault(418, b"\xff").message == "received unexpected HTTP status: 418"
