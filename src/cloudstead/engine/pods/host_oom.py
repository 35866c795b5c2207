"""Telling at once that the kernel killed a process for memory: conmon makes a file `oom` in the bundle, and inotify(7) tells of it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct

from cloudstead.engine.pods.commands import ContainerOom
from cloudstead.engine.pods.host_state import Pods, Watched, note_oom

IN_CREATE, IN_ONLYDIR, IN_IGNORED = 0x100, 0x01000000, 0x8000
_event = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


def watch_oom(pods: Pods) -> None:
    """Watch the bundles of all containers that are watched."""
    Bundles(pods)


class Bundles:
    """One inotify descriptor for all."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._watches: dict[int, Watched] = {}
        self._numbers: dict[str, int] = {}
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        pods.on_watch.append(self._begun)
        pods.on_end.append(self._ended)
        pods.host.closing.append(self._close)

    def _begun(self, watched: Watched) -> None:
        if watched.record.holder:
            return
        number = _libc.inotify_add_watch(self._fd, os.fsencode(watched.files.bundle), IN_CREATE | IN_ONLYDIR)
        if number >= 0:  # without a free watch (fs.inotify.max_user_watches) only the end tells of it
            self._watches[number] = watched
            self._numbers[watched.record.id] = number

    def _ended(self, watched: Watched) -> None:
        number = self._numbers.pop(watched.record.id, None)
        if number is not None:
            self._watches.pop(number, None)
            _libc.inotify_rm_watch(self._fd, number)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        while data:
            number, _, _, length = _event.unpack_from(data)
            name = data[_event.size : _event.size + length].rstrip(b"\0")
            data = data[_event.size + length :]
            watched = self._watches.get(number)
            if watched is not None and name == b"oom":
                note_oom(watched.files, watched.record)
                self._pods.host.tell(ContainerOom(id=watched.record.id))

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
