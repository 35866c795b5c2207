"""Back-pressure, both ways, of one transport: what a server's and a client's connections have in common."""

from __future__ import annotations

import asyncio
import math

NEVER = math.inf


class Flow(asyncio.Protocol):
    """A protocol that can hold its peer back, and wait when its peer does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write_timeout: float) -> None:
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.held = False  # we hold the peer back
        self.blocked = False  # the peer holds us back
        self.write_deadline = NEVER
        self._write_timeout = write_timeout
        self._room: asyncio.Future[None] | None = None

    # The event loop's side.

    def pause_writing(self) -> None:
        self.blocked = True
        self.write_deadline = self.loop.time() + self._write_timeout

    def resume_writing(self) -> None:
        self.blocked = False
        self.write_deadline = NEVER
        self.wake()

    def wake(self) -> None:
        """There is room, or there never will be."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # Ours.

    def open_transport(self) -> asyncio.Transport:
        """The transport.

        Raises:
            ConnectionResetError: the peer is gone.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("The peer is gone.")
        return self.transport

    async def drained(self) -> None:
        """Wait for room to write. Raises ConnectionResetError when the peer is gone."""
        while self.blocked:
            await self._wait_for_room()
        self.open_transport()

    async def flushed(self) -> None:
        """Wait until nothing is left in the transport's buffer. Raises ConnectionResetError when the peer is gone."""
        transport = self.open_transport()
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            while self.transport is not None and transport.get_write_buffer_size():
                await self._wait_for_room()
        finally:
            transport.set_write_buffer_limits(high=high, low=low)
        await self.drained()

    async def _wait_for_room(self) -> None:
        self.open_transport()
        self._room = self.loop.create_future()
        try:
            await self._room
        finally:
            self._room = None

    def hold(self) -> None:
        """Read no more for now; nothing when it is so already."""
        if not self.held and self.transport is not None and not self.transport.is_closing():
            self.held = True
            self.transport.pause_reading()

    def release(self) -> None:
        """Read again; nothing when it is so already."""
        if self.held and self.transport is not None and not self.transport.is_closing():
            self.held = False
            self.transport.resume_reading()
