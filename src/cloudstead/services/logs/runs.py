"""Runs: a piece of one stream's events in reading order, as it lies on disk and in memory. Pure; no files.

An event's place in all reading is its *key*, `(timestamp, seq)`: `seq` is a number that grows with every accepted event of this Cloudstead, so keys are
unique, and events of the same millisecond keep the order in which they were accepted. An event's id is its key written as AWS writes it: 56 decimal
digits whose upper bits are the timestamp.

Two layouts, columns first so that reading a page touches few objects (little-endian):

    as accepted (journal)    n * i64 timestamp, n * u32 length, the messages one after another; ingestion time and first seq stand in the record's header
    as sorted   (segment)    n * i64 timestamp, n * i64 ingestion time, n * u64 seq, n * u32 length, the messages; deflated
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from struct import Struct, error, pack, unpack_from
from typing import TypeAlias

import msgspec

Key: TypeAlias = tuple[int, int]

FIRST: Key = (-1, -1)
LAST: Key = (1 << 63, 1 << 64)
ID_SHIFT = 144  # AWS's ids carry the timestamp above this bit
SEQ_SHIFT = 80
ID_DIGITS = 56
LATEST_ID = (1 << 42, 0)  # no later key has an id of 56 digits: the year 2109

_POINTER = Struct(">QQQQ")


def event_id(key: Key) -> str:
    """The 56 digits of an event."""
    return f"{(key[0] << ID_SHIFT) + (key[1] << SEQ_SHIFT):056d}"


def key_of(digits: str) -> Key:
    """The key that an id stands for.

    Raises:
        ValueError: it is no id.
    """
    if len(digits) != ID_DIGITS or not digits.isascii() or not digits.isdigit():
        raise ValueError("an event id has 56 digits")
    number = int(digits)
    return number >> ID_SHIFT, (number >> SEQ_SHIFT) & 0xFFFF_FFFF_FFFF_FFFF


def pointer(group: int, stream: int, key: Key) -> str:
    """What GetLogRecord finds an event by: `@ptr` of a query's rows."""
    return base64.urlsafe_b64encode(_POINTER.pack(group, stream, *key)).decode("ascii")


def pointed(text: str) -> tuple[int, int, Key]:
    """The uids of group and stream, and the key, that a pointer stands for.

    Raises:
        ValueError: it is no pointer.
    """
    try:
        group, stream, timestamp, seq = _POINTER.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
    except error:
        raise ValueError("not a pointer") from None
    return group, stream, (timestamp, seq)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event as it is read."""

    stream: int  # the stream's uid
    timestamp: int  # ms
    seq: int
    ingested: int  # ms
    message: bytes  # UTF-8

    @property
    def key(self) -> Key:
        return self.timestamp, self.seq


class Run(msgspec.Struct):
    """Events of one stream in key order, columns in memory."""

    stream: int
    stamps: Sequence[int]
    ingested: Sequence[int]
    seqs: Sequence[int]
    ends: Sequence[int]  # where each message ends in `body`
    body: bytes

    def message(self, i: int) -> bytes:
        return self.body[self.ends[i - 1] if i else 0 : self.ends[i]]

    def entry(self, i: int) -> Entry:
        return Entry(self.stream, self.stamps[i], self.seqs[i], self.ingested[i], self.message(i))

    def key(self, i: int) -> Key:
        return self.stamps[i], self.seqs[i]

    def at_or_after(self, key: Key, low: int, high: int) -> int:
        """The first index in [low, high) whose key is not below `key`; `high` when there is none."""
        i = bisect_left(self.stamps, key[0], low, high)
        same = bisect_right(self.stamps, key[0], i, high)
        return bisect_left(self.seqs, key[1], i, same)


def accepted(stamps: Sequence[int], messages: Sequence[bytes]) -> bytes:
    """The journal's layout of a batch."""
    n = len(stamps)
    return b"".join((pack(f"<{n}q", *stamps), pack(f"<{n}I", *map(len, messages)), *messages))


def read_accepted(stream: int, count: int, ingested: int, first_seq: int, payload: bytes) -> Run:
    lengths = unpack_from(f"<{count}I", payload, 8 * count)
    return Run(
        stream,
        unpack_from(f"<{count}q", payload),
        (ingested,) * count,
        range(first_seq, first_seq + count),
        tuple(accumulate(lengths)),
        payload[12 * count :],
    )


def deflated(stamps: Sequence[int], ingested: Sequence[int], seqs: Sequence[int], lengths: Sequence[int], body: bytes) -> bytes:
    """The segment's layout of a block."""
    n = len(stamps)
    columns = (pack(f"<{n}q", *stamps), pack(f"<{n}q", *ingested), pack(f"<{n}Q", *seqs), pack(f"<{n}I", *lengths))
    return zlib.compress(b"".join((*columns, body)), 1)


def read_deflated(stream: int, count: int, block: bytes) -> Run:
    """The events of a block; zlib's own checksum guards it.

    Raises:
        zlib.error: the block is damaged.
    """
    payload = zlib.decompress(block)
    return Run(
        stream,
        unpack_from(f"<{count}q", payload),
        unpack_from(f"<{count}q", payload, 8 * count),
        unpack_from(f"<{count}Q", payload, 16 * count),
        tuple(accumulate(unpack_from(f"<{count}I", payload, 24 * count))),
        payload[28 * count :],
    )
