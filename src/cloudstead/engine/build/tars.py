"""Writing tar: ustar, with pax records for what does not fit into its fields."""

from __future__ import annotations

import os
from collections.abc import Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
FILE, LINK, SYMLINK, FOLDER = b"0", b"1", b"2", b"5"
_LARGEST_ID = 0o7777777
_LARGEST_SIZE = 0o77777777777


def header(
    name: str,
    *,
    kind: bytes = FILE,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: str = "",
    xattrs: Mapping[bytes, bytes] | None = None,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """The blocks before a member's data."""
    path, target = os.fsencode(name), os.fsencode(link)
    if kind == FOLDER:
        path += b"/"
    records: dict[bytes, bytes] = {b"SCHILY.xattr." + key: value for key, value in (xattrs or {}).items()}
    if len(path) > 100:
        records[b"path"] = path
    if len(target) > 100:
        records[b"linkpath"] = target
    for keyword, number, most in ((b"uid", uid, _LARGEST_ID), (b"gid", gid, _LARGEST_ID), (b"size", size, _LARGEST_SIZE)):
        if number > most:
            records[keyword] = b"%d" % number
    before = b""
    if records:
        data = b"".join(_record(keyword, records[keyword]) for keyword in sorted(records))
        before = _block(b"pax", b"x", 0o644, 0, 0, len(data), 0, b"", (0, 0)) + data + padding(len(data))
    return before + _block(path[:100], kind, mode, uid, gid, size, mtime, target[:100], device)


def padding(size: int) -> bytes:
    """What fills the last block."""
    return bytes(-size % BLOCK)


def _record(keyword: bytes, value: bytes) -> bytes:
    """The length counts its own digits."""
    length = len(keyword) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, keyword, value)


def _block(name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes, device: tuple[int, int]) -> bytes:
    fields = [
        name.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % min(uid, _LARGEST_ID),
        b"%07o\0" % min(gid, _LARGEST_ID),
        b"%011o\0" % min(size, _LARGEST_SIZE),
        b"%011o\0" % min(mtime, _LARGEST_SIZE),
        b" " * 8,
        kind,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
