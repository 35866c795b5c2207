"""Sixteen clients do everything to the same few containers, half of them vanish in the middle, daemon and host are killed: all stays answerable and clean."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.host.layout import Layout
from docker_host import DockerHost, processes_of, why_no_docker

pytestmark = pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())

CLIENTS, SECONDS, WITHIN = 16, 15.0, 30.0
LOG_LINES = 200
SWEPT_WITHIN = 75.0  # what a killed engine host had mounted for a moment goes with the next sweep, once a minute
NAMES = [f"storm{number}" for number in range(4)]
COMMANDS = ["sleep 100", "sleep 0.3; exit 3", "true", "trap '' TERM; sleep 50", "while :; do echo x; sleep 0.01; done"]
ACTIONS = [
    ("POST", "/containers/{name}/start"),
    ("POST", "/containers/{name}/start"),
    ("POST", "/containers/{name}/stop?t=0"),
    ("POST", "/containers/{name}/restart?t=0"),
    ("POST", "/containers/{name}/kill"),
    ("POST", "/containers/{name}/pause"),
    ("POST", "/containers/{name}/unpause"),
    ("POST", "/containers/{name}/rename?name={other}"),
    ("DELETE", "/containers/{name}?v=1"),
    ("DELETE", "/containers/{name}?v=1&force=1"),
    ("DELETE", "/containers/{name}?v=1&force=1"),
    ("GET", "/containers/{name}/json?size=1"),
    ("GET", "/containers/{name}/top"),
    ("GET", "/containers/{name}/stats?stream=0"),
    ("GET", "/containers/{name}/archive?path=/bin"),
    ("GET", "/containers/{name}/changes"),
    ("GET", "/containers/{name}/logs?stdout=1"),
    ("GET", "/containers/json?all=1"),
    ("POST", "/images/prune"),
]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DockerHost]:
    with DockerHost(tmp_path / "data") as running:
        running.make_busybox()
        running.docker("network", "create", "storms")
        yield running


class Scene:
    """What a container is like when it is first found that something asked of it gets no answer: what the engine thinks, and what the kernel says."""

    def __init__(self, host: DockerHost) -> None:
        self.host = host
        self.seen: dict[str, str] = {}

    def look(self, target: str) -> None:
        name = next((name for name in NAMES if name in target), "")
        if name and self.seen.setdefault(name, "…") == "…":
            known = self.host.run("inspect", "--format", "{{.Id}} {{json .State}}", name, check=False)
            id = known.stdout.strip().partition(" ")[0]
            folder = Layout(self.host.data).containers / (id or "none") / "bundle"
            noted = [path for name in ("pid", "started", "oom", "oom-killed", "conmon.log", id) if (path := folder / name).is_file()]
            notes = {path.name: path.read_text(errors="replace").strip() for path in noted}
            record = folder / "record.json"
            self.seen[name] = "\n".join(
                [
                    f"{name} after {time.monotonic():.1f}: {known.stdout}{known.stderr}",
                    f"record: {record.read_text().strip() if record.exists() else None}",
                    f"notes: {notes}",
                    *(f"{path}: {path.read_text().strip()}" for path in freezers_of(id)),
                    *(line for pid in processes_around(id) for line in told_of(pid)),
                ]
            )

    def text(self) -> str:
        log = self.host.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([*self.seen.values(), "the end of the log:", *log])


def freezers_of(id: str) -> list[Path]:
    found = [path for pattern in (f"freezer/**/{id}", f"**/{id}") for path in Path("/sys/fs/cgroup").glob(pattern)] if id else []
    names = ("freezer.state", "cgroup.events", "cgroup.procs")
    return list(dict.fromkeys(file for folder in found for name in names if (file := folder / name).exists()))


def processes_around(id: str) -> list[int]:
    """The monitor of a container, and what is in its cgroups."""
    pids = []
    for entry in Path("/proc").iterdir():
        if id and entry.name.isdigit():
            with contextlib.suppress(OSError):
                if id in (entry / "cmdline").read_text(errors="replace") or id in (entry / "cgroup").read_text():
                    pids.append(int(entry.name))
    return pids


def told_of(pid: int) -> list[str]:
    wanted = ("Name:", "State:", "PPid:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:")
    try:
        status = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(wanted)]
        return [f"process {pid}: {', '.join(status)}", f"  waits in {Path(f'/proc/{pid}/wchan').read_text()}"]
    except OSError as error:
        return [f"process {pid}: {error}"]


class Client:
    def __init__(self, host: DockerHost, seed: int, scene: Scene) -> None:
        self.path = str(host.socket)
        self.scene = scene
        self.chance = random.Random(seed)
        self.wrong: list[Any] = []

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            name, other = self.chance.choice(NAMES), self.chance.choice(NAMES)
            if self.chance.random() < 0.2:
                self.ask("POST", f"/containers/create?name={name}", self.wanted(name))
            elif self.chance.random() < 0.2:
                word = self.chance.choice(("connect", "disconnect"))
                self.ask(
                    "POST",
                    f"/networks/storms/{word}",
                    {"Container": name, "Force": word == "disconnect"} if word == "disconnect" else {"Container": name},
                )
            else:
                method, target = self.chance.choice(ACTIONS)
                self.ask(method, target.format(name=name, other=other))

    def wanted(self, name: str) -> dict[str, Any]:
        return {
            "Image": "busybox",
            "Cmd": ["sh", "-c", self.chance.choice(COMMANDS)],
            "Volumes": {"/v": {}},
            "HostConfig": {
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(29500 + NAMES.index(name))}]},
                "RestartPolicy": {"Name": self.chance.choice(("no", "always", "on-failure"))},
            },
        }

    def ask(self, method: str, target: str, body: Any = None) -> None:
        """A killed daemon answers nothing, which is no fault; every answer must be one that makes sense, and come in time."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        request, answer = head.encode() + data, b""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WITHIN)
            try:
                sock.connect(self.path)
                if self.chance.random() < 0.15:
                    sock.sendall(request[: self.chance.randrange(len(request) + 1)])
                    return
                sock.sendall(request)
                while piece := sock.recv(1 << 16):
                    answer += piece
            except TimeoutError:
                self.wrong.append((method, target, "no answer"))
                self.scene.look(target)
            except OSError:
                time.sleep(0.02)
        expected = (
            answer[9:12] == b"503" or b"the engine host" in answer or b"is not connected to network" in answer
        )  # the last is Docker's own
        if answer[9:10] == b"5" and not expected:
            self.wrong.append((method, target, answer))


