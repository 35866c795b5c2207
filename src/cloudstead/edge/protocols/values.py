"""Values of JSON and CBOR as the structs have them, and back: closures compiled once for each shape.

A reader turns what a JSON parser gives (dictionaries by the wire's names, base64, timestamps as numbers or text) into Raw; it is the slow path of
requests, taken when msgspec could not read the bytes straight into the struct. Its refusals are worded as AWS words them.
A writer turns a struct into dictionaries, lists and scalars that an encoder takes.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

from cloudstead.edge.protocols import timestamps
from cloudstead.edge.protocols.model import Raw, ServiceModel, Shape
from cloudstead.edge.protocols.text import Unreadable, read_blob
from cloudstead.kernel.errors import MalformedRequest

Reader: TypeAlias = Callable[[Any], Any]
Writer: TypeAlias = Callable[[Any], Any]

BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64, "bigInteger": 64}
FLOATS = frozenset({"float", "double", "bigDecimal"})
SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def token(value: Any) -> str:
    """What AWS calls a JSON value of the wrong kind."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    if isinstance(value, (int, float)):
        return "NUMBER_VALUE"
    if isinstance(value, str):
        return "STRING_VALUE"
    if isinstance(value, list):
        return "START_ARRAY"
    return "START_OBJECT" if isinstance(value, Mapping) else "VALUE"


def refuse(value: Any, kind: str) -> MalformedRequest:
    if isinstance(value, list):
        return MalformedRequest("Start of list found where not expected")
    if isinstance(value, Mapping):
        return MalformedRequest("Start of structure or map found where not expected.")
    article = "an" if kind[0] in "AEIOU" else "a"
    return MalformedRequest(f"{token(value)} can not be converted to {article} {kind}")


def read_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise refuse(value, "String")


def read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise refuse(value, "Boolean")


def integer_reader(bits: int) -> Reader:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    kind = {8: "Byte", 16: "Short", 32: "Integer"}.get(bits, "Long")

    def read_integer(value: Any) -> int:
        if isinstance(value, float) and value.is_integer() and low <= value <= high:
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise refuse(value, kind)
        if not low <= value <= high:
            raise MalformedRequest(f"The number is out of the range of {kind}")
        return value

    return read_integer


