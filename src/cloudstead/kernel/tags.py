"""Tags: one table for the resources of all services, by ARN.

A service that creates a tagged thing writes `put(ctx, tx, arn, tags, RULES)` into the same transaction and, when it deletes the thing, `drop`. In
return the policies find aws:ResourceTag for every operation by the ARN it declares, and tags can be searched across services.

    RULES = Rules(invalid=api.InvalidInputException, too_many=api.LimitExceededException, case_sensitive=False)

    async def tag_user(ctx: Context, request: api.TagUserRequest) -> api.TagUserResponse:
        user = users.require(ctx, request.user_name)
        with ctx.transaction() as tx:
            put(ctx, tx, user.arn, from_list(request.tags, RULES), RULES)
        return api.TagUserResponse()

https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html for the rules.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.store import Key, Row, Table, Transaction

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context

RESERVED = "aws:"
_PUNCTUATION = frozenset("_.:/=+-@")


class KeyValue(Protocol):
    """The Tag structure of most services."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str | None: ...


P = TypeVar("P")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a service allows, and the exceptions it refuses the rest with (made from a sentence)."""

    invalid: Callable[[str], Exception] = ValidationFailed
    too_many: Callable[[str], Exception] | None = None  # else as invalid
    limit: int = 50  # tags of a resource, AWS's own not counted
    longest_key: int = 128  # characters
    longest_value: int = 256
    case_sensitive: bool = True  # whether "Team" and "team" are two keys; in IAM they are one
    any_character: bool = False  # else letters, digits, spaces and _ . : / = + - @

    def check(self, tags: Mapping[str, str]) -> None:
        """Refuse tags that a client must not set."""
        for key, value in tags.items():
            if not 1 <= len(key) <= self.longest_key:
                raise self.invalid(f"Tag keys must be between 1 and {self.longest_key} characters long.")
            if len(value) > self.longest_value:
                raise self.invalid(f"The value of tag {key} is longer than {self.longest_value} characters.")
            if key.lower().startswith(RESERVED):
                raise self.invalid(f"Tag keys beginning with {RESERVED} are reserved for system use: {key}")
            if not self.any_character and not (_allowed(key) and _allowed(value)):
                raise self.invalid(f"The tag {key} holds characters that are not allowed in tags.")

    def fold(self, key: str) -> str:
        """Two keys are the same when this is."""
        return key if self.case_sensitive else key.lower()


def _allowed(text: str) -> bool:
    # AWS's pattern is [\p{L}\p{Z}\p{N}_.:/=+\-@]*: letters, separators and numbers of any script.
    return all(one in _PUNCTUATION or one.isalnum() or unicodedata.category(one)[0] in "LZN" for one in text)


class Tags(Row, frozen=True, kw_only=True):
    """The tags of one resource."""

    account: str
    region: str  # empty for global resources
    arn: str
    tags: dict[str, str]


TAGS = Table("kernel.tags", Tags, key=lambda row: (row.account, row.region, row.arn))


def _key(ctx: Context, arn: str) -> Key:
    # Some ARNs name no account (buckets, REST APIs): those belong to the caller's.
    parts = arn.split(":", 5)
    return (parts[4] or ctx.account, parts[3], arn) if len(parts) == 6 else (ctx.account, ctx.region, arn)


def of(ctx: Context, arn: str) -> dict[str, str]:
    """The tags of a resource, in the order in which they were set; a copy."""
    row = ctx.table(TAGS).get(_key(ctx, arn))
    return {} if row is None else dict(row.tags)


def put(ctx: Context, tx: Transaction, arn: str, tags: Mapping[str, str], rules: Rules, *, system: bool = False) -> dict[str, str]:
    """Set tags of a resource; others it has stay. A key that differs only in case takes the place of the old one where case does not matter.

    Args:
        system: the tags are AWS's own (`aws:…`) and follow no rules.

    Returns:
        all the resource's tags.
    """
    if not system:
        rules.check(tags)
    key = _key(ctx, arn)
    row = ctx.table(TAGS).get(key)
    if not tags:
        return {} if row is None else dict(row.tags)
    merged = {} if row is None else dict(row.tags)
    if not rules.case_sensitive:
        named = {rules.fold(name) for name in tags}
        merged = {name: value for name, value in merged.items() if name in tags or rules.fold(name) not in named}
    merged.update(tags)
    if not system and sum(not name.startswith(RESERVED) for name in merged) > rules.limit:
        raise (rules.too_many or rules.invalid)(f"The number of tags exceeds the limit of {rules.limit} for a resource.")
    tx.put(TAGS, Tags(account=key[0], region=key[1], arn=arn, tags=merged))
    return dict(merged)


def remove(ctx: Context, tx: Transaction, arn: str, keys: Iterable[str], rules: Rules) -> None:
    """Take tags from a resource; unknown keys do not matter."""
    folded = set()
    for name in keys:
        if name.lower().startswith(RESERVED):
            raise rules.invalid(f"Tag keys beginning with {RESERVED} are reserved for system use: {name}")
        folded.add(rules.fold(name))
    key = _key(ctx, arn)
    row = ctx.table(TAGS).get(key)
    if row is None:
        return
    left = {name: value for name, value in row.tags.items() if rules.fold(name) not in folded}
    if not left:
        tx.delete(TAGS, key)
    elif len(left) != len(row.tags):
        tx.update(TAGS, row, tags=left)


def drop(ctx: Context, tx: Transaction, arn: str) -> None:
    """The resource is gone, and its tags with it."""
    tx.delete(TAGS, _key(ctx, arn))


def find(ctx: Context, region: str, where: Callable[[Tags], bool]) -> list[Tags]:
    """The tagged resources of the caller's account in a region ("" for the global ones)."""
    return [row for row in ctx.table(TAGS).scan((ctx.account, region)) if where(row)]


def from_list(tags: Iterable[KeyValue] | None, rules: Rules) -> dict[str, str]:
    """A service's list of Tag structures as a mapping; a missing value is empty. Refuses a key that is there twice, as AWS does."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for tag in tags or ():
        folded = rules.fold(tag.key)
        if folded in seen:
            sentence = "Duplicate tag keys found." + ("" if rules.case_sensitive else " Please note that Tag keys are case insensitive.")
            raise rules.invalid(sentence)
        seen.add(folded)
        found[tag.key] = tag.value or ""
    return found


def to_list(tags: Mapping[str, str], tag: Callable[..., P]) -> list[P]:
    """A mapping as a service's list of Tag structures: `to_list(of(ctx, arn), api.Tag)`."""
    return [tag(key=key, value=value) for key, value in tags.items()]
