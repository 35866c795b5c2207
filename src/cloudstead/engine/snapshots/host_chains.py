"""Chains on the host: layers unpacked, kept, written as tars again, removed.

A layer is unpacked into a folder of another name, which becomes the chain's by a rename, and then a record is written; only what has a record is there.
Nothing waits for the disk: a record carries the boot in which it was made until one syncfs some seconds later has put everything before it on the
disk. After a power failure records of another boot are not believed, and the layer is unpacked anew. A crash of the host alone loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.snapshots import commands
from cloudstead.engine.snapshots.api import Unpacked, chain_of
from cloudstead.engine.snapshots.host_confine import READING_LAYERS, Bind, confine
from cloudstead.engine.snapshots.host_mounts import copy_attributes, lower_folders, require_overlay, shelf_of, unmount_writable
from cloudstead.engine.snapshots.host_removal import discard
from cloudstead.engine.snapshots.host_shelf import Record, Shelf
from cloudstead.engine.snapshots.host_source import Limits, Source
from cloudstead.engine.snapshots.host_tree import Tree
from cloudstead.engine.snapshots.host_unpack import Later, Unpacker
from cloudstead.engine.snapshots.host_walk import usage, write_layer
from cloudstead.engine.tar.writer import HashSink, PipeSink, TarWriter

SETTLE_AFTER = 2.0  # seconds
AT_ONCE = 64  # attributes that are set without a child


@handles(commands.HasChain)
async def has_chain(host: Host, command: commands.HasChain, descriptors: list[int]) -> bool:
    return command.chain_id in shelf_of(host).records


@handles(commands.ListChains)
async def list_chains(host: Host, command: commands.ListChains, descriptors: list[int]) -> dict[str, int]:
    return {chain: record.size for chain, record in shelf_of(host).records.items()}


@handles(commands.UnpackLayer)
async def unpack(host: Host, command: commands.UnpackLayer, descriptors: list[int]) -> Unpacked:
    """One at a time for a chain: who comes second takes what the first has made, or tries when that has failed."""
    if len(descriptors) != 1:
        raise InvalidArgument("a layer is unpacked from one descriptor")
    shelf = shelf_of(host)
    if command.parent:
        shelf.find(command.parent)
    if not command.diff_id:
        return await _unpack(host, shelf, command.parent, "", descriptors[0])
    async with _alone(shelf, chain_of(command.parent, command.diff_id)) as record:
        return _unpacked(record) if record else await _unpack(host, shelf, command.parent, command.diff_id, descriptors[0])


@contextlib.asynccontextmanager
async def _alone(shelf: Shelf, chain: str) -> AsyncIterator[Record | None]:
    """Nobody else makes this chain meanwhile. What there is of it already."""
    while chain in shelf.busy:
        await asyncio.shield(shelf.busy[chain])
    done = shelf.busy[chain] = asyncio.get_running_loop().create_future()
    try:
        yield shelf.records.get(chain)
    finally:
        del shelf.busy[chain]
        done.set_result(None)


def _unpacked(record: Record) -> Unpacked:
    return Unpacked(record.chain_id, record.diff_id, record.size, record.entries)


async def _unpack(host: Host, shelf: Shelf, parent: str, wanted: str, blob: int) -> Unpacked:
    limits = Limits.of(host.options)
    with shelf.pinned(parent):
        layers = shelf.ancestry(parent)
        lower = lower_folders(shelf, layers) if parent else None
        new = shelf.temporary("new")
        try:
            require_overlay(shelf)
            new.mkdir(mode=0o755)
            os.chmod(new, 0o755)
            if lower:
                copy_attributes(shelf.folder / lower[0], new)
            diff_id, size, entries, later = await host.fork(unpack_confined, shelf, new, lower, blob, limits, descriptors=[blob])
            if wanted and diff_id != wanted:
                raise InvalidArgument(f"the layer is {diff_id} uncompressed, not {wanted}")
            if len(later) > AT_ONCE:
                await host.fork(set_attributes, new, later)
            elif later:
                set_attributes(new, later)
            return _unpacked(_publish(host, shelf, new, parent, diff_id, size, entries))
        finally:
            await discard(host, shelf, new)


def unpack_confined(shelf: Shelf, new: Path, lower: list[str] | None, blob: int, limits: Limits) -> tuple[str, int, int, Later]:
    """In a child."""
    confine(shelf, [Bind("new", new, writable=True)], lower=lower, limits=limits)
    root = os.open("/new", os.O_RDONLY | os.O_DIRECTORY)
    below = os.open("/lower", os.O_RDONLY | os.O_DIRECTORY) if lower else -1
    source = Source(blob, limits)
    done = Unpacker(Tree(root, below), source, limits).run()
    return source.finish(), done.size, done.entries, done.later


def set_attributes(folder: Path, later: Later) -> None:
    """What the confined child may not set, on paths without links. Nothing is opened for reading: it may be a device."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, name, value in later:
            with contextlib.suppress(OSError):  # replaced meanwhile by something that cannot have it
                fd = linux.plain_path(root, path or b".")
                try:
                    if not name.startswith(linux.OVERLAY) or stat.S_ISDIR(os.fstat(fd).st_mode):
                        os.setxattr(f"/proc/self/fd/{fd}", name, value)
                finally:
                    os.close(fd)
    finally:
        os.close(root)


