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
    task = asyncio.ensure_future(_discard(host, shelf, paths, gone))
    running: set[asyncio.Task[None]] = host.parts.setdefault("snapshots.discarding", set())
    running.add(task)
    task.add_done_callback(running.discard)
    await asyncio.shield(task)


async def _discard(host: Host, shelf: Shelf, paths: tuple[Path, ...], gone: Path) -> None:
    try:
        if move_aside(paths, gone) and is_large(gone):
            await host.fork(remove_folder, gone)
        else:
            remove_folder(gone)
    finally:
        shelf.making.difference_update({gone.name, *(path.name for path in paths)})


def move_aside(paths: tuple[Path, ...], gone: Path) -> bool:
    """Whether there was any of them."""
    gone.mkdir(mode=0o700)
    found = False
    for number, path in enumerate(paths):
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone / str(number))
            found = True
    return found


def is_large(folder: Path) -> bool:
    """Whether removing it takes long; what cannot even be looked at may."""
    left = SMALL
    todo = [os.fspath(folder)]
    while todo:
        try:
            found = os.listdir(path := todo.pop())
        except NotADirectoryError:
            continue
        except OSError:
            return True
        left -= len(found)
        if left < 0:
            return True
        todo += (f"{path}/{name}" for name in found)
    return False


def remove_folder(path: Path) -> None:
    """A folder and all in it; it may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(parent, os.fsencode(path.name))
        finally:
            os.close(parent)
