"""What pushing and pulling costs, beside Debian's docker-registry in the same run.

    python benchmarks/registry.py                    everything, 3 rounds
    python benchmarks/registry.py --rounds 5         more of them
    python benchmarks/registry.py --size 256         MiB of the large layer (1024)
    python benchmarks/registry.py --alone            Cloudstead only, where there is no docker-registry
    python benchmarks/registry.py --json             for scripts

Each registry is a process of its own with an empty data directory. Cloudstead is strict: each request shows a password of GetAuthorizationToken and is judged by policies;
docker-registry asks nobody. They take turns within each round, so that a slow minute slows both, and who is first changes from round to round. The client
is plain sockets (`registry_client.py`). Figures are medians; the ratio is Cloudstead's by docker-registry's.

    push, pull       one layer of random bytes, as Docker sends it: HEAD, POST, chunked PATCH, PUT; then GET. Wall seconds, and CPU seconds of the registry's process
    small layers     an image of 200 layers of 64 KiB, 5 at once (Docker's max-concurrent-uploads), and its manifest
    HEAD, GET        of a manifest by its tag, and of a blob, by 16 callers: answers a second, and CPU microseconds of each
    memory           the most that was resident (VmHWM) until then, MB
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
from registry_client import Registry, flood

LAYERS = 200
LAYER_BYTES = 64 << 10
AT_ONCE = 5
CALLERS = 16
FLOOD_SECONDS = 2.0
RATES = ("a second",)


@dataclass
class Peer:
    """One registry, and what was measured of it."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    authorization: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    def connect(self) -> Registry:
        return Registry(self.port, self.authorization)

    def cpu(self) -> float:
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def most_resident(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1e3

    @contextlib.contextmanager
    def measured(self, what: str) -> Iterator[None]:
        cpu, began = self.cpu(), time.perf_counter()
        yield
        self.note(f"{what}, s", time.perf_counter() - began)
        self.note(f"{what}, CPU s", self.cpu() - cpu)

    def note(self, what: str, value: float) -> None:
        self.samples.setdefault(what, []).append(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="registry-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        both = [stack.enter_context(cloudstead(folder))]
        if not options.alone and (program := docker_registry()):
            both.append(stack.enter_context(debian(folder, program)))
        for number in range(options.rounds):
            layer, digest = large_layer(folder, options.size)
            for peer in both[:: -1 if number % 2 else 1]:
                large(peer, digest, layer)
                layer_by_layer(peer, number)
                questions(peer, number)
            layer.unlink()
        for peer in both:
            peer.note("memory at its most, MB", peer.most_resident())
        report(both, as_json=options.json)


def large(peer: Peer, digest: str, layer: Path) -> None:
    registry = peer.connect()
    with peer.measured("push"):
        registry.push_file("bench", digest, layer)
    with peer.measured("pull"):
        registry.call("GET", f"/v2/bench/blobs/{digest}", expect=200)
    registry.close()


def layer_by_layer(peer: Peer, number: int) -> None:
    contents = [os.urandom(LAYER_BYTES) for _ in range(LAYERS)]
    found = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents]
    kept = threading.local()

    def push(digest: str, content: bytes) -> None:
        if not hasattr(kept, "registry"):
            kept.registry = peer.connect()
        kept.registry.push_small("bench", digest, content)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as callers, peer.measured("200 small layers"):
        list(callers.map(push, found, contents))
        registry = peer.connect()
        config = b'{"architecture":"amd64","os":"linux"}'
        config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        if number == 0:
            registry.push_small("bench", config_digest, config)
        registry.put_manifest("bench", f"round-{number}", manifest(config_digest, len(config), found))
        registry.close()


def manifest(config: str, size: int, layers: list[str]) -> bytes:
    kind = "application/vnd.oci.image"
    document = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": config, "size": size},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": digest, "size": LAYER_BYTES} for digest in layers],
    }
    return json.dumps(document).encode()


def questions(peer: Peer, number: int) -> None:
    registry = peer.connect()
    config = b'{"architecture":"amd64","os":"linux"}'
    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    registry.put_manifest("bench", "small", manifest(config_digest, len(config), []))
    registry.close()
    asked = (
        ("HEAD manifest", "HEAD", f"/v2/bench/manifests/round-{number}"),
        ("GET manifest", "GET", "/v2/bench/manifests/small"),
        ("HEAD blob", "HEAD", f"/v2/bench/blobs/{config_digest}"),
    )
    for what, method, path in asked:
        cpu = peer.cpu()
        answers = flood(peer.port, peer.authorization, method, path, CALLERS, FLOOD_SECONDS)
        peer.note(f"{what}, a second", answers / FLOOD_SECONDS)
        peer.note(f"{what}, CPU µs", (peer.cpu() - cpu) / answers * 1e6)


def large_layer(folder: Path, mebibytes: int) -> tuple[Path, str]:
    path, digest = folder / "layer", hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mebibytes):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            file.write(piece)
        os.fsync(file.fileno())  # or the registries would pay for writing it
    return path, f"sha256:{digest.hexdigest()}"


@contextlib.contextmanager
def cloudstead(folder: Path) -> Iterator[Peer]:
    import base64

    import boto3

    daemon = peers.cloudstead(folder / "data")
    try:
        key = daemon.credentials
        session = boto3.session.Session(aws_access_key_id=key.access_key, aws_secret_access_key=key.secret_key, region_name="us-east-1")
        ecr: Any = session.client("ecr", endpoint_url=f"http://127.0.0.1:{daemon.port}")
        ecr.create_repository(repositoryName="bench")
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        assert base64.b64decode(token).startswith(b"AWS:")
        yield Peer("cloudstead", daemon.process, daemon.port, f"Basic {token}")
    finally:
        daemon.stop()


def docker_registry() -> str:
    """Debian's, installed, or unpacked by `./test`; empty where there is none."""
    unpacked = Path(__file__).resolve().parents[1] / ".cache/debian/usr/bin/docker-registry"
    return shutil.which("docker-registry") or (str(unpacked) if unpacked.exists() else "")


@contextlib.contextmanager
def debian(folder: Path, program: str) -> Iterator[Peer]:
    port = peers.free_port()
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}, cache: {{blobdescriptor: inmemory}}}}\n"
    )
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen([program, "serve", str(settings)], stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        began = time.perf_counter()
        while not peers.answers(f"http://127.0.0.1:{port}/v2/"):
            if process.poll() is not None or time.perf_counter() - began > peers.START_LIMIT:
                raise SystemExit("docker-registry did not start")
            time.sleep(0.02)
        yield Peer("docker-registry", process, port)
    finally:
        process.terminate()
        process.wait(30)


def report(both: list[Peer], *, as_json: bool) -> None:
    figures = {what: {peer.name: peer.samples[what] for peer in both} for what in both[0].samples}
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{'':28}" + "".join(f"{peer.name:>18}" for peer in both) + (f"{'ratio':>9}" if len(both) > 1 else ""))
    for what, by_peer in figures.items():
        middles = [statistics.median(samples) for samples in by_peer.values()]
        print(
            f"{what:28}"
            + "".join(f"{middle:>18.2f}" for middle in middles)
            + (f"{middles[0] / middles[1]:>9.2f}" if len(middles) > 1 else "")
        )


if __name__ == "__main__":
    main()
