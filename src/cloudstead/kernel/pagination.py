"""Pages: what a list operation answers when there is more than fits.

A token says where the next page begins. It is opaque and sealed (HMAC-SHA-256 with a secret of this store) together with its scope: operation,
account, region and every parameter except the token and the page size. A token that was changed, or that belongs to another call, is refused; the
service then raises its own exception.

    users, marker = page(ctx, USERS, (ctx.account,), request=request, token=request.marker, limit=request.max_items or 100,
                         invalid=lambda: api.InvalidInputException("Invalid Marker."))

The position in a token is a key, not a number: rows that come and go between two pages neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.shapes import Request
from cloudstead.kernel.store import IndexKey, Row, Store, Table

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context

R = TypeVar("R", bound=Row)
T = TypeVar("T")

Scope: TypeAlias = Request | str  # the request itself, or words that single the call out

_SEAL = 16  # bytes of the HMAC that go into a token
# The members of requests, in AWS's services, that may differ between the pages of one listing.
_TOKENS = ("next_token", "marker", "position", "starting_token", "continuation_token")
_SIZES = ("max_results", "max_items", "max_records", "limit", "page_size", "max_keys")
_PAGING = frozenset((*_TOKENS, *_SIZES))
_sorted = msgspec.msgpack.Encoder(order="deterministic")


class InvalidToken(ValueError):
    """A token that was not made here, or not for this call."""


class Secret(Row, frozen=True, kw_only=True):
    name: str
    value: bytes


SECRETS = Table("kernel.secrets", Secret, key=lambda row: (row.name,))


def secret(store: Store, name: str = "pagination") -> bytes:
    """A secret of this store: 32 random bytes, made at the first call and kept. Not to be called for the first time within a transaction."""
    row = store.table(SECRETS).get((name,))
    if row is None:
        with store.transaction() as tx:
            row = tx.insert(SECRETS, Secret(name=name, value=bytes.fromhex(hex_digits(64))))
    return row.value


def encode(secret: bytes, scope: bytes, payload: Any) -> str:
    """A token for anything that MessagePack can say."""
    body = msgspec.msgpack.encode(payload)
    return base64.urlsafe_b64encode(_seal(secret, scope, body) + body).decode("ascii")


def decode(secret: bytes, scope: bytes, token: str) -> Any:
    """What was encoded; arrays come back as tuples.

    Raises:
        InvalidToken
    """
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidToken("the token is not one of ours") from None
    seal, body = data[:_SEAL], data[_SEAL:]
    if not hmac.compare_digest(seal, _seal(secret, scope, body)) or base64.urlsafe_b64encode(data).decode("ascii") != token:
        raise InvalidToken("the token was changed, or belongs to another call")
    return _tuples(msgspec.msgpack.decode(body))


def _seal(secret: bytes, scope: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, len(scope).to_bytes(4, "big") + scope + body, "sha256")[:_SEAL]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def scope_of(ctx: Context, scope: Scope) -> bytes:
    """What a token is bound to."""
    if isinstance(scope, str):
        return _sorted.encode((ctx.account, ctx.region, scope))
    filters = {name: getattr(scope, name) for name in scope.__struct_fields__ if name not in _PAGING}
    return hashlib.sha256(_sorted.encode((ctx.account, ctx.region, scope.operation, filters))).digest()


def page(
    ctx: Context,
    table: Table[R],
    prefix: IndexKey = (),
    *,
    request: Scope,
    token: str | None,
    limit: int,
    invalid: Callable[[], Exception],
    index: str = "",
    starts: str = "",
    reverse: bool = False,
    where: Callable[[R], bool] | None = None,
) -> tuple[list[R], str | None]:
    """One page of a table's rows, and the token of the next page if there is one.

    Args:
        request: what the tokens are bound to.
        limit: the most rows of a page.
        invalid: makes the service's exception for a token that is not good here.
        index, starts, reverse: as for TableView.scan.
        where: rows for which it is false are left out; they do not count.
    """
    after = _position(ctx, request, token, invalid)
    rows: list[R] = []
    last: Any = None
    for position, row in ctx.table(table).entries(prefix, index=index, starts=starts, after=after, reverse=reverse):
        if where is not None and not where(row):
            continue
        if len(rows) == limit:
            return rows, encode(secret(ctx.store), scope_of(ctx, request), last)
        rows.append(row)
        last = position
    return rows, None


def page_of(
    ctx: Context,
    items: Iterable[T],
    *,
    key: Callable[[T], Any],
    request: Scope,
    token: str | None,
    limit: int,
    invalid: Callable[[], Exception],
) -> tuple[list[T], str | None]:
    """One page of anything, and the token of the next. The items are sorted by `key` (strings, numbers or tuples of them), no two alike."""
    after = _position(ctx, request, token, invalid)
    found: list[T] = []
    for item in sorted(items, key=key):
        if after is not None and not key(item) > after:
            continue
        if len(found) == limit:
            return found, encode(secret(ctx.store), scope_of(ctx, request), key(found[-1]))
        found.append(item)
    return found, None


def page_along(
    ctx: Context,
    entries: Callable[[Any], Iterable[tuple[Any, T]]],
    *,
    request: Scope,
    token: str | None,
    limit: int,
    invalid: Callable[[], Exception],
) -> tuple[list[T], str | None]:
    """One page of what is too long to be gone through for each: `entries` begins behind a position (None: at the start), and gives each item with its own.

    Positions are strings, numbers or tuples of them.
    """
    found: list[T] = []
    last: Any = None
    for position, item in entries(_position(ctx, request, token, invalid)):
        if len(found) == limit:
            return found, encode(secret(ctx.store), scope_of(ctx, request), last)
        found.append(item)
        last = position
    return found, None


def _position(ctx: Context, request: Scope, token: str | None, invalid: Callable[[], Exception]) -> Any:
    if not token:
        return None
    try:
        return decode(secret(ctx.store), scope_of(ctx, request), token)
    except InvalidToken:
        raise invalid() from None
