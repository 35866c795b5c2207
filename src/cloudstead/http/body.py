"""A body while it arrives: the connection feeds, whoever reads it takes, and neither runs far ahead of the other."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

PIECE_COST = 64  # what an object of its own costs: a flood of one-byte chunks must count as more than its bytes
JOIN_BELOW = 64 << 10  # smaller pieces that wait together are handed over as one


class Feeder(Protocol):
    """The connection below, as a body needs it."""

    def body_wanted(self) -> None:
        """The handler waits for bytes that have not come."""

    def body_taken(self) -> None:
        """There is room again."""

    def body_kept(self, size: int) -> None:
        """So many bytes that were taken stay in memory until the request is answered.

        Raises:
            Throttled: there are too many of those.
        """


class EmptyBody:
    """The body of a request that has none."""

    __slots__ = ()
    trailers: list[tuple[str, str]] = []

    async def next(self) -> bytes:
        return b""

    def keep(self, size: int) -> None:
        """There is nothing to keep."""


EMPTY = EmptyBody()


class IncomingBody:
    """A body on a connection."""

    __slots__ = ("_error", "_feeder", "_high_water", "_pieces", "_size", "_waiter", "_wanted", "complete", "continue_expected", "discarding", "kept", "received", "trailers")  # fmt: skip

    def __init__(self, feeder: Feeder, high_water: int, *, continue_expected: bool = False) -> None:
        self._feeder = feeder
        self._high_water = high_water
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 0  # bytes that whoever waits wants to have at once
        self._error: Exception | None = None
        self.complete = False
        self.continue_expected = continue_expected  # the client waits for "100 Continue" before it sends
        self.discarding = False
        self.received = 0
        self.kept = 0  # bytes that `keep` was told of
        self.trailers: list[tuple[str, str]] = []

    @property
    def full(self) -> bool:
        return self._size > self._high_water

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    async def next(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            await self._more(0)
        pieces = self._pieces
        if len(pieces) == 1 or self._size > JOIN_BELOW:
            piece = pieces.popleft()
            self._size -= len(piece) + PIECE_COST
        else:
            piece = b"".join(pieces)
            pieces.clear()
            self._size = 0
        if not self.complete:
            self._feeder.body_taken()
        return piece

    async def gather(self, size: int) -> list[bytes]:
        """All pieces that have come, as they came, once they are so many bytes or the last ones; none at the end.

        For who takes long bodies and wants to be woken seldom. Twice as much is held meanwhile. Raises as `next`.
        """
        if self._high_water < 2 * size:
            self._high_water = 2 * size
            self._feeder.body_taken()  # there is room now
        while self._size < size and not self.complete and self._error is None:
            await self._more(size)
        if not self._pieces and self._error is not None:
            raise self._error
        pieces = list(self._pieces)
        self._pieces.clear()
        self._size = 0
        if not self.complete:
            self._feeder.body_taken()
        return pieces

    async def _more(self, wanted: int) -> None:
        if self._waiter is not None:
            raise RuntimeError("two readers of one body")
        self._waiter = asyncio.get_running_loop().create_future()
        self._wanted = wanted
        try:
            self._feeder.body_wanted()
            await self._waiter
        finally:
            self._waiter = None

    def keep(self, size: int) -> None:
        self._feeder.body_kept(size)
        self.kept += size

    # The connection's side.

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if self.discarding:
            return
        self._pieces.append(data)
        self._size += len(data) + PIECE_COST
        if self._size >= self._wanted:
            self._wake()
        elif self._waiter is not None:
            self._feeder.body_wanted()  # it comes slowly, but it comes

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest will not come. What is here already can still be read; then the error is raised."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def discard(self) -> None:
        """Nobody will read this."""
        self.discarding = True
        self._pieces.clear()
        self._size = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
