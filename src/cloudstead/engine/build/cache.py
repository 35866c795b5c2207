"""What builds leave for later ones: results of instructions by key, blobs of layers, folders of cache mounts. In the store, so that it outlives the daemon.

A result is the layer of files that an instruction wrote, kept as a snapshot that is no image's. Images that were pulled are not in here and so are no source
of results, whatever they claim to be made of (CVE-2024-24557), unless a build names them (`sources.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from msgspec.structs import replace

from cloudstead.engine.build.api import CacheRecord, Pruned
from cloudstead.engine.build.model import LAYERS, MOUNTS, RESULTS, LayerBlob, Result
from cloudstead.engine.errors import Conflict, NotFound
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.snapshots.api import Unpacked

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine

UNUSED_DAYS = 30  # after which the sweep forgets a result
_LABEL = 200  # characters of a description


class BuildCache:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._clock = engine.clock
        engine.store.attach([RESULTS, LAYERS, MOUNTS])
        self._results = engine.store.table(RESULTS)
        self._blobs = engine.store.table(LAYERS)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.in_use: Counter[str] = Counter()  # chains and blobs, by builds that run

    # results

    async def find(self, key: str) -> Result | None:
        """A result that can be had: its snapshot is there."""
        row = self._results.get((key,))
        if row is None:
            return None
        if row.chain and not await self._engine.snapshots.has(row.chain):
            with self._store.transaction() as tx:
                tx.delete(RESULTS, (key,))
            return None
        with self._store.transaction() as tx:
            return tx.put(RESULTS, _used(row, self._clock.time()))

    def keep(
        self, key: str, description: str, created: str, *, parent: str = "", made: Unpacked | None = None, layer: bool = True
    ) -> Result:
        """What an instruction made; `made` None or empty: the files stayed as they were."""
        row = Result(
            key=key,
            created=created,
            description=description,
            chain=made.chain_id if made else "",
            parent=parent if made else "",
            diff_id=made.diff_id if made else "",
            size=made.size if made else 0,
            layer=layer,
            made=self._clock.time(),
            last_used=self._clock.time(),
        )
        with self._store.transaction() as tx:
            return tx.put(RESULTS, row)

    def copy(self, key: str, row: Result) -> None:
        """The same under another key."""
        if key != row.key:
            self.keep(key, row.description, row.created, parent=row.parent, made=_unpacked(row), layer=row.layer)

    def alone(self, key: str) -> asyncio.Lock:
        """Held while a result is being made: who wants the same waits and then finds it."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    @contextlib.contextmanager
    def using(self, digests: Iterable[str]) -> Iterator[None]:
        held = list(digests)
        self.in_use.update(held)
        try:
            yield
        finally:
            self.in_use.subtract(held)
            for chain in held:
                if not self.in_use[chain]:
                    del self.in_use[chain]

    # blobs

    async def blob(self, chain: str) -> Descriptor:
        """The layer of a chain as a blob, made when it is not there."""
        async with self.alone(f"blob {chain}"):
            row = self._blobs.get((chain,))
            if row is not None and self._has_blob(row.descriptor):
                return row.descriptor
            descriptor, _ = await self._engine.images.add_layer(self._engine.snapshots.layer_of(chain))
            with self._store.transaction() as tx:
                tx.put(LAYERS, LayerBlob(chain=chain, descriptor=descriptor))
            return descriptor

    def know_blobs(self, blobs: dict[str, Descriptor]) -> None:
        """Layers of an image that is here."""
        with self._store.transaction() as tx:
            for chain, descriptor in blobs.items():
                if (chain,) not in self._blobs:
                    tx.insert(LAYERS, LayerBlob(chain=chain, descriptor=descriptor))

    def _has_blob(self, descriptor: Descriptor) -> bool:
        algorithm, digits = digests.split(descriptor.digest)
        try:
            return os.stat(self._engine.data / "blobs" / algorithm / digits).st_size == descriptor.size
        except FileNotFoundError:
            return False

    def roots(self) -> Iterator[str]:
        """What the collection of images is to leave: every chain and blob here, and what builds stand on."""
        for row in self._results.scan():
            yield from filter(None, (row.chain, row.parent))
        for blob in self._blobs.scan():
            yield blob.descriptor.digest
        yield from self.in_use

    # looking and forgetting

    def records(self) -> list[CacheRecord]:
        """Results that take room."""
        shared = self._shared()
        rows: dict[str, Result] = {}
        for row in self._results.scan():
            if row.chain and (row.chain not in rows or row.last_used > rows[row.chain].last_used):
                rows[row.chain] = row
        return [
            CacheRecord(
                id=digests.short(row.chain),
                kind="regular",
                description=row.description[:_LABEL],
                size=row.size,
                in_use=row.chain in self.in_use,
                shared=row.chain in shared,
                created=row.made,
                last_used=row.last_used,
                used=row.used,
            )
            for row in rows.values()
        ]

    async def prune(self, *, all: bool, unused_for: float, keep_bytes: int) -> Pruned:
        """Forget results, the ones that were used longest ago first; a chain goes after those that lie over it."""
        shared, before = self._shared(), self._clock.time() - unused_for
        chains = self._by_chain()
        total = sum(rows[0].size for chain, rows in chains.items() if chain not in shared)
        gone: list[str] = []
        won = 0
        for chain in _highest_first(chains):
            rows = chains[chain]
            if chain in self.in_use or (chain in shared and not all) or max(row.last_used for row in rows) > before:
                continue
            if keep_bytes and total <= keep_bytes:
                break
            size = await self._forget(chain, rows, remove=chain not in shared)
            won += size
            total -= size
            gone.append(digests.short(chain))
        self._forget_steps(before, all)
        return Pruned(tuple(gone), won)

    def forget_unused(self) -> None:
        """What nobody asked for in a long time; its snapshots go with the next collection."""
        before = self._clock.time() - UNUSED_DAYS * 86400
        old = [row for row in self._results.scan() if row.last_used < before and row.chain not in self.in_use]
        with self._store.transaction() as tx:
            for row in old:
                tx.delete(RESULTS, (row.key,))
        kept = {row.chain for row in self._results.scan()}
        unused = [blob for blob in self._blobs.scan() if blob.chain not in kept and blob.chain not in self.in_use]
        with self._store.transaction() as tx:
            for blob in unused:
                tx.delete(LAYERS, (blob.chain,))

    def _by_chain(self) -> dict[str, list[Result]]:
        chains: dict[str, list[Result]] = {}
        for row in self._results.scan():
            if row.chain:
                chains.setdefault(row.chain, []).append(row)
        return chains

    async def _forget(self, chain: str, rows: list[Result], *, remove: bool) -> int:
        with self._store.transaction() as tx:
            for row in rows:
                tx.delete(RESULTS, (row.key,))
            tx.delete(LAYERS, (chain,))
        if not remove:
            return 0
        with contextlib.suppress(Conflict, NotFound):  # somebody stands on it: the collection takes it later
            return await self._engine.snapshots.remove_snapshot(chain)
        return 0

    def _forget_steps(self, before: float, all: bool) -> None:
        steps = [row for row in self._results.scan() if not row.chain and row.last_used <= before]
        with self._store.transaction() as tx:
            for row in steps if all else ():
                tx.delete(RESULTS, (row.key,))

    def _shared(self) -> set[str]:
        """Chains that images have."""
        return {chain for image in self._engine.images.all() for chain in digests.chain_ids(image.config.rootfs.diff_ids)}


def _used(row: Result, now: float) -> Result:
    return replace(row, last_used=now, used=row.used + 1)


def _unpacked(row: Result) -> Unpacked | None:
    return Unpacked(row.chain, row.diff_id, row.size, 1) if row.chain else None


def _highest_first(chains: dict[str, list[Result]]) -> list[str]:
    """The ones used longest ago first, but each after those over it."""
    over: dict[str, list[str]] = {}
    for chain, rows in chains.items():
        over.setdefault(rows[0].parent, []).append(chain)
    ordered: list[str] = []
    seen: set[str] = set()
    for first in sorted(chains, key=lambda chain: max(row.last_used for row in chains[chain])):
        todo = [(first, False)]
        while todo:
            chain, expanded = todo.pop()
            if expanded:
                ordered.append(chain)
            elif chain not in seen:
                seen.add(chain)
                todo.append((chain, True))
                todo += [(one, False) for one in over.get(chain, ())]
    return ordered
