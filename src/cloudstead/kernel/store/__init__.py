"""The store: typed rows in memory, every transaction on disk before its answer leaves.

    failures.py       what can go wrong
    rows.py           Row and Table: how services declare what they keep
    tables.py         rows, order and indexes in memory; TableView reads them
    transactions.py   writes that all happen or none
    store.py          Store: group commit, undoing what the disk refused, watching, the archive
    writer.py         the thread that makes batches durable
    backend.py        what keeps the bytes; sqlite.py is it

Why it is made so: docs/decisions/0004-store.md.
"""

from cloudstead.kernel.store.backend import Backend, MemoryBackend
from cloudstead.kernel.store.failures import Conflict, Damaged, DataInUse, Exists, NewerSchema, StoreError, WriteFailed
from cloudstead.kernel.store.rows import IndexKey, Key, Row, Table
from cloudstead.kernel.store.store import Store
from cloudstead.kernel.store.tables import Position, TableView
from cloudstead.kernel.store.transactions import Transaction

__all__ = [
    "Backend",
    "Conflict",
    "Damaged",
    "DataInUse",
    "Exists",
    "IndexKey",
    "Key",
    "MemoryBackend",
    "NewerSchema",
    "Position",
    "Row",
    "Store",
    "StoreError",
    "Table",
    "TableView",
    "Transaction",
    "WriteFailed",
]
