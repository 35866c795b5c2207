"""A registry to test: the handler behind a gate of our own, on a real port; content to push."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudstead.engine.registry.errors import Denied, NameUnknown, Unauthorized
from cloudstead.engine.registry.gate import Doing, Rules
from cloudstead.engine.registry.http.api import RegistryApi
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.engine.start import EngineRoom, EngineSettings
from cloudstead.http.limits import Limits
from cloudstead.http.messages import HttpRequest
from cloudstead.http.server import Server, loop_factory
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.store import Store
from registry_client import OCI_CONFIG, OCI_MANIFEST, Client, described, digest_of, header_of

REGISTRY = "000000000000/us-east-1"
PASSWORD = "secret"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class OpenGate:
    """Whoever has the password may do everything in the repositories that there are; "secret/…" is nobody's, and "made/…" are made by a push."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.immutable = False
        self.pulls: list[str] = []
        self.deleted: list[str] = []
        self.pulled_through: dict[str, Any] = {}

    async def admit(self, request: HttpRequest) -> str:
        expected = f"Basic {header_of('AWS', PASSWORD)}"
        if request.headers.get("authorization") != expected:
            raise Unauthorized("Not Authorized", headers=(("WWW-Authenticate", 'Basic realm="http://test/",service="ecr.amazonaws.com"'),))
        return "AWS"

    async def enter(self, caller: str, repository: str, doing: Doing) -> Rules:
        if repository.startswith("secret/"):
            raise Denied("no identity-based policy allows it")
        if repository not in self.names:
            if not (repository.startswith("made/") and doing in ("upload-start", "manifest-put")):
                raise NameUnknown(f"The repository with name '{repository}' does not exist in the registry")
            self.names.add(repository)
        return Rules(Repository(REGISTRY, repository), immutable=lambda tag: self.immutable, removed=self._removed)

    def _removed(self, tx: Any, rows: list[ImageRow]) -> None:
        self.deleted += [row.digest for row in rows]

    async def missing(self, caller: str, rules: Rules, reference: str) -> None:
        bring = self.pulled_through.pop(reference, None)
        if bring is not None:
            await bring(rules)

    def pulled(self, caller: str, rules: Rules, image: ImageRow) -> None:
        self.pulls.append(image.digest)

    def mountable(self, caller: str, rules: Rules, digest: str, source: str) -> bool:
        places = [source] if source else sorted(self.names)
        return any(self.api.catalog.blob(Repository(REGISTRY, name), digest) is not None for name in places)

    def repositories(self, caller: str) -> list[str]:
        return list(self.names)

    api: RegistryApi


class RegistryThread:
    """A registry in a thread of this process. A context manager; may be entered again on the same data, as after a restart."""

    def __init__(self, data: Path, *names: str, limits: Limits | None = None) -> None:
        self.data = data
        self.gate = OpenGate(*names)
        self.limits = limits or Limits()
        self.port = 0
        self.api: RegistryApi
        self.loop: asyncio.AbstractEventLoop
        self._failure: BaseException | None = None

    def __enter__(self) -> RegistryThread:
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            clock = SystemClock()
            store = Store.open(self.data / "state.db", clock)
            engine = EngineRoom(EngineSettings(data=self.data, enabled=False), store, clock)
            self.api = self.gate.api = RegistryApi(engine.registries(), self.gate)
            server = Server(self.api, limits=self.limits)
            self.port = await server.listen_tcp("127.0.0.1")
        except BaseException as failure:
            self._failure = failure
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        await server.stop(1.0)
        await engine.stop()
        await store.close()

    def client(self) -> Client:
        return Client(f"127.0.0.1:{self.port}", header_of("AWS", PASSWORD))

    def do(self, function: Any, *arguments: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(function(*arguments), self.loop).result(30)


@dataclass
class Content:
    """Blobs and manifests in the order in which they are pushed, and the tags that manifests get."""

    name: str
    blobs: list[bytes] = field(default_factory=list)
    manifests: list[bytes] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)  # tag -> digest
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # subject -> descriptors
    algorithm: str = "sha256"

    def blob(self, size: int = 512) -> bytes:
        data = os.urandom(size)
        self.blobs.append(data)
        return data

    def image(
        self,
        tag: str = "",
        *,
        layers: int = 2,
        config: bytes | None = None,
        config_type: str = OCI_CONFIG,
        layer_type: str = OCI_LAYER,
        **more: Any,
    ) -> bytes:
        config = json.dumps({"architecture": "amd64", "os": "linux", "nonce": os.urandom(8).hex()}).encode() if config is None else config
        if config not in self.blobs:
            self.blobs.append(config)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(config, config_type, self.algorithm),
            "layers": [described(self.blob(), layer_type, self.algorithm) for _ in range(layers)],
            **more,
        }
        return self.add(document, tag)

    def index(self, *children: bytes, tag: str = "", **more: Any) -> bytes:
        listed = [described(each, json.loads(each)["mediaType"], self.algorithm) for each in children]
        return self.add({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed, **more}, tag)

    def add(self, document: dict[str, Any], tag: str = "") -> bytes:
        data = json.dumps(document).encode()
        self.manifests.append(data)
        if tag:
            self.tags[tag] = digest_of(data, self.algorithm)
        if subject := document.get("subject"):
            told = described(data, document["mediaType"], self.algorithm)
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
            if kind:
                told["artifactType"] = kind
            if document.get("annotations"):
                told["annotations"] = document["annotations"]
            self.referrers.setdefault(subject["digest"], []).append(told)
        return data


def raw(port: int, *pieces: bytes, shut: bool = False, read: bool = True) -> bytes:
    """Send bytes as they are; what came back until the registry closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(_received(connection)) if read else b""


def _received(connection: socket.socket) -> Iterator[bytes]:
    try:
        while piece := connection.recv(1 << 16):
            yield piece
    except ConnectionResetError:
        return
