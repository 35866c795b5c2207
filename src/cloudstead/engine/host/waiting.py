"""Waiting for descriptors without holding up the loop: pipes of children, processes that end."""

from __future__ import annotations

import asyncio
import contextlib
import os

PIECE = 1 << 20


async def until_readable(fd: int, within: float | None = None) -> bool:
    """False: not within so many seconds."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        async with asyncio.timeout(within):
            await done.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
    return True


async def read_pipe(fd: int, *, most: int, line: bool = False) -> bytes:
    """All that comes through a pipe, or with `line` until there is a whole line. No more than a piece beyond `most` bytes."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    pieces: list[bytes] = []
    done: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        with contextlib.suppress(BlockingIOError):
            piece = os.read(fd, PIECE)
            pieces.append(piece)
            over = not piece or (line and b"\n" in piece) or sum(map(len, pieces)) > most
            if over and not done.done():
                done.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await done
    finally:
        loop.remove_reader(fd)
    return b"".join(pieces)
