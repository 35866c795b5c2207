"""Published tcp ports by IPv6. There is no IPv6 inside networks, so connections that come to the host by it are passed on by the daemon, byte by byte
(nftables does it for IPv4, without us). The pod sees them come from its gateway. They break when the daemon ends; what was published by IPv4 goes on.

Without root all published ports are relayed, udp too (datagrams.py): there nftables rules over a network of the engine's own only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from cloudstead.engine.errors import EngineError
from cloudstead.engine.network.commands import PortSetup
from cloudstead.engine.network.datagrams import Datagrams
from cloudstead.engine.network.reservations import Key, key_of

log = logging.getLogger("cloudstead.engine.network")

MOST = 512  # connections of one port
PIECE = 1 << 16

Dial = Callable[[PortSetup], Awaitable[int]]


class Server(Protocol):
    def close(self) -> None: ...


class Relays:
    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._servers: dict[Key, list[Server]] = {}
        self._connections: dict[Key, set[asyncio.Task[None]]] = {}

    async def open(self, port: PortSetup, sock: socket.socket) -> None:
        """A port may have several sockets: by IPv4 and by IPv6."""
        servers = self._servers.setdefault(key_of(port), [])
        self._connections.setdefault(key_of(port), set())
        if port.protocol == "udp":
            servers.append(Datagrams(sock, lambda: self._dial(port)))
            return

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accepted(port, reader, writer)

        servers.append(await asyncio.start_server(accepted, sock=sock, limit=PIECE))

    def close(self, port: PortSetup) -> None:
        self._close(key_of(port))

    def close_all(self) -> None:
        for key in list(self._servers):
            self._close(key)

    def _close(self, key: Key) -> None:
        for server in self._servers.pop(key, ()):
            server.close()
        for task in self._connections.pop(key, ()):
            task.cancel()

    async def _accepted(self, port: PortSetup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        running = self._connections.get(key_of(port))
        try:
            if task is None or running is None or len(running) >= MOST:
                return
            running.add(task)
            with contextlib.suppress(OSError, EngineError, asyncio.CancelledError):
                sock = socket.socket(fileno=await self._dial(port))
                await _both_ways(reader, writer, *await asyncio.open_connection(sock=sock, limit=PIECE))
        finally:
            if running is not None and task is not None:
                running.discard(task)
            writer.close()


async def _both_ways(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
) -> None:
    """Until both have said all; the end of one direction is passed on without ending the other."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, far_writer))
            group.create_task(_pump(far_reader, writer))
    except* (OSError, RuntimeError):
        pass
    finally:
        far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
