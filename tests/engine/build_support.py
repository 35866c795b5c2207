"""What tests of the builder have in common: contexts, and a builder whose every word is kept."""

from __future__ import annotations

import contextlib
import io
import tarfile
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from cloudstead.engine.build.api import BuildContext, BuildEvent, BuildOptions, Output
from cloudstead.engine.build.builder import Builder
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.tree import Tree
from cloudstead.engine.engine import Engine
from cloudstead.engine.images.api import ExecConfig, Image
from engine_support import busybox_tar, running_engine

BASE = "busybox:latest"


def context_tar(files: Mapping[str, Any], *, mtime: int = 0) -> bytes:
    """A tar of text, bytes, links (("link", target), ("hard", target)), folders (None), or (content, mode)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mtime, info.mode, info.uid, info.gid = mtime, 0o644, 1234, 1234
            data = b""
            match content:
                case None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                case ("link", target):
                    info.type, info.linkname = tarfile.SYMTYPE, target
                case ("hard", target):
                    info.type, info.linkname = tarfile.LNKTYPE, target
                case (text, int() as mode):
                    data, info.mode = text.encode() if isinstance(text, str) else text, mode
                case _:
                    data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def stream(data: bytes, step: int = 4096) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


async def tree_of(files: Mapping[str, Any], folder: Path, *, owned: bool = False) -> Tree:
    """A tree as a context becomes one."""
    return await tree_of_tar(context_tar(files), folder, owned=owned)


async def tree_of_tar(data: bytes, folder: Path, *, owned: bool = False) -> Tree:
    spool = Spool(folder)
    try:
        await spool.fill(stream(data), limit=1 << 30, what="the context")
        return await Tree.of(spool, owned=owned)
    except BaseException:
        spool.close()
        raise


class Builds:
    """A real engine with busybox, and a builder."""

    def __init__(self, engine: Engine, builder: Builder) -> None:
        self.engine = engine
        self.builder = builder
        self.events: list[BuildEvent] = []

    @property
    def text(self) -> str:
        """What the last build said."""
        return "".join(event.text for event in self.events if isinstance(event, Output))

    @property
    def cached(self) -> int:
        return self.text.count("Using cache")

    async def tell(self, event: BuildEvent) -> None:
        self.events.append(event)

    async def build(self, text: str, files: Mapping[str, Any] | None = None, *, mtime: int = 0, **options: Any) -> Image:
        """Build; lines of the Dockerfile may be indented as the test is."""
        self.events = []
        tar = context_tar({"Dockerfile": textwrap.dedent(text).strip("\n") + "\n", **(files or {})}, mtime=mtime)
        return await self.builder.build(BuildContext(tar=stream(tar)), BuildOptions(**options), self.tell)

    async def files(self, image: Image) -> dict[str, tarfile.TarInfo]:
        """Everything in an image, by name, with the text of files as `.pax_headers["text"]`."""
        key = "look-" + image.id[7:19]
        snapshots = self.engine.snapshots
        await snapshots.mount(key, await self.engine.images.layers_of(image.id), skeleton=False)
        try:
            data = b"".join([piece async for piece in snapshots.export(key)])
        finally:
            await snapshots.remove(key)
        found: dict[str, tarfile.TarInfo] = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() and member.size < 100_000 else None
                member.pax_headers = {**member.pax_headers, "text": file.read().decode(errors="replace") if file else ""}
                found["/" + member.name.strip("./") if member.name.startswith("./") else "/" + member.name.strip("/")] = member
        return found


@contextlib.asynccontextmanager
async def building(data: Path, **settings: Any) -> AsyncIterator[Builds]:
    async with running_engine(data, **settings) as engine:
        builds = await builder_on(engine)
        try:
            yield builds
        finally:
            await builds.builder.stop()


async def builder_on(engine: Engine) -> Builds:
    if not engine.images.all():
        config = ExecConfig(env=("PATH=/bin",), cmd=("sh",))
        await engine.images.import_tar(stream(busybox_tar(), 1 << 20), reference=BASE, changes=config)
    builder = Builder(engine)
    await builder.start()
    return Builds(engine, builder)


def said(file: tarfile.TarInfo) -> str:
    """The text of a file that `Builds.files` found."""
    return str(file.pax_headers["text"])
