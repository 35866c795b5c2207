"""When the disk refuses: nothing is known in memory that is not on disk, and the store goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.store import MemoryBackend, Row, Store, Table, WriteFailed
from cloudstead.kernel.store.backend import Batch
from cloudstead.kernel.store.sqlite import SqliteBackend


class Thing(Row, frozen=True, kw_only=True):
    name: str
    number: int = 0


THINGS = Table("test.things", Thing, key=lambda one: (one.name,), indexes={"by_number": lambda one: (one.number,)})


class Gate(MemoryBackend):
    """A backend whose writes wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)

    def write(self, batch: Batch) -> None:
        self.arrived.release()
        assert self.open.wait(10)
        super().write(batch)


def run(backend: MemoryBackend, scenario: Callable[[Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store(backend)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


def write(store: Store, name: str, number: int = 0) -> None:
    with store.transaction() as tx:
        tx.put(THINGS, Thing(name=name, number=number))


def test_what_the_disk_refuses_is_undone_and_everyone_who_waits_is_told() -> None:
    backend = Gate()
    backend.open.set()

    async def scenario(store: Store) -> None:
        seen: list[object] = []
        write(store, "kept", 1)
        await store.settled()
        store.watch(THINGS, lambda old, new: seen.append(new))
        backend.open.clear()
        backend.failures = [WriteFailed("disk full")]
        write(store, "kept", 2)
        first = asyncio.ensure_future(store.settled())
        await asyncio.to_thread(backend.arrived.acquire, timeout=10)
        await asyncio.to_thread(backend.arrived.acquire, timeout=10)  # the second batch is with the writer now
        write(store, "kept", 3)  # these stand on what is about to be undone
        write(store, "new", 4)
        second = asyncio.ensure_future(store.settled())
        await asyncio.sleep(0)
        backend.open.set()
        for waiting in (first, second):
            with pytest.raises(Unavailable):
                await waiting
        view = store.table(THINGS)
        assert view.scan() == [Thing(name="kept", number=1, version=1)]
        assert [one.number for one in view.scan(index="by_number")] == [1]
        assert seen == []
        write(store, "new", 5)
        await store.settled()
        assert len(seen) == 1

    run(backend, scenario)
    assert [one.number for one in Store.in_memory(backend).table(THINGS).scan()] == [1, 5]


def test_a_failure_that_passes_is_tried_again_unnoticed() -> None:
    backend = MemoryBackend()
    backend.failures = [WriteFailed("locked", transient=True), WriteFailed("locked", transient=True)]

    async def scenario(store: Store) -> None:
        write(store, "a")
        await store.settled()
        assert store.failures == 0

    run(backend, scenario)
    assert len(backend.live["test.things"]) == 1


def test_a_failure_that_does_not_pass_is_given_up() -> None:
    backend = MemoryBackend()
    backend.failures = [WriteFailed("locked", transient=True)] * 10

    async def scenario(store: Store) -> None:
        write(store, "a")
        with pytest.raises(Unavailable):
            await store.settled()
        assert len(store.table(THINGS)) == 0
        backend.failures.clear()
        write(store, "b")
        await store.settled()

    run(backend, scenario)
    assert list(backend.live["test.things"]) == [b"b\0"]


def test_who_began_before_an_undoing_learns_of_it_even_when_nothing_waits_any_more() -> None:
    backend = MemoryBackend()
    backend.failures = [ValueError("a bug in the backend")]

    async def scenario(store: Store) -> None:
        began = store.failures
        write(store, "a")
        with pytest.raises(Unavailable):
            await store.settled()
        await store.settled()  # nothing is waiting …
        with pytest.raises(Unavailable):
            await store.settled(began)  # … but this caller's work may be lost

    run(backend, scenario)


def test_a_full_disk_that_is_freed_takes_writes_again(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "state.db")

    async def main() -> None:
        store = Store(backend)
        write(store, "before")
        await store.settled()
        pages = backend._writer.execute("PRAGMA page_count").fetchone()[0]
        backend._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(Unavailable):  # noqa: PT012
            for number in range(100):
                write(store, f"{number}" + "x" * 3000)
                await store.settled()
        kept = {one.name for one in store.table(THINGS).scan()}
        backend._writer.execute("PRAGMA max_page_count = 100000")
        write(store, "after")
        await store.settled()
        await store.close()
        again = Store(SqliteBackend(tmp_path / "state.db"))
        assert {one.name for one in again.table(THINGS).scan()} == kept | {"after"}
        await again.close()

    asyncio.run(main())


def test_closing_writes_what_was_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store.open(tmp_path)
        write(store, "a")
        await store.close()
        store = Store.open(tmp_path)
        assert len(store.table(THINGS)) == 1
        await store.close()

    asyncio.run(main())


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """Whether the system tells the disk to write cannot be seen short of cutting the power; whether it is asked to, can."""
    backend = SqliteBackend(tmp_path / "state.db")
    for connection in (backend._writer, backend._reader):
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    backend.close()
