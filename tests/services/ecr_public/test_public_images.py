"""Images of public repositories by the API: layers in parts, manifests, tags, deletion."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from registry_client import digest_of, image
from support import ACCOUNT

MIB = 1 << 20


@pytest.fixture
def name(public: Any, request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    found = str(request.node.name).partition("[")[0].removeprefix("test_").replace("_", "-")[:60].rstrip("-")
    public.create_repository(repositoryName=found)
    return found


def refused(call: Any, **parameters: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer: dict[str, Any] = caught.value.response
    return answer | {"Code": answer["Error"]["Code"]}


def upload(public: Any, name: str, *parts: bytes) -> str:
    started = public.initiate_layer_upload(repositoryName=name)["uploadId"]
    at = 0
    for part in parts:
        told = public.upload_layer_part(
            repositoryName=name, uploadId=started, partFirstByte=at, partLastByte=at + len(part) - 1, layerPartBlob=part
        )
        at += len(part)
        assert told["lastByteReceived"] == at - 1
    whole = digest_of(b"".join(parts))
    assert public.complete_layer_upload(repositoryName=name, uploadId=started, layerDigests=[whole])["layerDigest"] == whole
    return whole


def push(public: Any, name: str, *tags: str, layer: bytes | None = None) -> tuple[str, bytes]:
    layer = os.urandom(100) if layer is None else layer
    config = b"{" + os.urandom(8).hex().encode() + b"}"
    upload(public, name, layer)
    upload(public, name, config)
    manifest = image(config, layer)
    for tag in tags or (None,):
        put = public.put_image(repositoryName=name, imageManifest=manifest.decode(), **({} if tag is None else {"imageTag": tag}))["image"]
        assert put["imageId"] == {"imageDigest": digest_of(manifest)} | ({} if tag is None else {"imageTag": tag})
        assert put["imageManifest"] == manifest.decode()
        assert put["registryId"] == ACCOUNT
    return digest_of(manifest), manifest


def test_an_image_goes_in_by_parts_and_is_described(public: Any, name: str) -> None:
    layer = os.urandom(5 * MIB) + os.urandom(10)
    absent = public.batch_check_layer_availability(repositoryName=name, layerDigests=[digest_of(layer), "nonsense"])
    assert absent["layers"] == [{"layerDigest": digest_of(layer), "layerAvailability": "UNAVAILABLE"}]
    assert [failure["failureCode"] for failure in absent["failures"]] == ["InvalidLayerDigest"]
    upload(public, name, layer[: 5 * MIB], layer[5 * MIB :])
    present = public.batch_check_layer_availability(repositoryName=name, layerDigests=[digest_of(layer)])["layers"]
    assert present == [{"layerDigest": digest_of(layer), "layerAvailability": "AVAILABLE", "layerSize": len(layer)}]
    upload(public, name, b"{}")
    manifest = image(b"{}", layer)
    public.put_image(repositoryName=name, imageManifest=manifest.decode(), imageTag="one")
    [described] = public.describe_images(repositoryName=name)["imageDetails"]
    assert described["imageDigest"] == digest_of(manifest)
    assert described["imageTags"] == ["one"]
    assert described["imageManifestMediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert described["artifactMediaType"] == "application/vnd.oci.image.config.v1+json"
    assert described["imageSizeInBytes"] == len(layer)
    present = public.batch_check_layer_availability(repositoryName=name, layerDigests=[digest_of(layer)])["layers"]
    assert present[0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar"


def test_a_part_must_go_on_where_the_upload_stands(public: Any, name: str) -> None:
    started = public.initiate_layer_upload(repositoryName=name)["uploadId"]
    about = {"repositoryName": name, "uploadId": started}
    assert refused(public.complete_layer_upload, **about, layerDigests=[digest_of(b"")])["Code"] == "EmptyUploadException"
    public.upload_layer_part(**about, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    for first, last in ((0, 2), (4, 6), (3, 9)):
        answer = refused(public.upload_layer_part, **about, partFirstByte=first, partLastByte=last, layerPartBlob=b"abc")
        assert answer["Code"] == "InvalidLayerPartException"
        assert answer["lastValidByteReceived"] == 2
        assert answer["uploadId"] == started
    public.upload_layer_part(**about, partFirstByte=3, partLastByte=3, layerPartBlob=b"d")
    assert refused(public.complete_layer_upload, **about, layerDigests=[digest_of(b"abcd")])["Code"] == "LayerPartTooSmallException"


def test_a_layer_must_be_what_its_digest_says_and_new(public: Any, name: str) -> None:
    upload(public, name, b"there")
    for content, said, code in ((b"abc", b"abd", "InvalidLayerException"), (b"there", b"there", "LayerAlreadyExistsException")):
        started = public.initiate_layer_upload(repositoryName=name)["uploadId"]
        about = {"repositoryName": name, "uploadId": started}
        public.upload_layer_part(**about, partFirstByte=0, partLastByte=len(content) - 1, layerPartBlob=content)
        assert refused(public.complete_layer_upload, **about, layerDigests=["md5:abcd"])["Code"] == "InvalidParameterException"
        assert refused(public.complete_layer_upload, **about, layerDigests=[digest_of(said)])["Code"] == code
        assert refused(public.complete_layer_upload, **about, layerDigests=[digest_of(said)])["Code"] == "UploadNotFoundException"


def test_an_upload_belongs_to_its_repository(public: Any, name: str) -> None:
    public.create_repository(repositoryName=f"{name}/other")
    started = public.initiate_layer_upload(repositoryName=name)["uploadId"]
    about = {"repositoryName": f"{name}/other", "uploadId": started, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": b"x"}
    assert refused(public.upload_layer_part, **about)["Code"] == "UploadNotFoundException"


def test_what_a_manifest_speaks_of_must_be_there(public: Any, name: str) -> None:
    answer = refused(public.put_image, repositoryName=name, imageManifest=image(b"{1}", b"nowhere").decode())
    assert answer["Code"] == "LayersNotFoundException"
    assert answer["Error"]["Message"] == (
        f"Layers with digests '[{digest_of(b'{1}')}, {digest_of(b'nowhere')}]' required for pushing image into repository with name '{name}' "
        f"in the registry with id '{ACCOUNT}' do not exist"
    )
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest_of(b"x"), "size": 1}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [child]}
    assert refused(public.put_image, repositoryName=name, imageManifest=json.dumps(index))["Code"] == "ReferencedImagesNotFoundException"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"imageManifest": "nonsense"}, "InvalidParameterException"),
        ({"imageTag": "no tag"}, "InvalidParameterException"),
        ({"imageDigest": "md5:abcd"}, "InvalidParameterException"),
        ({"imageDigest": "nonsense"}, "InvalidParameterException"),
        ({"imageDigest": digest_of(b"another")}, "ImageDigestDoesNotMatchException"),
        ({"imageManifestMediaType": "text/plain"}, "InvalidParameterException"),
    ],
)
def test_an_image_that_cannot_be_is_refused(public: Any, members: dict[str, str], code: str) -> None:
    name = "an-image-that-cannot-be"
    public.create_repository(repositoryName=name)
    try:
        _, manifest = push(public, name, "there")
        assert refused(public.put_image, **({"repositoryName": name, "imageManifest": manifest.decode()} | members))["Code"] == code
    finally:
        public.delete_repository(repositoryName=name, force=True)


def test_an_image_is_put_once_but_its_tags_move(public: Any, name: str) -> None:
    first, manifest = push(public, name, "latest")
    answer = refused(public.put_image, repositoryName=name, imageManifest=manifest.decode(), imageTag="latest")
    assert answer["Code"] == "ImageAlreadyExistsException"
    assert answer["Error"]["Message"] == (
        f"Image with digest '{first}' and tag 'latest' already exists in the repository with name '{name}' in registry with id '{ACCOUNT}'"
    )
    second, _ = push(public, name, "latest")
    tags = public.describe_image_tags(repositoryName=name)["imageTagDetails"]
    assert [(one["imageTag"], one["imageDetail"]["imageDigest"]) for one in tags] == [("latest", second)]
    assert {one["imageDigest"]: one.get("imageTags") for one in public.describe_images(repositoryName=name)["imageDetails"]} == {
        first: None,
        second: ["latest"],
    }


def test_images_and_tags_come_by_the_page(public: Any, name: str) -> None:
    pushed = {push(public, name, f"t{number}", f"u{number}")[0] for number in range(3)}
    pages = list(public.get_paginator("describe_images").paginate(repositoryName=name, PaginationConfig={"PageSize": 2}))
    assert [len(page["imageDetails"]) for page in pages] == [2, 1]
    assert {one["imageDigest"] for page in pages for one in page["imageDetails"]} == pushed
    pages = list(public.get_paginator("describe_image_tags").paginate(repositoryName=name, PaginationConfig={"PageSize": 4}))
    assert [one["imageTag"] for page in pages for one in page["imageTagDetails"]] == ["t0", "t1", "t2", "u0", "u1", "u2"]


def test_one_image_is_described_by_tag_or_digest(public: Any, name: str) -> None:
    made, _ = push(public, name, "a", "b")
    asked = [{"imageTag": "a"}, {"imageDigest": made}, {"imageTag": "b", "imageDigest": made}]
    [found] = public.describe_images(repositoryName=name, imageIds=asked)["imageDetails"]
    assert (found["imageDigest"], found["imageTags"]) == (made, ["a", "b"])
    answer = refused(public.describe_images, repositoryName=name, imageIds=[{"imageTag": "c"}])
    assert answer["Code"] == "ImageNotFoundException"
    assert answer["Error"]["Message"] == (
        f"The image with imageId {{imageDigest:'null', imageTag:'c'}} does not exist within the repository with name '{name}' "
        f"in the registry with id '{ACCOUNT}'"
    )


def test_tags_go_one_by_one_and_the_last_takes_the_image_along(public: Any, name: str) -> None:
    made, _ = push(public, name, "a", "b")
    deleted = public.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "a"}])
    assert deleted["imageIds"] == [{"imageDigest": made, "imageTag": "a"}]
    assert public.describe_images(repositoryName=name)["imageDetails"][0]["imageTags"] == ["b"]
    assert public.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "b"}])["failures"] == []
    assert public.describe_images(repositoryName=name)["imageDetails"] == []


def test_each_failure_of_a_deletion_is_told_and_the_rest_is_done(public: Any, name: str) -> None:
    made, _ = push(public, name, "a", "b")
    other, _ = push(public, name, "c")
    wanted = [
        {"imageTag": "nowhere"},
        {"imageDigest": "nonsense"},
        {},
        {"imageDigest": made, "imageTag": "c"},
        {"imageTag": "not a tag"},
        {"imageDigest": made},
    ]
    answer = public.batch_delete_image(repositoryName=name, imageIds=wanted)
    assert [(failure["imageId"], failure["failureCode"]) for failure in answer["failures"]] == list(
        zip(
            wanted,
            ["ImageNotFound", "InvalidImageDigest", "MissingDigestAndTag", "ImageTagDoesNotMatchDigest", "InvalidImageTag"],
            strict=False,
        )
    )
    assert answer["imageIds"] == [{"imageDigest": made, "imageTag": "a"}, {"imageDigest": made, "imageTag": "b"}]
    assert [one["imageDigest"] for one in public.describe_images(repositoryName=name)["imageDetails"]] == [other]


def test_an_image_of_an_index_stays_unless_the_index_goes_too(public: Any, name: str) -> None:
    made, manifest = push(public, name)
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": made, "size": len(manifest)}
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [child]})
    parent = public.put_image(repositoryName=name, imageManifest=index, imageTag="all")["image"]["imageId"]["imageDigest"]
    [failure] = public.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": made}])["failures"]
    assert failure["failureCode"] == "ImageReferencedByManifestList"
    assert failure["failureReason"] == f"Requested image referenced by manifest list: [{parent}]"
    sizes = {one["imageDigest"]: one["imageSizeInBytes"] for one in public.describe_images(repositoryName=name)["imageDetails"]}
    assert sizes[parent] == sizes[made]
    answer = public.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": made}, {"imageTag": "all"}])
    assert answer["failures"] == []
    assert public.describe_images(repositoryName=name)["imageDetails"] == []


def test_a_repository_with_images_is_deleted_by_force(public: Any, name: str) -> None:
    push(public, name, "a")
    answer = refused(public.delete_repository, repositoryName=name)
    assert answer["Code"] == "RepositoryNotEmptyException"
    assert answer["Error"]["Message"] == (
        f"The repository with name '{name}' in registry with id '{ACCOUNT}' cannot be deleted because it still contains images"
    )
    public.delete_repository(repositoryName=name, force=True)
    public.create_repository(repositoryName=name)
    assert public.describe_images(repositoryName=name)["imageDetails"] == []
