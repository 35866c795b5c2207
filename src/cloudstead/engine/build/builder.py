"""Builds images: what `docker build` does, and whoever else needs an image from a Dockerfile.

    context ─▶ tree of files, Dockerfile ─▶ plan of stages ─▶ tasks, one a stage ─▶ chains of snapshots ─▶ blobs ─▶ image

A RUN is a container of the engine's driver; what it wrote is kept as a snapshot, which the next instruction lies over at once. COPY and ADD write theirs without a
container. The tars of layers are made beside, while the build goes on. A build that is cancelled, or whose daemon dies, leaves the steps that were
complete in the cache, and nothing else: the rest is named after it and swept.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cloudstead.engine.build import bases, context, planning, sources
from cloudstead.engine.build.api import BuildContext, BuildOptions, Built, CacheRecord, Output, Pruned, Tell
from cloudstead.engine.build.cache import BuildCache
from cloudstead.engine.build.cache_mounts import CacheMounts
from cloudstead.engine.build.instructions import Dockerfile, Label
from cloudstead.engine.build.run_step import OWNER
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.states import State
from cloudstead.engine.build.telling import Narrator, Quietly
from cloudstead.engine.build.variables import PREDEFINED, platform_arguments
from cloudstead.engine.build.work import Build
from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.images import digests, manifests, references
from cloudstead.engine.images.api import Image
from cloudstead.engine.images.transport import Transport
from cloudstead.engine.network.api import Attachment, NetworkSpec, PodNetwork, Subnet

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine

NETWORK = "build"  # the network that RUN has unless told otherwise
PREFIX = "build-"


class Builder:
    """All builds of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache = BuildCache(engine)
        self._cache_mounts = CacheMounts(engine)
        self._transport = Transport(engine.clock)
        self._running: dict[str, asyncio.Task[object]] = {}
        engine.images.add_roots(self._cache.roots)

    async def start(self) -> None:
        await self.sweep()

    async def stop(self) -> None:
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._transport.close()

    async def build(self, context: BuildContext, options: BuildOptions, tell: Tell) -> Image:
        _check(options)
        id = secrets.token_hex(6)
        task = asyncio.current_task()
        assert task is not None
        self._running[id] = task
        try:
            return await self._build(id, context, options, tell)
        finally:
            del self._running[id]

    async def _build(self, id: str, given: BuildContext, options: BuildOptions, tell: Tell) -> Image:
        engine = self._engine
        own = manifests.host_platform()
        platform = bases.parse_platform(options.platform) if options.platform else own
        opened = await context.take_in(given, options.dockerfile, engine.data / "build", self._transport)
        quietly = Quietly(tell)
        narrator = Narrator(quietly if options.quiet else tell, lambda: Spool(engine.data / "build"))
        try:
            dockerfile = _with_labels(opened.dockerfile, options)
            arguments = {name: value for name, value in options.build_args.items() if value is not None}
            plan = planning.make(dockerfile, options.target, arguments, platform_arguments(platform, own))
            network = options.network or await self._network()
        except BaseException:
            opened.tree.close()
            raise
        build = Build(id, engine, self._cache, self._cache_mounts, self._transport, options, plan, opened.tree, platform, network, narrator)
        try:
            narrator.open(list(plan.bases))
            await _told(dockerfile, narrator.channel(min(plan.bases)).say)
            await sources.look_at(build)
            return await _first(self._carry_out(build, tell), narrator)
        except EngineError:
            if options.quiet:
                await quietly.confess()
            raise
        finally:
            await _to_its_end(_close(build, narrator))

    async def _carry_out(self, build: Build, tell: Tell) -> Image:
        try:
            state = await build.result()
        except EngineError:
            await build.halt()
            await build.narrator.drain()
            raise
        image = await self._put(build, state)
        await build.narrator.drain()
        await tell(Built(image.id))
        short = digests.short(image.id)
        if build.options.quiet:
            await tell(Output(f"{image.id}\n"))
            return image
        unused = sorted(set(build.given) - build.consumed - PREDEFINED)
        if unused:
            await tell(Output(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"))
        await tell(Output(f"Successfully built {short}\n"))
        for tag in dict.fromkeys(build.options.tags):
            await tell(Output(f"Successfully tagged {references.parse(tag).with_default_tag().familiar}\n"))
        return image

    async def _put(self, build: Build, state: State) -> Image:
        """The image in the store, under its names."""
        images, tags = self._engine.images, tuple(dict.fromkeys(build.options.tags))
        if not state.image:
            raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
        with contextlib.suppress(NotFound):
            images.resolve(state.image)
            for tag in tags:
                images.tag(state.image, tag)
            await self._engine.store.settled()
            return images.resolve(state.image)
        blobs = await asyncio.gather(*(build.begin_blob(chain) for chain in state.layers))
        layers = (*(state.base.layers if state.base is not None else ()), *blobs)
        return await images.put_image(state.config, layers, references=tags, parent=state.base.id if state.base is not None else "")

    async def _network(self) -> PodNetwork:
        """The builder's own: it leads out, and nothing else is in it."""
        networks = self._engine.networks
        async with self._cache.alone("network"):
            try:
                networks.get(NETWORK)
            except NotFound:
                cidr = networks.free_cidr()
                await networks.create(
                    NetworkSpec(
                        id=NETWORK, owner=OWNER, name=NETWORK, subnets=(Subnet(id=NETWORK, cidr=cidr),), members_talk=False, names=False
                    )
                )
        return PodNetwork(mode="vpc", attachments=(Attachment(network=NETWORK),))

    # what is kept

    async def records(self) -> list[CacheRecord]:
        return [*self._cache.records(), *await self._cache_mounts.records()]

    async def prune(self, *, all: bool = False, unused_for: float = 0.0, keep_bytes: int = 0) -> Pruned:
        results = await self._cache.prune(all=all, unused_for=unused_for, keep_bytes=keep_bytes)
        mounts = Pruned() if keep_bytes else await self._cache_mounts.prune(unused_for=unused_for)
        await self._engine.store.settled()
        return Pruned(results.records + mounts.records, results.reclaimed + mounts.reclaimed)

    async def sweep(self) -> list[str]:
        """Remove what builds left that are no more."""
        told: list[str] = []
        self._cache.forget_unused()
        if self._engine.why_not:
            return told
        for pod in self._engine.pods.list_pods(OWNER):
            if not self._is_running(pod.id):
                await self._engine.pods.remove_pod(pod.id, force=True)
                told.append(f"removed {pod.id}, the container of a build that is no more")
        owned = self._cache_mounts.owned()
        for key in await self._engine.snapshots.list_writables():
            if key.startswith(PREFIX) and key not in owned and not self._is_running(key):
                await self._engine.snapshots.remove(key)
                told.append(f"removed {key}, the files of a build that is no more")
        return told

    def _is_running(self, name: str) -> bool:
        return name.removeprefix(PREFIX).partition("-")[0] in self._running


async def _first(work: Coroutine[object, object, Image], narrator: Narrator) -> Image:
    """The work's result, unless nobody listens any more before."""
    task = asyncio.ensure_future(work)
    waiting: list[asyncio.Task[Any]] = [task, *([narrator.broken] if narrator.broken is not None else [])]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and narrator.broken is not None:
            narrator.broken.result()  # raises what `tell` raised; everything told is no reason to stop
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _close(build: Build, narrator: Narrator) -> None:
    await build.close()
    await narrator.close()


async def _to_its_end(work: Coroutine[object, object, None]) -> None:
    """Tidying up goes on when its caller is cancelled once more."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _told(dockerfile: Dockerfile, say: Callable[[str], Awaitable[None]]) -> None:
    for warning in dockerfile.warnings:
        await say(f"[WARNING]: {warning}\n")
    if dockerfile.warnings:
        await say("[WARNING]: Empty continuation lines will become errors in a future release.\n")


def _with_labels(dockerfile: Dockerfile, options: BuildOptions) -> Dockerfile:
    """`--label` is one more instruction at the end of the target."""
    if not options.labels:
        return dockerfile
    pairs = tuple(sorted(options.labels.items()))
    target = planning.find_target(dockerfile, options.target)
    text = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
    stages = list(dockerfile.stages)
    stages[target] = replace(stages[target], commands=(*stages[target].commands, Label(pairs=pairs, literal=True, original=text, line=0)))
    return replace(dockerfile, stages=tuple(stages))


def _check(options: BuildOptions) -> None:
    """Refuse what is not done."""
    for tag in options.tags:
        if references.parse(tag).digest:
            raise InvalidArgument("build tag cannot contain a digest")
    if options.squash:
        raise Unsupported("squash is not done: layers of builds are kept apart")
    if options.outputs:
        raise Unsupported("outputs other than an image are not done")
    if options.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation: {options.isolation}")
    if options.cgroup_parent:
        raise Unsupported("a parent cgroup cannot be chosen: containers of builds are in the engine's own")
