"""`--chown=user:group`: numbers, or names that the image's own files know. These are read inside its root file system, by the engine host."""

from __future__ import annotations

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.users import LONGEST, number_of
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.snapshots.small_files import read_text


async def owner_of(snapshots: Snapshots, key: str, text: str) -> tuple[int, int]:
    """Numbers of a user and group. A user alone brings the group of its name; a number alone is both.

    Raises:
        InvalidArgument: nobody has the name.
    """
    user, _, group = text.partition(":")
    uid = number_of(user)
    gid = number_of(group) if group else uid
    if uid is None:
        entry = await _entry(snapshots, key, "/etc/passwd", user, "user")
        uid = _field(entry, 2, "/etc/passwd")
        gid = gid if group else _field(entry, 3, "/etc/passwd")
    if group and gid is None:
        gid = _field(await _entry(snapshots, key, "/etc/group", group, "group"), 2, "/etc/group")
    assert gid is not None
    return uid, gid


def _field(entry: list[str], number: int, path: str) -> int:
    value = number_of(entry[number]) if len(entry) > number else None
    if value is None:
        raise InvalidArgument(f"{path} has no number for {entry[0]}")
    return value


async def _entry(snapshots: Snapshots, key: str, path: str, name: str, what: str) -> list[str]:
    for line in (await read_text(snapshots, key, path, LONGEST)).splitlines():
        fields = line.strip().split(":")
        if fields[0] == name and name:
            return fields
    raise InvalidArgument(f"unable to convert uid/gid chown string to host mapping: can't find {what} {name} in {path}")
