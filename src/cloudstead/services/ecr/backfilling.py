"""Backfills: the images that were pushed before their registry replicated, copied to one destination.

    PREPARING ──▶ IN_PROGRESS ──▶ COMPLETE, or FAILED when half of a hundred or more have failed
        └──▶ STOPPED  └──▶ STOPPING ──▶ STOPPED

One that was under way when the daemon ended begins anew: what has been copied already is found there and counts at once.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication-backfill.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudstead.kernel.reconcile import Controller
from cloudstead.services.ecr.model import (
    BACKFILLS,
    COPIES,
    REGISTRIES,
    REPOSITORIES,
    Backfill,
    Copy,
    Destination,
    Replicated,
    RepositoryRow,
)
from cloudstead.services.ecr.replicating import destinations

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog
    from cloudstead.engine.registry.model import ImageRow
    from cloudstead.services.ecr.controller import Ecr

JUDGED_FROM = 100  # replications before it may fail as a whole
TOLD_EACH = 50  # replications after which the row says how far it is
TOO_MANY_FAILED = "REPLICATION_FAILURE_THRESHOLD_EXCEEDED"


class Key(NamedTuple):
    account: str
    region: str
    id: str


class Item(NamedTuple):
    """One replication: an image and one of its tags, or an image that has none."""

    repository: RepositoryRow
    image: ImageRow
    tag: str


class Backfilling:
    """A part of `Ecr`."""

    def __init__(self, ecr: Ecr) -> None:
        self._ecr = ecr
        self._cloud = ecr.cloud
        self.controller = Controller("ecr.backfills", self._work, clock=self._cloud.clock, keys=self._open, parallel=2, resync=None)

    def start(self) -> None:
        self.controller.watch(self._cloud.store, BACKFILLS, lambda row: _key(row) if row.status == "PREPARING" else None)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop()

    def _open(self) -> Iterable[Key]:
        return [_key(row) for row in self._cloud.store.table(BACKFILLS).scan(index="open")]

    def _row(self, key: Key) -> Backfill | None:
        row: Backfill | None = self._cloud.store.table(BACKFILLS).get(key)
        return row if row is not None and row.ended is None else None

    async def _work(self, key: Key) -> None:
        row = self._row(key)
        if row is None:
            return
        items = list(self._items(row))
        results: list[Replicated] = []
        if row.status != "STOPPING":
            self._change(key, status="IN_PROGRESS", total=len(items), completed=0, failed=0, failures=())
        for item in items:
            row = self._row(key)
            if row is None or row.status == "STOPPING" or _has_failed(results):
                break
            results.append(await self._replicate(row, item))
            if len(results) % TOLD_EACH == 0:
                self._change(key, **_progress(results))
        self._end(key, results)

    def _end(self, key: Key, results: list[Replicated]) -> None:
        row = self._row(key)
        if row is None:
            return
        status, failure = ("STOPPED", "") if row.status == "STOPPING" else ("COMPLETE", "")
        if status == "COMPLETE" and _has_failed(results):
            status, failure = "FAILED", TOO_MANY_FAILED
        now = self._cloud.clock.time()
        self._change(key, status=status, failure=failure, ended=now, results=tuple(results), **_progress(results))

    def _change(self, key: Key, **changes: Any) -> None:
        row = self._row(key)
        if row is not None:
            with self._cloud.store.transaction() as tx:
                tx.update(BACKFILLS, row, **changes)

    def _items(self, row: Backfill) -> Iterator[Item]:
        """Images that an index speaks of go with it."""
        store, catalog = self._cloud.store, self._ecr.catalog
        registry = store.table(REGISTRIES).get((row.account, row.region))
        to = Destination(row.to_region, row.to_account)
        for repository in store.table(REPOSITORIES).scan((row.account, row.region)):
            if registry is not None and to in destinations(registry.replication, repository.name):
                yield from _of_repository(catalog, repository)

    async def _replicate(self, row: Backfill, item: Item) -> Replicated:
        from cloudstead.services.ecr.copying import NotCopied, Route  # with the API, which a registry that replicates nothing need not load

        failure = ""
        catalog = self._ecr.catalog
        if catalog.image(item.repository.place, item.image.digest) is not None:  # it may have been deleted meanwhile
            to = Destination(row.to_region, row.to_account)
            try:
                await Route(self._cloud, catalog, item.repository, to).copy(item.image, (item.tag,) if item.tag else ())
            except NotCopied as error:
                failure = str(error)
            self._note(item, to, failure)
        return Replicated(item.repository.name, item.image.digest, item.tag, failure)

    def _note(self, item: Item, to: Destination, failure: str) -> None:
        """For DescribeImageReplicationStatus, unless a push has the image under way."""
        copy = Copy(
            account=item.repository.account,
            region=item.repository.region,
            repository=item.repository.name,
            digest=item.image.digest,
            to_account=to.account,
            to_region=to.region,
            status="FAILED" if failure else "COMPLETE",
            failure=failure,
        )
        known = self._cloud.store.table(COPIES).get(COPIES.key(copy))
        if known is None or (known.status, known.failure) not in (("IN_PROGRESS", ""), (copy.status, copy.failure)):
            with self._cloud.store.transaction() as tx:
                tx.put(COPIES, copy)


def _of_repository(catalog: Catalog, repository: RepositoryRow) -> Iterator[Item]:
    for image in catalog.images_of(repository.place):
        if image.status != "ACTIVE":
            continue
        tags = catalog.tags_of(repository.place, image.digest)
        if not tags and catalog.parents(repository.place, image.digest):
            continue
        for tag in tags or [""]:
            yield Item(repository, image, tag)


def _has_failed(results: list[Replicated]) -> bool:
    return len(results) >= JUDGED_FROM and 2 * sum(bool(each.failure) for each in results) >= len(results)


def _progress(results: list[Replicated]) -> dict[str, Any]:
    failures = [each.failure for each in results if each.failure]
    return {"completed": len(results) - len(failures), "failed": len(failures), "failures": tuple(dict.fromkeys(failures))}


def _key(row: Backfill) -> Key:
    return Key(row.account, row.region, row.id)
