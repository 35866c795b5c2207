"""What a container costs, beside Docker's own daemon (Debian's docker.io) in the same run.

    python benchmarks/containers.py                    everything, 5 rounds
    python benchmarks/containers.py --rounds 9         more of them
    python benchmarks/containers.py --alone            Cloudstead only, where there is no dockerd
    python benchmarks/containers.py --json             for scripts

Needs root, runc, conmon, nft and busybox; and dockerd for the comparison. Each engine is a process of its own with an empty data directory and the same image: a
static busybox. They take turns within each round, so that a slow minute slows both, and who is first changes from round to round. Figures are the median
of all samples (p50) and what 99 of 100 do not exceed (p99; of rates, what 99 of 100 reach). The ratio is that of the medians.

    start to exit    create, start, wait for the end of `true`; through the API, over a kept connection
    docker run       the real command: `docker run --rm image true`, its own start included; it ends when the container is removed
    docker exec      the real command: `docker exec container true`
    exec             the same without the command: make, start, read to the end, ask for the exit code
    stop             a container that ends at once when it is told to
    remove           a container that has ended
    starts a second  40 containers that sleep, made and started by 8 callers at once, until the last one runs
    load             an image of 8,000 files, 200 MB, in one layer: `docker load`, with the files ready to be run
    build            ten steps, five of them RUN, by the classic builder: nothing cached, then all of it
    memory           proportional set size of all the engine's processes beside one idle container
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker_client import Docker

IMAGE = "bench"
CALLERS = 8
AT_ONCE = 40
SAMPLES = 8  # in each round
START_SECONDS = 60.0
RATES = ("starts a second",)  # more is better

DOCKERFILE = """\
FROM bench
ENV A=1 B=2
WORKDIR /work
COPY one.txt .
RUN echo one > 1
RUN cat one.txt 1 > 2
COPY . .
RUN mkdir -p deep/er && cp 2 deep/er
RUN for i in 1 2 3 4 5; do echo $i >> counted; done
RUN wc -c * > sizes || true
CMD ["cat", "sizes"]
"""


@dataclass
class Peer:
    """One engine, and what was measured of it."""

    name: str
    process: subprocess.Popen[bytes]
    socket: Path
    samples: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, value: float) -> None:
        self.samples.setdefault(what, []).append(value)

    def memory(self, container_pids: set[int]) -> float:
        """MB of the engine's processes: all that descend from it or were left to init by it, but not the containers' own."""
        return sum(proportional_set(pid) for pid in engine_processes(self.process.pid, self.name) - container_pids) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("containers need root")
    with tempfile.TemporaryDirectory(prefix="containers-") as folder, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(cloudstead(Path(folder)))]
        if not options.alone and shutil.which("dockerd"):
            peers.append(stack.enter_context(dockerd(Path(folder))))
        for peer in peers:
            Docker(peer.socket).import_root(busybox_root(), IMAGE)
            once(peer)  # what the first one pays for all
            once(peer)
        for number in range(options.rounds):
            for measure in (starts, command_line, executions, parallel, loads, builds):
                for peer in peers[:: -1 if number % 2 else 1]:
                    measure(peer)
        for peer in peers:
            idle(peer)
        report(peers, as_json=options.json)


def starts(peer: Peer) -> None:
    for _ in range(SAMPLES):
        peer.note("start to exit, ms", once(peer) * 1000)


def once(peer: Peer) -> float:
    docker = Docker(peer.socket)
    docker.call("GET", "/_ping")
    began = time.perf_counter()
    container = docker.create(IMAGE, "true")
    docker.start(container)
    status = docker.wait(container)
    took = time.perf_counter() - began
    peer.note("remove, ms", timed(docker.remove, container))
    assert status == 0, status
    return took


def command_line(peer: Peer) -> None:
    if shutil.which("docker") is None:
        return
    for _ in range(SAMPLES // 2):
        peer.note("docker run, ms", timed(docker_command, peer, "run", "--rm", IMAGE, "true"))


def docker_command(peer: Peer, *arguments: str) -> None:
    subprocess.run(["docker", "-H", f"unix://{peer.socket}", *arguments], check=True, stdin=subprocess.DEVNULL)


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - began) * 1000


def executions(peer: Peer) -> None:
    docker = Docker(peer.socket)
    container = docker.create(IMAGE, "sh", "-c", "trap 'exit 0' TERM; echo; while :; do sleep 1000 & wait; done")
    docker.start(container)
    for _ in range(SAMPLES // 2):
        assert docker.execute(container, "true") == 0
        peer.note("exec, ms", timed(docker.execute, container, "true"))
        if shutil.which("docker") is not None:
            peer.note("docker exec, ms", timed(docker_command, peer, "exec", container, "true"))
    peer.note("stop, ms", timed(docker.stop, container))
    docker.remove(container)


def parallel(peer: Peer) -> None:
    def one(_: int) -> str:
        docker = Docker(peer.socket)
        container = docker.create(IMAGE, "sleep", "1000")
        docker.start(container)
        return container

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        began = time.perf_counter()
        containers = list(callers.map(one, range(AT_ONCE)))
        peer.note("starts a second", AT_ONCE / (time.perf_counter() - began))
        list(callers.map(lambda container: Docker(peer.socket).remove(container), containers))


def loads(peer: Peer) -> None:
    docker = Docker(peer.socket)
    peer.note("load, s", timed(docker.load, large_image()) / 1000)
    docker.remove_image("large")


def builds(peer: Peer) -> None:
    docker = Docker(peer.socket)
    files = {"Dockerfile": DOCKERFILE, "one.txt": "one\n", "src/a.txt": "a" * 4096, "src/b.txt": "b" * 4096}
    for name, cache in (("build cold, s", False), ("build cached, s", True)):
        began = time.perf_counter()
        docker.build(tar_of(files), "built", cache=cache)
        peer.note(name, time.perf_counter() - began)


def idle(peer: Peer) -> None:
    docker = Docker(peer.socket)
    container = docker.create(IMAGE, "sleep", "1000")
    docker.start(container)
    time.sleep(2)
    pid = int(json.loads(docker.call("GET", f"/containers/{container}/json"))["State"]["Pid"])
    peer.note("memory, MB", peer.memory({pid}))
    docker.remove(container)


@contextlib.contextmanager
def cloudstead(folder: Path) -> Iterator[Peer]:
    data = folder / "data"
    command = [sys.executable, "-m", "cloudstead", "up", "--port", "0", "--data", str(data), "--no-profile", "--log-level", "warning"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with running("cloudstead", command, data / "docker.sock", folder, environment) as peer:
        yield peer


@contextlib.contextmanager
def dockerd(folder: Path) -> Iterator[Peer]:
    socket = folder / "dockerd.sock"
    command = ["dockerd", "--data-root", str(folder / "dockerd"), "--exec-root", str(folder / "exec"), "-p", str(folder / "dockerd.pid")]
    with running("dockerd", [*command, "-H", f"unix://{socket}"], socket, folder, dict(os.environ)) as peer:
        yield peer


@contextlib.contextmanager
def running(name: str, command: list[str], socket: Path, folder: Path, environment: dict[str, str]) -> Iterator[Peer]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_for(lambda: bool(Docker(socket).call("GET", "/_ping")), process, folder / f"{name}.log")
        yield Peer(name, process, socket)
    finally:
        process.terminate()
        process.wait(60)


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError, RuntimeError):
            if ready():
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{log.name}: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def engine_processes(root: int, name: str) -> set[int]:
    """The process, its children's children, and the monitors of containers, which init has adopted."""
    parents: dict[int, int] = {}
    monitors = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                command = stat[stat.index("(") + 1 : stat.rindex(")")]
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
                if command == {"cloudstead": "conmon", "dockerd": "containerd-shim"}[name]:
                    monitors.add(int(entry.name))
    found = {root} | monitors
    while more := {pid for pid, parent in parents.items() if parent in found - monitors} - found:
        found |= more
    return found


