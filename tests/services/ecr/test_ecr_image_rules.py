"""Decisions about images: how a manifest is converted, how many there may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from image_calls import digest_of, manifest_of

from cloudstead.engine.images.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.services.ecr import api
from cloudstead.services.ecr.conversion import converted
from support import context_in, local_cloud

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
