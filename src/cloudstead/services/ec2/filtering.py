"""Filters of the Describe operations.

A filter is a name with values; a resource passes it when one of what it has under that name matches one of the values, in which `*` and `?` stand for any
characters. All filters must be passed. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from cloudstead.services.ec2 import api
from cloudstead.services.ec2.failures import failure, invalid

Value: TypeAlias = str | bool | int | Iterable[str | bool | int | None] | None
Filters: TypeAlias = Mapping[str, Callable[[Any], Value]]

MOST_VALUES = 200
ANY, ONE = "any", "one"


def chosen(filters: list[api.Filter] | None, known: Filters) -> Callable[[Any], bool]:
    """Whether a resource passes all filters.

    Raises:
        InvalidParameterValue: there is no such filter.
    """
    tests = [_test(one, known) for one in filters or ()]
    return lambda resource: all(test(resource) for test in tests)


def _test(one: api.Filter, known: Filters) -> Callable[[Any], bool]:
    name, values = one.name or "", one.values or []
    if not values:
        raise failure("InvalidParameterValue", f"The filter '{name}' has no values" if name else "The filter '' is invalid")
    if len(values) > MOST_VALUES:
        raise failure("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
    if name.startswith("tag:"):
        key = name[4:]
        return lambda resource: key in resource.tags and matches(resource.tags[key], values)
    if name == "tag-key":
        return lambda resource: any(matches(key, values) for key in resource.tags)
    if name == "tag-value":
        return lambda resource: any(matches(value, values) for value in resource.tags.values())
    value_of = known.get(name)
    if value_of is None:
        raise invalid(f"The filter '{name}' is invalid")
    return lambda resource: any(matches(text, values) for text in texts(value_of(resource)))


def texts(value: Value) -> Iterable[str]:
    if value is None:
        return
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int):
        yield str(value)
    else:
        for one in value:
            yield from texts(one)


def matches(text: str, patterns: Iterable[str]) -> bool:
    return any(text == pattern or fits(text, tokens(pattern)) for pattern in patterns)


@lru_cache(512)
def tokens(pattern: str) -> tuple[str, ...]:
    """The characters of a pattern; a `*` or `?` that means any is ANY or ONE, and `\\` takes the meaning from what follows."""
    found: list[str] = []
    escaped = False
    for char in pattern:
        if escaped or char not in "\\*?":
            found.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            found.append(ANY if char == "*" else ONE)
    return tuple(found)


def fits(text: str, pattern: tuple[str, ...]) -> bool:
    """Goes back to the last `*` only, so that no pattern takes more than text times pattern steps."""
    at = here = 0
    star, mark = -1, 0
    while at < len(text):
        if here < len(pattern) and pattern[here] == ANY:
            star, mark = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in (ONE, text[at]):
            at += 1
            here += 1
        elif star >= 0:
            mark += 1
            at, here = mark, star + 1
        else:
            return False
    return all(token == ANY for token in pattern[here:])
