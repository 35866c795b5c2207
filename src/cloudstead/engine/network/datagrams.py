"""Relaying udp: each sender gets a socket of its own towards the pod, by which the answers come, for as long as something is said."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from cloudstead.engine.errors import EngineError

MOST = 1024  # senders of one port
SILENCE = 90.0  # seconds after which a sender is forgotten; the kernel's own translation waits 30, or 120 for a conversation
EARLY = 16  # datagrams that wait for a socket
LARGEST = 65536

Dial = Callable[[], Awaitable[int]]


class Flow:
    """One sender."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.far: socket.socket | None = None
        self.heard = asyncio.get_running_loop().time()


class Datagrams:
    """Relays what comes to a bound socket, which is its own to close, until `close`.

    Args:
        dial: makes a connected socket towards the pod.
    """

    def __init__(self, sock: socket.socket, dial: Dial) -> None:
        self._socket = sock
        self._dial = dial
        self._flows: dict[Any, Flow] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._looking = self._loop.call_later(SILENCE, self._look)
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._came)

    def _came(self) -> None:
        with contextlib.suppress(OSError):
            self._pass_on(*self._socket.recvfrom(LARGEST))

    def _pass_on(self, data: bytes, addr: Any) -> None:
        flow = self._flows.get(addr)
        if flow is None:
            if len(self._flows) >= MOST:
                return
            flow = self._flows[addr] = Flow()
            task = asyncio.ensure_future(self._begin(addr, flow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        flow.heard = self._loop.time()
        if flow.far is not None:
            with contextlib.suppress(OSError):  # full, or refused: datagrams may be lost
                flow.far.send(data)
        elif len(flow.waiting) < EARLY:
            flow.waiting.append(data)

    def close(self) -> None:
        self._looking.cancel()
        for task in self._tasks:
            task.cancel()
        for addr in list(self._flows):
            self._end(addr)
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    async def _begin(self, addr: Any, flow: Flow) -> None:
        try:
            flow.far = socket.socket(fileno=await self._dial())
        except (OSError, EngineError):
            self._flows.pop(addr, None)
            return
        flow.far.setblocking(False)
        self._loop.add_reader(flow.far.fileno(), self._answered, addr, flow.far)
        for data in flow.waiting:
            with contextlib.suppress(OSError):
                flow.far.send(data)
        flow.waiting.clear()

    def _answered(self, addr: Any, far: socket.socket) -> None:
        try:
            data = far.recv(LARGEST)
        except OSError:  # nobody listens there (any more): the sender may try again
            return
        self._flows[addr].heard = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.sendto(data, addr)

    def _look(self) -> None:
        self._looking = self._loop.call_later(SILENCE, self._look)
        before = self._loop.time() - SILENCE
        for addr in [addr for addr, flow in self._flows.items() if flow.heard < before]:
            self._end(addr)

    def _end(self, addr: Any) -> None:
        flow = self._flows.pop(addr)
        if flow.far is not None:
            self._loop.remove_reader(flow.far.fileno())
            flow.far.close()
