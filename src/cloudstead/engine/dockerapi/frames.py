"""Output on the wire: raw from a tty, otherwise in frames of an 8-byte header (stream, three zero bytes, length) and the bytes."""

from __future__ import annotations

import struct
from typing import Literal

STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
LARGEST = 32 << 10  # bytes in one frame
RAW_STREAM = "application/vnd.docker.raw-stream"


def frame(stream: Literal["stdout", "stderr"], data: bytes) -> bytes:
    return struct.pack(">BxxxI", STREAMS[stream], len(data)) + data


def frames(stream: Literal["stdout", "stderr"], data: bytes) -> bytes:
    """As many frames as it takes."""
    if len(data) <= LARGEST:
        return frame(stream, data)
    return b"".join(frame(stream, data[at : at + LARGEST]) for at in range(0, len(data), LARGEST))
