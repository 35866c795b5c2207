"""What images there are and what they are called: the rows, read and written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable

import msgspec

from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.images import manifests
from cloudstead.engine.images.api import Action, Descriptor, Image, ImageConfig, ImageEvent, Platform
from cloudstead.engine.images.model import IMAGES, REFERENCES, ImageRow, ReferenceRow
from cloudstead.engine.images.references import Reference, parse, try_parse
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store, Transaction

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Records:
    """In one store. Whoever writes waits for `store.settled()` before telling anybody outside."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.generation = 0  # of the rows: goes up with each change
        self.watchers: list[Callable[[ImageEvent], None]] = []

    # finding

    def find(self, name: str) -> ImageRow:
        """By reference, or by id or a prefix of it.

        Raises:
            NotFound, InvalidArgument: with Docker's sentences.
        """
        matched = _ID.fullmatch(name)
        if matched is not None and len(matched[1]) == 64 and (row := self.by_id(matched[1])) is not None:
            return row
        reference = try_parse(name) if matched is not None else parse(name)
        named = self.named(reference) if reference is not None else None
        row = self.by_id(named.image) if named is not None else None
        if row is None and matched is not None:
            row = self._by_prefix(matched[1])
        if row is None:
            shown = name if reference is None else reference.with_default_tag().familiar
            raise NotFound(f"No such image: {shown}")
        return row

    def named(self, reference: Reference) -> ReferenceRow | None:
        return self.store.table(REFERENCES).get((reference.key,))

    def target_of(self, name: str, row: ImageRow) -> Descriptor:
        """What an image was found by: the index that a name stands for, or its manifest."""
        reference = try_parse(name)
        named = self.named(reference) if reference is not None else None
        return named.target if named is not None and named.image == row.id else row.manifest

    def by_id(self, image: str) -> ImageRow | None:
        return self.store.table(IMAGES).get((image if image.startswith("sha256:") else f"sha256:{image}",))

    def require(self, image: str) -> ImageRow:
        """By its whole id."""
        row = self.by_id(image)
        if row is None:
            raise NotFound(f"No such image: {image}")
        return row

    def _by_prefix(self, digits: str) -> ImageRow | None:
        """The one image whose id begins so; an ambiguous prefix finds none, as in Docker."""
        found = self.store.table(IMAGES).scan(starts=f"sha256:{digits}", limit=2)
        return found[0] if len(found) == 1 else None

    def rows(self) -> list[ImageRow]:
        return self.store.table(IMAGES).scan()

    def references_of(self, image: str) -> list[tuple[Reference, ReferenceRow]]:
        rows = self.store.table(REFERENCES).scan((image,), index="by_image")
        return [(parse(row.name), row) for row in rows]

    def targets(self) -> Iterable[ReferenceRow]:
        return self.store.table(REFERENCES).scan()

    def children(self, image: str) -> list[ImageRow]:
        return self.store.table(IMAGES).scan((image,), index="by_parent")

    def image(self, row: ImageRow) -> Image:
        references = self.references_of(row.id)
        return Image(
            id=row.id,
            manifest=row.manifest,
            config=row.config,
            layers=row.layers,
            size=sum(row.sizes),
            created=row.created,
            tags=tuple(sorted(each.familiar for each, _ in references if not each.digest)),
            digests=tuple(sorted(each.familiar for each, _ in references if each.digest)),
            parent=row.parent,
            last_tagged=max((kept.tagged for each, kept in references if not each.digest), default=0.0),
        )

    # writing

    def keep(self, row: ImageRow, names: Iterable[tuple[Reference, Descriptor]] = ()) -> bool:
        """Keep an image and give it names, which are taken from whoever had them. False when all of it was so before."""
        changed = False
        self.generation += 1
        with self.store.transaction() as tx:
            known = self.by_id(row.id)
            if known is None:
                tx.insert(IMAGES, row)
                changed = True
            elif not _same(known, row):
                # The same configuration over layers that are compressed otherwise: the latest manifest is what a push will send.
                tx.update(IMAGES, msgspec.structs.replace(row, version=known.version, parent=known.parent or row.parent, added=known.added))
                changed = True
            for reference, target in names:
                changed = self._name(tx, reference, row.id, target) or changed
        return changed

    def name(self, reference: Reference, image: str, target: Descriptor) -> bool:
        self.generation += 1
        with self.store.transaction() as tx:
            return self._name(tx, reference, image, target)

    def _name(self, tx: Transaction, reference: Reference, image: str, target: Descriptor) -> bool:
        known = self.named(reference)
        if known is not None and known.image == image and known.target.digest == target.digest:
            return False
        tx.put(REFERENCES, ReferenceRow(name=reference.key, image=image, target=target, tagged=self.clock.time()))
        return True

    def unname(self, reference: Reference) -> None:
        self.generation += 1
        with self.store.transaction() as tx:
            if tx.delete(REFERENCES, (reference.key,)) is None:
                raise NotFound(f"No such image: {reference.with_default_tag().familiar}")

    def drop(self, image: str) -> None:
        """The image's row; its names are gone before."""
        self.generation += 1
        with self.store.transaction() as tx:
            tx.delete(IMAGES, (image,))

    def tell(self, action: Action, image: str, name: str = "") -> None:
        event = ImageEvent(action=action, image=image, name=name or image, time=self.clock.time())
        for watcher in tuple(self.watchers):
            watcher(event)


def new_row(
    image: str,
    manifest: Descriptor,
    config: ImageConfig,
    layers: tuple[Descriptor, ...],
    sizes: tuple[int, ...],
    now: float,
    *,
    index: str = "",
    parent: str = "",
) -> ImageRow:
    """A row as it is when the image has just come."""
    return ImageRow(
        id=image,
        manifest=manifest,
        index=index,
        config=config,
        layers=layers,
        sizes=sizes,
        created=timestamp(config.created),
        parent=parent,
        added=now,
    )


def check_platform(row: ImageRow, wanted: Platform | None, name: str) -> ImageRow:
    """Raises NotFound: what is here is for another platform."""
    if wanted is not None and (fault := mismatch(row, wanted, name)):
        raise NotFound(fault)
    return row


def mismatch(row: ImageRow, wanted: Platform, name: str) -> str:
    """Docker's sentence when an image does not run on a platform; empty when it does."""
    actual = manifests.platform_of(row.config)
    if manifests.runs_on(actual, wanted) is not None:
        return ""
    told = f"wanted {manifests.show(wanted)}, actual: {manifests.show(actual)}"
    return f"image with reference {name} was found but does not match the specified platform: {told}"


def timestamp(text: str) -> float:
    """Of RFC 3339; 0 for what is none. An image may claim any time."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def rfc3339(moment: float) -> str:
    """With nanoseconds, as Go writes it."""
    whole = datetime.datetime.fromtimestamp(int(moment), datetime.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{int(moment % 1 * 1e9):09d}Z"


def tagged_reference(text: str) -> Reference:
    """A name that an image may be given: no digest in it."""
    reference = parse(text)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return reference.with_default_tag()


def _same(known: ImageRow, row: ImageRow) -> bool:
    return known.manifest.digest == row.manifest.digest and (known.index == row.index or not row.index) and known.sizes == row.sizes
