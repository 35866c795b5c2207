"""Where the log goes.

Everything is written to standard error: the log of calls, the warnings, the traceback of a crash. In the foreground that is the terminal. In the
background standard error *is* the log file, so that nothing can be lost between the two, and a thread renames the file when it has grown, and
puts a new one in its place under the same descriptors.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

MAX_BYTES = 16 << 20
KEPT = 3  # daemon.log.1 … daemon.log.3
_LOOK_EVERY = 2.0  # seconds


def open_log(path: Path) -> int:
    """A descriptor that appends to the log; a large one from earlier runs is rotated first."""
    if path.exists() and path.stat().st_size > MAX_BYTES:
        rotate(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path) -> None:
    """daemon.log becomes daemon.log.1, that one daemon.log.2, …; the oldest goes."""
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            os.replace(older, path.with_name(f"{path.name}.{number + 1}"))
    os.replace(path, path.with_name(f"{path.name}.1"))


def keep_short(path: Path) -> None:
    """Start the thread that rotates the file behind standard output and standard error of this process."""

    def watch() -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            try:
                if os.fstat(2).st_size > MAX_BYTES:
                    swap(path)
            except OSError as error:
                logging.getLogger(__name__).warning("could not rotate %s: %s", path, error)

    threading.Thread(target=watch, name="log-rotation", daemon=True).start()


def swap(path: Path) -> None:
    """Rotate, and put a new file under descriptors 1 and 2."""
    rotate(path)
    fresh = open_log(path)
    os.dup2(fresh, 1)
    os.dup2(fresh, 2)
    os.close(fresh)
