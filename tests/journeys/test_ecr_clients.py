"""What people push and pull with, unchanged, against ECR: skopeo, buildah, podman, a stock dockerd, oras."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oci_layout import INDEX, Layout
from support import Daemon

pytestmark = pytest.mark.xdist_group("ecr-clients")
WITHIN = 120.0

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None or os.geteuid() != 0, reason=f"needs {program}, as root")


@dataclass
class Ecr:
    """A registry, and a client's home."""

    api: Any
    address: str  # localhost:<port>
    password: str
    home: Path

    @property
    def credentials(self) -> str:
        return f"AWS:{self.password}"

    def run(self, *command: str, check: bool = True, stdin: str = "", **environment: str) -> str:
        """What a client's command printed."""
        settings = {"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home)} | environment
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=settings, timeout=WITHIN, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return (done.stdout if check else done.stdout + done.stderr).rstrip("\n")

    def skopeo(self, command: str, *arguments: str, check: bool = True) -> str:
        return self.run("skopeo", "--policy", str(self.home / "policy.json"), command, *arguments, check=check)

    def digest(self, repository: str, tag: str) -> str:
        images = self.api.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return str(images["imageDetails"][0]["imageDigest"])

    def name(self, repository: str) -> str:
        """A repository that is there now."""
        self.api.create_repository(repositoryName=repository)
        return f"{self.address}/{repository}"


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ecr]:
    home = tmp_path_factory.mktemp("home")
    (home / "policy.json").write_text(POLICY)
    with Daemon(tmp_path_factory.mktemp("cloud") / "data") as cloud:
        api = cloud.client("ecr")
        token = api.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        assert user == "AWS"
        yield Ecr(api, f"localhost:{cloud.endpoint.rpartition(':')[2]}", password, home)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """`one` for one platform, `many` for two."""
    made = Layout(tmp_path_factory.mktemp("layout") / "images")
    made.image("one", {"a": b"a" * 100_000}, {"b": os.urandom(300_000)})
    platforms = [made.image("", {"arch": name.encode()}, {"c": os.urandom(50_000)}, architecture=name) for name in ("amd64", "arm64")]
    made.index("many", *platforms)
    return made


@needs("skopeo")
def test_skopeo_copies_images_of_one_and_of_several_platforms_there_and_back(ecr: Ecr, layout: Layout, tmp_path: Path) -> None:
    name = ecr.name("skopeo/app")
    login = ("--dest-creds", ecr.credentials, "--dest-tls-verify=false")
    ecr.skopeo("copy", *login, f"oci:{layout.folder}:one", f"docker://{name}:one")
    ecr.skopeo("copy", "--all", *login, f"oci:{layout.folder}:many", f"docker://{name}:many")
    ask = ("--creds", ecr.credentials, "--tls-verify=false")
    assert json.loads(ecr.skopeo("list-tags", *ask, f"docker://{name}"))["Tags"] == ["many", "one"]
    assert json.loads(ecr.skopeo("inspect", "--raw", *ask, f"docker://{name}:many"))["mediaType"] == INDEX
    back = tmp_path / "back"
    ecr.skopeo("copy", "--all", "--src-creds", ecr.credentials, "--src-tls-verify=false", f"docker://{name}:many", f"oci:{back}:many")
    index = json.loads((layout.folder / "index.json").read_text())
    pushed = {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in index["manifests"]}
    assert json.loads((back / "index.json").read_text())["manifests"][0]["digest"] == pushed["many"]
    assert {tag: ecr.digest("skopeo/app", tag) for tag in ("one", "many")} == pushed
    ecr.skopeo("delete", *ask, f"docker://{name}:one")
    assert "imageDetails" in ecr.api.describe_images(repositoryName="skopeo/app", imageIds=[{"imageTag": "many"}])
    with pytest.raises(ecr.api.exceptions.ImageNotFoundException):
        ecr.digest("skopeo/app", "one")


