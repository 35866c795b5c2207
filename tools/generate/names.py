"""AWS's names as Python's."""

from __future__ import annotations

import builtins
import keyword
import re

import msgspec
from botocore import xform_name

BUILTIN_TYPES = frozenset({"bool", "bytes", "dict", "float", "int", "list", "object", "str"})
"""Builtins that annotations use; a field of that name would hide them from its own class."""

_NOT_A_NAME = re.compile(r"\W+")


def snake(name: str) -> str:
    """`UserName` -> `user_name`, as botocore's xform_name does, and made safe to be a field of a struct."""
    name = xform_name(_NOT_A_NAME.sub("_", name)).lower()
    if name[0].isdigit():
        name = f"_{name}"
    if keyword.iskeyword(name) or name in BUILTIN_TYPES:
        name = f"{name}_"
    return name


def pascal(name: str) -> str:
    """A type's name: the shape's, starting with a capital."""
    name = _NOT_A_NAME.sub("_", name).strip("_")
    name = name[0].upper() + name[1:]
    return f"_{name}" if name[0].isdigit() else name


def is_builtin(name: str) -> bool:
    return hasattr(builtins, name) or keyword.iskeyword(name)


def fields(wire_names: list[str], taken: frozenset[str] = frozenset()) -> list[str]:
    """The fields for the members of one structure, in their order and all different.

    Args:
        taken: names that the struct's base class uses.
    """
    found: list[str] = []
    for name in wire_names:
        field = snake(name)
        while field in found or field in taken:
            field = f"{field}_"
        found.append(field)
    return found


def rename_rule(fields: list[str], wire_names: list[str]) -> tuple[str | None, dict[str, str]]:
    """The msgspec rule that gives most of the wire's names, and the fields for which it does not."""
    best: tuple[str | None, dict[str, str]] = (None, {f: w for f, w in zip(fields, wire_names, strict=True) if f != w})
    for rule in ("pascal", "camel"):
        encoded = msgspec.defstruct("Renamed", [(field, str) for field in fields], rename=rule).__struct_encode_fields__
        different = {f: w for f, e, w in zip(fields, encoded, wire_names, strict=True) if e != w}
        if len(different) < len(best[1]):
            best = (rule, different)
    return best
