"""Logs: opened for the daemon, and rotated.

conmon writes one file and can be told to begin a new one at its place (the control message "2"). So rotation is: give the file a second name, tell
conmon, wait until the first name is a new file. No line is lost or torn. conmon's own `--log-size-max` throws the old file away instead.

The size is looked at from time to time, more often as it grows faster, so a file may become larger than asked for by what is written in an interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.handlers import With, handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import commands
from cloudstead.engine.pods.host_records import Files
from cloudstead.engine.pods.host_running import tell_monitor
from cloudstead.engine.pods.host_state import Pods, Watched, pods_of

OFTEN, SELDOM = 0.02, 1.0  # seconds between two looks
NEW_WITHIN = 2.0
KEY = "rotations"


@handles(commands.OpenLog)
async def open_log(host: Host, command: commands.OpenLog, descriptors: list[int]) -> With[int]:
    files, record = pods_of(host).require(command.id)
    opened: list[int] = []
    if record.log.driver == "file":
        for path in rotated(files):
            with contextlib.suppress(FileNotFoundError):
                opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    return With(len(opened), opened)


def rotated(files: Files) -> list[str]:
    """The log's files, the oldest first."""
    numbers = sorted(
        (int(found[1]) for path in files.bundle.glob("log.*") if (found := re.fullmatch(r"log\.(\d+)", path.name))), reverse=True
    )
    return [f"{files.log}.{number}" for number in numbers] + [str(files.log)]


def watch_logs(pods: Pods) -> None:
    """Rotate logs of all that are watched and have a limit."""
    tasks: dict[str, asyncio.Task[None]] = {}

    def begun(watched: Watched) -> None:
        if watched.record.log.driver == "file" and watched.record.log.max_size:
            tasks[watched.record.id] = asyncio.ensure_future(_keep_small(pods.host, watched))

    def ended(watched: Watched) -> None:
        if (task := tasks.pop(watched.record.id, None)) is not None:
            task.cancel()

    pods.on_watch.append(begun)
    pods.on_end.append(ended)


async def _keep_small(host: Host, watched: Watched) -> None:
    files, most = watched.files, watched.record.log.max_size
    size, pause = 0, SELDOM / 4
    while True:
        await asyncio.sleep(pause)
        before, size = size, _size(files)
        if size >= most:
            if await rotate(files, watched.record.log.max_files):
                host.tell(commands.LogRotated(id=watched.record.id))
            size = _size(files)
            pause = max(OFTEN, pause / 2)
        else:
            growing = max(size - before, 0) / pause
            until_full = (most - size) / growing if growing else SELDOM
            pause = min(max(until_full / 2, OFTEN), SELDOM)


async def rotate(files: Files, keep: int) -> bool:
    """Begin a new file; `keep` counts it. False: conmon has ended meanwhile."""
    names = [str(files.log), *(f"{files.log}.{number}" for number in range(1, keep))]
    old = os.stat(files.log).st_ino
    for older, newer in reversed(list(zip(names[1:], names, strict=False))):
        with contextlib.suppress(FileNotFoundError):
            if newer == names[0]:
                _link(newer, older)
            else:
                os.replace(newer, older)
    try:
        tell_monitor(files.bundle / "ctl", "2 0 0\n")
    except EngineError:
        return False
    waited = 0.0
    while os.stat(files.log).st_ino == old and waited < NEW_WITHIN:
        await asyncio.sleep(0.005)
        waited += 0.005
    return os.stat(files.log).st_ino != old


def _link(path: str, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
    os.link(path, name)


def _size(files: Files) -> int:
    try:
        return os.stat(files.log).st_size
    except FileNotFoundError:
        return 0
