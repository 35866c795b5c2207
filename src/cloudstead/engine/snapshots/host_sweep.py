"""What a crash left of snapshots and writables, removed; and what was made but not put on the disk, put there."""

from __future__ import annotations

import os
from pathlib import Path

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.snapshots import commands
from cloudstead.engine.snapshots.host_chains import settle_soon
from cloudstead.engine.snapshots.host_mounts import shelf_of, unmount_writable
from cloudstead.engine.snapshots.host_removal import discard
from cloudstead.engine.snapshots.host_shelf import Shelf
from cloudstead.engine.snapshots.host_unmount import unmount

KEPT = frozenset(("chains", "empty", "confined"))


@handles(commands.SweepSnapshots)
async def sweep(host: Host, command: commands.SweepSnapshots, descriptors: list[int]) -> list[str]:
    shelf = shelf_of(host)
    settle_soon(host, shelf)
    told = [_unmount_borrowed(host, shelf, key) for key in _names(shelf.layout.containers)]
    told += [await _remove_half_made(host, shelf, key) for key in _names(shelf.layout.containers)]
    wanted = KEPT | {record.folder for record in shelf.records.values()}
    wanted |= {shelf.skeleton(name) for name in wanted}
    for name in _names(shelf.folder):
        if name not in wanted and name not in shelf.making:
            told.append(await _remove(host, shelf, name))
    return [sentence for sentence in told if sentence]


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


async def _remove(host: Host, shelf: Shelf, name: str) -> str:
    shelf.making.add(name)  # the next sweep may begin before this one has ended
    unmount(host, shelf.folder / name / "merged")
    try:
        await discard(host, shelf, shelf.folder / name)
    except (EngineError, OSError) as error:
        return f"could not remove the snapshot folder {name}, which belongs to no chain: {error}"
    return f"removed the snapshot folder {name}, which belongs to no chain"


def _unmount_borrowed(host: Host, shelf: Shelf, key: str) -> str:
    mark = shelf.writable(key) / "borrowed"
    if key in shelf.borrowers or not mark.exists():
        return ""
    unmount_writable(host, key, now=True)
    mark.unlink()
    return f"unmounted the root file system {key}, which was mounted for a call that did not end"


async def _remove_half_made(host: Host, shelf: Shelf, key: str) -> str:
    """Parts without a stack: made or removed by half."""
    folder = shelf.writable(key)
    parts = [folder / name for name in ("upper", "work", "rootfs") if (folder / name).is_dir()]
    if not parts or (folder / "stack").exists():
        return ""
    unmount_writable(host, key, now=True)
    await discard(host, shelf, *parts)
    return f"removed parts of the root file system {key}, which was made or removed by half"
