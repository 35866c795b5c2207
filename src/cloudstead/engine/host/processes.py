"""Processes by their number and the time when they began, since numbers are given out again. After another boot of the machine they mean nothing."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True):
    pid: int = 0
    began: int = 0  # clock ticks since the boot


@functools.cache
def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process(pid: int) -> Process:
    """A running process; `Process()` when there is none of that number."""
    began = _began(pid)
    return Process(pid, began) if began else Process()


def alive(named: Process) -> bool:
    """It runs, and is no zombie."""
    return named.pid > 0 and _began(named.pid) == named.began


def _began(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def open_pidfd(named: Process) -> int | None:
    """A descriptor of exactly this process; None when it has ended."""
    try:
        fd = os.pidfd_open(named.pid)
    except (ProcessLookupError, OverflowError):
        return None
    if alive(named):
        return fd
    os.close(fd)
    return None
