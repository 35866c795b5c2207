"""Scalars as text: what query strings, XML elements and attributes hold. Strict both ways: `True`, `1_000`, ` 7` and `0x10` are no values."""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cloudstead.edge.protocols import timestamps

TextReader: TypeAlias = Callable[[str], Any]
TextWriter: TypeAlias = Callable[[Any], str]

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LONGEST_FLOAT = 400  # characters; the longest that Java writes has 330

MILLISECONDS = "milliseconds"  # ISO 8601 as EC2, S3 and Route 53 write it: 2010-08-17T01:15:18.000Z

_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64, "bigInteger": 64}


class Unreadable(Exception):
    """A text is not of the type that the model says. Never leaves the protocols: each says it in its own words.

    `path` is filled from the inside out while the exception passes the readers of the structures around the value.
    """

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(text, expected)
        self.text = text
        self.expected = expected  # "an integer"
        self.path: list[str] = []

    @property
    def where(self) -> str:
        return ".".join(reversed(self.path))


def read_string(text: str) -> str:
    return text


def read_boolean(text: str) -> bool:
    if text == "true":
        return True
    if text == "false":
        return False
    raise Unreadable(text, "a boolean")


def read_float(text: str) -> float:
    if len(text) <= _LONGEST_FLOAT and _FLOAT.fullmatch(text):
        return float(text)
    if text in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[text]
    raise Unreadable(text, "a number")


def read_blob(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except ValueError:
        pass
    try:  # some clients break lines
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError:
        raise Unreadable(text, "base64") from None


def integer_reader(bits: int) -> TextReader:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def read_integer(text: str) -> int:
        if _INTEGER.fullmatch(text) and low <= (value := int(text)) <= high:
            return value
        raise Unreadable(text, "an integer")

    return read_integer


def timestamp_reader(format: str) -> TextReader:
    parse = timestamps.parser(format)

    def read_timestamp(text: str) -> float:
        try:
            return parse(text)
        except ValueError:
            raise Unreadable(text, "a timestamp") from None

    return read_timestamp


def text_reader(shape: Mapping[str, Any], timestamp_format: str = "iso8601") -> TextReader | None:
    """What reads a scalar of this shape (its traits merged with those of the reference); None when the shape is no scalar.

    Args:
        timestamp_format: of timestamps for which the model names none.
    """
    kind = shape["type"]
    if kind in ("string", "character"):
        return read_string
    if kind == "boolean":
        return read_boolean
    if kind in _BITS:
        return integer_reader(_BITS[kind])
    if kind in ("float", "double", "bigDecimal"):
        return read_float
    if kind == "blob":
        return read_blob
    if kind == "timestamp":
        return timestamp_reader(shape.get("timestampFormat", timestamp_format))
    return None


def write_boolean(value: bool) -> str:
    return "true" if value else "false"


def write_float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def write_blob(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def text_writer(shape: Mapping[str, Any], timestamp_format: str = "iso8601") -> TextWriter | None:
    """What writes a scalar of this shape, still to be escaped when it is a string; None when the shape is no scalar.

    Args:
        timestamp_format: of timestamps for which the model names none; MILLISECONDS for services that always write them.
    """
    kind = shape["type"]
    if kind in ("string", "character"):
        return read_string
    if kind == "boolean":
        return write_boolean
    if kind in _BITS:
        return str
    if kind in ("float", "double", "bigDecimal"):
        return write_float
    if kind == "blob":
        return write_blob
    if kind == "timestamp":
        format = shape.get("timestampFormat", timestamp_format)
        if timestamp_format == MILLISECONDS and format in ("iso8601", MILLISECONDS):
            return write_milliseconds
        return timestamps.formatter(format)
    return None


def write_milliseconds(value: float) -> str:
    text = timestamps.format_iso8601(value)
    return text if "." in text else text[:-1] + ".000Z"
