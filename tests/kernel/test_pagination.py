"""Pages and their tokens."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel import pagination
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Bus
from cloudstead.kernel.identity import root
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.pagination import InvalidToken, page, page_of
from cloudstead.kernel.shapes import Request
from cloudstead.kernel.store import Row, Store, Table


class ListUsersRequest(Request):
    operation = "test:ListUsers"
    path_prefix: str | None = None
    marker: str | None = None
    max_items: int | None = None


class User(Row, frozen=True, kw_only=True):
    account: str
    name: str
    team: str = "x"


USERS = Table("test.users", User, key=lambda row: (row.account, row.name), indexes={"by_team": lambda row: (row.account, row.team)})


class BadMarker(Exception):
    pass


def context(account: str = "1", region: str = "r", store: Store | None = None) -> Context:
    clock = VirtualClock()
    store = store or Store.in_memory(clock=clock)
    cloud = Cloud(data=Path("/nowhere"), store=store, clock=clock, bus=Bus(store, clock), registry=Registry(()))
    return cloud.context(identity=root(account), region=region)


def fill(ctx: Context, names: str) -> None:
    with ctx.transaction() as tx:
        for name in names:
            tx.insert(USERS, User(account=ctx.account, name=name))


def users(ctx: Context, request: ListUsersRequest) -> tuple[str, str | None]:
    found, marker = page(
        ctx, USERS, (ctx.account,), request=request, token=request.marker, limit=request.max_items or 100, invalid=BadMarker
    )
    return "".join(user.name for user in found), marker


def test_the_pages_together_are_the_whole_list() -> None:
    ctx = context()
    fill(ctx, "abcdefg")
    names, marker = users(ctx, ListUsersRequest(max_items=3))
    assert names == "abc"
    names, marker = users(ctx, ListUsersRequest(max_items=2, marker=marker))  # the size of a page may change
    assert names == "de"
    assert users(ctx, ListUsersRequest(max_items=2, marker=marker)) == ("fg", None)


def test_rows_that_come_and_go_between_pages_hide_and_repeat_no_others() -> None:
    ctx = context()
    fill(ctx, "bdfh")
    _, marker = users(ctx, ListUsersRequest(max_items=2))
    fill(ctx, "aceg")
    with ctx.transaction() as tx:
        tx.delete(USERS, ("1", "d"))
    assert users(ctx, ListUsersRequest(marker=marker)) == ("efgh", None)


def test_rows_that_are_left_out_do_not_count() -> None:
    ctx = context()
    fill(ctx, "abcdef")

    def vowels(token: str | None) -> tuple[list[User], str | None]:
        return page(ctx, USERS, ("1",), request="vowels", token=token, limit=1, invalid=BadMarker, where=lambda row: row.name in "ae")

    found, token = vowels(None)
    assert [user.name for user in found] == ["a"]
    found, token = vowels(token)
    assert ([user.name for user in found], token) == (["e"], None)


def test_an_index_with_equal_entries_is_paged_backwards_too() -> None:
    ctx = context()
    fill(ctx, "abcde")
    seen, token = "", None
    while True:
        found, token = page(ctx, USERS, ("1",), index="by_team", reverse=True, request="team", token=token, limit=2, invalid=BadMarker)
        seen += "".join(user.name for user in found)
        if token is None:
            break
    assert seen == "edcba"


def test_anything_sorted_can_be_paged() -> None:
    ctx = context()
    items = [5, 3, 1, 4]
    found, token = page_of(ctx, items, key=lambda one: one, request="numbers", token=None, limit=2, invalid=BadMarker)
    assert found == [1, 3]
    items.append(2)
    assert page_of(ctx, items, key=lambda one: one, request="numbers", token=token, limit=2, invalid=BadMarker) == ([4, 5], None)


@pytest.mark.parametrize("other", ["parameters", "account", "region", "operation", "store"])
def test_a_token_is_good_for_its_own_call_only(other: str) -> None:
    ctx = context()
    fill(ctx, "abc")
    _, marker = users(ctx, ListUsersRequest(max_items=1))
    assert users(ctx, ListUsersRequest(marker=marker)) == ("bc", None)
    if other == "parameters":
        call = lambda: users(ctx, ListUsersRequest(marker=marker, path_prefix="/x/"))  # noqa: E731
    elif other == "account":
        call = lambda: users(context("2", store=ctx.store), ListUsersRequest(marker=marker))  # noqa: E731
    elif other == "region":
        call = lambda: users(context(region="s", store=ctx.store), ListUsersRequest(marker=marker))  # noqa: E731
    elif other == "store":
        call = lambda: users(context(), ListUsersRequest(marker=marker))  # noqa: E731
    else:
        call = lambda: page(ctx, USERS, request="test:Other", token=marker, limit=1, invalid=BadMarker)  # noqa: E731
    with pytest.raises(BadMarker):
        call()


@pytest.mark.parametrize("token", ["x", "ä", "=", "AAAA", "A" * 10_000, "\0", " ", base64.urlsafe_b64encode(bytes(40)).decode()])
def test_garbage_is_no_token(token: str) -> None:
    with pytest.raises(BadMarker):
        users(context(), ListUsersRequest(marker=token))


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    token = pagination.encode(b"secret", b"scope", ("1", "a"))
    assert pagination.decode(b"secret", b"scope", token) == ("1", "a")
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=").filter(lambda one: one != token[at])
    )
    with pytest.raises(InvalidToken):
        pagination.decode(b"secret", b"scope", token[:at] + other + token[at + 1 :])
    with pytest.raises(InvalidToken):
        pagination.decode(b"other", b"scope", token)
    with pytest.raises(InvalidToken):
        pagination.decode(b"secret", b"scop", token)


def test_the_secret_outlives_a_restart(tmp_path: Path) -> None:
    async def main() -> bytes:
        store = Store.open(tmp_path)
        found = pagination.secret(store)
        await store.close()
        return found

    first = asyncio.run(main())
    assert len(first) == 32
    assert asyncio.run(main()) == first
