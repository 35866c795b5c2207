"""Files of real containers: what `docker cp`, `diff` and `export` see."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.pods import commands
from cloudstead.engine.pods.owners import owner_of
from cloudstead.engine.pods.reconciling import Reconciling
from cloudstead.engine.snapshots.api import Change, PathStat, Snapshots
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store


class ContainerFiles(Reconciling):
    """Of a driver whose root file systems are snapshots.

    Paths of a container that runs are looked up as its first process sees them, volumes and tmpfs included; of one that does not, in its root file system.
    """

    def __init__(self, store: Store, clock: Clock, host: HostClient, snapshots: Snapshots) -> None:
        super().__init__(store, clock)
        self.host = host
        self.snapshots = snapshots

    async def _seen(self, container: str) -> dict[str, Any]:
        """How its paths are looked up: through the eyes of its process, or with its mounts when it does not run."""
        if pid := await self._prepared(container):
            return {"pid": pid}
        mounts = self.records.container(container).spec.mounts
        return {"mounts": await self.host.call(commands.FindViews(id=container, mounts=mounts)) if mounts else ()}

    async def _prepared(self, container: str) -> int:
        """Its writable is there. Its process, 0 when it does not run."""
        found = self.records.container(container)
        if found.alive:
            return found.status.pid
        if not found.status.started:
            async with found.lock:
                self._require_there(found)
                if not found.alive:
                    await self.snapshots.mount(found.id, found.spec.layers, size=found.spec.storage_size)
                    await self.snapshots.unmount(found.id)
        return found.status.pid

    @contextlib.asynccontextmanager
    async def _while_there(self, container: str) -> AsyncIterator[None]:
        """What goes wrong because the container is removed meanwhile is told as that."""
        found = self.records.container(container)
        try:
            yield
        except EngineError:
            async with found.lock:  # a removal that is under way
                self._require_there(found)
            raise

    async def stat_path(self, container: str, path: str) -> PathStat:
        async with self._while_there(container):
            return await self.snapshots.stat(container, path, **await self._seen(container))

    async def get_archive(self, container: str, path: str) -> AsyncIterator[bytes]:
        async with self._while_there(container):
            async for chunk in self.snapshots.archive(container, path, **await self._seen(container)):
                yield chunk

    async def put_archive(
        self, container: str, path: str, tar: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool = False, copy_uid_gid: bool = False
    ) -> None:
        async with self._while_there(container):
            seen = await self._seen(container)
            owner = await owner_of(self.snapshots, container, self.records.container(container).spec.user) if copy_uid_gid else None
            await self.snapshots.unarchive(container, path, tar, no_overwrite_dir_non_dir=no_overwrite_dir_non_dir, owner=owner, **seen)

    async def changes(self, container: str) -> list[Change]:
        async with self._while_there(container):
            await self._prepared(container)
            return await self.snapshots.changes(container)

    async def export(self, container: str) -> AsyncIterator[bytes]:
        async with self._while_there(container):
            await self._prepared(container)
            async for chunk in self.snapshots.export(container):
                yield chunk
