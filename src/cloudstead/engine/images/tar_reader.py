"""The outer tar of `docker load`, read as it comes over the network: nothing is written under the names in it, and nothing of size is held.

What headers mean is `tar/reader.py`'s business; this is its asynchronous half. Layers inside are unpacked elsewhere (snapshots/).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from cloudstead.engine.errors import InvalidArgument, NotPermitted, Unsupported
from cloudstead.engine.tar.reader import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    LINK,
    LONGEST_HEADER,
    PASSED_OVER,
    PRECEDING,
    SYMLINK,
    ZERO,
    Entry,
    Preceding,
    parse,
)

NAME_LIMIT = 4096
MEMBERS_LIMIT = 100_000
SIZE_LIMIT = 1 << 50
_KINDS = {FILE: "file", LINK: "hardlink", SYMLINK: "symlink", CHARACTER: "device", BLOCK_DEVICE: "device", FOLDER: "folder", FIFO: "fifo"}
P = ParamSpec("P")
T = TypeVar("T")


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

    async def header_data(self, size: int) -> bytes:
        if size > LONGEST_HEADER:
            raise InvalidArgument("the archive has a header that is too large")
        data = await self.exactly(size)
        await self.exactly(-size % BLOCK)
        return data

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
        InvalidArgument: it is damaged, ends too early, or has what no archive of images has.
    """
    reader = _Bytes(stream)
    before = Preceding()
    count = 0
    while (block := await reader.block()) is not None:
        if block == ZERO:  # the end is two of them; what follows is padding
            await reader.drain()
            break
        count += 1
        if count > MEMBERS_LIMIT:
            raise InvalidArgument(f"the archive has more than {MEMBERS_LIMIT} entries")
        entry = _understood(parse, block)
        if entry.kind in PRECEDING:
            _understood(before.add, entry.kind, await reader.header_data(entry.size))
        elif entry.kind in PASSED_OVER:
            await reader.header_data(entry.size)
        else:
            _understood(before.complete, entry)
            before = Preceding()
            member = _member(reader, entry)
            reader.begin(member.size)
            yield member
            await reader.finish()
    if before.any:
        raise InvalidArgument("the archive ends after a header that announces another one")


def _understood(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Nothing of the outer archive is unpacked: what would do harm in a layer is here no more than wrong."""
    try:
        return function(*arguments, **named)
    except (NotPermitted, Unsupported) as error:
        raise InvalidArgument(error.message) from None


def _member(reader: _Bytes, entry: Entry) -> Member:
    name, link = os.fsdecode(entry.name), os.fsdecode(entry.link)
    if entry.size > SIZE_LIMIT or len(name) > NAME_LIMIT or len(link) > NAME_LIMIT:
        raise InvalidArgument("the archive has an entry with a name or size that is too large")
    return Member(reader, name, _KINDS[entry.kind], entry.size, link if entry.kind in (LINK, SYMLINK) else "")
