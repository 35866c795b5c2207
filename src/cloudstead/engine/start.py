"""Puts an engine together, when the first who needs it comes, and keeps it in order while it runs.

Nothing is started for a cloud that never runs a container: no process, no table, no namespace. Where there are pods of an earlier run the engine
starts with the daemon, because their ends are to be told and their restart policies kept.

The images are a stage of their own: a registry needs the content store and no container, so it has them without an engine host being started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cloudstead.engine.engine import Engine
from cloudstead.engine.errors import EngineError, Unsupported
from cloudstead.engine.host.layout import Layout
from cloudstead.http.messages import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.build.builder import Builder
    from cloudstead.engine.dockerapi.api import DockerApi
    from cloudstead.engine.host.client import HostClient
    from cloudstead.engine.images.api import OwnRegistries
    from cloudstead.engine.images.images import LocalImages
    from cloudstead.engine.registry.catalog import Catalog
    from cloudstead.engine.snapshots.snapshots import LocalSnapshots
    from cloudstead.kernel.clock import Clock
    from cloudstead.kernel.store import Store

log = logging.getLogger("cloudstead.engine")

SWEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the daemon tells its engine."""

    data: Path
    enabled: bool = True
    runtime: str = "runc"  # the OCI runtime of containers that name none
    host_socket: Path | None = None  # a host that root started by itself; None: a child of ours
    registries: tuple[str, ...] = ()  # that are spoken to without TLS
    options: dict[str, str] = field(default_factory=dict)  # of the host: docs/engine.md


@dataclass(slots=True)
class Stock:
    """The images and registries, and what they need of an engine host that may not have been started."""

    host: HostClient
    snapshots: LocalSnapshots
    images: LocalImages
    registries: Catalog


class EngineRoom:
    """The place of an engine that may not have been started yet."""

    def __init__(self, settings: EngineSettings, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.engine: Engine | None = None
        self.own: OwnRegistries | None = None  # the registries that this process is
        self._failure = ""  # why it could not be started the last time
        self._builder: Builder | None = None
        self._docker: DockerApi | None = None
        self._stock: Stock | None = None
        self._starting: asyncio.Future[Engine] | None = None
        self._sweeping: list[asyncio.Task[None]] = []

    def images(self) -> LocalImages:
        """The images, with the content store; no engine is started for them."""
        return self._stocked().images

    def registries(self) -> Catalog:
        """What the registries have. With the images, whoever needs which: nothing is collected while one of them does not know what it needs."""
        return self._stocked().registries

    def _stocked(self) -> Stock:
        if self._stock is None:
            self._stock = stock(self.settings, self.store, self.clock)
            if self.own is not None:
                self._stock.images.know_own(self.own)
            self._sweep_each_minute(self._stock.registries, self._stock.images)
        return self._stock

    async def ready(self) -> Engine:
        """The engine, started if it is not. Callers at the same time share one start; a failed one is tried again."""
        if self.engine is not None:
            return self.engine
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, _: asyncio.Future[Engine]) -> None:
        self._starting = None

    async def begin(self) -> None:
        """At the daemon's start: where an earlier run left pods, the engine goes on with them."""
        from cloudstead.engine.pods.model import PODS

        self.store.attach([PODS])
        if next(iter(self.store.table(PODS).scan()), None) is None:
            return
        try:
            await self.ready()
        except EngineError as error:  # the rest of the cloud works without; whoever needs a container tries again
            log.warning("the engine cannot go on with its containers: %s", error.message)

    async def stop(self) -> None:
        """Containers go on."""
        if self._starting is not None:
            with contextlib.suppress(Exception):
                await self._starting
        for sweeping in self._sweeping:
            sweeping.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)
        if self._docker is not None:
            await self._docker.stop()
        if self._builder is not None:
            await self._builder.stop()
        engine, self.engine = self.engine, None
        if engine is not None:
            await close(engine)
        if self._stock is not None:
            await self._stock.images.stop()

    def describe(self) -> dict[str, str | int]:
        """For the status: whether it has been started, why it runs nothing, how many containers there are."""
        if self.engine is None:
            return {"state": self._failure or "not needed yet"}
        if self.engine.why_not:
            return {"state": self.engine.why_not}
        states = [container.state for pod in self.engine.pods.list_pods() for container in pod.containers]
        return {"state": "running", "containers": len(states), "running": states.count("running") + states.count("paused")}

    async def docker(self, request: HttpRequest) -> HttpResponse:
        """The handler of the Docker Engine API's socket."""
        try:
            await self.ready()
        except EngineError as error:
            from cloudstead.engine.dockerapi.answers import error_answer
            from cloudstead.engine.dockerapi.errors import status_of

            return error_answer(status_of(error), error.message)
        assert self._docker is not None  # it is opened with the engine
        return await self._docker(request)

    async def _open_docker(self, engine: Engine) -> None:
        from cloudstead.engine.build.builder import Builder
        from cloudstead.engine.dockerapi.api import DockerApi

        builder = self._builder = Builder(engine)
        docker = self._docker = DockerApi(engine, builder)
        if not engine.why_not:
            await builder.start()
        await docker.start()

    async def _start(self) -> Engine:
        self._failure = ""
        try:
            engine = await open_engine(self.settings, self._stocked())
        except EngineError as error:
            self._failure = error.message
            raise
        try:
            await self._open_docker(engine)
        except BaseException:
            await close(engine)
            raise
        self.engine = engine
        if not engine.why_not:
            self._sweep_each_minute(engine.pods, engine.networks, engine.volumes, self._builder, engine.snapshots)
        return engine

    def _sweep_each_minute(self, *parts: Sweeps | None) -> None:
        self._sweeping.append(asyncio.ensure_future(self._sweep_again(parts)))

    async def _sweep_again(self, parts: tuple[Sweeps | None, ...]) -> None:
        while True:
            await sweep(*parts)
            await self.clock.sleep(SWEEP_SECONDS)