@needs("skopeo")
def test_nobody_gets_in_with_a_wrong_password_or_to_a_repository_that_is_not_there(ecr: Ecr, layout: Layout) -> None:
    name = ecr.name("guarded")
    source = f"oci:{layout.folder}:one"
    said = ecr.skopeo("copy", "--dest-creds", "AWS:wrong", "--dest-tls-verify=false", source, f"docker://{name}:1", check=False)
    assert "unauthorized" in said.lower() or "authentication required" in said.lower(), said
    said = ecr.skopeo("copy", "--dest-tls-verify=false", source, f"docker://{name}:1", check=False)
    assert "unauthorized" in said.lower() or "no basic auth" in said.lower() or "authentication required" in said.lower(), said
    login = ("--dest-creds", ecr.credentials, "--dest-tls-verify=false")
    said = ecr.skopeo("copy", *login, source, f"docker://{ecr.address}/nowhere:1", check=False)
    assert "name unknown" in said, said
    assert "nowhere" in said, said


@needs("skopeo")
def test_a_signature_is_pushed_beside_its_image_and_found_by_it(ecr: Ecr, tmp_path: Path) -> None:
    """Both ways of cosign: under a tag that is made of the image's digest, and by the manifest's subject."""
    name, made = ecr.name("signed"), Layout(tmp_path / "images")
    image = made.image("1", {"a": b"a"})
    tag = image["digest"].replace(":", "-") + ".sig"
    signature = made.artifact(tag, "application/vnd.dev.cosign.artifact.sig.v1+json", b"{}", subject=image)
    for each in ("1", tag):
        ecr.skopeo(
            "copy", "--dest-creds", ecr.credentials, "--dest-tls-verify=false", f"oci:{made.folder}:{each}", f"docker://{name}:{each}"
        )
    assert ecr.digest("signed", tag) == signature["digest"]
    asked = ecr.api.list_image_referrers(repositoryName="signed", subjectId={"imageDigest": image["digest"]})
    assert [(each["digest"], each["artifactType"]) for each in asked["referrers"]] == [
        (signature["digest"], "application/vnd.dev.cosign.artifact.sig.v1+json")
    ]


@needs("buildah")
def test_buildah_pushes_what_it_built_and_pulls_it_again(ecr: Ecr, tmp_path: Path) -> None:
    name = ecr.name("buildah/app")
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    stored = ("--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs")
    login = ("--creds", ecr.credentials, "--tls-verify=false")
    container = ecr.run("buildah", *stored, "from", "scratch")
    ecr.run("buildah", *stored, "copy", container, str(tmp_path / "file"), "/file")
    ecr.run("buildah", *stored, "commit", "--signature-policy", str(ecr.home / "policy.json"), container, "built")
    pushed = tmp_path / "digest"
    policy = ("--signature-policy", str(ecr.home / "policy.json"))
    ecr.run("buildah", *stored, "push", *policy, *login, "--digestfile", str(pushed), "built", f"docker://{name}:1")
    assert ecr.digest("buildah/app", "1") == pushed.read_text()
    ecr.run("buildah", *stored, "rm", container)
    ecr.run("buildah", *stored, "rmi", "built")
    ecr.run("buildah", *stored, "pull", *policy, *login, f"docker://{name}:1")
    assert f"{name}" in ecr.run("buildah", *stored, "images")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name has fewer than the 50 characters that podman allows."""
    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as folder:
        yield Path(folder)


@needs("podman")
def test_podman_logs_in_pushes_and_pulls(ecr: Ecr, layout: Layout, tmp_path: Path, short: Path) -> None:
    name = ecr.name("podman/app")
    stored = (
        "--root",
        str(tmp_path / "store"),
        "--runroot",
        str(short),
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
    )
    auth, policy = ("--authfile", str(tmp_path / "auth.json")), ("--signature-policy", str(ecr.home / "policy.json"))
    login = ("login", *auth, "--tls-verify=false", "--username", "AWS", "--password-stdin", ecr.address)
    assert "Succeeded" in ecr.run("podman", *stored, *login, stdin=ecr.password)
    said = ecr.run("podman", *stored, *login, stdin="wrong", check=False)
    assert "invalid username/password" in said or "unauthorized" in said.lower(), said
    ecr.run("podman", *stored, "pull", *policy, f"oci:{layout.folder}:one")
    image = ecr.run("podman", *stored, "images", "--quiet")
    ecr.run("podman", *stored, *login, stdin=ecr.password)
    ecr.run("podman", *stored, "push", *policy, *auth, "--tls-verify=false", image, f"{name}:1")
    assert ecr.digest("podman/app", "1").startswith("sha256:")
    ecr.run("podman", *stored, "rmi", "--force", image)
    ecr.run("podman", *stored, "pull", *policy, *auth, "--tls-verify=false", f"{name}:1")
    assert ecr.run("podman", *stored, "images", "--quiet") == image


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon of Docker's own, which touches no network of this machine; its address."""
    folder = Path("/tmp") / f"dockerd-{os.getpid()}"  # a socket's path must be short
    folder.mkdir()
    command = [
        "dockerd",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--data-root",
        str(folder / "root"),
        "--exec-root",
        str(folder / "exec"),
    ]
    command += ["-p", str(folder / "pid"), "-H", f"unix://{folder}/sock", "--storage-driver", "vfs"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "-H", f"unix://{folder}/sock", "version"], capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip("Docker's own daemon does not run here: " + (folder / "log").read_text()[-300:])
            time.sleep(0.2)
        yield f"unix://{folder}/sock"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@needs("dockerd")
