"""Taking folders away. They get a name first by which the sweeper knows them, so that a crash in between leaves nothing for ever; small ones are removed at
once, large ones by a child."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from cloudstead.engine.host.server import Host
from cloudstead.engine.snapshots.host_shelf import Shelf
from cloudstead.engine.snapshots.host_tree import remove_tree

SMALL = 200  # things; a millisecond or two


async def discard(host: Host, shelf: Shelf, *paths: Path, via: Path | None = None) -> None:
    """Remove what is there of these. When the call is cancelled it goes on behind."""
    gone = via or shelf.temporary("gone")
    names = {gone.name, *(path.name for path in paths)}
    try:
        if not move_aside(paths, gone):  # at once: nobody mounts anything there between a look and this
            shelf.making.difference_update(names)
            return
    except BaseException:
        shelf.making.difference_update(names)
        raise
    task = asyncio.ensure_future(_discard(host, shelf, names, gone))
    running: set[asyncio.Task[None]] = host.parts.setdefault("snapshots.discarding", set())
    running.add(task)
    task.add_done_callback(running.discard)
    await asyncio.shield(task)


async def _discard(host: Host, shelf: Shelf, names: set[str], gone: Path) -> None:
    try:
        if is_large(gone):
            await host.fork(remove_folder, gone)
        else:
            remove_folder(gone)
    finally:
        shelf.making.difference_update(names)


def move_aside(paths: tuple[Path, ...], gone: Path) -> bool:
    """Whether there was any of them."""
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        gone.mkdir(mode=0o700)
    for number, path in enumerate(there):
        path.rename(gone / str(number))
    return bool(there)


def is_large(folder: Path) -> bool:
    """Whether removing it takes long; what is too deep to be looked at by its path may."""
    left = SMALL
    todo = [os.fspath(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                for item in found:
                    left -= 1
                    if left < 0:
                        return True
                    if item.is_dir(follow_symlinks=False):
                        todo.append(item.path)
        except OSError:
            return True
    return False


def remove_folder(path: Path) -> None:
    """A folder and all in it; it may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(parent, os.fsencode(path.name))
        finally:
            os.close(parent)
