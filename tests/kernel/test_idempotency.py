"""A call repeated with its token is carried out once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.events import Bus
from cloudstead.kernel.idempotency import CLIENT_TOKENS, DAY, recall, record
from cloudstead.kernel.identity import root
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.shapes import Request, Response
from cloudstead.kernel.store import Store


class RunTaskRequest(Request):
    operation = "test:RunTask"
    name: str
    tags: dict[str, str] | None = None
    client_token: str | None = None


class RunTaskResponse(Response):
    arns: list[str]


class Mismatch(Exception):
    pass


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ctx(clock: VirtualClock) -> Context:
    store = Store.in_memory(clock=clock)
    cloud = Cloud(data=Path("/nowhere"), store=store, clock=clock, bus=Bus(store, clock), registry=Registry(()))
    return cloud.context(identity=root("1"), region="r")


def run(ctx: Context, request: RunTaskRequest, arn: str) -> str:
    known = recall(ctx, request, str, mismatch=Mismatch)
    if known is not None:
        return known
    with ctx.transaction() as tx:
        record(ctx, tx, request, arn)
    return arn


def test_the_same_call_gets_the_recorded_answer(ctx: Context) -> None:
    assert run(ctx, RunTaskRequest(name="a", client_token="t", tags={"x": "1", "y": "2"}), "first") == "first"
    assert run(ctx, RunTaskRequest(name="a", client_token="t", tags={"y": "2", "x": "1"}), "second") == "first"


def test_without_a_token_every_call_is_new(ctx: Context) -> None:
    assert run(ctx, RunTaskRequest(name="a"), "first") == "first"
    assert run(ctx, RunTaskRequest(name="a"), "second") == "second"
    assert len(ctx.table(CLIENT_TOKENS)) == 0


def test_the_token_of_another_call_is_a_mismatch(ctx: Context) -> None:
    run(ctx, RunTaskRequest(name="a", client_token="t"), "first")
    with pytest.raises(Mismatch):
        run(ctx, RunTaskRequest(name="b", client_token="t"), "second")
    assert run(ctx, RunTaskRequest(name="b", client_token="u"), "second") == "second"
    assert run(ctx.replace(account="2"), RunTaskRequest(name="b", client_token="t"), "third") == "third"
    assert run(ctx.replace(region="s"), RunTaskRequest(name="b", client_token="t"), "fourth") == "fourth"


def test_a_whole_response_can_be_recorded(ctx: Context) -> None:
    request = RunTaskRequest(name="a", client_token="t")
    with ctx.transaction() as tx:
        record(ctx, tx, request, RunTaskResponse(arns=["x", "y"]))
    assert recall(ctx, request, RunTaskResponse, mismatch=Mismatch) == RunTaskResponse(arns=["x", "y"])


def test_a_token_expires_and_is_swept_away(ctx: Context, clock: VirtualClock) -> None:
    for number in range(10):
        run(ctx, RunTaskRequest(name="a", client_token=f"{number}"), "first")
    clock.advance(DAY - 1)
    assert run(ctx, RunTaskRequest(name="a", client_token="0"), "second") == "first"
    clock.advance(2)
    assert run(ctx, RunTaskRequest(name="b", client_token="0"), "second") == "second"
    for number in range(10, 15):
        run(ctx, RunTaskRequest(name="a", client_token=f"{number}"), "third")
    assert sorted(row.token for row in ctx.table(CLIENT_TOKENS).scan()) == ["0", "10", "11", "12", "13", "14"]


def test_work_that_failed_leaves_no_token(ctx: Context) -> None:
    request = RunTaskRequest(name="a", client_token="t")
    with pytest.raises(ZeroDivisionError), ctx.transaction() as tx:  # noqa: PT012
        record(ctx, tx, request, "first")
        _ = 1 / 0
    assert run(ctx, request, "second") == "second"


def test_of_two_calls_at_once_the_later_is_sent_back(ctx: Context) -> None:
    request = RunTaskRequest(name="a", client_token="t")
    assert recall(ctx, request, str, mismatch=Mismatch) is None
    run(ctx, request, "overtaker")
    with pytest.raises(Unavailable), ctx.transaction() as tx:
        record(ctx, tx, request, "late")
    assert recall(ctx, request, str, mismatch=Mismatch) == "overtaker"
