"""The only wiring: puts kernel, services and edge together and keeps them running until told to stop.

run(settings)      a daemon of its own: claims the data directory, listens, publishes the run file, waits for a signal
Cloudstead         the parts without process, signals and run file; tests start one in their own loop
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec

from cloudstead import __version__, datadir, runfile
from cloudstead.edge.authenticate import Authenticator
from cloudstead.edge.calllog import CallLog
from cloudstead.edge.companion import CompanionProxy
from cloudstead.edge.dispatch import Calls
from cloudstead.edge.identify import Identifier
from cloudstead.edge.own_registries import OwnNames
from cloudstead.edge.policy import PolicyAuthorizer
from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.engine.dockerapi.serving import LIMITS
from cloudstead.engine.start import EngineRoom, EngineSettings
from cloudstead.http.limits import Limits
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server, loop_factory
from cloudstead.kernel.clock import Clock, SystemClock
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.events import Bus
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.store import Damaged, Store, StoreError
from cloudstead.services import SERVICES
from cloudstead.services.ecr import downloads
from cloudstead.services.ecr.model import REPOSITORIES
from cloudstead.services.ecs.sessions import mounting as sessions
from cloudstead.services.iam.credentials import IamCredentials, register_root_key
from cloudstead.services.registries import Registries
from cloudstead.settings import Settings, endpoint_of

log = logging.getLogger("cloudstead")

DRAIN_SECONDS = 10.0
OWN_DESCRIPTORS = (
    128  # what the store, segment files, the companion and their like need; the rest is for connections, two for each call passed on
)


class Cloudstead:
    """A cloud with its edge."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.began = time.time()
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self.cloud: Cloud
        self.calls: Calls
        self.engine: EngineRoom
        self.own: OwnNames
        self.port = 0
        self.hasten: Callable[[], None] = lambda: None  # once it stops: wait for no running call any longer

    async def start(self) -> None:
        """Open the store, start what works by itself, listen. Half-started parts are closed again when something fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, stack = self.settings, self._stack
        store = Store.open(settings.data / "state.db", self._clock)
        stack.push_async_callback(store.close)
        bus = Bus(store, self._clock)
        stack.push_async_callback(bus.close)
        registry = Registry(SERVICES)
        self.cloud = cloud = Cloud(data=settings.data, store=store, clock=self._clock, bus=bus, registry=registry, host=settings.host)
        key = datadir.root_key(settings.data)
        register_root_key(store, key.access_key_id, key.secret_access_key, now=self._clock.time())
        credentials = IamCredentials(cloud)
        cloud.authorizer = PolicyAuthorizer(settings.iam, credentials)
        index = ServiceIndex.load()
        companions = CompanionProxy(cloud, index)
        cloud.companion = companions
        stack.push_async_callback(companions.close)
        calllog = CallLog(enabled=settings.log_level in ("debug", "info"))
        stack.callback(calllog.flush)
        stack.push_async_callback(cloud.close)
        authenticator = Authenticator(credentials, strict=settings.strict, enforcing=settings.iam == "enforce", now=self._clock.time)
        self.calls = Calls(cloud, Identifier(index), authenticator, companions, calllog)
        self.calls.page("/_cloudstead/health", self._health)
        self.calls.page("/_cloudstead/status", self._status)
        self.calls.page(downloads.PATH, partial(downloads.answer, cloud))
        self.calls.page(sessions.PATH, partial(sessions.answer, cloud))
        self.calls.registries = Registries(cloud)
        server = Server(self.calls, limits=Limits(connections=connections_at_once()))
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        self.hasten = server.hasten
        await self._open_docker(store)
        for service in SERVICES:  # what works by itself may use the engine's place
            if service.eager:
                await cloud.ready(service.name)
        self.calls.load_balancers = cloud.parts["elbv2"].at_the_edge
        stack.push_async_callback(sessions.stop, cloud)
        stack.callback(setattr, cloud, "stopping", True)
        self.port = await server.listen_tcp(settings.host, settings.port, tls=tls_context(settings) if settings.tls else None)
        self.own.port = self.port
        cloud.endpoint = endpoint_of(settings.host, self.port, settings.tls)

    async def _open_docker(self, store: Store) -> None:
        """The engine's place, and Docker's API on a socket that starts it at the first request."""
        settings = self.settings
        self.engine = EngineRoom(
            EngineSettings(
                data=settings.data,
                enabled=settings.engine != "off",
                runtime=settings.runtime,
                host_socket=settings.engine_host,
                registries=settings.registries,
            ),
            store,
            self._clock,
        )
        self.cloud.parts["engine"] = self.engine
        # What a pull through our own engine asks of our own registries goes the way of every call, but for the connection.
        self.own = OwnNames(
            self.calls, lambda account, region: store.table(REPOSITORIES).count((account, region)) > 0, settings.host, secure=settings.tls
        )
        self.engine.own = self.own
        self._stack.push_async_callback(self.engine.stop)
        await self.engine.begin()
        server = Server(self.engine.docker, limits=msgspec.structs.replace(LIMITS, connections=connections_at_once()))
        self._stack.push_async_callback(server.stop, 0.0)
        await server.listen_unix(datadir.docker_socket(settings.data))

    async def stop(self) -> None:
        """Let running calls end (until `hasten`), then close everything in the reverse order of its opening."""
        await self._stack.aclose()

    async def _health(self, request: HttpRequest) -> HttpResponse:
        services = {service.name: "available" for service in SERVICES}
        return page({"status": "running", "version": __version__, "services": services})

    async def _status(self, request: HttpRequest) -> HttpResponse:
        engine = self.engine.describe() | {"docker": str(datadir.docker_socket(self.settings.data))}
        told = {"status": "running", "version": __version__, "uptime": time.time() - self.began, "endpoint": self.cloud.endpoint}
        return page(told | {"engine": engine})


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Certificates of the authority in `<data>/tls`, for the names by which AWS's clients may call this machine."""
    from cloudstead.http.tls import Authority, Certificates  # 40 ms that only HTTPS pays

    names = ("localhost", "127.0.0.1", "::1", *([] if settings.host in ("0.0.0.0", "::") else [settings.host]))
    return Certificates(Authority.open(settings.data / "tls"), names, suffixes=("localhost", "amazonaws.com")).server_context()


