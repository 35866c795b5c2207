"""`cloudstead logs`: the log of a daemon in the background, also after it was rotated or the daemon restarted."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from cloudstead import runfile
from cloudstead.cli.terminal import Failure

_CHUNK = 1 << 16
_POLL = 0.2  # seconds


def logs(arguments: argparse.Namespace) -> None:
    path: Path = arguments.data / runfile.LOG_FILE
    run = runfile.read(arguments.data)
    if run is not None and not run.log:
        raise Failure(f"Cloudstead runs in the foreground of process {run.pid}; its log is on that terminal.")
    if not path.exists():
        raise Failure(f"There is no log in {arguments.data}; was Cloudstead started there with `cloudstead up --detach`?")
    with path.open("rb") as file:
        file.seek(_start_of_last_lines(path, arguments.lines))
        _copy(file.fileno())
        if arguments.follow:
            _follow(path, file.fileno())


def _start_of_last_lines(path: Path, lines: int) -> int:
    """Where the last lines of a file begin; reads backwards, so the size of the file does not matter."""
    if lines <= 0:
        return path.stat().st_size
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        found = -1  # the newline that ends the last line is not counted
        while at > 0:
            size = min(_CHUNK, at)
            at -= size
            file.seek(at)
            chunk = file.read(size)
            newline = len(chunk)
            while (newline := chunk.rfind(b"\n", 0, newline)) >= 0:
                found += 1
                if found == lines:
                    return at + newline + 1
    return 0


def _copy(descriptor: int) -> None:
    while data := os.read(descriptor, _CHUNK):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _follow(path: Path, descriptor: int) -> None:
    """Show what is added, for ever. A rotation puts another file in the name's place: the old one is read out, then the new one from its start."""
    file = None
    try:
        while True:
            time.sleep(_POLL)
            current = descriptor if file is None else file.fileno()
            _copy(current)
            try:
                same = os.path.samestat(os.fstat(current), path.stat())
            except FileNotFoundError:
                continue  # between the renaming and the new file, or after a reset
            if not same:
                _copy(current)
                if file is not None:
                    file.close()
                file = path.open("rb")
    finally:
        if file is not None:
            file.close()
