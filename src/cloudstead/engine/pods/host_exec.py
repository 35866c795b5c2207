"""Further processes in a container: `runtime exec --detach`, whose child becomes ours.

The host is a "child subreaper": what its children leave behind becomes its own child, so it learns the exit code without a process that does nothing but
wait (a runtime that stays takes 12 MB). If the host dies the process goes on without anybody who knows it, as after a crash of Docker's.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import signal
import socket
import struct
import termios
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument
from cloudstead.engine.host.handlers import With, handles
from cloudstead.engine.host.processes import Process, process
from cloudstead.engine.host.programs import PATH
from cloudstead.engine.host.server import Host
from cloudstead.engine.host.waiting import until_readable
from cloudstead.engine.pods import capabilities, cgroups, commands, oci_spec
from cloudstead.engine.pods.failures import exec_failure
from cloudstead.engine.pods.host_bundle import available_capabilities
from cloudstead.engine.pods.host_records import Files, Record, look
from cloudstead.engine.pods.host_rootfs import find_user
from cloudstead.engine.pods.host_running import signal_to
from cloudstead.engine.pods.host_state import Pods, pods_of
from cloudstead.engine.pods.specs import ExecSpec

WITHIN = 60.0  # seconds for the runtime to start it
SPEC_FD, LOG_FD = 3, 4  # in the runtime's process
KEY = "execs"


class Config(msgspec.Struct):
    """The part of config.json that an exec repeats."""

    process: dict[str, Any]


def execs_of(pods: Pods) -> dict[str, Process]:
    """Those that run, by their id."""
    found: dict[str, Process] = pods.extra.setdefault(KEY, {})
    return found


@handles(commands.ExecContainer)
async def exec_container(host: Host, command: commands.ExecContainer, descriptors: list[int]) -> With[commands.ExecStarted]:
    pods = pods_of(host)
    files, record = pods.require(command.container)
    if look(files, record).state != "running":
        raise Conflict(f"container {command.container} is not running")
    if cgroups.is_frozen(cgroups.tree(), record.cgroup):
        raise Conflict(f"Container {command.container} is paused, unpause the container before exec")
    execs = execs_of(pods)
    if command.exec in execs:
        raise Conflict(f"exec {command.exec} is running")
    execs[command.exec] = Process()
    streams = Streams(command.spec)
    try:
        async with pods.creating:
            pid = await _start(host, command, files, record, streams)
        execs[command.exec] = process(pid)
        watch_exec(pods, command, pid)
    except BaseException:
        del execs[command.exec]
        close_all(streams.ours)
        raise
    finally:
        streams.close_theirs()
    return With(commands.ExecStarted(pid=pid), streams.ours)


@handles(commands.SignalExec)
async def signal_exec(host: Host, command: commands.SignalExec, descriptors: list[int]) -> None:
    named = execs_of(pods_of(host)).get(command.exec)
    if named is None or not signal_to(named, command.signal):
        raise Conflict(f"exec {command.exec} is not running")


class Streams:
    """Both ends of what the process reads and writes. `ours` go to the daemon, the others to the runtime."""

    def __init__(self, spec: ExecSpec) -> None:
        self.ours: list[int] = []
        self.theirs: list[int | None] = [None, None, None]
        if spec.tty:
            return
        for number, wanted in enumerate((spec.stdin, spec.stdout, spec.stderr)):
            if wanted:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                self.theirs[number], ours = (reading, writing) if number == 0 else (writing, reading)
                self.ours.append(ours)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            if fd is not None:
                os.close(fd)
        self.theirs = [None, None, None]


# ---------------------------------------------------------------------------------------------------------------- starting


async def _start(host: Host, command: commands.ExecContainer, files: Files, record: Record, streams: Streams) -> int:
    """The pid. Raises Failed, in Docker's words."""
    wanted = msgspec.json.encode(process_spec(command.spec, files, record))
    pid_file = files.bundle / f"exec-{command.exec}.pid"
    arguments = [record.runtime, "--root", str(host.layout.runtime), "--log", f"/proc/self/fd/{LOG_FD}", "--log-format", "json"]
    arguments += ["exec", "--detach", "--pid-file", str(pid_file), "--process", f"/proc/self/fd/{SPEC_FD}"]
    console = Console(host, command.exec) if command.spec.tty else None
    spec_fd, log_fd = os.memfd_create("process"), os.memfd_create("log")
    try:
        os.write(spec_fd, wanted)
        os.lseek(spec_fd, 0, os.SEEK_SET)
        if console is not None:
            arguments += ["--console-socket", console.path, "--tty"]
        status = await _run_runtime([*arguments, record.id], spec_fd, log_fd, streams)
        if status != 0:
            raise Failed(exec_failure(_text(log_fd)))
        if console is not None:
            streams.ours.append(await console.receive(command.spec.size))
        return int(pid_file.read_text())
    finally:
        os.close(spec_fd)
        os.close(log_fd)
        pid_file.unlink(missing_ok=True)
        if console is not None:
            console.close()


