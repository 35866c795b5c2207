"""Streams, compressed and not: recognised by how they begin, decompressed in bounded steps in a thread.

A step never makes much more than a few megabytes, whatever the input claims: zlib, xz and bzip2 stop at a maximum, and zstd, whose binding cannot,
is given so few bytes at once that even blocks of repeated bytes (128 KiB from four bytes) stay bounded. All of them may consist of several
members, which Python's zlib and isal do not go on to by themselves.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import zstandard
from isal import isal_zlib

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.threads import in_thread

STEP = 1 << 20  # bytes that come out of one step
GATHER = 256 << 10  # bytes of input that a thread takes at once
ZSTD_SLICE = 256  # 8 MiB come out at worst; real layers decompress 820 MB/s so, 1,100 in large slices
ZSTD_WINDOW = 128 << 20  # larger windows are refused, as zstd itself does unless told otherwise
XZ_MEMORY = 128 << 20
GZIP_LEVEL = 1  # of isal's 0 to 3; the others won 2 % in size for a third of the speed

_SIGNATURES = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"))
_DAMAGED: tuple[type[Exception], ...] = (isal_zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError)  # type: ignore[assignment]
HEAD = 6  # bytes that tell


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...
    def finish(self) -> None:
        """Raises InvalidArgument: the stream is cut off."""


def detect(head: bytes) -> str:
    """ "gzip", "zstd", "xz", "bzip2", or "" for anything else. zstd may begin with a skippable frame (0x184D2A5?)."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18":
        return "zstd"
    return ""


class _Members:
    """A decoder of zlib's kind (`decompress(data, max_length)`), member after member; zeros after the last one are padding."""

    def __init__(self, new: Callable[[], object], name: str) -> None:
        self._new = new
        self._name = name
        self._member: object | None = new()
        self._more = False  # it may hold output for which there was no room

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or self._more:
            if self._member is None:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = self._new()
            out, data = self._step(self._member, data)
            self._more = len(out) >= STEP
            if out:
                yield out
            if self._member.eof:  # type: ignore[attr-defined]
                data = self._member.unused_data  # type: ignore[attr-defined]
                self._member, self._more = None, False

    def _step(self, member: object, data: bytes) -> tuple[bytes, bytes]:
        out: bytes = member.decompress(data, STEP)  # type: ignore[attr-defined]
        return out, getattr(member, "unconsumed_tail", b"")

    def finish(self) -> None:
        if self._member is not None:
            raise InvalidArgument(f"the {self._name} stream ends too early")


class _Zstd:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = self._decompressor.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), ZSTD_SLICE):
            rest = data[start : start + ZSTD_SLICE]
            while rest:
                frame = self._frame = self._frame or self._decompressor.decompressobj()
                out = frame.decompress(rest)
                rest = b""
                if out:
                    yield out
                if frame.eof:
                    rest, self._frame = frame.unused_data, None

    def finish(self) -> None:
        if self._frame is not None:
            raise InvalidArgument("the zstd stream ends too early")


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


def decoder(name: str) -> Decoder:
    """For what `detect` said."""
    if name == "gzip":
        return _Members(lambda: isal_zlib.decompressobj(31), name)
    if name == "xz":
        return _Members(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), name)
    if name == "bzip2":
        return _Members(bz2.BZ2Decompressor, name)
    return _Zstd() if name == "zstd" else _Plain()


async def decompressed(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is in a stream, whichever way it is compressed.

    Raises:
        InvalidArgument: it is damaged, or ends too early.
    """
    head = b""
    async for piece in stream:
        head += piece
        if len(head) >= HEAD:
            break
    name = detect(head)
    if not name:
        if head:
            yield head
        async for piece in stream:
            yield piece
        return
    decode = decoder(name)
    async for data in _gathered(head, stream):
        steps = decode.feed(data)
        while (out := await in_thread(_next, steps, name)) is not None:
            yield out
    decode.finish()


async def _gathered(head: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream in pieces that are worth a turn of a thread."""
    pieces, size = [head], len(head)
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size >= GATHER:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def _next(steps: Iterator[bytes], name: str) -> bytes | None:
    """A megabyte or so."""
    found: list[bytes] = []
    size = 0
    try:
        for out in steps:
            found.append(out)
            size += len(out)
            if size >= STEP:
                break
    except _DAMAGED as error:
        raise InvalidArgument(f"the {name} stream is damaged: {error}") from error
    return b"".join(found) if found else None


class GzipWriter:
    """Compresses; the same input gives the same bytes on the same kind of machine (no name, time 0)."""

    def __init__(self) -> None:
        self._compressor = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, 31)

    def feed(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def finish(self) -> bytes:
        return self._compressor.flush()
