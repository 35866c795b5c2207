"""What a client types, until the process takes it: bytes and sizes of the terminal, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.api import Execution
from cloudstead.services.ecs.sessions.messages import Size

log = logging.getLogger(__name__)

ROOM: Final = 256 << 10  # bytes that the process may leave unread
COST: Final = 64  # of one item, beside its bytes
SIGNALS: Final = {0x03: "SIGINT", 0x1C: "SIGQUIT"}  # what ^C and ^\ mean where there is no terminal to tell


class Input:
    def __init__(self, interactive: bool) -> None:
        self._interactive = interactive
        self._items: deque[bytes | Size] = deque()
        self._kept = 0
        self._came = asyncio.Event()

    @property
    def has_room(self) -> bool:
        return self._kept < ROOM

    def put(self, item: bytes | Size) -> None:
        self._items.append(item)
        self._kept += _cost(item)
        self._came.set()

    async def pump(self, execution: Execution) -> None:
        """Give all to a process, as fast as it takes it; has no end."""
        while True:
            while not self._items:
                self._came.clear()
                await self._came.wait()
            item = self._items.popleft()
            try:
                await self._give(execution, item)
            except EngineError as error:  # it has ended
                log.debug("input was lost: %s", error)
            self._kept -= _cost(item)

    async def _give(self, execution: Execution, item: bytes | Size) -> None:
        if isinstance(item, Size):
            if self._interactive and 0 < item.rows < 1 << 16 and 0 < item.cols < 1 << 16:
                await execution.resize(item.rows, item.cols)
        elif self._interactive:
            await execution.streams.write(item)
        else:
            for byte in item:
                if byte in SIGNALS:
                    await execution.signal(SIGNALS[byte])


def _cost(item: bytes | Size) -> int:
    return COST + (len(item) if isinstance(item, bytes) else 0)
