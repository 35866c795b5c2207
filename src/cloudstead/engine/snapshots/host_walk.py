"""What a writable holds: as a layer's tar, as a list of changes, in bytes.

An upper folder of overlayfs has new and changed files as they are, a character device 0:0 for what was removed, and the attribute
trusted.overlay.opaque (without root user.overlay.opaque) on folders that hide what lay there. Runs in a confined child; files are opened by their last component, never through a link.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import Failed
from cloudstead.engine.snapshots.host_unpack import HIDDEN, OPAQUE
from cloudstead.engine.tar.reader import BLOCK_DEVICE, CHARACTER, FIFO, FILE, FOLDER, LINK, SYMLINK
from cloudstead.engine.tar.writer import TarWriter

DEEPEST = 900  # folders that are open at once
KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Found(NamedTuple):
    path: bytes  # below where the walk began
    folder: int  # the one that it lies in, open
    leaf: bytes
    status: os.stat_result

    @property
    def whiteout(self) -> bool:
        return stat.S_ISCHR(self.status.st_mode) and self.status.st_rdev == 0


def walk(root: int, *, skip: frozenset[int] = frozenset()) -> Iterator[Found]:
    """All below a folder, each folder before what is in it, names sorted. What vanishes meanwhile is left out.

    Args:
        skip: file systems (st_dev) that are not entered: their mount points are shown as empty folders.
    """
    levels: list[tuple[int, bytes, Iterator[bytes]]] = [(root, b"", iter(_names(root)))]
    try:
        while levels:
            folder, path, names = levels[-1]
            leaf = next(names, None)
            if leaf is None:
                levels.pop()
                if levels:
                    os.close(folder)
                continue
            try:
                status = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            own = path + leaf
            yield Found(own, folder, leaf, status)
            if stat.S_ISDIR(status.st_mode) and status.st_dev not in skip:
                if len(levels) > DEEPEST:
                    raise Failed(f"folders are nested more than {DEEPEST} deep")
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    inner = os.open(leaf, READ | os.O_DIRECTORY, dir_fd=folder)
                    levels.append((inner, own + b"/", iter(_names(inner))))
    finally:
        for folder, _, _ in levels[1:]:
            os.close(folder)


def _names(folder: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(folder)))


def write_member(tar: TarWriter, found: Found, name: bytes, links: dict[tuple[int, int], bytes]) -> None:
    """One thing as it is, under that name; `links` has the names of files with several, by device and inode."""
    status = found.status
    kind = KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return  # a socket, which tar has no type for and which nobody listens on any more
    if status.st_nlink > 1 and kind != FOLDER:
        first = links.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            tar.add(name, LINK, status, link=first)
            return
    if kind == FILE:
        _write_file(tar, found, name)
    elif kind == FOLDER:
        tar.add(name + b"/", kind, status, xattrs=_xattrs_of_folder(found))
    elif kind == SYMLINK:
        tar.add(name, kind, status, link=os.readlink(found.leaf, dir_fd=found.folder))
    else:
        tar.add(name, kind, status)


def _write_file(tar: TarWriter, found: Found, name: bytes) -> None:
    try:
        fd = os.open(found.leaf, READ, dir_fd=found.folder)
    except (FileNotFoundError, OSError):
        if not _is_gone(found):
            raise
        return
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            tar.add(name, FILE, status, size=status.st_size, xattrs=xattrs_of(fd))
            tar.file(fd, status.st_size)
    finally:
        os.close(fd)


def _is_gone(found: Found) -> bool:
    """Whether it is another thing by now than the one that was seen."""
    try:
        return os.stat(found.leaf, dir_fd=found.folder, follow_symlinks=False).st_ino != found.status.st_ino
    except FileNotFoundError:
        return True


def xattrs_of(fd: int) -> dict[bytes, bytes] | None:
    """Without overlayfs' own. None when there are none, as mostly."""
    names = os.listxattr(fd)
    if not names:
        return None
    return {os.fsencode(name): os.getxattr(fd, name) for name in names if not name.startswith(linux.OVERLAY)} or None


