"""Tasks: what somebody may want to ask about after the call that began it. They are done at once and remembered for a while."""

from __future__ import annotations

from typing import Final

from cloudstead.kernel.context import Context
from cloudstead.kernel.store import Transaction
from cloudstead.services.iam.model import TASKS, Task

REMEMBERED: Final = 86_400.0  # seconds
_SWEPT: Final = 4  # old ones that go with each new one, so that the table shrinks faster than it grows, with no timer


def add(ctx: Context, tx: Transaction, task_id: str, subject: str, granularity: str = "") -> None:
    now = ctx.now()
    for old in ctx.table(TASKS).scan(index="by_age", start=(ctx.account,), stop=(ctx.account, now - REMEMBERED), limit=_SWEPT):
        tx.delete(TASKS, TASKS.key(old))
    tx.insert(TASKS, Task(account=ctx.account, task_id=task_id, created=now, subject=subject, granularity=granularity))


def find(ctx: Context, task_id: str) -> Task | None:
    row: Task | None = ctx.table(TASKS).get((ctx.account, task_id))
    return row if row is not None and ctx.now() - row.created <= REMEMBERED else None
