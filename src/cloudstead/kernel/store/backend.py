"""What the store needs of the thing that keeps bytes. SQLite is one (`sqlite.py`); PostgreSQL would be another, in one file.

A backend knows no rows: it keeps, for each table, blobs by key, with the schema that each was written in, and beside each table an archive.
`write` and `purge` are called by one thread at a time, the other methods by another; everything may block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias


class Stored(NamedTuple):
    """A row as bytes."""

    key: bytes
    schema: int
    row: bytes
    place: bytes = b""  # in the archive: its place in the archive's index (the index key and the key), if the table has one


class Archived(NamedTuple):
    """A row to be put into the archive."""

    schema: int
    row: bytes
    at: float  # when, in seconds since the epoch
    place: bytes


class Live(NamedTuple):
    """A row to be kept."""

    schema: int
    row: bytes


Place: TypeAlias = tuple[str, bytes, bool]  # table, key, whether in the archive
Batch: TypeAlias = Mapping[Place, Live | Archived | None]  # what is to stand there; None: nothing any more


class Backend(Protocol):
    def load(self, table: str) -> Iterator[Stored]:
        """Everything of a table (without its archive)."""
        ...

    def write(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing; returns when it is.

        Raises:
            WriteFailed: nothing of it was written.
        """
        ...

    def archived(self, table: str, keys: Sequence[bytes]) -> list[Stored]:
        """Those of the keys that are in the archive."""
        ...

    def scan_archive(self, table: str, *, by_place: bool, low: bytes, high: bytes, after: bytes, reverse: bool, limit: int) -> list[Stored]:
        """Archived rows with low <= position < high in order of it; the position is the place, or the key.

        Args:
            after: the position to go on behind; empty for none.
        """
        ...

    def purge(self, table: str, before: float, limit: int) -> int:
        """Forget at most `limit` archived rows that were archived before a time; how many it were."""
        ...

    def close(self) -> None: ...


class MemoryBackend:
    """Keeps bytes in memory: for tests and simulations. A new Store on the same backend is a restart after a crash."""

    def __init__(self) -> None:
        self.live: dict[str, dict[bytes, Live]] = {}
        self.archive: dict[str, dict[bytes, Archived]] = {}
        self.failures: list[Exception] = []  # what the next writes fail with, one each

    def load(self, table: str) -> Iterator[Stored]:
        for key, kept in sorted(self.live.get(table, {}).items()):
            yield Stored(key, kept.schema, kept.row)

    def write(self, batch: Batch) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for (table, key, archive), what in batch.items():
            if isinstance(what, Archived):
                self.archive.setdefault(table, {})[key] = what
            elif isinstance(what, Live):
                self.live.setdefault(table, {})[key] = what
            elif archive:
                self.archive.get(table, {}).pop(key, None)
            else:
                self.live.get(table, {}).pop(key, None)

    def archived(self, table: str, keys: Sequence[bytes]) -> list[Stored]:
        kept = self.archive.get(table, {})
        return [Stored(key, kept[key].schema, kept[key].row, kept[key].place) for key in keys if key in kept]

    def scan_archive(self, table: str, *, by_place: bool, low: bytes, high: bytes, after: bytes, reverse: bool, limit: int) -> list[Stored]:
        rows: Iterable[Stored] = (Stored(key, kept.schema, kept.row, kept.place) for key, kept in self.archive.get(table, {}).items())

        def position(row: Stored) -> bytes:
            return row.place if by_place else row.key

        wanted = [row for row in rows if low <= position(row) < high and (not by_place or row.place)]
        if after:
            wanted = [row for row in wanted if (position(row) < after if reverse else position(row) > after)]
        return sorted(wanted, key=position, reverse=reverse)[:limit]

    def purge(self, table: str, before: float, limit: int) -> int:
        kept = self.archive.get(table, {})
        old = [key for key, row in kept.items() if row.at < before][:limit]
        for key in old:
            del kept[key]
        return len(old)

    def close(self) -> None:
        pass
