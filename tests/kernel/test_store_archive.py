"""Finished rows leave memory and are read from disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cloudstead.kernel.store import MemoryBackend, Row, Store, Table
from cloudstead.kernel.store.backend import Backend
from cloudstead.kernel.store.sqlite import SqliteBackend


class Job(Row, frozen=True, kw_only=True):
    account: str
    id: str
    queue: str = "q"
    ended: str = ""


JOBS = Table(
    "test.jobs",
    Job,
    key=lambda job: (job.account, job.id),
    indexes={"by_queue": lambda job: (job.account, job.queue, job.ended)},
    archive_index="by_queue",
)


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return SqliteBackend(tmp_path / "state.db") if request.param == "sqlite" else MemoryBackend()


def run(backend: Backend, scenario: Callable[[Store, Hands], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Hands()
        store = Store(backend, clock=clock)
        try:
            await scenario(store, clock)
        finally:
            await store.close()

    asyncio.run(main())


def archive(store: Store, *jobs: Job) -> None:
    with store.transaction() as tx:
        for job in jobs:
            tx.insert(JOBS, job)
            tx.archive(JOBS, JOBS.key(job))


def ids(jobs: list[Job]) -> str:
    return "".join(job.id for job in jobs)


def test_an_archived_row_is_out_of_memory_and_still_found(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        gone: list[object] = []
        store.watch(JOBS, lambda old, new: gone.append((old, new)))
        archive(store, Job(account="1", id="a"))
        assert len(store.table(JOBS)) == store.table(JOBS).count(index="by_queue") == 0
        found = await store.archived(JOBS, ("1", "a"))
        assert found == Job(account="1", id="a", version=1)
        assert gone == [(None, found), (found, None)]
        assert await store.archived(JOBS, ("1", "b")) is None
        assert ids(await store.archived_many(JOBS, [("1", "b"), ("1", "a")])) == "a"

    run(backend, scenario)


def test_archiving_is_part_of_its_transaction(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        with store.transaction() as tx:
            tx.insert(JOBS, Job(account="1", id="a"))
        with pytest.raises(KeyError), store.transaction() as tx:  # noqa: PT012
            tx.archive(JOBS, ("1", "a"))
            tx.archive(JOBS, ("1", "a"))
        assert ids(store.table(JOBS).scan()) == "a"
        assert await store.archived(JOBS, ("1", "a")) is None
        with pytest.raises(KeyError), store.transaction() as tx:
            tx.archive(JOBS, ("1", "b"))

    run(backend, scenario)


def test_a_key_can_be_used_again_after_archiving(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        archive(store, Job(account="1", id="a", queue="first"))
        with store.transaction() as tx:
            tx.insert(JOBS, Job(account="1", id="a", queue="second"))
        live, old = store.table(JOBS).get(("1", "a")), await store.archived(JOBS, ("1", "a"))
        assert live is not None
        assert old is not None
        assert (live.queue, old.queue) == ("second", "first")
        with store.transaction() as tx:
            tx.archive(JOBS, ("1", "a"))
        old = await store.archived(JOBS, ("1", "a"))
        assert old is not None
        assert old.queue == "second"

    run(backend, scenario)


def test_the_archive_is_scanned_in_key_order(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        assert await store.scan_archive(JOBS, ("1",)) == []
        archive(store, *(Job(account="1", id=one) for one in "cabed"), Job(account="10", id="x"), Job(account="2", id="y"))
        assert ids(await store.scan_archive(JOBS, ("1",))) == "abcde"
        assert ids(await store.scan_archive(JOBS)) == "abcdexy"
        assert ids(await store.scan_archive(JOBS, ("1",), limit=2)) == "ab"
        assert ids(await store.scan_archive(JOBS, ("1",), after=("1", "b"), limit=2)) == "cd"
        assert ids(await store.scan_archive(JOBS, ("1",), after=("1", "d"), reverse=True)) == "cba"
        assert ids(await store.scan_archive(JOBS, ("2",), after=("1", "a"))) == "y"

    run(backend, scenario)


def test_the_archive_is_scanned_by_its_index_newest_first(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        archive(store, *(Job(account="1", id=one, ended=f"{at % 2}") for at, one in enumerate("abcdef")))
        archive(store, Job(account="1", id="x", queue="other"), Job(account="2", id="y"))
        newest = await store.scan_archive(JOBS, ("1", "q"), index="by_queue", reverse=True, limit=4)
        assert ids(newest) == "fdbe"
        rest = await store.scan_archive(JOBS, ("1", "q"), index="by_queue", reverse=True, after=newest[-1])
        assert ids(rest) == "ca"
        with pytest.raises(ValueError, match="by_name"):
            await store.scan_archive(JOBS, index="by_name")

    run(backend, scenario)


def test_the_archive_forgets_what_is_old(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        assert await store.purge_archive(JOBS, before=2000.0) == 0
        archive(store, *(Job(account="1", id=f"{number:04}") for number in range(1500)))
        await store.settled()
        clock.now = 5000.0
        archive(store, Job(account="1", id="new"))
        await store.settled()
        assert await store.purge_archive(JOBS, before=5000.0) == 1500
        assert ids(await store.scan_archive(JOBS)) == "new"

    run(backend, scenario)


def test_scanning_the_archive_by_index_reads_no_more_than_it_gives(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "state.db")

    async def scenario(store: Store, clock: Hands) -> None:
        archive(store, *(Job(account="1", id=f"{number}", ended=f"{number:04}") for number in range(10)))
        await store.settled()
        texts: list[str] = []
        backend._reader.set_trace_callback(texts.append)
        await store.scan_archive(JOBS, ("1", "q"), index="by_queue", limit=3)
        backend._reader.set_trace_callback(None)
        [plan] = backend._reader.execute(f"EXPLAIN QUERY PLAN {texts[0]}").fetchall()
        assert "SEARCH" in plan[3]
        assert "test.jobs archive place" in plan[3]

    run(backend, scenario)


def test_a_single_archived_row_can_be_forgotten(backend: Backend) -> None:
    async def scenario(store: Store, clock: Hands) -> None:
        archive(store, Job(account="1", id="a"), Job(account="1", id="b"))
        with store.transaction() as tx:
            tx.forget(JOBS, ("1", "a"))
            tx.forget(JOBS, ("1", "never"))
        assert [job.id for job in await store.scan_archive(JOBS, ("1",))] == ["b"]

    run(backend, scenario)
