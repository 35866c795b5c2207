"""JSON bodies into structs.

Go reads JSON without regard to the case of names, takes null for "as if it were not there", and drops names that it does not know. We do the first
two. An unknown name that asks for nothing (null, "", 0, false, an empty list or object: clients send all fields of their newest version) is
dropped too; one that asks for something is refused by name, for nobody would act on it.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, TypeVar, cast

import msgspec

from cloudstead.engine.errors import InvalidArgument

T = TypeVar("T")
DEEPEST = 64


def read_body(data: bytes, kind: type[T]) -> T:
    """Raises InvalidArgument."""
    try:
        found = msgspec.json.decode(data)
        return msgspec.convert(_settle(found, _type_of(cast(Hashable, kind)), ""), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None
    except RecursionError:
        raise InvalidArgument("invalid JSON: it is nested too deeply") from None


def is_empty(value: Any) -> bool:
    """Whether a value asks for nothing: also one made of such values alone."""
    if isinstance(value, dict):
        return all(is_empty(each) for each in value.values())
    return all(is_empty(each) for each in value) if isinstance(value, list) else not value


def _settle(value: Any, kind: msgspec.inspect.Type, path: str) -> Any:
    """The same value with the names as the structs spell them, and without what asks for nothing."""
    if isinstance(kind, msgspec.inspect.UnionType):
        others = [each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType)]
        return _settle(value, others[0], path) if value is not None and len(others) == 1 else value
    if isinstance(kind, msgspec.inspect.StructType):
        return _settle_struct(value, kind, path)
    if isinstance(kind, msgspec.inspect.DictType) and isinstance(value, dict):
        return {name: _settle(each, kind.value_type, f"{path}.{name}") for name, each in value.items()}
    if isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return [_settle(each, kind.item_type, path) for each in value] if isinstance(value, list) else [] if value is None else value
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise InvalidArgument(f"invalid JSON: the number at {path} is too large")
    return value


def _settle_struct(value: Any, kind: msgspec.inspect.StructType, path: str) -> Any:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    known = _fields(kind.cls)
    settled = {}
    for name, each in value.items():
        field = known.get(name.lower())
        where = f"{path}.{name}" if path else name
        if field is None:
            if not is_empty(each):
                raise InvalidArgument(f"{where} is not supported")
        elif each is not None:
            settled[field.encode_name] = _settle(each, field.type, where)
    return settled


@functools.cache
def _type_of(kind: type) -> msgspec.inspect.Type:
    """Found once: to look at all the types that a body of `docker create` is made of takes 3 ms."""
    return msgspec.inspect.type_info(kind)


@functools.cache
def _fields(cls: type) -> dict[str, msgspec.inspect.Field]:
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.encode_name.lower(): field for field in info.fields}
