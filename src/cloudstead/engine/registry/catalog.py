"""What every registry has: images, tags and blobs of its repositories, read and changed. The protocol (http/) and the services' own APIs both come here.

    reading     of rows in memory, at once
    writing     the blobs first and for certain (`ContentStore.settle`), then one transaction; whoever tells a client waits for `store.settled()`

What keeps a blob from the collection of the content store is a row, in whichever repository (`holds`). A blob that was uploaded, and that no image
speaks of, has its row taken away after a while (`sweep`); one that somebody has just been told of stays until then (`claim`), so a push that is
under way never loses what it counts on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from cloudstead.engine.images import digests
from cloudstead.engine.images.images import LocalImages
from cloudstead.engine.registry import manifests
from cloudstead.engine.registry.claims import Claims
from cloudstead.engine.registry.errors import (
    MOST_NAMED,
    BlobUnknown,
    DigestInvalid,
    ImageReferenced,
    ManifestBlobUnknown,
    RegistryError,
    TagImmutable,
)
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.model import BLOBS, IMAGES, TABLES, TAGS, BlobRow, ImageRow, Repository, TagRow
from cloudstead.engine.registry.recent import Recent
from cloudstead.engine.threads import in_thread
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store, Transaction

log = logging.getLogger("cloudstead.registry")

AT_ONCE = 1000  # blobs that a sweep looks at between two turns of the loop
UNREFERENCED_SECONDS = 3600.0  # how long a blob that no image of its repository speaks of waits for the image that is being pushed
RECENT_BYTES = 16 << 20  # of manifests that are kept in memory
RECENT_LARGEST = 256 << 10  # of one of them
LONG = 64 << 10  # bytes of a manifest from which on a thread understands it


class Catalog:
    """All registries of this cloud. Belongs to the thread of one event loop."""

    def __init__(self, store: Store, clock: Clock, images: LocalImages) -> None:
        self.store = store
        self.clock = clock
        self.images = images
        self.content = images.content
        self._claims = Claims(clock, UNREFERENCED_SECONDS)
        self._recent = Recent(RECENT_BYTES, RECENT_LARGEST)
        store.attach(TABLES)
        images.add_holder(self.holds)

    def holds(self, digest: str) -> bool:
        """Whether a row speaks of this blob."""
        return (
            self.store.table(BLOBS).find("by_digest", (digest,)) is not None
            or self.store.table(IMAGES).find("by_digest", (digest,)) is not None
        )

    # reading

    def image(self, place: Repository, digest: str) -> ImageRow | None:
        return self.store.table(IMAGES).get((*place, digest))

    def images_of(self, place: Repository) -> Iterator[ImageRow]:
        return iter(self.store.table(IMAGES).scan(place))

    def resolve(self, place: Repository, reference: str) -> ImageRow | None:
        """By digest or tag."""
        if ":" in reference:
            return self.image(place, reference)
        tag = self.store.table(TAGS).get((*place, reference))
        return None if tag is None else self.image(place, tag.digest)

    def tag(self, place: Repository, tag: str) -> TagRow | None:
        return self.store.table(TAGS).get((*place, tag))

    def tags_of(self, place: Repository, digest: str = "") -> list[str]:
        """In their order; of one image, or of all."""
        if digest:
            return [row.tag for row in self.store.table(TAGS).scan((*place, digest), index="by_digest")]
        return [row.tag for row in self.store.table(TAGS).scan(place)]

    def tags_after(self, place: Repository, last: str, limit: int) -> list[str]:
        """Those behind one that need not be there; so many at most."""
        return [row.tag for row in self.store.table(TAGS).scan(place, after=(*place, last), limit=limit)]

    def referrers(self, place: Repository, subject: str) -> list[ImageRow]:
        return list(self.store.table(IMAGES).scan((*place, subject), index="by_subject"))

    def referrers_after(self, place: Repository, subject: str, last: str, limit: int) -> list[ImageRow]:
        """By their digests, those behind one that need not be there; so many at most."""
        return self.store.table(IMAGES).scan((*place, subject), index="by_subject", after=(*place, subject, last), limit=limit)

    def parents(self, place: Repository, digest: str) -> list[ImageRow]:
        """The indexes of this repository that speak of an image."""
        return list(self.store.table(IMAGES).scan((*place, digest), index="by_child"))

    def blob(self, place: Repository, digest: str) -> BlobRow | None:
        """A blob that may be asked for here. Manifests are not among them."""
        return self.store.table(BLOBS).get((*place, digest))

    def claim(self, row: BlobRow) -> None:
        """Somebody is told that it is here, and may refer to it next."""
        self._claims.tell(row.registry, row.repository, row.digest)

    def count(self, place: Repository) -> int:
        return self.store.table(IMAGES).count(place)

    async def manifest(self, image: ImageRow) -> bytes:
        data = self._recent.get(image.digest)
        if data is None:
            data = await self.content.read(image.digest)
            self._recent.keep(image.digest, data)
        return data

    # writing

    async def link(self, place: Repository, *blobs: tuple[str, int]) -> None:
        """These blobs (digest, size) of the content store may be asked for here from now on. Their sizes are those that they have, whatever is said.

        Raises:
            BlobUnknown: one of them is not there. Who has just put it there holds a lease on it until this returns.
        """
        with self.content.lease(*(digest for digest, _ in blobs)):
            missing = [digest for digest, _ in blobs if not self.content.refresh(digest)]
            if missing:
                raise BlobUnknown(f"blob unknown to registry: {', '.join(missing)}")
            await self.content.settle()
            self._link(place, [(digest, self.content.size(digest) or 0) for digest, _ in blobs])

    def _link(self, place: Repository, blobs: Iterable[tuple[str, int]]) -> None:
        now = self.clock.time()
        with self.store.transaction() as tx:
            for digest, size in blobs:
                self._claims.tell(*place, digest)
                if self.blob(place, digest) is None:
                    tx.insert(BLOBS, BlobRow(registry=place.registry, repository=place.name, digest=digest, size=size, since=now))

    async def put(self, rules: Rules, data: bytes, media_type: str = "", *, digest: str = "", tag: str = "") -> Put:
        """Take a manifest in.

        Args:
            media_type: its Content-Type; empty: what it says itself.
            digest: what it must have; gives the algorithm too.

        Raises:
            ManifestInvalid, DigestInvalid, ManifestBlobUnknown, TagImmutable
        """
        return await self._put(rules, data, *await _understand(data, media_type, digest), tag)

    async def _put(self, rules: Rules, data: bytes, parsed: manifests.Parsed, made: str, tag: str) -> Put:
        self._decide(rules, made, len(data), parsed, tag)  # what is refused is not written
        try:
            return await self._keep(rules, data, parsed, made, tag)
        except RegistryError:  # what it speaks of went meanwhile
            await self.images.release([made])
            raise

    async def _keep(self, rules: Rules, data: bytes, parsed: manifests.Parsed, made: str, tag: str) -> Put:
        with self.content.lease(made):
            await self.content.put(data, made)
            await self.content.settle()
            # From here on nothing waits: what was checked is so when the rows are written.
            put = self._decide(rules, made, len(data), parsed, tag)
            if put.created or put.tagged or put.restored:
                with self.store.transaction() as tx:
                    self._write(tx, put)
                    if rules.also is not None:
                        rules.also(tx, put)
            self._claims.met(put.image)
        return put

    async def put_tagged(self, rules: Rules, data: bytes, media_type: str, *, digest: str = "", tags: Sequence[str] = ()) -> ImageRow:
        """As `put`, with any number of tags. A tag that may not be moved is refused before anything is written."""
        parsed, made = await _understand(data, media_type, digest)
        for tag in tags[1:]:  # `_put` looks at the first
            standing = self.tag(rules.repository, tag)
            if standing is not None and standing.digest != made and rules.immutable(tag):
                raise _immutable(rules.repository, tag)
        put = await self._put(rules, data, parsed, made, tags[0] if tags else "")
        for tag in tags[1:]:
            put = await self._put(rules, data, parsed, made, tag)
        return put.image

    def _decide(self, rules: Rules, digest: str, size: int, parsed: manifests.Parsed, tag: str) -> Put:
        """What a push would do as things are. Raises TagImmutable, ManifestBlobUnknown."""
        place = rules.repository
        row = self.image(place, digest)
        put = self._plan(place, self._active(row) or self._row(place, digest, size, parsed), tag, row)
        if put.tagged and put.previous and rules.immutable(tag):
            raise _immutable(place, tag)
        if row is None:
            self._require_content(rules, put.image)
        return put

    def _active(self, row: ImageRow | None) -> ImageRow | None:
        """An image that is pushed again comes out of the archive."""
        if row is None or row.status == "ACTIVE":
            return row
        return replace(row, status="ACTIVE", restoring=None, activated=self.clock.time())

    def _row(self, place: Repository, digest: str, size: int, parsed: manifests.Parsed) -> ImageRow:
        return ImageRow(
            registry=place.registry,
            repository=place.name,
            digest=digest,
            media_type=parsed.media_type,
            size=size,
            artifact_type=parsed.artifact_type,
            config=parsed.config,
            layers=parsed.layers,
            children=parsed.children,
            subject=parsed.subject,
            annotations=parsed.annotations,
            pushed=self.clock.time(),
        )

    def _plan(self, place: Repository, image: ImageRow, tag: str, row: ImageRow | None) -> Put:
        standing = self.tag(place, tag) if tag else None
        previous = standing.digest if standing is not None and standing.digest != image.digest else ""
        tagged = bool(tag) and (standing is None or bool(previous))
        return Put(image, tag, row is None, tagged, previous, restored=row is not None and row.status != "ACTIVE")

    def _require_content(self, rules: Rules, image: ImageRow) -> None:
        """Everything that a new manifest speaks of must be in its repository."""
        place = rules.repository
        missing = tuple(dict.fromkeys(each.digest for each in image.blobs if self.blob(place, each.digest) is None))
        if missing:
            raise ManifestBlobUnknown(f"blob unknown to registry: {_named(missing)}", missing)
        absent = tuple(dict.fromkeys(each.digest for each in image.children if self.image(place, each.digest) is None))
        if absent and not rules.sparse:
            raise ManifestBlobUnknown(f"manifest unknown to registry: {_named(absent)}", absent, manifests=True)

    def _write(self, tx: Transaction, put: Put) -> None:
        image = put.image
        if put.created:
            tx.insert(IMAGES, image)
        elif put.restored:
            tx.put(IMAGES, image)
        if put.tagged:
            place = image.place
            standing = self.tag(place, put.tag)
            if standing is None:
                row = TagRow(registry=place.registry, repository=place.name, tag=put.tag, digest=image.digest, tagged=self.clock.time())
                tx.insert(TAGS, row)
            else:
                tx.update(TAGS, standing, digest=image.digest, tagged=self.clock.time())

    def untag(self, rules: Rules, tags: Iterable[str]) -> None:
        """Tags that are not there are passed over."""
        with self.store.transaction() as tx:
            for tag in tags:
                row = tx.delete(TAGS, (*rules.repository, tag))
                image = None if row is None else self.image(rules.repository, row.digest)
                if image is not None and rules.untagged is not None:
                    rules.untagged(tx, image, tag)

    async def delete(self, rules: Rules, found: Iterable[ImageRow]) -> int:
        """Images with their tags, and the blobs that no other image here speaks of; bytes won on the disk.

        Whether an index still speaks of one is for the caller to ask (`parents`).
        """
        place = rules.repository
        rows = [row for row in found if self.image(place, row.digest) is not None]
        with self.store.transaction() as tx:
            if rules.removed is not None:
                rules.removed(tx, rows)
            for row in rows:
                tx.delete(IMAGES, row.key)
                for tag in self.tags_of(place, row.digest):
                    tx.delete(TAGS, (*place, tag))
            unneeded = {blob.digest for row in rows for blob in row.blobs if self._may_go(place, blob.digest)}
            for digest in unneeded:
                tx.delete(BLOBS, (*place, digest))
        return await self._release([*(row.digest for row in rows), *unneeded])

    async def delete_blob(self, row: BlobRow) -> int:
        """A blob that somebody deletes by name, at once; bytes won.

        Raises:
            ImageReferenced: an image here needs it.
        """
        if not self._unreferenced(row):
            raise ImageReferenced(f"an image in the repository '{row.repository}' needs blob {row.digest}")
        key = (row.registry, row.repository, row.digest)
        with self.store.transaction() as tx:
            tx.delete(BLOBS, key)
        self._claims.drop(key)
        return await self._release([row.digest])

    async def delete_repository(self, place: Repository, rules: Rules) -> int:
        """All of it; bytes won."""
        rows = list(self.images_of(place))
        blobs = list(self.store.table(BLOBS).scan(place))
        with self.store.transaction() as tx:
            if rules.removed is not None:
                rules.removed(tx, rows)
            for row in rows:
                tx.delete(IMAGES, row.key)
            for tag in self.tags_of(place):
                tx.delete(TAGS, (*place, tag))
            for blob in blobs:
                tx.delete(BLOBS, (*place, blob.digest))
        return await self._release([*(row.digest for row in rows), *(blob.digest for blob in blobs)])

    async def _release(self, digests: list[str]) -> int:
        """Of blobs whose rows have just been deleted: those go that nothing else speaks of, once it is certain that no crash brings the rows back."""
        await self.images.let_go(digests)
        return await self.images.release(digests)

    def noted(self, image: ImageRow, *, pulled: float) -> None:
        """Remember when it was last pulled."""
        row = self.image(image.place, image.digest)  # as it is now: it may have been deleted or archived since it was found
        if row is not None:
            with self.store.transaction() as tx:
                tx.update(IMAGES, row, pulled=pulled)

    def _may_go(self, place: Repository, digest: str) -> bool:
        """Nothing here speaks of the blob, and nobody was told of it lately."""
        row = self.blob(place, digest)
        return row is not None and self._unreferenced(row) and not self._claims.holds(row)

    def _unreferenced(self, row: BlobRow) -> bool:
        return self.store.table(IMAGES).find("by_blob", (row.registry, row.repository, row.digest)) is None

    # keeping order

    async def sweep(self) -> list[str]:
        """Blobs that were uploaded and that no image came to speak of are let go; the content store collects them then."""
        self._claims.sweep()
        gone: list[BlobRow] = []
        after: tuple[str, str, str] | None = None
        while some := self.store.table(BLOBS).scan(after=after, limit=AT_ONCE):
            after = (some[-1].registry, some[-1].repository, some[-1].digest)
            gone += await self._sweep(some)
            await asyncio.sleep(0)
        return [f"let go of blob {row.digest} in {row.repository}, which no image speaks of" for row in gone]

    async def _sweep(self, rows: list[BlobRow]) -> list[BlobRow]:
        now = self.clock.time()
        old = [row for row in rows if now - row.since > UNREFERENCED_SECONDS]
        gone = [row for row in old if self._unreferenced(row) and not self._claims.holds(row)]
        if gone:
            with self.store.transaction() as tx:
                for row in gone:
                    tx.delete(BLOBS, (row.registry, row.repository, row.digest))
            await self.images.let_go(row.digest for row in gone)
        return gone


async def _understand(data: bytes, media_type: str, digest: str) -> tuple[manifests.Parsed, str]:
    """A manifest, and its digest: the one that it must have, if any."""
    asked = (data, media_type, digests.split(digest)[0] if digest else "sha256")
    parsed, made = _understood(*asked) if len(data) < LONG else await in_thread(_understood, *asked)
    if digest and digest != made:
        raise DigestInvalid(f"the manifest has digest {made}, not {digest}")
    return parsed, made


def _understood(data: bytes, media_type: str, algorithm: str) -> tuple[manifests.Parsed, str]:
    """A manifest, and the digest that it has."""
    return manifests.read(data, media_type), digests.of(data, algorithm)


def _named(digests: tuple[str, ...]) -> str:
    return ", ".join(digests[:MOST_NAMED]) + (", …" if len(digests) > MOST_NAMED else "")


def _immutable(place: Repository, tag: str) -> TagImmutable:
    return TagImmutable(
        f"The image tag '{tag}' already exists in the '{place.name}' repository and cannot be overwritten because the tag is immutable."
    )
