"""A transaction: writes that all happen or none.

It is a `with` block without `await`. Each write is applied to memory at once, so that the next line sees it, and noted twice: as what to undo
if the block raises (or if the disk refuses later), and as bytes for the writer. Encoding happens here, so that a row that cannot be kept
fails at the line that writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from cloudstead.kernel.store.backend import Archived, Live, Place
from cloudstead.kernel.store.failures import Conflict, Exists
from cloudstead.kernel.store.rows import Key, R, Row, Table, encode_key, encode_row
from cloudstead.kernel.store.tables import StoredTable

if TYPE_CHECKING:
    from cloudstead.kernel.events import Event


class Emitter(Protocol):
    """What takes the events of transactions: kernel.events.Bus."""

    def record(self, tx: Transaction, event: Event) -> str:
        """Write what must survive of an event in its transaction; returns a reference to it, perhaps empty."""
        ...

    def deliver(self, events: list[tuple[Event, str]]) -> None:
        """The transaction of these events is durable."""
        ...


class Transactional(Protocol):
    """The store, as a transaction sees it."""

    emitter: Emitter | None

    def stored(self, table: Table[R]) -> StoredTable[R]: ...
    def begin(self, tx: Transaction) -> None: ...
    def end(self, tx: Transaction, committed: bool) -> None: ...
    def time(self) -> float: ...


class Transaction:
    """`with store.transaction() as tx:`; usable once, and only within its block."""

    __slots__ = ("_open", "_store", "_tables", "changes", "events", "writes")

    def __init__(self, store: Transactional) -> None:
        self._store = store
        self._open = False
        self.changes: list[tuple[StoredTable[Any], Key, Row | None, Row | None]] = []
        self.writes: dict[Place, Live | Archived | None] = {}
        self.events: list[tuple[Event, str]] = []

    def __enter__(self) -> Transaction:
        self._store.begin(self)
        self._open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open = False
        self._store.end(self, kind is None)

    def undo(self) -> None:
        """Take every change back, the last one first."""
        for data, key, old, new in reversed(self.changes):
            data.replace(key, new, old)

    def insert(self, table: Table[R], row: R) -> R:
        """Add a row; returns it as stored, at version 1, or above that of every row that was removed.

        Raises:
            Exists: a row of that key, or one at the same place of a unique index, is there.
        """
        data, key = self._data(table), table.key(row)
        if key in data:
            raise Exists(table.name, key)
        return self._set(data, key, None, replace(row, version=data.retired + 1))

    def update(self, table: Table[R], row: R, /, **changes: Any) -> R:
        """Replace the row that was read by this one (with `changes`, field by field); returns it as stored, one version on.

        Raises:
            Conflict: it was changed or deleted since it was read.
            Exists: another row is at the same place of a unique index.
        """
        data, key = self._data(table), table.key(row)
        old = data.get(key)
        if old is None or old.version != row.version:
            raise Conflict(table.name, key, row.version, None if old is None else old.version)
        new = replace(row, **changes, version=old.version + 1)
        if changes and table.key(new) != key:
            raise ValueError(f"an update must not change the key of {key!r} in {table.name}")
        return self._set(data, key, old, new)

    def put(self, table: Table[R], row: R) -> R:
        """Write a row whether or not one of its key is there; returns it as stored.

        Raises:
            Exists: another row is at the same place of a unique index.
        """
        data, key = self._data(table), table.key(row)
        old = data.get(key)
        return self._set(data, key, old, replace(row, version=(data.retired if old is None else old.version) + 1))

    def delete(self, table: Table[R], key: Key) -> R | None:
        """Remove a row; returns it, or None when there was none."""
        data = self._data(table)
        old = data.get(key)
        if old is not None:
            self._remove(data, key, old)
            self.writes[table.name, encode_key(key), False] = None
        return old

    def archive(self, table: Table[R], key: Key) -> R:
        """Move a finished row out of memory into the table's archive; watchers see it go. An archived row of the same key is replaced.

        Raises:
            KeyError: there is no such row.
        """
        data = self._data(table)
        row = data.get(key)
        if row is None:
            raise KeyError(key)
        where = encode_key(key)
        archived = Archived(table.schema, encode_row(row), self._store.time(), archive_place(table, row, where))
        self._remove(data, key, row)
        self.writes[table.name, where, False] = None
        self.writes[table.name, where, True] = archived
        return row

    def forget(self, table: Table[Any], key: Key) -> None:
        """Delete an archived row, which nobody watches; does nothing when there is none. For archives whose rows are not all kept equally long."""
        self._require_open()
        self.writes[table.name, encode_key(key), True] = None

    def emit(self, event: Event) -> None:
        """Tell the bus of this when, and only if, the transaction is durable."""
        self._require_open()
        emitter = self._store.emitter
        self.events.append((event, "" if emitter is None else emitter.record(self, event)))

    def _data(self, table: Table[R]) -> StoredTable[R]:
        self._require_open()
        return self._store.stored(table)

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError("the transaction is over (or its with block has not begun)")

    def _set(self, data: StoredTable[R], key: Key, old: R | None, new: R) -> R:
        data.check(key, new)
        table = data.table
        place = (table.name, encode_key(key), False)
        live = Live(table.schema, encode_row(new))
        data.replace(key, old, new)
        self.changes.append((data, key, old, new))
        self.writes[place] = live
        return new

    def _remove(self, data: StoredTable[R], key: Key, old: R) -> None:
        data.replace(key, old, None)
        self.changes.append((data, key, old, None))


def archive_place(table: Table[R], row: R, key: bytes) -> bytes:
    """Where an archived row stands in the archive's index: the index key, then the key, both in sorting form."""
    if not table.archive_index:
        return b""
    function: Callable[[R], Any] = table.indexes[table.archive_index]
    entry = function(row)
    if not isinstance(entry, tuple):
        raise TypeError(f"{table.name}.{table.archive_index} gave {entry!r}; the index of an archive needs one tuple of strings a row")
    return encode_key(entry) + key
