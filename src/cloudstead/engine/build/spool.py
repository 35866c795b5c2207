"""Bytes on their way: what a client sends or a root file system gives, kept in a file without a name until the build is over.

The file is deleted the moment it is made, so that nothing of a build that dies stays.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from cloudstead.engine.errors import InvalidArgument, NoSpace
from cloudstead.engine.threads import in_thread

PIECE = 1 << 20
_ENOSPC = 28


class Spool:
    """Written once, then read from any place by any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600) if hasattr(os, "O_TMPFILE") else _nameless(folder)
        self.size = 0

    async def fill(self, stream: AsyncIterator[bytes], *, limit: int, what: str) -> None:
        """Take all of a stream.

        Raises:
            InvalidArgument: it is longer than the limit.
            NoSpace: the disk is full.
        """
        waiting, size = [], 0
        async for piece in stream:
            waiting.append(piece)
            size += len(piece)
            if self.size + size > limit:
                raise InvalidArgument(f"{what} is larger than {limit} bytes")
            if size >= PIECE:
                await in_thread(self.write, b"".join(waiting))
                waiting, size = [], 0
        if size:
            await in_thread(self.write, b"".join(waiting))

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                self.size += written
                view = view[written:]
        except OSError as error:
            if error.errno == _ENOSPC:
                raise NoSpace("no space left on device while the build's files were taken in") from None
            raise

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = os.pread(self._fd, min(size, PIECE), offset)
            if not piece:
                raise InvalidArgument("the archive is cut off")
            yield piece
            offset += len(piece)
            size -= len(piece)

    def sha256(self, offset: int, size: int) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces(offset, size):
            digest.update(piece)
        return digest.hexdigest()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _nameless(folder: Path) -> int:
    """For file systems without O_TMPFILE."""
    fd, name = tempfile.mkstemp(dir=folder)
    os.unlink(name)
    return fd


async def once(data: bytes) -> AsyncIterator[bytes]:
    """A stream of one piece."""
    yield data
