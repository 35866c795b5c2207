"""A user who is not root, with an engine: nothing of it is on the machine afterwards.

The user, their ranges of ids, /dev/net/tun and, where wanted, a cgroup v2 of their own are there in a mount namespace only, in which each of their commands begins. The
interpreter and this source are mounted where the user can read them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import cloudstead
from cloudstead import datadir, runfile

WITHIN = 120.0
FIRST, COUNT = 1_000_000, 65536  # the ids of the ranges
_numbers = itertools.count(os.getpid() * 8)
SOURCE = Path(cloudstead.__file__).parents[1]
ENTER = """
set -e
cd "$BOX"
for file in passwd group subuid subgid; do mount --bind "$file" /etc/$file; done
mount --bind "$BASE" python
mount --bind "$SOURCE" source
mount --bind "$PACKAGES" packages
if [ -e tun ]; then mount --bind tun /dev/net/tun; fi
if [ -n "$CGROUP" ]; then
    echo $$ > "$CGROUP/cgroup.procs"
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; fi
fi
cd /
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$BOX/home" XDG_RUNTIME_DIR="$BOX/run" \
    LD_LIBRARY_PATH="$BOX/python/lib" PYTHONPATH="$BOX/source:$BOX/packages" "$@"
"""


class RootlessHost:
    """A context manager.

    Args:
        ranges: whether the user has ids for containers.
        delegated: whether they have a cgroup of version 2.
    """

    def __init__(self, *, ranges: bool = True, delegated: bool = False) -> None:
        number = next(_numbers)
        self.uid = 60000 + number % 5000
        self.first = FIRST + number % 5000 * COUNT
        self.box = Path(tempfile.mkdtemp(prefix="cloudstead-rootless-"))
        self.data = self.box / "home" / "data"
        self.port = free_port()
        self.cgroup = str(unified() / f"cloudstead-test-{number}") if delegated else ""
        self._ranges = ranges

    def __enter__(self) -> RootlessHost:
        self.box.chmod(0o755)
        name = f"rootless{self.uid}"
        line = f"{name}:{self.first}:{COUNT}\n" if self._ranges else ""
        for file, text in (
            ("passwd", Path("/etc/passwd").read_text() + f"{name}:x:{self.uid}:{self.uid}::{self.box}/home:/bin/sh\n"),
            ("group", Path("/etc/group").read_text() + f"{name}:x:{self.uid}:\n"),
            ("subuid", line),
            ("subgid", line),
        ):
            (self.box / file).write_text(text)
            (self.box / file).chmod(0o644)
        for folder in ("python", "source", "packages", "home", "run"):
            (self.box / folder).mkdir()
        for folder in ("home", "run"):
            os.chown(self.box / folder, self.uid, self.uid)
            (self.box / folder).chmod(0o700)
        if os.path.exists("/dev/net/tun"):
            os.mknod(self.box / "tun", 0o020666, os.makedev(10, 200))
            (self.box / "tun").chmod(0o666)
        if self.cgroup:
            self._make_cgroup()
        return self

    def _make_cgroup(self) -> None:
        folder = Path(self.cgroup)
        folder.mkdir()
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(folder / name, self.uid, self.uid)

    def __exit__(self, *_: object) -> None:
        try:
            self.run("down", check=False)
            if (self.data / datadir.MARK).exists():
                self.run("reset", "--yes", check=False)
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.box, ignore_errors=True)
            if self.cgroup:
                self._remove_cgroup()

    def _remove_cgroup(self) -> None:
        deadline = time.monotonic() + 5
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            while os.path.isdir(folder) and time.monotonic() < deadline:
                try:
                    os.rmdir(folder)
                except OSError:
                    time.sleep(0.05)

    # ------------------------------------------------------------------------------------------------------------ commands

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = self.box / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        environment = {
            "PATH": os.environ["PATH"],
            "BOX": str(self.box),
            "BASE": sys.base_prefix,
            "SOURCE": str(SOURCE),
            "PACKAGES": sysconfig.get_path("purelib"),
            "CGROUP": self.cgroup,
            "USER_ID": str(self.uid),
        }
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(program), "-P", *arguments]
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, check=False
        )

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """`cloudstead`, as the user. What it wrote."""
        done = self.python("-m", "cloudstead", command, "--data", str(self.data), *arguments)
        assert not check or done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout + done.stderr

    def up(self) -> None:
        self.run("up", "--detach", "--port", str(self.port), "--no-profile")

    def docker(self, *arguments: str, check: bool = True, stdin: bytes = b"") -> str:
        """The real `docker`. What it wrote, without the last line end."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.box),
            "DOCKER_HOST": f"unix://{datadir.docker_socket(self.data)}",
            "DOCKER_BUILDKIT": "0",
        }
        done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, env=environment, timeout=WITHIN, check=False)
        text = (done.stdout + done.stderr).decode(errors="replace").rstrip("\n")
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: status {done.returncode}\n{text}\n{self.log()}"
        return text

    def kill(self) -> None:
        """The daemon, as the kernel does when memory runs out."""
        run = runfile.read(self.data)
        assert run is not None
        os.kill(run.pid, signal.SIGKILL)

    def log(self) -> str:
        path = self.data / runfile.LOG_FILE
        return path.read_text()[-4000:] if path.exists() else ""

    def processes(self, word: str = "") -> list[int]:
        """Of the user and of the ranges; those with a word in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") if entry.name.isdecimal() else ""
                owner = entry.stat().st_uid
            except OSError:
                continue
            if words and word in words and (owner == self.uid or self.first <= owner < self.first + COUNT):  # a zombie has no command line
                found.append(int(entry.name))
        return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def unified() -> Path:
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    raise FileNotFoundError("no cgroup v2")


def why_no_rootless() -> str:
    """Why no engine without root can be tried here; empty when it can."""
    if os.geteuid() != 0:
        return "making another user needs root"
    for program in ("newuidmap", "newgidmap", "setpriv", "unshare", "docker", "runc", "conmon", "nft"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} is not installed"
    with RootlessHost() as host:
        done = host.python("-m", "cloudstead.engine.host.rootless", "--trial")
        return "" if done.returncode == 0 else f"no namespaces without root here: {done.stderr.strip().splitlines()[-1:]}"
