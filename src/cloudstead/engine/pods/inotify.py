"""Tells when files grow.

A file is named by a descriptor of it (through /proc/self/fd), because its path may be closed to this user. A user who may not watch it
(the kernel wants read permission once more) is told so, and has to look from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from cloudstead.engine.linux import IN_MODIFY, Inotify


class Growth:
    """Watches files by one inotify(7) descriptor, made when the first is watched, gone with the last."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._watches: dict[int, list[Callable[[], None]]] = {}

    def watch(self, descriptor: int, grown: Callable[[], None]) -> Callable[[], None] | None:
        """Call back when the file has grown. Returns what ends it; None: it cannot be watched."""
        inotify = self._inotify or self._open()
        number = None if inotify is None else inotify.add(f"/proc/self/fd/{descriptor}", IN_MODIFY)
        if inotify is None or number is None:
            self._close_if_unused()
            return None
        callbacks = self._watches.setdefault(number, [])
        callbacks.append(grown)

        def end() -> None:
            if grown in callbacks:
                callbacks.remove(grown)
            if not callbacks and self._watches.get(number) is callbacks:
                del self._watches[number]
                inotify.remove(number)
                self._close_if_unused()

        return end

    def _open(self) -> Inotify | None:
        try:
            self._inotify = Inotify()
        except OSError:
            return None
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._told)
        return self._inotify

    def _close_if_unused(self) -> None:
        if not self._watches and self._inotify is not None:
            with contextlib.suppress(RuntimeError):  # no loop runs any more
                asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _told(self) -> None:
        if self._inotify is None:
            return
        for number in dict.fromkeys(number for number, _ in self._inotify.read()):
            for callback in tuple(self._watches.get(number, ())):
                callback()
