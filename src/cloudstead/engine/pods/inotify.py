"""Tells when files grow: inotify(7), one instance for all of them, since a user may have only 128.

A file is named by a descriptor of it (through /proc/self/fd), because its path may be closed to this user. A user who may not watch it
(the kernel wants read permission once more) is told False, and has to look from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable

IN_MODIFY = 0x2
IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Growth:
    """Watches files; made when the first is watched, gone with the last."""

    def __init__(self) -> None:
        self._fd = -1
        self._watches: dict[int, list[Callable[[], None]]] = {}

    def watch(self, descriptor: int, grown: Callable[[], None]) -> Callable[[], None] | None:
        """Call back when the file has grown. Returns what ends it; None: it cannot be watched."""
        if self._fd < 0 and not self._open():
            return None
        number = _libc.inotify_add_watch(self._fd, f"/proc/self/fd/{descriptor}".encode(), IN_MODIFY)
        if number < 0:
            self._close_if_unused()
            return None
        callbacks = self._watches.setdefault(number, [])
        callbacks.append(grown)

        def end() -> None:
            if grown in callbacks:
                callbacks.remove(grown)
            if not callbacks and self._watches.get(number) is callbacks:
                del self._watches[number]
                _libc.inotify_rm_watch(self._fd, number)
                self._close_if_unused()

        return end

    def _open(self) -> bool:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            return False
        asyncio.get_running_loop().add_reader(self._fd, self._told)
        return True

    def _close_if_unused(self) -> None:
        if not self._watches and self._fd >= 0:
            with contextlib.suppress(RuntimeError):  # no loop runs any more
                asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _told(self) -> None:
        try:
            data = os.read(self._fd, 64 << 10)
        except (BlockingIOError, InterruptedError):
            return
        at, grown = 0, dict[int, None]()
        while at < len(data):
            number, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            grown[number] = None
        for number in grown:
            for callback in tuple(self._watches.get(number, ())):
                callback()
