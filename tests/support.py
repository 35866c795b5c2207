"""Clouds to test against.

local_cloud(path)     in this event loop, without HTTP: for tests of handlers and controllers
CloudThread(path)     the whole daemon in a thread of this process, over HTTP: quick, for tests with boto3
Daemon(path)          the real process, started by the command line: for journeys and chaos
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from cloudstead import datadir, runfile
from cloudstead.daemon import Cloudstead
from cloudstead.engine.start import EngineRoom, EngineSettings
from cloudstead.kernel import identity as identities
from cloudstead.kernel.clock import Clock, SystemClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Bus
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.store import Store
from cloudstead.services import SERVICES
from cloudstead.settings import settings_for

ACCOUNT = "000000000000"
REGION = "us-east-1"
START_SECONDS = 30.0


def client_of(
    endpoint: str, service: str, *, key: str = ACCOUNT, secret: str = "test", token: str | None = None, region: str = REGION, **more: Any
) -> Any:
    """A boto3 client that neither retries nor looks at this machine's configuration."""
    session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token, region_name=region)
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=32).merge(more.pop("config", Config()))
    return session.client(service, endpoint_url=endpoint, config=config, **more)


@asynccontextmanager
async def local_cloud(data: Path, *, clock: Clock | None = None, in_memory: bool = False) -> AsyncIterator[Cloud]:
    """A cloud without an edge: no signatures, no policies. Use `context_in(cloud)` and `ctx.call(request)`."""
    clock = clock or SystemClock()
    store = Store.in_memory(clock=clock) if in_memory else Store.open(data / "state.db", clock)
    bus = Bus(store, clock)
    cloud = Cloud(data=data, store=store, clock=clock, bus=bus, registry=Registry(SERVICES))
    engine = cloud.parts["engine"] = EngineRoom(EngineSettings(data=data, enabled=False), store, clock)
    try:
        yield cloud
    finally:
        await cloud.close()
        await engine.stop()
        await bus.close()
        await store.close()


def context_in(cloud: Cloud, *, account: str = ACCOUNT, region: str = REGION, identity: identities.Identity | None = None) -> Context:
    return cloud.context(identity=identity or identities.root(account), account=account, region=region)


class CloudThread:
    """A whole Cloudstead in a thread. A context manager; `client("iam")` gives boto3 clients for it."""

    def __init__(self, data: Path, *, clock: Clock | None = None, **settings: Any) -> None:
        datadir.prepare(data)
        self.settings = settings_for(data=data, port=0, log_level="warning", **settings)
        self._clock = clock
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop
        self.running: Cloudstead
        self.endpoint = ""

    def __enter__(self) -> CloudThread:
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "it did not start in time"
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)
        assert not self._thread.is_alive(), "it did not stop in time"

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            self.running = Cloudstead(self.settings, clock=self._clock)
            await self.running.start()
        except BaseException as failure:
            self._failure = failure
            self._ready.set()
            return
        self.endpoint = self.running.cloud.endpoint
        self._ready.set()
        await self._stop.wait()
        await self.running.stop()

    def client(self, service: str, **options: Any) -> Any:
        return client_of(self.endpoint, service, **options)

    def do(self, function: Any, *arguments: Any) -> Any:
        """Run a coroutine function in the cloud's loop and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(function(*arguments), self.loop).result(START_SECONDS)


class Daemon:
    """A Cloudstead process. A context manager; may be killed and started again on the same data."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.prefix: tuple[str, ...] = ()  # a command that runs it, under other limits for example
        self.process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self.log = data.parent / f"{data.name}.log"

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "cloudstead",
            "up",
            "--port",
            "0",
            "--data",
            str(self.data),
            "--no-profile",
            *self.options,
        ]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the daemon did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def _healthy(self) -> bool:
        run = runfile.read(self.data)
        if run is None or self.process is None or run.pid != self.process.pid:
            return False
        self.endpoint = run.endpoint
        with urllib.request.urlopen(f"{self.endpoint}/_cloudstead/health", timeout=5) as answer:
            return bool(json.load(answer)["status"] == "running")

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                assert self.process.wait(START_SECONDS) == 0, self.log.read_text()[-4000:]
            finally:
                if self.process.poll() is None:
                    self.kill()

    def client(self, service: str, **options: Any) -> Any:
        return client_of(self.endpoint, service, **options)
