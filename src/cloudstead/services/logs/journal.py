"""The journal: where every accepted event goes first, all groups together, so that all calls that wait share one fsync.

    journal/0000000001.journal      appended to by the one writer thread; about 32 MB each, then a new one
    groups/<uid>/<…>.segment        into which finished journals are sorted (see segments.py); then the journal is deleted

A record is one batch of one stream. Its header holds what the index needs, so a restart reads headers and checks sums without touching events twice:

    magic u32 | crc32 u32 (of all that follows) | payload length u32 | count u32 | group u64 | stream u64 | first seq u64 | ingested i64 | low i64 | high i64

The crash model: a record counts when it is whole. After a crash the last journal may end in a torn record; it is cut off there. It was never
acknowledged, because the answer waits for `fdatasync`. A damaged record before the end ends that journal too, but then the rest is kept aside
in `<name>.damaged` and reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import msgspec

from cloudstead.services.logs.files import Files, sync_folder
from cloudstead.services.logs.runs import Run, accepted, read_accepted

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<IIIIQQQqqq")
_CHECKED = struct.Struct("<IIQQQqqq")  # the header without magic and checksum
_MAGIC = 0x4A4C5343  # "CSLJ"
ROTATE_BYTES = 32 << 20
ROTATE_BATCHES = 50_000
LARGEST_PAYLOAD = 4 << 20  # a call carries at most 1 MiB of messages and 10,000 times 12 bytes of columns


class Batch(msgspec.Struct, gc=False):
    """One accepted batch, and where it lies. A source for the merge."""

    group: int
    stream: int
    first_seq: int
    count: int
    ingested: int  # ms
    low: int  # ms
    high: int  # ms
    size: int  # bytes of messages
    journal: int = 0  # the number of its journal
    offset: int = 0  # of its payload
    length: int = 0  # of its payload
    files: Files | None = None

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def open(self) -> Run:
        assert self.files is not None
        payload = self.files.read(journal_name(self.journal), self.offset, self.length)
        return read_accepted(self.stream, self.count, self.ingested, self.first_seq, payload)


class Accepted(msgspec.Struct):
    """A batch with its events, as listeners see it once it is on disk."""

    batch: Batch
    stamps: Sequence[int]
    messages: Sequence[bytes]


class _Write(msgspec.Struct):
    event: Accepted
    payload: bytes
    done: asyncio.Future[None]


_Done: TypeAlias = tuple[list[_Write], OSError | None] | int
"""What the writing thread did: these writes, well or not; or it finished the journal of this number."""


def journal_name(number: int) -> str:
    return f"journal/{number:010d}.journal"


class Journal:
    """The files of the journal and the thread that writes them. All public methods but `delete` belong to the event loop."""

    def __init__(
        self,
        folder: Path,
        files: Files,
        *,
        on_disk: Callable[[list[Accepted]], None],
        on_rotated: Callable[[int], None],
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self.folder = folder / "journal"
        self.files = files
        self._on_disk = on_disk
        self._on_rotated = on_rotated
        self._rotate_bytes = rotate_bytes
        self.numbers: list[int] = []  # journals that exist, the last one is written to
        self._seq = 0
        self._bytes = 0  # of the current journal, with what waits to be written
        self._batches = 0
        self.since = 0  # when the first events of the current journal were accepted, ms
        self._fd = -1
        self._end = 0  # of the current file; the writer's
        self._waiting: list[_Write | int] = []  # an int: go on in the journal of this number
        self._flushing: asyncio.Future[list[_Done]] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="logs-journal")
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, after: int = 0) -> list[Batch]:
        """Read the headers of what is there, cut a torn tail, make ready to append. Returns the batches in the order in which they were accepted.

        Args:
            after: the next event's number is higher than this, even if the journal knows of no such number.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        batches: list[Batch] = []
        self.numbers = sorted(int(path.stem) for path in self.folder.glob("*.journal"))
        for number in self.numbers:
            path = self.folder / f"{number:010d}.journal"
            found, end = read_journal(path, number, self.files)
            batches.extend(found)
            self._bytes, self._batches = end, len(found)
            self.since = found[0].ingested if found else 0
            if end < path.stat().st_size:
                _cut(path, end, keep=number != self.numbers[-1])
        if not self.numbers:
            self.numbers = [1]
        self._seq = max([batch.last_seq + 1 for batch in batches] + [self.numbers[-1] << 32, after + 1])
        self._open_file(self.numbers[-1])
        return batches

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        while self._waiting or self._flushing is not None:
            await (asyncio.sleep(0) if self._flushing is None else asyncio.wait([self._flushing]))
        self._writer.shutdown(wait=False)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, group: int, stream: int, ingested: int, stamps: Sequence[int], messages: Sequence[bytes]) -> asyncio.Future[None]:
        """Accept one batch. The future is done when it is on disk, or fails with the OSError that kept it from getting there."""
        assert self._loop is not None
        payload = accepted(stamps, messages)
        count = len(stamps)
        if self._bytes >= self._rotate_bytes or self._batches >= ROTATE_BATCHES:
            self.rotate()
        batch = Batch(group, stream, self._seq, count, ingested, stamps[0], stamps[-1], len(payload) - 12 * count, files=self.files)
        self._seq += count
        if not self._batches:
            self.since = ingested
        self._bytes += _HEADER.size + len(payload)
        self._batches += 1
        done = self._loop.create_future()
        self._enqueue(_Write(Accepted(batch, stamps, messages), payload, done))
        return done

    def rotate(self) -> None:
        """Go on in a new journal; the present one is then ready to be sorted."""
        if not self._batches:
            return
        number = self.numbers[-1] + 1
        self.numbers.append(number)
        self._seq = max(self._seq, number << 32)
        self._bytes = self._batches = 0
        self._enqueue(number)

    @property
    def last_seq(self) -> int:
        return self._seq - 1

    def forget(self, number: int) -> None:
        """All events of this journal are in segments."""
        self.numbers.remove(number)
        self.files.forget(journal_name(number))

    def delete(self, number: int) -> None:
        """Delete it, durably: it must not come back beside segments that were merged since. Any thread."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / f"{number:010d}.journal")
        sync_folder(self.folder)

    def _enqueue(self, item: _Write | int) -> None:
        assert self._loop is not None
        self._waiting.append(item)
        if len(self._waiting) == 1 and self._flushing is None:
            self._loop.call_soon(self._flush)  # with all that comes in the same turn of the loop

    def _flush(self) -> None:
        """Hand what waits to the writing thread. What comes meanwhile waits, and is the next to be handed over: one fsync for all of it."""
        assert self._loop is not None
        items, self._waiting = self._waiting, []
        self._flushing = self._loop.run_in_executor(self._writer, self._write_all, items)
        self._flushing.add_done_callback(lambda flushing: self._flushed(items, flushing))

    def _flushed(self, items: list[_Write | int], flushing: asyncio.Future[list[_Done]]) -> None:
        self._flushing = None
        if (failure := flushing.exception()) is not None:  # a mistake of ours; nobody shall wait for ever because of it
            log.error("The journal of the log events failed", exc_info=failure)
            _finish([item for item in items if isinstance(item, _Write)], failure)
        else:
            for done in flushing.result():
                self._tell(done)
        if self._waiting:
            self._flush()

    def _tell(self, done: _Done) -> None:
        if isinstance(done, int):
            self._on_rotated(done)
            return
        writes, error = done
        if error is None:
            self._on_disk([write.event for write in writes])
        _finish(writes, error)

    # In the writing thread.

    def _write_all(self, items: list[_Write | int]) -> list[_Done]:
        done: list[_Done] = []
        writes: list[_Write] = []
        for item in items:
            if isinstance(item, int):
                done += self._commit(writes)
                writes = []
                done.append(self._turn(item))
            else:
                writes.append(item)
        return done + self._commit(writes)

    def _commit(self, writes: list[_Write]) -> list[_Done]:
        if not writes:
            return []
        try:
            self._write(writes)
        except OSError as error:
            log.error("The journal of the log events cannot be written: %s", error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            return [(writes, error)]
        return [(writes, None)]

    def _write(self, writes: list[_Write]) -> None:
        if self._fd < 0:
            self._open_file(int(self._name))  # it could not be made when its turn came; perhaps there is room now
        number = int(self._name)
        position = self._end
        parts: list[bytes] = []
        for write in writes:
            header = _header(write.event.batch, write.payload)
            write.event.batch.journal = number
            write.event.batch.offset = position + len(header)
            write.event.batch.length = len(write.payload)
            position += len(header) + len(write.payload)
            parts += (header, write.payload)
        data = memoryview(b"".join(parts))
        at = self._end
        while data:
            n = os.pwrite(self._fd, data, at)
            data, at = data[n:], at + n
        os.fdatasync(self._fd)
        self._end = position

    def _turn(self, number: int) -> int:
        """Go on in another journal; returns the number of the one that is finished."""
        finished = int(self._name)
        try:
            self._open_file(number)
        except OSError as error:
            log.error("A new journal for the log events cannot be made: %s", error)
        return finished

    def _open_file(self, number: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._name = f"{number:010d}"
        fd = os.open(self.folder / f"{self._name}.journal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._end = os.fstat(fd).st_size
        os.fsync(fd)
        sync_folder(self.folder)
        self._fd = fd


def _finish(writes: list[_Write], error: BaseException | None) -> None:
    for write in writes:
        if write.done.cancelled():
            continue
        if error is None:
            write.done.set_result(None)
        else:
            write.done.set_exception(error)


def _header(batch: Batch, payload: bytes) -> bytes:
    checked = _CHECKED.pack(len(payload), batch.count, batch.group, batch.stream, batch.first_seq, batch.ingested, batch.low, batch.high)
    return struct.pack("<II", _MAGIC, zlib.crc32(payload, zlib.crc32(checked))) + checked


def read_journal(path: Path, number: int, files: Files) -> tuple[list[Batch], int]:
    """The whole records of a journal, and where the last of them ends."""
    batches: list[Batch] = []
    end = 0
    for batch in _records(path, number, files):
        batches.append(batch)
        end = batch.offset + batch.length
    return batches, end


def _records(path: Path, number: int, files: Files) -> Iterator[Batch]:
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            magic, crc, length, count, group, stream, first_seq, ingested, low, high = _HEADER.unpack(header)
            if magic != _MAGIC or length > LARGEST_PAYLOAD or length < 12 * count:
                return
            offset = file.tell()
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload, zlib.crc32(header[8:])) != crc:
                return
            yield Batch(group, stream, first_seq, count, ingested, low, high, length - 12 * count, number, offset, length, files)


def _cut(path: Path, end: int, *, keep: bool) -> None:
    """Cut a journal after its last whole record. What follows in any but the last journal cannot be a torn write: it is kept aside."""
    with path.open("r+b") as file:
        if keep:
            file.seek(end)
            path.with_suffix(".damaged").write_bytes(file.read())
            log.error("The journal %s is damaged at byte %d; the rest was kept in %s", path, end, path.with_suffix(".damaged"))
        file.truncate(end)
        os.fsync(file.fileno())
