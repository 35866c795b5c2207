"""Makes archives of images, or finds them in the cache.

    $XDG_CACHE_HOME/cloudstead/images/<name>-<suite>-<machine>-<what it is made of>.tar

The cache is the user's, not the data directory's: it serves all of them, and survives `cloudstead reset`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cloudstead.cli.bootstrap import archive, busybox, debian, sources
from cloudstead.cli.bootstrap.archive import Contents
from cloudstead.cli.bootstrap.debian import Wanted
from cloudstead.cli.bootstrap.recipes import RECIPES
from cloudstead.cli.terminal import Failure, say

FORM = 1  # goes up when the same packages make another image


@dataclass(frozen=True, slots=True)
class Made:
    """An archive that is there."""

    path: Path
    image: str
    tags: Sequence[str]
    cached: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for."""

    suite: str
    mirror: str = ""
    security_mirror: str = ""
    packages: Sequence[str] = ()
    refresh: bool = False


def folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudstead" / "images"


def make(name: str, order: Order) -> Made:
    """The archive of an image.

    Raises:
        Failure: it cannot be made here; the message says what to do.
    """
    wanted = None if name == "busybox" else _wanted(name, order)
    target = folder() / f"{_key(name, order, wanted)}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if not order.refresh and (known := _cached(target)) is not None:
            return known
        with _working(target) as root:
            if wanted is None:
                contents = busybox.make(root, _epoch())
            else:
                debian.check()
                say(f"Making {name} of Debian {order.suite} from {wanted.sources[0].uri} …")
                contents = debian.make(root, wanted, _epoch_of(wanted))
            return _keep(target, root, contents)


def _wanted(name: str, order: Order) -> Wanted:
    chosen = sources.choose(order.suite, order.mirror, order.security_mirror)
    return Wanted(RECIPES[name], name, order.suite, chosen, order.packages)


def _key(name: str, order: Order, wanted: Wanted | None) -> str:
    """The name of the archive: says what it was made of, not when."""
    if wanted is None:
        program = busybox.find().stat()
        made_of: object = [FORM, program.st_size, program.st_mtime_ns, _epoch()]
        suite = ""
    else:
        made_of = [FORM, [asdict(source) for source in wanted.sources], list(wanted.recipe.packages), list(order.packages), _epoch()]
        suite = f"-{order.suite}"
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    return f"{name}{suite}-{platform.machine()}-{digest}"


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not (text.isascii() and text.isdigit()):
        raise Failure("SOURCE_DATE_EPOCH is no number of seconds.")
    return int(text) if text else None


def _epoch_of(wanted: Wanted) -> int:
    epoch = _epoch()
    if epoch is None:
        epoch = sources.newest(wanted.sources)
    return int(time.time()) if epoch is None else epoch


def _keep(target: Path, root: Path, contents: Contents) -> Made:
    partial = target.with_suffix(".partial")
    try:
        image = archive.write(partial, root, contents)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return Made(target, image, contents.tags, cached=False)


def _cached(target: Path) -> Made | None:
    """What is there, if it can be read."""
    try:
        with tarfile.open(target, "r:") as tar:
            file = tar.extractfile("manifest.json")
            manifest = json.load(file)[0] if file is not None else {}
        return Made(target, f"sha256:{manifest['Config'].removesuffix('.json')}", manifest["RepoTags"], cached=True)
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError):
        return None


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One at a time makes an archive; whoever waited finds it."""
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _working(target: Path) -> Iterator[Path]:
    root = target.with_suffix(".root")
    try:
        yield root
    finally:
        root.unlink(missing_ok=True)