def _publish(host: Host, shelf: Shelf, new: Path, parent: str, diff_id: str, size: int, entries: int) -> Record:
    """Give what is whole its name. When the chain came to be meanwhile, that one stays."""
    chain = chain_of(parent, diff_id)
    if chain in shelf.records:
        return shelf.records[chain]
    name = shelf.free_name()
    new.rename(shelf.folder / name)
    record = Record(chain_id=chain, diff_id=diff_id, parent=parent, size=size, entries=entries, folder=name, boot=shelf.boot)
    shelf.add(record)
    settle_soon(host, shelf)
    return record


def settle_soon(host: Host, shelf: Shelf) -> None:
    """Put what was made on the disk, some seconds from now, in one go."""
    task: asyncio.Task[None] | None = host.parts.get("snapshots.settling")
    if task is None or task.done():
        host.parts["snapshots.settling"] = asyncio.ensure_future(_settle(host, shelf))


async def _settle(host: Host, shelf: Shelf) -> None:
    while pending := [record for record in shelf.records.values() if record.boot]:
        await asyncio.sleep(SETTLE_AFTER)
        try:
            await host.fork(sync, shelf.folder)
            for record in pending:
                if shelf.records.get(record.chain_id) is record:
                    shelf.settle(record)
        except (OSError, EngineError):  # a full disk, perhaps: later
            continue


def sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    linux.sync_filesystem(fd)


# writables that become chains, and tars of both


@handles(commands.KeepWritable)
async def keep(host: Host, command: commands.KeepWritable, descriptors: list[int]) -> Unpacked:
    shelf = shelf_of(host)
    stack = shelf.stack(command.key)
    if stack.layers[-1:] != ((command.parent,) if command.parent else ()):
        raise InvalidArgument(f"the root file system {command.key} does not lie over {command.parent or 'nothing'}")
    unmount_writable(host, command.key, now=True)
    new, rest = shelf.temporary("new"), shelf.temporary("gone")
    with shelf.pinned(command.parent):
        try:
            folder = shelf.writable(command.key)
            (folder / "upper").rename(new)
            await discard(host, shelf, *(folder / name for name in ("work", "rootfs", "stack")), via=rest)
            with contextlib.suppress(OSError):
                folder.rmdir()
            remove_stubs(new, command.stubs)
            diff_id, size, entries = await host.fork(measure_layer, shelf, new, shelf.path(command.parent) if command.parent else None)
            async with _alone(shelf, chain_of(command.parent, diff_id)):
                return _unpacked(_publish(host, shelf, new, command.parent, diff_id, size, entries))
        finally:
            await discard(host, shelf, new)


