"""What can go wrong in the store.

    StoreError
    ├── Exists          a row (or a unique index entry) of that key is there already
    ├── Conflict        the row was changed or deleted since it was read
    ├── DataInUse       another process has the file open
    ├── NewerSchema     the data was written by a newer Cloudstead
    ├── Damaged         the file or a row in it cannot be read
    └── WriteFailed     a backend could not make a batch durable; never reaches a handler, callers see kernel.errors.Unavailable

None of these is meant for a client: a service that expects one turns it into its own exception.
"""

from __future__ import annotations

from typing import TypeAlias

AnyKey: TypeAlias = tuple[object, ...]


class StoreError(Exception):
    """The base of them all."""


class Exists(StoreError):
    def __init__(self, table: str, key: AnyKey, index: str = "") -> None:
        place = f"the unique index {index} of {table}" if index else table
        super().__init__(f"{key!r} is already in {place}")
        self.table = table
        self.key = key
        self.index = index


class Conflict(StoreError):
    def __init__(self, table: str, key: AnyKey, expected: int, found: int | None) -> None:
        now = "is gone" if found is None else f"is at version {found}"
        super().__init__(f"{key!r} of {table} {now}, not at version {expected}")
        self.table = table
        self.key = key
        self.expected = expected
        self.found = found


class DataInUse(StoreError):
    def __init__(self, path: str, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"The data in {path} are in use by {who}. Stop that one first, or choose another directory.")
        self.path = path
        self.pid = pid


class NewerSchema(StoreError):
    def __init__(self, what: str, found: int, known: int) -> None:
        super().__init__(
            f"The data of {what} was written by a newer Cloudstead (schema {found}; this one knows {known}). "
            "Run that version, or begin with an empty data directory."
        )
        self.found = found
        self.known = known


class Damaged(StoreError):
    pass


class WriteFailed(StoreError):
    """A batch was not written, none of it.

    Args:
        transient: whether trying again at once may help (a locked file); not for a full disk.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
