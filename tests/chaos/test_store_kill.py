"""kill -9 under a write load, and a file system that tore the last writes: what was acknowledged is there, and nothing is there by halves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import store_writer
from store_writer import COINS, COUNTERS, ENTRIES, ENTRIES_OF, PURSES, PURSES_OF, TABLES, WRITERS

from cloudstead.kernel.store import Store, Table

ROUNDS = 200


Nursery = subprocess.Popen[bytes]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen([sys.executable, store_writer.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def new_store(path: Path) -> None:
    async def main() -> None:
        store = Store.open(path)
        store_writer.fill(store)
        await store.close()

    asyncio.run(main())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    store.attach(TABLES)
    yield store
    asyncio.run(store.close())


def check(store: Store, acknowledged: dict[str, int]) -> None:
    """Everything that must hold after any crash."""
    counters = store.table(COUNTERS).scan()
    assert len(counters) == WRITERS
    for counter in counters:
        assert counter.count >= acknowledged[counter.writer], "an acknowledged write is lost"
        assert counter.version == counter.count + 1
        entries = store.table(ENTRIES_OF).scan((counter.writer,))
        first = max(1, counter.count - ENTRIES + 1)
        assert [entry.number for entry in entries] == list(range(first, counter.count + 1)), "a transaction is there by halves"
    assert sum(purse.coins for purse in store.table(PURSES_OF).scan()) == PURSES * COINS, "a transfer is there by halves"
    for table in TABLES:
        check_indexes(store, table)


def check_indexes(store: Store, table: Table) -> None:
    view = store.table(table)
    for index in view._indexes.values():
        rebuilt = sorted((place, table.key(row)) for row in view.scan() for place in index.of(row))
        assert list(index.entries) == rebuilt
        assert index.owners is None or index.owners == dict(rebuilt)


def round_of_writing(nursery: Nursery, path: Path, seed: int, acknowledged: dict[str, int]) -> int:
    """Start the writers, kill them at a random moment, note what they were told to be durable; how many that were."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    heard = nursery.stdout
    chance = random.Random(seed)
    nursery.stdin.write(f"{seed} {path}\n".encode())
    nursery.stdin.flush()
    told: list[bytes] = []

    def listen() -> bytes:
        line = heard.readline()
        assert line, "the nursery has died"
        told.append(line)
        return line

    wanted = {b"pid", b"ready"} if chance.random() < 0.85 else {b"pid"}  # else kill it while it starts
    while wanted:
        wanted.discard(listen().split()[0])
    time.sleep(chance.random() * 0.05)
    os.kill(next(int(line.split()[1]) for line in told if line.startswith(b"pid")), signal.SIGKILL)
    while listen() != b"dead\n":
        pass
    counts = [line.split() for line in told if line[:1].isdigit()]
    for writer, count in counts:
        name = writer.decode()
        acknowledged[name] = max(acknowledged[name], int(count))
    return len(counts)


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, nursery: Nursery) -> None:
    new_store(tmp_path)
    acknowledged = {f"{number:02}": 0 for number in range(WRITERS)}
    writes = 0
    for seed in range(ROUNDS):
        writes += round_of_writing(nursery, tmp_path, seed, acknowledged)
        if seed % 2:  # after the other rounds the next writers are the first to open the data
            with opened(tmp_path) as store:
                check(store, acknowledged)
    assert writes > ROUNDS, "the writers hardly got to write; the test says nothing"


def history(path: Path, commits: int) -> None:
    """A copy of a store's files as they are after so many commits, all still in the write-ahead log."""

    async def main() -> None:
        store = Store.open(path / "original")
        store._backend._writer.execute("PRAGMA wal_autocheckpoint = 0")  # type: ignore[attr-defined]
        store_writer.fill(store)
        await store.settled()
        for number in range(commits):
            store_writer.step(store, "00", random.Random(number))
            await store.settled()
        for name in ("state.db", "state.db-wal"):
            shutil.copy(path / "original" / name, path)
        await store.close()

    (path / "original").mkdir()
    asyncio.run(main())


def recovered(path: Path, log: bytes) -> int:
    """Open the copy with another log; the commits that are in it."""
    again = path / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    shutil.copy(path / "state.db", again)
    (again / "state.db-wal").write_bytes(log)
    with opened(again) as store:
        if not len(store.table(COUNTERS)):
            assert all(len(store.table(table)) == 0 for table in TABLES)
            return -1
        check(store, {counter.writer: 0 for counter in store.table(COUNTERS).scan()})
        counter = store.table(COUNTERS).get(("00",))
        assert counter is not None
        return counter.count


def test_a_log_cut_off_anywhere_holds_the_commits_before_the_cut(tmp_path: Path) -> None:
    history(tmp_path, 12)
    log = (tmp_path / "state.db-wal").read_bytes()
    assert recovered(tmp_path, log) == 12
    chance = random.Random(1)
    cuts = sorted(chance.randrange(len(log)) for _ in range(40))
    found = [recovered(tmp_path, log[:cut]) for cut in cuts]
    assert found == sorted(found)
    assert len(set(found)) > 5


def test_garbage_at_the_end_of_the_log_costs_no_earlier_commit(tmp_path: Path) -> None:
    history(tmp_path, 12)
    log = (tmp_path / "state.db-wal").read_bytes()
    chance = random.Random(2)
    assert recovered(tmp_path, log + chance.randbytes(10_000)) == 12
    for _ in range(30):
        at = chance.randrange(len(log))
        garbled = log[:at] + chance.randbytes(len(log) - at)
        assert recovered(tmp_path, garbled) == recovered(tmp_path, log[:at])
