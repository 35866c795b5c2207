"""What the host keeps of snapshots and writables on disk, and what it remembers of it.

snapshots/chains/<hex>      a Record (JSON) for each unpacked chain; written last, so what has one is whole
snapshots/<name>/           the top layer of a chain, unpacked as overlayfs wants it; six characters, so that hundreds fit into a mount's options
snapshots/new-<…>/          being unpacked, or left by a crash
snapshots/gone-<…>/         being removed, or left by a crash
snapshots/empty/            the lower folder of a stack without layers
containers/<key>/stack      the layers of a writable (JSON)
containers/<key>/upper      what was written; overlayfs' upper folder
containers/<key>/work       overlayfs' own
containers/<key>/rootfs     where it is mounted: the root file system of a bundle
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloudstead.engine.errors import NotFound
from cloudstead.engine.host.layout import Layout

NAME_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
NAME_LENGTH = 6


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that is unpacked."""

    chain_id: str
    diff_id: str
    parent: str
    size: int
    entries: int
    folder: str
    boot: str = ""  # in which it was made, while it may not be on the disk yet


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What a writable lies over."""

    layers: tuple[str, ...]
    size: int = 0
    skeleton: bool = True


class Shelf:
    """All of one instance. One host at a time uses it, so what was read once stays true."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.folder = layout.snapshots
        self.chains = layout.snapshots / "chains"
        self.busy: dict[str, asyncio.Future[None]] = {}  # chains that are being unpacked
        self.making: set[str] = set()  # names of folders that a running call owns; the sweeper leaves them
        self._numbers = itertools.count()
        for folder in (self.chains, self.folder / "empty", self.folder / "confined"):
            folder.mkdir(mode=0o755, exist_ok=True)
            os.chmod(folder, 0o755)  # whatever the umask is
        self.pins: dict[str, int] = {}  # chains that are being read
        self.borrowers: dict[str, int] = {}  # writables that are mounted for the time of some calls
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.records: dict[str, Record] = {}
        for record in self._read():
            self.records[record.chain_id] = record
        while orphans := [record for record in self.records.values() if record.parent and record.parent not in self.records]:
            for record in orphans:
                self.forget(record.chain_id)

    def _read(self) -> Iterator[Record]:
        """Those that can be believed. What was not on the disk when the machine went down may be anything."""
        for path in self.chains.iterdir():
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except msgspec.MsgspecError:
                record = None
            if record and record.boot in ("", self.boot) and (self.folder / record.folder).is_dir():
                yield record
            else:
                path.unlink()

    def find(self, chain_id: str) -> Record:
        record = self.records.get(chain_id)
        if record is None:
            raise NotFound(f"no snapshot of the chain {chain_id}")
        return record

    def path(self, chain_id: str) -> Path:
        return self.folder / self.find(chain_id).folder

    def ancestry(self, chain_id: str) -> tuple[str, ...]:
        """A chain and all below it, the lowest first."""
        found: list[str] = []
        while chain_id:
            found.append(chain_id)
            chain_id = self.find(chain_id).parent
        return tuple(reversed(found))

    def temporary(self, kind: str) -> Path:
        """A name for something half-made: "new" or "gone". The caller gives it back to `making`."""
        name = f"{kind}-{os.getpid():x}-{next(self._numbers):x}-{secrets.token_hex(4)}"
        self.making.add(name)
        return self.folder / name

    def free_name(self) -> str:
        while True:
            name = "".join(secrets.choice(NAME_ALPHABET) for _ in range(NAME_LENGTH))
            if not (self.folder / name).exists():
                return name

    def add(self, record: Record) -> None:
        """Its folder is in place."""
        self._write(record)
        self.records[record.chain_id] = record

    def settle(self, record: Record) -> None:
        """It is on the disk."""
        self.add(msgspec.structs.replace(record, boot=""))

    def _write(self, record: Record) -> None:
        path = self.chains / record.chain_id.removeprefix("sha256:")
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        new.rename(path)

    def forget(self, chain_id: str) -> Record:
        self.find(chain_id)
        (self.chains / chain_id.removeprefix("sha256:")).unlink(missing_ok=True)
        return self.records.pop(chain_id)

    @contextlib.contextmanager
    def pinned(self, chain_id: str) -> Iterator[None]:
        """Not to be removed meanwhile ("" is nothing)."""
        if chain_id:
            self.pins[chain_id] = self.pins.get(chain_id, 0) + 1
        try:
            yield
        finally:
            if chain_id:
                self.pins[chain_id] -= 1
                if not self.pins[chain_id]:
                    del self.pins[chain_id]

    def skeleton(self, folder: str) -> str:
        """The name of the layer between that folder's and what a container writes (`host_skeleton.py`)."""
        return folder + "-"

    def writable(self, key: str) -> Path:
        return self.layout.containers / key

    def stack(self, key: str) -> Stack:
        try:
            return msgspec.json.decode((self.writable(key) / "stack").read_bytes(), type=Stack)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            raise NotFound(f"no root file system {key}") from None

    def writables(self) -> dict[str, Stack]:
        found: dict[str, Stack] = {}
        for folder in self.layout.containers.iterdir():
            with contextlib.suppress(NotFound):
                found[folder.name] = self.stack(folder.name)
        return found
