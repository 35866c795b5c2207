"""A container of the simulated machine: its processes, output, input and files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from cloudstead.engine.errors import Conflict, Failed
from cloudstead.engine.pods.commands import ContainerExited, ContainerOom, ExecExited, FoundContainer
from cloudstead.engine.pods.signals import SIGKILL
from cloudstead.engine.pods.simulated_files import Files
from cloudstead.engine.pods.simulated_programs import Process, Run
from cloudstead.engine.pods.simulated_streams import SimulatedStreams
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, PodSpec
from cloudstead.engine.pods.states import Exit, LogRecord

if TYPE_CHECKING:
    from cloudstead.engine.pods.simulated_machine import SimulatedMachine

BUG = 70  # exit code of a program that raised: EX_SOFTWARE of sysexits(3)
Stream = Literal["stdout", "stderr"]


class SimulatedContainer:
    def __init__(self, machine: SimulatedMachine, spec: ContainerSpec, pod: PodSpec) -> None:
        self.machine = machine
        self.spec = spec
        self.pod = pod
        self.files = Files()
        self.main: Process | None = None
        self.others: dict[str, Process] = {}  # by exec id
        self.exit: Exit | None = None
        self.created = machine.clock.time()
        self.started = 0.0
        self.paused = False
        self.cleaned = False
        self.size = (0, 0)
        self.log: list[LogRecord] = []
        self.attached: list[SimulatedStreams] = []
        self.memory_peak = 0
        self.oom_killed = False
        self._pending: list[int] = []  # signals that came while it was frozen
        self._unended: dict[str, bytearray] = {}  # lines of which the end is yet to come
        self._changed = asyncio.Event()

    # runs

    def begin(self, program: Run) -> Process:
        if self.main is not None:
            raise Conflict(f"container {self.spec.id} runs already")
        self.exit, self.paused, self.cleaned, self.oom_killed = None, False, False, False
        self.started = self.machine.clock.time()
        process = self.main = self._process(self.spec.args, self.spec.env, self.spec.cwd)
        process.first = not self.spec.init
        process.size = self.size
        process.output = self._write
        process.input_closed = not self.spec.stdin
        self._launch(process, program)
        for streams in self.attached:
            streams.begin(process)
        return process

    def execute(self, id: str, spec: ExecSpec, streams: SimulatedStreams) -> Process:
        program = self.machine.find(self, spec.args)
        if program is None:
            raise Failed(
                "OCI runtime exec failed: exec failed: unable to start container process: "
                f'exec: "{spec.args[0]}": executable file not found in $PATH: unknown'
            )
        process = self.others[id] = self._process(spec.args, (*self.spec.env, *spec.env), spec.cwd or self.spec.cwd)
        process.size = spec.size
        process.input_closed = not spec.stdin
        process.output = lambda stream, data: streams.put("stdout" if spec.tty or stream == "stdout" else "stderr", data)
        self._launch(process, program)
        streams.begin(process)
        return process

    def _process(self, args: tuple[str, ...], env: tuple[str, ...], cwd: str) -> Process:
        return Process(self, self.machine.pid(), args, dict(pair.split("=", 1) for pair in env if "=" in pair), cwd or "/")

    def _launch(self, process: Process, program: Run) -> None:
        process.tasks.append(self.machine.spawn(self._live(process, program)))

    async def _live(self, process: Process, program: Run) -> None:
        try:
            code = await program(process)
        except asyncio.CancelledError:
            return
        except Exception:
            self.ended(process, BUG)
            raise
        self.ended(process, code & 0xFF)

    def ended(self, process: Process, code: int) -> None:
        """A process is no more, whatever ended it."""
        if process.exit_code is not None:
            return
        process.exit_code = code
        process.close_input()
        process.thaw()
        process.stop()
        if process is self.main:
            self._main_ended(code)
            return
        for id, other in list(self.others.items()):
            if other is process:
                del self.others[id]
                self.machine.tell(ExecExited(container=self.spec.id, exec=id, exit_code=code))

    def _main_ended(self, code: int) -> None:
        process = self.main
        assert process is not None
        for other in list(self.others.values()):
            self.ended(other, 128 + SIGKILL)
        self.main, self.paused = None, False
        for stream in list(self._unended):
            self._record(stream, bytes(self._unended.pop(stream)))
        self.exit = Exit(code=code, oom_killed=self.oom_killed, finished=self.machine.clock.time())
        attached, self.attached = self.attached, []
        for streams in attached:
            streams.end()
        self._tell_change()
        self.machine.tell(
            ContainerExited(id=self.spec.id, pid=process.pid, exit_code=code, oom_killed=self.oom_killed, finished=self.exit.finished)
        )

    def vanish(self) -> None:
        """The machine lost power: nobody writes down how it ended."""
        process, self.main = self.main, None
        self.exit, self.paused = None, False
        for each in (process, *self.others.values()):
            if each is not None:
                each.exit_code = 128 + SIGKILL
                each.stop()
        self.others.clear()
        for streams in self.attached:
            streams.end()
        self.attached = []
        self._tell_change()

    def found(self) -> FoundContainer:
        state: Literal["created", "running", "paused", "exited", "incomplete"] = "incomplete"
        code, oom, finished = 0, False, 0.0
        if self.main is not None:
            state = "paused" if self.paused else "running"
        elif self.exit is not None:
            state, code, oom, finished = "exited", self.exit.code, self.exit.oom_killed, self.exit.finished
        return FoundContainer(
            id=self.spec.id,
            pod=self.pod.id,
            state=state,
            pid=0 if self.main is None else self.main.pid,
            exit_code=code,
            oom_killed=oom,
            created=self.created,
            started=self.started,
            finished=finished,
            cleaned=self.cleaned,
        )

    # what happens to it

    def signal(self, number: int) -> None:
        assert self.main is not None
        if not self.paused:
            self.main.signalled(number)
        else:
            self._pending.append(number)

    def signal_pid(self, pid: int, number: int) -> None:
        """`kill` of its shell; 1 is its first process."""
        for process in (self.main, *self.others.values()):
            if process is not None and (process.pid == pid or (pid == 1 and process is self.main)):
                process.signalled(number)

    def freeze(self) -> None:
        self.paused = True
        for process in (self.main, *self.others.values()):
            if process is not None:
                process.freeze()

    def thaw(self) -> None:
        self.paused = False
        for process in (self.main, *self.others.values()):
            if process is not None:
                process.thaw()
        pending, self._pending[:] = list(self._pending), []
        for number in pending:
            if self.main is not None:
                self.main.signalled(number)

    def check_memory(self, process: Process) -> None:
        """Kill what takes more than the container or its pod may have."""
        used = self.memory
        self.memory_peak = max(self.memory_peak, used)
        others = sum(other.memory for other in self.machine.containers.values() if other is not self and other.pod.id == self.pod.id)
        limit, pod_limit = self.spec.resources.memory, self.pod.resources.memory
        if (limit and used > limit) or (pod_limit and used + others > pod_limit):
            self.oom_killed = True
            self.machine.tell(ContainerOom(id=self.spec.id))
            self.ended(process, 128 + SIGKILL)

    @property
    def memory(self) -> int:
        return sum(each.memory for each in (self.main, *self.others.values()) if each is not None)

    # output

    def _write(self, stream: str, data: bytes) -> None:
        if self.spec.tty:
            stream, data = "stdout", data.replace(b"\n", b"\r\n")
        for streams in self.attached:
            streams.put("stdout" if stream == "stdout" else "stderr", data)
        unended = self._unended.setdefault(stream, bytearray())
        unended += data
        *lines, rest = bytes(unended).split(b"\n")
        unended[:] = rest
        for line in lines:
            self._record(stream, line + b"\n")

    def _record(self, stream: str, data: bytes) -> None:
        if data and self.spec.log.driver == "file":
            self.log.append(LogRecord(self.machine.clock.time(), "stdout" if stream == "stdout" else "stderr", data))
            self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Something was logged, or it ended."""
        await self._changed.wait()
