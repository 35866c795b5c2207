"""Bytes both ways between two connections that have stopped speaking HTTP, until both have ended or neither has said anything for too long."""

from __future__ import annotations

import asyncio

from cloudstead.http.upgrade import RawStream
from cloudstead.kernel.clock import Clock


async def splice(here: RawStream, there: RawStream, clock: Clock, idle: float) -> None:
    """
    Args:
        idle: seconds without a byte in either direction.
    """
    touched = clock.monotonic()

    async def carry(source: RawStream, sink: RawStream) -> None:
        nonlocal touched
        try:
            while piece := await source.read():
                touched = clock.monotonic()
                await sink.write(piece)
            sink.write_eof()
        except ConnectionResetError:
            source.close()

    async def watch() -> None:
        while (left := touched + idle - clock.monotonic()) > 0:
            await clock.sleep(left)

    tasks = [asyncio.ensure_future(each) for each in (carry(here, there), carry(there, here))]
    watcher = asyncio.ensure_future(watch())
    both = asyncio.ensure_future(asyncio.wait(tasks))
    try:
        await asyncio.wait([both, watcher], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, watcher, both):
            task.cancel()
        await asyncio.gather(*tasks, watcher, both, return_exceptions=True)
        there.close()
