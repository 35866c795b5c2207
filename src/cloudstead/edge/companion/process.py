"""The companion's process: started when first needed, once, and again after it has died.

    ensure() ── first call ──▶ start ──▶ "ready" ──▶ socket
       ▲                        │ all calls that come meanwhile wait for this one start
       └── died: forget it; the next ensure() starts another, after a pause that grows when deaths follow each other closely

The process is tied to this one by a pipe: its standard input. Whatever ends the daemon closes that pipe, and the process ends itself.
A process that is there but answers nothing (a deadlock in a library) is found by asking for its health, and killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cloudstead.kernel.errors import Unavailable

log = logging.getLogger(__name__)

STARTS_WITHIN = 60.0  # seconds; it takes about one on an idle machine
STEADY_AFTER = 30.0  # seconds of life after which a death does not count as following the one before
LONGEST_PAUSE = 30.0
WAITED_FOR = 2.0  # a pause up to this is waited out, a longer one is refused
HEALTH_EVERY = 15.0
HEALTH_WITHIN = 30.0
LONGEST_PATH = 100  # bytes of a unix socket's path: sockaddr_un has room for 108

Healthy = Callable[[], Awaitable[None]]


class CompanionProcess:
    """At most one process, and the path of the socket that it listens on."""

    def __init__(self, folder: Path, healthy: Healthy, command: tuple[str, ...] = ("-P", "-m", "cloudstead.companion_server")) -> None:
        self._folder = folder
        self._healthy = healthy
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False
        self._closed = False
        self._deaths = 0
        self._not_before = 0.0
        self._began = 0.0
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self.socket = self._socket_path()

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def ensure(self) -> None:
        """Return when a process accepts connections on `socket`; starts one if need be.

        Raises:
            Unavailable: it does not start, or has just died too often.
        """
        if self._ready:
            return
        if self._closed:
            raise Unavailable("Cloudstead is stopping.")
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        # Shielded: a client that goes away must not end the start that others wait for.
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        self._closed = True
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        process = self._process
        if process is not None:
            self._end(process, kill=False)
            try:
                await asyncio.wait_for(process.wait(), 3)
            except TimeoutError:
                self._end(process, kill=True)
                await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        if self._private is not None:
            self._private.cleanup()

    def lost(self) -> None:
        """Nobody listens on the socket any more, though the process's end has not been told yet."""
        self._ready = False

    async def _start(self) -> None:
        process = self._process
        if process is not None:  # it has stopped listening but has not ended: `lost`
            self._end(process, kill=True)
            await process.wait()
            self._forget(process)
        await self._pause()
        self._began = time.monotonic()
        process = self._process = await self._spawn()
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), STARTS_WITHIN)
        except TimeoutError:
            line = b""
        except asyncio.CancelledError:
            self._end(process, kill=True)
            raise
        finally:
            self._keep(self._read_errors(process))
            self._keep(self._reap(process))
        if line.strip() != b"ready":
            self._end(process, kill=True)
            raise Unavailable("The services that Cloudstead does not write itself could not be started; the log says why.")
        self._ready = True
        self._keep(self._watch(process))
        log.info("companion ready after %.2f s, process %d", time.monotonic() - self._began, process.pid)

    async def _pause(self) -> None:
        wait = self._not_before - time.monotonic()
        if wait > WAITED_FOR:
            raise Unavailable(f"The companion has ended {self._deaths} times in a row; it is started again in {wait:.0f} seconds.")
        if wait > 0:
            await asyncio.sleep(wait)

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Listen, and give the listening socket to a new process: connections can be made before it accepts them."""
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self.socket))
            os.chmod(self.socket, 0o600)
            listener.listen(512)
            pipe = asyncio.subprocess.PIPE
            number = listener.fileno()
            return await asyncio.create_subprocess_exec(
                sys.executable, *self._command, str(number), stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=(number,), cwd="/"
            )

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the end, and note it."""
        status = await process.wait()
        self._forget(process)
        if not self._closed:
            log.warning("companion ended with status %d; what its services held is gone, the next call starts it anew", status)

    def _forget(self, process: asyncio.subprocess.Process) -> None:
        if self._process is not process:
            return
        self._process, self._ready = None, False
        now = time.monotonic()
        self._deaths = 1 if now - self._began > STEADY_AFTER else self._deaths + 1
        self._not_before = now + (min(LONGEST_PAUSE, 0.25 * 2**self._deaths) if self._deaths > 1 else 0)

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        """Put what it says into the log."""
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # a line longer than the reader's limit
                continue
            if not line:
                return
            log.warning("companion: %s", line.decode("utf-8", "replace").rstrip())

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill it when it no longer answers."""
        while self._process is process:
            await asyncio.sleep(HEALTH_EVERY)
            try:
                await asyncio.wait_for(self._healthy(), HEALTH_WITHIN)
            except TimeoutError:
                log.error("companion has not answered for %g seconds; it is ended", HEALTH_WITHIN)
                self._end(process, kill=True)
                return
            except Exception as error:
                log.warning("companion's health is not known: %s", error)

    @staticmethod
    def _end(process: asyncio.subprocess.Process, *, kill: bool) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if kill:
                process.kill()
            else:
                process.terminate()

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _socket_path(self) -> Path:
        """In the data directory, which only its owner can enter; where that path is too long, in a folder as private."""
        path = self._folder / "companion.sock"
        if len(os.fsencode(path)) <= LONGEST_PATH:
            return path
        self._private = tempfile.TemporaryDirectory(prefix="cloudstead-", dir="/tmp")
        return Path(self._private.name) / "companion.sock"
