"""CBOR (RFC 8949) as far as rpc-v2-cbor uses it, reading with strict bounds: what a stranger sends is at most MAX_DEPTH deep and never longer than it claims.

    major type   0 unsigned  1 negative  2 bytes  3 text  4 array  5 map  6 tag  7 simple values and floats

Tags: 1 (seconds since the epoch) and 2, 3 (big integers) are understood; of others only the value inside is taken. `undefined` is null.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_DEPTH = 100
MAX_BIG = 128  # bytes of a big integer

_INDEFINITE = 31
_BREAK = 0xFF
_HALF, _SINGLE, _DOUBLE = struct.Struct(">e"), struct.Struct(">f"), struct.Struct(">d")


class CborError(ValueError):
    """The bytes are not one CBOR value."""


class Epoch(NamedTuple):
    """A timestamp to be written: tag 1."""

    seconds: float


def decode(data: bytes) -> Any:
    """The one value that the bytes are; maps have strings as keys.

    Raises:
        CborError
    """
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (IndexError, struct.error):
        raise CborError("it ends too early") from None
    except UnicodeDecodeError:
        raise CborError("a string is not UTF-8") from None
    if reader.at != len(data):
        raise CborError("there is something after the value")
    return value


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise CborError("it is nested too deeply")
        head = self.data[self.at]
        self.at += 1
        major, info = head >> 5, head & 31
        if major == 7:
            return self._simple(info)
        if info == _INDEFINITE:
            return self._indefinite(major, depth)
        argument = self._argument(info)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._bytes(argument)
        if major == 3:
            return str(self._bytes(argument), "utf-8")
        if major == 4:
            self._has_room(argument)
            return [self.value(depth + 1) for _ in range(argument)]
        if major == 5:
            self._has_room(2 * argument)
            return {self._key(): self.value(depth + 1) for _ in range(argument)}
        return self._tagged(argument, depth)

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise CborError("a length is of no known form")
        size = 1 << (info - 24)
        return int.from_bytes(self._bytes(size), "big")

    def _bytes(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            raise CborError("it ends too early")
        found = self.data[self.at : end]
        self.at = end
        return found

    def _has_room(self, items: int) -> None:
        """Every item takes a byte at least, so no count can be larger than what is left."""
        if items > len(self.data) - self.at:
            raise CborError("it ends too early")

    def _key(self) -> str:
        head = self.data[self.at]
        if head >> 5 != 3:
            raise CborError("the key of a map is not a string")
        key: str = self.value(MAX_DEPTH)
        return key

    def _indefinite(self, major: int, depth: int) -> Any:
        if major in (2, 3):
            chunks = []
            while not self._break():
                head = self.data[self.at]
                if head >> 5 != major or head & 31 == _INDEFINITE:
                    raise CborError("a string in pieces has a piece of another type")
                self.at += 1
                chunks.append(self._bytes(self._argument(head & 31)))
            whole = b"".join(chunks)
            return whole if major == 2 else whole.decode()
        if major == 4:
            items = []
            while not self._break():
                items.append(self.value(depth + 1))
            return items
        if major == 5:
            entries = {}
            while not self._break():
                key = self._key()
                entries[key] = self.value(depth + 1)
            return entries
        raise CborError("a number or tag of indefinite length")

    def _break(self) -> bool:
        if self.data[self.at] == _BREAK:
            self.at += 1
            return True
        return False

    def _tagged(self, tag: int, depth: int) -> Any:
        value = self.value(depth + 1)
        if tag in (2, 3):
            if not isinstance(value, bytes) or len(value) > MAX_BIG:
                raise CborError("a big integer is no bytes, or too many")
            number = int.from_bytes(value, "big")
            return number if tag == 2 else -1 - number
        if tag == 1 and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise CborError("a timestamp is no number")
        return value

    def _simple(self, info: int) -> Any:
        if info == 20:
            return False
        if info == 21:
            return True
        if info in (22, 23):
            return None
        if info == 25:
            return _HALF.unpack(self._bytes(2))[0]
        if info == 26:
            return _SINGLE.unpack(self._bytes(4))[0]
        if info == 27:
            return _DOUBLE.unpack(self._bytes(8))[0]
        raise CborError("a simple value that is not known")


def encode(value: Any) -> bytes:
    """The bytes of a value of dictionaries, lists, strings, bytes, numbers, None and Epoch."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    write = _WRITERS.get(type(value))
    if write is None:
        write = next((found for kind, found in _WRITERS.items() if isinstance(value, kind)), None)
        if write is None:
            raise TypeError(f"CBOR has no {type(value).__name__}")
    write(value, out)


def _head(major: int, argument: int, out: bytearray) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
        return
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            out.append(major << 5 | info)
            out += argument.to_bytes(size, "big")
            return
    raise OverflowError("the number is too large for CBOR")


def _write_int(value: int, out: bytearray) -> None:
    major, argument = (0, value) if value >= 0 else (1, -1 - value)
    if argument < 1 << 64:
        _head(major, argument, out)
    else:
        _head(6, 2 + major, out)
        _write_bytes(argument.to_bytes((argument.bit_length() + 7) // 8, "big"), out)


def _write_bytes(value: bytes, out: bytearray) -> None:
    _head(2, len(value), out)
    out += value


def _write_text(value: str, out: bytearray) -> None:
    encoded = value.encode()
    _head(3, len(encoded), out)
    out += encoded


def _write_float(value: float, out: bytearray) -> None:
    out.append(0xFB)
    out += _DOUBLE.pack(value)


def _write_constant(value: bool | None, out: bytearray) -> None:
    out.append(0xF6 if value is None else 0xF5 if value else 0xF4)


def _write_list(value: list[Any], out: bytearray) -> None:
    _head(4, len(value), out)
    for item in value:
        _write(item, out)


def _write_map(value: dict[str, Any], out: bytearray) -> None:
    _head(5, len(value), out)
    for key, item in value.items():
        _write_text(key, out)
        _write(item, out)


def _write_epoch(value: Epoch, out: bytearray) -> None:
    _head(6, 1, out)
    seconds = value.seconds
    if seconds == int(seconds):
        _write_int(int(seconds), out)
    else:
        _write_float(seconds, out)


_WRITERS: dict[type, Callable[[Any, bytearray], None]] = {
    bool: _write_constant,
    type(None): _write_constant,
    int: _write_int,
    float: _write_float,
    str: _write_text,
    bytes: _write_bytes,
    Epoch: _write_epoch,
    list: _write_list,
    tuple: _write_list,
    dict: _write_map,
}
