"""Telling at once that the kernel killed a process for memory: conmon makes a file `oom` in the bundle, and inotify(7) tells of it."""

from __future__ import annotations

import asyncio

from cloudstead.engine.linux import IN_CREATE, IN_ONLYDIR, Inotify
from cloudstead.engine.pods.commands import ContainerOom
from cloudstead.engine.pods.host_state import Pods, Watched, note_oom


def watch_oom(pods: Pods) -> None:
    """Watch the bundles of all containers that are watched."""
    Bundles(pods)


class Bundles:
    """One inotify descriptor for all."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._watches: dict[int, Watched] = {}
        self._numbers: dict[str, int] = {}
        self._inotify = Inotify()
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._readable)
        pods.on_watch.append(self._begun)
        pods.on_end.append(self._ended)
        pods.host.closing.append(self._close)

    def _begun(self, watched: Watched) -> None:
        if watched.record.holder:
            return
        number = self._inotify.add(str(watched.files.bundle), IN_CREATE | IN_ONLYDIR)
        if number is not None:  # without a free watch only the end tells of it
            self._watches[number] = watched
            self._numbers[watched.record.id] = number

    def _ended(self, watched: Watched) -> None:
        number = self._numbers.pop(watched.record.id, None)
        if number is not None:
            self._watches.pop(number, None)
            self._inotify.remove(number)

    def _readable(self) -> None:
        for number, name in self._inotify.read():
            watched = self._watches.get(number)
            if watched is not None and name == b"oom":
                note_oom(watched.files, watched.record)
                self._pods.host.tell(ContainerOom(id=watched.record.id))

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify.fd)
        self._inotify.close()
