"""Tags: a mapping on the row of the thing that bears them, and the rules that all services share.

    class User(Row, frozen=True, kw_only=True):
        …
        tags: dict[str, str] = {}

    RULES = Rules(invalid=api.InvalidInputException, too_many=api.LimitExceededException, case_sensitive=False)

    async def tag_user(ctx: Context, request: api.TagUserRequest) -> api.TagUserResponse:
        user = users.require(ctx, request.user_name)
        with ctx.transaction() as tx:
            tx.update(USERS, user, tags=merge(user.tags, from_list(request.tags, RULES), RULES))
        return api.TagUserResponse()

On the row they come and go with it, are read without a look-up and are under its version; a table of tags by ARN would need to be told of every
deletion, and would give a new resource the tags of an old one of its name if somebody forgot. For aws:ResourceTag an operation declares
`resource_tags=lambda ctx, request: users.require(ctx, request.user_name).tags`.

https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html for the rules.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from cloudstead.kernel.errors import ValidationFailed

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


def merge(current: Mapping[str, str], new: Mapping[str, str], rules: Rules, *, system: bool = False) -> dict[str, str]:
    """The tags that a resource has when `new` ones are set; the others stay. Where case does not matter, the new spelling of a key counts.

    Args:
        system: the new tags are AWS's own (`aws:…`) and follow no rules.
    """
    if not system:
        rules.check(new)
    named = {rules.fold(key) for key in new}
    merged = {key: value for key, value in current.items() if key in new or rules.fold(key) not in named}
    merged.update(new)
    if not system and sum(not key.startswith(RESERVED) for key in merged) > rules.limit:
        raise (rules.too_many or rules.invalid)(f"The number of tags exceeds the limit of {rules.limit} for a resource.")
    return merged


def without(current: Mapping[str, str], keys: Iterable[str], rules: Rules) -> dict[str, str]:
    """The tags that a resource has when those of some keys are taken away; unknown keys do not matter."""
    gone = set()
    for key in keys:
        if key.lower().startswith(RESERVED):
            raise rules.invalid(f"Tag keys beginning with {RESERVED} are reserved for system use: {key}")
        gone.add(rules.fold(key))
    return {key: value for key, value in current.items() if rules.fold(key) not in gone}


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
    """A mapping as a service's list of Tag structures: `to_list(user.tags, api.Tag)`."""
    return [tag(key=key, value=value) for key, value in tags.items()]
