"""The loop: whatever scan is IN_PROGRESS is carried out. A scan that a restart interrupted is begun anew, because its row still says so.

Who wants a scan writes its row (`want`); the loop reads the image in a thread, two at a time, and writes what came of it in one transaction with the
event. This module imports no API, so that it costs little to start with the daemon; what scanning needs is imported with the first scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudstead.engine.images import media_types
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.engine.threads import in_thread
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key, Transaction
from cloudstead.services.ecr.catalogs import catalog_of
from cloudstead.services.ecr.model import REPOSITORIES, SCANS, RepositoryRow, Scan, registry_of

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog
    from cloudstead.engine.registry.gate import Put
    from cloudstead.services.ecr.scanning.matching import Outcome

IN_PROGRESS = "IN_PROGRESS"
PARALLEL = 2


def is_scannable(image: ImageRow) -> bool:
    """An image that containers run from. Indexes are not (the images in them are), nor are artifacts."""
    return (
        image.config is not None
        and image.config.media_type in media_types.CONFIGS
        and all(layer.media_type in media_types.LAYERS for layer in image.layers)
    )


def want(tx: Transaction, row: RepositoryRow, image: ImageRow, now: float) -> Scan:
    """Have an image scanned, in place of what an earlier scan found."""
    scan = Scan(account=row.account, region=row.region, repository=row.name, digest=image.digest, status=IN_PROGRESS, requested=now)
    return tx.put(SCANS, scan)


# ── hooks of pushes.py ───────────────────────────────────────────────────────────────────────────────────────────────


def pushed(cloud: Cloud, tx: Transaction, row: RepositoryRow, put: Put) -> None:
    """An image that is new, or back from the archive, is scanned where repository or registry say so; one that has a further tag only, is not again."""
    from cloudstead.services.ecr.registries import scans_on_push  # with the API, which is there when something is pushed

    known = cloud.store.table(SCANS).get((*row.key, put.image.digest))
    if (known is None or put.created or put.restored) and is_scannable(put.image) and scans_on_push(cloud, row):
        want(tx, row, put.image, cloud.clock.time())


def removed(cloud: Cloud, tx: Transaction, row: RepositoryRow, images: list[ImageRow]) -> None:
    """What was found in images goes with them."""
    table = cloud.store.table(SCANS)
    for image in images:
        if table.get((*row.key, image.digest)) is not None:
            tx.delete(SCANS, (*row.key, image.digest))


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Scanner:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._stopping = False
        self.controller: Controller[Key] = Controller("ecr.scans", self._scan, clock=cloud.clock, keys=self._under_way, parallel=PARALLEL)

    def start(self) -> None:
        self._stopping = False
        self.controller.watch(self._cloud.store, SCANS, lambda scan: SCANS.key(scan) if scan.status == IN_PROGRESS else None)
        self.controller.start()

    async def stop(self) -> None:
        """Scans under way end between two pieces of a layer, and stay IN_PROGRESS."""
        self._stopping = True
        await self.controller.stop()

    def _under_way(self) -> Iterable[Key]:
        return [SCANS.key(scan) for scan in self._cloud.store.table(SCANS).scan(index="under_way")]

    async def _scan(self, key: Key) -> None:
        scan = self._cloud.store.table(SCANS).get(key)
        if scan is None or scan.status != IN_PROGRESS:
            return
        catalog = catalog_of(self._cloud)
        image = catalog.image(Repository(registry_of(scan.account, scan.region), scan.repository), scan.digest)
        if image is None:
            with self._cloud.store.transaction() as tx:
                tx.delete(SCANS, key)
            return
        outcome = await self._examine(catalog, image)
        if outcome is not None:
            self._write(scan, outcome, catalog.tags_of(image.place, image.digest))

    async def _examine(self, catalog: Catalog, image: ImageRow) -> Outcome | None:
        """None when we are told to stop."""
        from cloudstead.services.ecr.scanning import layers  # what reads images is loaded with the first scan
        from cloudstead.services.ecr.scanning.examining import examine

        # A layer with URLs (a foreign one) may be here all the same, and whoever runs the image takes it from here.
        digests = [layer.digest for layer in image.layers if not layer.urls or catalog.blob(image.place, layer.digest) is not None]
        with catalog.content.lease(*digests):
            paths = [catalog.content.path(digest) for digest in digests]
            try:
                outcome = await in_thread(examine, paths, self._cloud.data / "security", lambda: self._stopping)
            except layers.Stopped:
                return None
        if elsewhere := len(image.layers) - len(digests):
            outcome = replace(outcome, description=f"{outcome.description} Layers that are kept elsewhere were not read: {elsewhere}.")
        return outcome

    def _write(self, scan: Scan, outcome: Outcome, tags: list[str]) -> None:
        """Unless the image went meanwhile, or another scan was asked for."""
        from cloudstead.services.ecr import events
        from cloudstead.services.ecr.scanning import findings
        from cloudstead.services.ecr.scanning.matching import COMPLETE

        store, now = self._cloud.store, self._cloud.clock.time()
        row = store.table(REPOSITORIES).get((scan.account, scan.region, scan.repository))
        standing = store.table(SCANS).get(SCANS.key(scan))
        if row is None or standing is None or standing.requested != scan.requested:
            return
        found = list(outcome.findings)
        with store.transaction() as tx:
            tx.update(
                SCANS,
                standing,
                status=outcome.status,
                description=outcome.description,
                completed=now if outcome.status == COMPLETE else None,
                source_updated=outcome.source_updated,
                counts=findings.counts(found),
                findings=findings.pack(found),
            )
            tx.emit(events.image_scan(row, scan.digest, now, status=outcome.status, counts=findings.counts(found), tags=tags))
