"""Writing the long part of a long blob past the page cache.

What goes through the cache costs the kernel a fresh page and a copy for every 4 KiB, and more than hashing does where memory is virtual; a layer of some
gigabytes then stands in the memory of this machine in place of what its programs need. Direct writes take whole blocks from aligned memory only, so bytes
are gathered in a buffer of our own, and what is left over waits for the next batch, or is written in the usual way at the end.

Short blobs do not come here: they are likely to be read soon, and should be found in the cache.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

BLOCK = 4096  # of memory, offset and length: what every disk takes
BUFFER = 512 << 10


class DirectWriter:
    """Of one file, from a block's beginning on. Used by one thread at a time."""

    def __init__(self, path: Path, start: int) -> None:
        """
        Raises:
            OSError: the file system has none of this (EINVAL), or something is wrong.
        """
        self.written = start
        self._filled = 0
        self._buffer = mmap.mmap(-1, BUFFER)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write(self, data: bytes) -> None:
        """After an error nothing more may be written: what was taken and is not in the file is forgotten."""
        view, at = memoryview(data), 0
        while at < len(view):
            some = view[at : at + BUFFER - self._filled]
            self._buffer[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            at += len(some)
            if self._filled == BUFFER:
                self._spill(BUFFER)
                self._filled = 0

    def rest(self) -> bytes:
        """Write what are whole blocks; gives back what is less than one, which belongs at `written`."""
        whole = self._filled - self._filled % BLOCK
        self._spill(whole)
        rest = self._buffer[whole : self._filled]
        self._filled = 0
        return rest

    def _spill(self, size: int) -> None:
        at = 0
        try:
            while at < size:
                with memoryview(self._buffer) as view, view[at:size] as blocks:
                    done = os.pwrite(self._descriptor, blocks, self.written)
                if done <= 0 or done % BLOCK:  # a disk that is nearly full
                    raise OSError(errno.ENOSPC, "a block was written in part")
                at += done
                self.written += done
        except OSError:
            self._filled = 0
            raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._buffer.close()
