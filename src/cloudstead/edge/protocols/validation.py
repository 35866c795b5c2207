"""Constraints of the model, checked one by one: the slow path, taken only when msgspec has refused a request.

msgspec stops at the first fault; AWS lists them all, in these sentences:

    2 validation errors detected: Value 'a b' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w]+;
    Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null

Values are shown as Java prints them: '[a, b]', '{k=v}', 'Tag(key=a, value=null)'. What is marked sensitive is not shown ("Value at 'password' …").
A fault of the elements of a list or map of scalars is one of the collection: "Member must satisfy constraint: […]", "Map keys must satisfy constraint: […]".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudstead.kernel.errors import ServiceError, ValidationFailed

if TYPE_CHECKING:
    from cloudstead.edge.protocols.model import Raw, ServiceModel, Shape

MAX_FAULTS = 50  # looked for; nobody reads more, and a hostile body could have a million
MAX_ITEMS = 20  # shown of a list or map
MAX_SHOWN = 1024  # characters of a value
NOT_NULL = "Member must not be null"
MAX_DEPTH = 200  # of nested structures


class Fault(NamedTuple):
    """One broken constraint."""

    path: str  # "tags.1.member.key"
    value: str | None  # as AWS prints it; "null", or None when it is not to be shown
    constraint: str  # "Member must not be null"

    def __str__(self) -> str:
        shown = "" if self.value is None else " null" if self.value == "null" else f" '{self.value}'"
        return f"Value{shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


def message(faults: list[Fault]) -> str:
    """AWS's sentence for these faults."""
    count = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''} detected: "
    return count + "; ".join(map(str, faults))


def failure(model: ServiceModel, faults: list[Fault]) -> ServiceError:
    """The error that this service answers for broken constraints."""
    code = model.metadata.get("validationCode")
    own = model.error_class(code) if code else None
    return own(message(faults)) if own is not None else ValidationFailed(message(faults))


def validate(model: ServiceModel, shape: Shape, raw: Raw) -> list[Fault]:
    """Every fault of an input, in the order of the model's members.

    Args:
        shape: the structure.
        raw: the input by the struct's JSON names; scalars as Python values: str, int, float, bool, bytes.
    """
    return list(islice(_Walk(model).structure(shape, raw, "", 0), MAX_FAULTS))


class _Walk:
    def __init__(self, model: ServiceModel) -> None:
        self.model = model

    def structure(self, shape: Shape, raw: Mapping[str, Any], path: str, depth: int) -> Iterator[Fault]:
        if depth > MAX_DEPTH:
            return
        required = shape.get("required", ())
        for member in self.model.members(shape):
            reference = shape["members"][member]
            here = path + lower_first(member)
            value = raw.get(self.model.field(shape["name"], member).encode_name)
            if value is not None:
                yield from self.value(self.model.resolve(reference), value, here, depth + 1)
            elif member in required:
                yield Fault(here, "null", NOT_NULL)

    def value(self, shape: Shape, value: Any, path: str, depth: int) -> Iterator[Fault]:
        kind = shape["type"]
        for constraint in broken(shape, value):
            yield Fault(path, self.show(shape, value), constraint)
        if kind == "structure" and isinstance(value, Mapping) and not shape.get("document"):
            yield from self.structure(shape, value, f"{path}.", depth)
        elif kind == "list" and isinstance(value, list):
            yield from self._list(shape, value, path, depth)
        elif kind == "map" and isinstance(value, Mapping):
            yield from self._map(shape, value, path, depth)

    def _list(self, shape: Shape, value: list[Any], path: str, depth: int) -> Iterator[Fault]:
        item_shape = self.model.resolve(shape["member"])
        nulls = not shape.get("sparse")  # whether null is a fault
        if is_scalar(item_shape):
            if any(broken(item_shape, item) if item is not None else nulls for item in value):
                yield Fault(
                    path, self.show(shape, value), f"Member must satisfy constraint: {bracketed(item_shape, NOT_NULL if nulls else '')}"
                )
            return
        for index, item in enumerate(value, 1):
            if item is not None:
                yield from self.value(item_shape, item, f"{path}.{index}.member", depth + 1)
            elif nulls:
                yield Fault(f"{path}.{index}.member", "null", NOT_NULL)

    def _map(self, shape: Shape, value: Mapping[str, Any], path: str, depth: int) -> Iterator[Fault]:
        key_shape, value_shape = self.model.resolve(shape["key"]), self.model.resolve(shape["value"])
        if any(broken(key_shape, key) for key in value):
            yield Fault(path, self.show(shape, value), f"Map keys must satisfy constraint: {bracketed(key_shape, NOT_NULL)}")
        nulls = not shape.get("sparse")
        if is_scalar(value_shape):
            if any(broken(value_shape, item) if item is not None else nulls for item in value.values()):
                yield Fault(
                    path, self.show(shape, value), f"Map value must satisfy constraint: {bracketed(value_shape, NOT_NULL if nulls else '')}"
                )
            return
        for key, item in value.items():
            if item is not None:
                yield from self.value(value_shape, item, f"{path}.{key}.member", depth + 1)
            elif nulls:
                yield Fault(f"{path}.{key}.member", "null", NOT_NULL)

    def show(self, shape: Shape, value: Any) -> str | None:
        """A value as AWS's answer shows it; None when it is sensitive."""
        if shape.get("sensitive"):
            return None
        text = self._text(shape, value, 0)
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."

    def _text(self, shape: Shape, value: Any, depth: int) -> str:
        if value is None:
            return "null"
        if shape.get("sensitive"):
            return "***Sensitive Data Redacted***"
        kind = shape["type"]
        if depth > 8:
            return "..."
        if kind == "list" and isinstance(value, list):
            item_shape = self.model.resolve(shape["member"])
            return f"[{', '.join(self._text(item_shape, item, depth + 1) for item in value[:MAX_ITEMS])}]"
        if kind == "map" and isinstance(value, Mapping):
            value_shape = self.model.resolve(shape["value"])
            return f"{{{', '.join(f'{key}={self._text(value_shape, item, depth + 1)}' for key, item in islice(value.items(), MAX_ITEMS))}}}"
        if kind == "structure" and isinstance(value, Mapping) and not shape.get("document"):
            members = [
                f"{lower_first(member)}={self._text(self.model.resolve(shape['members'][member]), value.get(field.encode_name), depth + 1)}"
                for member, field in ((name, self.model.field(shape["name"], name)) for name in self.model.members(shape))
            ]
            return f"{shape['name']}({', '.join(members)})"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, bytes):
            return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        return str(value)


