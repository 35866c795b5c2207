"""Whose files become that are copied into a container: its user's, looked up in its own /etc/passwd, whose text is a stranger's."""

from __future__ import annotations

import io
import tarfile

from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import Snapshots

LONGEST = 1 << 20  # bytes of /etc/passwd or /etc/group that are read


async def owner_of(snapshots: Snapshots, key: str, user: str) -> tuple[int, int]:
    """User and group id of `user[:group]`. A number that is not in the file has group 0, as in Docker.

    Raises:
        InvalidArgument: there is no such name.
    """
    name, _, group = user.partition(":")
    uid, gid = 0, 0
    entries = await _lines(snapshots, key, "/etc/passwd") if name else []
    found = next((entry for entry in entries if len(entry) > 3 and name in (entry[0], entry[2])), None)
    if found is not None and found[2].isdecimal() and found[3].isdecimal():
        uid, gid = int(found[2]), int(found[3])
    elif name.isdecimal():
        uid = int(name)
    elif name:
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    if group.isdecimal():
        gid = int(group)
    elif group:
        gid = await _group(snapshots, key, group)
    return uid, gid


async def _group(snapshots: Snapshots, key: str, name: str) -> int:
    for entry in await _lines(snapshots, key, "/etc/group"):
        if len(entry) > 2 and entry[0] == name and entry[2].isdecimal():
            return int(entry[2])
    raise InvalidArgument(f"unable to find group {name}: no matching entries in group file")


async def _lines(snapshots: Snapshots, key: str, path: str) -> list[list[str]]:
    """A file through a tar of it; a link in its place is none."""
    data = b""
    try:
        async for chunk in snapshots.archive(key, path):
            data += chunk
            if len(data) > LONGEST:
                break
    except NotFound:
        return []
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.next()
            content = tar.extractfile(member) if member is not None and member.isreg() else None
            text = b"" if content is None else content.read(LONGEST)
    except tarfile.TarError:
        return []
    return [line.split(":") for line in text.decode(errors="replace").splitlines()]
