"""Users and groups of an image: read from its own /etc/passwd and /etc/group, through links only inside it. Its programs are never run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudstead.engine import linux
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.oci_spec import User

LONGEST = 4 << 20  # bytes of /etc/passwd that are read
LARGEST_ID = 2**31 - 1

file_in_root = linux.Resolver(os.O_RDONLY | os.O_NONBLOCK, linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS)


def find_user(rootfs: Path, wanted: str, further: Sequence[str]) -> User:
    """`user[:group]`, by name or number, with its supplementary groups and the further ones asked for.

    Raises:
        InvalidArgument: an unknown name.
    """
    name, _, group = wanted.partition(":")
    folder = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        passwd, groups = list(_entries(folder, b"etc/passwd", 4)), list(_entries(folder, b"etc/group", 3))
    finally:
        os.close(folder)
    uid, gid, login = _user(name or "0", passwd)
    if group:
        gid = _group(group, groups)
        supplementary: list[int] = []
    else:
        supplementary = [number for entry in groups if login and login in _members(entry) and (number := _number(entry[2])) is not None]
    return User(uid, gid, tuple(dict.fromkeys([*supplementary, *(_group(entry, groups) for entry in further)])))


def _user(wanted: str, passwd: list[list[str]]) -> tuple[int, int, str]:
    """Number, group and name. A number that nobody has is taken as it is."""
    number = _number(wanted)
    for entry in passwd:
        if entry[0] == wanted or (number is not None and _number(entry[2]) == number):
            return _number(entry[2]) or 0, _number(entry[3]) or 0, entry[0]
    if number is None:
        raise InvalidArgument(f"unable to find user {wanted}: no matching entries in passwd file")
    return number, 0, ""


def _group(wanted: str, groups: list[list[str]]) -> int:
    number = _number(wanted)
    for entry in groups:
        if entry[0] == wanted:
            return _number(entry[2]) or 0
    if number is None:
        raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _members(entry: list[str]) -> list[str]:
    return entry[3].split(",") if len(entry) > 3 else []


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal():
        return None
    number = int(text)
    if number > LARGEST_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{LARGEST_ID}")
    return number


def _entries(folder: int, path: bytes, fields: int) -> Iterator[list[str]]:
    """Lines with at least so many fields; none when the image has no such file, or something else there."""
    try:
        fd = file_in_root(folder, path)
    except OSError:
        return
    with open(fd, "rb") as file:
        if not os.path.isfile(f"/proc/self/fd/{fd}"):
            return
        text = file.read(LONGEST).decode(errors="replace")
    for line in text.splitlines():
        entry = line.strip().split(":")
        if len(entry) >= fields and entry[0] and not line.startswith("#") and entry[2].isdecimal() and int(entry[2]) <= LARGEST_ID:
            yield entry
