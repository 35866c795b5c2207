"""`cloudstead image bootstrap`: what is made, from what, and how it is handed over."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import socketserver
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cloudstead import datadir
from cloudstead.cli import image
from cloudstead.cli.bootstrap import busybox, debian, making, sources
from cloudstead.cli.bootstrap.making import Order
from cloudstead.cli.bootstrap.recipes import RECIPES, Release, upstream
from cloudstead.cli.bootstrap.sources import Source
from cloudstead.cli.terminal import Failure

needs_busybox = pytest.mark.skipif(
    not any(
        path and busybox.is_static(Path(path)) for path in (shutil.which("busybox", path=folder) for folder in busybox.WHERE.split(":"))
    ),
    reason="needs Debian's busybox-static",
)

STATUS = """\
Package: python3-minimal
Status: install ok installed
Description: minimal
 lines that go on
Version: 3.11.2-1+b1

Package: nodejs
Status: install ok installed
Version: 18.20.4+dfsg-1~deb12u1
"""
FAKE = """\
#!{python}
import io, os, sys, tarfile
target = sys.argv[-2]
with tarfile.open(target, "w") as tar:
    for name, text in {files!r}.items():
        member = tarfile.TarInfo(name)
        member.size, member.mtime = len(text), int(os.environ["SOURCE_DATE_EPOCH"])
        tar.addfile(member, io.BytesIO(text.encode()))
open({record!r}, "a").write("\\n".join(sys.argv) + "\\n" + open(sys.argv[-1]).read() + "\\n---\\n")
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return tmp_path / "cache" / "cloudstead" / "images"


