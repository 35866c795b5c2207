"""The checksums that S3 takes with an upload, by the name in x-amz-checksum-<name>. Values are base64 of the big-endian sum.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
CRC-32 and the SHAs are the C library's. CRC-32C and CRC-64/NVME are tables in Python, about 10 MB a second: no SDK sends them by default
without its own C runtime, and a C extension for them would be one more dependency. Long pieces belong on another thread.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol


class Checksum(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@functools.cache
def _table(polynomial: int) -> tuple[int, ...]:
    """The remainder of each byte, for a polynomial with its bits reflected."""
    entries = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        entries.append(byte)
    return tuple(entries)


class TableCrc:
    """A reflected CRC that starts with, and is finally inverted by, all ones."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._table = _table(polynomial)
        self._ones = (1 << bits) - 1
        self._value = self._ones

    def update(self, data: bytes, /) -> None:
        table, value = self._table, self._value
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ value >> 8
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._ones).to_bytes(self._ones.bit_length() // 8, "big")


ALGORITHMS: Final[Mapping[str, Callable[[], Checksum]]] = {
    "crc32": Crc32,
    "crc32c": lambda: TableCrc(0x82F63B78, 32),
    "crc64nvme": lambda: TableCrc(0x9A6C9329AC4BC9B5, 64),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


def start(name: str) -> Checksum | None:
    """A new sum; None when there is no such algorithm here."""
    make = ALGORITHMS.get(name)
    return make() if make is not None else None


def encoded(checksum: Checksum) -> str:
    return base64.b64encode(checksum.digest()).decode()
