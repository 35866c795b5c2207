"""The engine host: one single-threaded process with root's rights that does what the daemon asks, and nothing else.

It holds no state that matters: what runs is what the kernel, conmon's files and `<data>/engine` say. A host that the daemon started ends when the
daemon's end of the socket closes; one that listens waits for the next daemon (listening.py). Containers go on, and the next host finds them. So it can be
killed at any moment, and every handler must bear being cut off: half-made things carry names by which the sweeper knows them.

Single-threaded, because it forks: a fork of a process with threads may hold their locks for ever. `fork` runs a Python function in a child and brings
its result back; `run` starts a program.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import importlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec

from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, NoSpace, Unavailable, Unsupported
from cloudstead.engine.host import forked
from cloudstead.engine.host.channel import Channel, close_all
from cloudstead.engine.host.handlers import HANDLERS, With
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.messages import Answer, Call, Cancel, Command, Event, Refusal, ToHost, Told
from cloudstead.engine.host.programs import Finished, run_program

if TYPE_CHECKING:
    from cloudstead.engine.host.keeping import Keeping

log = logging.getLogger("cloudstead.engine.host")

T = TypeVar("T")

ROOMS = (
    "cloudstead.engine.host.host_teardown",
    "cloudstead.engine.snapshots.host",
    "cloudstead.engine.pods.host",
    "cloudstead.engine.network.host",
    "cloudstead.engine.volumes.host",
)
"""What has commands; imported in this process only."""


OTHER_ENDS_WITHIN = 10.0  # seconds


class Host:
    """What handlers are given."""

    def __init__(self, layout: Layout, *, runtime: str = "runc", options: dict[str, str] | None = None) -> None:
        self.layout = layout
        self.runtime = runtime  # the default OCI runtime: a name on PATH or a path
        self.options = options or {}
        self.parts: dict[str, Any] = {}  # what a room keeps while the host runs, by the room's name
        self.closing: list[Callable[[], None]] = []  # called when the host ends, the latest first
        self._channel: Channel | None = None
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tags = {kind.__struct_config__.tag: kind for kind in HANDLERS}
        self._decoders: dict[str, msgspec.msgpack.Decoder[Command[Any]]] = {}
        self._incoming: msgspec.msgpack.Decoder[ToHost] = msgspec.msgpack.Decoder(ToHost)
        self._encode = msgspec.msgpack.Encoder().encode

    async def serve(self, sock: socket.socket) -> None:
        """Carry out commands until the daemon is gone. What it asked for last is cut off: nobody would hear of it."""
        self._ended = asyncio.get_running_loop().create_future()
        self._channel = Channel(sock, self._received, self._lost, patient=True)
        try:
            await self._ended
        finally:
            self._channel.close()
            self._channel = None
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def close(self) -> None:
        """Let go of everything, at the end of this process's life."""
        while self.closing:
            self.closing.pop()()

    def tell(self, event: Event) -> None:
        """Send an event, if anybody is there."""
        if self._channel is not None:
            with contextlib.suppress(ConnectionError):
                self._channel.send(self._encode(Told(msgspec.Raw(self._encode(event)))))

    async def run(
        self, program: Sequence[str], *, stdin: bytes = b"", within: float = 60.0, check: bool = True, **options: Any
    ) -> Finished:
        """Run a program to its end. With `check` a status other than 0 is Failed with what it wrote to stderr."""
        return await run_program(program, stdin=stdin, within=within, check=check, **options)

    async def fork(self, function: Callable[..., T], *arguments: Any, descriptors: Sequence[int] = ()) -> T:
        """Run `function(*arguments)` in a forked child and return its result (anything msgspec can encode; EngineErrors come back as such).

        The child has this process's memory, only the standard and the named descriptors, and is killed when this call is cancelled.
        """
        return await forked.call(function, arguments, descriptors)

    def end(self) -> None:
        """Stop serving."""
        self._lost()

    def _lost(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _received(self, payload: bytes, descriptors: list[int]) -> None:
        try:
            message = self._incoming.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._turn_away(f"a message that cannot be read: {error}", descriptors)
            return
        if isinstance(message, Cancel):
            if task := self._running.get(message.id):
                task.cancel()
            close_all(descriptors)
            return
        if message.id in self._running:
            self._turn_away(f"two calls of the number {message.id} at the same time", descriptors)
            return
        task = asyncio.ensure_future(self._carry_out(message, descriptors))
        self._running[message.id] = task
        task.add_done_callback(lambda _: self._running.pop(message.id, None))

    def _turn_away(self, why: str, descriptors: list[int]) -> None:
        log.error("the daemon is not listened to any more: %s", why)
        close_all(descriptors)
        self._lost()

    async def _carry_out(self, call: Call, descriptors: list[int]) -> None:
        name, began = "?", time.monotonic()
        sending: list[int] = []
        try:
            command = self._read(call.command)
            name = type(command).__name__
            answer = await HANDLERS[type(command)](self, command, descriptors)
            if isinstance(answer, With):
                answer, sending = answer.value, answer.descriptors
            self._answer(Answer(call.id, msgspec.Raw(self._encode(answer))), sending)
            log.info("%s ok %.1f ms", name, (time.monotonic() - began) * 1000)
        except EngineError as error:
            log.info("%s %s: %s", name, error.code, error.message)
            self._answer(Refusal(call.id, error.code, error.message))
        except OSError as error:
            log.warning("%s failed", name, exc_info=True)
            code = NoSpace.code if error.errno in (errno.ENOSPC, errno.EDQUOT) else Failed.code
            self._answer(Refusal(call.id, code, f"{name}: {error}"))
        except asyncio.CancelledError:
            self._answer(Refusal(call.id, Failed.code, "cancelled"))
        except Exception as error:
            log.exception("%s: a bug", name)
            self._answer(Refusal(call.id, Failed.code, f"the engine host failed at {name}: {type(error).__name__}"))
        finally:
            close_all(descriptors)
            close_all(sending)

    def _answer(self, message: Answer | Refusal, descriptors: Sequence[int] = ()) -> None:
        if self._channel is not None:
            with contextlib.suppress(ConnectionError):
                try:
                    self._channel.send(self._encode(message), descriptors)
                except ValueError as error:  # longer than a frame may be
                    self._channel.send(self._encode(Refusal(message.id, Failed.code, str(error))))

    def _read(self, raw: msgspec.Raw) -> Command[Any]:
        try:
            tag = msgspec.msgpack.decode(raw, type=Tagged).type
            kind = self._tags.get(tag)
            if kind is None:
                raise Unsupported(f"the engine host has no command {tag}")
            decoder = self._decoders.get(tag)
            if decoder is None:
                decoder = self._decoders[tag] = msgspec.msgpack.Decoder(kind)
            return decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidArgument(str(error)) from None


class Tagged(msgspec.Struct):
    type: str


async def serve(layout: Layout, sock: socket.socket, *, runtime: str, options: dict[str, str], keeping: Keeping | None = None) -> None:
    """The whole life of a host that a daemon started."""
    load_rooms()
    spare_forks()
    with await alone(layout):
        prepare(layout)
        if keeping is not None:
            keeping.begin()
        host = Host(layout, runtime=runtime, options=options)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, host.end)
        try:
            await host.serve(sock)
        finally:
            host.close()
            forget(layout)
            if keeping is not None and not layout.run.exists():
                keeping.end()


