"""Which bytes: `Range` of a blob that is read (RFC 9110, section 14), `Content-Range` of a chunk that is uploaded."""

from __future__ import annotations

import re
from typing import NamedTuple

from cloudstead.engine.registry.errors import RegistryError, UploadInvalid

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_CHUNK = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?", re.ASCII)
_DIGITS = 19  # of a number; a file has fewer


class NotSatisfiable(RegistryError):
    """Nothing of the blob is in the range."""

    oci_code, status = "SIZE_INVALID", 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the blob has {size} bytes, none of them in the range asked for", headers=(("Content-Range", f"bytes */{size}"),))


class Span(NamedTuple):
    start: int
    length: int


def wanted(header: str, size: int) -> Span | None:
    """Of a Range header; None: the whole. What is no range of bytes, and several ranges in one, are answered with the whole, as the RFC allows.

    Raises:
        NotSatisfiable: also where it ends before it begins.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]) or len(header) > 2 * _DIGITS + 8:
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        start = size - length
    else:
        start = int(found[1])
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        length = last - start + 1
    if length <= 0 or start >= size:
        raise NotSatisfiable(size)
    return Span(start, length)


class Chunk(NamedTuple):
    first: int
    last: int


def chunk(header: str) -> Chunk:
    """Of a Content-Range header: `0-99` as the specification has it, `bytes 0-99/*` as HTTP has it.

    Raises:
        UploadInvalid
    """
    found = _CHUNK.fullmatch(header.strip())
    if found is None or len(found[1]) > _DIGITS or len(found[2]) > _DIGITS or int(found[2]) < int(found[1]):
        raise UploadInvalid(f"the Content-Range {header[:100]!r} is no range")
    return Chunk(int(found[1]), int(found[2]))
