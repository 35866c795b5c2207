"""Who a container runs as: looked up in its root file system's own files, through links only inside it. Its programs are never run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cloudstead.engine import linux
from cloudstead.engine.pods import users
from cloudstead.engine.pods.oci_spec import User
from cloudstead.engine.snapshots.host_skeleton import make_plain

file_in_root = linux.Resolver(os.O_RDONLY | os.O_NONBLOCK, linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS)


def keep_inside(rootfs: Path) -> None:
    """See `make_plain`. An image's links are gone already; others may have been copied in."""
    folder = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        make_plain(folder)
    finally:
        os.close(folder)


def find_user(rootfs: Path, wanted: str, further: Sequence[str]) -> User:
    """`user[:group]`, by name or number, with its supplementary groups and the further ones asked for.

    Raises:
        InvalidArgument: an unknown name.
    """
    folder = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        passwd, group = _text(folder, b"etc/passwd"), _text(folder, b"etc/group")
    finally:
        os.close(folder)
    return users.find_user(passwd, group, wanted, further)


def _text(folder: int, path: bytes) -> str:
    """Empty when the image has no such file, or something else there."""
    try:
        fd = file_in_root(folder, path)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        if not os.path.isfile(f"/proc/self/fd/{fd}"):
            return ""
        return file.read(users.LONGEST).decode(errors="replace")