def load_rooms() -> None:
    """Their handlers declare themselves."""
    for room in ROOMS:
        importlib.import_module(room)


def spare_forks() -> None:
    """What is loaded now is for ever: the collector need not look at it, which would copy its pages in each child."""
    gc.collect()
    gc.freeze()


async def alone(layout: Layout, within: float = OTHER_ENDS_WITHIN) -> IO[bytes]:
    """Wait until no other host of this instance is there, and keep others out while the file is open.

    Raises:
        Unavailable: one is, and does not go.
    """
    deadline = time.monotonic() + within
    path = layout.run / "lock"
    while True:
        _make_run(layout)
        lock = open(path, "ab")  # noqa: SIM115, ASYNC230
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:  # else the one before us has taken the folder away
                return lock
        except (BlockingIOError, FileNotFoundError):
            if time.monotonic() > deadline:
                lock.close()
                raise Unavailable(f"another engine host serves {layout.data}") from None
        lock.close()
        await asyncio.sleep(0.01)


def _make_run(layout: Layout) -> None:
    layout.run.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    os.chmod(layout.run.parent, 0o711)  # whatever the umask is: a socket may be in there
    layout.run.mkdir(mode=0o700, exist_ok=True)


def forget(layout: Layout) -> None:
    """Take the folder below /run away, when nothing is in it that lives on. The caller is `alone`."""
    with contextlib.suppress(OSError):
        for folder in layout.run.iterdir():
            if folder.is_dir():
                folder.rmdir()
        (layout.run / "lock").unlink()
        layout.run.rmdir()


def prepare(layout: Layout) -> None:
    """The folders, each for root alone."""
    for folder in (
        layout.engine,
        layout.snapshots,
        layout.containers,
        layout.volumes,
        layout.netns,
        layout.runtime,
        layout.sockets,
    ):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(layout.engine, 0o711)
