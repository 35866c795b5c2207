"""Images to test with: a room over snapshots that unpack nothing but check everything, tars, Debian's docker-registry, and skopeo as another judge."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.images.api import ExecConfig, HistoryEntry, Image, ImageConfig, Progress, RootFs
from cloudstead.engine.images.images import LocalImages
from cloudstead.engine.snapshots.api import Unpacked
from cloudstead.kernel.clock import Clock, SystemClock
from cloudstead.kernel.store import Store

needs_registry = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs Debian's docker-registry")
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")


class CheckingSnapshots:
    """As `Snapshots`, of which it has what images need: layers are decompressed and compared with their diff_id, and only their sizes are kept."""

    def __init__(self) -> None:
        self.chains: dict[str, int] = {}
        self.mounted: set[str] = set()
        self.unpacked: list[str] = []
        self.hold: asyncio.Event | None = None  # unpacking waits for it

    async def has(self, chain_id: str) -> bool:
        return chain_id in self.chains

    async def unpack(self, blob: int, *, media_type: str, parent: str, diff_id: str = "") -> Unpacked:
        if parent and parent not in self.chains:
            raise NotFound(f"no snapshot of {parent}")
        data = _plain(os.pread(blob, 1 << 30, 0))
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if diff_id and found != diff_id:
            raise InvalidArgument(f"the layer is {found}, not {diff_id}")
        chain = found if not parent else "sha256:" + hashlib.sha256(f"{parent} {found}".encode()).hexdigest()
        self.chains[chain] = len(data)
        self.unpacked.append(chain)
        return Unpacked(chain, found, len(data), 1)

    async def list_snapshots(self) -> dict[str, int]:
        return dict(self.chains)

    async def remove_snapshot(self, chain_id: str) -> int:
        if chain_id in self.mounted:
            raise Conflict("a container is mounted over it")
        if chain_id not in self.chains:
            raise NotFound(f"no snapshot of {chain_id}")
        return self.chains.pop(chain_id)


def _plain(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return zlib.decompress(data, 31)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


class Shop:
    """One room of images and what it stands on."""

    def __init__(self, data: Path, store: Store, clock: Clock, **options: Any) -> None:
        self.data = data
        self.store = store
        self.snapshots = CheckingSnapshots()
        self.images = LocalImages(data, store, clock, self.snapshots, **options)  # type: ignore[arg-type]

    def blobs(self) -> set[str]:
        return {f"sha256:{path.name}" for path in (self.data / "blobs" / "sha256").iterdir()}

    def leftovers(self) -> list[str]:
        """What should not stay: unfinished uploads and trash."""
        return [str(path) for name in ("uploads", "trash") for path in (self.data / "blobs" / name).iterdir()]


@contextlib.asynccontextmanager
async def shop(data: Path, *, clock: Clock | None = None, **options: Any) -> AsyncIterator[Shop]:
    clock = clock or SystemClock()
    data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    store = Store.open(data / "state.db", clock)
    made = Shop(data, store, clock, **options)
    await made.images.start()
    try:
        yield made
    finally:
        await made.images.stop()
        await store.close()


def run(main: Awaitable[None], limit: float = 120.0) -> None:
    """Carry a test's coroutine out; fail when it hangs, or leaves a task or a descriptor behind."""

    async def bounded() -> None:
        async with asyncio.timeout(limit):
            await main
        for _ in range(50):
            left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
            if not left:
                break
            await asyncio.sleep(0.01)
        assert not left, left

    before = _descriptors()
    asyncio.run(bounded())
    assert _descriptors() <= before, "descriptors were left open"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------------------------------------------------------- content


def tar_of(files: dict[str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collected(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def make_image(images: LocalImages, name: str, *layers: dict[str, bytes], compress: bool = True, **config: Any) -> Image:
    """An image of these layers, named so (or, with an empty name, not)."""
    added = [await images.add_layer(pieces(tar_of(files)), compress=compress) for files in layers]
    history = tuple(HistoryEntry(created="2026-01-02T03:04:05Z", created_by=f"step {number}") for number, _ in enumerate(layers))
    parent = config.pop("parent", "")
    made = ImageConfig(
        created="2026-01-02T03:04:05Z",
        config=config.pop("config", ExecConfig(cmd=("/bin/true",))),
        rootfs=RootFs(tuple(diff_id for _, diff_id in added)),
        history=history,
        **config,
    )
    return await images.put_image(made, tuple(layer for layer, _ in added), references=(name,) if name else (), parent=parent)


class Told(list[Progress]):
    """Collects what is told."""

    def __call__(self, progress: Progress) -> None:
        self.append(progress)

    def statuses(self) -> list[str]:
        return list(dict.fromkeys(each.status for each in self))


# ---------------------------------------------------------------------------------------------------------------- other programs

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http:
  addr: {address}
  secret: not-so-secret
{tls}
{auth}
"""


@contextlib.contextmanager
def registry(folder: Path, *, auth: str = "", tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Debian's docker-registry; its "127.0.0.1:port"."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        configuration = folder / "config.yml"
        tls_lines = f"  tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
        configuration.write_text(_CONFIG.format(root=folder / "registry", address=address, auth=auth, tls=tls_lines))
        with (folder / "registry.log").open("ab") as log:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
            )
        try:
            if _answers(process, address):
                yield address
                return
        finally:
            process.terminate()
            process.wait(10)
    raise AssertionError((folder / "registry.log").read_text()[-2000:])


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(tuple(address.split(":")), 1):  # type: ignore[arg-type]
            return True
        time.sleep(0.02)
    return False


def basic_auth(folder: Path, user: str, password: str) -> str:
    """The registry's `auth` section for one user."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt
    folder.mkdir(parents=True, exist_ok=True)
    hashed = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
    (folder / "htpasswd").write_text(f"{user}:{hashed}\n")
    return f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}"


def skopeo(*arguments: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetch(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


Story = Callable[[Shop], Awaitable[None]]