@needs("containerd")
@needs("docker")
@needs("skopeo")
def test_the_docker_command_with_a_stock_daemon_logs_in_pushes_and_pulls(ecr: Ecr, dockerd: str, layout: Layout, tmp_path: Path) -> None:
    name = ecr.name("docker/app")

    def docker(*arguments: str, stdin: str = "", check: bool = True) -> str:
        return ecr.run("docker", *arguments, stdin=stdin, check=check, DOCKER_HOST=dockerd, DOCKER_CONFIG=str(tmp_path))

    said = docker("login", "--username", "AWS", "--password-stdin", ecr.address, stdin="wrong", check=False)
    assert "unauthorized" in said.lower() or "401" in said, said
    assert "Login Succeeded" in docker("login", "--username", "AWS", "--password-stdin", ecr.address, stdin=ecr.password)
    archive = tmp_path / "image.tar"
    ecr.skopeo("copy", f"oci:{layout.folder}:one", f"docker-archive:{archive}:{name}:1")
    docker("load", "--input", str(archive))
    pushed = docker("push", f"{name}:1")
    assert ecr.digest("docker/app", "1") in pushed
    assert "Layer already exists" in docker("push", f"{name}:1")
    image = docker("images", "--quiet", "--no-trunc", f"{name}:1")
    docker("tag", f"{name}:1", f"{ecr.name('docker/other')}:1")
    assert "Mounted from docker/app" in docker("push", f"{ecr.address}/docker/other:1")
    docker("rmi", "--force", image)
    assert "Downloaded newer image" in docker("pull", f"{name}:1")
    assert docker("images", "--quiet", "--no-trunc", f"{name}:1") == image
    said = docker("pull", f"{ecr.address}/docker/nothing:1", check=False)
    assert "not found" in said or "does not exist" in said, said


def test_oras_pushes_an_artifact_and_pulls_it_again(ecr: Ecr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("oras.client")
    name = ecr.name("oras/artifact")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("chart.txt").write_text("what is in it\n")
    oras = client.OrasClient(hostname=ecr.address, insecure=True, auth_backend="basic")
    oras.login(hostname=ecr.address, username="AWS", password=ecr.password, tls_verify=False)
    answer = oras.push(target=f"{name}:1", files=["chart.txt:application/vnd.example.chart"], manifest_annotations={"kind": "chart"})
    assert answer.status_code == 201
    [detail] = ecr.api.describe_images(repositoryName="oras/artifact")["imageDetails"]
    assert detail["imageTags"] == ["1"]
    [pulled] = oras.pull(target=f"{name}:1", outdir=str(tmp_path / "out"))
    assert Path(pulled).read_text() == "what is in it\n"
    assert oras.get_tags(name) == ["1"]