@pytest.fixture
def fake_mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a root file system of three files, and what it was called with."""
    record, folder = tmp_path / "called", tmp_path / "bin"
    folder.mkdir()
    files = {"./usr/lib/os-release": 'VERSION_ID="12"\nID=debian\n', "./var/lib/dpkg/status": STATUS, "./etc/hello": "hello"}
    program = folder / "mmdebstrap"
    program.write_text(FAKE.format(python=sys.executable, files=files, record=str(record)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(debian, "KEYRING", str(program))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return record


def read(archive: Path) -> tuple[dict[str, Any], dict[str, Any], tarfile.TarFile]:
    """Manifest, configuration and layer of an archive, checked by their digests."""
    with tarfile.open(archive) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        config = tar.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        layer = tar.extractfile(manifest["Layers"][0]).read()  # type: ignore[union-attr]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    described = json.loads(config)
    assert described["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    return manifest, described, tarfile.open(fileobj=io.BytesIO(layer))


# ------------------------------------------------------------------------------------------------------------------ busybox


@needs_busybox
def test_busybox_is_a_program_with_its_applets_users_and_folders() -> None:
    made = making.make("busybox", Order("bookworm"))
    manifest, config, layer = read(made.path)
    assert manifest["RepoTags"][0] == "busybox:latest"
    assert config["config"]["Cmd"] == ["sh"]
    assert config["created"] == "2023-11-14T22:13:20Z"
    members = {member.name: member for member in layer}
    assert members["bin/busybox"].mode == 0o755
    assert members["bin/sh"].linkname == "bin/busybox"
    assert {"bin/ls", "bin/wget", "usr/bin/env"} <= members.keys()
    assert members["tmp"].mode == 0o1777
    assert b"root:x:0:0:root:/root:/bin/sh" in layer.extractfile("etc/passwd").read()  # type: ignore[union-attr]
    assert {member.uid for member in members.values()} == {0}
    assert {member.mtime for member in members.values()} == {1700000000}


@needs_busybox
def test_what_is_made_is_the_same_byte_for_byte_and_the_second_time_from_the_cache(own_cache: Path) -> None:
    first = making.make("busybox", Order("bookworm"))
    before = first.path.read_bytes()
    again = making.make("busybox", Order("bookworm"))
    assert (first.cached, again.cached, again.image, list(again.tags)) == (False, True, first.image, list(first.tags))
    fresh = making.make("busybox", Order("bookworm", refresh=True))
    assert (fresh.cached, fresh.path.read_bytes()) == (False, before)
    fresh.path.write_bytes(before[:5000])  # as a full disk would have left it
    assert making.make("busybox", Order("bookworm")).path.read_bytes() == before
    assert sorted(path.suffix for path in own_cache.iterdir()) == [".lock", ".tar"]


def test_a_busybox_that_needs_libraries_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busybox").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setattr(busybox, "WHERE", str(tmp_path))
    with pytest.raises(Failure, match="apt-get install busybox-static"):
        making.make("busybox", Order("bookworm"))


# ------------------------------------------------------------------------------------------------------------------ debian


def test_debian_is_made_by_mmdebstrap_and_named_after_what_came_of_it(fake_mmdebstrap: Path) -> None:
    made = making.make("debian", Order("bookworm", "http://mirror/debian", "http://mirror/debian-security"))
    manifest, config, layer = read(made.path)
    assert manifest["RepoTags"] == [f"debian:{tag}" for tag in ("latest", "12", "bookworm", "12-slim", "bookworm-slim")]
    assert config["config"] == {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]}
    names = layer.getnames()
    assert "./etc/hello" in names
    assert layer.getmember("./usr/sbin/policy-rc.d").mode == 0o755
    assert b"path-exclude=/usr/share/doc/*" in layer.extractfile("./etc/dpkg/dpkg.cfg.d/image").read()  # type: ignore[union-attr]
    called = fake_mmdebstrap.read_text()
    assert "--variant=minbase" in called
    for suite in ("bookworm", "bookworm-updates"):
        assert f"URIs: http://mirror/debian\nSuites: {suite}\n" in called
    assert "URIs: http://mirror/debian-security\nSuites: bookworm-security\n" in called


def test_python_and_node_are_named_after_the_versions_of_their_packages(fake_mmdebstrap: Path) -> None:
    _, config, layer = read(making.make("python", Order("bookworm", "http://mirror/debian")).path)
    assert layer.getmember("./usr/local/bin/python").linkname == "/usr/bin/python3"
    assert "PYTHON_VERSION=3.11.2" in config["config"]["Env"]
    manifest, config, _ = read(making.make("node", Order("bookworm", "http://mirror/debian", packages=["npm"])).path)
    assert {"node:latest", "node:18", "node:18.20", "node:18-slim", "node:18-bookworm"} <= set(manifest["RepoTags"])
    assert config["config"]["Cmd"] == ["node"]
    included = [line for line in fake_mmdebstrap.read_text().splitlines() if line.startswith("--include=")]
    assert "python3-pip" in included[0]
    assert "nodejs,ca-certificates,npm" in included[1]


def test_other_packages_or_mirrors_make_another_image(fake_mmdebstrap: Path, own_cache: Path) -> None:
    for order in (
        Order("bookworm", "http://a/debian"),
        Order("bookworm", "http://b/debian"),
        Order("bookworm", "http://a/debian", packages=["less"]),
    ):
        assert making.make("debian", order).cached is False
    assert making.make("debian", Order("bookworm", "http://a/debian")).cached is True
    assert len(list(own_cache.glob("*.tar"))) == 3


def test_what_mmdebstrap_says_when_it_fails_is_told_and_nothing_stays(fake_mmdebstrap: Path, own_cache: Path) -> None:
    program = fake_mmdebstrap.parent / "bin" / "mmdebstrap"
    program.write_text("#!/bin/sh\necho 'I: running apt-get update' >&2\necho 'E: Unable to locate package nosuch' >&2\nexit 100\n")
    with pytest.raises(Failure, match="mmdebstrap failed:\nE: Unable to locate package nosuch"):
        making.make("debian", Order("bookworm", "http://mirror/debian"))
    assert [path.suffix for path in own_cache.iterdir()] == [".lock"]


def test_without_mmdebstrap_or_root_a_sentence_says_what_to_do(
    fake_mmdebstrap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order("bookworm", "http://mirror/debian")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian, "can_unshare", lambda: False)
    with pytest.raises(Failure, match="run this with sudo"):
        making.make("debian", order)
    monkeypatch.setattr(debian, "can_unshare", lambda: True)
    assert making.make("debian", order).cached is False
    monkeypatch.setattr(debian, "KEYRING", str(tmp_path / "none"))
    with pytest.raises(Failure, match="apt-get install debian-archive-keyring"):
        making.make("debian", Order("sid", "http://mirror/debian"))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Failure, match="apt-get install mmdebstrap"):
        making.make("debian", Order("sid", "http://mirror/debian"))


@pytest.mark.parametrize(
    ("version", "short"),
    [("3.11.2-1+b1", "3.11.2"), ("1:18.20.4+dfsg-1~deb12u1", "18.20.4"), ("12.5~rc1-1", "12.5"), ("7", "7")],
)
def test_versions_are_those_of_the_makers(version: str, short: str) -> None:
    assert upstream(version) == short


def test_a_suite_without_a_number_has_its_name_alone() -> None:
    assert RECIPES["debian"].tags(Release("sid", "", {})) == ["latest", "sid", "sid-slim"]


# ------------------------------------------------------------------------------------------------------------------ sources


def apt(folder: Path, *, lines: str = "", stanzas: str = "") -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    (folder / "sources.list").write_text(lines)
    (folder / "sources.list.d" / "debian.sources").write_text(stanzas)
    return folder


LINES = """\
# deb http://commented/debian bookworm main
deb [arch=amd64 signed-by=/x.gpg] http://near/debian/ bookworm main contrib
deb-src http://near/debian bookworm main
deb http://near/debian bookworm-updates main  # updates
deb http://near/debian-security bookworm-security main
deb http://elsewhere/other stable main
"""
STANZAS = """\
Types: deb deb-src
# a comment
URIs: http://near/debian
Suites: bookworm
 bookworm-updates