def read_float(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise MalformedRequest("The number is out of the range of Double") from None
    if isinstance(value, str) and value in SPECIAL_FLOATS:
        return SPECIAL_FLOATS[value]
    raise refuse(value, "Double")


def read_document(value: Any) -> Any:
    return value


class Readers:
    """Compiles the readers of one service's shapes."""

    timestamp_format: ClassVar[str] = "unixTimestamp"

    def __init__(self, model: ServiceModel) -> None:
        self.model = model
        self._structures: dict[tuple[str, frozenset[str]], Reader] = {}

    def wire_name(self, name: str, reference: Shape) -> str:
        return str(reference.get("locationName", name))

    def read(self, shape: Shape) -> Reader:
        kind = shape["type"]
        if shape.get("document") or shape.get("jsonvalue"):
            return read_document
        if kind == "structure":
            return self.structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return self.scalar(shape)

    def scalar(self, shape: Shape) -> Reader:
        kind = shape["type"]
        if kind in BITS:
            return integer_reader(BITS[kind])
        if kind in FLOATS:
            return read_float
        if kind == "boolean":
            return read_boolean
        if kind == "blob":
            return self.blob
        if kind == "timestamp":
            return self.timestamp(shape.get("timestampFormat", self.timestamp_format))
        return read_string

    def blob(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise refuse(value, "Blob")
        try:
            return read_blob(value)
        except Unreadable:
            raise MalformedRequest("The value is not encoded in base64") from None

    def timestamp(self, format: str) -> Reader:
        parse = timestamps.parser(format)

        def read_timestamp(value: Any) -> float:
            try:
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    return timestamps.check(float(value))
                if isinstance(value, str):
                    return parse(value)
            except (ValueError, OverflowError):
                raise MalformedRequest(f"The value is not a valid timestamp: {str(value)[:100]}") from None
            raise refuse(value, "Timestamp")

        return read_timestamp

    def structure(self, shape: Shape, without: frozenset[str] = frozenset()) -> Reader:
        """What reads a structure.

        Args:
            without: members that come from somewhere else, from headers for example.
        """
        known = self._structures.get((shape["name"], without))
        if known is not None:
            return known
        members: dict[str, tuple[str, Reader]] = {}

        def read_structure(value: Any) -> Raw:
            if not isinstance(value, Mapping):
                raise refuse(value, "Structure") if isinstance(value, list) else MalformedRequest("Unexpected value type in payload")
            raw: Raw = {}
            for name, (key, read) in members.items():
                item = value.get(name)
                if item is not None:
                    raw[key] = read(item)
            return raw

        # Noted before the members are compiled: a structure may hold itself.
        self._structures[shape["name"], without] = read_structure
        for name in self.model.members(shape):
            if name not in without:
                reference = shape["members"][name]
                key = self.model.field(shape["name"], name).encode_name
                members[self.wire_name(name, reference)] = (key, self.read(self.model.resolve(reference)))
        return read_structure

    def _list(self, shape: Shape) -> Reader:
        read_item = self.read(self.model.resolve(shape["member"]))

        def read_list(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise refuse(value, "List") if isinstance(value, Mapping) else MalformedRequest("Expected list or null")
            return [None if item is None else read_item(item) for item in value]

        return read_list

    def _map(self, shape: Shape) -> Reader:
        read_value = self.read(self.model.resolve(shape["value"]))

        def read_map(value: Any) -> dict[str, Any]:
            if not isinstance(value, Mapping):
                raise refuse(value, "Map") if isinstance(value, list) else MalformedRequest("Expected map or null")
            return {key: None if item is None else read_value(item) for key, item in value.items()}

        return read_map


def same(value: Any) -> Any:
    return value


def write_float(value: float) -> float | str:
    """JSON has no number for these three."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def write_blob(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def write_epoch(value: float) -> float | int:
    return int(value) if value == int(value) else value


class Writers:
    """Compiles the writers of one service's shapes; `timestamp_format` is for timestamps that name none."""

    timestamp_format: ClassVar[str] = "unixTimestamp"

    def __init__(self, model: ServiceModel) -> None:
        self.model = model
        self._structures: dict[tuple[str, frozenset[str]], Writer] = {}

    def wire_name(self, name: str, reference: Shape) -> str:
        return str(reference.get("locationName", name))

    def write(self, shape: Shape) -> Writer:
        kind = shape["type"]
        if shape.get("document") or shape.get("jsonvalue"):
            return same
        if kind == "structure":
            return self.structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return self.scalar(shape)

    def scalar(self, shape: Shape) -> Writer:
        kind = shape["type"]
        if kind in FLOATS:
            return write_float
        if kind == "blob":
            return write_blob
        if kind == "timestamp":
            format = shape.get("timestampFormat", self.timestamp_format).lower()
            return write_epoch if format == "unixtimestamp" else timestamps.formatter(format)
        return same

    def structure(self, shape: Shape, without: frozenset[str] = frozenset()) -> Writer:
        """What writes a structure, or the modelled members of an error.

        Args:
            without: members that go somewhere else, to headers for example.
        """
        known = self._structures.get((shape["name"], without))
        if known is not None:
            return known
        members: list[tuple[str, str, Writer]] = []

        def write_structure(value: Any) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for attribute, name, write in members:
                item = getattr(value, attribute)
                if item is not None:
                    out[name] = write(item)
            return out

        self._structures[shape["name"], without] = write_structure
        for name in self.model.members(shape):
            if name not in without:
                reference = shape["members"][name]
                attribute = self.model.field(shape["name"], name).name
                members.append((attribute, self.wire_name(name, reference), self.write(self.model.resolve(reference))))
        return write_structure

    def _list(self, shape: Shape) -> Writer:
        write_item = self.write(self.model.resolve(shape["member"]))
        return same if write_item is same else lambda value: [None if item is None else write_item(item) for item in value]

    def _map(self, shape: Shape) -> Writer:
        write_value = self.write(self.model.resolve(shape["value"]))
        return lambda value: {key: None if item is None else write_value(item) for key, item in value.items()}
