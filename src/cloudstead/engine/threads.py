"""Blocking work for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call it in a thread and wait for its end, also when cancelled: what it uses (a descriptor, a hash) is free when this returns or raises."""
    job = asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **named))
    try:
        await asyncio.wait([job])
    except asyncio.CancelledError:
        await asyncio.wait([job])
        job.exception()  # seen
        raise
    return job.result()
