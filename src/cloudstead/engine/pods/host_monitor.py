"""conmon: one process a container, which starts the runtime, keeps the log, listens for whoever attaches, and writes the exit code down.

It is a child of the host that does not mind when the host dies (its next parent is the machine's init). It tells what the runtime said through a pipe,
once: `{"data": <pid>}`, or `{"data": -1, "message": …}`. See conmon(8).
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec

from cloudstead.engine.errors import Failed
from cloudstead.engine.host.programs import PATH, find
from cloudstead.engine.host.server import Host
from cloudstead.engine.host.waiting import read_pipe
from cloudstead.engine.pods.failures import start_failure
from cloudstead.engine.pods.host_records import Files
from cloudstead.engine.pods.specs import ContainerSpec

SYNC = 3  # the descriptor of the pipe in conmon
WITHIN = 60.0  # seconds for `runtime create`
LONGEST_ANSWER = 1 << 20


class Answer(msgspec.Struct):
    data: int
    message: str = ""


def spawn(host: Host, spec: ContainerSpec, files: Files, runtime: str) -> tuple[int, int]:
    """Start conmon; its pid, and the pipe to read.

    posix_spawn is what costs least in a process of this size: no page tables are copied. conmon's working folder is the bundle, so that the
    log's path is short and has no colon, which would mean something to it.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    before = os.umask(0o022)  # the runtime makes folders for mounts by it, and every user of the container must reach them
    try:
        os.chdir(files.bundle)
        pid = os.posix_spawn(
            find("conmon"),
            _arguments(host, spec, files, runtime),
            {"PATH": PATH, "_OCI_SYNCPIPE": str(SYNC), "TMPDIR": str(host.layout.sockets)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "conmon.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, writing, SYNC),
            ],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            setsigmask=[],
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.umask(before)
        os.chdir("/")
        os.close(writing)
    return pid, reading


def _arguments(host: Host, spec: ContainerSpec, files: Files, runtime: str) -> list[str]:
    arguments = ["conmon", "--sync", "--api-version=1", "--full-attach", "--no-sync-log", "--log-level=error"]
    arguments += [
        "-c",
        spec.id,
        "-u",
        spec.id,
        "-n",
        spec.name,
        "-r",
        runtime,
        f"--runtime-arg=--root={host.layout.runtime}",
        "--runtime-arg=--log-format=json",
    ]
    arguments += ["-b", str(files.bundle), "-p", str(files.pid), "--exit-dir", str(files.bundle)]
    arguments += ["-l", "none" if spec.log.driver == "none" else f"k8s-file:{files.log.name}"]
    if spec.tty:
        arguments.append("-t")
    if spec.stdin:
        # Who leaves a terminal leaves it open for the next.
        arguments += ["-i"] if spec.stdin_once and not spec.tty else ["-i", "--leave-stdin-open"]
    return arguments


async def created(reading: int, files: Files) -> int:
    """The container's pid, as soon as the runtime has made it. Closes the pipe.

    Raises:
        Failed: what the runtime said, in Docker's words.
    """
    try:
        async with asyncio.timeout(WITHIN):
            line = await read_pipe(reading, most=LONGEST_ANSWER, line=True)
    except TimeoutError:
        raise Failed(start_failure(f"the runtime did not create the container within {WITHIN:g} seconds")) from None
    finally:
        os.close(reading)
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.MsgspecError:
        said = _text(files.bundle / "conmon.log")
        raise Failed(start_failure(f"conmon ended: {said}")) from None
    if answer.data <= 0:
        raise Failed(start_failure(answer.message or _text(files.bundle / "conmon.log")))
    return answer.data


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
