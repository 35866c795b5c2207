"""What simulated containers run.

A program is either a description (`Program`), or a coroutine function that gets its `Process`:

    async def server(process: Process) -> int:
        process.print("listening")
        process.on_signal("SIGTERM", lambda: process.exit(0))
        await process.sleep(60)
        process.use_memory(1 << 30)         # over the limit: killed, and told as out of memory
        return 1

A machine finds it by the whole command line, by the command's name, or by the top layer of the image; what it does not find may be one of
the commands of `simulated_shell`, and else it cannot be started, with 127.
"""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from cloudstead.engine.pods.signals import number_of

if TYPE_CHECKING:
    from cloudstead.engine.pods.simulated_container import SimulatedContainer

T = TypeVar("T")

PIPE = 64 << 10  # bytes of input that wait before a writer is held back
HARMLESS = (signals.SIGCHLD, signals.SIGURG, signals.SIGWINCH, signals.SIGCONT, signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU)


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Describes what a process does."""

    seconds: float | None = None  # until it ends by itself; None: never
    exit_code: int = 0  # when it does
    prints: tuple[str, ...] = ()  # lines, at its start
    complains: tuple[str, ...] = ()  # lines on stderr, at its start
    stops_after: float = 0.0  # seconds from its stop signal to its end
    stop_code: int = 0  # exit code then
    ignores: tuple[str, ...] = ()  # signals: "SIGTERM"
    memory: int = 0  # bytes that it uses
    memory_after: float = 0.0  # seconds until it does
    start_error: str = ""  # it cannot be started, and this is why
    start_seconds: float = 0.0  # its start takes so long
    execs: dict[str, Program] = {}  # what further commands in its container do, by their command line


Run: TypeAlias = "Callable[[Process], Awaitable[int]]"


class Process:
    """A process of a simulated container, as its program sees it."""

    def __init__(self, container: SimulatedContainer, pid: int, args: tuple[str, ...], env: dict[str, str], cwd: str) -> None:
        self.container = container
        self.clock = container.machine.clock
        self.pid = pid
        self.args = args
        self.env = env
        self.cwd = cwd
        self.size = (0, 0)  # rows and columns of its terminal
        self.memory = 0
        self.exit_code: int | None = None
        self.handlers: dict[int, Callable[[], Any]] = {}
        self.output: Callable[[str, bytes], None] = lambda stream, data: None
        self.input = bytearray()
        self.input_closed = True
        self.tasks: list[asyncio.Task[Any]] = []  # all that it does; cancelled at its end
        self.first = False  # process 1 of its container, which signals without a handler do not end
        self._input_changed = asyncio.Event()
        self._frozen = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()

    # for programs

    def print(self, text: str, stream: str = "stdout") -> None:
        self.write((text + "\n").encode(), stream)

    def write(self, data: bytes, stream: str = "stdout") -> None:
        self.output(stream, data)

    async def sleep(self, seconds: float) -> None:
        """Time does not pass for what is paused."""
        while True:
            await self._thawed.wait()
            began = self.clock.time()
            try:
                async with self.clock.timeout(seconds):
                    await self._frozen.wait()
            except TimeoutError:
                return
            seconds -= self.clock.time() - began

    async def read(self) -> bytes:
        """The next input; nothing at its end."""
        while not self.input and not self.input_closed:
            self._input_changed.clear()
            await self._input_changed.wait()
        await self._thawed.wait()
        data = bytes(self.input)
        self.input.clear()
        self._input_changed.set()
        return data

    def on_signal(self, name: str, action: Callable[[], Any] | None) -> None:
        """What a signal does; None: nothing."""
        self.handlers[number_of(name)] = action or (lambda: None)

    def use_memory(self, size: int) -> None:
        """So many bytes more (or less)."""
        self.memory += size
        self.container.check_memory(self)

    def exit(self, code: int) -> None:
        """End at once, from anywhere. The program gets CancelledError where it waits."""
        self.container.ended(self, code & 0xFF)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Something that it does beside its program."""
        task: asyncio.Task[T] = self.container.machine.spawn(work)
        self.tasks.append(task)
        return task

    # for the machine

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()

    async def feed(self, data: bytes) -> None:
        """Input, held back while too much of it waits."""
        while len(self.input) >= PIPE and self.exit_code is None and not self.input_closed:
            self._input_changed.clear()
            await self._input_changed.wait()
        if self.exit_code is None and not self.input_closed:
            self.input += data
            self._input_changed.set()

    def close_input(self) -> None:
        self.input_closed = True
        self._input_changed.set()

    def freeze(self) -> None:
        self._thawed.clear()
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.clear()
        self._thawed.set()

    def signalled(self, number: int) -> None:
        if number != signals.SIGKILL and number in self.handlers:
            self.handlers[number]()
        elif number == signals.SIGKILL or (number not in HARMLESS and not self.first):
            self.container.ended(self, 128 + number)


def running(program: Program, process: Process) -> Awaitable[int]:
    """A description, carried out."""
    return _run(program, process)


async def _run(program: Program, process: Process) -> int:
    for name in program.ignores:
        process.on_signal(name, None)
    stop = asyncio.Event()
    for name in sorted({"SIGTERM", "SIGINT", process.container.spec.stop_signal} - set(program.ignores)):
        process.on_signal(name, stop.set)
    for line in program.prints:
        process.print(line)
    for line in program.complains:
        process.print(line, "stderr")
    if program.memory:
        process.spawn(_grow(program, process))
    if not await _ends_first(program, process, stop):
        return program.exit_code
    await process.sleep(program.stops_after)
    return program.stop_code


async def _grow(program: Program, process: Process) -> None:
    await process.sleep(program.memory_after)
    process.use_memory(program.memory)


async def _ends_first(program: Program, process: Process, stop: asyncio.Event) -> bool:
    """Whether it was asked to stop before its time was over."""
    stopped = asyncio.ensure_future(stop.wait())
    over = asyncio.ensure_future(_life(program, process))
    try:
        await asyncio.wait((stopped, over), return_when=asyncio.FIRST_COMPLETED)
        return not over.done()
    finally:
        stopped.cancel()
        over.cancel()


async def _life(program: Program, process: Process) -> None:
    if program.seconds is None:
        await asyncio.get_running_loop().create_future()
    else:
        await process.sleep(program.seconds)
