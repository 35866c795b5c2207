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
import hashlib
import itertools
import os
import secrets
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


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What a writable lies over."""

    layers: tuple[str, ...]
    size: int = 0
    copied: bool = False  # no overlay: the layers were copied into rootfs


def chain_of(parent: str, diff_id: str) -> str:
    """The chain id of a layer over a parent. OCI image-spec, config.md, "Layer ChainID"."""
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest() if parent else diff_id


class Shelf:
    """All of one instance. One host at a time uses it, so what was read once stays true."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.folder = layout.snapshots
        self.chains = layout.snapshots / "chains"
        self.busy: dict[str, asyncio.Future[None]] = {}  # chains that are being unpacked
        self.making: set[str] = set()  # names of folders that a running call owns; the sweeper leaves them
        self._numbers = itertools.count()
        for folder in (self.chains, self.folder / "empty"):
            folder.mkdir(mode=0o755, exist_ok=True)
        os.chmod(self.folder / "empty", 0o755)
        self.records: dict[str, Record] = {}
        for path in self.chains.iterdir():
            if "." not in path.name:
                with contextlib.suppress(msgspec.MsgspecError):
                    record = msgspec.json.decode(path.read_bytes(), type=Record)
                    self.records[record.chain_id] = record

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
        """Its folder is in place and durable."""
        path = self.chains / record.chain_id.removeprefix("sha256:")
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        self.records[record.chain_id] = record

    def forget(self, chain_id: str) -> Record:
        self.find(chain_id)
        (self.chains / chain_id.removeprefix("sha256:")).unlink(missing_ok=True)
        return self.records.pop(chain_id)

    def writable(self, key: str) -> Path:
        return self.layout.containers / key

    def stack(self, key: str) -> Stack:
        try:
            return msgspec.json.decode((self.writable(key) / "stack").read_bytes(), type=Stack)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            raise NotFound(f"no root file system {key}") from None

    def writables(self) -> dict[str, Stack]:
        found = {}
        for folder in self.layout.containers.iterdir():
            with contextlib.suppress(NotFound):
                found[folder.name] = self.stack(folder.name)
        return found
