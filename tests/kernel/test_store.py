"""What the store keeps, finds and refuses."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel.store import Conflict, Damaged, DataInUse, Exists, MemoryBackend, NewerSchema, Row, Store, Table
from cloudstead.kernel.store.rows import encode_key


class User(Row, frozen=True, kw_only=True):
    account: str
    name: str
    number: int = 0
    groups: tuple[str, ...] = ()
    nickname: str = ""


USERS = Table(
    "test.users",
    User,
    key=lambda user: (user.account, user.name),
    indexes={
        "by_number": lambda user: (user.account, user.number),
        "by_group": lambda user: [(user.account, group) for group in user.groups],
        "by_nickname": lambda user: (user.account, user.nickname) if user.nickname else None,
    },
    unique=("by_nickname",),
)


def user(name: str, account: str = "1", **fields: Any) -> User:
    return User(account=account, name=name, **fields)


def insert(store: Store, *users: User) -> None:
    with store.transaction() as tx:
        for one in users:
            tx.insert(USERS, one)


def names(users: list[User]) -> list[str]:
    return [one.name for one in users]


def run(path: Path, scenario: Callable[[Store], Awaitable[None]]) -> None:
    """Carry out a scenario with a store on disk, and close it."""

    async def main() -> None:
        store = Store.open(path)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


@pytest.fixture
def store() -> Store:
    return Store.in_memory()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_is_found_by_its_key_and_starts_at_version_1(store: Store) -> None:
    insert(store, user("alice"))
    view = store.table(USERS)
    assert view.get(("1", "alice")) == user("alice", version=1)
    assert view.get(("1", "bob")) is None
    assert ("1", "alice") in view
    assert len(view) == 1


def test_a_scan_gives_the_rows_of_a_prefix_in_key_order(store: Store) -> None:
    insert(store, user("b"), user("a"), user("a", "10"), user("a", "2"), user("c"))
    view = store.table(USERS)
    assert names(view.scan(("1",))) == ["a", "b", "c"]
    assert [(one.account, one.name) for one in view.scan()] == [("1", "a"), ("1", "b"), ("1", "c"), ("10", "a"), ("2", "a")]
    assert view.scan(("3",)) == []
    assert names(view.scan(("1", "b"))) == ["b"]


def test_a_scan_goes_on_behind_a_key_even_if_that_row_is_gone(store: Store) -> None:
    insert(store, *(user(name) for name in "abcde"))
    view = store.table(USERS)
    with store.transaction() as tx:
        tx.delete(USERS, ("1", "b"))
    assert names(view.scan(("1",), after=("1", "b"), limit=2)) == ["c", "d"]
    assert names(view.scan(("1",), after=("1", "c"), reverse=True)) == ["a"]
    assert names(view.scan(("1",), reverse=True, limit=2)) == ["e", "d"]


def test_a_position_outside_the_prefix_does_not_widen_the_scan(store: Store) -> None:
    insert(store, user("a", "1"), user("a", "2"), user("a", "3"))
    view = store.table(USERS)
    assert [one.account for one in view.scan(("2",), after=("1", "a"))] == ["2"]
    assert view.scan(("2",), after=("3", "a")) == []
    assert [one.account for one in view.scan(("2",), after=("3", "a"), reverse=True)] == ["2"]
    assert view.scan(("2",), after=("1", "a"), reverse=True) == []


def test_a_scan_can_ask_how_the_next_part_begins(store: Store) -> None:
    insert(store, *(user(name) for name in ("app", "app-1", "apple", "apq", "ap", "b", "app\U0010ffff")))
    assert names(store.table(USERS).scan(("1",), starts="app")) == ["app", "app-1", "apple", "app\U0010ffff"]
    assert store.table(USERS).count(("1",), starts="app") == 4


def test_counting_a_prefix_agrees_with_scanning_it(store: Store) -> None:
    insert(store, user("a", "1", groups=("x", "y")), user("b", "1", groups=("x",)), user("a", "2"))
    view = store.table(USERS)
    assert (view.count(("1",)), view.count(("2",)), view.count(("9",)), view.count()) == (2, 1, 0, 3)
    assert view.count(("1", "x"), index="by_group") == 2


def test_an_index_orders_rows_by_numbers_as_numbers(store: Store) -> None:
    insert(store, user("a", number=10), user("b", number=9), user("c", number=100))
    view = store.table(USERS)
    assert names(view.scan(("1",), index="by_number")) == ["b", "a", "c"]
    assert names(view.scan(index="by_number", start=("1", 10), stop=("1", 100))) == ["a"]
    assert names(view.scan(("1", 10), index="by_number")) == ["a"]


def test_a_row_stands_in_an_index_once_for_each_of_its_places(store: Store) -> None:
    insert(store, user("a", groups=("x", "y", "x")), user("b", groups=("y",)), user("c"))
    view = store.table(USERS)
    assert names(view.scan(("1", "x"), index="by_group")) == ["a"]
    assert names(view.scan(("1", "y"), index="by_group")) == ["a", "b"]
    found = view.find("by_group", ("1", "y"))
    assert found is not None
    assert found.name == "a"
    assert view.find("by_group", ("1", "z")) is None


def test_rows_that_share_an_index_key_are_paged_without_gap_or_repetition(store: Store) -> None:
    insert(store, *(user(name, number=7) for name in "abcdefg"))
    view = store.table(USERS)
    seen: list[str] = []
    after = None
    while True:
        page = [entry for _, entry in zip(range(3), view.entries(("1",), index="by_number", after=after), strict=False)]
        if not page:
            break
        seen += [row.name for _, row in page]
        after = page[-1][0]
    assert seen == list("abcdefg")


def test_an_index_follows_changes_and_deletions(store: Store) -> None:
    insert(store, user("a", groups=("x",), nickname="al"))
    view = store.table(USERS)
    row = view.get(("1", "a"))
    assert row is not None
    with store.transaction() as tx:
        row = tx.update(USERS, row, groups=("y",), nickname="")
    assert view.find("by_nickname", ("1", "al")) is None
    assert (view.count(("1", "x"), index="by_group"), view.count(("1", "y"), index="by_group")) == (0, 1)
    with store.transaction() as tx:
        tx.delete(USERS, ("1", "a"))
    assert view.count(index="by_group") == view.count(index="by_number") == 0


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_and_a_unique_index_entry_exist_once(store: Store) -> None:
    insert(store, user("a", nickname="al"))
    with pytest.raises(Exists), store.transaction() as tx:
        tx.insert(USERS, user("a"))
    with pytest.raises(Exists) as caught, store.transaction() as tx:
        tx.insert(USERS, user("b", nickname="al"))
    assert caught.value.index == "by_nickname"
    insert(store, user("b", "2", nickname="al"))


def test_a_unique_entry_can_change_hands_within_a_transaction(store: Store) -> None:
    insert(store, user("a", nickname="al"))
    row = store.table(USERS).get(("1", "a"))
    assert row is not None
    with store.transaction() as tx:
        tx.update(USERS, row, nickname="")
        tx.insert(USERS, user("b", nickname="al"))
    found = store.table(USERS).find("by_nickname", ("1", "al"))
    assert found is not None
    assert found.name == "b"


def test_a_unique_index_is_in_order_before_and_after_its_first_scan(store: Store) -> None:
    insert(store, *[user(name, nickname=nickname) for name, nickname in (("a", "zoe"), ("b", "al"), ("c", ""))])
    view = store.table(USERS)
    assert names(view.scan(("1",), index="by_nickname")) == ["b", "a"]
    insert(store, user("d", nickname="kim"))
    with store.transaction() as tx:
        tx.delete(USERS, ("1", "b"))
    assert names(view.scan(("1",), index="by_nickname")) == ["d", "a"]
    with contextlib.suppress(LookupError), store.transaction() as tx:
        tx.insert(USERS, user("e", nickname="bo"))
        raise LookupError
    assert names(view.scan(("1",), index="by_nickname")) == ["d", "a"]


def test_an_update_of_a_stale_row_is_a_conflict(store: Store) -> None:
    insert(store, user("a"))
    old = store.table(USERS).get(("1", "a"))
    assert old is not None
    with store.transaction() as tx:
        assert tx.update(USERS, old, number=1).version == 2
    with pytest.raises(Conflict), store.transaction() as tx:
        tx.update(USERS, old, number=2)
    with store.transaction() as tx:
        tx.delete(USERS, ("1", "a"))
    with pytest.raises(Conflict), store.transaction() as tx:
        tx.update(USERS, old, number=3)


def test_who_holds_a_removed_row_cannot_update_the_one_that_took_its_place(store: Store) -> None:
    insert(store, user("a"))
    held = store.table(USERS).get(("1", "a"))
    assert held is not None
    with store.transaction() as tx:
        tx.delete(USERS, ("1", "a"))
        tx.insert(USERS, user("a", number=5))
    with pytest.raises(Conflict), store.transaction() as tx:
        tx.update(USERS, held, number=6)


def test_an_update_does_not_change_the_key(store: Store) -> None:
    insert(store, user("a"))
    row = store.table(USERS).get(("1", "a"))
    assert row is not None
    with pytest.raises(ValueError, match="key"), store.transaction() as tx:
        tx.update(USERS, row, name="b")


def test_put_writes_whatever_is_there(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.put(USERS, user("a")).version == 1
        assert tx.put(USERS, user("a", number=5)).version == 2
        assert tx.put(USERS, user("a", version=77)).version == 3


def test_an_exception_undoes_the_whole_transaction(store: Store) -> None:
    insert(store, user("a", groups=("x",)), user("b"))
    row = store.table(USERS).get(("1", "a"))
    assert row is not None
    with pytest.raises(Exists), store.transaction() as tx:  # noqa: PT012
        tx.update(USERS, tx.update(USERS, row, groups=("y",)), groups=("z",))
        tx.delete(USERS, ("1", "b"))
        tx.insert(USERS, user("b", nickname="other"))
        tx.insert(USERS, user("c"))
        tx.insert(USERS, user("c"))
    view = store.table(USERS)
    assert view.scan() == [user("a", groups=("x",), version=1), user("b", version=1)]
    assert (view.count(("1", "x"), index="by_group"), view.count(index="by_group"), view.count(index="by_nickname")) == (1, 1, 0)


def test_a_row_that_cannot_be_encoded_fails_where_it_is_written(store: Store) -> None:
    with pytest.raises(TypeError), store.transaction() as tx:
        tx.insert(USERS, user("a", nickname=object()))
    with pytest.raises(TypeError, match="string"), store.transaction() as tx:
        tx.insert(USERS, User(account="1", name=5))  # type: ignore[arg-type]
    assert len(store.table(USERS)) == 0


def test_transactions_do_not_nest_and_do_not_outlive_their_block(store: Store) -> None:
    with pytest.raises(RuntimeError, match="nest"), store.transaction(), store.transaction():
        pass
    with store.transaction() as tx:
        pass
    with pytest.raises(RuntimeError, match="over"):
        tx.insert(USERS, user("a"))
    insert(store, user("a"))


def test_two_tables_cannot_have_one_name(store: Store) -> None:
    store.table(USERS)
    with pytest.raises(ValueError, match=r"test\.users"):
        store.table(Table("test.users", User, key=lambda one: (one.name,)))


# ── durability ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    odd = ["", "\0", "\1", "\1\1", "\1\2", "a\0b", "a\1b", "ä\U0010ffff", "a"]

    async def write(store: Store) -> None:
        insert(store, *(user(name, groups=("g",), number=3) for name in odd))
        with store.transaction() as tx:
            tx.delete(USERS, ("1", "a"))
        await store.settled()

    async def read(store: Store) -> None:
        view = store.table(USERS)
        assert names(view.scan()) == sorted(odd[:-1])
        assert view.count(("1", "g"), index="by_group") == len(odd) - 1

    run(tmp_path, write)
    run(tmp_path, read)


PARTS = st.text(st.sampled_from("\0\1\2aä\U0010ffff"), max_size=4)


@given(st.lists(PARTS, max_size=3).map(tuple), st.lists(PARTS, max_size=3).map(tuple))
def test_keys_sort_on_disk_as_they_do_in_memory(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (encode_key(one) < encode_key(other)) == (one < other)
    assert (encode_key(one) == encode_key(other)) == (one == other)
    assert encode_key((*one, *other)) == encode_key(one) + encode_key(other)


def test_a_row_changed_and_deleted_within_one_batch_ends_as_the_last_write_says(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        insert(store, user("a"), user("b"))
        with store.transaction() as tx:
            tx.delete(USERS, ("1", "a"))
            tx.put(USERS, user("b", number=2))
        insert(store, user("a", number=9))

    async def read(store: Store) -> None:
        assert [(one.name, one.number, one.version) for one in store.table(USERS).scan()] == [("a", 9, 2), ("b", 2, 2)]

    run(tmp_path, write)
    run(tmp_path, read)


def test_many_transactions_share_a_commit(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        batches: list[int] = []
        write = store._backend.write

        def counted(batch: Any) -> None:
            batches.append(len(batch))
            write(batch)

        store._backend.write = counted  # type: ignore[method-assign]

        async def writer(name: int) -> None:
            insert(store, user(f"{name}"))
            await store.settled()

        await asyncio.gather(*(writer(name) for name in range(100)))
        assert sum(batches) == 100
        assert len(batches) <= 3

    run(tmp_path, scenario)


def test_settled_returns_at_once_when_nothing_waits(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        waiting = store.settled()
        with pytest.raises(StopIteration):  # it did not wait for anything
            waiting.send(None)

    run(tmp_path, scenario)


def test_a_cancelled_waiter_does_not_disturb_the_others(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        insert(store, user("a"))
        first, second = asyncio.ensure_future(store.settled()), asyncio.ensure_future(store.settled())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    run(tmp_path, scenario)


def test_watchers_see_durable_changes_in_order(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        seen: list[tuple[int | None, int | None]] = []

        def watcher(old: User | None, new: User | None) -> None:
            seen.append((old and old.number, new and new.number))

        def broken(old: User | None, new: User | None) -> None:
            raise ZeroDivisionError

        store.watch(USERS, broken)
        end = store.watch(USERS, watcher)
        with store.transaction() as tx:
            row = tx.insert(USERS, user("a", number=1))
            tx.update(USERS, row, number=2)
        with store.transaction() as tx:
            tx.delete(USERS, ("1", "a"))
        assert seen == []
        await store.settled()
        assert seen == [(None, 1), (1, 2), (2, None)]
        end()
        insert(store, user("b"))
        await store.settled()
        assert len(seen) == 3

    run(tmp_path, scenario)


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; from cloudstead.kernel.store import Store; s = Store.open({str(tmp_path)!r}); print(flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(DataInUse, match=f"process {holder.pid}") as caught:
            Store.open(tmp_path)
        assert caught.value.pid == holder.pid
    finally:
        holder.kill()
        holder.communicate()
    run(tmp_path, _nothing)  # the lock has gone with its process


async def _nothing(store: Store) -> None:
    pass


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Person(Row, frozen=True, kw_only=True):
    account: str
    full_name: str
    age: int


OLD = Table("test.people", User, key=lambda one: (one.account, one.name))
NEW = Table(
    "test.people",
    Person,
    key=lambda one: (one.account, one.full_name),
    schema=3,
    migrations={
        1: lambda fields: {**fields, "full_name": fields["name"]},
        2: lambda fields: {**fields, "age": fields["number"] * 2},
    },
)


def test_old_rows_are_migrated_step_by_step_and_written_back(tmp_path: Path) -> None:
    async def old(store: Store) -> None:
        with store.transaction() as tx:
            tx.insert(OLD, user("ann", number=21))
            tx.insert(OLD, user("old", number=4))
            tx.archive(OLD, ("1", "old"))

    async def new(store: Store) -> None:
        assert store.table(NEW).scan() == [Person(account="1", full_name="ann", age=42, version=1)]
        assert await store.archived(NEW, ("1", "old")) == Person(account="1", full_name="old", age=8, version=1)

    run(tmp_path, old)
    run(tmp_path, new)
    schemas = sqlite3.connect(tmp_path / "state.db").execute('SELECT schema FROM "test.people"').fetchall()
    assert schemas == [(3,)]
    run(tmp_path, new)


def test_data_of_a_newer_cloudstead_are_refused_with_a_clear_sentence(tmp_path: Path) -> None:
    async def new(store: Store) -> None:
        with store.transaction() as tx:
            tx.insert(NEW, Person(account="1", full_name="ann", age=1))

    async def old(store: Store) -> None:
        with pytest.raises(NewerSchema, match=r"test\.people was written by a newer Cloudstead \(schema 3; this one knows 1\)"):
            store.attach([OLD])

    run(tmp_path, new)
    run(tmp_path, old)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerSchema):
        Store.open(tmp_path)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 1")
    run(tmp_path, _nothing)  # the refusal has let go of the lock


def test_a_table_that_lacks_a_migration_cannot_be_declared() -> None:
    with pytest.raises(ValueError, match="migrations"):
        Table("test.people", Person, key=lambda one: (one.account,), schema=2)


def test_a_row_that_cannot_be_read_is_named() -> None:
    backend = MemoryBackend()
    insert_into = Store.in_memory(backend)

    async def write() -> None:
        insert(insert_into, user("a"))
        await insert_into.settled()

    asyncio.run(write())
    other = Table("test.users", Person, key=lambda one: (one.account,))
    with pytest.raises(Damaged, match=r"test\.users"):
        Store.in_memory(backend).attach([other])


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    with pytest.raises(Damaged, match=r"state\.db"):
        Store.open(tmp_path)


def test_rows_are_on_disk_as_maps_that_a_later_version_can_read(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        insert(store, user("a", number=5))

    run(tmp_path, write)
    [(key, row)] = sqlite3.connect(tmp_path / "state.db").execute('SELECT key, row FROM "test.users"').fetchall()
    assert key == b"1\0a\0"
    assert msgspec.msgpack.decode(row) == {"version": 1, "account": "1", "name": "a", "number": 5, "groups": [], "nickname": ""}
