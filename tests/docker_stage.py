"""The Docker API over HTTP on a unix socket, with simulated containers, images that are only named, and networks that are only rows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cloudstead.engine.dockerapi.api import LIMITS, DockerApi
from cloudstead.engine.engine import Engine
from cloudstead.engine.errors import Conflict, NotFound
from cloudstead.engine.images.api import Descriptor, ExecConfig, Image, ImageConfig
from cloudstead.engine.network.api import NetworkSpec
from cloudstead.engine.pods.simulated import SimulatedDriver, SimulatedMachine
from cloudstead.engine.volumes.volumes import Volumes
from cloudstead.http.server import Server
from cloudstead.kernel.clock import Clock, SystemClock
from cloudstead.kernel.store import MemoryBackend, Store


class NamedImages:
    """Images that have a configuration and nothing else."""

    def __init__(self) -> None:
        self.known: dict[str, Image] = {}
        self.commits: list[tuple[str, ImageConfig, tuple[str, ...]]] = []
        self.add("busybox:latest", ExecConfig(cmd=("sh",), env=("PATH=/bin",)))

    def add(self, name: str, config: ExecConfig, parent: str = "") -> Image:
        id = f"sha256:{len(self.known) + 1:064x}"
        manifest = Descriptor("application/vnd.oci.image.manifest.v1+json", id, 2)
        image = Image(
            id=id, manifest=manifest, config=ImageConfig(config=config), layers=(), size=1000, created=1.0, tags=(name,), parent=parent
        )
        self.known[name] = image
        return image

    def resolve(self, name: str, *, platform: Any = None) -> Image:
        full = name if ":" in name else f"{name}:latest"
        image = self.known.get(full) or next(
            (each for each in self.known.values() if name and each.id.endswith(name) and len(name) > 60), None
        )
        if image is None:
            raise NotFound(f"No such image: {full}")
        return image

    def all(self) -> list[Image]:
        return list(self.known.values())

    def subscribe(self, callback: Any) -> Any:
        return lambda: None

    async def layers_of(self, image: str) -> tuple[str, ...]:
        return ("sha256:busybox",)

    async def commit(self, layers_of: str, diff: AsyncIterator[bytes], config: ImageConfig, *, references: tuple[str, ...] = ()) -> Image:
        assert b"".join([piece async for piece in diff]) == b"a tar"
        self.commits.append((layers_of, config, references))
        return self.add(references[0] if references else f"none:{len(self.known)}", config.config, layers_of)


class NoSnapshots:
    """Every container has written 42 bytes."""

    async def usage(self, key: str) -> int:
        return 42

    async def diff(self, key: str) -> AsyncIterator[bytes]:
        yield b"a tar"


class RowNetworks:
    """Networks that can be made and removed; the simulated driver makes the addresses up."""

    def __init__(self) -> None:
        self.specs: dict[str, NetworkSpec] = {}
        self.zones: list[Any] = []
        self.last = 16

    def add_zone(self, zone: Any) -> Any:
        self.zones.append(zone)
        return lambda: self.zones.remove(zone)

    async def create(self, spec: NetworkSpec) -> None:
        if any(other.subnets == spec.subnets for other in self.specs.values()):
            raise Conflict("these addresses are in use")
        self.specs[spec.id] = spec

    async def remove(self, network: str) -> None:
        self.specs.pop(network)

    def free_cidr(self, pool: str = "172.16.0.0/12", prefix: int = 16) -> str:
        self.last += 1
        return f"172.{self.last}.0.0/16"


class Stage:
    """One daemon after another on the same store and machine."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.backend = MemoryBackend()
        self.machine = SimulatedMachine(clock)
        self.images = NamedImages()
        self.networks = RowNetworks()

    async def open(self) -> None:
        store = self.store = Store.in_memory(self.backend, clock=self.clock)
        self.driver = SimulatedDriver(self.clock, store, self.machine)
        self.volumes = Volumes(store, self.clock, None)
        self.engine = Engine(
            data=self.path,
            store=store,
            clock=self.clock,
            host=None,
            why_not="",
            snapshots=NoSnapshots(),  # type: ignore[arg-type]
            images=self.images,  # type: ignore[arg-type]
            networks=self.networks,  # type: ignore[arg-type]
            volumes=self.volumes,
            pods=self.driver,
        )
        await self.driver.start_driver()
        self.api = DockerApi(self.engine)
        await self.api.start()
        self.server = Server(self.api, limits=LIMITS)
        await self.server.listen_unix(self.path / "docker.sock")

    async def close(self) -> None:
        await self.server.stop(0.2)
        await self.api.stop()
        await self.driver.stop_driver()
        await self.store.close()

    async def restart(self) -> None:
        """As after kill -9 of the daemon: what runs goes on."""
        await self.close()
        await self.open()

    # asking

    async def raw(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by small names, body."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = [("Host", "docker"), *headers.items()]
        if body is not None and not isinstance(body, bytes):
            fields.append(("Content-Type", "application/json"))
        if data or method in ("POST", "PUT"):
            fields.append(("Content-Length", str(len(data))))
        target = quote(path, safe="/:") + (f"?{urlencode(query)}" if query else "")
        client = await Connection.open(self.path / "docker.sock")
        try:
            client.send(
                "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]).encode() + data
            )
            return await client.answer(head=method == "HEAD")
        finally:
            await client.close()

    async def ask(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None) -> tuple[int, Any]:
        """Status and the JSON of the body."""
        status, _, data = await self.raw(method, path, query, body)
        return status, json.loads(data) if data.strip() else None

    async def get(self, path: str, **query: Any) -> Any:
        status, answer = await self.ask("GET", path, query)
        assert status == 200, answer
        return answer

    async def post(self, path: str, body: Any = None, expect: int = 204, **query: Any) -> Any:
        status, answer = await self.ask("POST", path, query, body)
        assert status == expect, (status, answer)
        return answer

    async def create(self, *cmd: str, name: str = "", expect: int = 201, **config: Any) -> str:
        body = {"Image": "busybox", **({"Cmd": list(cmd)} if cmd else {}), **config}
        answer = await self.post("/containers/create", body, expect, **({"name": name} if name else {}))
        return answer["Id"] if expect == 201 else answer["message"]

    async def run(self, *cmd: str, **config: Any) -> str:
        id = await self.create(*cmd, **config)
        await self.post(f"/containers/{id}/start")
        return id

    async def ran(self, *cmd: str, **config: Any) -> tuple[str, int]:
        id = await self.run(*cmd, **config)
        return id, (await self.post(f"/containers/{id}/wait", expect=200))["StatusCode"]

    async def message(self, method: str, path: str, expect: int, body: Any = None, **query: Any) -> str:
        status, answer = await self.ask(method, path, query, body)
        assert status == expect, (status, answer)
        return answer["message"]

    async def hijack(self, path: str, query: dict[str, Any] | None = None, body: Any = None, *, upgrade: bool = True) -> Connection:
        """Take a connection over; the head of the answer has been read."""
        data = b"" if body is None else json.dumps(body).encode()
        target = path + (f"?{urlencode(query)}" if query else "")
        lines = [f"POST {target} HTTP/1.1", "Host: docker", "Content-Type: application/json", f"Content-Length: {len(data)}"]
        if upgrade:
            lines += ["Connection: Upgrade", "Upgrade: tcp"]
        client = await Connection.open(self.path / "docker.sock")
        client.send("\r\n".join([*lines, "", ""]).encode() + data)
        client.status, client.headers = await client.head()
        return client


class Connection:
    """Raw bytes on a unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, path: Path) -> Connection:
        return cls(*await asyncio.open_unix_connection(str(path)))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def half_close(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def head(self) -> tuple[int, dict[str, str]]:
        line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
        return int(line.split(" ")[1]), {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        if head or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, b"".join([chunk async for chunk in self.chunks()])
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def frame(self) -> tuple[str, bytes] | None:
        """The next frame; None at the end."""
        header = await self.reader.read(8)
        if not header:
            return None
        header += await self.reader.readexactly(8 - len(header))
        return ("stdin", "stdout", "stderr")[header[0]], await self.reader.readexactly(int.from_bytes(header[4:], "big"))

    async def frames(self) -> dict[str, bytes]:
        """All that comes, by stream."""
        found = {"stdout": b"", "stderr": b""}
        while (piece := await self.frame()) is not None:
            found[piece[0]] += piece[1]
        return found

    async def rest(self) -> bytes:
        return await self.reader.read()


def unframed(data: bytes) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    while data:
        length = int.from_bytes(data[4:8], "big")
        found[("stdin", "stdout", "stderr")[data[0]]] += data[8 : 8 + length]
        data = data[8 + length :]
    return found


@contextlib.asynccontextmanager
async def staged(clock: Clock | None = None) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="stage-") as folder:  # unix sockets want short paths
        stage = Stage(Path(folder), clock or SystemClock())
        await stage.open()
        try:
            yield stage
        finally:
            await stage.close()
