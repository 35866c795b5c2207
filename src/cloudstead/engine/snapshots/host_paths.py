"""Paths in a container's root file system: what is there, taken out as a tar, put in from one. Runs in confined children.

What a path means is Docker's (moby, daemon/archive_unix.go and container/archive.go): it is cleaned by name first; links on its way are followed inside the
root; the last component is followed only when a slash, or a slash and a dot, comes after it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import PathStat
from cloudstead.engine.snapshots.host_source import Limits, Source
from cloudstead.engine.snapshots.host_tree import Tree, resolve
from cloudstead.engine.snapshots.host_unpack import Rules, Unpacker
from cloudstead.engine.snapshots.host_walk import Found, walk, write_member, xattrs_of
from cloudstead.engine.tar.reader import FOLDER
from cloudstead.engine.tar.writer import PipeSink, TarWriter


class Place(NamedTuple):
    """Where a path leads."""

    folder: int  # open; the root's descriptor for the root itself
    leaf: bytes  # "." for a folder that was followed to
    base: bytes  # the name that it has for who asked
    status: os.stat_result


def locate(root: int, path: str) -> Place:
    """
    Raises:
        NotFound: there is nothing.
    """
    raw = os.fsencode(path)
    cleaned = os.path.normpath(b"/" + raw).lstrip(b"/")
    follow = not cleaned or raw.endswith((b"/", b"/."))
    base = b"." if raw.endswith(b"/.") or raw == b"." else (cleaned.rpartition(b"/")[2] or b"/")
    try:
        if follow:
            folder = linux.folder_in_root(root, cleaned or b".")
            return Place(folder, b".", base, os.fstat(folder))
        above, _, leaf = cleaned.rpartition(b"/")
        folder = linux.folder_in_root(root, above or b".")
        return Place(folder, leaf, base, os.stat(leaf, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        raise explained(error, path) from None


def explained(error: OSError, path: str) -> EngineError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"Could not find the file {path} in container")
    return InvalidArgument(f"{path}: {error.strerror}")


def stat_path(root: int, path: str) -> PathStat:
    place = locate(root, path)
    status = place.status
    target = ""
    if stat.S_ISLNK(status.st_mode):
        target = os.fsdecode(b"/" + resolve(root, os.path.normpath(b"/" + os.fsencode(path)).lstrip(b"/")))
    return PathStat(
        name=os.fsdecode(place.base), size=status.st_size, mode=status.st_mode, mtime=status.st_mtime_ns / 1e9, link_target=target
    )


def write_archive(root: int, path: str, out: int, skip: frozenset[int] = frozenset()) -> None:
    """A tar under the base name; of a folder, with all in it."""
    place = locate(root, path)
    tar = TarWriter(PipeSink(out))
    links: dict[tuple[int, int], bytes] = {}
    if not stat.S_ISDIR(place.status.st_mode):
        write_member(tar, Found(place.leaf, place.folder, place.leaf, place.status), place.base, links)
        tar.finish()
        return
    top = place.folder if place.leaf == b"." else os.open(place.leaf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place.folder)
    prefix = b"/" if place.base == b"/" else place.base + b"/"
    tar.add(prefix, FOLDER, os.fstat(top), xattrs=xattrs_of(top))
    for found in walk(top, skip=skip):
        write_member(tar, found, prefix + found.path, links)
    tar.finish()


def write_whole(root: int, out: int) -> None:
    """All of a root file system; for export."""
    tar = TarWriter(PipeSink(out))
    links: dict[tuple[int, int], bytes] = {}
    for found in walk(root):
        write_member(tar, found, found.path, links)
    tar.finish()


def read_archive(root: int, path: str, source: int, limits: Limits, rules: Rules) -> None:
    """Unpack into the folder that the path leads to, links followed."""
    raw = os.fsencode(path)
    try:
        folder = linux.target_in_root(root, os.path.normpath(b"/" + raw).lstrip(b"/") or b".")
    except OSError as error:
        raise explained(error, path) from None
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            raise InvalidArgument("extraction point is not a directory")
    finally:
        os.close(folder)
    into = resolve(root, os.path.normpath(b"/" + raw).lstrip(b"/"))
    stream = Source(source, limits)
    Unpacker(Tree(root), stream, limits, rules._replace(layer=False, into=into)).run()
    stream.finish()
