"""Folders of RUN --mount=type=cache: kept from build to build by id, in no image and no key of the cache.

Each is a writable over nothing, mounted while a RUN has it. `shared`: all have the same one, at once. `locked`: one after the other. `private`: who comes
while it is taken gets another one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from msgspec.structs import replace

from cloudstead.engine.build import keys
from cloudstead.engine.build.api import CacheRecord, Pruned
from cloudstead.engine.build.model import MOUNTS, CacheMount
from cloudstead.engine.build.mounts import RunMount

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine


class CacheMounts:
    """Of one engine; the tables are attached by BuildCache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._rows = engine.store.table(MOUNTS)
        self._in_use: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def use(self, mount: RunMount, fill: Callable[[str], Awaitable[None]]) -> AsyncIterator[str]:
        """Where it lies on the host. `fill` is called with the writable's name when it is new."""
        async with contextlib.AsyncExitStack() as stack:
            if mount.sharing == "locked":
                await stack.enter_async_context(self._lock(f"locked {mount.id}"))
            number = 0
            while mount.sharing == "private" and self._in_use[keys.mount(mount.id, number)]:
                number += 1
            key = keys.mount(mount.id, number)
            self._in_use[key] += 1
            try:
                async with self._lock(key):
                    path = await self._mount(key, mount.id, number, fill)
                yield path
            finally:
                self._in_use[key] -= 1
                if not self._in_use[key]:
                    del self._in_use[key]
                    await self._engine.snapshots.unmount(key)

    async def _mount(self, key: str, name: str, number: int, fill: Callable[[str], Awaitable[None]]) -> str:
        snapshots, now = self._engine.snapshots, self._engine.clock.time()
        row = self._rows.get((key,))
        if row is None:
            await snapshots.remove(key)  # what a crash left half-filled
        path = await snapshots.mount(key, (), skeleton=False)
        if row is None:
            await fill(key)
            row = CacheMount(key=key, id=name, number=number, created=now)
        with self._store.transaction() as tx:
            tx.put(MOUNTS, replace(row, last_used=now, used=row.used + 1))
        return path

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    def owned(self) -> set[str]:
        """The writables that are these."""
        return {row.key for row in self._rows.scan()} | set(self._in_use)

    async def records(self) -> list[CacheRecord]:
        return [
            CacheRecord(
                id=row.key.removeprefix("build-cache-"),
                kind="exec.cachemount",
                description=f"cached mount {row.id}",
                size=await self._engine.snapshots.usage(row.key),
                in_use=row.key in self._in_use,
                shared=False,
                created=row.created,
                last_used=row.last_used,
                used=row.used,
            )
            for row in list(self._rows.scan())
        ]

    async def prune(self, *, unused_for: float) -> Pruned:
        """Remove those that no build has."""
        before = self._engine.clock.time() - unused_for
        gone: list[str] = []
        won = 0
        for row in [row for row in self._rows.scan() if row.last_used <= before]:
            async with self._lock(row.key):
                if row.key in self._in_use:
                    continue
                won += await self._engine.snapshots.usage(row.key)
                with self._store.transaction() as tx:
                    tx.delete(MOUNTS, (row.key,))
                await self._engine.snapshots.remove(row.key)
            gone.append(row.key.removeprefix("build-cache-"))
        return Pruned(tuple(gone), won)
