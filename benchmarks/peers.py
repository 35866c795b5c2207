"""The servers that benchmarks compare, each as a process of its own: Cloudstead, moto_server, MiniStack.

MiniStack is measured where its program is found (`--ministack`, PATH); it is no dependency of ours: `pip install ministack` in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from botocore.credentials import Credentials

from cloudstead import datadir, runfile

START_LIMIT = 60.0  # seconds

# Where this variable is set, every start would compile all modules again, and that would be measured.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class Peer:
    """A server under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    credentials: Credentials
    started: float  # seconds from exec to the first healthy answer

    def cpu(self) -> float:
        """Seconds of CPU so far, of the process and its threads, to the nanosecond. The clock's number: clock_getcpuclockid(3)."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def memory(self) -> float:
        """Resident MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def cloudstead(data: Path) -> Peer:
    """A strict daemon: signatures are verified, policies enforced."""
    command = [sys.executable, "-m", "cloudstead", "up", "--port", "0", "--data", str(data), "--strict"]
    log = data.parent / "daemon.log"
    began = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=ENVIRONMENT)
    while True:
        run = runfile.read(data)
        if run is not None and answers(f"{run.endpoint}/_cloudstead/health"):
            break
        _check(process, began, lambda: log.read_text()[-2000:])
        time.sleep(0.005)
    started = time.perf_counter() - began
    key = datadir.root_key(data)
    return Peer("cloudstead", process, run.port, Credentials(key.access_key_id, key.secret_access_key), started)


def moto() -> Peer:
    """moto_server verifies nothing and keeps everything in memory."""
    port = free_port()
    return _foreign("moto_server", [str(Path(sys.executable).with_name("moto_server")), "-p", str(port)], port, "/moto-api/", {})


def ministack(program: str | None) -> Peer | None:
    """None where there is no MiniStack. It verifies nothing and keeps everything in memory."""
    found = shutil.which(program or "ministack")
    if found is None:
        return None
    port = free_port()
    settings = {"GATEWAY_PORT": str(port), "EDGE_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
    return _foreign("ministack", [found], port, "/_ministack/health", settings)


def _foreign(name: str, command: list[str], port: int, healthy: str, settings: dict[str, str]) -> Peer:
    began = time.perf_counter()
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"} | settings
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment)
    while not answers(f"http://127.0.0.1:{port}{healthy}"):
        _check(process, began, lambda: name)
        time.sleep(0.01)
    return Peer(name, process, port, Credentials("123456789012", "test"), time.perf_counter() - began)


def _check(process: subprocess.Popen[bytes], began: float, why: Callable[[], str]) -> None:
    if time.perf_counter() - began > START_LIMIT or process.poll() is not None:
        process.kill()
        raise SystemExit(f"a server did not start: {why()}")


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=1).status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