def page(document: dict[str, Any]) -> HttpResponse:
    return HttpResponse(200, [("Content-Type", "application/json")], msgspec.json.encode(document))


def run(settings: Settings) -> int:
    """Run a daemon in this process until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        runfile.CannotStart, datadir.Unusable, OSError: it could not start; nothing is left behind.
    """
    os.umask(0o077)  # what it writes is its owner's: keys, logs, the store
    configure_logging(settings)
    allow_descriptors()
    with runfile.claim(settings.data) as claim, asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(settings, claim))


async def serve(settings: Settings, claim: runfile.Claim) -> int:
    """Start, tell where, wait for a signal, stop. Who is told twice does not wait for the calls that run."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    running = Cloudstead(settings)

    def told() -> None:
        if stopping.is_set():
            running.hasten()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        await running.start()
    except Damaged as error:
        raise runfile.CannotStart(f"{error}. Put back a copy of it, or begin anew with `cloudstead reset`.") from error
    except StoreError as error:
        raise runfile.CannotStart(str(error)) from error
    except OSError as error:
        raise runfile.CannotStart(f"{error.filename or settings.host}: {error.strerror or error}.") from error
    try:
        claim.publish(host=settings.host, port=running.port, tls=settings.tls)
        log.info("listening on %s, data in %s", running.cloud.endpoint, settings.data)
        await stopping.wait()
        log.info("stopping")
    finally:
        await running.stop()
    return 0


def allow_descriptors() -> None:
    """As many open files as this process may have: the usual soft limit of 1024 is meant for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_at_once() -> int:
    """So many that files can still be opened when all are there."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Limits().connections
    return most if soft == resource.RLIM_INFINITY else max(16, min(most, (soft - OWN_DESCRIPTORS) // 2))


def configure_logging(settings: Settings) -> None:
    """Times in UTC, as in the call log and in AWS's own logs."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
