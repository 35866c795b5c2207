"""The store against the simplest thing that could be it: dictionaries. Random transactions, failures of the disk, crashes, restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.store import Conflict, Exists, MemoryBackend, Row, Store, Table, WriteFailed
from cloudstead.kernel.store.backend import Batch
from cloudstead.kernel.store.sqlite import SqliteBackend


class Item(Row, frozen=True, kw_only=True):
    first: str
    second: str
    color: str = ""
    labels: tuple[str, ...] = ()


ITEMS = Table(
    "model.items",
    Item,
    key=lambda item: (item.first, item.second),
    indexes={
        "by_color": lambda item: (item.first, item.color) if item.color else None,
        "by_label": lambda item: [(label,) for label in item.labels],
    },
    unique=("by_color",),
)

PARTS = st.sampled_from(["", "a", "a\0", "a\1", "ab", "b", "ü"])
KEYS = st.tuples(PARTS, PARTS)
COLORS = st.sampled_from(["", "", "red", "green"])
LABELS = st.lists(st.sampled_from("xyz"), max_size=3).map(tuple)
WRITES = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "stale", "put", "delete", "archive"]), KEYS, COLORS, LABELS), min_size=1, max_size=6
)

Rows = dict[tuple[str, str], Item]


class Abort(Exception):
    pass


class StoreMachine(RuleBasedStateMachine):
    """`now` is what memory should hold, `durable` what a crash leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now: tuple[Rows, Rows] = ({}, {})
        self.durable: tuple[Rows, Rows] = ({}, {})
        self.seen: Rows = {}
        self.fail = False
        self.removed = 0  # the highest version of a row that was removed in this life

    def backend(self) -> Any:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.open_backend = self.backend()
        self.store = Store(self.open_backend, inline=True)
        write = self.open_backend.write

        def failing(batch: Batch) -> None:
            if self.fail:
                raise WriteFailed("disk full")
            write(batch)

        self.open_backend.write = failing
        self.store.watch(ITEMS, self.watch)
        self.removed = 0
        self.seen = dict(self.durable[0])

    def watch(self, old: Item | None, new: Item | None) -> None:
        row = old or new
        assert row is not None
        key = (row.first, row.second)
        assert self.seen.get(key) == old
        if new is None:
            del self.seen[key]
        else:
            self.seen[key] = new

    @rule(writes=WRITES, abort=st.booleans())
    def transaction(self, writes: list[tuple[str, tuple[str, str], str, tuple[str, ...]]], abort: bool) -> None:
        live, archive = dict(self.now[0]), dict(self.now[1])
        try:
            with self.store.transaction() as tx:
                for what, key, color, labels in writes:
                    self.write(tx, live, archive, what, key, Item(first=key[0], second=key[1], color=color, labels=labels))
                if abort:
                    raise Abort
        except (Abort, Exists, Conflict, KeyError):
            return
        self.now = live, archive

    def write(self, tx: Any, live: Rows, archive: Rows, what: str, key: tuple[str, str], item: Item) -> None:
        """One write on both; what the model says must fail, must fail."""
        old = live.get(key)
        taken = any(other != key and row.color and (row.first, row.color) == (item.first, item.color) for other, row in live.items())
        if what in ("delete", "archive"):
            if what == "archive":
                with pytest.raises(KeyError) if old is None else _nothing():
                    tx.archive(ITEMS, key)
                if old is not None:
                    archive[key] = old
            else:
                assert tx.delete(ITEMS, key) == old
            live.pop(key, None)
            self.removed = max(self.removed, 0 if old is None else old.version)
            return
        version = 0 if old is None else old.version
        given = Item(first=item.first, second=item.second, color=item.color, labels=item.labels, version=version - (what == "stale"))
        refused: type[Exception] | None = None
        if what == "insert" and old is not None:
            refused = Exists
        elif what == "stale" or (what == "update" and old is None):
            refused = Conflict
        elif taken:
            refused = Exists
        verb = getattr(tx, "update" if what == "stale" else what)
        if refused is not None:
            with pytest.raises(refused):
                verb(ITEMS, given)
            return
        live[key] = verb(ITEMS, given)
        assert live[key].version > self.removed if old is None else live[key].version == version + 1

    @rule()
    def settle(self) -> None:
        self.loop.run_until_complete(self.store.settled())
        self.durable = dict(self.now[0]), dict(self.now[1])
        assert self.seen == self.durable[0]

    @rule()
    def settle_on_a_full_disk(self) -> None:
        self.fail = True
        try:
            self.loop.run_until_complete(self.store.settled())
        except Unavailable:
            self.now = dict(self.durable[0]), dict(self.durable[1])
        finally:
            self.fail = False
        assert self.seen == self.durable[0]

    @rule()
    def crash(self) -> None:
        self.open_backend.close()
        self.now = dict(self.durable[0]), dict(self.durable[1])
        self.start()

    @rule(prefix=PARTS, after=KEYS, reverse=st.booleans(), limit=st.integers(0, 4))
    def scan(self, prefix: str, after: tuple[str, str], reverse: bool, limit: int) -> None:
        rows = [row for key, row in sorted(self.now[0].items(), reverse=reverse) if key[0] == prefix]
        behind = [row for row in rows if ((row.first, row.second) < after if reverse else (row.first, row.second) > after)]
        view = self.store.table(ITEMS)
        assert view.scan((prefix,), reverse=reverse) == rows
        assert view.scan((prefix,), after=after, reverse=reverse, limit=limit) == behind[:limit]
        assert view.count((prefix,)) == len(rows)

    @rule(after=st.one_of(st.none(), KEYS))
    def scan_archive(self, after: tuple[str, str] | None) -> None:
        self.settle()
        found = self.loop.run_until_complete(self.store.scan_archive(ITEMS, after=after))
        assert found == [row for key, row in sorted(self.durable[1].items()) if after is None or key > after]

    @invariant()
    def memory_is_as_it_should_be(self) -> None:
        view = self.store.table(ITEMS)
        assert view.scan() == [row for _, row in sorted(self.now[0].items())]
        for name, index in view._indexes.items():
            rebuilt = sorted((entry, key) for key, row in self.now[0].items() for entry in index.of(row))
            assert list(index.entries) == rebuilt, name
            assert index.owners is None or index.owners == dict(rebuilt)

    def teardown(self) -> None:
        if hasattr(self, "open_backend"):
            self.open_backend.close()
        self.loop.close()


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *about: object) -> None:
        return None


class InMemory(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.kept = MemoryBackend()

    def backend(self) -> MemoryBackend:
        again = MemoryBackend()
        again.live, again.archive = self.kept.live, self.kept.archive
        return again


class OnDisk(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())

    def backend(self) -> SqliteBackend:
        return SqliteBackend(self.directory / "state.db")

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
