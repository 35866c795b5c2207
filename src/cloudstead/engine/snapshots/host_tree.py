"""A folder into which a stranger's names are put. Every name is looked up by the kernel inside it (openat2, RESOLVE_IN_ROOT): links are followed as a
process that has the folder as its root would follow them, and nothing leads out.

What is made is made by its last component in a folder that is open already, never through a link. Folders stay open in a small cache, as
members of a tar mostly lie where the one before lay; the cache is forgotten when a folder or link is removed, for then names may lead elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable

from cloudstead.engine import linux
from cloudstead.engine.errors import InvalidArgument, NotPermitted

MOST_OPEN = 64
DEEPEST = 100  # folders open at once while removing
MOST_LINKS = 40  # as the kernel
MOST_LINKS_OF_A_PATH = 255  # as Docker
_odd = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)|\0")


def clean(name: bytes) -> bytes:
    """A member's name without leading slashes and idle components; empty for the root itself.

    Raises:
        NotPermitted: it has a `..` or a NUL.
    """
    if not _odd.search(name):
        return name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise NotPermitted(f"the name {shown(name)} would lead out of the folder")
    if b"\0" in name:
        raise NotPermitted(f"the name {shown(name)} has a NUL in it")
    return b"/".join(parts)


def shown(name: bytes) -> str:
    return repr(name[:200].decode(errors="backslashreplace"))


class Tree:
    """
    Args:
        root: a descriptor of the folder; links are resolved as if it were "/".
        lower: of what will lie under it, to look attributes of folders up; -1: nothing.
    """

    unhide: Callable[[bytes], None] | None = None  # told when a folder takes a whiteout's place; without it that is refused

    def __init__(self, root: int, lower: int = -1) -> None:
        self.root = root
        self.lower = lower
        self._open: dict[bytes, int] = {}
        self.times: dict[bytes, tuple[int, int]] = {}  # of folders, to be set when all is in them

    def forget(self) -> None:
        """Names may lead elsewhere from now on."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def folder(self, path: bytes, mtime_ns: int = 0) -> int:
        """The folder of that (clean) name, made with those above it when it is not there. The descriptor stays ours."""
        if not path:
            return self.root
        fd = self._open.pop(path, None)
        if fd is None:
            fd = self._find_or_make(path, mtime_ns, 0)
            if len(self._open) >= MOST_OPEN:  # the one used longest ago: callers hold two at most
                os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd
        return fd

    def _find_or_make(self, path: bytes, mtime_ns: int, links: int) -> int:
        try:
            return linux.folder_in_root(self.root, path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise explained(error, path) from None
        parent, _, leaf = path.rpartition(b"/")
        above = self.folder(parent, mtime_ns)
        try:
            os.mkdir(leaf, 0o755, dir_fd=above)
        except FileExistsError:
            found = os.stat(leaf, dir_fd=above, follow_symlinks=False)
            if not is_whiteout(found) or self.unhide is None:
                return self._through_link(path, found, mtime_ns, links)
            os.unlink(leaf, dir_fd=above)
            os.mkdir(leaf, 0o755, dir_fd=above)
            self.unhide(path)
        fd = linux.plain_folder(above, leaf)
        self._imply(fd, path, mtime_ns)
        return fd

    def _through_link(self, path: bytes, found: os.stat_result, mtime_ns: int, links: int) -> int:
        """A link that leads nowhere yet: make where it leads, inside."""
        if links >= MOST_LINKS:
            raise InvalidArgument(f"too many links on the way to {shown(path)}")
        if not stat.S_ISLNK(found.st_mode):
            raise InvalidArgument(f"{shown(path)} is no folder, but something is to be put into it")
        resolved = resolve(self.root, path)
        if links >= MOST_LINKS or not resolved or resolved == path:
            raise InvalidArgument(f"the link {shown(path)} leads nowhere")
        return self._find_or_make(resolved, mtime_ns, links + 1)

    def _imply(self, fd: int, path: bytes, mtime_ns: int) -> None:
        """A folder that the tar has no member for looks like the one below it, as overlayfs would have copied it up."""
        times = (mtime_ns, mtime_ns)
        if self.lower >= 0:
            with contextlib.suppress(OSError):
                below = linux.plain_folder(self.lower, path)
                try:
                    found = os.fstat(below)
                    os.fchown(fd, found.st_uid, found.st_gid)
                    os.fchmod(fd, stat.S_IMODE(found.st_mode))
                    times = (found.st_atime_ns, found.st_mtime_ns)
                    copy_xattrs(below, fd)
                finally:
                    os.close(below)
        self.times[path] = times

    def clear(self, folder: int, leaf: bytes) -> None:
        """Remove what lies there, whatever it is."""
        try:
            os.unlink(leaf, dir_fd=folder)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            remove_tree(folder, leaf)
        self.forget()


def resolve(root: int, path: bytes) -> bytes:
    """The path without links, inside the root; what is not there is taken by its name."""
    todo = path.split(b"/")[::-1]
    done: list[bytes] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del done[-1:]
            continue
        target = _link_at(root, b"/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > MOST_LINKS_OF_A_PATH:
            raise InvalidArgument("too many links")
        if target.startswith(b"/"):
            done = []
        todo += target.split(b"/")[::-1]
    return b"/".join(done)


def _link_at(root: int, path: bytes) -> bytes | None:
    try:
        fd = linux.plain_path(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise explained(error, path) from None
    try:
        return os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def is_whiteout(found: os.stat_result) -> bool:
    """overlayfs' mark of what is removed."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def explained(error: OSError, path: bytes) -> Exception:
    """What a name has done, as an error of the one who sent it, where it is theirs."""
    if error.errno == errno.ELOOP:
        return InvalidArgument(f"too many links on the way to {shown(path)}")
    if error.errno == errno.ENOTDIR:
        return InvalidArgument(f"{shown(path)} lies below something that is no folder")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidArgument(f"the name {shown(path)} is too long")
    return error


def copy_xattrs(source: int, target: int) -> None:
    """Those that a confined child may set."""
    for name in os.listxattr(source):
        if not name.startswith(("trusted.", linux.OVERLAY)):
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))


def remove_tree(folder: int, name: bytes) -> None:
    """Remove a folder and all in it, through no link. What lies deep is moved up to its first level, so any depth will do."""
    fd, inner = _enter(folder, name)
    levels = [(fd, name, inner)]  # an open folder, its name, folders in it that are still there
    while levels:
        fd, own, inner = levels[-1]
        if not inner:
            os.close(fd)
            levels.pop()
            os.rmdir(own, dir_fd=levels[-1][0] if levels else folder)
            continue
        child = inner.pop()
        if len(levels) < DEEPEST:
            below, found = _enter(fd, child)
            levels.append((below, child, found))
        else:
            aside = b".deep-" + secrets.token_hex(12).encode()
            os.rename(child, aside, src_dir_fd=fd, dst_dir_fd=levels[0][0])
            levels[0][2].append(aside)


def _enter(parent: int, name: bytes) -> tuple[int, list[bytes]]:
    """Open a folder and remove what is no folder in it: the descriptor, and the names of the folders."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    inner: list[bytes] = []
    try:
        with os.scandir(fd) as found:
            for item in found:
                leaf = os.fsencode(item.name)
                if item.is_dir(follow_symlinks=False):
                    inner.append(leaf)
                else:
                    os.unlink(leaf, dir_fd=fd)
    except BaseException:
        os.close(fd)
        raise
    return fd, inner
