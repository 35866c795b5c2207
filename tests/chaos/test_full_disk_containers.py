"""A full disk: what is asked for is refused with a sentence, and what is there can be removed, which makes room again."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_host import DockerHost, why_no_docker

pytestmark = pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())

ROOM = 6 << 20  # bytes that are left free


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DockerHost]:
    """On a small disk that is nearly full. Its log is elsewhere."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(disk)], check=True)
    try:
        running = DockerHost(disk / "data")
        running.log = tmp_path / "data.log"
        with running:
            running.make_busybox()
            free = os.statvfs(disk)
            (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - ROOM))
            yield running
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def until_room(host: DockerHost) -> None:
    """The kernel frees what was written when the last mount of it has gone, a moment after the removal."""
    deadline = time.monotonic() + 10
    while (done := host.run("run", "--rm", "busybox", "echo", "room", check=False)).returncode:
        assert time.monotonic() < deadline, done
        time.sleep(0.1)
    assert done.stdout == "room\n"


def test_a_full_disk_is_told_and_can_be_emptied(host: DockerHost) -> None:
    fill = "dd if=/dev/zero of=/f bs=1M count=100; sleep 1000"
    host.docker("run", "-d", "--name", "full", "busybox", "sh", "-c", fill)
    deadline = time.monotonic() + 20
    while os.statvfs(host.data).f_bavail and time.monotonic() < deadline:
        time.sleep(0.05)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("large")
        member.size = 8 << 20
        tar.addfile(member, io.BytesIO(os.urandom(1 << 20) * 8))
    for words, stdin in (
        (["commit", "full", "image"], b""),
        (["import", "-", "image"], archive.getvalue()),
        (["run", "--rm", "busybox", "true"], b""),
        (["volume", "create", "volume"], b""),
        (["network", "create", "network"], b""),
        (["exec", "full", "true"], b""),
    ):
        began = time.monotonic()
        done = host.run(*words, stdin=stdin, check=False)
        assert done.returncode != 0, words
        assert "No space left" in done.stderr or "no space left" in done.stderr or "could not be written" in done.stderr, (words, done)
        assert time.monotonic() - began < 10
    began = time.monotonic()
    host.docker("rm", "-f", "full")
    assert time.monotonic() - began < 10, "its end could not be written down, but can be told"
    until_room(host)
    assert "Traceback" not in host.log.read_text()


def test_a_log_that_fills_the_disk_does_not_keep_its_container(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "loud", "busybox", "sh", "-c", "yes; sleep 1000")
    deadline = time.monotonic() + 20
    while os.statvfs(host.data).f_bavail and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    host.docker("rm", "-f", "loud")
    until_room(host)
