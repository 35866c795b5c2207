"""What follows from a push and from images going, and what a repository allows: the `Rules` that a registry's content is changed by.

Each part of the service that has something to do then names its function here: "module:function", relative to this package, imported when the
first push comes. All of them are called in the transaction that writes or deletes the images, and must neither wait nor take long.

    PUSHED      function(cloud, tx, row: RepositoryRow, put: Put)                   after a manifest was put that is new, or has a new tag
    REMOVED     function(cloud, tx, row: RepositoryRow, images: list[ImageRow])     with images that go, their repository staying or going too
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

from cloudstead.engine.registry.errors import NameUnknown
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.store import Key, Transaction
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow

Pushed: TypeAlias = Callable[[Cloud, Transaction, RepositoryRow, Put], None]
Removed: TypeAlias = Callable[[Cloud, Transaction, RepositoryRow, list[ImageRow]], None]

PUSHED: tuple[str, ...] = ()
REMOVED: tuple[str, ...] = ()

_REMEMBERED = 10_000  # repositories whose rules are kept


def rules_of(cloud: Cloud, row: RepositoryRow) -> Rules:
    """What holds for one repository. Made once; its functions look at the row of the moment."""
    kept: dict[Key, Rules] = cloud.parts.setdefault("ecr.rules", {})
    rules = kept.get(row.key)
    if rules is None:
        if len(kept) >= _REMEMBERED:
            kept.clear()
        rules = kept[row.key] = Rules(
            row.place,
            immutable=partial(_immutable, cloud, row.key),
            also=partial(_pushed, cloud, row.key),
            removed=partial(_removed, cloud, row.key),
        )
    return rules


def is_immutable(row: RepositoryRow, tag: str) -> bool:
    """Whether a tag that stands for an image must not be moved to another."""
    match row.mutability:
        case "MUTABLE":
            return False
        case "IMMUTABLE":
            return True
        case "IMMUTABLE_WITH_EXCLUSION":
            return not _excluded(row, tag)
        case _:
            return _excluded(row, tag)


def _excluded(row: RepositoryRow, tag: str) -> bool:
    return any(matches(pattern, tag) for pattern in row.exclusion_filters)


def matches(pattern: str, text: str) -> bool:
    """Whether a wildcard filter of ECR (`*`: any characters, also none) fits. Takes time linear in the text for each of its parts."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _immutable(cloud: Cloud, key: Key, tag: str) -> bool:
    row = cloud.store.table(REPOSITORIES).get(key)
    return row is not None and is_immutable(row, tag)


def _pushed(cloud: Cloud, key: Key, tx: Transaction, put: Put) -> None:
    row = cloud.store.table(REPOSITORIES).get(key)
    if row is None:  # it was deleted while the push was under way; nothing of the push must stay
        raise NameUnknown(f"The repository with name '{key[2]}' does not exist in the registry with id '{key[0]}'")
    for function in _functions(PUSHED):
        function(cloud, tx, row, put)


def _removed(cloud: Cloud, key: Key, tx: Transaction, images: list[ImageRow]) -> None:
    row = cloud.store.table(REPOSITORIES).get(key)
    if row is not None:
        for function in _functions(REMOVED):
            function(cloud, tx, row, images)


@lru_cache(8)
def _functions(references: tuple[str, ...]) -> tuple[Any, ...]:
    found = []
    for reference in references:
        module, _, name = reference.partition(":")
        found.append(getattr(importlib.import_module(f"{__package__}.{module}"), name))
    return tuple(found)
