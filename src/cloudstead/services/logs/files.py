"""Reading files by position with a bounded number of open descriptors."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

MOST_OPEN = 64


class _Descriptor:
    """Closes itself when the last reader lets go, so that a file may be forgotten or deleted while it is being read."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd >= 0:
            os.close(fd)


class Files:
    """Files below one folder, by relative name, the least recently read closed first. Safe to use from several threads."""

    def __init__(self, folder: Path, most_open: int = MOST_OPEN) -> None:
        self.folder = folder
        self._most_open = most_open
        self._open: OrderedDict[str, _Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes.

        Raises:
            FileNotFoundError: there is no such file (any more).
            EOFError: it is shorter than that.
        """
        descriptor = self._descriptor(name)
        data = os.pread(descriptor.fd, length, offset)
        if len(data) != length:
            raise EOFError(f"{name} ends before byte {offset + length}")
        return data

    def size(self, name: str) -> int:
        descriptor = self._descriptor(name)  # held until the call is over: another thread may forget the file now
        return os.fstat(descriptor.fd).st_size

    def forget(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def close(self) -> None:
        with self._lock:
            self._open.clear()

    @property
    def open_count(self) -> int:
        return len(self._open)

    def _descriptor(self, name: str) -> _Descriptor:
        with self._lock:
            found = self._open.get(name)
            if found is None:
                found = self._open[name] = _Descriptor(self.folder / name)
                if len(self._open) > self._most_open:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(name)
            return found


def sync_folder(folder: Path) -> None:
    """Make new, renamed and deleted names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
