"""Images on their way between engines, registries and archives: the real `docker`, Debian's docker-registry, and skopeo."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from tests.engine.scripted_registry import ScriptedRegistry, basic, digest_of, scripted

from docker_host import DockerHost, why_no_docker
from engine_support import busybox_tar

pytestmark = [
    pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is not installed"),
    pytest.mark.xdist_group("registry-cli"),
]
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")

USER, PASSWORD = "ana", "secret"
HTPASSWD = f"{USER}:$2b$04$/eUT1K/.fTeghhXH9xP2DeRbE9BvoL3NBKcS/Bmi8NbsjERntGNXC\n"  # bcrypt of the password
CONFIGURATION = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/content}}, delete: {{enabled: true}}}}
http: {{addr: {address}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


class Registry:
    """Debian's docker-registry, with one user. A context manager."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        (folder / "htpasswd").write_text(HTPASSWD)
        self._configuration = folder / "registry.yml"
        self._configuration.write_text(CONFIGURATION.format(folder=folder, address=self.address))
        self._log = folder / "registry.log"

    def __enter__(self) -> Registry:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(self._configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(tuple(self.address.split(":")), 1).close()  # type: ignore[arg-type]
                return self
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def tags(self, repository: str) -> list[str]:
        asked = urllib.request.Request(f"http://{self.address}/v2/{repository}/tags/list", headers={"Authorization": basic(USER, PASSWORD)})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return sorted(json.load(answer)["tags"])


class Elsewhere:
    """A scripted registry in a thread of its own. A context manager."""

    def __init__(self, **behaviour: Any) -> None:
        self._behaviour = behaviour
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ScriptedRegistry:
        self._thread.start()
        self._running = scripted(**self._behaviour)
        return asyncio.run_coroutine_threadsafe(self._running.__aenter__(), self._loop).result(20)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._running.__aexit__(None, None, None), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("here") / "data") as running:
        running.make_busybox()
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("there") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def signed_in(host: DockerHost, other: DockerHost, registry: Registry) -> Iterator[str]:
    """The registry's address, at which both have logged in."""
    for each in (host, other):
        each.docker("login", "-u", USER, "--password-stdin", registry.address, stdin=PASSWORD)
    yield registry.address
    for each in (host, other):
        each.docker("logout", registry.address)


def layered(host: DockerHost, name: str, *lines: str) -> str:
    """An image of several layers; its id."""
    content = "\n".join(
        ["FROM busybox", *(f"RUN echo {line} > /{line} && dd if=/dev/urandom of=/{line}.bin bs=1k count=100" for line in lines)]
    )
    host.docker("build", "-q", "-t", name, "-", stdin=content)
    return host.docker("image", "inspect", "-f", "{{.Id}}", name)


# ----------------------------------------------------------------------------------------------------------------- login


def test_the_right_password_logs_in_and_a_wrong_one_does_not(host: DockerHost, registry: Registry) -> None:
    wrong = host.run("login", "-u", USER, "--password-stdin", registry.address, stdin="guessed", check=False)
    assert wrong.returncode == 1
    assert "unauthorized" in wrong.stderr.lower()
    assert "Login Succeeded" in host.docker("login", "-u", USER, "--password-stdin", registry.address, stdin=PASSWORD)
    assert "Removing login credentials" in host.docker("logout", registry.address)


def test_who_is_not_logged_in_may_neither_push_nor_pull(host: DockerHost, registry: Registry, signed_in: str) -> None:
    host.docker("tag", "busybox", f"{signed_in}/private:1")
    host.docker("push", f"{signed_in}/private:1")
    host.docker("logout", signed_in)
    pushed = host.run("push", f"{signed_in}/private:1", check=False)
    assert pushed.returncode == 1
    assert re.search("no basic auth credentials|unauthorized|authentication required|denied", pushed.stderr + pushed.stdout)
    pulled = host.run("pull", f"{signed_in}/private:1", check=False)
    assert pulled.returncode == 1
    assert re.search("no basic auth credentials|unauthorized|authentication required|denied", pulled.stderr)
    host.docker("rmi", f"{signed_in}/private:1")


