"""Users and groups as an image's own /etc/passwd and /etc/group name them. Pure: their text is a stranger's, and others read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.oci_spec import User

LONGEST = 4 << 20  # bytes of /etc/passwd or /etc/group that are read
LARGEST_ID = 2**31 - 1


def find_user(passwd: str, group: str, wanted: str, further: Sequence[str] = ()) -> User:
    """`user[:group]`, by name or number, with its supplementary groups and the further ones asked for.

    Raises:
        InvalidArgument: an unknown name.
    """
    name, _, wanted_group = wanted.partition(":")
    users, groups = list(_entries(passwd, 4)), list(_entries(group, 3))
    uid, gid, login = _user(name or "0", users)
    if wanted_group:
        gid = _group(wanted_group, groups)
        supplementary: list[int] = []
    else:
        supplementary = [number for entry in groups if login and login in _members(entry) and (number := number_of(entry[2])) is not None]
    return User(uid, gid, tuple(dict.fromkeys([*supplementary, *(_group(entry, groups) for entry in further)])))


def number_of(text: str) -> int | None:
    """The id that a text spells; None when it is a name.

    Raises:
        InvalidArgument: it is too large for an id.
    """
    if not text.isascii() or not text.isdecimal():
        return None
    number = int(text[:12])
    if number > LARGEST_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{LARGEST_ID}")
    return number


def _user(wanted: str, passwd: list[list[str]]) -> tuple[int, int, str]:
    """Number, group and name. A number that nobody has is taken as it is."""
    number = number_of(wanted)
    for entry in passwd:
        if entry[0] == wanted or (number is not None and number_of(entry[2]) == number):
            return number_of(entry[2]) or 0, number_of(entry[3]) or 0, entry[0]
    if number is None:
        raise InvalidArgument(f"unable to find user {wanted}: no matching entries in passwd file")
    return number, 0, ""


def _group(wanted: str, groups: list[list[str]]) -> int:
    number = number_of(wanted)
    for entry in groups:
        if entry[0] == wanted:
            return number_of(entry[2]) or 0
    if number is None:
        raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _members(entry: list[str]) -> list[str]:
    return entry[3].split(",") if len(entry) > 3 else []


def _entries(text: str, fields: int) -> Iterator[list[str]]:
    """Lines with at least so many fields and a number that an id can be."""
    for line in text.splitlines():
        entry = line.strip().split(":")
        if len(entry) >= fields and entry[0] and not line.startswith("#") and entry[2].isdecimal() and int(entry[2][:12]) <= LARGEST_ID:
            yield entry
