"""Putting planned files into a root file system: no container, only a writable that becomes the next layer.

Destinations are looked up by the engine host inside the root file system, links followed in it and never out of it. Folders that are missing are made;
the files go in as one tar, in a stream from the spool, and nothing of them is held in memory.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from cloudstead.engine.build import tars
from cloudstead.engine.build.copying import Item, Plan
from cloudstead.engine.build.modes import Change
from cloudstead.engine.build.tree import Entry
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.tar.reader import FOLDER, LINK, SYMLINK
from cloudstead.engine.tar.writer import END, padding
from cloudstead.engine.threads import in_thread

MOST_LINKS = 40
BATCH = 1 << 20
FOLDER_MODE = 0o755
Owner = tuple[int, int] | None


class Destination(msgspec.Struct, frozen=True):
    """What a path is now: `anchor` is a folder that is there, `missing` what comes below it."""

    anchor: str
    missing: tuple[str, ...] = ()
    is_folder: bool = False  # the path itself
    is_file: bool = False


async def look_up(snapshots: Snapshots, key: str, path: str, *, verb: str = "copy to") -> Destination:
    """Where a path leads in a root file system.

    Raises:
        InvalidArgument: it leads through a file, or in a circle.
    """
    missing: list[str] = []
    for _ in range(MOST_LINKS + path.count("/")):
        try:
            found = await snapshots.stat(key, path)
        except NotFound:
            missing.insert(0, posixpath.basename(path))
            path = posixpath.dirname(path)
            continue
        if stat.S_ISLNK(found.mode):
            path = found.link_target
        elif stat.S_ISDIR(found.mode):
            return Destination(path, tuple(missing), not missing)
        elif missing:
            raise InvalidArgument(f"cannot {verb} non-directory: {path}")
        else:
            return Destination(posixpath.dirname(path), (posixpath.basename(path),), is_file=True)
    raise InvalidArgument(f"{path}: too many levels of symbolic links")


class Member(msgspec.Struct, frozen=True):
    """One member of the tar that is made."""

    name: str
    item: Item | None  # None: a folder that is made up
    mode: int
    uid: int
    gid: int


def members(plan: Plan, destination: Destination, owner: Owner, chmod: Change | None, *, is_folder: bool) -> Iterator[Member]:
    """What to write below the anchor, folders first.

    Raises:
        InvalidArgument: a folder's content is to go where a file is.
    """
    uid, gid = owner or (0, 0)
    into = is_folder or plan.is_folder or destination.is_folder
    if into and destination.is_file:
        raise InvalidArgument(f"cannot copy to non-directory: {posixpath.join(destination.anchor, *destination.missing)}")
    above = destination.missing if into else destination.missing[:-1]
    for depth in range(len(above)):
        name = "/".join(above[: depth + 1])
        last = depth == len(above) - 1
        if last and plan.folder is not None and plan.sources == 1:
            yield _member(name, Item("", plan.folder, plan.items[0].tree) if plan.items else None, plan.folder, owner, chmod)
        else:
            yield Member(name, None, FOLDER_MODE, uid, gid)
    prefix = "/".join(above)
    for item in plan.items:
        relative = item.name if into else (destination.missing[-1] if destination.missing else item.name)
        yield _member(f"{prefix}/{relative}" if prefix else relative, item, item.entry, owner, chmod)


def _member(name: str, item: Item | None, entry: Entry, owner: Owner, chmod: Change | None) -> Member:
    uid, gid = owner if owner is not None else (entry.uid, entry.gid)
    mode = entry.mode
    if chmod is not None and entry.kind in ("file", "folder"):
        mode = chmod(mode, entry.kind == "folder")
    return Member(name, item, mode, uid, gid)


async def tar_of(found: Iterator[Member], now: int) -> AsyncIterator[bytes]:
    """The tar, a megabyte for each turn of a thread."""
    pieces = _pieces(found, now)
    while batch := await in_thread(_batch, pieces):
        yield batch


def _batch(pieces: Iterator[bytes]) -> bytes:
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= BATCH:
            break
    return b"".join(taken)


def _pieces(found: Iterator[Member], now: int) -> Iterator[bytes]:
    written: dict[tuple[int, int], str] = {}  # files with several names
    for member in found:
        if member.item is None:
            yield tars.header(member.name, kind=FOLDER, mode=member.mode, uid=member.uid, gid=member.gid, mtime=now)
        else:
            yield from _content(member, member.item, written)
    yield END


def _content(member: Member, item: Item, written: dict[tuple[int, int], str]) -> Iterator[bytes]:
    entry = item.entry
    header: Callable[..., bytes] = tars.header
    common = {"mode": member.mode, "uid": member.uid, "gid": member.gid, "mtime": entry.mtime, "xattrs": entry.xattrs}
    if entry.kind == "folder":
        yield header(member.name, kind=FOLDER, **common)
    elif entry.kind == "symlink":
        yield header(member.name, kind=SYMLINK, link=entry.target, **common)
    elif entry.kind == "node":
        yield header(member.name, kind=entry.device[0], device=entry.device[1:], **common)
    elif entry.linked and (first := written.setdefault((id(item.tree), entry.offset), member.name)) != member.name:
        yield header(member.name, kind=LINK, link=first, **common)
    else:
        yield header(member.name, size=entry.size, **common)
        yield from item.tree.spool.pieces(entry.offset, entry.size)
        yield padding(entry.size)
