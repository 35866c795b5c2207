"""What the instructions have in common: looking their result up, keeping it, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from cloudstead.engine.build import keys, states
from cloudstead.engine.build.model import Result
from cloudstead.engine.build.states import State
from cloudstead.engine.build.telling import Channel
from cloudstead.engine.build.variables import Arguments
from cloudstead.engine.build.work import Build
from cloudstead.engine.images.api import ExecConfig
from cloudstead.engine.snapshots.api import Unpacked
from cloudstead.kernel.clock import Clock

PATIENCE = 60.0  # seconds to wait for another build that does the same
USING_CACHE = " ---> Using cache\n"


@contextlib.asynccontextmanager
async def _turn(lock: asyncio.Lock, clock: Clock) -> AsyncIterator[None]:
    """The lock; but who has it may be a build whose client does not listen, and then the work is done twice."""
    try:
        async with clock.timeout(PATIENCE):
            await lock.acquire()
    except TimeoutError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


@dataclass(slots=True)
class Step:
    """An instruction at work on what there is."""

    build: Build
    channel: Channel
    stage: int
    state: State
    arguments: Arguments

    async def noted(self, created_by: str, config: ExecConfig) -> State:
        """No files: the same on the same image is told as done when it was first done, so that an image has the same id when nothing changed."""
        key = keys.step(self.state.image, created_by)
        found = None if self.build.options.no_cache else await self.build.cache.find(key)
        if found is not None:
            await self.channel.say(USING_CACHE)
        else:
            found = self.build.cache.keep(key, created_by, self.build.now(), layer=False)
        return states.after(self.state, created=found.created, created_by=created_by, config=config)

    async def layer(
        self, key: str, created_by: str, make: Callable[[], Awaitable[Unpacked | None]], *, config: ExecConfig | None = None
    ) -> State:
        """Files: taken from the cache, or made, by one build at a time."""
        return await self.with_layer(await self.result(key, created_by, make), created_by, config)

    async def result(self, key: str, created_by: str, make: Callable[[], Awaitable[Unpacked | None]]) -> Result:
        cache = self.build.cache
        async with _turn(cache.alone(key), self.build.engine.clock):
            found = await self.find(key, created_by)
            if found is not None:
                await self.channel.say(USING_CACHE)
                return found
            async with self.build.turns:
                made = await make()
            if made is not None and not made.entries:
                made = None
            return cache.keep(key, created_by, self.build.now(), parent=self.state.parent, made=made)

    async def find(self, key: str, created_by: str) -> Result | None:
        """In the cache, or in an image that the build names as one."""
        if self.build.options.no_cache:
            return None
        found = await self.build.cache.find(key)
        return found if found is not None else self.build.told.get(keys.history(self.state.parent, created_by))

    async def with_layer(self, result: Result, created_by: str, config: ExecConfig | None = None) -> State:
        if result.chain:
            self.build.hold(result.chain)
            if self.stage in self.build.kept:
                self.build.begin_blob(result.chain)
        return states.after(self.state, created=result.created, created_by=created_by, config=config, result=result)