def test_a_login_at_a_registry_that_is_not_there_says_so(host: DockerHost) -> None:
    done = host.run("login", "-u", "a", "-p", "b", "127.0.0.1:1", check=False)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


# ---------------------------------------------------------------------------------------------------------- push and pull


def test_what_is_pushed_here_is_pulled_and_run_there(host: DockerHost, other: DockerHost, signed_in: str) -> None:
    name = f"{signed_in}/team/app:1"
    id = layered(host, name, "one", "two", "three")
    pushed = host.docker("push", name)
    assert pushed.count("Pushed") == 4
    digest = re.search(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", pushed)
    assert digest
    pulled = other.docker("pull", name)
    assert f"Digest: {digest[1]}" in pulled
    assert f"Status: Downloaded newer image for {name}" in pulled
    assert other.docker("image", "inspect", "-f", "{{.Id}}", name) == id
    assert other.docker("run", "--rm", name, "cat", "/one", "/two", "/three") == "one\ntwo\nthree"
    assert f"Status: Image is up to date for {name}" in other.docker("pull", name)
    assert other.docker("image", "inspect", "-f", "{{json .RepoDigests}}", name) == json.dumps([f"{signed_in}/team/app@{digest[1]}"])


def test_layers_that_are_there_are_not_sent_again(host: DockerHost, registry: Registry, signed_in: str) -> None:
    first, second = f"{signed_in}/again:1", f"{signed_in}/again:2"
    layered(host, first, "base")
    host.docker("push", first)
    again = host.docker("push", first)
    assert again.count("Layer already exists") == 2
    assert "Pushed" not in again
    host.docker("build", "-q", "-t", second, "-", stdin=f"FROM {first}\nRUN echo more > /more\n")
    more = host.docker("push", second)
    assert (more.count("Layer already exists"), more.count("Pushed")) == (2, 1)
    elsewhere = f"{signed_in}/mounted:1"
    host.docker("tag", first, elsewhere)
    assert "Mounted from again" in host.docker("push", elsewhere)
    assert registry.tags("again") == ["1", "2"]


def test_all_tags_are_pushed_when_that_is_asked_for(host: DockerHost, registry: Registry, signed_in: str) -> None:
    for tag in ("a", "b", "c"):
        host.docker("tag", "busybox", f"{signed_in}/tagged:{tag}")
    host.docker("push", "-a", f"{signed_in}/tagged")
    assert registry.tags("tagged") == ["a", "b", "c"]


def test_all_tags_are_pulled_when_that_is_asked_for(host: DockerHost, other: DockerHost, signed_in: str) -> None:
    name = f"{signed_in}/several"
    ids = {tag: layered(host, f"{name}:{tag}", tag) for tag in ("x", "y")}
    host.docker("push", "-a", name)
    other.docker("pull", "-a", name)
    assert {tag: other.docker("image", "inspect", "-f", "{{.Id}}", f"{name}:{tag}") for tag in ids} == ids


def test_docker_py_pushes_and_pulls(host: DockerHost, other: DockerHost, registry: Registry) -> None:
    name, auth = f"{registry.address}/by-python", {"username": USER, "password": PASSWORD}
    id = layered(host, f"{name}:1", "snake")
    with contextlib.closing(docker.DockerClient(base_url=f"unix://{host.socket}")) as here:
        told = list(here.images.push(name, tag="1", auth_config=auth, stream=True, decode=True))
        assert re.fullmatch("sha256:[0-9a-f]{64}", told[-1]["aux"]["Digest"])
        refused = list(here.images.push(name, tag="1", auth_config={"username": USER, "password": "no"}, stream=True, decode=True))
        assert "errorDetail" in refused[-1]
    with contextlib.closing(docker.DockerClient(base_url=f"unix://{other.socket}")) as there:
        with pytest.raises(docker.errors.APIError):
            there.images.pull(name, tag="1", auth_config={"username": USER, "password": "no"})
        assert there.images.get_registry_data(f"{name}:1", auth_config=auth).id == told[-1]["aux"]["Digest"]
        assert there.images.pull(name, tag="1", auth_config=auth).id == id
        assert [each.id for each in there.images.pull(name, all_tags=True, auth_config=auth)] == [id]


def test_a_digest_names_one_image_for_ever(host: DockerHost, other: DockerHost, signed_in: str) -> None:
    name = f"{signed_in}/fixed"
    old = layered(host, f"{name}:latest", "old")
    digest = re.search(r"sha256:[0-9a-f]{64}", host.docker("push", f"{name}:latest"))
    assert digest
    layered(host, f"{name}:latest", "new")
    host.docker("push", f"{name}:latest")
    other.docker("pull", f"{name}@{digest[0]}")
    assert other.docker("image", "inspect", "-f", "{{.Id}}", f"{name}@{digest[0]}") == old
    assert other.docker("run", "--rm", f"{name}@{digest[0]}", "cat", "/old") == "old"
    assert other.docker("run", "--rm", f"{name}:latest", "cat", "/new") == "new"  # pulled because it is not there


def test_a_build_starts_from_what_a_registry_has(host: DockerHost, other: DockerHost, signed_in: str) -> None:
    name = f"{signed_in}/base:1"
    layered(host, name, "ground")
    host.docker("push", name)
    other.docker("build", "-q", "-t", "built", "-", stdin=f"FROM {name}\nRUN cat /ground > /copy\nCMD cat /copy\n")
    assert other.docker("run", "--rm", "built") == "ground"


def test_what_a_registry_does_not_have_is_an_error_that_names_it(host: DockerHost, signed_in: str) -> None:
    missing = host.run("pull", f"{signed_in}/ghost:1", check=False)
    assert missing.returncode == 1
    assert "manifest unknown" in missing.stderr or "not found" in missing.stderr
    unknown = host.run("push", f"{signed_in}/ghost:1", check=False)
    assert unknown.returncode == 1
    assert f"An image does not exist locally with the tag: {signed_in}/ghost" in unknown.stderr


def test_inspecting_a_manifest_needs_no_pull(host: DockerHost, signed_in: str) -> None:
    name = f"{signed_in}/seen:1"
    host.docker("tag", "busybox", name)
    host.docker("push", name)
    with contextlib.closing(docker.APIClient(base_url=f"unix://{host.socket}")) as client:
        found = client.inspect_distribution(name, auth_config={"username": USER, "password": PASSWORD})
    assert found["Descriptor"]["digest"].startswith("sha256:")
    assert [each["architecture"] for each in found["Platforms"]] == [host.docker("version", "-f", "{{.Server.Arch}}")]


# ----------------------------------------------------------------------------------------- what registries do to clients


def noise(name: str, size: int) -> bytes:
    """A layer with one file of `size` bytes, beside a root file system's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(name).randbytes(size)))
    return out.getvalue()


def test_a_download_that_breaks_off_goes_on_where_it_stopped(other: DockerHost) -> None:
    with Elsewhere(break_after=[300_000, 200_000, 100_000]) as broken:
        broken.add_image("1", busybox_tar(), noise("big", 1_000_000))
        name = f"{broken.address}/broken:1"
        assert "Downloaded newer image" in other.docker("pull", name)
        ranges = [headers["range"] for _, headers in broken.seen("GET", "/blobs/") if "range" in headers]
        assert ranges
        assert all(re.fullmatch(r"bytes=[1-9]\d*-", each) for each in ranges), ranges
        assert other.docker("run", "--rm", name, "sh", "-c", "wc -c < /big") == "1000000"


def test_a_registry_that_sends_other_bytes_is_not_believed(other: DockerHost) -> None:
    with Elsewhere() as lying:
        lying.add_image("1", noise("good", 50_000))
        layer = next(digest for digest, data in lying.blobs.items() if len(data) > 50_000)
        lying.blobs[layer] = noise("evil", 50_000)
        done = other.run("pull", f"{lying.address}/lying:1", check=False)
        assert done.returncode == 1
        assert re.search("digest|verif", done.stderr), done.stderr
        assert other.docker("images", "-q", f"{lying.address}/lying") == ""


def test_of_several_platforms_the_machines_own_is_taken(other: DockerHost) -> None:
    machine = other.docker("version", "-f", "{{.Server.Arch}}")
    foreign = "s390x"
    with Elsewhere() as registry:
        entries = []
        for architecture in (foreign, machine):
            manifest = registry.add_image(architecture, busybox_tar(), noise(architecture, 100), config={"architecture": architecture})
            entries.append(
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": digest_of(manifest),
                    "size": len(manifest),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        registry.add_manifest("many", index)
        name = f"{registry.address}/platforms:many"
        assert f"Digest: {digest_of(registry.manifests['many'][0])}" in other.docker("pull", name)
        assert other.docker("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", name) == f"linux/{machine}"
        assert other.docker("run", "--rm", name, "ls", f"/{machine}") == f"/{machine}"
        other.docker("pull", "--platform", f"linux/{foreign}", name)
        assert other.docker("image", "inspect", "-f", "{{.Architecture}}", name) == foreign
        absent = other.run("pull", "--platform", "linux/riscv64", name, check=False)
        assert absent.returncode == 1
        assert "no matching manifest for linux/riscv64" in absent.stderr


# ---------------------------------------------------------------------------------------------------------------- skopeo


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_skopeo
def test_skopeo_takes_images_out_and_puts_them_in(host: DockerHost, other: DockerHost, tmp_path: Path) -> None:
    id = layered(host, "carried:1", "alpha", "beta")
    here, there = f"unix://{host.socket}", f"unix://{other.socket}"
    inspected = json.loads(skopeo("inspect", "--daemon-host", here, "docker-daemon:carried:1"))
    assert len(inspected["Layers"]) == 3
    skopeo("copy", "--src-daemon-host", here, "docker-daemon:carried:1", f"docker-archive:{tmp_path}/carried.tar:carried:2")
    skopeo("copy", "--src-daemon-host", here, "docker-daemon:carried:1", f"oci:{tmp_path}/layout:three")
    skopeo("copy", "--dest-daemon-host", there, f"docker-archive:{tmp_path}/carried.tar", "docker-daemon:carried:2")
    skopeo("copy", "--dest-daemon-host", there, f"oci:{tmp_path}/layout:three", "docker-daemon:carried:3")
    assert other.docker("image", "inspect", "-f", "{{.Id}}", "carried:2") == id
    for tag in ("2", "3"):
        assert other.docker("run", "--rm", f"carried:{tag}", "cat", "/alpha", "/beta") == "alpha\nbeta"


@needs_skopeo
def test_docker_loads_what_skopeo_wrote_and_skopeo_reads_what_docker_saved(host: DockerHost, other: DockerHost, tmp_path: Path) -> None:
    layered(host, "saved:1", "gamma")
    host.docker("save", "-o", str(tmp_path / "saved.tar"), "saved:1")
    skopeo("copy", f"docker-archive:{tmp_path}/saved.tar:saved:1", f"oci-archive:{tmp_path}/oci.tar:saved:2")
    loaded = other.docker("load", "-i", str(tmp_path / "oci.tar"))
    assert "Loaded image: saved:2" in loaded
    assert other.docker("run", "--rm", "saved:2", "cat", "/gamma") == "gamma"


@needs_skopeo
def test_skopeo_and_docker_share_a_registry(host: DockerHost, signed_in: str, tmp_path: Path) -> None:
    credentials, name = f"{USER}:{PASSWORD}", f"{signed_in}/shared"
    layered(host, f"{name}:docker", "delta")
    host.docker("push", f"{name}:docker")
    skopeo("copy", "--src-tls-verify=false", "--src-creds", credentials, f"docker://{name}:docker", f"oci:{tmp_path}/layout:x")
    skopeo(
        "copy", "--dest-tls-verify=false", "--dest-creds", credentials, "--dest-compress-format", "zstd",
        f"oci:{tmp_path}/layout:x", f"docker://{name}:skopeo",
    )  # fmt: skip
    assert host.docker("run", "--rm", f"{name}:skopeo", "cat", "/delta") == "delta"
