"""A table in memory: its rows by key, the keys in order, and its indexes.

Every index is one sorted list of (index key, key) pairs, so a row may stand in it several times and rows may share an index key.
Ranges are found by bisection: with a prefix (a, b) the first is (a, b) itself, the last is before (a, "b\\0"), the next string after b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Generic, TypeAlias

from sortedcontainers import SortedList

from cloudstead.kernel.store.failures import Exists
from cloudstead.kernel.store.rows import Indexed, IndexKey, Key, R, Table

Position: TypeAlias = tuple[Any, ...]  # where a row stands in a scan: its key, or (index key, key) in an index
Watcher: TypeAlias = Callable[[R | None, R | None], object]  # (old, new): None for what was not there


class _Top:
    """Greater than anything."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


TOP = _Top()


class Index(Generic[R]):
    """One index of one table. The entries of a unique one are put in order when a scan first asks for them: most are only ever looked up."""

    def __init__(self, name: str, function: Callable[[R], Indexed], unique: bool) -> None:
        self.name = name
        self.function = function
        self.owners: dict[IndexKey, Key] | None = {} if unique else None
        self._entries: SortedList[tuple[IndexKey, Key]] | None = None if unique else SortedList()

    @property
    def entries(self) -> SortedList[tuple[IndexKey, Key]]:
        """The index keys with the keys of their rows, in order."""
        if self._entries is None:
            assert self.owners is not None
            self._entries = SortedList(self.owners.items())
        return self._entries

    def of(self, row: R | None) -> list[Any]:
        """The index keys of a row, each once."""
        if row is None:
            return []
        found = self.function(row)
        if found is None:
            return []
        if isinstance(found, list):
            return list(dict.fromkeys(found)) if len(found) > 1 else found
        return [found]

    def refuse_duplicates(self, table: str, key: Key, row: R) -> None:
        if self.owners is not None:
            for entry in self.of(row):
                if self.owners.get(entry, key) != key:
                    raise Exists(table, entry, self.name)

    def move(self, key: Key, old: R | None, new: R | None) -> None:
        before, after = self.of(old), self.of(new)
        if before == after:
            return
        for entry in before:
            if entry not in after:
                if self._entries is not None:
                    self._entries.remove((entry, key))
                if self.owners is not None:
                    del self.owners[entry]
        for entry in after:
            if entry not in before:
                if self._entries is not None:
                    self._entries.add((entry, key))
                if self.owners is not None:
                    self.owners[entry] = key

    def fill(self, table: str, rows: dict[Key, R]) -> None:
        """Build the whole index from rows just loaded."""
        pairs = [(entry, key) for key, row in rows.items() for entry in self.of(row)]
        if self.owners is None:
            self._entries = SortedList(pairs)
            return
        self.owners, self._entries = dict(pairs), None
        if len(self.owners) != len(pairs):
            raise Exists(table, (), self.name)

    def find(self, entry: IndexKey) -> Key | None:
        key: Key
        if self.owners is not None:
            return self.owners.get(entry)
        at = self.entries.bisect_left((entry,))
        if at == len(self.entries):
            return None
        found, key = self.entries[at]
        return key if found == entry else None


