"""One image from one registry of this installation to another: rows only, as all registries have one content store.

The repository keeps its name. Where it is missing it is made, by a creation template or with defaults. Another account's registry must let the source's
account replicate to it (ecr:ReplicateImage), and make repositories (ecr:CreateRepository).
https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudstead.engine.registry.errors import BlobUnknown, ManifestBlobUnknown, RegistryError, TagImmutable
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.kernel import identity as identities
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import AccessDenied, ServiceError
from cloudstead.kernel.events import Event
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr import arns, creation_templates, events, pushes
from cloudstead.services.ecr.model import REPOSITORIES, Destination, RepositoryRow

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

PRINCIPAL = "replication.ecr.amazonaws.com"
# What AWS documents of these codes is that there are some; the first is known from users' reports.
ACCESS_DENIED = "DESTINATION_REGISTRY_ACCESS_DENIED"
NO_REPOSITORY = "DESTINATION_REPOSITORY_NOT_FOUND"
TAG_EXISTS = "DESTINATION_IMAGE_TAG_ALREADY_EXISTS"
QUOTA = "DESTINATION_REPOSITORY_LIMIT_EXCEEDED"
INCOMPLETE = "SOURCE_IMAGE_INCOMPLETE"


class NotCopied(Exception):
    """Trying again would not help. Its text is the failure code."""


class Route:
    """From one repository to one destination."""

    def __init__(self, cloud: Cloud, catalog: Catalog, source: RepositoryRow, to: Destination) -> None:
        self.cloud = cloud
        self.catalog = catalog
        self.source = source
        self.to = to
        self._tagged = ""  # the image that is told of with its tags
        self.target: RepositoryRow | None = cloud.store.table(REPOSITORIES).get((to.account, to.region, source.name))

    async def copy(self, image: ImageRow, tags: tuple[str, ...]) -> None:
        """The image with what it speaks of, and tags that stand for it.

        Raises:
            NotCopied
        """
        self._tagged = image.digest if tags else ""
        rules = self._rules(self._require_target())
        try:
            await self._copy(rules, image)
            for tag in tags:
                await self._put(rules, image, tag)
        except TagImmutable:
            raise NotCopied(TAG_EXISTS) from None
        except (ManifestBlobUnknown, BlobUnknown):
            raise NotCopied(INCOMPLETE) from None
        except RegistryError as error:
            raise NotCopied(error.oci_code) from None

    async def delete(self, digest: str) -> None:
        """The image with its tags. One that an index over there speaks of stays, without its tags."""
        if self.target is None:
            return
        self._require_policy("ecr:ReplicateImage")
        image = self.catalog.image(self.target.place, digest)
        if image is None:
            return
        rules = pushes.without(self.cloud, self.target, "replicating")
        if self.catalog.parents(self.target.place, digest):
            self.catalog.untag(rules, self.catalog.tags_of(self.target.place, digest))
        else:
            await self.catalog.delete(rules, [image])

    def untag(self, digest: str, tags: tuple[str, ...]) -> None:
        """Take tags off the image; one that stands for another over there stays."""
        if self.target is None:
            return
        self._require_policy("ecr:ReplicateImage")
        self.catalog.untag(pushes.without(self.cloud, self.target, "replicating"), [tag for tag in tags if self._stands(tag, digest)])

    def failed(self, tx: Transaction, digest: str, tag: str) -> None:
        """Tell where it should have arrived."""
        row = self.target or RepositoryRow(account=self.to.account, region=self.to.region, name=self.source.name, created=0.0)
        tx.emit(self._event(row, digest, tag, "FAILED"))

    def _stands(self, tag: str, digest: str) -> bool:
        standing = None if self.target is None else self.catalog.tag(self.target.place, tag)
        return standing is not None and standing.digest == digest

    async def _copy(self, rules: Rules, image: ImageRow) -> None:
        """Those that an index speaks of come first. Indexes may stand within each other as deep as somebody likes."""
        place = rules.repository
        open_, entered = [image], set[str]()
        while open_:
            one = open_[-1]
            if one.digest not in entered and self.catalog.image(place, one.digest) is None:
                entered.add(one.digest)
                children = {child.digest: self.catalog.image(self.source.place, child.digest) for child in one.children}
                # A pull-through cache has not all that its indexes speak of.
                open_ += [child for child in children.values() if child is not None and child.digest not in entered]
                continue
            open_.pop()
            if self.catalog.image(place, one.digest) is None:
                await self.catalog.link(place, *self._lacking(place, one))
                await self._put(rules, one)

    def _lacking(self, place: Repository, image: ImageRow) -> list[tuple[str, int]]:
        return [(blob.digest, blob.size) for blob in image.blobs if self.catalog.blob(place, blob.digest) is None]

    async def _put(self, rules: Rules, image: ImageRow, tag: str = "") -> None:
        await self.catalog.put(rules, await self.catalog.manifest(image), image.media_type, digest=image.digest, tag=tag)

    def _require_target(self) -> RepositoryRow:
        self._require_policy("ecr:ReplicateImage")
        if self.target is None:
            try:
                self._require_policy("ecr:CreateRepository")
            except NotCopied:
                raise NotCopied(NO_REPOSITORY) from None
            self.target = self._create()
        return self.target

    def _create(self) -> RepositoryRow:
        ctx = self.cloud.service_context(PRINCIPAL, self.to.account, self.to.region)
        try:
            return creation_templates.create_by(ctx, self.source.name, "REPLICATION")
        except ServiceError:
            raise NotCopied(QUOTA) from None

    def _require_policy(self, action: str) -> None:
        """Of another account's registry."""
        if self.to.account == self.source.account:
            return
        ctx: Context = self.cloud.context(identity=identities.root(self.source.account), account=self.to.account, region=self.to.region)
        resource = arns.repository_arn(ctx, self.to.account, self.source.name)
        try:
            ctx.admit_outsider(action, resource, arns.registry_policy_of(ctx, self.to.account, action))
        except AccessDenied:
            raise NotCopied(ACCESS_DENIED) from None

    def _rules(self, row: RepositoryRow) -> Rules:
        """What arrives is not replicated again, and is told of as a replication, not as a push."""
        rules = pushes.without(self.cloud, row, "events", "replicating")

        def also(tx: Transaction, put: Put) -> None:
            if rules.also is not None:
                rules.also(tx, put)
            if put.tag or put.image.digest != self._tagged:
                tx.emit(self._event(row, put.image.digest, put.tag, "SUCCESS"))

        return replace(rules, also=also, sparse=True)

    def _event(self, row: RepositoryRow, digest: str, tag: str, result: str) -> Event:
        return events.replication(
            row,
            digest,
            self.cloud.clock.time(),
            source_account=self.source.account,
            source_region=self.source.region,
            tag=tag,
            result=result,
        )
