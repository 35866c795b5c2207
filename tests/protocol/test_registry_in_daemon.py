"""The registry as a daemon serves it: which requests are for it, who may, what is logged, and that it is loaded when it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_support import Content

from cloudstead.edge import dispatch
from cloudstead.edge.registry_requests import is_for_registry
from cloudstead.engine.errors import Conflict, EngineError, Failed, NoSpace, NotFound, NotPermitted, Unavailable, Unsupported
from cloudstead.engine.registry.http.answers import refusal
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import AccessDenied, ServiceError, Throttled
from cloudstead.kernel.store import WriteFailed
from registry_client import Client, digest_of, header_of, token_of
from support import CloudThread, Daemon, client_of

ECR_HOST = "000000000000.dkr.ecr.us-east-1"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("cloud") / "data") as running:
        for name in ("app", "team/tool"):
            running.client("ecr").create_repository(repositoryName=name)
        yield running


def connect(cloud: Any, host: str = "", **options: Any) -> Client:
    ecr = client_of(cloud.endpoint, "ecr", **options)
    return Client(f"127.0.0.1:{cloud.endpoint.rpartition(':')[2]}", token_of(ecr), host=host)


def push(client: Client, repository: str, tag: str) -> bytes:
    content = Content(tag)
    data = content.image(tag)
    for blob in content.blobs:
        client.push_blob(repository, blob)
    assert client.push_manifest(repository, tag, data).status == 201
    return data


@pytest.mark.parametrize(
    "host", ["", f"{ECR_HOST}.localhost:4566", f"{ECR_HOST}.amazonaws.com", f"{ECR_HOST}.localhost.localstack.cloud:4566"]
)
def test_an_image_is_pushed_and_pulled_by_every_name_of_the_registry(cloud: CloudThread, host: str) -> None:
    with connect(cloud, host) as client:
        data = push(client, "team/tool", "latest")
        assert client.ask("GET", "/v2/team/tool/manifests/latest").body == data
    described = cloud.client("ecr").describe_images(repositoryName="team/tool", imageIds=[{"imageTag": "latest"}])
    assert described["imageDetails"][0]["imageDigest"] == digest_of(data)


def test_whoever_has_no_password_is_challenged(cloud: CloudThread) -> None:
    with Client(f"127.0.0.1:{cloud.endpoint.rpartition(':')[2]}", header_of("AWS", "wrong")) as stranger:
        for path in ("/v2/", "/v2/app/manifests/x", "/v2/nowhere/tags/list", "/v2/_catalog", "/v2/anything"):
            refused = stranger.ask("GET", path)
            assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
            assert 'service="ecr.amazonaws.com"' in (refused.get("WWW-Authenticate") or "")
            anonymous = stranger.ask("GET", path, headers={"Authorization": ""})
            assert anonymous.status == 401


def test_another_account_sees_nothing(cloud: CloudThread) -> None:
    with connect(cloud, key="111111111111") as other:
        assert other.ask("GET", "/v2/app/tags/list").code == "NAME_UNKNOWN"
        assert other.ask("GET", "/v2/_catalog").json()["repositories"] == []
        assert other.ask("POST", "/v2/app/blobs/uploads/").code == "NAME_UNKNOWN"
    with connect(cloud, f"{ECR_HOST}.localhost", key="111111111111") as other:
        assert other.ask("GET", "/v2/app/tags/list").status in (403, 404)


BASIC = ("Authorization", "Basic QVdTOng=")
SIGNED = ("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/apigateway/aws4_request, SignedHeaders=host, Signature=0")


@pytest.mark.parametrize(
    ("target", "host", "headers", "ours"),
    [
        ("/v2/", "localhost:4566", [], True),
        ("/v2", "localhost:4566", [], True),
        ("/v2/app/manifests/latest", "127.0.0.1:4566", [BASIC], True),
        ("/v2/app/manifests/latest", "registry.example.org", [("Authorization", "bearer x")], True),
        ("/v2/app/manifests/latest?ns=docker.io", "[::1]:4566", [], True),
        ("/", f"{ECR_HOST}.amazonaws.com", [], True),
        ("/token", "public.ecr.aws", [], True),
        ("/token", "public.ecr.localhost:4566", [], True),
        ("/v2/x", "123456789012.dkr-ecr.eu-west-1.on.aws", [], True),
        ("/v2/x", f"{ECR_HOST.upper()}.LOCALHOST", [BASIC], True),
        ("/v2/apis", "localhost:4566", [SIGNED], False),
        ("/v2/apis?X-Amz-Signature=0", "localhost:4566", [], False),
        ("/v2/apis", "apigateway.us-east-1.amazonaws.com", [], False),
        ("/v2/pets", "abc123.execute-api.us-east-1.amazonaws.com", [], False),
        ("/v2/pets", "abc123.execute-api.localhost:4566", [BASIC], False),
        ("/v2/pets", "abc123.lambda-url.us-east-1.localhost.localstack.cloud:4566", [], False),
        ("/v2/key", "bucket.s3.us-east-1.amazonaws.com", [], False),
        ("/v2/key", "bucket.s3.localhost:4566", [], False),
        ("/v20/", "localhost:4566", [], False),
        ("/v2x", "localhost:4566", [], False),
        ("/", "localhost:4566", [], False),
        ("/", "x.dkr.example.org", [], False),
        ("/", "public.example.org", [], False),
    ],
)
def test_a_request_is_for_the_registry_by_its_host_or_its_unsigned_path(
    target: str, host: str, headers: list[tuple[str, str]], ours: bool
) -> None:
    assert is_for_registry(HttpRequest.of("GET", target, [("Host", host), *headers])) is ours


def test_api_gateway_s_own_paths_stay_its_own(cloud: CloudThread) -> None:
    gateway = cloud.client("apigatewayv2")
    with pytest.raises(gateway.exceptions.NotFoundException):
        gateway.get_api(ApiId="absent")


def test_so_much_at_once_is_refused_in_the_registry_s_own_words(cloud: CloudThread, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(cloud) as client:
        monkeypatch.setattr(dispatch, "MOST_UNDER_WAY", 0)
        refused = client.ask("GET", "/v2/app/tags/list")
        assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")


def test_a_bug_is_told_by_its_request_id_only(
    cloud: CloudThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cloudstead.engine.registry.catalog import Catalog

    def broken(*_: object) -> None:
        raise RuntimeError("the secret of this bug")

    with connect(cloud) as client:
        monkeypatch.setattr(Catalog, "tags_after", broken)
        refused = client.ask("GET", "/v2/app/tags/list")
    assert (refused.status, refused.code) == (500, "UNKNOWN")
    assert b"secret" not in refused.body
    assert "the secret of this bug" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoSpace("no space left on device"), 507, "UNKNOWN"),
        (Unavailable("later"), 503, "UNAVAILABLE"),
        (Conflict("busy"), 409, "BLOB_UPLOAD_INVALID"),
        (NotFound("gone"), 404, "BLOB_UNKNOWN"),
        (NotPermitted("no"), 403, "DENIED"),
        (Unsupported("no"), 405, "UNSUPPORTED"),
        (Failed("disk"), 500, "UNKNOWN"),
        (EngineError("any"), 500, "UNKNOWN"),
        (Throttled("slow"), 429, "TOOMANYREQUESTS"),
        (AccessDenied("no"), 403, "DENIED"),
        (ServiceError("odd"), 400, "UNSUPPORTED"),
        (WriteFailed("disk"), 503, "UNAVAILABLE"),
    ],
)
def test_every_error_has_a_status_and_a_code_of_the_protocol(error: Exception, status: int, code: str) -> None:
    answer, told = refusal(error, "id")
    assert (answer.status, told) == (status, code)
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["errors"][0]["code"] == code


def test_a_line_of_the_log_tells_of_each_request(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        client_of(daemon.endpoint, "ecr").create_repository(repositoryName="logged")
        with connect(daemon) as client:
            client.ask("GET", "/v2/logged/tags/list")
            client.ask("HEAD", "/v2/logged/manifests/none")
            client.ask("GET", "/v2/", headers={"Authorization": "Basic nonsense"})
    text = daemon.log.read_text()
    assert "account=000000000000 region=us-east-1 operation=ecr:GET.tags status=200" in text
    assert "operation=ecr:HEAD.manifests status=404" in text
    assert "error=MANIFEST_UNKNOWN" in text
    assert "operation=ecr:GET.base status=401" in text
    assert "nonsense" not in text


def test_an_upload_and_an_image_outlive_the_daemon(tmp_path: Path) -> None:
    data = os.urandom(2 << 20)
    with Daemon(tmp_path / "data") as daemon:
        client_of(daemon.endpoint, "ecr").create_repository(repositoryName="app")
        with connect(daemon) as client:
            image = push(client, "app", "kept")
            location = client.ask("POST", "/v2/app/blobs/uploads/").location
            assert client.ask("PATCH", location, data[: 1 << 20]).status == 202
    with Daemon(tmp_path / "data") as daemon, connect(daemon) as client:
        assert client.ask("GET", "/v2/app/manifests/kept").body == image
        assert client.ask("GET", location).get("Range") == f"0-{(1 << 20) - 1}"
        assert client.ask("PUT", location, data[1 << 20 :], digest=digest_of(data)).status == 201


def test_nothing_of_the_registry_is_loaded_before_it_is_asked_for() -> None:
    program = "import sys, cloudstead.daemon; print([name for name in sys.modules if name.startswith('cloudstead.engine.registry.http.api') or name.endswith('ecr.gate')])"
    assert subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
