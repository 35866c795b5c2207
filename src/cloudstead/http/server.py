"""Listening: on TCP addresses and unix sockets, with or without TLS; stopping without cutting off who is being served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

from cloudstead.http.connection import Connection
from cloudstead.http.limits import Limits
from cloudstead.http.messages import Handler
from cloudstead.kernel.errors import Throttled

log = logging.getLogger(__name__)

BACKLOG = 1024


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop, for `asyncio.Runner(loop_factory=...)`: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class Server:
    """Any number of listening sockets with one handler. Made inside a running event loop."""

    def __init__(self, handler: Handler, *, limits: Limits | None = None) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.kept = 0  # bytes of bodies that are held whole
        self.connections: dict[Connection, None] = {}  # the oldest first
        self._listeners: list[asyncio.Server] = []  # an unreferenced listener would close
        self._sockets: list[Path] = []
        self._leaving: set[asyncio.Task[None]] = set()  # cancelled, with something still to clean up
        self._sweep: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    async def listen_tcp(self, host: str, port: int = 0, *, tls: ssl.SSLContext | None = None) -> int:
        """Listen on one address; port 0 lets the system choose. Returns the port.

        Raises:
            OSError: the address is in use or is not ours.
        """
        timeout = self.limits.handshake_timeout if tls is not None else None
        listener = await self.loop.create_server(
            self._protocol, host, port, ssl=tls, ssl_handshake_timeout=timeout, backlog=BACKLOG, reuse_address=True
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def listen_on(self, listening: socket.socket) -> None:
        """Listen on a socket that somebody else has made, in another network namespace for example. It is the server's from now on."""
        try:
            listening.setblocking(False)
            listener = await self.loop.create_server(self._protocol, sock=listening, backlog=BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._listeners.append(listener)

    async def listen_unix(self, path: Path, *, mode: int = 0o600) -> None:
        """Listen on a unix socket. One that a dead process left behind is replaced.

        Raises:
            OSError: somebody listens there, or it is not a socket.
        """
        _clear_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            before = os.umask(0o777 & ~mode)
            try:
                listening.bind(os.fspath(path))
            finally:
                os.umask(before)
            listener = await self.loop.create_unix_server(self._protocol, sock=listening, backlog=BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._listeners.append(listener)
        self._sockets.append(path)

    async def stop(self, grace: float = 10.0) -> None:
        """Take no more connections, finish the requests that run (for `grace` seconds at most), close everything. No task is left behind."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.drain()
        await self._until_idle(grace)
        for connection in list(self.connections):
            connection.abort()
        await self._until_idle(1.0)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=grace)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._listeners.clear()
        self._sockets.clear()

    def hasten(self) -> None:
        """Wait no longer for the requests that run: `stop` ends them now."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _until_idle(self, limit: float) -> None:
        if self.connections:
            self._idle = self.loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle, limit)
            self._idle = None

    def _protocol(self) -> Connection:
        return Connection(self)

    # The connections' side.

    def adopt(self, connection: Connection) -> bool:
        """Whether there is room for another connection, if need be in the place of one that asks for nothing. It is counted until `forget`."""
        if self.draining or (len(self.connections) >= self.limits.connections and not self._make_room()):
            return False
        self.connections[connection] = None
        if self._sweep is None:
            self._sweep = self.loop.call_later(self.limits.sweep_interval, self._look_at_deadlines)
        return True

    def _make_room(self) -> bool:
        """End the oldest connection that waits for a request: whoever holds them all open must not keep others out."""
        for connection in self.connections:
            if connection.waiting:
                connection.abort()
                return True
        return False

    def forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if not self.connections and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def keep(self, size: int) -> None:
        """Count what a request holds of its body; its connection takes it off again.

        Raises:
            Throttled
        """
        if self.kept + size > self.limits.bodies:
            raise Throttled("Too many large requests at once. Please try again.")
        self.kept += size

    def outlive(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task whose connection is gone until it has ended."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _look_at_deadlines(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            if connection.deadline <= now or connection.write_deadline <= now:
                connection.expire(now)
        again = bool(self.connections)
        self._sweep = self.loop.call_later(self.limits.sweep_interval, self._look_at_deadlines) if again else None


def _clear_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(f"another process listens on {path}")