Components: main contrib

Enabled: no
Types: deb
URIs: http://off/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://near/debian-security
Suites: bookworm-security
Components: main
"""
NEAR = [
    Source("http://near/debian", "bookworm"),
    Source("http://near/debian", "bookworm-updates"),
    Source("http://near/debian-security", "bookworm-security"),
]


@pytest.mark.parametrize("form", [{"lines": LINES}, {"stanzas": STANZAS}])
def test_packages_come_from_where_the_machine_gets_its_own(tmp_path: Path, form: dict[str, str]) -> None:
    assert sources.choose("bookworm", apt=apt(tmp_path / "apt", **form)) == NEAR


def test_another_suite_comes_from_the_same_mirror(tmp_path: Path) -> None:
    found = sources.choose("trixie", apt=apt(tmp_path / "apt", lines=LINES))
    assert found == [
        Source("http://near/debian", "trixie"),
        Source("http://near/debian", "trixie-updates"),
        Source("http://near/debian-security", "trixie-security"),
    ]
    assert sources.choose("sid", apt=apt(tmp_path / "other", lines=LINES)) == [Source("http://near/debian", "sid")]


def test_a_machine_without_debian_uses_debians_own(tmp_path: Path) -> None:
    found = sources.choose("bookworm", apt=tmp_path / "none")
    assert [source.uri for source in found] == [sources.DEBIAN, sources.DEBIAN, sources.SECURITY]


def test_named_mirrors_come_first_and_without_one_for_security_there_is_none(tmp_path: Path) -> None:
    machine = apt(tmp_path / "apt", lines=LINES)
    assert [source.uri for source in sources.choose("bookworm", "http://m/debian", apt=machine)] == ["http://m/debian"] * 2
    both = sources.choose("bookworm", "http://m/debian", "http://s/debian", apt=machine)
    assert both[-1] == Source("http://s/debian", "bookworm-security")
    assert sources.choose("bookworm", "", "http://s/debian", apt=machine)[-1] == Source("http://s/debian", "bookworm-security")


# ------------------------------------------------------------------------------------------------------------------ handing over


class Daemon(BaseHTTPRequestHandler):
    """Takes an archive as the Docker API does."""

    refuses = False
    taken: list[bytes] = []

    def do_GET(self) -> None:
        self._answer(200, b"OK")

    def do_POST(self) -> None:
        archive = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(archive)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            manifest = json.loads(tar.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        lines = [{"stream": f"Loaded image: {tag}\n"} for tag in manifest["RepoTags"]]
        if self.refuses:
            lines = [{"errorDetail": {"message": "no space"}, "error": "no space"}]
        self._answer(200, b"".join(json.dumps(line).encode() + b"\r\n" for line in lines))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """A data directory where something answers as Docker."""
    data = tmp_path / "data"
    data.mkdir()
    Daemon.taken, Daemon.refuses = [], False
    with socketserver.UnixStreamServer(str(datadir.docker_socket(data)), Daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield data
        server.shutdown()
        thread.join()


def asked(data: Path, *names: str, **options: Any) -> argparse.Namespace:
    usual = {"suite": "bookworm", "mirror": "", "security_mirror": "", "package": [], "refresh": False, "output": None, "json": True}
    return argparse.Namespace(**{**usual, "data": data, "names": list(names), **options})


@needs_busybox
def test_the_archive_is_given_to_the_daemon_over_its_socket(daemon: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cached in (False, True):
        image.image(asked(daemon, "busybox", "busybox"))
        told = json.loads(capsys.readouterr().out)
        assert len(told) == 1
        assert ("busybox:latest" in told[0]["tags"], told[0]["cached"]) == (True, cached)
    assert Daemon.taken[0] == Daemon.taken[1] == next((making.folder()).glob("*.tar")).read_bytes()


@needs_busybox
def test_what_the_daemon_refuses_is_a_failure(daemon: Path) -> None:
    Daemon.refuses = True
    with pytest.raises(Failure, match="cannot be loaded: no space"):
        image.image(asked(daemon, "busybox"))


@needs_busybox
def test_an_archive_is_written_without_a_daemon(tmp_path: Path) -> None:
    image.image(asked(tmp_path, "busybox", output=tmp_path / "out.tar"))
    assert read(tmp_path / "out.tar")[0]["RepoTags"][0] == "busybox:latest"


def test_env_names_the_socket_that_images_go_to(tmp_path: Path) -> None:
    from cloudstead.cli import env

    datadir.prepare(tmp_path / "data")
    assert env.variables(tmp_path / "data", None)["DOCKER_HOST"] == f"unix://{datadir.docker_socket(tmp_path / 'data')}"


def test_mistakes_are_told_before_anything_is_made(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(Failure, match=r"no recipe for alpine; there are busybox, debian, python, node\."):
        image.image(asked(tmp_path, "alpine"))
    with pytest.raises(Failure, match="--output takes one image"):
        image.image(asked(tmp_path, output=tmp_path / "x"))
    with pytest.raises(Failure, match="cloudstead up --detach"):
        image.image(asked(tmp_path / "nowhere", "busybox"))
    assert not own_cache.exists()


# ------------------------------------------------------------------------------------------------------------------ for real


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mmdebstrap") is None, reason="needs root and mmdebstrap")
def test_debian_for_real_is_small_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    made = making.make("debian", Order("bookworm"))
    manifest, config, layer = read(made.path)
    assert {"debian:12", "debian:bookworm", "debian:latest"} <= set(manifest["RepoTags"])
    members = {member.name: member for member in layer}
    assert made.path.stat().st_size < 90 << 20
    assert not [name for name in members if name.startswith("./dev/")]
    assert not [name for name in members if name.startswith("./usr/share/man/") and members[name].isfile()]
    assert "URIs:" in layer.extractfile("./etc/apt/sources.list.d/debian.sources").read().decode()  # type: ignore[union-attr]
    assert members["./etc/resolv.conf"].size == 0
    assert max(member.mtime for member in members.values()) <= config_epoch(config)
    assert making.make("debian", Order("bookworm", refresh=True)).image == made.image


def config_epoch(config: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(config["created"]).timestamp()
