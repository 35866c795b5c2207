"""Both ways between a client and a real process, over descriptors that the host gave.

    MonitorStreams   a container's own: packets of conmon's attach socket; may be made before the container runs
    PipeStreams      a further process: a pipe for each stream
    TerminalStreams  a further process on a terminal: its master

Nothing is read that nobody asks for, so that a client that does not keep up holds the process back, and not this daemon's memory; in the same
way `write` returns when the process (or the kernel's buffer) has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from typing import Literal

from cloudstead.engine.host.channel import close_all
from cloudstead.engine.pods.specs import ExecSpec

Stream = Literal["stdout", "stderr"]
Piece = tuple[Stream, bytes]

PACKET = 8192  # bytes of one packet of conmon's, without the byte that names its stream
READ = 64 << 10
_STREAMS: dict[int, Stream] = {2: "stdout", 3: "stderr"}
_GONE = (errno.EIO, errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTCONN)


class MonitorStreams:
    """Made before the start it waits for `connect`, or for `end` when there is no start."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._connected = asyncio.Event()
        self._input_closed = False
        self._ended = False
        self.when_closed: Callable[[], object] = lambda: None

    def connect(self, descriptor: int) -> None:
        """The socket is here; the descriptor is this object's from now on."""
        connected = socket.socket(fileno=descriptor)
        connected.setblocking(False)
        if self._ended:
            connected.close()
            return
        self._socket = connected
        self._connected.set()
        if self._input_closed:
            self._shut()

    def end(self) -> None:
        """There will be no output."""
        self._ended = True
        self._connected.set()
        if self._socket is not None:
            _wake(self._socket.fileno())
            self._socket.close()
            self._socket = None

    async def read(self) -> Piece | None:
        await self._connected.wait()
        while self._socket is not None:
            try:
                packet = self._socket.recv(PACKET + 1)
            except (BlockingIOError, InterruptedError):
                await _readable(self._socket.fileno())
                continue
            except OSError:
                packet = b""
            if not packet:
                return None
            stream = _STREAMS.get(packet[0])
            if stream is not None and len(packet) > 1:
                return stream, packet[1:]
        return None

    async def write(self, data: bytes) -> None:
        await self._connected.wait()
        view = memoryview(data)
        while view and self._socket is not None and not self._input_closed:
            try:
                sent = self._socket.send(view[:PACKET])
            except (BlockingIOError, InterruptedError):
                await _writable(self._socket.fileno())
                continue
            except OSError:
                return
            view = view[sent:]

    async def close_input(self) -> None:
        if not self._input_closed:
            self._input_closed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        self.end()
        self.when_closed()


class PipeStreams:
    """Over the ends of pipes, which are this object's from now on."""

    def __init__(self, outputs: dict[int, Stream], input: int = -1) -> None:
        self._outputs = dict(outputs)
        self._input = input
        for fd in (*outputs, input):
            if fd >= 0:
                os.set_blocking(fd, False)

    async def read(self) -> Piece | None:
        while self._outputs:
            for fd, stream in list(self._outputs.items()):
                try:
                    data = os.read(fd, READ)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
                    data = b""
                if data:
                    # The other one has its turn next time: neither may starve.
                    self._outputs[fd] = self._outputs.pop(fd)
                    return stream, data
                self._drop(fd)
            if self._outputs:
                await _readable(*self._outputs)
        return None

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._input >= 0:
            try:
                view = view[os.write(self._input, view[:READ]) :]
            except (BlockingIOError, InterruptedError):
                await _writable(self._input)
            except OSError:
                return

    async def close_input(self) -> None:
        fd, self._input = self._input, -1
        if fd >= 0 and fd not in self._outputs:
            _wake(fd)
            os.close(fd)

    async def close(self) -> None:
        await self.close_input()
        for fd in list(self._outputs):
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        if self._outputs.pop(fd, None) is not None:
            _wake(fd)
            os.close(fd)
            if fd == self._input:
                self._input = -1


class TerminalStreams(PipeStreams):
    """Over a terminal's master. The end of input is nothing that a terminal knows: whoever types it sends ^D."""

    def __init__(self, master: int) -> None:
        super().__init__({master: "stdout"}, master)
        self._master = master

    def resize(self, rows: int, columns: int) -> None:
        if self._outputs:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


_waiting: dict[int, list[asyncio.Future[None]]] = {}
"""Who waits for a descriptor, so that closing it wakes them instead of leaving them for ever."""


def _wake(fd: int) -> None:
    loop = asyncio.get_running_loop()
    loop.remove_reader(fd)
    loop.remove_writer(fd)
    for waiter in _waiting.pop(fd, ()):
        if not waiter.done():
            waiter.set_result(None)


async def _readable(*fds: int) -> None:
    loop = asyncio.get_running_loop()
    await _wait(fds, loop.add_reader, loop.remove_reader)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await _wait((fd,), loop.add_writer, loop.remove_writer)


async def _wait(fds: tuple[int, ...], add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for fd in fds:
        add(fd, _set, ready)
        _waiting.setdefault(fd, []).append(ready)
    try:
        await ready
    finally:
        for fd in fds:
            waiters = _waiting.get(fd, [])
            if ready in waiters:  # else it was closed, and its number may be another descriptor's by now
                remove(fd)
                waiters.remove(ready)
                if not waiters:
                    del _waiting[fd]


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def exec_streams(spec: ExecSpec, descriptors: list[int]) -> PipeStreams:
    """In the order in which the host gives them: stdin, stdout, stderr, as far as they were asked for; or a terminal's master."""
    if spec.tty:
        master, *rest = descriptors
        close_all(rest)
        return TerminalStreams(master)
    left = list(descriptors)
    given = left.pop(0) if spec.stdin else -1
    outputs: dict[int, Stream] = {}
    if spec.stdout:
        outputs[left.pop(0)] = "stdout"
    if spec.stderr:
        outputs[left.pop(0)] = "stderr"
    close_all(left)
    return PipeStreams(outputs, given)
