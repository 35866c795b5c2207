"""What a pull-through cache has under way and remembers: each fetch is shared by all who want the same, and goes on when they give up.

A tag was looked up over there when it came, or when it was last asked for; that is remembered in memory only, so the first pull after a restart may
look a day-old tag up once more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, NamedTuple

REMEMBERED = 100_000  # tags


class Wanted(NamedTuple):
    account: str
    region: str
    repository: str
    reference: str


# What this task fetches, and those that wait for it: caches that stand before each other would wait for ever.
_on_the_way: ContextVar[frozenset[Wanted]] = ContextVar("ecr_on_the_way", default=frozenset())


class Fetches:
    """A part of `Ecr`."""

    def __init__(self) -> None:
        self._tasks: dict[Wanted, asyncio.Task[None]] = {}
        self._due: OrderedDict[Wanted, float] = OrderedDict()  # when a tag is to be looked up again

    def start(self) -> None:
        """Nothing runs before somebody pulls."""

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def due(self, wanted: Wanted) -> float | None:
        return self._due.get(wanted)

    def remember(self, wanted: Wanted, due: float) -> None:
        self._due[wanted] = due
        self._due.move_to_end(wanted)
        if len(self._due) > REMEMBERED:
            self._due.popitem(last=False)

    async def share(self, wanted: Wanted, fetch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it, or wait for who does it already."""
        before = _on_the_way.get()
        if wanted in before:
            return
        task = self._tasks.get(wanted)
        if task is None:
            token = _on_the_way.set(before | {wanted})
            try:
                task = self._tasks[wanted] = asyncio.create_task(fetch(), name=f"ecr pull through {'/'.join(wanted)}")
            finally:
                _on_the_way.reset(token)
            task.add_done_callback(lambda done: self._ended(wanted, done))
        await asyncio.shield(task)

    def _ended(self, wanted: Wanted, task: asyncio.Task[None]) -> None:
        self._tasks.pop(wanted, None)
        if not task.cancelled():
            task.exception()  # seen: who asked may have gone
