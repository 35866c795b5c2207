"""Images that are archived, which cannot be pulled, and images that are on their way back.

On AWS an image needs up to twenty minutes to be restored. Here its bytes never left, but who waits for it is to see it go the same way: it is ACTIVATING
for some seconds, and a controller makes it active then, after a restart too. A push of the same image brings it back at once (`Catalog.put`).
https://docs.aws.amazon.com/AmazonECR/latest/userguide/archive_restore_image.html
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.engine.registry.gate import Put
from cloudstead.engine.registry.model import IMAGES, ImageRow
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr import events, pushes
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow

RESTORE_SECONDS = 3.0

Key = tuple[str, str, str]  # registry, repository, digest


def archive(tx: Transaction, row: RepositoryRow, image: ImageRow, now: float) -> ImageRow:
    """Put an image into the archive. One that is there stays as it is."""
    if image.status == "ARCHIVED":
        return image
    image = tx.update(IMAGES, image, status="ARCHIVED", archived=now, restoring=None)
    tx.emit(events.storage_class_changed(row, image, now))
    return image


def restore(tx: Transaction, row: RepositoryRow, image: ImageRow, now: float) -> ImageRow:
    """Begin to bring an image back; `Restoring` does the rest. One that is active, or on its way, stays as it is."""
    if image.status != "ARCHIVED":
        return image
    return tx.update(IMAGES, image, status="ACTIVATING", restoring=now)


class Restoring:
    """Makes images active whose time has come. Part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._controller: Controller[Key] = Controller("ecr.restoring", self._work, clock=cloud.clock, keys=self._keys, resync=None)

    def start(self) -> None:
        self._controller.watch(self._cloud.store, IMAGES, lambda row: row.key if row.status == "ACTIVATING" else None)
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()

    def _keys(self) -> Iterable[Key]:
        return [row.key for row in self._cloud.store.table(IMAGES).scan(index="restoring")]

    async def _work(self, key: Key) -> float | None:
        image = self._cloud.store.table(IMAGES).get(key)
        if image is None or image.status != "ACTIVATING":
            return None
        now = self._cloud.clock.time()
        left = (image.restoring or now) + RESTORE_SECONDS - now
        if left > 0:
            return min(left, RESTORE_SECONDS)  # whoever sets the clock back does not wait for longer
        account, _, region = image.registry.partition("/")
        row = self._cloud.store.table(REPOSITORIES).get((account, region, image.repository))
        with self._cloud.store.transaction() as tx:
            image = tx.update(IMAGES, image, status="ACTIVE", restoring=None, activated=now)
            also = None if row is None else pushes.rules_of(self._cloud, account, region, image.repository).also
            if also is not None:
                also(tx, Put(image, "", created=False, tagged=False, restored=True))
        return None