def is_scalar(shape: Shape) -> bool:
    return shape["type"] not in ("structure", "list", "map")


def lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def bracketed(shape: Shape, *others: str) -> str:
    return f"[{', '.join([*constraints(shape), *filter(None, others)])}]"


def constraints(shape: Shape) -> list[str]:
    """All constraints of a shape in AWS's words and order."""
    kind = shape["type"]
    measure = "value" if kind in NUMBERS else "length"
    found = [f"Member must have {measure} less than or equal to {number(shape['max'], kind)}"] if shape.get("max") is not None else []
    if shape.get("min") is not None:
        found.append(f"Member must have {measure} greater than or equal to {number(shape['min'], kind)}")
    if shape.get("enum"):
        found = [f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]"]
    elif "pattern" in shape:
        found.append(f"Member must satisfy regular expression pattern: {shape['pattern']}")
    return found


NUMBERS = frozenset({"integer", "long", "float", "double", "short", "byte", "bigInteger", "bigDecimal"})


def number(limit: float, kind: str) -> str:
    return str(float(limit)) if kind in ("float", "double") else str(int(limit))


def broken(shape: Shape, value: Any) -> list[str]:
    """The shape's own constraints that a value breaks, in AWS's words; none for a value of another type."""
    kind = shape["type"]
    if kind in NUMBERS:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not (isinstance(value, float) and math.isnan(value)):
            return _out_of_range(shape, value, "value")
        return []
    if kind == "string" and isinstance(value, str):
        if shape.get("enum"):
            return [] if value in shape["enum"] else constraints(shape)
        found = _out_of_range(shape, len(value), "length")
        if "python" in shape and not compiled(shape["python"]).search(value):
            found.append(f"Member must satisfy regular expression pattern: {shape['pattern']}")
        return found
    if kind in ("list", "map", "blob") and isinstance(value, (list, Mapping, bytes)):
        return _out_of_range(shape, len(value), "length")
    return []


def _out_of_range(shape: Shape, value: float, measure: str) -> list[str]:
    low, high = shape.get("min"), shape.get("max")
    if high is not None and value > high:
        return [f"Member must have {measure} less than or equal to {number(high, shape['type'])}"]
    if low is not None and value < low:
        return [f"Member must have {measure} greater than or equal to {number(low, shape['type'])}"]
    return []


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
