"""Prefixes of repositories' names: those of creation templates, and of the rules of a pull-through cache.

A prefix ends at a slash, written or not; "ROOT" is a prefix of every name. Of several the longest counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from cloudstead.kernel.context import Context
from cloudstead.kernel.store import Table
from cloudstead.services.ecr.model import CreationTemplate, PullThroughRule

ROOT = "ROOT"

Row = TypeVar("Row", CreationTemplate, PullThroughRule)


def covers(prefix: str, name: str) -> bool:
    return prefix == ROOT or name.startswith(prefix.rstrip("/") + "/")


def longest(rows: Iterable[Row], name: str) -> Row | None:
    """The row with the longest prefix of a name."""
    fitting = [row for row in rows if covers(row.prefix, name)]
    return max(fitting, key=lambda row: 0 if row.prefix == ROOT else len(row.prefix.rstrip("/")), default=None)


def find(ctx: Context, table: Table[Row], prefix: str) -> Row | None:
    """A row of the context's registry by its prefix, however that is spelt: with its last slash or without."""
    bare, rows = prefix.rstrip("/"), ctx.table(table)
    return rows.get((ctx.account, ctx.region, bare)) or rows.get((ctx.account, ctx.region, f"{bare}/"))
