"""One build: its stages as tasks that wait for one another, and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudstead.engine.build import planning
from cloudstead.engine.build.api import BuildOptions
from cloudstead.engine.build.cache import BuildCache
from cloudstead.engine.build.cache_mounts import CacheMounts
from cloudstead.engine.build.model import Result
from cloudstead.engine.build.states import State
from cloudstead.engine.build.telling import Channel, Narrator
from cloudstead.engine.build.tree import Tree
from cloudstead.engine.build.variables import Arguments
from cloudstead.engine.images.api import Descriptor, Platform
from cloudstead.engine.images.records import rfc3339
from cloudstead.engine.images.transport import Transport
from cloudstead.engine.network.api import PodNetwork

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine

log = logging.getLogger(__name__)


class Build:
    """What there is while an image is built. `close` leaves nothing of it."""

    def __init__(
        self,
        id: str,
        engine: Engine,
        cache: BuildCache,
        cache_mounts: CacheMounts,
        transport: Transport,
        options: BuildOptions,
        plan: planning.Plan,
        tree: Tree,
        platform: Platform,
        network: PodNetwork,
        narrator: Narrator,
    ) -> None:
        self.id = id
        self.engine = engine
        self.cache = cache
        self.cache_mounts = cache_mounts
        self.transport = transport
        self.options = options
        self.plan = plan
        self.tree = tree
        self.platform = platform
        self.network = network
        self.narrator = narrator
        self.given = {name: value for name, value in options.build_args.items() if value is not None}
        self.consumed = {name for arg in plan.dockerfile.args for name, _ in arg.pairs}
        self.turns = asyncio.Semaphore(max(2, os.cpu_count() or 1))  # instructions at work at once
        self.exits = AsyncExitStack()
        self.arguments: dict[int, Arguments] = {}  # of stages, for those that begin from them
        self.pulled: set[str] = set()
        self.told: dict[str, Result] = {}  # what images of --cache-from say of their layers
        self._stages: dict[int, asyncio.Task[State]] = {}
        self._blobs: dict[str, asyncio.Task[Descriptor]] = {}
        self._later: set[asyncio.Task[Any]] = set()
        self._names = 0
        self.first_steps = plan.first_steps()
        self.steps = plan.steps
        self.kept = _ancestry(plan)

    @property
    def spool_folder(self) -> Path:
        return self.engine.data / "build"

    def now(self) -> str:
        return rfc3339(self.engine.clock.time())

    def name(self) -> str:
        """For a writable of this build's own."""
        self._names += 1
        return f"build-{self.id}-{self._names}"

    def hold(self, *chains: str) -> None:
        """Nobody takes these away while the build goes on."""
        self.exits.enter_context(self.cache.using(chains))

    @contextlib.asynccontextmanager
    async def writable(self, chains: tuple[str, ...]) -> AsyncIterator[str]:
        """A writable over a stack for a while: kept by who has it, or gone afterwards."""
        key = self.name()
        snapshots = self.engine.snapshots
        try:
            await snapshots.mount(key, chains, skeleton=False)
            yield key
        except BaseException:
            self.later(snapshots.remove(key))
            raise
        self.later(snapshots.remove(key))

    def stage(self, number: int, channel: Channel | None = None) -> asyncio.Task[State]:
        """A stage, begun when it was not."""
        from cloudstead.engine.build.stages import run_stage

        task = self._stages.get(number)
        if task is None:
            if number not in self.plan.bases:  # only a trigger of a base has named it
                planning.add(self.plan, number)
            if number in self.first_steps:
                channel = self.narrator.channel(number)
            assert channel is not None
            task = asyncio.ensure_future(run_stage(self, number, channel))
            self._stages[number] = task
        return task

    async def result(self) -> State:
        """Build what the target needs. The first stage that fails ends the others."""
        needed = [self.stage(number) for number in sorted(self.plan.bases)]
        target = self._stages[self.plan.target]
        waiting: set[asyncio.Task[State]] = set(needed)
        while not target.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return target.result()

    async def halt(self) -> None:
        """End the stages that are at work."""
        for task in self._stages.values():
            task.cancel()
        await asyncio.gather(*self._stages.values(), return_exceptions=True)

    def begin_blob(self, chain: str) -> asyncio.Task[Descriptor]:
        """Make a layer's blob while the build goes on."""
        task = self._blobs.get(chain)
        if task is None:
            task = self._blobs[chain] = asyncio.ensure_future(self.cache.blob(chain))
        return task

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Tidying up that nobody waits for but the end."""
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Task[Any]) -> None:
        self._later.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("tidying up after build %s, which the sweeper will do again: %s", self.id, error)

    async def close(self) -> None:
        """End what goes on, and take away what was made for the time of the build."""
        await self.halt()
        for task in self._blobs.values():
            task.cancel()
        await asyncio.gather(*self._blobs.values(), return_exceptions=True)
        await asyncio.gather(*self._later, return_exceptions=True)
        await self.exits.aclose()
        self.tree.close()


def _ancestry(plan: planning.Plan) -> set[int]:
    """The stages whose layers are in the final image."""
    found: set[int] = set()
    number: int | None = plan.target
    while number is not None and number not in found:
        found.add(number)
        number = plan.bases[number].stage
    return found
