"""What the host notes about a container on disk, so that the next host finds it again.

    <data>/engine/containers/<id>/bundle/
        config.json       for the OCI runtime
        record.json       a Record: which run this is, which processes it has
        started, <id>     when it was started (its time); its exit code, written by conmon when the log is complete
        log, log.1 …      what it wrote, the newest first
        hosts, …          files of the pod that are mounted inside
        ctl, winsz, attach, oom, pid, conmon.log    conmon's; a seen `oom` becomes `oom-killed`

Processes are named as in host/processes.py, and are of the boot of the machine that the record names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Literal

import msgspec

from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.processes import Process, alive, boot
from cloudstead.engine.pods.specs import LogSpec

ROOM = 1024  # bytes of a usual record, with some to spare
LOST = 255  # the exit code of a container whose end nobody saw, as in Docker


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a container. Replaced as a whole."""

    id: str
    pod: str
    boot: str
    created: float
    runtime: str  # its path
    cgroup: str
    rootfs: str
    log: LogSpec
    tty: bool = False
    shared_pids: bool = False
    holder: bool = False  # it only holds namespaces for a pod
    mounts: tuple[str, ...] = ()  # made for it outside its own mount namespace: to be taken away with it
    monitor: Process = Process()
    init: Process = Process()
    cleaned: bool = False


class Files:
    """Paths of one container."""

    def __init__(self, layout: Layout, container: str) -> None:
        self.folder = layout.containers / container
        self.bundle = self.folder / "bundle"
        self.record = self.bundle / "record.json"
        self.config = self.bundle / "config.json"
        self.started = self.bundle / "started"
        self.exit = self.bundle / container
        self.log = self.bundle / "log"
        self.oom = self.bundle / "oom"
        self.oom_killed = self.bundle / "oom-killed"
        self.pid = self.bundle / "pid"
        self.content = layout.run / "content" / container
        self.shm = layout.run / "shm" / container
        self.state = layout.runtime / container
        self.fifo = self.state / "exec.fifo"

    def read(self) -> Record | None:
        """None: there is none, or it was cut off."""
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, record: Record) -> None:
        """In place, in one write(2), with blanks up to the length of before. To replace or truncate a file would make ext4 write it to the disk at
        once (ext4(5), auto_da_alloc), which takes a millisecond and more; nothing here has to outlive a power failure."""
        text = msgspec.json.encode(record)
        fd = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.ljust(max(os.fstat(fd).st_size, ROOM)))
        finally:
            os.close(fd)

    def noted_pid(self) -> int:
        """What the runtime wrote; 0: nothing yet."""
        try:
            return int(self.pid.read_text())
        except (OSError, ValueError):
            return 0

    def forget_run(self) -> None:
        """What the last run left and would be taken for the next one's."""
        for path in (self.started, self.exit, self.oom, self.oom_killed, self.pid, self.record):
            path.unlink(missing_ok=True)

    def delete(self) -> None:
        """All but what belongs to the snapshots."""
        shutil.rmtree(self.bundle, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is, from what is on disk and in /proc."""

    state: Literal["created", "running", "exited", "incomplete"]
    exit_code: int = 0
    started: float = 0.0
    finished: float = 0.0
    monitored: bool = False


def look(files: Files, record: Record) -> Found:
    """How the run of a record is now."""
    started, ended = _time_of(files.started), _time_of(files.exit)
    if ended:
        return Found(state="exited", exit_code=exit_code(files), started=started, finished=ended)
    if record.boot != boot() or not alive(record.monitor):
        state: Literal["exited", "incomplete"] = "exited" if record.init.pid else "incomplete"
        return Found(state=state, exit_code=LOST, started=started, finished=_time_of(files.log) or started or record.created)
    if not record.init.pid:
        return Found(state="incomplete", monitored=True)
    return Found(state="running" if started and not waiting(files, record) else "created", started=started, monitored=True)


def waiting(files: Files, record: Record) -> bool:
    """Its first process still is the runtime's, waiting to be let go."""
    try:
        return files.fifo.exists() and Path(f"/proc/{record.init.pid}/comm").read_text().startswith("runc:[")
    except OSError:
        return False


def exit_code(files: Files) -> int:
    try:
        return int(files.exit.read_text())
    except (OSError, ValueError):
        return LOST


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
