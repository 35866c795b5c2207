"""Decisions about images: which go, how a manifest is converted, how many there may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_calls import digest_of, manifest_of

from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.services.ecr import api
from cloudstead.services.ecr.conversion import converted
from cloudstead.services.ecr.deletion import Deletion, plan
from cloudstead.services.ecr.image_ids import Found
from support import context_in, local_cloud

DIGESTS = [digest_of(str(number)) for number in range(6)]


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
            named.append((api.ImageIdentifier(image_digest=DIGESTS[each]), Found(images[each], "")))
        elif each in tagged:
            named.append((api.ImageIdentifier(image_tag=each), Found(images[tagged[each]], each)))

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
    told = {each.image_digest for each in decided.image_ids}
    told |= {each.image_id.image_digest for each in decided.failures if each.image_id}
    told |= {DIGESTS[tagged[each.image_id.image_tag]] for each in decided.failures if each.image_id and each.image_id.image_tag}
    assert {DIGESTS[each if isinstance(each, int) else tagged[each]] for each in wanted if isinstance(each, int) or each in tagged} <= told


# conversion


@pytest.mark.parametrize("docker", [True, False])
def test_a_manifest_that_is_converted_twice_says_the_same(docker: bool) -> None:
    manifest = manifest_of(b"{}", b"one", b"two", docker=docker, annotations={"a": "b"}).encode()
    own, other = (DOCKER_MANIFEST, OCI_MANIFEST) if docker else (OCI_MANIFEST, DOCKER_MANIFEST)
    there = converted(manifest, own, [other])
    assert there is not None
    assert there[1] == other
    back = converted(*there, [own])
    assert back is not None
    assert json.loads(back[0]) == json.loads(manifest)


def test_what_the_other_format_cannot_say_is_not_converted() -> None:
    image = manifest_of(b"{}", b"one").encode()
    assert converted(image, OCI_MANIFEST, [OCI_INDEX, "text/plain"]) is None
    assert converted(manifest_of(b"{}", artifactType="text/x").encode(), OCI_MANIFEST, [DOCKER_MANIFEST]) is None
    chart = image.replace(b"application/vnd.oci.image.config.v1+json", b"application/vnd.cncf.helm.config.v1+json")
    assert converted(chart, OCI_MANIFEST, [DOCKER_MANIFEST]) is None
    assert converted(b'{"manifests": []}', OCI_INDEX, [DOCKER_LIST]) is None


# limits


async def test_a_repository_holds_so_many_images(tmp_path: Path) -> None:
    async with local_cloud(tmp_path) as cloud:
        ctx = context_in(cloud)
        await ctx.call(api.CreateRepositoryRequest(repository_name="app"))
        await upload(ctx, b"{}")
        with ctx.transaction() as tx:
            quotas.grant(ctx, tx, "ecr", "images", 2)
        for number in range(2):
            await put(ctx, number)
        with pytest.raises(api.LimitExceededException, match="The maximum number of images of 2"):
            await put(ctx, 2)
        listed = await ctx.call(api.ListImagesRequest(repository_name="app"))
        assert len(listed.image_ids) == 2
        await put(ctx, 1, "a further tag of one that is there is fine".replace(" ", "-"))


async def test_an_image_has_so_many_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = quotas.Quota("ecr", "tags", "Tags per image", 2, adjustable=False)
    async with local_cloud(tmp_path) as cloud:
        ctx = context_in(cloud)
        await ctx.call(api.CreateRepositoryRequest(repository_name="app"))
        monkeypatch.setitem(quotas._declared, ("ecr", "tags"), few)
        await upload(ctx, b"{}")
        for tag in ("a", "b"):
            await put(ctx, 0, tag)
        with pytest.raises(api.LimitExceededException, match="tags per image"):
            await put(ctx, 0, "c")
        await put(ctx, 1, "a")  # which leaves room
        await put(ctx, 0, "c")


async def upload(ctx: Context, content: bytes) -> None:
    begun = await ctx.call(api.InitiateLayerUploadRequest(repository_name="app"))
    await ctx.call(
        api.UploadLayerPartRequest(
            repository_name="app",
            upload_id=begun.upload_id,
            part_first_byte=0,
            part_last_byte=len(content) - 1,
            layer_part_blob=content,
        )
    )
    await ctx.call(api.CompleteLayerUploadRequest(repository_name="app", upload_id=begun.upload_id, layer_digests=[digest_of(content)]))


async def put(ctx: Context, number: int, tag: str | None = None) -> None:
    manifest = manifest_of(b"{}", annotations={"n": str(number)})
    await ctx.call(api.PutImageRequest(repository_name="app", image_manifest=manifest, image_tag=tag))
