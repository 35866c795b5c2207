"""Carries lifecycle policies out, and makes previews of them.

A repository with a policy is looked at some seconds after the policy was put and after its images or tags have changed, at the second at which the
next image comes of age, when the daemon starts, and each hour. (AWS promises 24 hours.) Each look makes a plan from how things are and carries it
out, so nothing is lost when one was interrupted. Two looks at one repository never overlap.

A plan of many images is made in a thread. What has changed meanwhile is not touched; the next look, which the change itself brings about, sees to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from cloudstead.engine.registry.model import IMAGES, TAGS, ImageRow, TagRow
from cloudstead.engine.threads import in_thread
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.services.ecr.catalogs import catalog_of
from cloudstead.services.ecr.lifecycle.content import Seen, seen, still
from cloudstead.services.ecr.lifecycle.plan import Plan, Taken, plan
from cloudstead.services.ecr.lifecycle.policy import PolicyInvalid, Rule, parse
from cloudstead.services.ecr.model import PREVIEWS, REPOSITORIES, Preview, PreviewResult, RepositoryRow
from cloudstead.services.ecr.pushes import rules_of
from cloudstead.services.ecr.restoring import archive

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

log = logging.getLogger("cloudstead.ecr.lifecycle")

PAUSE = 5.0  # seconds from a change to the look at it, in which more changes may come
PAUSE_FOR_EACH = 0.001  # and as much more for each image: a look at 100,000 of them takes a second
EACH = 3600.0  # seconds between looks at a repository to which nothing happens
SETTLE = (
    3600.0  # seconds for which an untagged image stays, because an index may be about to speak of it; as long as a blob waits for its image
)
AFTER = 1.0  # an image is of age when it is older than so many days, not when it is as old
AT_ONCE = 500  # images that a plan is made of in the event loop, and that go in one transaction

Key: TypeAlias = tuple[str, str, str]  # account, region, repository


class Lifecycle:
    """The running part."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        clock = cloud.clock
        self.policies: Controller[Key] = Controller(
            "ecr.lifecycle", self.evaluate, clock=clock, keys=self._with_policy, parallel=2, resync=EACH
        )
        self.previews: Controller[Key] = Controller("ecr.lifecycle-previews", self._preview, clock=clock, keys=self._to_preview, parallel=2)
        self._unwatch: list[Callable[[], None]] = []

    def start(self) -> None:
        store = self._cloud.store
        self.policies.start()
        self.previews.start()
        self._unwatch = [
            store.watch(REPOSITORIES, self._policy_changed),
            store.watch(IMAGES, self._image_changed),
            store.watch(TAGS, self._tag_changed),
        ]
        self.previews.watch(store, PREVIEWS, lambda row: (row.account, row.region, row.repository))

    async def stop(self) -> None:
        for unwatch in self._unwatch:
            unwatch()
        await self.policies.stop()
        await self.previews.stop()

    @property
    def _catalog(self) -> Catalog:
        return catalog_of(self._cloud)

    # when to look

    def _with_policy(self) -> list[Key]:
        return [row.key for row in self._cloud.store.table(REPOSITORIES).scan(index="with_lifecycle")]

    def _to_preview(self) -> list[Key]:
        rows = self._cloud.store.table(PREVIEWS).scan()
        return [(row.account, row.region, row.repository) for row in rows if row.status == "IN_PROGRESS"]

    def _policy_changed(self, old: RepositoryRow | None, new: RepositoryRow | None) -> None:
        if new is not None and new.lifecycle_policy is not None and (old is None or old.lifecycle_policy != new.lifecycle_policy):
            self.policies.enqueue(new.key, after=PAUSE)

    def _image_changed(self, old: ImageRow | None, new: ImageRow | None) -> None:
        if old is None or new is None or old.status != new.status:  # being pulled only makes an image stay
            self._content_changed(new or old)

    def _tag_changed(self, old: TagRow | None, new: TagRow | None) -> None:
        self._content_changed(new or old)

    def _content_changed(self, row: ImageRow | TagRow | None) -> None:
        assert row is not None  # one of both is there
        account, _, region = row.registry.partition("/")
        repository = self._cloud.store.table(REPOSITORIES).get((account, region, row.repository))
        if repository is not None and repository.lifecycle_policy is not None:
            images = self._cloud.store.table(IMAGES).count(repository.place)
            self.policies.enqueue(repository.key, after=PAUSE + images * PAUSE_FOR_EACH)

    # what a look does

    async def evaluate(self, key: Key) -> float | None:
        """Carry a repository's policy out as far as it is due; seconds until more is."""
        row = self._cloud.store.table(REPOSITORIES).get(key)
        if row is None or row.lifecycle_policy is None:
            return None
        try:
            rules = parse(row.lifecycle_policy)
        except PolicyInvalid as error:
            log.warning("the lifecycle policy of %s is not carried out: %s", row.arn(), error)
            return None
        before, made = await self._plan(row, rules, SETTLE)
        for chunk in _chunks(made.taken):
            await self._act(row, before, chunk)
        self._note(row)
        return None if made.due is None else max(made.due - self._cloud.clock.time(), 0.0) + AFTER

    async def _plan(self, row: RepositoryRow, rules: Sequence[Rule], settle: float) -> tuple[dict[str, Seen], Plan]:
        before, now = seen(self._catalog, row.place), self._cloud.clock.time()

        def make() -> Plan:
            return plan(rules, [each.image() for each in before.values()], now, settle)

        return before, make() if len(before) <= AT_ONCE else await in_thread(make)

    async def _act(self, row: RepositoryRow, before: dict[str, Seen], taken: Sequence[Taken]) -> None:
        """Let images go, or archive them: all of them are taken alike."""
        current = self._cloud.store.table(REPOSITORIES).get(row.key)
        if current is None or current.lifecycle_policy != row.lifecycle_policy:
            return  # it was deleted, or another policy put, since the plan was made
        images = still(self._catalog, before, taken)
        if not images:
            return
        log.info("%s %d images of %s", "archiving" if taken[0].action == "TRANSITION" else "expiring", len(images), row.arn())
        if taken[0].action == "EXPIRE":
            await self._catalog.delete(rules_of(self._cloud, *row.key), images)
            return
        now = self._cloud.clock.time()
        with self._cloud.store.transaction() as tx:
            for image in images:
                archive(tx, current, image, now)

    def _note(self, row: RepositoryRow) -> None:
        """When the policy was carried out, if it is still that one."""
        current = self._cloud.store.table(REPOSITORIES).get(row.key)
        if current is not None and current.lifecycle_policy == row.lifecycle_policy:
            with self._cloud.store.transaction() as tx:
                tx.update(REPOSITORIES, current, lifecycle_evaluated=self._cloud.clock.time())

    # previews

    async def _preview(self, key: Key) -> None:
        """What a policy would take now if it were carried out; the hour for which untagged images stay is left aside."""
        wanted = self._cloud.store.table(PREVIEWS).get(key)
        repository = self._cloud.store.table(REPOSITORIES).get(key)
        if wanted is None or wanted.status != "IN_PROGRESS":
            return
        if repository is None:
            with self._cloud.store.transaction() as tx:
                tx.delete(PREVIEWS, key)
            return
        try:
            before, made = await self._plan(repository, parse(wanted.policy), 0.0)
        except PolicyInvalid as error:  # of an earlier version, which took more
            log.warning("the preview of a lifecycle policy of %s failed: %s", repository.arn(), error)
            self._finish(wanted, status="FAILED")
            return
        self._finish(wanted, status="COMPLETE", results=tuple(_result(before[each.digest], each) for each in made.taken))

    def _finish(self, wanted: Preview, **changes: object) -> None:
        current = self._cloud.store.table(PREVIEWS).get((wanted.account, wanted.region, wanted.repository))
        if current is wanted:
            with self._cloud.store.transaction() as tx:
                tx.update(PREVIEWS, wanted, **changes)


def _result(image: Seen, taken: Taken) -> PreviewResult:
    storage = "ARCHIVE" if image.row.status == "ARCHIVED" else "STANDARD"
    return PreviewResult(image.tags, taken.digest, image.row.pushed, taken.action, taken.priority, storage)


def _chunks(taken: Sequence[Taken]) -> Iterator[list[Taken]]:
    """What can go in one transaction each, an index before what it speaks of. What expires goes first: it may hold up what goes to the archive."""
    for action in ("EXPIRE", "TRANSITION"):
        waiting = iter([each for each in taken if each.action == action])
        while chunk := list(islice(waiting, AT_ONCE)):
            yield chunk
