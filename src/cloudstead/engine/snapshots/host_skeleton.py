"""The layer between an image and what a container writes: what the runtime mounts on, so that making these places is no change of the container's.

The same as Docker's (moby, daemon/initlayer). One for each topmost chain, made when its first container is: a throw-away overlay over the stack
in which the missing places are made, links of the image followed inside it only; its upper folder is the layer.
"""

from __future__ import annotations

import contextlib
import os
import stat

from cloudstead.engine import linux
from cloudstead.engine.errors import EngineError
from cloudstead.engine.snapshots.host_tree import Tree

MOUNTED_ON = ("dev", "proc", "sys")  # by the runtime, always
FOLDERS = (b"dev/pts", b"dev/shm", b"proc", b"sys")
FILES = (b".dockerenv", b"etc/resolv.conf", b"etc/hosts", b"etc/hostname", b"dev/console")
LINKS = {b"etc/mtab": b"/proc/mounts"}


def fill(root: int) -> None:
    """Make what is not there. Where the image has something that is in the way, it stays, and mounting over it will tell."""
    make_plain(root)
    tree = Tree(root)
    for path in (*FOLDERS, *FILES, *LINKS):
        with contextlib.suppress(OSError, EngineError):
            if path in FOLDERS:
                tree.folder(path)
                continue
            parent, _, leaf = path.rpartition(b"/")
            folder = tree.folder(parent)
            if path in LINKS:
                os.symlink(LINKS[path], leaf, dir_fd=folder)
            elif not _there(root, path):
                os.close(os.open(leaf, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755, dir_fd=folder))
    tree.forget()


def make_plain(root: int) -> None:
    """Folders in place of links and files where the runtime mounts what is the kernel's, as Docker has it.

    It must be so whenever a container is started: runc 1.1 makes /dev/fd, /dev/ptmx and others by their paths from the host's root, so where /dev is an
    absolute link, it would make them in that folder of the host.
    """
    for name in MOUNTED_ON:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=root).st_mode):
                os.unlink(name, dir_fd=root)
                os.mkdir(name, dir_fd=root)
                os.chmod(name, 0o755, dir_fd=root)


def _there(root: int, path: bytes) -> bool:
    """A link counts when it leads to something."""
    try:
        fd = linux.target_in_root(root, path)
    except FileNotFoundError:
        return False
    try:
        return not stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
