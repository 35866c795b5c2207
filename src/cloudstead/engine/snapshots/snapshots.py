"""The daemon's side of snapshots: commands to the host, and the pipes that tars go through."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from io import FileIO
from typing import Any

from cloudstead.engine.errors import Unsupported
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.host.messages import Command
from cloudstead.engine.snapshots import commands
from cloudstead.engine.snapshots.api import Change, PathStat, Unpacked, View

PIPE = 1 << 20  # bytes that a pipe holds; what the kernel allows everybody


class LocalSnapshots:
    """Snapshots of this machine."""

    def __init__(self, host: HostClient) -> None:
        self._host = host

    async def has(self, chain_id: str) -> bool:
        return await self._host.call(commands.HasChain(chain_id=chain_id))

    async def unpack(self, blob: int, *, media_type: str, parent: str, diff_id: str = "") -> Unpacked:
        """How it is compressed its first bytes say, as media types of registries are not always true; encrypted ones are refused."""
        if media_type.endswith("+encrypted"):
            raise Unsupported(f"layers of the type {media_type} are not supported")
        return await self._host.call(commands.UnpackLayer(parent=parent, diff_id=diff_id), [blob])

    async def mount(self, key: str, layers: tuple[str, ...], *, size: int = 0, skeleton: bool = True) -> str:
        return await self._host.call(commands.MountWritable(key=key, layers=layers, size=size, skeleton=skeleton))

    async def unmount(self, key: str) -> None:
        await self._host.call(commands.UnmountWritable(key=key))

    async def remove(self, key: str) -> None:
        await self._host.call(commands.RemoveWritable(key=key))

    async def keep(self, key: str, parent: str, *, stubs: tuple[str, ...] = ()) -> Unpacked:
        return await self._host.call(commands.KeepWritable(key=key, parent=parent, stubs=stubs))

    def layer_of(self, chain_id: str) -> AsyncIterator[bytes]:
        return self._stream(commands.WriteLayer(chain_id=chain_id))

    def diff(self, key: str) -> AsyncIterator[bytes]:
        return self._stream(commands.WriteLayer(key=key))

    async def changes(self, key: str) -> list[Change]:
        return await self._host.call(commands.ListChanges(key=key))

    async def usage(self, key: str) -> int:
        return await self._host.call(commands.MeasureWritable(key=key))

    async def stat(self, key: str, path: str, *, pid: int = 0, mounts: tuple[View, ...] = ()) -> PathStat:
        return await self._host.call(commands.StatPath(key=key, path=path, pid=pid, mounts=mounts))

    def archive(self, key: str, path: str, *, pid: int = 0, mounts: tuple[View, ...] = ()) -> AsyncIterator[bytes]:
        return self._stream(commands.WriteArchive(key=key, path=path, pid=pid, mounts=mounts))

    def export(self, key: str) -> AsyncIterator[bytes]:
        return self._stream(commands.WriteArchive(key=key, path="/", whole=True))

    async def unarchive(
        self,
        key: str,
        path: str,
        tar: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        owner: tuple[int, int] | None = None,
        pid: int = 0,
        mounts: tuple[View, ...] = (),
    ) -> None:
        command = commands.ReadArchive(
            key=key, path=path, pid=pid, mounts=mounts, no_overwrite_dir_non_dir=no_overwrite_dir_non_dir, owner=owner
        )
        reading, writing = _pipe()
        sink = FileIO(writing, "wb")
        call = self._begin(command, reading)
        feeding = asyncio.ensure_future(_feed(sink, tar))
        try:
            await asyncio.wait((call, feeding), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                await feeding  # what goes wrong in making the tar is the caller's own
            await call
        finally:
            await _end(call, feeding)
            sink.close()

    async def list_snapshots(self) -> dict[str, int]:
        return await self._host.call(commands.ListChains())

    async def remove_snapshot(self, chain_id: str) -> int:
        return await self._host.call(commands.RemoveChain(chain_id=chain_id))

    async def list_writables(self) -> tuple[str, ...]:
        return await self._host.call(commands.ListWritables())

    async def sweep(self) -> list[str]:
        return await self._host.call(commands.SweepSnapshots())

    async def _stream(self, command: Command[None]) -> AsyncIterator[bytes]:
        """What the host writes; its error, if it has one, comes at the end. Who stops early ends it."""
        reading, writing = _pipe()
        call = self._begin(command, writing)
        try:
            while data := await _read(reading):
                yield data
            await call
        finally:
            os.close(reading)
            await _end(call)

    def _begin(self, command: Command[None], theirs: int) -> asyncio.Task[None]:
        """The call, with an end of a pipe that is the host's alone: ours is closed after the task's first step, which has sent it."""
        call = asyncio.ensure_future(self._host.call(command, [theirs]))
        asyncio.get_running_loop().call_soon(os.close, theirs)
        return call


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # above what the user may have
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    return reading, writing


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _read(fd: int) -> bytes:
    os.set_blocking(fd, False)
    while True:
        try:
            return os.read(fd, PIPE)
        except BlockingIOError:
            await _ready(fd, asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)


async def _feed(sink: FileIO, tar: AsyncIterator[bytes]) -> None:
    """Write all of it and close. When nobody reads on, that is for the answer to explain."""
    loop = asyncio.get_running_loop()
    fd = sink.fileno()
    try:
        os.set_blocking(fd, False)
        async for piece in tar:
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(fd, left) :]
                except BlockingIOError:
                    await _ready(fd, loop.add_writer, loop.remove_writer)
                except BrokenPipeError:
                    return
    finally:
        sink.close()


async def _ready(fd: int, add: Any, remove: Any) -> None:
    waiter = asyncio.get_running_loop().create_future()
    add(fd, lambda: None if waiter.done() else waiter.set_result(None))
    try:
        await waiter
    finally:
        remove(fd)
