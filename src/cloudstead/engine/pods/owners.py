"""Whose files become that are copied into a container (`docker cp -a`): its user's, looked up in its own /etc/passwd."""

from __future__ import annotations

from cloudstead.engine.pods import users
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.snapshots.small_files import read_text


async def owner_of(snapshots: Snapshots, key: str, user: str) -> tuple[int, int]:
    """User and group id of `user[:group]`. A number that is not in the file has group 0, as in Docker.

    Raises:
        InvalidArgument: there is no such name.
    """
    if not user:
        return 0, 0
    passwd = await read_text(snapshots, key, "/etc/passwd", users.LONGEST)
    group = await read_text(snapshots, key, "/etc/group", users.LONGEST) if ":" in user else ""
    found = users.find_user(passwd, group, user)
    return found.uid, found.gid
