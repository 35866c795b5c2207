"""Both ways between a client and a simulated process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cloudstead.engine.pods.simulated_programs import Process

Stream = Literal["stdout", "stderr"]


class SimulatedStreams:
    """Bounded by nothing: simulated output is short.

    Args:
        closes_input: whether `close_input` acts. Not when stdin is kept open for others.
    """

    def __init__(self, *, closes_input: bool = True) -> None:
        self._process: Process | None = None
        self._begun = asyncio.Event()
        self._closes_input = closes_input
        self._input_closed = False
        self._pieces: deque[tuple[Stream, bytes]] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    async def read(self) -> tuple[Stream, bytes] | None:
        while not self._pieces:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._pieces.popleft()

    async def write(self, data: bytes) -> None:
        await self._begun.wait()
        if self._process is not None and not self._input_closed:
            await self._process.feed(data)

    async def close_input(self) -> None:
        self._input_closed = True
        if self._process is not None and self._closes_input:
            self._process.close_input()

    async def close(self) -> None:
        self.end()

    def begin(self, process: Process) -> None:
        """The process that was waited for runs."""
        self._process = process
        self._begun.set()
        if self._input_closed and self._closes_input:
            process.close_input()

    def put(self, stream: Stream, data: bytes) -> None:
        if not self._ended:
            self._pieces.append((stream, data))
            self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._begun.set()
        self._changed.set()
