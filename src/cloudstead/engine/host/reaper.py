"""Ending the zombies that nobody waits for.

The host is a child subreaper: processes whose parents are gone become its children, so that it learns how they end. Whoever waits for a child does so within
moments of its end. What is still a zombie at the second look is nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

LOOK_EVERY = 5.0


class Reaper:
    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._handle = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def close(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)
        self.reap()

    def reap(self) -> None:
        """End those that were there the last time too."""
        zombies = _zombies()
        for pid in zombies & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        self._seen = zombies - self._seen


def _zombies() -> set[int]:
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return set()
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {int(pid) for pid in file.read().split() if _is_zombie(pid)}
    except (ChildProcessError, FileNotFoundError):
        return set()


def _is_zombie(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
