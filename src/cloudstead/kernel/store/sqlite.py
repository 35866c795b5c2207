"""Rows in one SQLite file: WAL, synchronous=FULL, so a commit returns when its pages are on the disk.

A table of the store is a table here, `"iam.users"(key, schema, row)`; its archive is `"iam.users archive"(key, schema, row, at, place)`.
The layout of the file itself is numbered by `user_version`.

Statements are few and long: each one releases Python's lock and waits to get it back, up to 5 ms when the event loop is busy, so a batch
that touches one table is one statement, and rows are written many to a statement.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cloudstead.kernel.store.backend import Batch, Live, Stored
from cloudstead.kernel.store.failures import Damaged, NewerSchema, WriteFailed

LAYOUT = 1
_ROWS_A_STATEMENT = (256, 64, *range(32, 0, -1))  # few different texts, so that the prepared statements are found again
_PREPARED = 512  # statements to keep; one takes some KiB
_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


class SqliteBackend:
    """One file. `write` and `purge` have a connection of their own, reading another, behind a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._tables: set[str] = set()
        try:
            self._writer = self._connect()
            layout = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if layout > LAYOUT:
                raise NewerSchema(str(path), layout, LAYOUT)
            self._writer.execute(f"PRAGMA user_version = {LAYOUT}") if layout != LAYOUT else None
            self._reader = self._connect()
            self._tables = {name for (name,) in self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{path} cannot be opened: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0, cached_statements=_PREPARED)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -1024")  # KiB; the rows are in memory already
        return connection

    def load(self, table: str) -> Iterator[Stored]:
        if table not in self._tables:
            return
        with self._reading, self._damage():
            for row in self._reader.execute(f'SELECT key, schema, row FROM "{table}" ORDER BY key'):
                yield Stored(*row)

    def write(self, batch: Batch) -> None:
        kept: dict[str, list[Any]] = {}
        gone: dict[str, list[Any]] = {}
        for (table, key, archive), what in batch.items():
            if what is None:
                gone.setdefault(_physical(table, archive), []).append(key)
            elif isinstance(what, Live):
                kept.setdefault(table, []).append((key, *what))
            else:
                kept.setdefault(_physical(table, True), []).append((key, *what))
        statements = [*_inserts(kept), *_deletes(gone)]
        fresh = [name for name in (*kept, *gone) if name not in self._tables]
        try:
            if len(statements) == 1 and not fresh:
                self._writer.execute(*statements[0])
            else:
                self._write_together(fresh, statements)
        except sqlite3.Error as error:
            raise _failure(error) from error
        self._tables.update(fresh)

    def _write_together(self, fresh: list[str], statements: list[tuple[str, list[Any]]]) -> None:
        execute = self._writer.execute
        execute("BEGIN IMMEDIATE")
        try:
            for name in fresh:
                for definition in _definitions(name):
                    execute(definition)
            for statement in statements:
                execute(*statement)
            execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):  # some errors have rolled it back already
                execute("ROLLBACK")
            raise

    def archived(self, table: str, keys: Sequence[bytes]) -> list[Stored]:
        name = _physical(table, True)
        if name not in self._tables:
            return []
        found: list[Stored] = []
        with self._reading:
            for at in range(0, len(keys), 100):
                some = keys[at : at + 100]
                text = f'SELECT key, schema, row, place FROM "{name}" WHERE key IN ({_marks(len(some))})'
                found += [Stored(*row) for row in self._read(text, tuple(some))]
        return found

    def scan_archive(self, table: str, *, by_place: bool, low: bytes, high: bytes, after: bytes, reverse: bool, limit: int) -> list[Stored]:
        name = _physical(table, True)
        if name not in self._tables:
            return []
        by = "place" if by_place else "key"
        text = f'SELECT key, schema, row, place FROM "{name}" WHERE {by} >= ? AND {by} < ?'
        values: list[Any] = [low, high]
        if by_place:
            text += " AND place > x''"  # what the index says of itself: only with the same words does SQLite use it
        if after:
            text += f" AND {by} {'<' if reverse else '>'} ?"
            values.append(after)
        text += f" ORDER BY {by} {'DESC' if reverse else 'ASC'} LIMIT ?"
        with self._reading:
            return [Stored(*row) for row in self._read(text, (*values, limit))]

    def purge(self, table: str, before: float, limit: int) -> int:
        name = _physical(table, True)
        if name not in self._tables:
            return 0
        text = f'DELETE FROM "{name}" WHERE key IN (SELECT key FROM "{name}" WHERE at < ? ORDER BY at LIMIT ?)'
        try:
            return self._writer.execute(text, (before, limit)).rowcount
        except sqlite3.Error as error:
            raise _failure(error) from error

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _read(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        with self._damage():
            return self._reader.execute(text, values).fetchall()

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{self._path} cannot be read: {error}") from error


def _physical(table: str, archive: bool) -> str:
    return table + " archive" if archive else table


def _definitions(name: str) -> list[str]:
    if not name.endswith(" archive"):
        return [f'CREATE TABLE IF NOT EXISTS "{name}" (key BLOB PRIMARY KEY, schema INTEGER NOT NULL, row BLOB NOT NULL) WITHOUT ROWID']
    return [
        f'CREATE TABLE IF NOT EXISTS "{name}" (key BLOB PRIMARY KEY, schema INTEGER NOT NULL, row BLOB NOT NULL, '
        "at REAL NOT NULL, place BLOB NOT NULL) WITHOUT ROWID",
        f'CREATE INDEX IF NOT EXISTS "{name} at" ON "{name}" (at)',
        f'CREATE INDEX IF NOT EXISTS "{name} place" ON "{name}" (place) WHERE place > x\'\'',
    ]


def _marks(count: int) -> str:
    return ",".join("?" * count)


def _inserts(kept: dict[str, list[Any]]) -> Iterator[tuple[str, list[Any]]]:
    for name, rows in kept.items():
        one = f"({_marks(len(rows[0]))})"
        for part in _portions(rows):
            yield f'REPLACE INTO "{name}" VALUES {",".join([one] * len(part))}', [value for row in part for value in row]


def _deletes(gone: dict[str, list[Any]]) -> Iterator[tuple[str, list[Any]]]:
    for name, keys in gone.items():
        for part in _portions(keys):
            yield f'DELETE FROM "{name}" WHERE key IN ({_marks(len(part))})', part


def _portions(things: list[Any]) -> Iterator[list[Any]]:
    at = 0
    for size in _ROWS_A_STATEMENT:
        while len(things) - at >= size:
            yield things[at : at + size]
            at += size


def _failure(error: sqlite3.Error) -> WriteFailed:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code: the extended ones say which call of the system failed
    return WriteFailed(f"{type(error).__name__}: {error}", transient=code in _TRANSIENT)
