"""What a query says, once it is understood."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Field(msgspec.Struct, frozen=True, tag=True):
    name: str


class Text(msgspec.Struct, frozen=True, tag=True):
    value: str


class Number(msgspec.Struct, frozen=True, tag=True):
    value: float


class Call(msgspec.Struct, frozen=True, tag=True):
    """A function, or an operator by its sign."""

    name: str
    arguments: tuple[Expression, ...]


class Matches(msgspec.Struct, frozen=True, tag=True):
    """`like` and `=~`."""

    value: Expression
    pattern: str
    is_regex: bool


class Contained(msgspec.Struct, frozen=True, tag=True):
    """`in [1, 2]`."""

    value: Expression
    among: tuple[Expression, ...]


Expression: TypeAlias = Field | Text | Number | Call | Matches | Contained


class Named(msgspec.Struct, frozen=True):
    """An expression and what its column is called."""

    name: str
    expression: Expression


class Fields(msgspec.Struct, frozen=True, tag=True):
    columns: tuple[Named, ...]
    only: bool = False  # display: nothing else


class Filter(msgspec.Struct, frozen=True, tag=True):
    condition: Expression


class Parse(msgspec.Struct, frozen=True, tag=True):
    value: Expression
    pattern: str  # a regular expression with groups
    names: tuple[str, ...]


class Aggregate(msgspec.Struct, frozen=True):
    name: str
    function: str
    arguments: tuple[Expression, ...]


class Stats(msgspec.Struct, frozen=True, tag=True):
    aggregates: tuple[Aggregate, ...]
    by: tuple[Named, ...]


class Sort(msgspec.Struct, frozen=True, tag=True):
    keys: tuple[tuple[Expression, bool], ...]  # descending?


class Limit(msgspec.Struct, frozen=True, tag=True):
    count: int
    last: bool = False


class Dedup(msgspec.Struct, frozen=True, tag=True):
    by: tuple[Expression, ...]


Command: TypeAlias = Fields | Filter | Parse | Stats | Sort | Limit | Dedup


class Query(msgspec.Struct, frozen=True):
    commands: tuple[Command, ...]
