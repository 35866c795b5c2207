"""Segments: sorted, deflated, immutable files of one log group.

    groups/<group uid, 16 hex digits>/<first journal>-<last journal>.segment

        blocks     each the events of one stream in key order, about 64 KB before deflating; blocks of a stream follow one another
        index      deflated msgpack of [Block…]: what is where, by time (the sparse index: one entry a block)
        summary    msgpack of Summary: totals, and for each stream its first and last event
        trailer    index offset u64 | index length u32 | summary length u32 | crc32 of the summary u32 | magic u32

Names carry no name of a group or stream, so a hostile name never meets the file system.

A segment is written beside its place, synced, and renamed. It covers whole journals: the name says which. A finished journal is sorted into one segment
a group; several small segments of neighbouring journals are merged into one later. So every byte is rewritten a few times at most, whole
segments expire, and a crash in between leaves files whose names say which of them count: a segment of a journal that still exists, or whose range lies
within another's, does not.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.services.logs.files import Files, sync_folder
from cloudstead.services.logs.merge import Merge, Source
from cloudstead.services.logs.runs import Run, deflated, read_deflated

log = logging.getLogger(__name__)

BLOCK_BYTES = 64 << 10
BLOCK_EVENTS = 4096

_TRAILER = struct.Struct("<QIIII")
_MAGIC = 0x534C5343  # "CSLS"


class Damaged(Exception):
    """A segment is not what was written."""


class Block(msgspec.Struct, array_like=True, gc=False):
    """Where a block lies and what it spans."""

    stream: int
    offset: int
    length: int
    size: int  # bytes of messages
    count: int
    low: int  # ms
    high: int  # ms
    low_seq: int
    high_seq: int


class StreamSummary(msgspec.Struct, array_like=True, gc=False):
    """What one segment, or a whole group, holds of a stream."""

    stream: int
    low: int
    high: int
    ingested: int  # the latest
    size: int
    count: int

    def add(self, low: int, high: int, ingested: int, size: int, count: int) -> None:
        self.low = min(self.low, low)
        self.high = max(self.high, high)
        self.ingested = max(self.ingested, ingested)
        self.size += size
        self.count += count


class Summary(msgspec.Struct, array_like=True):
    low: int
    high: int
    size: int
    count: int
    high_seq: int
    streams: list[StreamSummary]


class Segment(msgspec.Struct):
    """One segment of a group, as the index knows it."""

    group: int
    first: int  # the journals it covers
    last: int
    low: int
    high: int
    size: int
    count: int
    high_seq: int
    length: int  # bytes of the file

    @property
    def name(self) -> str:
        return segment_name(self.group, self.first, self.last)


def group_folder(group: int) -> str:
    return f"groups/{group:016x}"


def segment_name(group: int, first: int, last: int) -> str:
    return f"{group_folder(group)}/{first:010d}-{last:010d}.segment"


def covered(name: str) -> tuple[int, int]:
    """The journals that a segment's file name says it covers.

    Raises:
        ValueError: it is no such name.
    """
    first, _, last = name.removesuffix(".segment").partition("-")
    return int(first), int(last)


class BlockSource:
    """A block as a source for the merge."""

    __slots__ = ("_files", "_name", "block", "high", "low")

    def __init__(self, files: Files, name: str, block: Block) -> None:
        self._files, self._name, self.block = files, name, block
        self.low, self.high = block.low, block.high

    def open(self) -> Run | list[Source]:
        """Its events; nothing when it is damaged, so that the others stay readable."""
        block = self.block
        try:
            return read_deflated(block.stream, block.count, self._files.read(self._name, block.offset, block.length))
        except (zlib.error, struct.error, EOFError) as error:
            log.error("%s is damaged at byte %d, %d log events cannot be read: %s", self._name, block.offset, block.count, error)
            return []


class SegmentSource:
    """The blocks of a segment that concern some streams, as a source for the merge."""

    __slots__ = ("_files", "_segment", "_streams", "high", "low")

    def __init__(self, files: Files, segment: Segment, streams: frozenset[int] | None) -> None:
        self._files, self._segment, self._streams = files, segment, streams
        self.low, self.high = segment.low, segment.high

    def open(self) -> list[BlockSource]:
        name, wanted = self._segment.name, self._streams
        return [
            BlockSource(self._files, name, block) for block in read_index(self._files, name) if wanted is None or block.stream in wanted
        ]


class Writer:
    """Writes one segment; streams in any order, each at once and in key order."""

    def __init__(self, folder: Path, group: int, first: int, last: int) -> None:
        self._group, self._first, self._last = group, first, last
        self._path = folder / segment_name(group, first, last)
        self._beside = self._path.with_suffix(".writing")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._beside.open("wb")
        self._blocks: list[Block] = []
        self._streams: list[StreamSummary] = []

    def add_stream(self, stream: int, slices: Iterable[tuple[Run, int, int]]) -> None:
        pending = _Pending(stream)
        for run, start, stop in slices:
            while start < stop:
                start = pending.take(run, start, stop)
                if pending.full:
                    self._write(pending)
                    pending = _Pending(stream)
        if pending.stamps:
            self._write(pending)

    def _write(self, pending: _Pending) -> None:
        data = pending.deflated()
        stamps, seqs, size = pending.stamps, pending.seqs, pending.size
        block = Block(pending.stream, self._file.tell(), len(data), size, len(stamps), stamps[0], stamps[-1], min(seqs), max(seqs))
        self._file.write(data)
        self._blocks.append(block)
        if not self._streams or self._streams[-1].stream != pending.stream:
            self._streams.append(StreamSummary(pending.stream, block.low, block.high, 0, 0, 0))
        self._streams[-1].add(block.low, block.high, max(pending.ingested), block.size, block.count)

    def finish(self) -> Segment | None:
        """Make the segment durable in its place; None, and no file, when nothing was added."""
        if not self._blocks:
            self.abandon()
            return None
        blocks = self._blocks
        summary = Summary(
            min(block.low for block in blocks),
            max(block.high for block in blocks),
            sum(block.size for block in blocks),
            sum(block.count for block in blocks),
            max(block.high_seq for block in blocks),
            self._streams,
        )
        index = zlib.compress(msgspec.msgpack.encode(blocks), 1)
        about = msgspec.msgpack.encode(summary)
        offset = self._file.tell()
        self._file.write(index + about + _TRAILER.pack(offset, len(index), len(about), zlib.crc32(about), _MAGIC))
        self._file.flush()
        length = self._file.tell()
        os.fdatasync(self._file.fileno())
        self._file.close()
        self._beside.rename(self._path)
        sync_folder(self._path.parent)
        return _segment(self._group, self._first, self._last, summary, length)

    def abandon(self) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            self._beside.unlink()


class _Pending:
    """The block that is being filled."""

    __slots__ = ("_parts", "ingested", "lengths", "seqs", "size", "stamps", "stream")

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.stamps: list[int] = []
        self.ingested: list[int] = []
        self.seqs: list[int] = []
        self.lengths: list[int] = []
        self._parts: list[bytes] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return self.size >= BLOCK_BYTES or len(self.stamps) >= BLOCK_EVENTS

    def take(self, run: Run, start: int, stop: int) -> int:
        """Take events of run[start:stop] until full; returns the first one not taken."""
        ends = run.ends
        begin = ends[start - 1] if start else 0
        stop = min(stop, start + BLOCK_EVENTS - len(self.stamps))
        room = BLOCK_BYTES - self.size
        if ends[stop - 1] - begin > room:
            low, high = start + 1, stop  # the first index at which the room is used up; at least one event is taken
            while low < high:
                middle = (low + high) // 2
                if ends[middle - 1] - begin >= room:
                    high = middle
                else:
                    low = middle + 1
            stop = low
        self.stamps += run.stamps[start:stop]
        self.ingested += run.ingested[start:stop]
        self.seqs += run.seqs[start:stop]
        self.lengths += [end - before for before, end in zip((begin, *ends[start : stop - 1]), ends[start:stop], strict=True)]
        self._parts.append(run.body[begin : ends[stop - 1]])
        self.size += ends[stop - 1] - begin
        return stop

    def deflated(self) -> bytes:
        return deflated(self.stamps, self.ingested, self.seqs, self.lengths, b"".join(self._parts))


def write_sorted(folder: Path, group: int, first: int, last: int, streams: Iterable[tuple[int, Sequence[Source]]]) -> Segment | None:
    """Merge the sources of each stream into one new segment."""
    writer = Writer(folder, group, first, last)
    try:
        for stream, sources in streams:
            writer.add_stream(stream, Merge(sources))
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise


def merge_segments(folder: Path, files: Files, segments: Sequence[Segment], wanted: Callable[[int], bool], expired: int) -> Segment | None:
    """Merge segments of neighbouring journals into one, without the streams that are gone and the blocks before `expired` (ms)."""
    by_stream: dict[int, list[Source]] = {}
    for segment in segments:
        for block in read_index(files, segment.name):
            if block.high >= expired and wanted(block.stream):
                by_stream.setdefault(block.stream, []).append(BlockSource(files, segment.name, block))
    first, last = min(segment.first for segment in segments), max(segment.last for segment in segments)
    return write_sorted(folder, segments[0].group, first, last, by_stream.items())


def read_index(files: Files, name: str) -> list[Block]:
    offset, index_length, _, _ = _trailer(files, name)
    return msgspec.msgpack.decode(zlib.decompress(files.read(name, offset, index_length)), type=list[Block])


def read_summary(files: Files, group: int, first: int, last: int) -> tuple[Segment, Summary]:
    """What a segment holds.

    Raises:
        Damaged
    """
    name = segment_name(group, first, last)
    try:
        offset, index_length, summary_length, crc = _trailer(files, name)
        about = files.read(name, offset + index_length, summary_length)
        if zlib.crc32(about) != crc:
            raise Damaged(f"{name}: the checksum of its summary does not fit")
        summary = msgspec.msgpack.decode(about, type=Summary)
    except (EOFError, OSError, ValueError) as error:
        raise Damaged(f"{name}: {error}") from error
    return _segment(group, first, last, summary, files.size(name)), summary


def _trailer(files: Files, name: str) -> tuple[int, int, int, int]:
    size = files.size(name)
    if size < _TRAILER.size:
        raise EOFError("no trailer")
    offset, index_length, summary_length, crc, magic = _TRAILER.unpack(files.read(name, size - _TRAILER.size, _TRAILER.size))
    if magic != _MAGIC or offset + index_length + summary_length + _TRAILER.size != size:
        raise EOFError("no trailer")
    return offset, index_length, summary_length, crc


def _segment(group: int, first: int, last: int, summary: Summary, length: int) -> Segment:
    return Segment(group, first, last, summary.low, summary.high, summary.size, summary.count, summary.high_seq, length)


def segments_of(folder: Path, group: int) -> Iterator[tuple[int, int]]:
    """The ranges of journals for which the group has a file, without those that lie within another's. Deletes what is left over of a crash."""
    place = folder / group_folder(group)
    ranges: list[tuple[int, int]] = []
    try:
        names: list[Any] = sorted(os.listdir(place))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".segment"):
            with suppress(ValueError):
                ranges.append(covered(name))
    widest: tuple[int, int] = (-1, -1)
    for first, last in sorted(ranges, key=lambda span: (span[0], -span[1])):
        if last <= widest[1]:
            with suppress(FileNotFoundError):
                os.unlink(folder / segment_name(group, first, last))
            continue
        widest = (first, last)
        yield first, last
