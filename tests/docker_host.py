"""A Cloudstead process whose Docker API real clients use, and what it leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cloudstead import datadir
from cloudstead.engine.host.layout import Layout
from engine_support import busybox_tar
from support import Daemon

WITHIN = 120.0  # seconds for one command


class DockerHost(Daemon):
    """A context manager. At its end everything is torn down, and what the kernel still holds of it is an error."""

    def __init__(self, data: Path, *options: str) -> None:
        super().__init__(data, *options)
        self.config = tempfile.mkdtemp(prefix="docker-config-")
        self.socket = datadir.docker_socket(data)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": self.config,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": self.config,
            "DOCKER_BUILDKIT": "0",
            "TERM": "xterm",
        }

    def run(
        self, *arguments: str, stdin: bytes | str = b"", check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The real `docker` with these arguments."""
        content = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            ["docker", *arguments], input=content, capture_output=True, env=self.environment, timeout=WITHIN, cwd=cwd, check=False
        )
        text = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)}: status {done.returncode}\n{text.stdout}{text.stderr}")
        return text

    def docker(self, *arguments: str, **options: Any) -> str:
        """What it printed, without the last line end."""
        return self.run(*arguments, **options).stdout.rstrip("\n")

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["docker", *arguments], env=self.environment, **options)

    def remove_containers(self) -> None:
        """For the fixtures of modules whose tests share a host: nothing of one stays for the next."""
        if containers := self.docker("ps", "-aq").split():
            self.docker("rm", "-f", "-v", *containers)

    def make_busybox(self) -> None:
        self.docker("import", "--change", 'CMD ["sh"]', "--change", "ENV PATH=/bin:/usr/bin", "-", "busybox", stdin=busybox_tar())

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self.tear_down()
            shutil.rmtree(self.config, ignore_errors=True)

    def tear_down(self) -> None:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cloudstead.engine.teardown", str(self.data)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 5  # what was killed takes a moment to be gone
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == {}, left

    def left(self) -> dict[str, list[str]]:
        """What of this instance the kernel and /run hold: empty after a tear-down."""
        layout = Layout(self.data)
        found = {
            "processes": processes_of(layout),
            "mounts": [
                line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.data) in line or str(layout.run) in line
            ],
            "cgroups": [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith(layout.cgroup)],  # others come and go
            "links": [line for line in command("ip", "-o", "link") if layout.instance in line],
            "tables": [line for line in command("nft", "list", "tables") if layout.instance in line],
            "run": [str(layout.run)] if layout.run.exists() else [],
        }
        return {what: things for what, things in found.items() if things}


def processes_of(layout: Layout) -> list[str]:
    """conmon, engine hosts and containers of an instance, by their command lines and cgroups."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cgroups = (entry / "cgroup").read_text()
            except OSError:
                continue
            if layout.cgroup in cgroups or (str(layout.data) in line and ("conmon" in line or "engine.host" in line)):
                found.append(f"{entry.name} {line}")
    return found


def command(*words: str) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def why_no_docker() -> str:
    from engine_support import why_no_engine

    return why_no_engine() or ("" if shutil.which("docker") else "the docker command is not installed")
