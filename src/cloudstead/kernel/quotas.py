"""Service quotas: how many of each thing an account may have, as data.

A service declares its quotas in its model, `declare(Quota("iam", "users", "Users per account", 5000))`, and asks where it creates:

    quotas.require(ctx, "iam", "users", ctx.table(USERS).count((ctx.account,)),
                   lambda limit: api.LimitExceededException(f"Cannot exceed quota for UsersPerAccount: {limit}"))

What an account was granted instead of the default is a row. Defaults are AWS's.
https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cloudstead.kernel.store import Key, Row, Table, Transaction

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context


class Quota(msgspec.Struct, frozen=True):
    """One quota."""

    service: str  # its name, "ecr-public"
    code: str  # a word of ours, unique within the service: "users"
    name: str  # AWS's name of it
    default: int
    adjustable: bool = True
    aws_code: str = ""  # "L-F55AF5E4"
    everywhere: bool = False  # counts for the account in all regions together


class Granted(Row, frozen=True, kw_only=True):
    """A value that an account has instead of the default."""

    account: str
    region: str  # empty for a quota that counts everywhere
    service: str
    code: str
    value: int


GRANTED = Table("kernel.quotas", Granted, key=lambda row: (row.account, row.region, row.service, row.code))

_declared: dict[tuple[str, str], Quota] = {}


def declare(*quotas: Quota) -> None:
    """Make quotas known; declaring one again changes nothing.

    Raises:
        ValueError: another quota has that code.
    """
    for quota in quotas:
        if _declared.setdefault((quota.service, quota.code), quota) != quota:
            raise ValueError(f"{quota.service} has two quotas called {quota.code}")


def known(service: str = "") -> list[Quota]:
    """The quotas of one service, or all."""
    return [quota for quota in _declared.values() if service in ("", quota.service)]


def limit(ctx: Context, service: str, code: str) -> int:
    """What the caller's account may have.

    Raises:
        KeyError: there is no such quota: a mistake in the service.
    """
    quota = _declared[service, code]
    granted = ctx.table(GRANTED).get(_key(ctx, quota))
    return quota.default if granted is None else granted.value


def require(ctx: Context, service: str, code: str, used: int, exceeded: Callable[[int], Exception]) -> None:
    """Refuse one more when `used` are there and the limit is reached.

    Args:
        exceeded: makes the service's exception from the limit.
    """
    allowed = limit(ctx, service, code)
    if used >= allowed:
        raise exceeded(allowed)


def grant(ctx: Context, tx: Transaction, service: str, code: str, value: int | None) -> None:
    """Give the caller's account another value, or (None) the default again.

    Raises:
        ValueError: the quota cannot be changed.
    """
    quota = _declared[service, code]
    if not quota.adjustable:
        raise ValueError(f"the quota {quota.name} of {service} cannot be changed")
    account, region, _, _ = key = _key(ctx, quota)
    if value is None:
        tx.delete(GRANTED, key)
    else:
        tx.put(GRANTED, Granted(account=account, region=region, service=service, code=code, value=value))


def _key(ctx: Context, quota: Quota) -> Key:
    return (ctx.account, "" if quota.everywhere else ctx.region, quota.service, quota.code)
