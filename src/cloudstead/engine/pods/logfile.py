"""Reading what conmon logs, in its k8s-file format. Files are descriptors here; nothing knows where they lie.

    2026-01-02T03:04:05.678901234+00:00 stdout F a whole line
    2026-01-02T03:04:05.678901234+00:00 stdout P the beginning of one, or the last of a stream that ended without line end
    ╰──────────── time ───────────────╯ ╰────╯ ╰ P: the line goes on in the next record of the same stream

conmon appends whole records and keeps them in the order of their times, so a reader may begin in the middle: `start_of` finds the place by
bisection for `since`, and from the end for `tail`, without reading the rest.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Iterator

from cloudstead.engine.pods.states import LogRecord

BLOCK = 256 << 10
STEP = 20 << 10  # bytes that hold a whole record, wherever one begins to read
LONGEST = 64 << 10  # bytes of a record: conmon reads 8192 at a time; more means that this is no log


class Reader:
    """Takes a log apart, piece by piece; a record that is not whole yet waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""
        self._second, self._epoch = b"", 0.0

    def feed(self, data: bytes) -> list[LogRecord]:
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST:
            self._rest = b""
        return [record for line in lines if (record := self.parse(line)) is not None]

    def parse(self, line: bytes) -> LogRecord | None:
        """A record without its line end; None for what is none."""
        stamp, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, data = rest.partition(b" ")
        if stream not in (b"stdout", b"stderr") or tag not in (b"F", b"P"):
            return None
        when = self._time(stamp)
        if when is None:
            return None
        return LogRecord(when, "stdout" if stream == b"stdout" else "stderr", data + b"\n" if tag == b"F" else data)

    def _time(self, stamp: bytes) -> float | None:
        second, rest = stamp[:19], stamp[19:]
        try:
            if second != self._second:
                self._epoch = calendar.timegm(time.strptime(second.decode(), "%Y-%m-%dT%H:%M:%S"))
                self._second = second
            zone = max(rest.rfind(b"+"), rest.rfind(b"-"))
            fraction = rest[:zone] if zone >= 0 else rest.rstrip(b"Z")
            when = self._epoch + (float(fraction) if len(fraction) > 1 else 0.0)
            return when - _offset(rest[zone:]) if zone >= 0 and rest[zone + 1 :] != b"00:00" else when
        except ValueError:
            return None


def _offset(zone: bytes) -> float:
    hours, _, minutes = zone[1:].partition(b":")
    seconds = int(hours) * 3600 + int(minutes or 0) * 60
    return -seconds if zone.startswith(b"-") else seconds


Place = tuple[int, int]  # which file, and where in it


def start_of(files: list[int], *, since: float = 0.0, tail: int | None = None) -> Place:
    """Where to begin, the files given oldest first. Of `since` and `tail` the later."""
    places: list[Place] = [(0, 0)]
    if tail is not None:
        places.append(_start_of_tail(files, tail))
    if since:
        places.append(_start_since(files, since))
    return max(places)


def _start_of_tail(files: list[int], tail: int) -> Place:
    """Before the last `tail` lines, counting ends of lines, and lines that have none yet.

    Where pieces of a long line are mixed with another stream's lines, the first ones may be cut off.
    """
    end = (len(files) - 1, os.fstat(files[-1]).st_size) if files else (0, 0)
    if tail <= 0 or not files:
        return end
    count, whole_after = 0, dict[bytes, bool]()
    for number in range(len(files) - 1, -1, -1):
        for offset, line in _backwards(files[number]):
            kind = line.split(b" ", 3)[1:3]
            if len(kind) < 2:
                continue
            stream, tag = kind
            # A P that nothing follows in its stream is a line without end: it counts as one.
            if tag == b"F" or stream not in whole_after:
                count += 1
                whole_after[stream] = True
            if count > tail:
                return number, offset + len(line) + 1
    return 0, 0


def _backwards(file: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their places, the last first."""
    at, rest = os.fstat(file).st_size, b""
    while at > 0:
        begin = max(0, at - BLOCK)
        data = os.pread(file, at - begin, begin) + rest
        lines, end = data.split(b"\n"), begin + len(data)
        for line in reversed(lines[1:]):
            start = end - len(line)
            if line:
                yield start, line
            end = start - 1
        rest, at = lines[0], begin
    if rest:
        yield 0, rest


def _start_since(files: list[int], since: float) -> Place:
    for number, file in enumerate(files):
        size = os.fstat(file).st_size
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            offset, when = _first_record(file, middle, size)
            if when is None or when >= since:
                high = middle
            else:
                low = max(offset, middle) + 1
        if low < size and (found := _first_record(file, low, size))[1] is not None:
            return number, found[0]
    return (len(files) - 1, os.fstat(files[-1]).st_size) if files else (0, 0)


def _first_record(file: int, at: int, size: int) -> tuple[int, float | None]:
    """The first record that begins at or after a place: where, and of when. None: there is none."""
    reader = Reader()
    begin = max(0, at - 1)
    data = os.pread(file, min(STEP, size - begin), begin)
    offset = begin
    if at > 0:
        skipped = data.find(b"\n")
        if skipped < 0:
            return size, None
        offset, data = begin + skipped + 1, data[skipped + 1 :]
    while data:
        end = data.find(b"\n")
        if end < 0:
            return size, None
        record = reader.parse(data[:end])
        if record is not None:
            return offset, record.time
        offset, data = offset + end + 1, data[end + 1 :]
    return size, None
