"""Public repositories with the tools that people have: aws, docker, skopeo."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_host import DockerHost, why_no_docker

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("docker-cli")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("public") / "data") as running:
        running.make_busybox()
        yield running


@pytest.fixture(scope="module")
def uri(host: DockerHost) -> str:
    made = host.client("ecr-public").create_repository(repositoryName="team/app")["repository"]
    return str(made["repositoryUri"])


def password(host: DockerHost) -> str:
    """`aws ecr-public get-login-password`."""
    command = [str(Path(sys.executable).with_name("aws")), "ecr-public", "get-login-password", "--region", "us-east-1"]
    environment = {"PATH": os.environ["PATH"], "HOME": host.config, "AWS_ENDPOINT_URL": host.endpoint}
    keys = {"AWS_ACCESS_KEY_ID": "000000000000", "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run(command, env=environment | keys, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_docker_pushes_with_a_password_and_pulls_without(host: DockerHost, uri: str) -> None:
    registry = uri.partition("/")[0]
    host.docker("tag", "busybox", uri)
    refused = host.run("push", uri, check=False)
    assert refused.returncode == 1
    assert "unauthorized" in refused.stderr
    host.docker("login", "-u", "AWS", "--password-stdin", registry, stdin=password(host))
    host.docker("push", uri)
    host.docker("logout", registry)
    host.docker("rmi", uri)
    host.docker("pull", uri)
    assert host.docker("run", "--rm", uri, "echo", "pulled") == "pulled"
    [image] = host.client("ecr-public").describe_images(repositoryName="team/app")["imageDetails"]
    assert image["imageTags"] == ["latest"]
    assert image["imageDigest"] in host.docker("inspect", "-f", "{{.RepoDigests}}", uri)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_copies_out_with_no_password_and_in_with_one(host: DockerHost, uri: str, tmp_path: Path) -> None:
    """By the plain address, which every resolver knows."""
    registry, _, name = uri.partition("/")
    source = f"docker://localhost:{registry.rpartition(':')[2]}/{name}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}

    def skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["skopeo", "--insecure-policy", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    host.docker("tag", "busybox", uri)
    host.docker("login", "-u", "AWS", "--password-stdin", registry, stdin=password(host))
    host.docker("push", uri)
    done = skopeo("copy", "--src-tls-verify=false", f"{source}:latest", f"oci:{tmp_path}/kept:latest")
    assert done.returncode == 0, done.stderr
    refused = skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/kept:latest", f"{source}:second")
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr.lower() or "authentication required" in refused.stderr.lower()
    credentials = f"AWS:{private_password(host)}"
    done = skopeo("copy", "--dest-tls-verify=false", "--dest-creds", credentials, f"oci:{tmp_path}/kept:latest", f"{source}:second")
    assert done.returncode == 0, done.stderr
    tags = host.client("ecr-public").describe_image_tags(repositoryName="team/app")["imageTagDetails"]
    assert [tag["imageTag"] for tag in tags] == ["latest", "second"]


def private_password(host: DockerHost) -> str:
    """What `aws ecr get-login-password` prints: at an address that has no name of its own, the private registries' password opens the public ones."""
    token = host.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]
