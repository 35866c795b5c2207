"""Rows and tables as services declare them, and their form on disk.

    class User(Row, frozen=True, kw_only=True):
        account: str
        name: str
        user_id: str

    USERS = Table("iam.users", User, key=lambda u: (u.account, u.name), indexes={"by_id": lambda u: (u.account, u.user_id)}, unique=("by_id",))

A key is a tuple of strings, the account (and for regional services the region) first. An index function gives a tuple, a list of
tuples (one row at several places) or None (not in this index); the parts of an index key may also be numbers, if they are numbers in every row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar, cast

import msgspec

from cloudstead.kernel.store.failures import Damaged, NewerSchema

Key: TypeAlias = tuple[str, ...]
IndexKey: TypeAlias = tuple[Any, ...]
Indexed: TypeAlias = IndexKey | list[IndexKey] | list[Key] | None
Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every table's rows are derived from. A row that was handed out is the store's own: never change a list or mapping in it.

    `version` is the store's: 1 when inserted, one more with each change. A row that takes the place of a removed one begins above it, so that
    whoever still holds the removed one cannot update the new one by mistake.
    """

    version: int = 0


R = TypeVar("R", bound=Row)

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_encoder = msgspec.msgpack.Encoder()
encode_row: Callable[[Any], bytes] = _encoder.encode


class Table(Generic[R]):
    """A declaration; holds no data. Make one a module, at the top.

    Args:
        name: "service.things"; names the data on disk, so it never changes.
        key: of a row; must not change while the row lives.
        unique: the indexes in which no two rows may share an entry.
        schema: goes up by one when `row` changes in a way that old data cannot be read as (a field without default, another meaning).
        migrations: `{1: f}` makes the fields of schema 2 from those of schema 1; applied when rows are loaded.
        archive_index: the index by which archived rows can be scanned too; its keys must be strings and one to a row.
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        key: Callable[[R], Key],
        indexes: Mapping[str, Callable[[R], Indexed]] | None = None,
        unique: Iterable[str] = (),
        schema: int = 1,
        migrations: Mapping[int, Migration] | None = None,
        archive_index: str = "",
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a table; write it like 'iam.users'")
        self.name = name
        self.row = row
        self.key = key
        self.indexes = dict(indexes or {})
        self.unique = frozenset(unique)
        self.schema = schema
        self.migrations = dict(migrations or {})
        self.archive_index = archive_index
        if unknown := (self.unique | ({archive_index} - {""})) - self.indexes.keys():
            raise ValueError(f"{name} has no index {', '.join(sorted(unknown))}")
        if missing := set(range(1, schema)) - self.migrations.keys():
            raise ValueError(f"{name} lacks the migrations from schema {sorted(missing)}")
        self._decoder: msgspec.msgpack.Decoder[R] | None = None

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def decode(self, data: bytes, schema: int) -> R:
        """A row from disk, brought to today's schema.

        Raises:
            NewerSchema: a later version of Cloudstead wrote it.
            Damaged: it is not a row of this table.
        """
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = msgspec.msgpack.Decoder(self.row)
        try:
            if schema != self.schema:
                data = self._migrate(data, schema)
            return decoder.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Damaged(f"A row of {self.name} (schema {schema}) cannot be read: {error}") from error

    def _migrate(self, data: bytes, schema: int) -> bytes:
        if schema > self.schema:
            raise NewerSchema(self.name, schema, self.schema)
        fields = cast(dict[str, Any], msgspec.msgpack.decode(data))
        for step in range(schema, self.schema):
            fields = self.migrations[step](fields)
        return encode_row(fields)


def encode_key(key: Key) -> bytes:
    """The key as bytes that sort as the tuples do: each part ends in a zero byte; 0 and 1 within a part become 1 1 and 1 2."""
    try:
        text = "\0".join(key)
        if text.count("\0") != len(key) - 1 or "\1" in text:
            text = "\0".join([part.replace("\1", "\1\2").replace("\0", "\1\1") for part in key])
        return text.encode() + b"\0" if key else b""
    except TypeError:
        raise TypeError(f"{key!r} is no key: every part must be a string") from None