async def _run_runtime(arguments: list[str], spec_fd: int, log_fd: int, streams: Streams) -> int:
    """Its exit code. Without asyncio's subprocesses, whose set-up costs as much as the start of a small program."""
    pid = _spawn(arguments, spec_fd, log_fd, streams)
    pidfd = os.pidfd_open(pid)
    try:
        if not await until_readable(pidfd, WITHIN):
            raise Failed(exec_failure(f"the runtime did not start the process within {WITHIN:g} seconds"))
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        _wait(pid)
        raise
    finally:
        os.close(pidfd)
    return _wait(pid)


def _spawn(arguments: list[str], spec_fd: int, log_fd: int, streams: Streams) -> int:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null if fd is None else fd, number) for number, fd in enumerate(streams.theirs)]
        actions += [(os.POSIX_SPAWN_DUP2, spec_fd, SPEC_FD), (os.POSIX_SPAWN_DUP2, log_fd, LOG_FD)]
        return os.posix_spawn(
            arguments[0],
            arguments,
            {"PATH": PATH},
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    finally:
        os.close(null)


def _wait(pid: int) -> int:
    """Of one that has ended, or was killed: this takes no time."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def process_spec(spec: ExecSpec, files: Files, record: Record) -> dict[str, Any]:
    """`process` for the exec: the container's own, with what the caller wants instead.

    Raises:
        InvalidArgument
    """
    if not spec.args or not spec.args[0]:
        raise InvalidArgument("No exec command specified")
    own = msgspec.json.decode(files.config.read_bytes(), type=Config).process
    if spec.cwd and not spec.cwd.startswith("/"):
        raise InvalidArgument(f"Cwd must be an absolute path: {spec.cwd}")
    wanted = {
        **own,
        "terminal": spec.tty,
        "args": list(spec.args),
        "env": oci_spec.environment(spec.env, hostname="", tty=spec.tty, base=own["env"]),
        "cwd": spec.cwd or own["cwd"],
    }
    if spec.user:
        wanted["user"] = oci_spec.user_of(find_user(Path(record.rootfs), spec.user, ()))
    if spec.privileged:
        names = [name for name in capabilities.NAMES if name in available_capabilities()]
        wanted["capabilities"] = {"bounding": names, "effective": names, "permitted": names}
    if spec.tty and spec.size != (0, 0):
        wanted["consoleSize"] = {"height": spec.size[0], "width": spec.size[1]}
    return wanted


def _text(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(os.dup(fd), errors="replace") as file:
        return file.read()


class Console:
    """The socket by which the runtime hands over a terminal's master."""

    def __init__(self, host: Host, name: str) -> None:
        self.path = str(host.layout.sockets / f"tty-{name[:32]}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        Path(self.path).unlink(missing_ok=True)
        self._socket.bind(self.path)
        self._socket.listen(1)

    async def receive(self, size: tuple[int, int]) -> int:
        """The master; it was sent before the runtime ended."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WITHIN):
            connection, _ = await loop.sock_accept(self._socket)
            with connection:
                await until_readable(connection.fileno())
                _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                master = array.array("i", raw[:4])[0]
                prepare_terminal(master, size)
                return master
        raise Failed(exec_failure("the runtime gave no terminal"))

    def close(self) -> None:
        self._socket.close()
        Path(self.path).unlink(missing_ok=True)


def prepare_terminal(master: int, size: tuple[int, int]) -> None:
    """Lines end with CR LF, which the runtime switches off and terminals expect."""
    attributes = termios.tcgetattr(master)
    attributes[1] |= termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, attributes)
    if size != (0, 0):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


# ---------------------------------------------------------------------------------------------------------------- the end


def watch_exec(pods: Pods, command: commands.ExecContainer, pid: int) -> None:
    """Tell its exit code when it has ended; it is a child of this process since the runtime has gone."""
    pidfd = os.pidfd_open(pid)  # a zombie too has one
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(pidfd)
        code = _reap(pidfd)
        os.close(pidfd)
        execs_of(pods).pop(command.exec, None)
        pods.host.tell(commands.ExecExited(container=command.container, exec=command.exec, exit_code=code))

    loop.add_reader(pidfd, ended)


def _reap(pidfd: int) -> int:
    try:
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return 255
    if found is None:
        return 255
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status


def close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
