"""The archive of log events: accepts them durably, reads them in time order, throws them away.

    append ──▶ journal ── fsync, shared by all who wait ──▶ answered, readable
                  │ 32 MB full
                  ▼
               sorted into one segment a group (background thread) ──▶ small segments merged ──▶ expired ones deleted

Everything here runs on the event loop except writing the journal (its thread), sorting and merging (one thread) and reading (two).
Roads not taken: a file a stream (10,000 open streams are 10,000 fsyncs a second and as many descriptors); a journal a group (a Lambda
account has a group a function, so calls would seldom share an fsync); SQLite rows (8 µs an event just to insert them).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cloudstead.services.logs.files import Files
from cloudstead.services.logs.index import Contents, Index, plan_merge
from cloudstead.services.logs.journal import ROTATE_BYTES, Accepted, Batch, Journal
from cloudstead.services.logs.merge import Merge, Source
from cloudstead.services.logs.runs import FIRST, LAST, Entry, Key
from cloudstead.services.logs.segments import BlockSource, Segment, SegmentSource, group_folder, merge_segments, write_sorted

log = logging.getLogger(__name__)

PAGE_BYTES = 1 << 20
PAGE_EVENTS = 10_000
EVENT_OVERHEAD = 26  # AWS counts so many bytes for an event besides its message
SCAN_BYTES = 64 << 20  # after so many bytes without filling a page, a page is answered as it is
MOST_UNSORTED = 6  # journals; callers wait when sorting lags behind that far
_TRIES = 5

T = TypeVar("T")

Test = Callable[[bytes], bool]
Listener = Callable[[list[Accepted]], None]


class Page(msgspec.Struct):
    """A part of a reading."""

    entries: list[Entry]
    position: Key | None  # the last event looked at; None when there was none
    more: bool  # reading on from `position` may bring more


class Archive:
    """The log events of one Cloudstead.

    Args:
        folder: its own; made when missing.
        alive: whether a stream of a group still exists. Events that reach the disk after their stream was deleted are not taken note of, and
            those of deleted streams go when they are sorted.
    """

    def __init__(self, folder: Path, alive: Callable[[int, int], bool], rotate_bytes: int = ROTATE_BYTES) -> None:
        self.folder = folder
        self.files = Files(folder)
        self.index = Index(folder, self.files, alive)
        self.listeners: list[Listener] = []
        self.needed_seq: Callable[[int], int] = lambda group: LAST[1]  # the group's events after this one must stay as they are
        self._alive = alive
        self._journal = Journal(folder, self.files, on_disk=self._on_disk, on_rotated=self._on_rotated, rotate_bytes=rotate_bytes)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="logs-read")
        self._sorter = ThreadPoolExecutor(1, thread_name_prefix="logs-sort")
        self._unsorted: list[int] = []
        self._sorting: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._closing = False

    async def start(self, after: int = 0) -> None:
        """
        Args:
            after: numbers up to here were told, perhaps for events that a crash has kept from the disk; no event gets such a number again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        batches = await asyncio.get_running_loop().run_in_executor(self._sorter, self._journal.open, after)
        self.index.add([batch for batch in batches if self._alive(batch.group, batch.stream)])
        self._journal.start()
        self._room.set()
        self._unsorted = self._journal.numbers[:-1]
        self._sort_soon()

    async def close(self) -> None:
        """Write what waits; sorting goes on at the next start."""
        self._closing = True
        if self._sorting is not None:
            await asyncio.wait([self._sorting])
        await self._journal.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._sorter.shutdown(wait=False)
        self.files.close()

    # Writing.

    async def append(self, group: int, stream: int, ingested: int, stamps: Sequence[int], messages: Sequence[bytes]) -> None:
        """Accept events of one stream, in time order; returns when they are on disk.

        Raises:
            OSError: they are not, and will not be.
        """
        while not self._room.is_set():
            await self._room.wait()
        await self._journal.append(group, stream, ingested, stamps, messages)

    def _on_disk(self, accepted: list[Accepted]) -> None:
        accepted = [each for each in accepted if self._alive(each.batch.group, each.batch.stream)]
        self.index.add([each.batch for each in accepted])
        for listener in self.listeners:
            try:
                listener(accepted)
            except Exception:
                log.exception("A listener to log events failed")

    def _on_rotated(self, number: int) -> None:
        self._unsorted.append(number)
        if len(self._unsorted) > MOST_UNSORTED:
            self._room.clear()
        self._sort_soon()

    def count(self, group: int, stream: int) -> int:
        """How many events a stream has: none once it is deleted."""
        known = self.index.contents(group).streams.get(stream) if self._alive(group, stream) else None
        return known.count if known is not None else 0

    # Sorting and merging.

    def _sort_soon(self) -> None:
        if self._unsorted and (self._sorting is None or self._sorting.done()):
            self._sorting = asyncio.create_task(self._sort_all(), name="logs-sort")

    async def _sort_all(self) -> None:
        while self._unsorted and not self._closing:
            number = self._unsorted[0]
            try:
                groups = await self._sort(number)
            except (OSError, EOFError) as error:
                log.error("Journal %d of the log events cannot be sorted yet: %s", number, error)
                self._room.set()  # callers shall not hang; when the disk is full they are told so
                return  # tried again with the next journal, or at the next start
            self._unsorted.remove(number)
            if len(self._unsorted) <= MOST_UNSORTED:
                self._room.set()
            for group in groups:
                try:
                    await self.merge(group)
                except (OSError, EOFError) as error:
                    log.error("Segments of the log group %016x cannot be merged: %s", group, error)

    async def _sort(self, number: int) -> list[int]:
        work = {
            group: {stream: batches for stream, batches in streams.items() if self._alive(group, stream)}
            for group, streams in self.index.in_journal(number).items()
        }
        loop = asyncio.get_running_loop()
        segments = await loop.run_in_executor(self._sorter, self._write_segments, number, work)
        self.index.sorted(number, segments)
        self._journal.forget(number)
        await loop.run_in_executor(self._sorter, self._journal.delete, number)
        return [segment.group for segment in segments]

    def _write_segments(self, number: int, work: dict[int, dict[int, list[Batch]]]) -> list[Segment]:
        written = (write_sorted(self.folder, group, number, number, streams.items()) for group, streams in work.items() if streams)
        return [segment for segment in written if segment is not None]

    async def merge(self, group: int, expired: int = 0) -> None:
        """Merge small segments of a group, as long as there are enough of them."""
        while not self._closing and (small := plan_merge(self.index.contents(group).segments, self.needed_seq(group))):
            alive = {stream for stream in self.index.contents(group).streams if self._alive(group, stream)}
            merged = await asyncio.get_running_loop().run_in_executor(self._sorter, self._merge, small, alive, expired)
            names = {segment.name for segment in small} - ({merged.name} if merged else set())
            self.index.changed(group)
            self._delete(names)

    def _merge(self, segments: list[Segment], alive: set[int], expired: int) -> Segment | None:
        return merge_segments(self.folder, self.files, segments, alive.__contains__, expired)

    def _delete(self, names: Collection[str]) -> None:
        for name in names:
            self.files.forget(name)
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).unlink()

    # Throwing away.

    def expire(self, group: int, before: int) -> int:
        """Delete the segments of which every event is older than `before` (ms); returns how many."""
        gone = [segment.name for segment in self.index.contents(group).segments if segment.high < before]
        if gone:
            self._delete(gone)
            self.index.changed(group)
        return len(gone)

    def rotate(self) -> None:
        """Have what is in the journal sorted, although it is not full."""
        self._journal.rotate()

    def rotate_if_older(self, before: int) -> None:
        """The same if the journal's first events were accepted before then (ms), so that expired and deleted events go from it too."""
        if self._journal.since < before:
            self._journal.rotate()

    def delete_stream(self, group: int, stream: int) -> None:
        """Its events are gone for readers at once, and from disk when their segments are next merged."""
        self.index.forget_stream(group, stream)

    async def delete_group(self, group: int) -> None:
        self.index.forget(group)
        folder = self.folder / group_folder(group)
        await asyncio.get_running_loop().run_in_executor(self._sorter, _remove, folder)

    def groups_on_disk(self) -> list[int]:
        """The groups that have a folder, whether they still exist or not."""
        with contextlib.suppress(FileNotFoundError):
            return [int(path.name, 16) for path in (self.folder / "groups").iterdir()]
        return []

    # Reading.

    def contents(self, group: int) -> Contents:
        return self.index.contents(group)

    async def read(
        self,
        group: int,
        streams: frozenset[int] | None = None,
        *,
        after: Key = FIRST,
        before: Key = LAST,
        descending: bool = False,
        limit: int = PAGE_EVENTS,
        test: Test | None = None,
        needle: bytes = b"",
    ) -> Page:
        """A page of the events with after < key < before, of all streams or of some, in key order.

        Args:
            descending: the latest first.
            test: which messages are wanted; all when None.
            needle: bytes that every wanted message contains; lets whole blocks be passed over.
        """
        for attempt in range(_TRIES):
            merge = Merge(self._sources(group, streams), after, before, descending=descending)
            try:
                return await self.work(_page, merge, descending, limit, test, needle)
            except FileNotFoundError:  # a file that was sorted or merged away in the meantime
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError

    def _sources(self, group: int, streams: frozenset[int] | None) -> list[Source]:
        contents = self.index.contents(group)
        sources: list[Source] = [SegmentSource(self.files, segment, streams) for segment in contents.segments]
        if streams is None:
            for batches in contents.batches.values():
                sources += batches
        else:
            for stream in streams:
                sources += contents.batches.get(stream, ())
        return sources

    async def since(self, group: int, seq: int) -> tuple[list[BlockSource], list[Batch]]:
        """What holds events accepted after `seq`: sorted blocks (with earlier ones among them), then batches in the order of acceptance.

        For delivery, which must miss none; each is one stream's.
        """
        contents = self.index.contents(group)
        batches = sorted(
            (batch for batches in contents.batches.values() for batch in batches if batch.last_seq > seq), key=lambda batch: batch.first_seq
        )
        blocks: list[BlockSource] = []
        for segment in [segment for segment in contents.segments if segment.high_seq > seq]:
            blocks += await self.work(_late_blocks, self.files, segment, seq)
        return blocks, batches

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that reads runs, or takes long, in one of the reading threads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    @property
    def last_seq(self) -> int:
        """No event that was accepted so far has a higher number."""
        return self._journal.last_seq


