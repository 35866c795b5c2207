"""The daemon's end: starts the host as a child, or joins one that root started, and calls its commands."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.engine.errors import BY_CODE, Failed, InvalidArgument, Unavailable, Unsupported
from cloudstead.engine.host.channel import Channel, close_all
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.messages import Answer, Call, Cancel, Command, Event, FromHost, R, Refusal, Told

END_SECONDS = 10.0


class HostClient:
    """Calls of the engine host.

    Args:
        events: called with each event that the host tells; the union of event types is given by `kinds`.
        lost: called once when the host is gone although nobody closed it.
    """

    def __init__(self, layout: Layout, *, runtime: str = "runc", options: dict[str, str] | None = None) -> None:
        self.layout = layout
        self.runtime = runtime
        self.options = options or {}
        self.lost: Callable[[], None] = lambda: None
        self.rootless = False  # the host is root in a user namespace only, with a network of its own
        self.why_not = ""  # set by who knows that there will be no host: calls are refused with this sentence
        self._watchers: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._again: Callable[[], Awaitable[None]] = self.start  # how it was begun
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[msgspec.Raw, list[int]]]] = {}
        self._incoming: msgspec.msgpack.Decoder[FromHost] = msgspec.msgpack.Decoder(FromHost)
        self._encode = msgspec.msgpack.Encoder().encode
        self._event_decoder: msgspec.msgpack.Decoder[Any] | None = None

    async def start(self) -> None:
        """Start a host of our own: as root, or in a user namespace of this user's (rootless.py).

        Raises:
            Unsupported: this machine does not allow the latter.
        """
        self.rootless = os.geteuid() != 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            with theirs:
                command = [sys.executable, "-P", "-m", "cloudstead.engine.host" + ".rootless" * self.rootless]
                command += ["--data", str(self.layout.data), *(["--status", str(writing)] if self.rootless else [])]
                command += ["--socket", str(theirs.fileno()), "--runtime", self.runtime]
                command += [f"--option={name}={value}" for name, value in self.options.items()]
                passed = [theirs.fileno(), *([writing] if self.rootless else [])]
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed, start_new_session=True)  # noqa: ASYNC220
        finally:
            os.close(writing)
        why_not = await asyncio.to_thread(_read_all, reading)
        if why_not:
            ours.close()
            await self.close()
            raise Unsupported(why_not.decode(errors="replace"))
        self._channel = Channel(ours, self._received, self._gone)

    async def connect(self, path: Path) -> None:
        """Use a host that root started by itself (`--listen`).

        Raises:
            Unavailable: there is none, it serves another daemon, or another user.
        """
        self._again = functools.partial(self.connect, path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(str(path))
            greeting = await _greeting(sock)
        except OSError as error:
            sock.close()
            raise Unavailable(f"no engine host listens at {path}: {error.strerror or error}") from None
        except BaseException:
            sock.close()
            raise
        if greeting != self.layout.instance:
            sock.close()
            raise Unavailable(greeting if " " in greeting else f"the engine host at {path} serves another data directory")
        self._channel = Channel(sock, self._received, self._gone)

    def join(self, sock: socket.socket) -> None:
        """Use a host at the other end of a connected socket."""
        self._channel = Channel(sock, self._received, self._gone)

    async def restart(self) -> None:
        """A new host in the place of one that has ended. Raises Unavailable when there is none yet."""
        await self.close()
        await self._again()

    async def close(self) -> None:
        """End the host; containers go on."""
        if self._channel is not None:
            self._channel.close()
        self._fail_all()
        process, self._process = self._process, None
        if process is not None:
            deadline = asyncio.get_running_loop().time() + END_SECONDS
            while process.poll() is None:
                if asyncio.get_running_loop().time() > deadline:
                    process.kill()
                await asyncio.sleep(0.005)

    def on(self, kind: type[Event], callback: Callable[[Any], None]) -> None:
        """Call back with each event of a kind. Before any event of it can come."""
        self._watchers.setdefault(kind, []).append(callback)
        self._event_decoder = None

    async def call(self, command: Command[R], descriptors: Sequence[int] = ()) -> R:
        """Have a command carried out; descriptors that the answer brings are closed.

        Raises:
            EngineError: what the host says; Unavailable when it is gone.
        """
        value, received = await self.call_with_descriptors(command, descriptors)
        close_all(received)
        return value

    async def call_with_descriptors(self, command: Command[R], descriptors: Sequence[int] = ()) -> tuple[R, list[int]]:
        """The same; the descriptors that come with the answer are the caller's to close."""
        if self._channel is None:
            raise Unavailable(self.why_not or "the engine host is not running")
        number = next(self._ids)
        waiter: asyncio.Future[tuple[msgspec.Raw, list[int]]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiter
        try:
            self._channel.send(self._encode(Call(number, msgspec.Raw(self._encode(command)))), descriptors)
            raw, received = await waiter
        except ConnectionError:
            raise Unavailable("the engine host has ended") from None
        except ValueError as error:  # longer than a frame may be
            raise InvalidArgument(str(error)) from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                close_all(waiter.result()[1])
            else:
                with contextlib.suppress(ConnectionError):
                    self._channel.send(self._encode(Cancel(number)))
            raise
        finally:
            self._waiting.pop(number, None)
        answers = type(command).answers
        value: Any = msgspec.msgpack.decode(raw, type=type(None) if answers is None else answers)
        return value, received

    def _received(self, payload: bytes, descriptors: list[int]) -> None:
        message = self._incoming.decode(payload)
        if isinstance(message, Told):
            self._told(message.event)
            close_all(descriptors)
            return
        waiter = self._waiting.get(message.id)
        if waiter is None or waiter.done():
            close_all(descriptors)
        elif isinstance(message, Answer):
            waiter.set_result((message.value, descriptors))
        else:
            assert isinstance(message, Refusal)
            waiter.set_exception(BY_CODE.get(message.code, Failed)(message.message))

    def _told(self, raw: msgspec.Raw) -> None:
        if not self._watchers:
            return
        if self._event_decoder is None:
            union: Any = None
            for kind in self._watchers:
                union = kind if union is None else union | kind
            self._event_decoder = msgspec.msgpack.Decoder(union)
        try:
            event = self._event_decoder.decode(raw)
        except msgspec.ValidationError:  # of a kind that nobody wants
            return
        for callback in self._watchers[type(event)]:
            callback(event)

    def _gone(self) -> None:
        self._channel = None
        self._fail_all()
        self.lost()

    def _fail_all(self) -> None:
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(Unavailable("the engine host has ended"))


def _read_all(fd: int) -> bytes:
    """Until nobody can write any more: at once where the pipe was given to nobody."""
    with open(fd, "rb", buffering=0) as file:
        return file.read()


async def _greeting(sock: socket.socket) -> str:
    """The first line: the instance that the host serves, or a sentence that says why it does not. Only root's word counts."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != 0:
        raise Unavailable("what listens there is no engine host: it does not run as root")
    sock.setblocking(False)
    loop, said = asyncio.get_running_loop(), b""
    async with asyncio.timeout(END_SECONDS):
        while not said.endswith(b"\n"):
            byte = await loop.sock_recv(sock, 1)
            if not byte:
                break
            said += byte
    return said.decode(errors="replace").strip()


def needs_root() -> str:
    """Why no host can be started here that is really root; empty when it can."""
    return "" if os.geteuid() == 0 else "containers need root's rights: start Cloudstead with sudo, or the engine host by itself"