def proportional_set(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def busybox_root() -> bytes:
    """A root file system of one static program."""
    program = shutil.which("busybox")
    if program is None:
        raise SystemExit("busybox is not installed: apt-get install busybox-static")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "tmp", "etc", "proc", "sys", "dev", "root"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(program, "bin/busybox")
        for name in applets:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
    return buffer.getvalue()


@functools.cache
def large_image() -> bytes:
    """As `docker save` writes it. The files are of several sizes, and cannot be compressed."""
    layer = io.BytesIO()
    noise = os.urandom(1 << 20)
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for number in range(8000):
            if number % 100 == 0:
                folder = tarfile.TarInfo(f"files/{number // 100}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
            entry = tarfile.TarInfo(f"files/{number // 100}/{number}")
            entry.size = 1000 << (number % 7)  # 1,000 to 64,000 bytes
            at = number * 61
            tar.addfile(entry, io.BytesIO(noise[at : at + entry.size] + noise[: max(0, at + entry.size - len(noise))]))
    content = layer.getvalue()
    root = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]}
    config = json.dumps({"architecture": architecture(), "os": "linux", "config": {}, "rootfs": root})
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["large:latest"], "Layers": ["layer.tar"]}])
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as tar:
        for name, data in (("layer.tar", content), ("config.json", config.encode()), ("manifest.json", manifest.encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return image.getvalue()


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def tar_of(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def report(peers: list[Peer], *, as_json: bool) -> None:
    figures = {what: {peer.name: peer.samples[what] for peer in peers if what in peer.samples} for what in peers[0].samples}
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{'':22}" + "".join(f"{peer.name + ' p50':>20}{'p99':>12}" for peer in peers) + (f"{'ratio':>9}" if len(peers) > 1 else ""))
    for what, by_peer in figures.items():
        middles = [percentile(samples, 0.5) for samples in by_peer.values()]
        worst = [percentile(samples, 0.01 if what in RATES else 0.99) for samples in by_peer.values()]
        cells = "".join(f"{middle:>20.2f}{bad:>12.2f}" for middle, bad in zip(middles, worst, strict=True))
        print(f"{what:22}{cells}" + (f"{middles[0] / middles[1]:>9.2f}" if len(middles) > 1 else ""))


def percentile(samples: list[float], share: float) -> float:
    """Between the two nearest."""
    ordered = sorted(samples)
    at = share * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


if __name__ == "__main__":
    main()
