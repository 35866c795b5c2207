"""Event streams: `application/vnd.amazon.eventstream`, messages of headers and a payload, each with two checksums.

    total length · headers length · CRC of these · headers … · payload … · CRC of all before
    header: name length (1), name, type (1), value       a string (type 7) has its length before it (2)

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
import uuid
from binascii import crc32
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple, TypeAlias

from cloudstead.kernel.errors import MalformedRequest

CONTENT_TYPE = "application/vnd.amazon.eventstream"
HeaderValue: TypeAlias = bool | int | float | bytes | str | uuid.UUID

PRELUDE = 12
OVERHEAD = PRELUDE + 4
MAX_HEADERS = 128 << 10
MAX_MESSAGE = 16 << 20

_PRELUDE = struct.Struct(">III")
_NUMBERS = {2: (struct.Struct(">b"), 1), 3: (struct.Struct(">h"), 2), 4: (struct.Struct(">i"), 4), 5: (struct.Struct(">q"), 8)}


class Timestamp(float):
    """A header's timestamp: seconds since the epoch, milliseconds on the wire."""


class Message(NamedTuple):
    headers: dict[str, HeaderValue]
    payload: bytes


def encode(headers: Iterable[tuple[str, HeaderValue]], payload: bytes = b"") -> bytes:
    """One message."""
    head = b"".join(_encode_header(name, value) for name, value in headers)
    prelude = struct.pack(">II", OVERHEAD + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return message + struct.pack(">I", crc32(message))


def _encode_header(name: str, value: HeaderValue) -> bytes:
    encoded = name.encode()
    start = bytes([len(encoded)]) + encoded
    if isinstance(value, str):
        text = value.encode()
        return start + b"\x07" + struct.pack(">H", len(text)) + text
    if isinstance(value, bool):
        return start + (b"\x00" if value else b"\x01")
    if isinstance(value, bytes):
        return start + b"\x06" + struct.pack(">H", len(value)) + value
    if isinstance(value, uuid.UUID):
        return start + b"\x09" + value.bytes
    if isinstance(value, float):
        return start + b"\x08" + struct.pack(">q", round(value * 1000))
    if -(2**31) <= value < 2**31:
        return start + b"\x04" + struct.pack(">i", value)
    return start + b"\x05" + struct.pack(">q", value)


def event(event_type: str, payload: bytes, content_type: str, headers: Iterable[tuple[str, HeaderValue]] = ()) -> bytes:
    """A message with an event."""
    fixed: list[tuple[str, HeaderValue]] = [(":message-type", "event"), (":event-type", event_type)]
    if content_type:
        fixed.append((":content-type", content_type))
    return encode([*fixed, *headers], payload)


def exception(exception_type: str, payload: bytes, content_type: str) -> bytes:
    """A message with an error of the model: the last of its stream."""
    return encode([(":message-type", "exception"), (":exception-type", exception_type), (":content-type", content_type)], payload)


def error(code: str, message: str) -> bytes:
    """A message with an error that the stream's model does not have: the last of its stream."""
    return encode([(":message-type", "error"), (":error-code", code), (":error-message", message)])


def decode(data: bytes) -> Message:
    """One whole message.

    Raises:
        MalformedRequest
    """
    if len(data) < OVERHEAD:
        raise MalformedRequest("A message of the event stream is too short.")
    total, length, checksum = _PRELUDE.unpack_from(data)
    if crc32(data[:8]) != checksum:
        raise MalformedRequest("The checksum of a prelude of the event stream does not match.")
    if total != len(data) or length > total - OVERHEAD:
        raise MalformedRequest("A message of the event stream has wrong lengths.")
    if crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise MalformedRequest("The checksum of a message of the event stream does not match.")
    return Message(_decode_headers(data[PRELUDE : PRELUDE + length]), data[PRELUDE + length : -4])


def _decode_headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(data):
            end = at + 1 + data[at]
            name, kind = data[at + 1 : end].decode(), data[end]
            headers[name], at = _decode_value(data, kind, end + 1)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError):
        raise MalformedRequest("The headers of a message of the event stream are broken.") from None
    return headers


def _decode_value(data: bytes, kind: int, at: int) -> tuple[HeaderValue, int]:
    """A value and where the next header begins."""
    if kind in (0, 1):
        return kind == 0, at
    if kind in _NUMBERS:
        number, size = _NUMBERS[kind]
        return number.unpack_from(data, at)[0], at + size
    if kind in (6, 7):
        end = at + 2 + struct.unpack_from(">H", data, at)[0]
        value = data[at + 2 : end]
        if end > len(data):
            raise ValueError
        return (value if kind == 6 else value.decode()), end
    if kind == 8:
        return Timestamp(struct.unpack_from(">q", data, at)[0] / 1000), at + 8
    if kind == 9:
        return uuid.UUID(bytes=data[at : at + 16]), at + 16
    raise ValueError


async def messages(pieces: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """The messages of a stream that arrives in pieces of any size; holds no more than one message and one piece.

    Raises:
        MalformedRequest
    """
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= PRELUDE:
            total, length, checksum = _PRELUDE.unpack_from(buffer)
            if crc32(buffer[:8]) != checksum:
                raise MalformedRequest("The checksum of a prelude of the event stream does not match.")
            if total > MAX_MESSAGE or length > MAX_HEADERS or total < OVERHEAD:
                raise MalformedRequest("A message of the event stream is too long.")
            if len(buffer) < total:
                break
            data = bytes(buffer[:total])
            del buffer[:total]
            yield decode(data)
    if buffer:
        raise MalformedRequest("The event stream ends within a message.")