def test_a_storm_leaves_nothing_stuck_and_nothing_behind(host: DockerHost) -> None:
    until = time.monotonic() + SECONDS
    scene = Scene(host)
    clients = [Client(host, seed, scene) for seed in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(until,)) for client in clients]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    while time.monotonic() < until - 3:
        time.sleep(chance.uniform(2, 4))
        kill_engine_host(host)
        if chance.random() < 0.5:
            host.kill()
            host.start()
    for thread in threads:
        thread.join(WITHIN + 5)
        assert not thread.is_alive()
    assert [wrong for client in clients for wrong in client.wrong] == [], scene.text()
    host.docker("run", "--rm", "busybox", "true")  # which waits for the engine host, should that have been killed just now
    listed = host.docker("ps", "-a", "--format", "{{.Names}}").split()
    assert len(set(listed)) == len(listed)
    if listed:
        host.docker("rm", "-f", "-v", *listed)
    host.docker("run", "--rm", *(f"-p127.0.0.1:{29500 + number}:80" for number in range(len(NAMES))), "busybox", "true")
    layout = Layout(host.data)
    deadline = time.monotonic() + SWEPT_WITHIN
    while (left := remains(layout)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [], scene.text()
    assert "Traceback" not in host.log.read_text()


def kill_engine_host(host: DockerHost) -> None:
    for line in processes_of(Layout(host.data)):
        if "engine.host" in line and line.split()[0] in children_of(host):
            os.kill(int(line.split()[0]), 9)


def children_of(host: DockerHost) -> list[str]:
    assert host.process is not None
    return Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()


def remains(layout: Layout) -> list[str]:
    monitors = [line for line in processes_of(layout) if "conmon" in line]
    overlays = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{layout.containers}/" in line]
    return [*monitors, *overlays, *os.listdir(layout.runtime)]
