"""Reading many runs as one, in key order and flat memory.

A *source* is anything with a known lowest and highest timestamp that opens into a run or into further sources: a segment opens into its blocks, a block
into its events. The merge keeps a heap of what is next. A source waits unopened until the merge reaches its first possible key, so that a group of a
hundred gigabytes is read with the few blocks in memory that overlap in time. What comes out is slices of runs, as long as no other run interleaves.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from cloudstead.services.logs.runs import FIRST, LAST, Key, Run


class Source(Protocol):
    @property
    def low(self) -> int:
        """No event in it has an earlier timestamp."""

    @property
    def high(self) -> int:
        """No event in it has a later timestamp."""

    def open(self) -> Run | Sequence[Source]: ...


Slice: TypeAlias = tuple[Run, int, int]
_BELOW = -(1 << 65)


class Merge:
    """Slices `(run, start, stop)` of all events with after < key < before, ascending, or descending (each slice is then to be read from its end).

    Attributes:
        scanned: bytes of messages opened so far.
    """

    def __init__(self, sources: Iterable[Source], after: Key = FIRST, before: Key = LAST, *, descending: bool = False) -> None:
        self.scanned = 0
        self._first = (after[0], after[1] + 1)  # the lowest key wanted
        self._before = before
        self._descending = descending
        self._count = 0
        self._heap: list[tuple[Key, int, Source | None, Run | None, int, int]] = []
        for source in sources:
            self._add(source)

    def _add(self, source: Source) -> None:
        if source.high < self._first[0] or source.low > self._before[0]:
            return
        bound = (-source.high, _BELOW) if self._descending else (source.low, _BELOW)
        self._push(bound, source, None, 0, 0)

    def _push(self, bound: Key, source: Source | None, run: Run | None, start: int, stop: int) -> None:
        self._count += 1
        heapq.heappush(self._heap, (bound, self._count, source, run, start, stop))

    def _push_run(self, run: Run, start: int, stop: int) -> None:
        if start >= stop:
            return
        if self._descending:
            last = stop - 1
            self._push((-run.stamps[last], -run.seqs[last]), None, run, start, stop)
        else:
            self._push(run.key(start), None, run, start, stop)

    def _open(self, source: Source) -> None:
        opened = source.open()
        if isinstance(opened, Run):
            self.scanned += len(opened.body)
            n = len(opened.stamps)
            start = opened.at_or_after(self._first, 0, n)
            self._push_run(opened, start, opened.at_or_after(self._before, start, n))
        else:
            for child in opened:
                self._add(child)

    def __iter__(self) -> Iterator[Slice]:
        heap = self._heap
        while heap:
            _, _, source, run, start, stop = heapq.heappop(heap)
            if run is None:
                assert source is not None
                self._open(source)
                continue
            if not heap:
                yield run, start, stop
                continue
            other = heap[0][0]
            if self._descending:
                # everything above the other's key; the run's own last event is, or it would not have come first
                cut = min(run.at_or_after((-other[0], -other[1] + 1), start, stop), stop - 1)
                yield run, cut, stop
                self._push_run(run, start, cut)
            else:
                cut = max(run.at_or_after(other, start, stop), start + 1)
                yield run, start, cut
                self._push_run(run, cut, stop)
