"""Writing a tar of plain files, piece by piece: the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: str, size: int, *, folder: bool = False) -> bytes:
    """ustar; a size beyond 8 GiB in GNU's binary form, which Go and Python read too. Names here have at most 100 bytes."""
    encoded = name.encode()
    if len(encoded) > 100:
        raise ValueError(f"{name!r} is too long for a header")
    sized = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    mode = b"0000755\0" if folder else b"0000644\0"
    owner = b"0000000\0" * 2
    head = encoded.ljust(100, b"\0") + mode + owner + sized + b"%011o\0" % 0
    tail = (b"5" if folder else b"0") + bytes(100) + b"ustar\x0000" + bytes(64) + bytes(16) + bytes(155 + 12)
    total = sum(head) + 8 * 32 + sum(tail)
    return head + b"%06o\0 " % total + tail


def file(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + bytes(-len(data) % BLOCK)


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
    if size % BLOCK:
        yield bytes(-size % BLOCK)
