"""What lies where: the archive's table of contents, in memory. It belongs to the event loop; readers get copies of its lists.

    Index
    └── Contents            one group: read from the summaries of its segments when it is first asked for
        ├── segments        sorted files, oldest first
        ├── batches         what is still only in the journal, by stream
        └── streams         first and last event, bytes and count of each stream, over both

A stream's counters live here and not in its row, so that accepting events writes nothing but events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec

from cloudstead.services.logs.files import Files
from cloudstead.services.logs.journal import Batch
from cloudstead.services.logs.segments import Damaged, Segment, StreamSummary, read_summary, segments_of

log = logging.getLogger(__name__)

MERGE_AT = 8  # so many neighbouring segments of a kind become one
TIERS = (1 << 20, 8 << 20)  # bytes of a file: below the first, below the second; larger ones are left as they are


class Contents(msgspec.Struct):
    """Where the events of one group are."""

    segments: list[Segment] = []
    batches: dict[int, list[Batch]] = {}
    streams: dict[int, StreamSummary] = {}

    @property
    def size(self) -> int:
        """Bytes of messages."""
        return sum(stream.size for stream in self.streams.values())

    def count(self, stream: int, low: int, high: int, ingested: int, size: int, count: int) -> None:
        known = self.streams.get(stream)
        if known is None:
            self.streams[stream] = StreamSummary(stream, low, high, ingested, size, count)
        else:
            known.add(low, high, ingested, size, count)


class Index:
    """The contents of all groups.

    Args:
        alive: whether a stream of a group still exists; what others have left in files does not count.
    """

    def __init__(self, folder: Path, files: Files, alive: Callable[[int, int], bool]) -> None:
        self._folder = folder
        self._files = files
        self._alive = alive
        self._loaded: dict[int, Contents] = {}
        self._batches: dict[int, dict[int, list[Batch]]] = {}  # group, stream: what is in the journal
        self._journals: set[int] = set()  # with batches in here

    def add(self, batches: Iterable[Batch]) -> None:
        """Batches that are on disk now, in the order in which they were accepted."""
        for batch in batches:
            streams = self._batches.get(batch.group)
            if streams is None:
                streams = self._batches[batch.group] = {}
                if (loaded := self._loaded.get(batch.group)) is not None:
                    loaded.batches = streams
            streams.setdefault(batch.stream, []).append(batch)
            self._journals.add(batch.journal)
            if (loaded := self._loaded.get(batch.group)) is not None:
                loaded.count(batch.stream, batch.low, batch.high, batch.ingested, batch.size, batch.count)

    def contents(self, group: int) -> Contents:
        found = self._loaded.get(group)
        if found is None:
            found = self._loaded[group] = self._load(group)
        return found

    def _load(self, group: int) -> Contents:
        contents = Contents(batches=self._batches.setdefault(group, {}))
        for first, last in segments_of(self._folder, group):
            if last in self._journals:
                continue  # its journal still exists and holds the same events
            try:
                segment, summary = read_summary(self._files, group, first, last)
            except Damaged as error:
                log.error("A segment of log events is damaged and left out: %s", error)
                continue
            contents.segments.append(segment)
            for stream in summary.streams:
                if self._alive(group, stream.stream):
                    contents.count(stream.stream, stream.low, stream.high, stream.ingested, stream.size, stream.count)
        for batches in contents.batches.values():
            for batch in batches:
                contents.count(batch.stream, batch.low, batch.high, batch.ingested, batch.size, batch.count)
        return contents

    def in_journal(self, number: int) -> dict[int, dict[int, list[Batch]]]:
        """The batches of one journal by group and stream."""
        found: dict[int, dict[int, list[Batch]]] = {}
        for group, streams in self._batches.items():
            for stream, batches in streams.items():
                mine = [batch for batch in batches if batch.journal == number]
                if mine:
                    found.setdefault(group, {})[stream] = mine
        return found

    def sorted(self, number: int, segments: Iterable[Segment]) -> None:
        """A journal's events are in these segments now."""
        for group, streams in list(self._batches.items()):
            for stream, batches in list(streams.items()):
                left = [batch for batch in batches if batch.journal != number]
                if left:
                    streams[stream] = left
                else:
                    del streams[stream]
            if not streams and group not in self._loaded:
                del self._batches[group]
        self._journals.discard(number)
        for segment in segments:
            if (loaded := self._loaded.get(segment.group)) is not None:
                loaded.segments.append(segment)

    def changed(self, group: int) -> None:
        """Segments of the group were replaced or deleted: look again when it is next asked for."""
        self._loaded.pop(group, None)

    def forget(self, group: int) -> None:
        self._loaded.pop(group, None)
        self._batches.pop(group, None)

    def forget_stream(self, group: int, stream: int) -> None:
        contents = self.contents(group)
        contents.streams.pop(stream, None)
        contents.batches.pop(stream, None)


def plan_merge(segments: Collection[Segment], up_to_seq: int) -> list[Segment]:
    """Which neighbouring segments are to become one: the first `MERGE_AT` small ones in a row, smallest kind first; empty when there are none.

    Args:
        segments: oldest first.
        up_to_seq: segments with later events are still needed as they are.
    """
    for limit in TIERS:
        row: list[Segment] = []
        for segment in segments:
            if segment.length >= limit or segment.high_seq > up_to_seq:
                row = []
                continue
            row.append(segment)
            if len(row) == MERGE_AT:
                return row
    return []
