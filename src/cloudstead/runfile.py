"""Who is running on a data directory: `<data>/run.json`, and the lock that keeps a second daemon out.

The lock (flock on `<data>/run.lock`) is what excludes: the kernel gives it back when its holder dies, however it dies.
The file only tells: process, address, version. A process id can be in use again by something else when the file is stale,
so the file also holds the process's start time and the machine's boot id, and a process counts as ours only if they agree.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from cloudstead import __version__, datadir
from cloudstead.settings import endpoint_of

RUN_FILE = "run.json"
LOCK_FILE = "run.lock"
LOG_FILE = "daemon.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A daemon at work."""

    pid: int
    start_ticks: int  # when the process began, in clock ticks since boot: field 22 of /proc/<pid>/stat
    boot_id: str
    host: str
    port: int
    tls: bool
    started: float  # seconds since the epoch
    version: str
    log: str = ""  # the file that it writes its log to; empty when that goes to a terminal or elsewhere

    @property
    def endpoint(self) -> str:
        return endpoint_of(self.host, self.port, self.tls)

    @property
    def alive(self) -> bool:
        return self.boot_id == boot_id() and self.start_ticks == start_ticks(self.pid)


class CannotStart(Exception):
    """A daemon could not start, or is not to; the message says why, and what to do."""


class AlreadyRunning(CannotStart):
    """Another daemon holds this data. `run` is what it published, None while it has not yet."""

    def __init__(self, data: Path, run: Run | None) -> None:
        self.run = run
        who = f"process {run.pid}, {run.endpoint}" if run else "it is just starting or stopping"
        super().__init__(f"Cloudstead is already running on {data} ({who}).")


class Claim:
    """This process's hold on a data directory, from before the store is opened until after it is closed."""

    def __init__(self, data: Path, lock: int) -> None:
        self.data = data
        self._lock = lock

    def publish(self, *, host: str, port: int, tls: bool = False) -> Run:
        """Tell that the daemon listens there."""
        run = Run(
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()) or 0,
            boot_id=boot_id(),
            host=host,
            port=port,
            tls=tls,
            started=time.time(),
            version=__version__,
            log=_log_of_this_process(self.data / LOG_FILE),
        )
        datadir.write_atomically(self.data / RUN_FILE, json.dumps(asdict(run)).encode(), 0o600)
        return run

    def release(self) -> None:
        """Take the run file away and let the next daemon in."""
        if self._lock < 0:
            return
        (self.data / RUN_FILE).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def claim(data: Path) -> Claim:
    """Take hold of a data directory, made if need be.

    Raises:
        AlreadyRunning: another daemon has it.
        datadir.NotOurs: the folder holds something else.
    """
    datadir.prepare(data)
    lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _lock(lock):
        os.close(lock)
        raise AlreadyRunning(data, read(data))
    (data / RUN_FILE).unlink(missing_ok=True)  # a stale one: whoever wrote it is dead, or the lock would be held
    return Claim(data, lock)


def _lock(descriptor: int) -> bool:
    """Take the lock; a second try because `held` takes it for an instant to ask whether it is free."""
    for wait in (0.05, 0.1, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(wait)
    return False


def read(data: Path) -> Run | None:
    """The daemon that runs on this data; None when there is none, also when a dead one left its file."""
    try:
        run = Run(**json.loads((data / RUN_FILE).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    return run if run.alive else None


def held(data: Path) -> bool:
    """Whether a daemon holds this data, be it still starting or already stopping."""
    try:
        lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold blanks and brackets: proc(5)
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _log_of_this_process(path: Path) -> str:
    """The log file, when standard error is it."""
    try:
        return str(path) if os.path.samestat(os.fstat(2), path.stat()) else ""
    except OSError:
        return ""