def _late_blocks(files: Files, segment: Segment, seq: int) -> list[BlockSource]:
    return [source for source in SegmentSource(files, segment, None).open() if source.block.high_seq > seq]


def _page(merge: Merge, descending: bool, limit: int, test: Test | None, needle: bytes) -> Page:
    """Read until the page is full, nothing is left, or much was read in vain."""
    entries: list[Entry] = []
    size = 0
    position: Key | None = None
    hopeless: tuple[int, bool] = (0, False)  # the last run looked at, and whether it lacks the needle
    for run, start, stop in merge:
        if needle:
            if hopeless[0] != id(run):
                hopeless = (id(run), needle not in run.body)
            if hopeless[1]:
                position = run.key(start if descending else stop - 1)
                if merge.scanned > SCAN_BYTES:
                    return Page(entries, position, True)
                continue
        for i in reversed(range(start, stop)) if descending else range(start, stop):
            message = run.message(i)
            if test is not None and not test(message):
                continue
            size += len(message) + EVENT_OVERHEAD
            if len(entries) == limit or (size > PAGE_BYTES and entries):
                return Page(entries, entries[-1].key, True)
            entries.append(Entry(run.stream, run.stamps[i], run.seqs[i], run.ingested[i], message))
        position = run.key(start if descending else stop - 1)
        if merge.scanned > SCAN_BYTES:
            return Page(entries, position, True)
    return Page(entries, position, False)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
