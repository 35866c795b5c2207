"""A process beside a container's own, as whoever started it holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cloudstead.engine.pods.api import Streams
from cloudstead.engine.pods.signals import number_of


class RunningExec:
    """An Execution of any driver; the driver says how to signal and resize, and calls `ended`."""

    def __init__(
        self,
        id: str,
        pid: int,
        streams: Streams,
        *,
        signal: Callable[[int], Awaitable[None]],
        resize: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self.id = id
        self.streams = streams
        self._pid = pid
        self._signal = signal
        self._resize = resize
        self._exit_code: int | None = None
        self._over = asyncio.Event()

    @property
    def pid(self) -> int:
        return 0 if self._over.is_set() else self._pid

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def ended(self, exit_code: int) -> None:
        if not self._over.is_set():
            self._exit_code = exit_code
            self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        assert self._exit_code is not None
        return self._exit_code

    async def resize(self, rows: int, columns: int) -> None:
        if not self._over.is_set():
            await self._resize(rows, columns)

    async def signal(self, name: str) -> None:
        await self._signal(number_of(name))
