"""The store: tables in memory, durable through a backend.

How a write becomes durable. A transaction is applied to memory and joins the batch that is collecting. One batch at a time is with the writer
(in flight); while that one is being synced to disk the next collects, so a hundred callers at once cost two or three syncs, not a hundred.
`settled()` waits for the batch that holds the latest transaction. When a batch is durable its waiters go on, and then its changes and events
are told to watchers and to the bus, in the order of the transactions.

When the disk refuses, memory must not know more than the disk: every transaction that is not durable (in flight and collecting) is undone, last
first, everyone who waits gets Unavailable, and the store goes on. What the next batch brings is tried afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.store.backend import Backend, Live, MemoryBackend, Place, Stored
from cloudstead.kernel.store.failures import DataInUse
from cloudstead.kernel.store.rows import IndexKey, Key, R, Table, encode_key, encode_row
from cloudstead.kernel.store.sqlite import SqliteBackend
from cloudstead.kernel.store.tables import StoredTable, TableView, Watcher
from cloudstead.kernel.store.transactions import Emitter, Transaction, archive_place
from cloudstead.kernel.store.writer import InlineWriter, ThreadWriter, Writer

log = logging.getLogger(__name__)

DATABASE = "state.db"
_PURGED_AT_ONCE = 1000  # rows a job of the writer, so that batches need not wait long for one


class TimeSource(Protocol):
    def time(self) -> float: ...


class _Batch:
    __slots__ = ("transactions", "waiters")

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.waiters: list[asyncio.Future[None]] = []


class Store:
    """All rows of one Cloudstead. Belongs to the thread of one event loop."""

    def __init__(self, backend: Backend, *, clock: TimeSource | None = None, inline: bool = False) -> None:
        self.emitter: Emitter | None = None
        self.failures = 0  # how often transactions were undone because they could not be written; see `settled`
        self.time: Callable[[], float] = time.time if clock is None else clock.time
        self._backend = backend
        self._writer: Writer = InlineWriter(backend) if inline else ThreadWriter(backend)
        self._tables: dict[str, StoredTable[Any]] = {}
        self._current: Transaction | None = None
        self._collecting = _Batch()
        self._flying: _Batch | None = None
        self._flush_due: asyncio.AbstractEventLoop | None = None  # the loop that is going to call _flush
        self._lock: int | None = None

    @classmethod
    def open(cls, path: Path | str, clock: TimeSource | None = None) -> Store:
        """Open the file, which is made if need be, for this process alone.

        Args:
            path: of the file, or of a directory, in which it is then `state.db`.

        Raises:
            DataInUse: another process has it.
            NewerSchema: a newer Cloudstead has written it.
            Damaged: its file is not readable.
        """
        file = Path(path)
        if file.is_dir():
            file /= DATABASE
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(file)
        try:
            store = cls(SqliteBackend(file), clock=clock)
        except BaseException:
            os.close(lock)
            raise
        store._lock = lock
        return store

    @classmethod
    def in_memory(cls, backend: MemoryBackend | None = None, clock: TimeSource | None = None) -> Store:
        """A store without disk or threads, for tests and simulations. The same backend again is a restart."""
        return cls(backend or MemoryBackend(), clock=clock, inline=True)

    async def close(self) -> None:
        """Write what is left and let go of the data directory."""
        with contextlib.suppress(Unavailable):
            await self.settled()
        if isinstance(self._writer, InlineWriter):  # nothing to wait for, and a simulation has no threads
            self._close()
        else:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._backend.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def table(self, table: Table[R]) -> TableView[R]:
        return self.stored(table)

    def attach(self, tables: Iterable[Table[Any]]) -> None:
        """Load tables now rather than when they are first used.

        Raises:
            NewerSchema, Damaged
        """
        for table in tables:
            self.stored(table)

    def stored(self, table: Table[R]) -> StoredTable[R]:
        data = self._tables.get(table.name)
        if data is None:
            data = self._load(table)
        elif data.table is not table:
            raise ValueError(f"two tables are called {table.name}")
        return data

    def _load(self, table: Table[R]) -> StoredTable[R]:
        data = StoredTable(table)
        rows: dict[Key, R] = {}
        migrated: dict[Place, Live] = {}
        for kept in self._backend.load(table.name):
            row = table.decode(kept.row, kept.schema)
            rows[table.key(row)] = row
            if kept.schema != table.schema:
                migrated[table.name, kept.key, False] = Live(table.schema, encode_row(row))
        data.load(rows)
        self._tables[table.name] = data
        if migrated:
            log.info("brought %d rows of %s to schema %d", len(migrated), table.name, table.schema)
            self._keep_migrated(migrated)
        return data

    def _keep_migrated(self, rows: dict[Place, Live]) -> None:
        # Joins the collecting batch; a later change of such a row in the same batch comes after it and wins.
        tx = Transaction(self)
        tx.writes.update(rows)
        self._join(tx)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def transaction(self) -> Transaction:
        """A `with` block whose writes all happen or none; no `await` inside it."""
        return Transaction(self)

    @property
    def current(self) -> Transaction | None:
        """The transaction whose block is being carried out."""
        return self._current

    def begin(self, tx: Transaction) -> None:
        if self._current is not None:
            raise RuntimeError("a transaction is open already: they do not nest, and there must be no await inside one")
        self._current = tx

    def end(self, tx: Transaction, committed: bool) -> None:
        self._current = None
        if not committed:
            tx.undo()
        elif tx.writes or tx.events:
            self._join(tx)

    def _join(self, tx: Transaction) -> None:
        self._collecting.transactions.append(tx)
        if self._flush_due is None and self._flying is None:
            with contextlib.suppress(RuntimeError):  # no loop is running: `settled` will see to it
                loop = asyncio.get_running_loop()
                loop.call_soon(self._flush)
                self._flush_due = loop

    async def settled(self, failures: int | None = None) -> None:
        """Return when every transaction so far is durable; at once when none is waiting.

        Args:
            failures: the value that `store.failures` had when the caller began. Who awaited something between its transactions and this call
                must give it: the transactions may have been undone meanwhile, and then this raises.

        Raises:
            Unavailable: they could not be written and are undone.
        """
        if failures is not None and failures != self.failures:
            raise _unavailable()
        loop = asyncio.get_running_loop()
        if self._collecting.transactions:
            batch = self._collecting
            if self._flying is None and self._flush_due is not loop:
                self._flush()
        elif self._flying is not None:
            batch = self._flying
        else:
            return
        waiter: asyncio.Future[None] = loop.create_future()
        batch.waiters.append(waiter)
        await waiter

    def _flush(self) -> None:
        self._flush_due = None
        batch = self._collecting
        if self._flying is not None or not batch.transactions:
            return
        self._flying = batch
        self._collecting = _Batch()
        writes = batch.transactions[0].writes
        if len(batch.transactions) > 1:
            writes = {}
            for tx in batch.transactions:
                writes.update(tx.writes)
        if writes:
            self._writer.write(writes, self._landed)
        else:
            asyncio.get_running_loop().call_soon(self._landed, None)

    def _landed(self, error: Exception | None) -> None:
        batch = self._flying
        assert batch is not None
        self._flying = None
        if error is not None:
            self._undo(batch, error)
            return
        self._flush()
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._tell(batch)

    def _undo(self, batch: _Batch, error: Exception) -> None:
        later, self._collecting = self._collecting, _Batch()
        transactions = batch.transactions + later.transactions
        log.error("%d transactions could not be written and are undone: %s", len(transactions), error)
        self.failures += 1
        try:
            for tx in reversed(transactions):
                tx.undo()
        finally:
            for waiter in batch.waiters + later.waiters:
                if not waiter.done():
                    waiter.set_exception(_unavailable())

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, table: Table[R], callback: Watcher[R]) -> Callable[[], None]:
        """Have `callback(old, new)` called for every durable change from now on, in commit order, on the loop; None for what is not there.

        It should be quick, and may begin transactions. An archived row is seen to go.

        Returns:
            what ends it.
        """
        watchers = self.stored(table).watchers
        watchers.append(callback)

        def end() -> None:
            with contextlib.suppress(ValueError):
                watchers.remove(callback)

        return end

    def _tell(self, batch: _Batch) -> None:
        for tx in batch.transactions:
            for data, _, old, new in tx.changes:
                for watcher in tuple(data.watchers):
                    try:
                        watcher(old, new)
                    except Exception:
                        log.exception("a watcher of %s failed", data.table.name)
            if tx.events and self.emitter is not None:
                self.emitter.deliver(tx.events)

    # ── the archive ──────────────────────────────────────────────────────────────────────────────────────────────

    async def archived(self, table: Table[R], key: Key) -> R | None:
        """A row that was archived."""
        found = await self.archived_many(table, (key,))
        return found[0] if found else None

    async def archived_many(self, table: Table[R], keys: Sequence[Key]) -> list[R]:
        """Those of the keys that were archived, in no particular order."""
        wanted = [encode_key(key) for key in keys]
        return await self._read(table, functools.partial(self._backend.archived, table.name, wanted))

    async def scan_archive(
        self,
        table: Table[R],
        prefix: IndexKey = (),
        *,
        index: str = "",
        after: R | Key | None = None,
        reverse: bool = False,
        limit: int = 100,
    ) -> list[R]:
        """Archived rows in the order of their keys, or of the table's archive index.

        Args:
            index: the name of the table's `archive_index`, or nothing.
            after: the row to go on behind, as the last call gave it; in key order a key will do.
        """
        if index not in ("", table.archive_index):
            raise ValueError(f"the archive of {table.name} is not indexed {index}")
        low = encode_key(prefix)
        high = low[:-1] + b"\1" if low else b"\xff"  # no part is longer by a byte less than 1, and none begins with 255
        position = b""
        if isinstance(after, tuple):
            position = encode_key(after)
        elif after is not None:
            position = archive_place(table, after, encode_key(table.key(after))) if index else encode_key(table.key(after))
        scan = functools.partial(
            self._backend.scan_archive,
            table.name,
            by_place=bool(index),
            low=low,
            high=high,
            after=position,
            reverse=reverse,
            limit=limit,
        )
        return await self._read(table, scan)

    async def purge_archive(self, table: Table[Any], before: float) -> int:
        """Forget what was archived before a time; how many rows it were.

        Raises:
            Unavailable: the disk refused; what is gone is gone.
        """
        gone = 0
        while True:
            try:
                some: int = await self._writer.run(functools.partial(self._backend.purge, table.name, before, _PURGED_AT_ONCE))
            except Exception as error:
                log.error("the archive of %s could not be purged: %s", table.name, error)
                raise _unavailable() from error
            gone += some
            if some < _PURGED_AT_ONCE:
                return gone

    async def _read(self, table: Table[R], read: Callable[[], list[Stored]]) -> list[R]:
        await self.settled()
        found = read() if isinstance(self._writer, InlineWriter) else await asyncio.to_thread(read)
        return [table.decode(kept.row, kept.schema) for kept in found]


def _unavailable() -> Unavailable:
    return Unavailable("The change could not be written to disk and was undone. Please try again.")


def _lock(file: Path) -> int:
    """Take the file for this process; the lock goes with the process, however it ends."""
    descriptor = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise DataInUse(str(file), int(holder) if holder.isdigit() else None) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
