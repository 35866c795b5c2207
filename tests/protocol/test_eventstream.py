"""Messages of event streams, against botocore's reader."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from botocore.eventstream import EventStreamBuffer

from cloudstead.edge.protocols import eventstream
from cloudstead.kernel.errors import MalformedRequest

HEADERS: list[tuple[str, eventstream.HeaderValue]] = [
    ("text", "grüße"), ("yes", True), ("no", False), ("small", 7), ("large", 2**40), ("bytes", b"\x00\xff"), ("time", eventstream.Timestamp(1422172800.5)),
]  # fmt: skip


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(data: bytes, size: int = 7) -> list[eventstream.Message]:
    async def collect() -> list[eventstream.Message]:
        return [message async for message in eventstream.messages(pieces(data, size))]

    return asyncio.run(collect())


def test_botocore_reads_what_we_write() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.encode(HEADERS, b"payload"))
    (message,) = list(buffer)
    assert message.payload == b"payload"
    assert message.headers == {**dict(HEADERS), "time": 1422172800500}


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_messages_are_found_however_the_bytes_arrive(size: int) -> None:
    message = eventstream.encode([*HEADERS, ("id", uuid.UUID(int=5))], b"x" * 100)
    found = read(message * 3, size)
    assert len(found) == 3
    assert found[0].headers == {**dict(HEADERS), "id": uuid.UUID(int=5)}
    assert found[2].payload == b"x" * 100


@pytest.mark.parametrize("at", [0, 5, 9, 13, 20, -5, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    message = bytearray(eventstream.encode(HEADERS, b"payload"))
    message[at] ^= 1
    with pytest.raises(MalformedRequest):
        read(bytes(message))


def test_a_stream_may_not_end_within_a_message() -> None:
    with pytest.raises(MalformedRequest):
        read(eventstream.encode(HEADERS, b"payload")[:-1])


def test_a_message_may_not_claim_to_be_huge() -> None:
    import struct
    from binascii import crc32

    prelude = struct.pack(">II", 1 << 30, 0)
    with pytest.raises(MalformedRequest):
        read(prelude + struct.pack(">I", crc32(prelude)))