class TableView(Generic[R]):
    """Reading a table. What a transaction has written is seen at once, also before it is durable."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self._rows: dict[Key, R] = {}
        self._order: SortedList[Key] = SortedList()
        self._indexes = {name: Index(name, function, name in table.unique) for name, function in table.indexes.items()}

    def get(self, key: Key) -> R | None:
        return self._rows.get(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, index: str, entry: IndexKey) -> R | None:
        """The row of that index key; the first in key order when the index is not unique."""
        key = self._indexes[index].find(entry)
        return None if key is None else self._rows[key]

    def scan(
        self,
        prefix: IndexKey = (),
        *,
        index: str = "",
        starts: str = "",
        start: IndexKey | None = None,
        stop: IndexKey | None = None,
        after: Position | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        """Rows in the order of their keys, or of an index.

        Args:
            prefix: the first parts of the key (of the index key), all of them exactly.
            starts: how the part after the prefix begins.
            start: the first key wanted; with `stop` a range, instead of a prefix.
            stop: the first key not wanted any more.
            after: go on behind this: a key (of the index), or a position that `entries` gave.
            reverse: from the last to the first; `after` is then what comes behind in that direction.
        """
        rows = self._rows
        if index:
            pairs = self._range(prefix, index, starts, start, stop, after, reverse)
            return [rows[key] for _, key in (pairs if limit is None else islice(pairs, limit))]
        keys = self._range(prefix, index, starts, start, stop, after, reverse)
        return [rows[key] for key in (keys if limit is None else islice(keys, limit))]

    def entries(
        self,
        prefix: IndexKey = (),
        *,
        index: str = "",
        starts: str = "",
        after: Position | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[Position, R]]:
        """As `scan`, with the position of each row, lazily: use it up before anything is written."""
        for position in self._range(prefix, index, starts, None, None, after, reverse):
            yield position, self._rows[position[1] if index else position]

    def count(self, prefix: IndexKey = (), *, index: str = "", starts: str = "") -> int:
        """How many rows (entries of the index) a scan would give; costs no more for many."""
        entries = self._indexes[index].entries if index else self._order
        if not prefix and not starts:
            return len(entries)
        low, high = _bounds(prefix, starts)
        if index:
            low, high = (low,), (high,)
        return int(entries.bisect_left(high) - entries.bisect_left(low))

    def _range(
        self,
        prefix: IndexKey,
        index: str,
        starts: str,
        start: IndexKey | None,
        stop: IndexKey | None,
        after: Position | None,
        reverse: bool,
    ) -> Iterator[Any]:
        low: Position | None = start
        high: Position | None = stop
        if prefix or starts:
            low, high = _bounds(prefix, starts)
        entries = self._order
        if index:
            entries = self._indexes[index].entries
            low, high = (None if low is None else (low,)), (None if high is None else (high,))
            if after and not isinstance(after[0], tuple):
                after = (after,) if reverse else (after, TOP)
        inclusive = True
        if after is not None:
            # A position from outside the range (a forged or stale one) must not widen it.
            if reverse:
                high = after if high is None or after < high else high
            elif low is None or after >= low:
                low, inclusive = after, False
        if low is not None and high is not None and low >= high:
            return iter(())
        return iter(entries.irange(low, high, (inclusive, False), reverse))


def _bounds(prefix: IndexKey, starts: str) -> tuple[Position, Position]:
    """The first key that may, and the first that may no longer stand in the range."""
    if starts:
        ceiling = starts.rstrip("\U0010ffff")
        following: object = ceiling[:-1] + chr(ord(ceiling[-1]) + 1) if ceiling else TOP
        return (*prefix, starts), (*prefix, following)
    last = prefix[-1]
    return prefix, (*prefix[:-1], last + "\0") if type(last) is str else (*prefix, TOP)


class StoredTable(TableView[R]):
    """Writing a table in memory; only transactions do."""

    def __init__(self, table: Table[R]) -> None:
        super().__init__(table)
        self.watchers: list[Watcher[R]] = []
        self.retired = 0  # the highest version of any row that was removed in this process

    def load(self, rows: dict[Key, R]) -> None:
        self._rows = rows
        self._order = SortedList(rows)
        for index in self._indexes.values():
            index.fill(self.table.name, rows)

    def check(self, key: Key, new: R) -> None:
        """Raises Exists when a unique index has another row at a place of this one."""
        for index in self._indexes.values():
            index.refuse_duplicates(self.table.name, key, new)

    def replace(self, key: Key, old: R | None, new: R | None) -> None:
        """Make `new` of `old`. Undoing is the same with the two exchanged."""
        for index in self._indexes.values():
            index.move(key, old, new)
        if new is None:
            assert old is not None
            self.retired = max(self.retired, old.version)
            del self._rows[key]
            self._order.remove(key)
        else:
            if old is None:
                self._order.add(key)
            self._rows[key] = new
