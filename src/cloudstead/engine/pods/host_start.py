"""Starting a run: conmon, which starts the runtime, and letting the first process go.

The runtime's `create` leaves the container's first process waiting at a FIFO; to start it is to open that, which saves running the runtime once
more. Other runtimes than runc are asked in the proper way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument
from cloudstead.engine.host.processes import open_pidfd, process
from cloudstead.engine.host.programs import find, run_program
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods.host_monitor import created, spawn
from cloudstead.engine.pods.host_records import Files, Record, waiting
from cloudstead.engine.pods.specs import ContainerSpec

RELEASE_WITHIN = 10.0  # seconds from opening the FIFO to the first instruction
EXECUTED_WITHIN = 0.5
TAKEN_WITHIN = 0.2
RUNC_INIT = "runc:[2:INIT]\n"


def runtime_path(host: Host, name: str) -> str:
    """Of the default runtime, or of one that the configuration names (`runtime.crun=/usr/bin/crun`).

    Raises:
        InvalidArgument, Unsupported
    """
    if not name or name == host.runtime:
        return find(host.options.get(f"runtime.{host.runtime}", host.runtime))
    path = host.options.get(f"runtime.{name}")
    if path is None:
        raise InvalidArgument(f"unknown or invalid runtime name: {name}")
    return find(path)


async def run_monitor(host: Host, spec: ContainerSpec, files: Files, record: Record) -> Record:
    """Start conmon and wait for the runtime. The record is on disk before there is anything to lose; when this fails, `undo` finds conmon by it."""
    files.write(record)
    monitor, reading = spawn(host, spec, files, record.runtime)
    record = replace(record, monitor=process(monitor))
    files.write(record)
    record = replace(record, init=process(await created(reading, files)))
    files.write(record)
    return record


def connect_attach(files: Files) -> int:
    """A connection to conmon's attach socket, by the folder's descriptor: a socket's path has room for 107 bytes only."""
    folder = os.open(files.bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
            sock.connect(f"/proc/self/fd/{folder}/attach")
            return sock.detach()
    except BlockingIOError:
        raise
    except OSError as error:
        raise Conflict(f"container {files.folder.name} cannot be attached to: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        os.close(folder)


async def attached(files: Files, record: Record) -> int:
    """The same, once conmon has taken it (it has a socket more): what is written before that goes to the log alone."""
    before = _sockets(record.monitor.pid)
    connection = connect_attach(files)
    deadline = time.monotonic() + TAKEN_WITHIN
    while _sockets(record.monitor.pid) <= before and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.0005)
    return connection


def _sockets(pid: int) -> int:
    count = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return count


async def executed(record: Record) -> None:
    """Wait until the runtime's own first process has become the container's: a signal before that would meet the runtime, and end with its status."""
    deadline = time.monotonic() + EXECUTED_WITHIN
    while _command(record.init.pid) == RUNC_INIT and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.001)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


async def let_go(files: Files, record: Record) -> float:
    """Let the first process begin; when.

    Raises:
        Failed: it has ended before.
    """
    files.started.touch()
    started = files.started.stat().st_mtime
    try:
        if Path(record.runtime).name == "runc" and files.fifo.exists():
            await _open_fifo(files, record)
        else:
            await _start_by_runtime(files, record)
    except BaseException:
        files.started.unlink(missing_ok=True)
        raise
    return started


async def _open_fifo(files: Files, record: Record) -> None:
    """runc's first process blocks in opening the FIFO for writing, writes a byte and goes on (libcontainer, standard_init_linux.go)."""
    init = open_pidfd(record.init)
    if init is None:
        raise Failed("the container's first process ended before it was started")
    fifo = os.open(files.fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        loop.add_reader(fifo, woken.set)
        loop.add_reader(init, woken.set)
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                while not _read_byte(fifo):
                    await woken.wait()
                    woken.clear()
                    if not waiting(files, record):
                        break
        except TimeoutError:
            raise Failed(f"the container's first process did not go on within {RELEASE_WITHIN:g} seconds") from None
        finally:
            loop.remove_reader(fifo)
            loop.remove_reader(init)
    finally:
        os.close(fifo)
        os.close(init)
    files.fifo.unlink(missing_ok=True)


def _read_byte(fifo: int) -> bool:
    """False: nobody has written yet."""
    try:
        return bool(os.read(fifo, 16))
    except BlockingIOError:
        return False


async def _start_by_runtime(files: Files, record: Record) -> None:
    finished = await run_program([record.runtime, "--root", str(files.state.parent), "start", record.id], check=False)
    if finished.status:
        raise Failed(f"OCI runtime start failed: {finished.stderr.decode(errors='replace').strip()}: unknown")