def stock(settings: EngineSettings, store: Store, clock: Clock) -> Stock:
    """The images and registries, ready to be used."""
    from cloudstead.engine.host.client import HostClient
    from cloudstead.engine.images.images import LocalImages
    from cloudstead.engine.registry.catalog import Catalog
    from cloudstead.engine.snapshots.snapshots import LocalSnapshots

    host = HostClient(Layout(settings.data), runtime=settings.runtime, options=settings.options)
    snapshots = LocalSnapshots(host)
    images = LocalImages(settings.data, store, clock, snapshots, insecure_registries=settings.registries)
    images.prepare()
    return Stock(host, snapshots, images, Catalog(store, clock, images))


async def open_engine(settings: EngineSettings, stock: Stock) -> Engine:
    """All parts, started. Where no host can be, they are there too, and refuse with the reason what needs it."""
    from cloudstead.engine.network.networks import LocalNetworks
    from cloudstead.engine.pods.oci import OciDriver
    from cloudstead.engine.volumes.volumes import Volumes

    host, images = stock.host, stock.images
    why_not = await _start_host(host, settings)
    store, clock = images.store, images.clock
    networks = LocalNetworks(store, clock, host)
    volumes = Volumes(store, clock, host)
    pods = OciDriver(store, clock, host, networks, volumes, stock.snapshots)
    engine = Engine(settings.data, store, clock, host, why_not, stock.snapshots, images, networks, volumes, pods)
    try:
        for part in (volumes, networks):
            await part.start()
        if not why_not:
            await pods.start_driver()
    except BaseException:
        await close(engine)
        raise
    return engine


async def _start_host(host: object, settings: EngineSettings) -> str:
    """Returns why there is none; empty when there is."""
    from cloudstead.engine.host.client import HostClient

    assert isinstance(host, HostClient)
    if not settings.enabled:
        host.why_not = "this Cloudstead was started with --engine off"
    elif settings.host_socket is not None:
        await host.connect(settings.host_socket)
    elif why_not := host.layout.why_not_ours:
        host.why_not = why_not
    else:
        try:
            await host.start()
        except Unsupported as error:
            host.why_not = (
                f"containers need root's rights, and this Cloudstead runs without them; without root they cannot run either: {error.message}. Mend that, start "
                "Cloudstead with sudo, or start the engine host by itself (docs/engine.md) and name its socket with --engine-host"
            )
    return host.why_not


async def close(engine: Engine) -> None:
    """Stop the parts but the images, the host last; containers go on."""
    for stop in (engine.pods.stop_driver, engine.networks.stop, engine.volumes.stop):
        try:
            await stop()
        except Exception:
            log.exception("stopping the engine")
    if engine.host is not None:
        await engine.host.close()


class Sweeps(Protocol):
    async def sweep(self) -> list[str]: ...


async def sweep(*parts: Sweeps | None) -> list[str]:
    """Remove what no row owns. Whatever cannot be removed now will be met again in a minute."""
    removed: list[str] = []
    for part in parts:
        try:
            if part is not None:
                removed += await part.sweep()
        except EngineError as error:
            log.warning("sweeping: %s", error)
        except Exception:
            log.exception("sweeping")
    for sentence in removed:
        log.info("swept: %s", sentence)
    return removed
