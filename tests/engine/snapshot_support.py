"""Snapshots to test with: a host of its own for a module, tars made byte by byte, and a look at all that must not be left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import re
import shutil
import stat
import struct
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.client import HostClient, needs_root
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.snapshots.api import Unpacked
from cloudstead.engine.snapshots.snapshots import LocalSnapshots

T = TypeVar("T")

needs_host = pytest.mark.skipif(bool(needs_root()), reason="mounting and unpacking need root")
FILE, LINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


class Ground:
    """A host, its snapshots, and the loop that speaks to it."""

    def __init__(self, data: Path, **options: str) -> None:
        self.layout = Layout(data)
        self.runner = asyncio.Runner()
        self.options = {name.replace("_", "-"): value for name, value in options.items()}
        self.outside = data.parent / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("untouched")
        self._known: set[str] = set()
        self.start()

    def start(self) -> None:
        self.host = HostClient(self.layout, options=self.options)
        self.run(self.host.start())
        self.snapshots = LocalSnapshots(self.host)
        self.run(self.snapshots.list_snapshots())  # it answers, so it is up

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def pid(self) -> int:
        assert self.host._process is not None
        return self.host._process.pid

    def kill_host(self) -> None:
        """As a crash would."""
        assert self.host._process is not None
        self.host._process.kill()
        self.host._process.wait()
        self.run(self.host.close())

    def close(self) -> None:
        for key in self.run(self.snapshots.list_writables()):
            self.run(self.snapshots.remove(key))
        self.run(self.host.close())
        self.runner.close()
        shutil.rmtree(self.layout.run, ignore_errors=True)  # the host takes it away itself when nothing runs

    # layers

    def unpack(self, data: bytes, *, parent: str = "", diff_id: str = "", media_type: str = "") -> Unpacked:
        with self.blob(data) as fd:
            return self.run(self.snapshots.unpack(fd, media_type=media_type, parent=parent, diff_id=diff_id))

    @contextlib.contextmanager
    def blob(self, data: bytes) -> Iterator[int]:
        fd = os.memfd_create("blob")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            yield fd
        finally:
            os.close(fd)

    def refused(self, data: bytes, kind: type[EngineError] | tuple[type[EngineError], ...] = EngineError, **options: str) -> str:
        """The sentence with which a layer is refused. Nothing of it is there afterwards."""
        with pytest.raises(kind) as caught:
            self.unpack(data, **options)
        assert not re.search(r"[a-z]Error\b", caught.value.message), "the message names a Python exception"
        self.look()
        return caught.value.message

    def folder(self, chain: str) -> Path:
        """Where a chain's top layer lies."""
        record = msgspec.json.decode((self.layout.snapshots / "chains" / chain.removeprefix("sha256:")).read_bytes())
        return self.layout.snapshots / str(record["folder"])

    def records(self) -> dict[str, dict[str, object]]:
        """By chain id. Names with a dot are being written."""
        paths = [path for path in (self.layout.snapshots / "chains").iterdir() if "." not in path.name]
        return {record["chain_id"]: record for record in (msgspec.json.decode(path.read_bytes()) for path in paths)}

    def unpacked(self, data: bytes, *, parent: str = "") -> Path:
        return self.folder(self.unpack(data, parent=parent).chain_id)

    def look(self) -> None:
        """Nothing half-made, no child, no mount, no descriptor too many; and outside all is as it was."""
        wanted = {"chains", "empty", "confined"} | {str(record["folder"]) for record in self.records().values()}
        wanted |= {name + "-" for name in wanted}
        assert set(os.listdir(self.layout.snapshots)) <= wanted
        assert os.listdir(self.layout.snapshots / "empty") == os.listdir(self.layout.snapshots / "confined") == []
        assert [path.name for path in self.outside.iterdir()] == ["secret"]
        assert (self.outside / "secret").read_text() == "untouched"

    def settled(self) -> None:
        """What goes on behind a call has ended: no children, no descriptors but the host's own."""
        self.run(until(lambda: not children(self.pid)))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def mounts(self) -> list[str]:
        """Mount points in this data directory."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [where for line in lines if (where := line.split()[4]).startswith(str(self.layout.data) + "/")]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@contextlib.contextmanager
def ground_in(folder: Path, **options: str) -> Iterator[Ground]:
    made = Ground(folder / "data", **options)
    try:
        yield made
        made.look()
        made.settled()
    finally:
        made.close()
    assert made.mounts() == []


@pytest.fixture(scope="module")
def module_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground_in(tmp_path_factory.mktemp("snapshots")) as made:
        yield made


@pytest.fixture
def ground(module_ground: Ground) -> Iterator[Ground]:
    """The module's; after each test nothing is left but chains and writables."""
    yield module_ground
    module_ground.look()


async def collect(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


# tars


def member(
    name: bytes | str,
    data: bytes = b"",
    *,
    kind: bytes = FILE,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int | bytes | None = None,
    mtime: int | bytes = 1_000_000_000,
    link: bytes | str = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: int | None = None,
    pax: dict[bytes, bytes] | None = None,
) -> bytes:
    """One member, as raw as one likes."""
    name, link = (text.encode() if isinstance(text, str) else text for text in (name, link))
    before = b""
    if len(name) > 100 or len(link) > 100:
        pax = {b"path": name, **({b"linkpath": link} if link else {}), **(pax or {})}
    if pax is not None:
        records = b"".join(pax_record(key, value) for key, value in pax.items())
        before = member("pax", records, kind=b"x")
    fields = [octal(mode, 8), octal(uid, 8), octal(gid, 8), octal(len(data) if size is None else size, 12), octal(mtime, 12)]
    block = struct.pack(
        "100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x",
        name[:100], *fields, b" " * 8, kind, link[:100], magic, b"", b"", octal(device[0], 8), octal(device[1], 8), prefix,
    )  # fmt: skip
    total = sum(block) if checksum is None else checksum
    return before + block[:148] + b"%06o\0 " % total + block[156:] + data + bytes(-len(data) % 512)


def octal(value: int | bytes, width: int) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"%0*o\0" % (width - 1, value)


def pax_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest + len(str(rest))))
    return b"%d %s=%s\n" % (length, key, value)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


def folder(name: str, mode: int = 0o755, **more: Any) -> bytes:
    return member(name, kind=FOLDER, mode=mode, **more)


def symlink(name: str, target: bytes | str) -> bytes:
    return member(name, kind=SYMLINK, link=target, mode=0o777)


def hardlink(name: str, target: str) -> bytes:
    return member(name, kind=LINK, link=target)


def members_of(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        return {info.name: info for info in file.getmembers()}


def content_of(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        found = file.extractfile(name)
        assert found is not None
        return found.read()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def tree(folder: Path) -> dict[str, str]:
    """All below, each as one line: kind, mode, owner, content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what = stat.filemode(status.st_mode) + f" {status.st_uid}:{status.st_gid}"
        if path.is_symlink():
            what += " -> " + os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            what += " " + path.read_bytes()[:100].decode(errors="backslashreplace")
        found[str(path.relative_to(folder))] = what
    return found
