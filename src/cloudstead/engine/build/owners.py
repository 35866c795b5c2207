"""`--chown=user:group`: numbers, or names that the image's own files know. These are read inside its root file system, by the engine host."""

from __future__ import annotations

import stat

from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.tar.reader import TarReader

LARGEST_ID = 2**31 - 1
LONGEST = 4 << 20  # bytes of /etc/passwd
MOST_LINKS = 10


async def owner_of(snapshots: Snapshots, key: str, text: str) -> tuple[int, int]:
    """Numbers of a user and group. A user alone brings the group of its name; a number alone is both.

    Raises:
        InvalidArgument: nobody has the name.
    """
    user, _, group = text.partition(":")
    uid = _number(user)
    gid = _number(group) if group else uid
    if uid is None:
        entry = await _entry(snapshots, key, "/etc/passwd", user, "user")
        uid = _field(entry, 2, "/etc/passwd")
        gid = gid if group else _field(entry, 3, "/etc/passwd")
    if group and gid is None:
        gid = _field(await _entry(snapshots, key, "/etc/group", group, "group"), 2, "/etc/group")
    assert gid is not None
    return uid, gid


def is_numeric(text: str) -> bool:
    """Whether no file has to be read for it."""
    return all(_number(part) is not None for part in text.split(":") if part)


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    number = int(text[:12])
    if number > LARGEST_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{LARGEST_ID}")
    return number


def _field(entry: list[str], number: int, path: str) -> int:
    value = _number(entry[number]) if len(entry) > number else None
    if value is None:
        raise InvalidArgument(f"{path} has no number for {entry[0]}")
    return value


async def _entry(snapshots: Snapshots, key: str, path: str, name: str, what: str) -> list[str]:
    for line in (await _read(snapshots, key, path)).splitlines():
        fields = line.strip().split(":")
        if fields[0] == name and name:
            return fields
    raise InvalidArgument(f"unable to convert uid/gid chown string to host mapping: can't find {what} {name} in {path}")


async def _read(snapshots: Snapshots, key: str, path: str) -> str:
    for _ in range(MOST_LINKS):
        try:
            found = await snapshots.stat(key, path)
        except NotFound:
            return ""
        if not stat.S_ISLNK(found.mode):
            break
        path = found.link_target
    if not stat.S_ISREG(found.mode) or found.size > LONGEST:
        return ""
    pieces = [piece async for piece in snapshots.archive(key, path)]
    reader = TarReader(lambda: pieces.pop(0) if pieces else b"")
    reader.next()
    return b"".join(map(bytes, reader.pieces())).decode(errors="replace")
