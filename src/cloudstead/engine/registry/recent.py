"""Manifests that were read lately, kept in memory: a tag that a whole cluster pulls costs no file.

What a digest stands for never changes, so nothing in here is ever out of date.
"""

from __future__ import annotations

from collections import OrderedDict

ENTRY = 256  # bytes that one costs beside its own


class Recent:
    """Bytes by digest, so many in all; the one that was read longest ago goes first."""

    def __init__(self, limit: int, largest: int) -> None:
        self._limit = limit
        self._largest = largest
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, digest: str) -> bytes | None:
        data = self._kept.get(digest)
        if data is not None:
            self._kept.move_to_end(digest)
        return data

    def keep(self, digest: str, data: bytes) -> None:
        if len(data) > self._largest or digest in self._kept:
            return
        self._kept[digest] = data
        self._size += len(data) + ENTRY
        while self._size > self._limit:
            _, gone = self._kept.popitem(last=False)
            self._size -= len(gone) + ENTRY
