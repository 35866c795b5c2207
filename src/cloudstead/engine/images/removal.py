"""Untagging and deleting, exactly as Docker does it (moby, daemon/images/image_delete.go): who may go, what goes along, and what is said.

A name goes first. An image goes with its last name, and with it, unless `prune` is off, those it was built from that have neither name nor other
children. By id, all names of one repository go at once; names in several repositories are a conflict that force overrides. A container that
runs keeps its image whatever is asked; one that does not, unless it is forced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cloudstead.engine.errors import Conflict, EngineError
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Image, Removal
from cloudstead.engine.images.collection import release
from cloudstead.engine.images.model import ImageRow
from cloudstead.engine.images.references import Reference, parse
from cloudstead.engine.images.room import Room

UsedBy = Callable[[str], str]
_CONTAINER = re.compile(r"container (\w+)")


@dataclass(slots=True)
class _Plan:
    room: Room
    force: bool
    prune: bool
    used_by: UsedBy
    untagged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    gone: list[ImageRow] = field(default_factory=list)


async def remove(room: Room, name: str, force: bool, prune: bool, used_by: UsedBy | None) -> Removal:
    plan = _Plan(room, force, prune, used_by or (lambda image: ""))
    row = room.records.find(name)
    try:
        _decide(plan, row, name)
    finally:
        # What was untagged before a conflict stays untagged.
        await room.let_go(digest for row in plan.gone for digest in _blobs(row))
    return await _carry_out(plan)


async def _carry_out(plan: _Plan) -> Removal:
    """The rows are gone; now what lay below them."""
    blobs = [digest for row in plan.gone for digest in _blobs(row)]
    chains: dict[str, None] = {}
    for row in reversed(plan.gone):  # parents first: their chains are the lower ones
        chains.update(dict.fromkeys(digests.chain_ids(row.config.rootfs.diff_ids)))
    reclaimed, gone = await release(plan.room, blobs, chains)
    return Removal(tuple(plan.untagged), (*plan.deleted, *gone), reclaimed)


def _blobs(row: ImageRow) -> list[str]:
    return [row.id, row.manifest.digest, *(layer.digest for layer in row.layers), *([row.index] if row.index else [])]


def _decide(plan: _Plan, row: ImageRow, name: str) -> None:
    references = [each for each, _ in plan.room.records.references_of(row.id)]
    if _is_id(row.id, name):
        if one_repository(references):
            _check(plan, row, references=False, stopped=not plan.force)
            for reference in references:
                _untag(plan, row, reference)
        _delete(plan, row, force=plan.force, quiet=False)
        return
    reference = parse(name).with_default_tag()
    if not plan.force and one_repository(references) and (user := plan.used_by(row.id)):
        raise Conflict(
            f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
            f"container {_container(user)} is using its referenced image {digests.short(row.id)}"
        )
    _untag(plan, row, reference)
    remaining = [each for each, _ in plan.room.records.references_of(row.id)]
    if not reference.digest and not any(each.name == reference.name and not each.digest for each in remaining):
        # Digests of a repository whose last tag went are no use to anybody.
        for each in [each for each in remaining if each.name == reference.name]:
            _untag(plan, row, each)
            remaining.remove(each)
    if not remaining:
        _delete(plan, row, force=plan.force, quiet=True)


def one_repository(references: list[Reference]) -> bool:
    """Whether the names are at most one tag and the digests of its repository."""
    if len(references) <= 1:
        return True
    tags = [each for each in references if not each.digest]
    repositories = {each.name for each in references if each.digest}
    if len(tags) > 1:
        return False
    return repositories == {(tags or references)[0].name}


def _untag(plan: _Plan, row: ImageRow, reference: Reference) -> None:
    plan.room.records.unname(reference)
    plan.untagged.append(reference.familiar)
    plan.room.records.tell("untag", row.id)


def _delete(plan: _Plan, row: ImageRow, *, force: bool, quiet: bool) -> None:
    """The image, and those it was built from."""
    while True:
        try:
            _check(plan, row, references=not force, stopped=not force)
        except Conflict:
            dangling = not plan.room.records.references_of(row.id) and not plan.room.records.children(row.id)
            if quiet and (not dangling or plan.used_by(row.id)):
                return
            raise
        for reference, _ in plan.room.records.references_of(row.id):
            _untag(plan, row, reference)
        plan.room.records.drop(row.id)
        plan.gone.append(row)
        plan.deleted.append(row.id)
        plan.room.records.tell("delete", row.id)
        parent = plan.room.records.by_id(row.parent) if plan.prune and row.parent else None
        if parent is None:
            return
        row, force, quiet = parent, False, True


def _check(plan: _Plan, row: ImageRow, *, references: bool, stopped: bool) -> None:
    """
    Raises:
        Conflict: the image must stay.
    """
    shown = digests.short(row.id)
    user = plan.used_by(row.id)
    running = "running" in user
    if plan.room.records.children(row.id):
        raise Conflict(f"conflict: unable to delete {shown} (cannot be forced) - image has dependent child images")
    if running:
        raise Conflict(
            f"conflict: unable to delete {shown} (cannot be forced) - image is being used by running container {_container(user)}"
        )
    if references and plan.room.records.references_of(row.id):
        raise Conflict(f"conflict: unable to delete {shown} (must be forced) - image is referenced in multiple repositories")
    if stopped and user:
        raise Conflict(f"conflict: unable to delete {shown} (must be forced) - image is being used by stopped container {_container(user)}")


def _is_id(image: str, text: str) -> bool:
    return image.startswith(text) or image.removeprefix("sha256:").startswith(text)


def _container(user: str) -> str:
    found = _CONTAINER.search(user)
    return found[1][:12] if found is not None else user


async def prune(room: Room, dangling: bool, keep: Callable[[Image], bool] | None) -> Removal:
    """Images without a name, or (not only dangling) all that `keep` does not want; those that others are built from go with the last of these."""
    removals: list[Removal] = []
    for row in room.records.rows():
        if room.records.by_id(row.id) is None:
            continue  # went with another
        references = [each for each, _ in room.records.references_of(row.id)]
        if room.records.children(row.id) and (dangling or not references):
            continue
        if (dangling and any(not each.digest for each in references)) or (keep is not None and keep(room.records.image(row))):
            continue
        for name in [each.familiar for each in references] or [row.id]:
            try:
                removals.append(await remove(room, name, False, True, None))
            except EngineError:
                continue  # somebody uses it
    return _together(removals)


def _together(removals: Iterable[Removal]) -> Removal:
    listed = list(removals)
    return Removal(
        tuple(each for removal in listed for each in removal.untagged),
        tuple(each for removal in listed for each in removal.deleted),
        sum(removal.reclaimed for removal in listed),
    )
