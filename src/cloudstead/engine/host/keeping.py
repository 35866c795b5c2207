"""The process that keeps the namespaces of an engine without root, while no container does and no host is there.

It does nothing (`sleep infinity`). The host that begins makes one if there is none, and ends it with itself when nothing runs any more. With it ends slirp4netns, which
waits for the end of a pipe that nobody else has.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import msgspec

from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.processes import Process, alive, boot, open_pidfd, process
from cloudstead.engine.host.programs import find as find_program

MONITOR = b"conmon"


class Keeper(msgspec.Struct, frozen=True):
    """`<data>/engine/keeper`."""

    boot: str
    process: Process
    runs: str
    way_out: Process = Process()


def find(layout: Layout) -> Keeper | None:
    """The note of who keeps the namespaces, when somebody is in them: the keeper, or a container's monitor if that was killed."""
    try:
        keeper = msgspec.json.decode(layout.keeper.read_bytes(), type=Keeper)
    except (OSError, msgspec.MsgspecError):
        return None
    return keeper if keeper.boot == boot() and process_in(layout, keeper) else None


def process_in(layout: Layout, keeper: Keeper | None) -> int:
    """A process in the namespaces; 0: there is none."""
    if keeper is not None and alive(keeper.process):
        return keeper.process.pid
    return next((pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _is_monitor(layout, pid)), 0)


def _is_monitor(layout: Layout, pid: int) -> bool:
    bundles = f"{layout.containers}/".encode()
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return (
            os.path.basename(words[0]) == MONITOR
            and any(word.startswith(bundles) for word in words)
            and os.stat(f"/proc/{pid}").st_uid == os.geteuid()
        )
    except OSError:
        return False


class Keeping:
    """The host's part.

    Args:
        pipe: to be kept open by the keeper; -1: none, the keeper that is there has it.
        way_out: slirp4netns, where it was started just now.
    """

    def __init__(self, layout: Layout, pipe: int, way_out: int) -> None:
        self._layout = layout
        self._pipe = pipe
        self._way_out = way_out
        self._keeper = Process()

    def begin(self) -> None:
        """See to it that there is a keeper. Nobody else looks: the caller is `alone`."""
        keeper = find(self._layout)
        if keeper is not None and self._pipe < 0 and alive(keeper.process) and _same_namespace(keeper.process.pid):
            self._keeper = keeper.process
            return
        pipe = () if self._pipe < 0 else (self._pipe,)
        started = subprocess.Popen(
            [find_program("sleep"), "infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=pipe,
            start_new_session=True,
            cwd="/",
        )
        way_out = process(self._way_out) if self._way_out else keeper.way_out if keeper is not None else Process()
        self._keeper = process(started.pid)
        note = Keeper(boot=boot(), process=self._keeper, runs=str(self._layout.runs), way_out=way_out)
        new = self._layout.keeper.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(note))
        new.rename(self._layout.keeper)
        if pipe:
            os.close(self._pipe)
        if keeper is not None:
            _end(keeper.process)

    def end(self) -> None:
        """Nothing is left that needs the namespaces."""
        self._layout.keeper.unlink(missing_ok=True)
        _end(self._keeper)


def _same_namespace(pid: int) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/user"), os.stat("/proc/self/ns/user"))
    except OSError:
        return False


def _end(named: Process) -> None:
    fd = open_pidfd(named)
    if fd is not None:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
