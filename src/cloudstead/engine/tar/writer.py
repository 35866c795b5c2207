"""Writing tar so that the same files give the same bytes: no names of users, no times but the modification's, pax records in one order and only where
ustar's fields do not suffice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Protocol

from cloudstead.engine.tar.reader import BLOCK, BLOCK_DEVICE, CHARACTER, FILE

BUFFER = 256 << 10
END = bytes(2 * BLOCK)
_NAME, _PREFIX = 100, 155


class Sink(Protocol):
    def write(self, data: bytes | memoryview) -> None: ...


class PipeSink:
    """Into a descriptor. EPIPE (as BrokenPipeError) when nobody reads on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class HashSink:
    """Only the digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class TarWriter:
    """Collects small things, so that the sink sees few and large ones."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._size = 0
        self.entries = 0
        self.bytes = 0  # of files

    def add(
        self,
        name: bytes,
        kind: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
        mode: int | None = None,
    ) -> None:
        """A member; `size` bytes of data are to follow by `file`."""
        self.entries += 1
        self.bytes += size
        self._put(
            header(
                name,
                kind,
                mode=status.st_mode & 0o7777 if mode is None else mode,
                uid=status.st_uid,
                gid=status.st_gid,
                size=size,
                mtime_ns=status.st_mtime_ns,
                link=link,
                xattrs=xattrs,
                device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0),
            )
        )

    def file(self, fd: int, size: int) -> None:
        """The data of a file, exactly so many: one that grows meanwhile is cut, one that shrinks filled with zeros."""
        left = size
        while left:
            data = os.read(fd, min(left, BUFFER))
            if not data:
                data = bytes(min(left, BUFFER))
            left -= len(data)
            self._put(data)
        if size % BLOCK:
            self._put(padding(size))

    def finish(self) -> None:
        """Two empty blocks, and all that waits."""
        self._put(END)
        self._flush()

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)
        if self._size >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._sink.write(self._pending[0] if len(self._pending) == 1 else b"".join(self._pending))
            self._pending, self._size = [], 0


def header(
    name: bytes,
    kind: bytes = FILE,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime_ns: int = 0,
    link: bytes = b"",
    xattrs: Mapping[bytes, bytes] | None = None,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """The header of a member, with pax records before it where they are needed. Data of `size` bytes follow, and `padding`."""
    records: list[tuple[bytes, bytes]] = []
    prefix = b""
    short = name
    if len(name) > _NAME:
        prefix, short = _split(name)
        if not short:
            records.append((b"path", name))
            short = name[:_NAME]
    if len(link) > _NAME:
        records.append((b"linkpath", link))
    seconds, fraction = divmod(mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds < 8**11:
        records.append((b"mtime", _decimal(mtime_ns)))
    if size >= 8**11:
        records.append((b"size", b"%d" % size))
    if uid >= 8**7:
        records.append((b"uid", b"%d" % uid))
    if gid >= 8**7:
        records.append((b"gid", b"%d" % gid))
    for key in sorted(xattrs or ()):
        records.append((b"SCHILY.xattr." + key, (xattrs or {})[key]))
    own = _block(short, kind, mode, uid, gid, size, seconds, link[:_NAME], device, prefix)
    return _pax(name, records) + own if records else own


def padding(size: int) -> bytes:
    """What fills the last block of so many bytes."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """ustar's prefix and name; empty ones when it does not fit."""
    cut = name.find(b"/", len(name) - _NAME - 1, -1)
    return (name[:cut], name[cut + 1 :]) if 0 < cut <= _PREFIX else (b"", b"")


def _decimal(nanoseconds: int) -> bytes:
    sign, value = (b"-", -nanoseconds) if nanoseconds < 0 else (b"", nanoseconds)
    seconds, fraction = divmod(value, 1_000_000_000)
    return sign + (b"%d.%09d" % (seconds, fraction)).rstrip(b"0").rstrip(b".") if fraction else sign + b"%d" % seconds


def _pax(name: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(keyword, value) for keyword, value in records)
    leaf = name.rstrip(b"/").rpartition(b"/")[2]
    own = _block(b"PaxHeaders.0/" + leaf[: _NAME - 13], b"x", 0o644, 0, 0, len(data), 0, b"", (0, 0), b"")
    return own + data + padding(len(data))


def _record(keyword: bytes, value: bytes) -> bytes:
    """Its length counts itself."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, keyword, value)


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    text = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000%s%07o\0%07o\0%s" % (
        name.ljust(_NAME, b"\0"),
        mode,
        uid if uid < 8**7 else 0,
        gid if gid < 8**7 else 0,
        size if size < 8**11 else 0,
        seconds if 0 <= seconds < 8**11 else 0,
        kind,
        link.ljust(_NAME, b"\0"),
        bytes(64),
        *device,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )
    return b"%s%06o\0 %s" % (text[:148], sum(text), text[156:])
