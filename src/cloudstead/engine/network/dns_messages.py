"""DNS messages, as much as a name server needs that knows a few names and forwards the rest (RFC 1035, 3596, 2782, 6891). Pure.

Only the head, the one question and an OPT record of a query are read; a message from a pod is a stranger's. What is forwarded passes as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["A", "AAAA", "CNAME", "PTR", "SRV", "TXT"]
KINDS: dict[str, int] = {"A": 1, "CNAME": 5, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}
ANY, OPT, INTERNET = 255, 41, 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_NAME, NOT_IMPLEMENTED, REFUSED = range(6)
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
PLAIN_SIZE = 512  # of an answer by udp to whoever does not say more
LARGEST_UDP = 1232  # what we send and offer (DNS flag day 2020)
_HEAD = struct.Struct(">HHHHHH")


class Malformed(Exception):
    """Not a query that anybody would send in good faith."""


class Query(NamedTuple):
    id: int
    flags: int
    name: str  # lower case, without the last dot; bytes outside of ASCII and dots within labels as \\ddd
    kind: int
    klass: int
    question: bytes  # as it came
    size: int  # of the largest udp answer; 0: no EDNS

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


class Record(NamedTuple):
    """One answer. `value` is an address, a name, a text, or for SRV "priority weight port target"."""

    kind: Kind
    value: str
    ttl: int = 5
    name: str = ""  # empty: the name that was asked for


def parse(message: bytes) -> Query:
    """
    Raises:
        Malformed
    """
    if len(message) < _HEAD.size + 5 or len(message) > 65535:
        raise Malformed("the length")
    number, flags, questions, answers, authorities, additional = _HEAD.unpack_from(message)
    if flags & RESPONSE or questions != 1 or answers or authorities:
        raise Malformed("not one question")
    name, at = _read_name(message, _HEAD.size)
    if at + 4 > len(message):
        raise Malformed("the question is cut off")
    kind, klass = struct.unpack_from(">HH", message, at)
    size = _edns(message, at + 4) if additional else 0
    return Query(number, flags, name, kind, klass, message[_HEAD.size : at + 4], size)


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    length = 0
    while True:
        if at >= len(message):
            raise Malformed("a name is cut off")
        size = message[at]
        at += 1
        if not size:
            return ".".join(labels), at
        length += size + 1
        if size > 63 or length > 254 or at + size > len(message):
            raise Malformed("a name that is too long, or compressed in a question")
        labels.append(_readable(message[at : at + size]))
        at += size


def _readable(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii", "replace").lower()
    return "".join(chr(c) if 32 < c < 127 and c not in b".\\" else f"\\{c:03}" for c in label.lower())


def _edns(message: bytes, at: int) -> int:
    """The size that an OPT record right after the question offers; others are not looked at."""
    if at + 11 > len(message) or message[at] != 0:
        return 0
    kind, size = struct.unpack_from(">HH", message, at + 1)
    return max(PLAIN_SIZE, size) if kind == OPT else 0


def respond(query: Query, code: int, records: Sequence[Record] = (), *, limit: int = 65535, authoritative: bool = True) -> bytes:
    """An answer with as many of the records as fit, marked as cut off when some do not."""
    flags = RESPONSE | query.flags & (0x7800 | RECURSION_DESIRED) | RECURSION_AVAILABLE | code
    if authoritative and code in (NO_ERROR, NO_NAME):
        flags |= AUTHORITATIVE
    opt = struct.pack(">BHHIH", 0, OPT, LARGEST_UDP, 0, 0) if query.size else b""
    body, count = bytearray(query.question), 0
    for record in records:
        encoded = _encode(record)
        if _HEAD.size + len(body) + len(encoded) + len(opt) > limit:
            flags |= TRUNCATED
            break
        body += encoded
        count += 1
    return _HEAD.pack(query.id, flags, 1, count, 0, 1 if opt else 0) + bytes(body) + opt


def refuse(message: bytes, code: int) -> bytes:
    """An answer to what could not be read: its head alone."""
    number, flags = struct.unpack_from(">HH", message)
    return _HEAD.pack(number, RESPONSE | flags & (0x7800 | RECURSION_DESIRED) | RECURSION_AVAILABLE | code, 0, 0, 0, 0)


def udp_limit(query: Query) -> int:
    return min(query.size, LARGEST_UDP) if query.size else PLAIN_SIZE


def _encode(record: Record) -> bytes:
    owner = name_bytes(record.name) if record.name else b"\xc0\x0c"  # the name in the question
    data = _data(record)
    return owner + struct.pack(">HHIH", KINDS[record.kind], INTERNET, record.ttl, len(data)) + data


def _data(record: Record) -> bytes:
    if record.kind == "A":
        return IPv4Address(record.value).packed
    if record.kind == "AAAA":
        return IPv6Address(record.value).packed
    if record.kind == "TXT":
        text = record.value.encode()
        return b"".join(bytes([len(text[at : at + 255])]) + text[at : at + 255] for at in range(0, len(text) or 1, 255))
    if record.kind == "SRV":
        priority, weight, port, target = record.value.split()
        return struct.pack(">HHH", int(priority), int(weight), int(port)) + name_bytes(target)
    return name_bytes(record.value)


def name_bytes(name: str) -> bytes:
    """
    Raises:
        ValueError: no such name can be.
    """
    labels = [label.encode() for label in name.rstrip(".").split(".")] if name.rstrip(".") else []
    if any(not 0 < len(label) < 64 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise ValueError(f"{name!r} is no domain name")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def reverse_address(name: str) -> str:
    """The address that a PTR question is about; empty when it is about none of IPv4."""
    labels = name.split(".")
    if len(labels) != 6 or labels[4:] != ["in-addr", "arpa"] or not all(label.isdecimal() and label.isascii() for label in labels[:4]):
        return ""
    try:
        return str(IPv4Address(".".join(reversed(labels[:4]))))
    except ValueError:
        return ""
