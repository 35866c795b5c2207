"""Unmounting overlays without waiting for the disk.

The last to let go of an overlay with an upper folder writes back the whole file system that this lies on (ovl_sync_fs, as for umount of any file system):
a third of a second, or many, in which a process with one thread does nothing else, although what was written there is mostly about to be deleted.
So the mount is detached while a descriptor still holds it, and that descriptor is closed last by a child, together with others of the moment.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from cloudstead.engine import linux
from cloudstead.engine.host.server import Host

COLLECT = 0.25  # seconds: each release forks this process, and under load one is enough for ten containers


def unmount(host: Host, target: Path) -> None:
    """All that is mounted there; it may be nothing, and there may be no such folder."""
    held: list[int] = host.parts.setdefault("snapshots.held", [])
    while os.path.ismount(target):
        held.append(os.open(target, linux.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        linux.unmount(str(target), linux.MNT_DETACH | linux.UMOUNT_NOFOLLOW)
    if held and "snapshots.releasing" not in host.parts:
        host.parts["snapshots.releasing"] = asyncio.ensure_future(_release(host, held))


async def _release(host: Host, held: list[int]) -> None:
    await asyncio.sleep(COLLECT)
    del host.parts["snapshots.releasing"]
    mine, held[:] = held.copy(), []
    reading, writing = os.pipe2(os.O_CLOEXEC)
    # `writing` is closed last, after the call's first step, which has forked: then the child's descriptors are the last ones.
    asyncio.get_running_loop().call_soon(_close, [*mine, reading, writing])
    await host.fork(wait_and_end, reading, descriptors=[reading, *mine])


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def wait_and_end(reading: int) -> None:
    """In a child: its end closes what it holds."""
    os.read(reading, 1)
