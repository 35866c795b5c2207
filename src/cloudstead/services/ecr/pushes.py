"""What follows from a push and from images going, and what a repository allows: the `Rules` that a registry's content is changed by.

Each part of the service that has something to do then names its function here: "module:function", relative to this package, imported when the
first push comes. All of them are called in the transaction that writes or deletes the images, and must neither wait nor take long.

    PUSHED      function(cloud, tx, row: RepositoryRow, put: Put)                   after a manifest was put that is new, or has a new tag
    REMOVED     function(cloud, tx, row: RepositoryRow, images: list[ImageRow])     with images that go, their repository staying or going too
    UNTAGGED    function(cloud, tx, row: RepositoryRow, image: ImageRow, tag: str)  with a tag that is taken off an image that stays

A push may also bring an image back from the archive (`put.restored`), as restoring does; it is to be scanned and replicated then as one that is new.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

from cloudstead.engine.registry.errors import NameUnknown
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.kernel import wildcards
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.store import Key, Transaction
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow, registry_of

Pushed: TypeAlias = Callable[[Cloud, Transaction, RepositoryRow, Put], None]
Removed: TypeAlias = Callable[[Cloud, Transaction, RepositoryRow, list[ImageRow]], None]
Untagged: TypeAlias = Callable[[Cloud, Transaction, RepositoryRow, ImageRow, str], None]

PUSHED: tuple[str, ...] = ("limits:check", "events:pushed", "replicating:pushed", "scanning.scanner:pushed")
REMOVED: tuple[str, ...] = ("events:removed", "replicating:removed", "scanning.scanner:removed")
UNTAGGED: tuple[str, ...] = ("events:untagged", "replicating:untagged")

_REMEMBERED = 10_000  # repositories whose rules are kept


def rules_of(cloud: Cloud, account: str, region: str, name: str) -> Rules:
    """What holds for one repository. Made once for a name; its functions look at the row of the moment."""
    kept: dict[Key, Rules] = cloud.parts.setdefault("ecr.rules", {})
    key = (account, region, name)
    rules = kept.get(key)
    if rules is None:
        if len(kept) >= _REMEMBERED:
            kept.clear()
        rules = kept[key] = Rules(
            Repository(registry_of(account, region), name),
            immutable=partial(_immutable, cloud, key),
            also=partial(_pushed, cloud, key),
            removed=partial(_removed, cloud, key),
            untagged=partial(_untagged, cloud, key),
        )
    return rules


def without(cloud: Cloud, row: RepositoryRow, *modules: str) -> Rules:
    """The same for what no client has pushed or deleted: the functions of these modules are passed over."""
    return Rules(
        row.place,
        immutable=partial(_immutable, cloud, row.key),
        also=partial(_pushed, cloud, row.key, but=modules),
        removed=partial(_removed, cloud, row.key, but=modules),
        untagged=partial(_untagged, cloud, row.key, but=modules),
    )


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
    return any(wildcards.matches(pattern, tag) for pattern in row.exclusion_filters)


def _immutable(cloud: Cloud, key: Key, tag: str) -> bool:
    row = cloud.store.table(REPOSITORIES).get(key)
    return row is not None and is_immutable(row, tag)


def _pushed(cloud: Cloud, key: Key, tx: Transaction, put: Put, *, but: tuple[str, ...] = ()) -> None:
    row = cloud.store.table(REPOSITORIES).get(key)
    if row is None:  # it was deleted while the push was under way; nothing of the push must stay
        raise NameUnknown(f"The repository with name '{key[2]}' does not exist in the registry with id '{key[0]}'")
    for function in _functions(PUSHED, but):
        function(cloud, tx, row, put)


def _removed(cloud: Cloud, key: Key, tx: Transaction, images: list[ImageRow], *, but: tuple[str, ...] = ()) -> None:
    row = cloud.store.table(REPOSITORIES).get(key)
    if row is not None:
        for function in _functions(REMOVED, but):
            function(cloud, tx, row, images)


def _untagged(cloud: Cloud, key: Key, tx: Transaction, image: ImageRow, tag: str, *, but: tuple[str, ...] = ()) -> None:
    row = cloud.store.table(REPOSITORIES).get(key)
    if row is not None:
        for function in _functions(UNTAGGED, but):
            function(cloud, tx, row, image, tag)


@lru_cache(32)
def _functions(references: tuple[str, ...], but: tuple[str, ...]) -> tuple[Any, ...]:
    found = []
    for reference in references:
        module, _, name = reference.partition(":")
        if module not in but:
            found.append(getattr(importlib.import_module(f"{__package__}.{module}"), name))
    return tuple(found)
