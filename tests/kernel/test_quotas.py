"""How many of a thing an account may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudstead.kernel import quotas
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Bus
from cloudstead.kernel.identity import root
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Store

USERS = Quota("testing", "users", "Users per account", 3, everywhere=True)
QUEUES = Quota("testing", "queues", "Queues per region", 10)
FIXED = Quota("testing", "fixed", "Cannot be changed", 1, adjustable=False)
quotas.declare(USERS, QUEUES, FIXED)


class Exceeded(Exception):
    pass


@pytest.fixture
def ctx() -> Context:
    clock = VirtualClock()
    store = Store.in_memory(clock=clock)
    cloud = Cloud(data=Path("/nowhere"), store=store, clock=clock, bus=Bus(store, clock), registry=Registry(()))
    return cloud.context(identity=root("1"), region="r")


def grant(ctx: Context, code: str, value: int | None) -> None:
    with ctx.transaction() as tx:
        quotas.grant(ctx, tx, "testing", code, value)


def test_the_limit_is_the_default_until_another_is_granted(ctx: Context) -> None:
    assert quotas.limit(ctx, "testing", "queues") == 10
    grant(ctx, "queues", 20)
    assert quotas.limit(ctx, "testing", "queues") == 20
    grant(ctx, "queues", None)
    assert quotas.limit(ctx, "testing", "queues") == 10


def test_a_grant_counts_for_its_account_and_region(ctx: Context) -> None:
    grant(ctx, "queues", 20)
    grant(ctx, "users", 5)
    assert quotas.limit(ctx.replace(account="2"), "testing", "queues") == 10
    assert quotas.limit(ctx.replace(region="s"), "testing", "queues") == 10
    assert quotas.limit(ctx.replace(region="s"), "testing", "users") == 5  # counts everywhere


def test_one_more_than_the_limit_is_refused(ctx: Context) -> None:
    quotas.require(ctx, "testing", "users", 2, lambda limit: Exceeded(limit))
    with pytest.raises(Exceeded, match="3"):
        quotas.require(ctx, "testing", "users", 3, lambda limit: Exceeded(limit))


def test_some_quotas_cannot_be_changed(ctx: Context) -> None:
    with pytest.raises(ValueError, match="Cannot be changed"):
        grant(ctx, "fixed", 2)


def test_a_code_names_one_quota() -> None:
    quotas.declare(USERS)
    with pytest.raises(ValueError, match="users"):
        quotas.declare(Quota("testing", "users", "Other users", 4))
    assert quotas.known("testing") == [USERS, QUEUES, FIXED]
    with pytest.raises(KeyError):
        quotas.limit(None, "testing", "unknown")  # type: ignore[arg-type]
