"""Reading a tar that anybody may have made, as it comes: nothing is written under the names in it, and nothing of size is held.

Understands what tar programs write today: ustar, GNU's long names and binary sizes, pax. Sparse files are refused. The daemon reads only the outer tar
of `docker load`; layers are unpacked elsewhere (snapshots/).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from cloudstead.engine.errors import InvalidArgument

BLOCK = 512
NAME_LIMIT = 4096
HEADER_LIMIT = 1 << 20  # bytes of pax records or of a long name
MEMBERS_LIMIT = 100_000
SIZE_LIMIT = 1 << 50
_ZERO = bytes(BLOCK)
_FILES = (b"0", b"\0", b"7")
_KINDS = {b"1": "hardlink", b"2": "symlink", b"3": "device", b"4": "device", b"5": "folder", b"6": "fifo"}


class Member:
    """One entry. Its `data` is to be read before the next entry is asked for; what is not read is passed over."""

    __slots__ = ("_reader", "kind", "link", "name", "size")

    def __init__(self, reader: _Bytes, name: str, kind: str, size: int, link: str) -> None:
        self._reader = reader
        self.name = name
        self.kind = kind  # "file", "hardlink", "symlink", "folder", "device", "fifo"
        self.size = size
        self.link = link

    async def data(self) -> AsyncIterator[bytes]:
        while piece := await self._reader.some():
            yield piece

    async def read(self, limit: int) -> bytes:
        """All of it. Raises InvalidArgument: it is larger than `limit`."""
        if self.size > limit:
            raise InvalidArgument(f"{self.name} in the archive has {self.size} bytes, more than {limit}")
        return b"".join([piece async for piece in self.data()])


class _Bytes:
    """The stream, cut as the reader wants it."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._held = memoryview(b"")
        self._left = 0  # of the member at hand
        self._padding = 0

    async def _more(self) -> bool:
        while not self._held:
            piece = await anext(self._stream, None)
            if piece is None:
                return False
            self._held = memoryview(piece)
        return True

    async def exactly(self, size: int) -> bytes:
        """Raises InvalidArgument: the stream ends before."""
        pieces, wanted = [], size
        while wanted:
            if not await self._more():
                raise InvalidArgument("the archive ends too early")
            pieces.append(bytes(self._held[:wanted]))
            self._held = self._held[wanted:]
            wanted -= len(pieces[-1])
        return b"".join(pieces)

    async def block(self) -> bytes | None:
        """None at the end of the stream."""
        return await self.exactly(BLOCK) if await self._more() else None

    def begin(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    async def some(self) -> bytes:
        """The next piece of the member at hand; empty when there is no more."""
        if not self._left:
            return b""
        if not await self._more():
            raise InvalidArgument("the archive ends too early")
        piece = bytes(self._held[: self._left])
        self._held = self._held[len(piece) :]
        self._left -= len(piece)
        return piece

    async def finish(self) -> None:
        """Pass over what is left of the member at hand."""
        while await self.some():
            pass
        padding, self._padding = self._padding, 0
        await self.exactly(padding)

    async def drain(self) -> None:
        while await self._more():
            self._held = memoryview(b"")


async def members(stream: AsyncIterator[bytes]) -> AsyncIterator[Member]:
    """The entries of a tar, which is read to the end of the stream.

    Raises:
        InvalidArgument: it is damaged, or ends too early.
    """
    reader = _Bytes(stream)
    extended: dict[str, str] = {}
    count = 0
    while (block := await reader.block()) is not None:
        if block == _ZERO:  # the end is two of them; what follows is padding
            await reader.drain()
            return
        count += 1
        if count > MEMBERS_LIMIT:
            raise InvalidArgument(f"the archive has more than {MEMBERS_LIMIT} entries")
        kind, size = block[156:157], _header_size(block)
        if kind in (b"x", b"g", b"L", b"K"):
            data = await _header_data(reader, size)
            if kind == b"x":
                extended |= _pax(data)
            elif kind != b"g":  # global ones say nothing of single entries that matters here
                extended["path" if kind == b"L" else "linkpath"] = _text(data.split(b"\0", 1)[0])
            continue
        if kind == b"S" or any(name.startswith("GNU.sparse") for name in extended):
            raise InvalidArgument("sparse files in the archive are not supported")
        member = _member(reader, block, kind, size, extended)
        extended = {}
        reader.begin(member.size)
        yield member
        await reader.finish()


async def _header_data(reader: _Bytes, size: int) -> bytes:
    if size > HEADER_LIMIT:
        raise InvalidArgument("the archive has a header that is too large")
    data = await reader.exactly(size)
    await reader.exactly(-size % BLOCK)
    return data


def _member(reader: _Bytes, block: bytes, kind: bytes, size: int, extended: dict[str, str]) -> Member:
    name = extended.get("path", "")
    if not name:
        name = _text(block[:100].split(b"\0", 1)[0])
        if block[257:263] == b"ustar\0" and block[345] != 0:
            name = _text(block[345:500].split(b"\0", 1)[0]) + "/" + name
    link = extended.get("linkpath") or _text(block[157:257].split(b"\0", 1)[0])
    if "size" in extended:
        if not extended["size"].isdecimal() or len(extended["size"]) > 20:
            raise InvalidArgument("the archive has an entry without a proper size")
        size = int(extended["size"])
    if size > SIZE_LIMIT or len(name) > NAME_LIMIT or len(link) > NAME_LIMIT:
        raise InvalidArgument("the archive has an entry with a name or size that is too large")
    if kind in _FILES and not (kind == b"\0" and name.endswith("/")):
        return Member(reader, name, "file", size, "")
    if kind not in _KINDS and kind not in _FILES:
        raise InvalidArgument(f"the archive has an entry of an unknown kind ({kind!r})")
    return Member(reader, name, _KINDS.get(kind, "folder"), 0 if kind in _KINDS else size, link)


def _header_size(block: bytes) -> int:
    """Also checks the header's own sum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if total != _number(block[148:156]):
        raise InvalidArgument("the archive is damaged, or it is no tar")
    return _number(block[124:136])


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: binary, the highest bit a mark; negative ones make no sense here
        if field[0] != 0x80:
            raise InvalidArgument("the archive has an entry without a proper size")
        return int.from_bytes(field[1:], "big")
    text = field.strip(b"\0 ")
    with contextlib.suppress(ValueError):
        if not text.strip(b"01234567"):
            return int(text or b"0", 8)
    raise InvalidArgument("the archive is damaged, or it is no tar")


def _pax(data: bytes) -> dict[str, str]:
    """Records "<length> <name>=<value>\\n"."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 8 or not len(length) + 2 < int(length) <= len(data):
            raise InvalidArgument("the archive has damaged pax records")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        name, equals, value = record.rstrip(b"\n").partition(b"=")
        if not equals:
            raise InvalidArgument("the archive has damaged pax records")
        found[_text(name)] = _text(value)
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
