"""A connection that has stopped speaking HTTP: what the `upgrade` callback of a response is given."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

HIGH_WATER = 256 << 10  # bytes that may wait to be read before the peer is held back


class Owner(Protocol):
    """The connection below, as the stream needs it."""

    transport: asyncio.Transport | None

    async def drained(self) -> None: ...


class RawStream:
    """Bytes both ways, each with back-pressure and its own end (half-close)."""

    def __init__(self, owner: Owner, first: bytes) -> None:
        self._owner = owner
        self._pieces: deque[bytes] = deque([first] if first else [])
        self._size = len(first)
        self._ended = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.when_draining: Callable[[], object] = lambda: None  # called when the server wants to stop, so that both sides can say goodbye

    @property
    def transport(self) -> asyncio.Transport:
        """The transport itself. To hand it to another protocol (`set_protocol`), take what has arrived already from `detach`.

        Raises:
            ConnectionResetError: the peer is gone.
        """
        if self._owner.transport is None:
            raise ConnectionResetError("The connection is closed.")
        return self._owner.transport

    def detach(self) -> bytes:
        """What has arrived and nobody has read; reading goes on with whatever protocol the transport is given next."""
        data, self._size = b"".join(self._pieces), 0
        self._pieces.clear()
        self._resume()
        return data

    async def read(self) -> bytes:
        """The next bytes; b"" when the peer sends no more."""
        while not self._pieces:
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size < HIGH_WATER // 2:
            self._resume()
        return piece

    async def write(self, data: bytes) -> None:
        """Send; returns when the peer takes it fast enough for more.

        Raises:
            ConnectionResetError: the peer is gone.
        """
        transport = self.transport
        if transport.is_closing():
            raise ConnectionResetError("The connection is closed.")
        transport.write(data)
        await self._owner.drained()

    def write_eof(self) -> None:
        """Say that nothing more will be sent, and go on reading. Over TLS there is no such thing and this does nothing."""
        transport = self._owner.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def hung_up(self) -> bool:
        """Whether the peer has closed both ways, not only its own (which `read` tells). Unix sockets know; over TCP only writing finds out."""
        transport = self._owner.transport
        if transport is None or transport.is_closing():
            return True
        connection = transport.get_extra_info("socket")
        if connection is None:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), 0)  # hanging up and errors are told whether asked for or not
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._owner.transport is not None:
            self._owner.transport.close()

    # What the connection tells.

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused and self._owner.transport is not None:
            self._paused = True
            self._owner.transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        if self._paused and self._owner.transport is not None and not self._owner.transport.is_closing():
            self._paused = False
            self._owner.transport.resume_reading()
