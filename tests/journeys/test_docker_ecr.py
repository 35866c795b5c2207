"""ECR with the real `docker` through our own engine: build, tag, push, remove, pull and run, by the names that ECR tells, with nothing moved in between."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudstead import datadir
from cloudstead.kernel.clock import VirtualClock
from cloudstead.services.ecr import api
from docker_host import DockerHost, why_no_docker
from support import context_in, local_cloud

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("docker-ecr")]

AWS = Path(sys.executable).with_name("aws")
OTHER = "111111111111"


class Host(DockerHost):
    """An engine, its registry, and who uses both."""

    expired = ""  # a password of yesterday

    @property
    def address(self) -> str:
        return f"000000000000.dkr.ecr.us-east-1.localhost:{self.endpoint.rpartition(':')[2]}"

    def aws(self, *arguments: str, key: str = "000000000000") -> str:
        settings = self.environment | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
        }
        done = subprocess.run([str(AWS), *arguments], env=settings, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def login(self, password: str, *, address: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("login", "--username", "AWS", "--password-stdin", address or self.address, stdin=password, check=check)

    def repository(self, name: str) -> str:
        """One that is new; its URI."""
        made = json.loads(self.aws("ecr", "create-repository", "--repository-name", name, "--output", "json"))
        return str(made["repository"]["repositoryUri"])

    def build(self, name: str, text: str) -> str:
        content = f"FROM busybox\nRUN echo {text} > /told && dd if=/dev/urandom of=/noise bs=1k count=3000\nCMD cat /told\n"
        self.docker("build", "-q", "-t", name, "-", stdin=content)
        return self.docker("image", "inspect", "-f", "{{.Id}}", name)

    def blobs(self) -> dict[str, tuple[int, int]]:
        """Every file of the content store with its inode and size; what is being uploaded too."""
        folder = self.data / "blobs"
        found = [path for path in folder.rglob("*") if path.is_file() and "trash" not in path.parts]
        return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size) for path in found}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    data = tmp_path_factory.mktemp("ecr") / "data"
    running = Host(data)
    datadir.prepare(data)
    running.expired = asyncio.run(password_of_yesterday(data))
    with running:
        running.make_busybox()
        running.login(running.aws("ecr", "get-login-password"))
        yield running


async def password_of_yesterday(data: Path) -> str:
    async with local_cloud(data, clock=VirtualClock(start=time.time() - 24 * 3600)) as cloud:
        answer = await context_in(cloud).call(api.GetAuthorizationTokenRequest())
        token = answer.authorization_data[0].authorization_token
        await cloud.store.settled()
    return base64.b64decode(token).decode().partition(":")[2]


def test_what_get_login_password_prints_logs_docker_in(host: Host) -> None:
    assert "Login Succeeded" in host.login(host.aws("ecr", "get-login-password")).stdout
    assert "Login Succeeded" in host.login(host.aws("ecr", "get-login-password"), address=f"https://{host.address}").stdout


@pytest.mark.parametrize("what", ["wrong", "expired"])
def test_a_password_that_is_not_good_is_refused_and_the_message_says_why(host: Host, what: str) -> None:
    address = f"127.0.0.1:{host.endpoint.rpartition(':')[2]}"
    done = host.login("guessed" if what == "wrong" else host.expired, address=address, check=False)
    assert done.returncode == 1
    assert f"login attempt to {address} failed" in done.stderr
    assert ("expired" in done.stderr) is (what == "expired"), done.stderr


def test_an_image_goes_into_the_registry_and_comes_back_without_a_byte_being_moved(host: Host) -> None:
    name = f"{host.repository('team/app')}:1"
    assert name == f"{host.address}/team/app:1"
    made = host.build(name, "hello")
    before = host.blobs()
    pushed = host.docker("push", name)
    digest = re.search(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", pushed)
    assert digest
    assert pushed.count("Pushed") == 2
    assert host.blobs() == before
    assert host.docker("push", name).count("Layer already exists") == 2
    told = json.loads(host.aws("ecr", "describe-images", "--repository-name", "team/app", "--output", "json"))["imageDetails"]
    assert [(each["imageDigest"], each["imageTags"]) for each in told] == [(digest[1], ["1"])]
    removed = host.docker("rmi", name)
    assert f"Untagged: {name}" in removed
    assert f"Deleted: {made}" in removed
    assert host.blobs() == before
    pulled = host.docker("pull", name)
    assert f"Digest: {digest[1]}" in pulled
    assert "Downloading" not in pulled
    assert host.docker("image", "inspect", "-f", "{{.Id}}", name) == made
    assert host.blobs() == before
    assert host.docker("run", "--rm", name) == "hello"
    assert host.docker("run", "--rm", f"{host.address}/team/app@{digest[1]}") == "hello"


def test_a_container_runs_from_a_pushed_image_that_the_engine_does_not_have(host: Host) -> None:
    name = f"{host.repository('task')}:latest"
    host.build(name, "from the registry")
    host.docker("push", name)
    host.docker("rmi", name)
    before = host.blobs()
    assert host.docker("run", "--rm", name).endswith("from the registry")
    assert host.blobs() == before


def test_a_name_as_aws_has_it_means_this_cloud_where_it_has_the_registry(host: Host) -> None:
    """What task definitions and Dockerfiles say that were written for AWS."""
    uri = host.repository("written/for-aws")
    host.build(f"{uri}:1", "as in AWS")
    host.docker("push", f"{uri}:1")
    aws = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
    assert "Login Succeeded" in host.login(host.aws("ecr", "get-login-password"), address=aws).stdout
    host.docker("build", "-q", "-t", "derived", "-", stdin=f"FROM {aws}/written/for-aws:1\nRUN echo more >> /told\n")
    assert host.docker("run", "--rm", "derived") == "as in AWS\nmore"
    host.docker("tag", "derived", f"{aws}/written/for-aws:2")
    host.docker("push", f"{aws}/written/for-aws:2")
    listed = json.loads(host.aws("ecr", "list-images", "--repository-name", "written/for-aws", "--output", "json"))["imageIds"]
    assert sorted(each["imageTag"] for each in listed) == ["1", "2"]


def test_a_plain_address_serves_the_registry_that_the_password_is_for(host: Host) -> None:
    port = host.endpoint.rpartition(":")[2]
    host.repository("plain")
    host.login(host.aws("ecr", "get-login-password"), address=f"localhost:{port}")
    host.docker("tag", "busybox", f"localhost:{port}/plain:1")
    assert "digest: sha256:" in host.docker("push", f"localhost:{port}/plain:1")
    assert host.docker("pull", "-q", f"{host.address}/plain:1") == f"{host.address}/plain:1"


def test_a_public_image_is_pushed_by_its_owner_and_pulled_by_anybody(host: Host) -> None:
    made = json.loads(host.aws("ecr-public", "create-repository", "--repository-name", "shared", "--output", "json"))
    name = f"{made['repository']['repositoryUri']}:1"
    address = name.partition("/")[0]
    assert address.startswith("public.ecr.localhost:")
    host.build(name, "for all")
    refused = host.run("push", name, check=False)
    assert refused.returncode == 1
    host.login(host.aws("ecr-public", "get-login-password"), address=address)
    host.docker("push", name)
    host.docker("logout", address)
    host.docker("rmi", name)
    before = host.blobs()
    assert host.docker("run", "--rm", name).endswith("for all")
    assert host.blobs() == before


def test_who_is_logged_out_or_of_another_account_sees_nothing(host: Host) -> None:
    name = f"{host.repository('private')}:1"
    host.docker("tag", "busybox", name)
    host.docker("push", name)
    host.docker("rmi", name)
    try:
        host.docker("logout", host.address)
        refused = [host.run("pull", name, check=False)]
        theirs = host.aws("ecr", "get-login-password", key=OTHER)
        host.login(theirs)
        refused.append(host.run("pull", name, check=False))
        host.docker("tag", "busybox", name)
        refused.append(host.run("push", name, check=False))
        host.docker("rmi", name)
    finally:
        host.login(host.aws("ecr", "get-login-password"))
    assert [done.returncode for done in refused] == [1, 1, 1]
    assert "pull access denied" in refused[0].stderr or "no basic auth credentials" in refused[0].stderr
    assert OTHER in refused[1].stderr or "denied" in refused[1].stderr
    assert "denied" in refused[2].stderr.lower() + refused[2].stdout.lower()
    assert f"Downloaded newer image for {name}" in host.docker("pull", name)


def test_what_is_deleted_on_one_side_stays_on_the_other(host: Host) -> None:
    name = f"{host.repository('both')}:1"
    host.build(name, "kept")
    host.docker("push", name)
    host.aws("ecr", "batch-delete-image", "--repository-name", "both", "--image-ids", "imageTag=1")
    assert host.docker("run", "--rm", name) == "kept"
    missing = host.run("pull", name, check=False)
    assert missing.returncode == 1
    assert "not found" in missing.stderr
    host.docker("push", name)
    host.docker("rmi", "-f", name)
    host.docker("builder", "prune", "-af")  # the cache of builds has the layer too
    before = host.blobs()
    host.aws("ecr", "delete-repository", "--repository-name", "both", "--force")
    won = sum(size for _, size in before.values()) - sum(size for _, size in host.blobs().values())
    assert won > 2_000_000, "the layer went with the last who needed it"


def test_everything_goes_on_after_a_restart(host: Host) -> None:
    name = f"{host.repository('lasting')}:1"
    host.build(name, "lasting")
    host.docker("push", name)
    host.docker("rmi", name)
    assert host.process is not None
    host.process.terminate()
    host.process.wait(30)
    port = host.endpoint.rpartition(":")[2]
    host.options = (*host.options, "--port", port)  # that of the names in docker's configuration
    host.start()
    assert host.docker("run", "--rm", name).endswith("lasting")


def test_a_client_that_goes_away_leaves_the_registry_whole(host: Host) -> None:
    name = f"{host.repository('cut')}:1"
    host.build(name, "cut")
    for wait in (0.0, 0.02, 0.05, 0.1):
        client: Any = host.popen("push", name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        client.kill()
        client.wait()
    assert "digest: sha256:" in host.docker("push", name)
    assert os.listdir(host.data / "blobs" / "uploads") == []
