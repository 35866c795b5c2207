"""Keys of the build cache: digests over everything that makes a result what it is. Pure.

Files: the chain of layers below, and for COPY what is copied (names, modes, owners, bytes; no times) and where to, for RUN the command with all that
it can see of the build: environment, arguments, user, folder, mounts, network, platform. Secrets count by name only. An instruction that writes
nothing counts with the image that was there before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

VERSION = 1  # goes up when an instruction comes to mean something else


def _digest(kind: str, *parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode((VERSION, kind, *parts))).hexdigest()


def step(image: str, text: str) -> str:
    """An instruction that writes no files: the image before it, and what the history says of it."""
    return _digest("step", image, text)


def copy(parent: str, *, digest: str, dest: str, owner: str, chmod: str, is_folder: bool) -> str:
    """The owner as it is written: what names mean is in the layers below."""
    return _digest("copy", parent, digest, dest, owner, chmod, is_folder)


def copy_from(parent: str, *, source: str, text: Iterable[object], dest: str, owner: str, chmod: str) -> str:
    """A short cut to the same: nothing is read when the other stage is the same down to the last bit."""
    return _digest("copy-from", parent, source, list(text), dest, owner, chmod)


def folder(parent: str, *, path: str, owner: str) -> str:
    """WORKDIR."""
    return _digest("folder", parent, path, owner)


def run(
    parent: str,
    *,
    args: Iterable[str],
    env: Mapping[str, str],
    working_dir: str,
    user: str,
    mounts: Iterable[object],
    network: str,
    platform: str,
) -> str:
    return _digest("run", parent, list(args), sorted(env.items()), working_dir, user, list(mounts), network, platform)


def history(parent: str, created_by: str) -> str:
    """What an image that was pulled can say of its own layers (--cache-from)."""
    return _digest("history", parent, created_by)


def mount(name: str, number: int) -> str:
    """The writable of a cache mount."""
    return f"build-cache-{_digest('mount', name)[:24]}" + (f"-{number}" if number else "")
