"""COPY and ADD: which files go where, told apart from putting them there.

A plan is made of the sources alone, so its digest can be looked up in the cache before anything is mounted. Names in it are relative to the
destination: "" is the destination itself, for one file that is copied to a name. What the destination is (a folder, nothing) decides only there
(`placing.py`).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator

import msgspec

from cloudstead.engine.build import globs, ignore
from cloudstead.engine.build.tree import Entry, Tree
from cloudstead.engine.errors import InvalidArgument


class Item(msgspec.Struct, frozen=True):
    name: str  # relative to the destination
    entry: Entry
    tree: Tree


class Plan(msgspec.Struct, kw_only=True):
    items: list[Item] = []
    base: str = ""  # of the one file that is copied: its name, if the destination is a folder
    folder: Entry | None = None  # of the one folder whose content is copied: what a new destination looks like
    sources: int = 0
    is_folder: bool = False  # the destination can only be one
    digest: str = ""

    @property
    def kind(self) -> str:
        """How Docker's history calls it."""
        if self.sources > 1:
            return "multi"
        return "file" if self.base else "dir"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What of a tree is wanted, as one instruction says it."""

    patterns: tuple[str, ...]
    parents: bool = False
    excludes: tuple[str, ...] = ()


Taker = Callable[[Entry, str], bool]


def select(plan: Plan, tree: Tree, wanted: Selection, *, what: str = "build context", instead: Taker | None = None) -> None:
    """Add what a selection finds.

    Args:
        instead: asked with each file that a pattern names; true when it took care of it (an archive that ADD takes apart).

    Raises:
        InvalidArgument: a source is not there, or outside of the tree.
    """
    skip = ignore.patterns(wanted.excludes) if wanted.excludes else None
    for pattern in wanted.patterns:
        if wanted.parents:
            _with_parents(plan, tree, pattern, skip, what)
            continue
        for path in matching(tree, pattern, what):
            entry = tree.find(path)
            if entry is None:
                raise _missing(pattern, what)
            if skip is not None and skip(posixpath.basename(path)):
                continue
            plan.sources += 1
            if entry.kind == "folder":
                plan.folder, plan.is_folder = entry, True
                plan.items += [Item(one.path[len(entry.path) :].lstrip("/"), one, tree) for one in walk(tree, entry.path, skip)]
            elif instead is None or not instead(entry, posixpath.basename(path)):
                plan.base = posixpath.basename(path)
                plan.items.append(Item(plan.base, entry, tree))


def walk(tree: Tree, path: str, skip: ignore.Ignore | None) -> Iterator[Entry]:
    """Everything below a folder but what is skipped. A skipped folder is looked into when there are exceptions, and is there if they leave something."""
    if skip is None:
        yield from tree.below(path)
        return
    for name in tree.names(path):
        yield from _kept(tree, f"{path}/{name}" if path else name, len(path) + 1 if path else 0, skip)


def _kept(tree: Tree, path: str, start: int, skip: ignore.Ignore) -> Iterator[Entry]:
    entry = tree.get(path)
    assert entry is not None
    skipped = skip(path[start:])
    if skipped and (entry.kind != "folder" or not skip.has_exceptions):
        return
    below = (one for name in tree.names(path) for one in _kept(tree, f"{path}/{name}", start, skip)) if entry.kind == "folder" else iter(())
    if skipped:
        first = next(below, None)
        if first is None:
            return
        yield entry
        yield first
    else:
        yield entry
    yield from below


def finish(plan: Plan) -> None:
    """The digest, of everything but times. For a thread: files are read."""
    if plan.sources > 1:
        plan.is_folder = True
    if plan.is_folder:
        plan.base = ""
    total = hashlib.sha256()
    for item in sorted(plan.items, key=lambda item: item.name):
        total.update(msgspec.json.encode(describe(item)))
    if plan.folder is not None and plan.sources == 1:
        total.update(b"%o %d %d" % (plan.folder.mode, plan.folder.uid, plan.folder.gid))
    plan.digest = total.hexdigest()


def describe(item: Item) -> tuple[object, ...]:
    """What makes one file different from another."""
    entry = item.entry
    content = item.tree.digest(entry) if entry.kind == "file" else entry.target
    attributes = sorted((key.hex(), value.hex()) for key, value in (entry.xattrs or {}).items())
    device = (entry.device[0].decode(), *entry.device[1:])
    name = item.name.encode("utf-8", "surrogateescape").hex()
    return name, entry.kind, entry.mode, entry.uid, entry.gid, content.encode("utf-8", "surrogateescape").hex(), attributes, device


# ---------------------------------------------------------------------------------------------------------------- sources


def matching(tree: Tree, pattern: str, what: str = "stage") -> list[str]:
    """Paths that a source names, in order."""
    path = _inside(pattern, what)
    if not globs.has_wildcards(path) or ("\\" in path and not globs.has_wildcards(re.sub(r"\\.", "", path))):
        path = globs.unescaped(path)
        if tree.find(path) is None:
            raise _missing(pattern, what)
        return [path]
    found = [""]
    for part in path.split("/"):
        found = [one for above in found for one in _step(tree, above, part)]
    return found


def escaped(path: str) -> str:
    """A pattern that names this path alone."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def _inside(pattern: str, what: str) -> str:
    path = posixpath.normpath("./" + pattern.lstrip("/"))
    if path == ".." or path.startswith("../"):
        raise InvalidArgument(f"COPY failed: forbidden path outside the {what}: {pattern} ()")
    return "" if path == "." else path


def _step(tree: Tree, above: str, part: str) -> list[str]:
    """One component further; links to folders are gone through."""
    folder = tree.find(above)
    if folder is None or folder.kind != "folder":
        return []
    if not globs.has_wildcards(part):
        names = [part] if part in tree.names(folder.path) else []
    else:
        matches = globs.path_pattern(part)
        names = [name for name in tree.names(folder.path) if matches.match(name)]
    return [f"{above}/{name}" if above else name for name in names]


def _missing(pattern: str, what: str) -> InvalidArgument:
    if what == "build context":
        return InvalidArgument(
            f"COPY failed: file not found in build context or excluded by .dockerignore: stat {pattern.lstrip('/')}: file does not exist"
        )
    return InvalidArgument(f"COPY failed: stat {pattern}: file does not exist")


def _with_parents(plan: Plan, tree: Tree, pattern: str, skip: ignore.Ignore | None, what: str) -> None:
    """`--parents`: names are kept from the pivot `/./` on, or whole; `**` means any folders."""
    pivot, found, rest = pattern.partition("/./")
    if not found:
        pivot, rest = "", pattern
    base = tree.find(_inside(pivot, what))
    if base is None or base.kind != "folder":
        raise _missing(pattern, what)
    path = _inside(rest, what)
    wildcard = globs.IgnorePattern(path, exclusion=False) if globs.has_wildcards(path) else None
    taken: dict[str, Entry] = {}
    for entry in tree.below(base.path):
        name = entry.path[len(base.path) :].lstrip("/")
        parts = name.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if not any((wildcard.match(one) if wildcard else one == path or not path) for one in above) or (skip is not None and skip(name)):
            continue
        for one in above:
            parent = tree.get(f"{base.path}/{one}" if base.path else one)
            if parent is not None:
                taken.setdefault(one, parent)
    if not taken and wildcard is None:
        raise _missing(pattern, what)
    plan.sources += 1
    plan.is_folder = True
    plan.items += [Item(name, entry, tree) for name, entry in taken.items()]
