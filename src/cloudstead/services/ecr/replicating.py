"""Replication: what was pushed is copied to other regions and accounts of this installation.

A push writes down, in its own transaction, where its image is to go: a `Copy` for each destination. So nothing is forgotten, whatever dies when.
A loop carries the copies out, one after the other for each repository and destination: a tag that moved twice ends where it moved last. A copy that is
refused for good (a policy, an immutable tag) has failed, and stays so until the image is pushed again; anything else is tried again.

What was copied is not replicated further. Deletions are copied where a rule says so.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication-delete.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr.model import COPIES, REGISTRIES, REPOSITORIES, Copy, Destination, ReplicationRule, RepositoryRow

if TYPE_CHECKING:
    from cloudstead.engine.registry.gate import Put
    from cloudstead.engine.registry.model import ImageRow
    from cloudstead.services.ecr.controller import Ecr
    from cloudstead.services.ecr.copying import Route

PARALLEL = 4  # repositories (and destinations) at once


# where to


def destinations(rules: Iterable[ReplicationRule], repository: str, *, deletes: bool = False) -> list[Destination]:
    """Where the images of a repository go; with `deletes`, where their deletion goes too."""
    found = [rule for rule in rules if _matches(rule, repository) and (rule.deletes or not deletes)]
    return list(dict.fromkeys(destination for rule in found for destination in rule.destinations))


def _matches(rule: ReplicationRule, repository: str) -> bool:
    return not rule.prefixes or repository.startswith(rule.prefixes)


def _rules(cloud: Cloud, row: RepositoryRow) -> tuple[ReplicationRule, ...]:
    registry = cloud.store.table(REGISTRIES).get((row.account, row.region))
    return () if registry is None else registry.replication


# what follows from pushes and deletions (pushes.py)


def pushed(cloud: Cloud, tx: Transaction, row: RepositoryRow, put: Put) -> None:
    """Have it copied. A tag that now stands for it is not to be taken off it any more."""
    for to in destinations(_rules(cloud, row), row.name):
        old = _copy(cloud, row, put.image.digest, to)
        tags = _with(old.tags, put.tag) if put.tag else old.tags
        tx.put(COPIES, _open(old, tags=tags, untag=_less(old.untag, put.tag)))


def removed(cloud: Cloud, tx: Transaction, row: RepositoryRow, images: list[ImageRow]) -> None:
    """Nothing is left to be copied; where a rule says so, the copies are deleted."""
    where = destinations(_rules(cloud, row), row.name, deletes=True)
    for image in images:
        for copy in cloud.store.table(COPIES).scan((*row.key, image.digest)):
            tx.delete(COPIES, COPIES.key(copy))
        for to in where:
            tx.put(COPIES, _open(_new(row, image.digest, to), gone=True))


def untagged(cloud: Cloud, tx: Transaction, row: RepositoryRow, image: ImageRow, tag: str) -> None:
    for to in destinations(_rules(cloud, row), row.name, deletes=True):
        old = _copy(cloud, row, image.digest, to)
        tx.put(COPIES, _open(old, tags=_less(old.tags, tag), untag=_with(old.untag, tag)))


def _copy(cloud: Cloud, row: RepositoryRow, digest: str, to: Destination) -> Copy:
    """What is written of it; what was done is done."""
    found: Copy | None = cloud.store.table(COPIES).get((*row.key, digest, to.account, to.region))
    return _new(row, digest, to) if found is None or found.gone else found


def _new(row: RepositoryRow, digest: str, to: Destination) -> Copy:
    return Copy(account=row.account, region=row.region, repository=row.name, digest=digest, to_account=to.account, to_region=to.region)


def _open(copy: Copy, *, tags: tuple[str, ...] = (), untag: tuple[str, ...] = (), gone: bool = False) -> Copy:
    return Copy(
        account=copy.account,
        region=copy.region,
        repository=copy.repository,
        digest=copy.digest,
        to_account=copy.to_account,
        to_region=copy.to_region,
        tags=tags,
        untag=untag,
        gone=gone,
    )


def _with(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return (*_less(tags, tag), tag)


def _less(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return tuple(each for each in tags if each != tag)


# the loop


class Lane(NamedTuple):
    """What is worked off in one go: the open copies of one repository to one destination. In the order of the index."""

    account: str
    region: str
    repository: str
    to_account: str
    to_region: str


class Replication:
    """A part of `Ecr`."""

    def __init__(self, ecr: Ecr) -> None:
        self._ecr = ecr
        self._cloud = ecr.cloud
        self.controller = Controller(
            "ecr.replication", self._work, clock=self._cloud.clock, keys=self._lanes, parallel=PARALLEL, resync=None
        )

    def start(self) -> None:
        self.controller.watch(self._cloud.store, COPIES, lambda row: _lane(row) if row.status == "IN_PROGRESS" else None)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop()

    def _lanes(self) -> Iterable[Lane]:
        return dict.fromkeys(_lane(row) for row in self._cloud.store.table(COPIES).scan(index="open"))

    async def _work(self, lane: Lane) -> None:
        failure: Exception | None = None
        for copy in self._cloud.store.table(COPIES).scan(lane, index="open"):
            try:
                await self._carry_out(copy)
            except Exception as error:  # the others are not to wait for it
                failure = error
        if failure is not None:
            raise failure

    async def _carry_out(self, copy: Copy) -> None:
        from cloudstead.services.ecr.copying import NotCopied, Route  # with the API, which a registry that replicates nothing need not load

        source = self._cloud.store.table(REPOSITORIES).get((copy.account, copy.region, copy.repository))
        if source is None:
            self._forget(copy)
            return
        route = Route(self._cloud, self._ecr.catalog, source, Destination(copy.to_region, copy.to_account))
        try:
            if copy.gone:
                await route.delete(copy.digest)
                self._forget(copy)
            else:
                await self._bring(route, source, copy)
        except NotCopied as error:
            self._failed(route, copy, str(error))

    async def _bring(self, route: Route, source: RepositoryRow, copy: Copy) -> None:
        catalog = self._ecr.catalog
        image = catalog.image(source.place, copy.digest)
        if image is None:
            self._forget(copy)
            return
        standing = tuple(tag for tag in copy.tags if (now := catalog.tag(source.place, tag)) is not None and now.digest == copy.digest)
        await route.copy(image, standing)
        route.untag(copy.digest, copy.untag)
        await self._cloud.store.settled()
        self._done(copy)

    def _done(self, copy: Copy) -> None:
        """Unless there is more to do by now, and all of it is looked at again."""
        with self._cloud.store.transaction() as tx:
            if self._is_latest(copy):
                tx.update(COPIES, copy, tags=(), untag=(), status="COMPLETE", failure="")

    def _failed(self, route: Route, copy: Copy, code: str) -> None:
        """What was to be done stays written, for the next push of the image."""
        with self._cloud.store.transaction() as tx:
            if not self._is_latest(copy):
                return
            if copy.gone:
                tx.delete(COPIES, COPIES.key(copy))
            else:
                tx.update(COPIES, copy, status="FAILED", failure=code)
            for tag in copy.tags or ("",):
                route.failed(tx, copy.digest, tag)

    def _is_latest(self, copy: Copy) -> bool:
        now = self._cloud.store.table(COPIES).get(COPIES.key(copy))
        return now is not None and now.version == copy.version

    def _forget(self, copy: Copy) -> None:
        with self._cloud.store.transaction() as tx:
            if self._is_latest(copy):
                tx.delete(COPIES, COPIES.key(copy))


def _lane(row: Copy) -> Lane:
    return Lane(row.account, row.region, row.repository, row.to_account, row.to_region)