def remove_stubs(upper: Path, stubs: tuple[str, ...]) -> None:
    """Empty folders and files at these places, none of which is reached through a link."""
    if not stubs:
        return
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for stub in stubs:
            above, _, leaf = os.path.normpath(b"/" + os.fsencode(stub)).lstrip(b"/").rpartition(b"/")
            with contextlib.suppress(OSError):  # it is in use, or never was
                _remove_empty(root, above, leaf)
    finally:
        os.close(root)


def _remove_empty(root: int, above: bytes, leaf: bytes) -> None:
    folder = linux.plain_folder(root, above or b".")
    try:
        found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(leaf, dir_fd=folder)
        elif stat.S_ISREG(found.st_mode) and not found.st_size:
            os.unlink(leaf, dir_fd=folder)
    finally:
        os.close(folder)


def measure_layer(shelf: Shelf, upper: Path, below: Path | None) -> tuple[str, int, int]:
    """In a child: the diff_id that the layer has when it is written, its bytes of files, its members."""
    sink = HashSink()
    tar = TarWriter(sink)
    _write_confined(shelf, upper, below, tar)
    return sink.digest(), tar.bytes, tar.entries


@handles(commands.WriteLayer)
async def write_layer_to(host: Host, command: commands.WriteLayer, descriptors: list[int]) -> None:
    if len(descriptors) != 1:
        raise InvalidArgument("a layer is written to one descriptor")
    shelf = shelf_of(host)
    if command.key is not None:
        stack = shelf.stack(command.key)
        upper, parent = shelf.writable(command.key) / "upper", stack.layers[-1] if stack.layers else ""
    else:
        record = shelf.find(command.chain_id)
        upper, parent = shelf.folder / record.folder, record.parent
    below = shelf.path(parent) if parent else None
    with shelf.pinned(command.chain_id or parent):
        await host.fork(stream_layer, shelf, upper, below, descriptors[0], descriptors=descriptors)


def stream_layer(shelf: Shelf, upper: Path, below: Path | None, out: int) -> None:
    """In a child."""
    _write_confined(shelf, upper, below, TarWriter(PipeSink(out)))


def _write_confined(shelf: Shelf, upper: Path, below: Path | None, tar: TarWriter) -> None:
    root = os.stat(below) if below else None
    confine(shelf, [Bind("upper", upper)], capabilities=READING_LAYERS)
    write_layer(tar, os.open("/upper", os.O_RDONLY | os.O_DIRECTORY), root)


@handles(commands.RemoveChain)
async def remove_chain(host: Host, command: commands.RemoveChain, descriptors: list[int]) -> int:
    shelf = shelf_of(host)
    record = shelf.records.get(command.chain_id)
    if record is None:
        raise NotFound(f"no snapshot of the chain {command.chain_id}")
    if any(other.parent == command.chain_id for other in shelf.records.values()):
        raise Conflict(f"other snapshots lie over the chain {command.chain_id}")
    if command.chain_id in shelf.pins:
        raise Conflict(f"the chain {command.chain_id} is being used")
    for key, stack in shelf.writables().items():
        if command.chain_id in stack.layers:
            raise Conflict(f"the root file system {key} lies over the chain {command.chain_id}")
    shelf.forget(command.chain_id)
    await discard(host, shelf, shelf.folder / record.folder, shelf.folder / shelf.skeleton(record.folder))
    return record.size


def measure(shelf: Shelf, upper: Path) -> int:
    """In a child: bytes of files."""
    confine(shelf, [Bind("upper", upper)], capabilities=READING_LAYERS)
    return usage(os.open("/upper", os.O_RDONLY | os.O_DIRECTORY))
