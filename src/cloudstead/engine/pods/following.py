"""Reading a container's log through descriptors that the host gives: from where it is asked for, across rotated files, on to the container's end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from cloudstead.engine.host.channel import close_all
from cloudstead.engine.pods import logfile
from cloudstead.engine.pods.inotify import Growth
from cloudstead.engine.pods.states import LogRecord
from cloudstead.kernel.clock import Clock

LOOK_AGAIN = 0.25  # seconds, where a file cannot be watched


class Following:
    """One reader. `turned` and `ended` are said to it from outside; it goes on reading what was written before.

    Args:
        open: the log's files as descriptors, the oldest first.
        live: whether more may come.
    """

    def __init__(self, open: Callable[[], Awaitable[list[int]]], growth: Growth, clock: Clock, *, live: bool) -> None:
        self._open = open
        self._growth = growth
        self._clock = clock
        self._live = live
        self._turned = False
        self._changed = asyncio.Event()
        self._files: list[int] = []

    def turned(self) -> None:
        """The log goes on in another file."""
        self._turned = True
        self._changed.set()

    def ended(self) -> None:
        """The container has ended and its log is complete."""
        self._live = False
        self._changed.set()

    async def read(self, *, since: float, until: float, tail: int | None) -> AsyncIterator[LogRecord]:
        self._files = await self._open()
        try:
            number, offset = await asyncio.to_thread(logfile.start_of, self._files, since=since, tail=tail)
            async for record in self._from(number, offset):
                if until and record.time > until:
                    return
                if record.time >= since:
                    yield record
        finally:
            close_all(self._files)
            self._files = []

    async def _from(self, number: int, offset: int) -> AsyncIterator[LogRecord]:
        reader = logfile.Reader()
        unwatch: Callable[[], None] | None = None
        watched = -1
        try:
            while True:
                live, turned = self._live, self._turned
                if self._files and live and watched != self._files[-1]:
                    if unwatch is not None:
                        unwatch()
                    watched = self._files[-1]
                    unwatch = self._growth.watch(watched, self._changed.set)
                self._changed.clear()
                while number < len(self._files):
                    while data := await asyncio.to_thread(os.pread, self._files[number], logfile.BLOCK, offset):
                        offset += len(data)
                        for record in reader.feed(data):
                            yield record
                    if number + 1 == len(self._files):
                        break
                    number, offset = number + 1, 0
                if turned:
                    self._turned = False
                    number, offset = await self._reopen(number, offset)
                elif not live:
                    return
                elif live is self._live and turned is self._turned:
                    await self._wait(watching=unwatch is not None)
        finally:
            if unwatch is not None:
                unwatch()

    async def _wait(self, *, watching: bool) -> None:
        if watching:
            await self._changed.wait()
            return
        try:
            async with self._clock.timeout(LOOK_AGAIN):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _reopen(self, number: int, offset: int) -> tuple[int, int]:
        """The files as they are now, and where in them we are: behind the one just read to its end, or, if that is gone, at the oldest."""
        files = await self._open()
        here = _identity(self._files[number]) if number < len(self._files) else None
        close_all(self._files)
        self._files = files
        for index, file in enumerate(files):
            if _identity(file) == here:
                return index, offset
        return 0, 0


def _identity(file: int) -> tuple[int, int]:
    about = os.fstat(file)
    return about.st_dev, about.st_ino
