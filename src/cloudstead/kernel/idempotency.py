"""Client tokens: a call repeated with the same token is carried out once.

    if (task := recall(ctx, request, str, mismatch=lambda: api.ConflictException("…"))) is not None:
        return answer_about(task)
    with ctx.transaction() as tx:
        …
        record(ctx, tx, request, task_arn)

The token is kept in the transaction that does the work, so both are durable or neither is. The same token with other parameters is a mistake of the
caller's. A handler that awaits between `recall` and `record` may find on recording that the same call has overtaken it; it gets Unavailable,
the client tries again, and then `recall` finds the answer.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.shapes import Request
from cloudstead.kernel.store import Row, Table, Transaction

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context

T = TypeVar("T")

DAY = 86_400.0
_SWEPT = 4  # expired tokens that go with each new one: the table shrinks faster than it grows, with no timer

_sorted = msgspec.msgpack.Encoder(order="deterministic")


class ClientToken(Row, frozen=True, kw_only=True):
    """A call that was carried out."""

    account: str
    region: str
    operation: str
    token: str
    parameters: bytes  # their SHA-256
    answer: bytes  # MessagePack
    expires_at: float


CLIENT_TOKENS = Table(
    "kernel.client_tokens",
    ClientToken,
    key=lambda row: (row.account, row.region, row.operation, row.token),
    indexes={"by_expiry": lambda row: (row.expires_at,)},
)


def recall(ctx: Context, request: Request, answer: type[T], *, mismatch: Callable[[], Exception], field: str = "client_token") -> T | None:
    """What was recorded for this request's token; None when the call is new (or bears no token).

    Args:
        answer: the type of what was recorded.
        mismatch: makes the service's exception for a token that was used with other parameters.
        field: the member of the request that holds the token.
    """
    token = getattr(request, field)
    if not token:
        return None
    known = ctx.table(CLIENT_TOKENS).get((ctx.account, ctx.region, request.operation, token))
    if known is None or known.expires_at <= ctx.now():
        return None
    if known.parameters != _digest(request, field):
        raise mismatch()
    return msgspec.msgpack.decode(known.answer, type=answer)


def record(ctx: Context, tx: Transaction, request: Request, answer: Any, *, field: str = "client_token", window: float = DAY) -> None:
    """Remember what this call made: usually an ARN or id, or a whole response.

    Args:
        window: seconds for which the token counts.

    Raises:
        Unavailable: the same call was carried out since `recall`.
    """
    token = getattr(request, field)
    if not token:
        return
    view, now = ctx.table(CLIENT_TOKENS), ctx.now()
    for old in view.scan(index="by_expiry", stop=(now,), limit=_SWEPT):
        tx.delete(CLIENT_TOKENS, CLIENT_TOKENS.key(old))
    row = ClientToken(
        account=ctx.account,
        region=ctx.region,
        operation=request.operation,
        token=token,
        parameters=_digest(request, field),
        answer=msgspec.msgpack.encode(answer),
        expires_at=now + window,
    )
    known = view.get(CLIENT_TOKENS.key(row))
    if known is not None and known.expires_at > now:
        raise Unavailable("The same request has just been carried out. Please try again.")
    tx.put(CLIENT_TOKENS, row)


def _digest(request: Request, field: str) -> bytes:
    parameters = {name: getattr(request, name) for name in request.__struct_fields__ if name != field}
    return hashlib.sha256(_sorted.encode(parameters)).digest()
