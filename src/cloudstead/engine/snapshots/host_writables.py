"""Commands on writables, and on paths in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.snapshots import commands
from cloudstead.engine.snapshots.api import Change, PathStat
from cloudstead.engine.snapshots.host_chains import measure
from cloudstead.engine.snapshots.host_confine import CAPABILITIES, READING, READING_LAYERS, Bind, confine, confine_to_process
from cloudstead.engine.snapshots.host_mounts import borrowed, lower_of, mount_writable, shelf_of, unmount_writable
from cloudstead.engine.snapshots.host_paths import read_archive, stat_path, write_archive, write_whole
from cloudstead.engine.snapshots.host_removal import discard
from cloudstead.engine.snapshots.host_shelf import Shelf
from cloudstead.engine.snapshots.host_source import DEFAULT, Limits
from cloudstead.engine.snapshots.host_unpack import Rules
from cloudstead.engine.snapshots.host_walk import changes

OnPath: TypeAlias = commands.StatPath | commands.WriteArchive | commands.ReadArchive


@handles(commands.MountWritable)
async def mount(host: Host, command: commands.MountWritable, descriptors: list[int]) -> str:
    return str(mount_writable(host, command.key, command.layers, command.size, skeleton=command.skeleton))


@handles(commands.UnmountWritable)
async def unmount(host: Host, command: commands.UnmountWritable, descriptors: list[int]) -> None:
    unmount_writable(host, command.key)


@handles(commands.RemoveWritable)
async def remove(host: Host, command: commands.RemoveWritable, descriptors: list[int]) -> None:
    unmount_writable(host, command.key, now=True)
    shelf = shelf_of(host)
    folder = shelf.writable(command.key)
    await discard(host, shelf, *(folder / name for name in ("stack", "upper", "work", "rootfs", "borrowed")))
    with contextlib.suppress(OSError):  # the rest in it is the container's
        folder.rmdir()


@handles(commands.ListWritables)
async def list_writables(host: Host, command: commands.ListWritables, descriptors: list[int]) -> tuple[str, ...]:
    return tuple(sorted(shelf_of(host).writables()))


@handles(commands.MeasureWritable)
async def measure_writable(host: Host, command: commands.MeasureWritable, descriptors: list[int]) -> int:
    shelf = shelf_of(host)
    shelf.stack(command.key)
    return await host.fork(measure, shelf, shelf.writable(command.key) / "upper")


@handles(commands.ListChanges)
async def list_changes(host: Host, command: commands.ListChanges, descriptors: list[int]) -> list[Change]:
    shelf = shelf_of(host)
    stack = shelf.stack(command.key)
    found = await host.fork(changes_confined, shelf, shelf.writable(command.key) / "upper", lower_of(host, shelf, stack))
    return [Change(path, kind) for path, kind in found]  # type: ignore[arg-type]


def changes_confined(shelf: Shelf, upper: Path, lower: list[str]) -> list[tuple[str, str]]:
    """In a child."""
    confine(shelf, [Bind("upper", upper)], lower=lower, capabilities=READING_LAYERS)
    return changes(_open("/upper"), _open("/lower"))


@handles(commands.StatPath)
async def stat_one(host: Host, command: commands.StatPath, descriptors: list[int]) -> PathStat:
    with _reachable(host, command.key, command.pid) as shelf:
        found: Any = await host.fork(stat_confined, shelf, command)
    return PathStat(**found)


def stat_confined(shelf: Shelf, command: commands.StatPath) -> dict[str, Any]:
    """In a child."""
    root, _ = _enter(shelf, command, READING)
    found = stat_path(root, command.path)
    return {name: getattr(found, name) for name in found.__struct_fields__}


@handles(commands.WriteArchive)
async def write(host: Host, command: commands.WriteArchive, descriptors: list[int]) -> None:
    _one(descriptors)
    with _reachable(host, command.key, command.pid) as shelf:
        await host.fork(write_confined, shelf, command, descriptors[0], descriptors=descriptors)


def write_confined(shelf: Shelf, command: commands.WriteArchive, out: int) -> None:
    """In a child."""
    root, skip = _enter(shelf, command, READING)
    if command.whole:
        write_whole(root, out)
    else:
        write_archive(root, command.path, out, skip)


@handles(commands.ReadArchive)
async def read(host: Host, command: commands.ReadArchive, descriptors: list[int]) -> None:
    _one(descriptors)
    limits = Limits.of(host.options)
    with _reachable(host, command.key, command.pid) as shelf:
        await host.fork(read_confined, shelf, command, limits, descriptors[0], descriptors=descriptors)


def read_confined(shelf: Shelf, command: commands.ReadArchive, limits: Limits, source: int) -> None:
    """In a child."""
    root, _ = _enter(shelf, command, CAPABILITIES, limits)
    rules = Rules(owner=command.owner, no_overwrite_dir_non_dir=command.no_overwrite_dir_non_dir)
    read_archive(root, command.path, source, limits, rules)


def _enter(shelf: Shelf, command: OnPath, capabilities: tuple[int, ...], limits: Limits = DEFAULT) -> tuple[int, frozenset[int]]:
    """The root, and the file systems in it that are the kernel's own."""
    if command.pid:
        skip = confine_to_process(command.key, command.pid, limits, capabilities)
        return _open("/"), skip
    root = Bind("root", shelf.writable(command.key) / "rootfs", writable=True)
    confine(shelf, [root], views=command.mounts, limits=limits, capabilities=capabilities)
    return _open("/root"), frozenset()


@contextlib.contextmanager
def _reachable(host: Host, key: str, pid: int) -> Iterator[Shelf]:
    shelf = shelf_of(host)
    if pid:
        shelf.stack(key)
        yield shelf
        return
    with borrowed(host, key):
        yield shelf


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _one(descriptors: list[int]) -> None:
    if len(descriptors) != 1:
        raise InvalidArgument("an archive goes through one descriptor")
