"""Digests as image-spec's descriptor.md has them: `algorithm:hex`. Checked before they become a path, a header or a URL (CVE-2024-3727)."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Protocol

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.snapshots.api import chain_of

_LENGTHS = {"sha256": 64, "sha512": 128}
ALGORITHMS = frozenset(_LENGTHS)
_HEX = re.compile(r"[0-9a-f]+")
SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def split(digest: str) -> tuple[str, str]:
    """Algorithm and hexadecimal digits.

    Raises:
        InvalidArgument: with the sentence of Docker's digest package.
    """
    algorithm, colon, digits = digest.partition(":")
    if not colon or not digits:
        raise InvalidArgument("invalid checksum digest format")
    if algorithm not in _LENGTHS:
        raise InvalidArgument("unsupported digest algorithm")
    if len(digits) != _LENGTHS[algorithm]:
        raise InvalidArgument("invalid checksum digest length")
    if not _HEX.fullmatch(digits):
        raise InvalidArgument("invalid checksum digest format")
    return algorithm, digits


def require(digest: str) -> str:
    """The digest itself when it is one."""
    split(digest)
    return digest


def is_one(text: str) -> bool:
    try:
        split(text)
    except InvalidArgument:
        return False
    return True


def of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def hasher(algorithm: str) -> Hash:
    return hashlib.new(algorithm)


def short(digest: str) -> str:
    """As Docker shows an id."""
    return digest.rpartition(":")[2][:12]


@functools.lru_cache(2048)
def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The chain id of each layer, the lowest first."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(chain_of(chains[-1] if chains else "", diff_id))
    return tuple(chains)
