"""Which images a BatchDeleteImage takes, decided over families of indexes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.media_types import OCI_INDEX, OCI_MANIFEST
from cloudstead.engine.registry.deletion import Deletion, plan
from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.selection import Found

DIGESTS = [digests.of(str(number).encode()) for number in range(6)]


def row(digest: str, *children: str) -> ImageRow:
    listed = tuple(Descriptor(OCI_MANIFEST, child, 1) for child in children)
    return ImageRow(registry="1/r", repository="app", digest=digest, media_type=OCI_INDEX, size=1, children=listed, pushed=0.0)


# An index speaks only of images that were there before it: of lower numbers.
families = st.lists(st.sets(st.integers(0, 5)), min_size=6, max_size=6).map(
    lambda sets: [row(DIGESTS[at], *(DIGESTS[each] for each in sorted(some) if each < at)) for at, some in enumerate(sets)]
)
tags = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 5))
wishes = st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["a", "b", "c", "d"])), min_size=1, max_size=8)


def decide(images: list[ImageRow], tagged: dict[str, int], wanted: list[Any]) -> Deletion:
    named = []
    for each in wanted:
        if isinstance(each, int):
            named.append(Found(images[each], ""))
        elif each in tagged:
            named.append(Found(images[tagged[each]], each))

    def tags_of(digest: str) -> list[str]:
        return sorted(tag for tag, at in tagged.items() if DIGESTS[at] == digest)

    def parents_of(digest: str) -> list[ImageRow]:
        return [image for image in images if any(child.digest == digest for child in image.children)]

    return plan(named, tags_of, parents_of)


@given(families, tags, wishes)
def test_no_index_that_stays_loses_an_image(images: list[ImageRow], tagged: dict[str, int], wanted: list[Any]) -> None:
    gone = {image.digest for image in decide(images, tagged, wanted).images}
    for image in images:
        if image.digest not in gone:
            assert not gone & {child.digest for child in image.children}


@given(families, tags, wishes)
def test_only_what_was_named_goes(images: list[ImageRow], tagged: dict[str, int], wanted: list[Any]) -> None:
    decided = decide(images, tagged, wanted)
    for image in decided.images:
        own = {tag for tag, at in tagged.items() if DIGESTS[at] == image.digest}
        assert DIGESTS.index(image.digest) in wanted or (own and own <= set(wanted))
    assert set(decided.tags) <= set(wanted)
    assert len({image.digest for image in decided.images}) == len(decided.images)


@given(families, tags, wishes)
def test_an_image_keeps_a_tag_unless_it_goes_or_had_none(images: list[ImageRow], tagged: dict[str, int], wanted: list[Any]) -> None:
    decided = decide(images, tagged, wanted)
    gone = {image.digest for image in decided.images}
    for at in {at for at in tagged.values() if DIGESTS[at] not in gone}:
        assert [tag for tag, other in tagged.items() if other == at and tag not in decided.tags]


@given(families, tags, wishes)
def test_everything_that_was_named_is_answered(images: list[ImageRow], tagged: dict[str, int], wanted: list[Any]) -> None:
    decided = decide(images, tagged, wanted)
    asked = [DIGESTS[each if isinstance(each, int) else tagged[each]] for each in wanted if isinstance(each, int) or each in tagged]
    assert set(asked) == {digest for digest, _ in decided.deleted} | {asked[at] for at in decided.refused}
