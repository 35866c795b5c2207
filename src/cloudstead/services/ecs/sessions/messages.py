"""The messages of a data channel.

A client's first frame is text: JSON with the token (`OpenDataChannel`). All others are binary, one message each, numbers big-endian:

    bytes   0   header length, 116
            4   message type, 32 bytes of text padded with spaces (by some clients with zeros, before it)
           36   schema version, 1
           40   created, milliseconds since the epoch
           48   sequence number
           56   flags: 1 the first of its stream (SYN), 2 the last (FIN)
           64   message id, a UUID with its last eight bytes first
           80   SHA-256 of the payload
          112   payload type, in messages of a stream
          116   payload length
          120   payload
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec

HEADER: Final = struct.Struct(">I32sIQqQ16s32sII")
HEADER_LENGTH: Final = 116
SYN: Final = 1
FIN: Final = 2

T = TypeVar("T")

INPUT = "input_stream_data"  # from the client
OUTPUT = "output_stream_data"  # to it
ACKNOWLEDGE = "acknowledge"
CHANNEL_CLOSED = "channel_closed"
START_PUBLICATION = "start_publication"
PAUSE_PUBLICATION = "pause_publication"


class PayloadType(IntEnum):
    """Of the messages of a stream."""

    OUTPUT = 1  # bytes of the terminal, either way
    ERROR = 2
    SIZE = 3
    PARAMETER = 4
    HANDSHAKE_REQUEST = 5
    HANDSHAKE_RESPONSE = 6
    HANDSHAKE_COMPLETE = 7
    ENCRYPTION_CHALLENGE_REQUEST = 8
    ENCRYPTION_CHALLENGE_RESPONSE = 9
    FLAG = 10
    STDERR = 11
    EXIT_CODE = 12


class Flag(IntEnum):
    """What a payload of type FLAG says, in four bytes."""

    DISCONNECT_TO_PORT = 1
    TERMINATE_SESSION = 2
    CONNECT_TO_PORT_ERROR = 3


class BadMessage(ValueError):
    """Bytes that are no message."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    payload: bytes = b""
    payload_type: int = 0
    sequence: int = 0
    flags: int = 0
    id: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)
    created: int = 0  # milliseconds since the epoch


def encode(message: Message) -> bytes:
    number = message.id.bytes
    return (
        HEADER.pack(
            HEADER_LENGTH,
            message.type.encode().ljust(32),
            1,
            message.created,
            message.sequence,
            message.flags,
            number[8:] + number[:8],
            hashlib.sha256(message.payload).digest(),
            message.payload_type,
            len(message.payload),
        )
        + message.payload
    )


def decode(data: bytes) -> Message:
    """
    Raises:
        BadMessage
    """
    if len(data) < HEADER.size:
        raise BadMessage("shorter than a header")
    length, kind, _, created, sequence, flags, number, digest, payload_type, size = HEADER.unpack_from(data)
    payload = data[HEADER.size :]
    if length != HEADER_LENGTH or size != len(payload):
        raise BadMessage("the lengths do not agree")
    if payload and not _is_of(digest, payload):
        raise BadMessage("the payload is not the one of its digest")
    return Message(
        type=kind.strip(b" \0").decode("latin-1"),
        payload=payload,
        payload_type=payload_type,
        sequence=sequence,
        flags=flags,
        id=uuid.UUID(bytes=number[8:] + number[:8]),
        created=created,
    )


def _is_of(digest: bytes, payload: bytes) -> bool:
    """AWS takes the first half of the digest in hexadecimal, too, which is what the ssm-session of npm sends."""
    made = hashlib.sha256(payload)
    return digest == made.digest() or digest == made.hexdigest()[:32].encode()


# ------------------------------------------------------------------------------------------------------------- JSON inside


class _Content(msgspec.Struct, kw_only=True, rename="pascal"):
    """What stands in a payload, by the names that the wire uses."""


class OpenDataChannel(_Content):
    token_value: str
    message_schema_version: str = ""
    request_id: str = ""
    client_id: str = ""
    client_version: str = ""


class Acknowledge(_Content):
    acknowledged_message_type: str
    acknowledged_message_id: str
    acknowledged_message_sequence_number: int
    is_sequential_message: bool = True


class RequestedClientAction(_Content):
    action_type: str
    action_parameters: Any


class HandshakeRequest(_Content):
    agent_version: str
    requested_client_actions: list[RequestedClientAction]


class ProcessedClientAction(_Content):
    action_type: str = ""
    action_status: int = 0  # 1 done, 2 failed, 3 unknown
    action_result: Any = None
    error: str = ""


class HandshakeResponse(_Content):
    client_version: str = ""
    processed_client_actions: list[ProcessedClientAction] | None = None
    errors: list[str] | None = None


class HandshakeComplete(_Content):
    handshake_time_to_complete: int  # nanoseconds
    customer_message: str = ""


class ChannelClosed(_Content):
    message_id: str
    created_date: str
    destination_id: str
    session_id: str
    message_type: str = CHANNEL_CLOSED
    schema_version: int = 1
    output: str = ""  # shown to the user, after the session's id


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Of the client's terminal."""

    cols: int
    rows: int


to_json = msgspec.json.encode


def read(data: bytes | str, kind: type[T]) -> T:
    """
    Raises:
        BadMessage
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadMessage(str(error)) from None
