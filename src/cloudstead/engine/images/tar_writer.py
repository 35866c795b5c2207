"""The tar of `docker save`: plain files and folders of root, in pieces; the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cloudstead.engine.tar import writer
from cloudstead.engine.tar.reader import FOLDER


def folder(name: str) -> bytes:
    return writer.header(name.encode(), FOLDER, mode=0o755)


def header(name: str, size: int) -> bytes:
    return writer.header(name.encode(), size=size)


def file(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + writer.padding(len(data))


async def streamed(name: str, size: int, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A file whose content comes in pieces. Raises ValueError: it is not as long as was said."""
    yield header(name, size)
    left = size
    async for piece in stream:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise ValueError(f"{name} does not have {size} bytes")
    if end := writer.padding(size):
        yield end