def _xattrs_of_folder(found: Found) -> dict[bytes, bytes] | None:
    with contextlib.suppress(OSError):
        fd = os.open(found.leaf, READ | os.O_DIRECTORY, dir_fd=found.folder)
        try:
            return xattrs_of(fd)
        finally:
            os.close(fd)
    return None


def is_opaque(found: Found) -> bool:
    try:
        fd = os.open(found.leaf, READ | os.O_DIRECTORY, dir_fd=found.folder)
    except OSError:
        return False
    try:
        return os.getxattr(fd, linux.OVERLAY + "opaque") == b"y"
    except OSError:
        return False
    finally:
        os.close(fd)


def write_layer(tar: TarWriter, upper: int, below: os.stat_result | None) -> None:
    """A layer's tar of an upper folder (image-spec, layer.md). The root is a member only where it differs from that of the layer below."""
    root = os.fstat(upper)
    if below is not None and (root.st_mode, root.st_uid, root.st_gid) != (below.st_mode, below.st_uid, below.st_gid):
        tar.add(b"./", FOLDER, root, xattrs=xattrs_of(upper))
    links: dict[tuple[int, int], bytes] = {}
    for found in walk(upper):
        if found.whiteout:
            folder, _, leaf = found.path.rpartition(b"/")
            name = (folder + b"/" if folder else b"") + HIDDEN + leaf
            tar.add(name, FILE, found.status, mode=0o600)
            continue
        write_member(tar, found, found.path, links)
        if stat.S_ISDIR(found.status.st_mode) and is_opaque(found):
            tar.add(found.path + b"/" + OPAQUE, FILE, found.status, mode=0o600)
    tar.finish()


def usage(upper: int) -> int:
    """Bytes of files, each counted once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for found in walk(upper):
        status = found.status
        if stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def changes(upper: int, lower: int) -> list[tuple[str, str]]:
    """Paths and "added", "modified" or "deleted", as comparing the trees would find: what was opened for writing and left as it was is no change, of
    what was removed only the top is named, and a folder in which something changed counts as modified (moby, pkg/archive: FileInfo.addChanges)."""
    kinds: dict[bytes, str] = {}
    replaced: set[bytes] = set()  # folders that hide those below them: what they do not have is gone
    for found in walk(upper):
        below = _below(lower, found.path)
        if found.whiteout:
            if below is not None:
                kinds[found.path] = "deleted"
            continue
        if below is None:
            kinds[found.path] = "added"
            continue
        if not _same(found.status, below):
            kinds[found.path] = "modified"
        if stat.S_ISDIR(below.st_mode):
            is_folder = stat.S_ISDIR(found.status.st_mode)
            if not is_folder or found.path.rpartition(b"/")[0] in replaced or is_opaque(found):
                replaced.add(found.path)
                kinds.update((found.path + b"/" + name, "deleted") for name in _missing(lower, found, is_folder))
    for path in list(kinds):
        while path := path.rpartition(b"/")[0]:
            kinds.setdefault(path, "modified")
    return sorted(("/" + os.fsdecode(path), kind) for path, kind in kinds.items())


def _below(lower: int, path: bytes) -> os.stat_result | None:
    if lower < 0:
        return None
    try:
        fd = linux.plain_path(lower, path)
    except OSError:
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    """moby, pkg/archive: statDifferent. The size of a folder says nothing."""
    alike = (one.st_mode, one.st_uid, one.st_gid, one.st_rdev) == (other.st_mode, other.st_uid, other.st_gid, other.st_rdev)
    if stat.S_ISDIR(one.st_mode):
        return alike and one.st_mtime_ns == other.st_mtime_ns
    return alike and one.st_mtime_ns == other.st_mtime_ns and one.st_size == other.st_size


def _missing(lower: int, found: Found, is_folder: bool) -> set[bytes]:
    folder = linux.plain_folder(lower, found.path)
    try:
        before = set(map(os.fsencode, os.listdir(folder)))
    finally:
        os.close(folder)
    if not is_folder:
        return before
    fd = os.open(found.leaf, READ | os.O_DIRECTORY, dir_fd=found.folder)
    try:
        return before - set(map(os.fsencode, os.listdir(fd)))
    finally:
        os.close(fd)
