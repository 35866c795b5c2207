"""Images through a boto3 client: put, got, listed, described, deleted."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from image_calls import (
    ALL_TYPES,
    blobs_on_disk,
    digest_of,
    have,
    manifest_of,
    push,
    push_index,
    put,
    refused,
    upload,
)
from upstream_registry import UpstreamRegistry

from cloudstead.engine.images.media_types import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from registry_client import wire_of
from support import CloudThread

ACCOUNT = "220000000001"


@pytest.fixture(scope="module")
def ecr(cloud: CloudThread) -> Any:
    return cloud.client("ecr", key=ACCOUNT)


def ids(*tags: str) -> list[dict[str, str]]:
    return [{"imageDigest": tag} if ":" in tag else {"imageTag": tag} for tag in tags]


def failures(answer: Any) -> list[tuple[str, str]]:
    return [(each["failureCode"], each["failureReason"]) for each in answer["failures"]]


# putting


def test_a_manifest_comes_back_byte_for_byte(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    assert pushed.digest == digest_of(pushed.manifest)
    got = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["images"]
    assert [each["imageManifest"] for each in got] == [pushed.manifest]
    assert got[0]["imageManifestMediaType"] == OCI_MANIFEST
    assert got[0]["imageId"] == {"imageDigest": pushed.digest, "imageTag": "v1"}
    assert got[0]["registryId"] == ACCOUNT
    assert got[0]["repositoryName"] == repository


def test_what_the_api_takes_in_the_registry_hands_out_and_the_other_way_round(cloud: CloudThread, ecr: Any, repository: str) -> None:
    wire = wire_of(cloud, ACCOUNT)
    by_api = push(ecr, repository, "api")
    assert wire.ask("GET", f"{repository}/manifests/api").body.decode() == by_api.manifest
    digest = wire.push(repository, "wire")
    got = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "wire"}])["images"][0]
    assert digest_of(got["imageManifest"]) == digest
    assert [each["imageTags"] for each in ecr.describe_images(repositoryName=repository, imageIds=ids(digest))["imageDetails"]] == [
        ["wire"]
    ]


def test_nothing_new_is_refused(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    put(ecr, repository, pushed.manifest, "v2")
    sentence = refused(
        ecr.put_image, "ImageAlreadyExistsException", repositoryName=repository, imageManifest=pushed.manifest, imageTag="v1"
    )
    assert sentence == (
        f"Image with digest '{pushed.digest}' and tag 'v1' already exists in the repository with name '{repository}' "
        f"in registry with id '{ACCOUNT}'"
    )
    assert "tag 'null'" in refused(ecr.put_image, "ImageAlreadyExistsException", repositoryName=repository, imageManifest=pushed.manifest)


def test_an_immutable_tag_stays_where_it_is(ecr: Any, repository: str) -> None:
    ecr.put_image_tag_mutability(repositoryName=repository, imageTagMutability="IMMUTABLE")
    first = push(ecr, repository, "v1")
    second = push(ecr, repository, seed="other")
    sentence = refused(
        ecr.put_image, "ImageTagAlreadyExistsException", repositoryName=repository, imageManifest=second.manifest, imageTag="v1"
    )
    assert sentence == (
        f"The image tag 'v1' already exists in the '{repository}' repository and cannot be overwritten because the tag is immutable."
    )
    assert ecr.describe_images(repositoryName=repository, imageIds=ids("v1"))["imageDetails"][0]["imageDigest"] == first.digest


def test_a_tag_moves_to_the_image_that_was_put_last(ecr: Any, repository: str) -> None:
    first, second = push(ecr, repository, "v1"), push(ecr, repository, "v1", seed="second")
    listed = ecr.list_images(repositoryName=repository)["imageIds"]
    assert sorted(listed, key=str) == sorted([{"imageDigest": first.digest}, {"imageDigest": second.digest, "imageTag": "v1"}], key=str)


def test_layers_and_images_that_are_not_there_are_named(ecr: Any, repository: str) -> None:
    missing = manifest_of(b"{}", b"never uploaded")
    sentence = refused(ecr.put_image, "LayersNotFoundException", repositoryName=repository, imageManifest=missing)
    assert sentence == (
        f"Layers with digests '[{digest_of(b'{}')}, {digest_of(b'never uploaded')}]' required for pushing image into repository with name "
        f"'{repository}' in the registry with id '{ACCOUNT}' do not exist"
    )
    child = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"nobody"), "size": 6}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]})
    sentence = refused(ecr.put_image, "ReferencedImagesNotFoundException", repositoryName=repository, imageManifest=index)
    assert sentence.startswith(f"Images with digests '[{digest_of(b'nobody')}]' required for pushing image into repository with name")


def test_the_layers_of_another_repository_are_not_this_ones(ecr: Any, repository: str) -> None:
    ecr.create_repository(repositoryName=f"{repository}/other")
    pushed = push(ecr, f"{repository}/other", "v1")
    refused(ecr.put_image, "LayersNotFoundException", repositoryName=repository, imageManifest=pushed.manifest)
    ecr.delete_repository(repositoryName=f"{repository}/other", force=True)


def test_a_digest_that_the_manifest_does_not_have_is_refused(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    wrong = digest_of(b"something else")
    sentence = refused(
        ecr.put_image, "ImageDigestDoesNotMatchException", repositoryName=repository, imageManifest=pushed.manifest, imageDigest=wrong
    )
    assert sentence == (
        f"The image with digest '{wrong}' in repository '{repository}' and registry ID '{ACCOUNT}' does not match the image digest "
        f"that Amazon ECR has calculated."
    )
    good = ecr.put_image(repositoryName=repository, imageManifest=pushed.manifest, imageDigest=pushed.digest, imageTag="v2")["image"]
    assert good["imageId"] == {"imageDigest": pushed.digest, "imageTag": "v2"}


@pytest.mark.parametrize(
    "manifest",
    [
        "no JSON",
        "[]",
        '{"schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+json"}',
        f'{{"schemaVersion": 2, "mediaType": "{OCI_MANIFEST}"}}',
        f'{{"schemaVersion": 2, "mediaType": "{OCI_MANIFEST}", "config": {{"mediaType": "x", "digest": "../../etc", "size": 1}}}}',
        f'{{"schemaVersion": 2, "mediaType": "{OCI_INDEX}", "manifests": [], "layers": []}}',
        '{"schemaVersion": 2, "manifests": []}',
        "[" * 100_000,
        '{"mediaType": 3}',
    ],
)
def test_what_is_no_manifest_is_refused(ecr: Any, repository: str, manifest: str) -> None:
    sentence = refused(ecr.put_image, "InvalidParameterException", repositoryName=repository, imageManifest=manifest)
    assert sentence.startswith("Invalid parameter at 'ImageManifest' failed to satisfy constraint: '")


def test_a_manifest_that_does_not_say_what_it_is_needs_a_media_type(ecr: Any, repository: str) -> None:
    have(ecr, repository, b"{}")
    document = json.loads(manifest_of(b"{}"))
    del document["mediaType"]
    manifest = json.dumps(document)
    refused(ecr.put_image, "InvalidParameterException", repositoryName=repository, imageManifest=manifest)
    done = ecr.put_image(repositoryName=repository, imageManifest=manifest, imageManifestMediaType=OCI_MANIFEST)["image"]
    assert done["imageManifestMediaType"] == OCI_MANIFEST
    refused(
        ecr.put_image, "InvalidParameterException", repositoryName=repository, imageManifest=manifest, imageManifestMediaType="text/plain"
    )


@pytest.mark.parametrize("tag", ["-a", ".a", "a/b", "a b", "ä", "a\n"])
def test_a_tag_must_be_one(ecr: Any, repository: str, tag: str) -> None:
    refused(ecr.put_image, "InvalidParameterException", repositoryName=repository, imageManifest=manifest_of(b"{}"), imageTag=tag)


def test_a_tag_may_have_three_hundred_characters(ecr: Any, repository: str) -> None:
    push(ecr, repository, "t" * 300)
    refused(ecr.put_image, "InvalidParameterException", repositoryName=repository, imageManifest=manifest_of(b"{}"), imageTag="t" * 301)


def test_a_repository_that_is_not_there_has_no_images(ecr: Any) -> None:
    sentence = f"The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'"
    for call, more in (
        (ecr.put_image, {"imageManifest": "{}"}),
        (ecr.batch_get_image, {"imageIds": ids("a")}),
        (ecr.batch_delete_image, {"imageIds": ids("a")}),
        (ecr.list_images, {}),
        (ecr.describe_images, {}),
        (ecr.initiate_layer_upload, {}),
        (ecr.batch_check_layer_availability, {"layerDigests": [digest_of(b"")]}),
        (ecr.list_image_referrers, {"subjectId": {"imageDigest": digest_of(b"")}}),
        (ecr.update_image_storage_class, {"imageId": {"imageTag": "a"}, "targetStorageClass": "ARCHIVE"}),
    ):
        assert refused(call, "RepositoryNotFoundException", repositoryName="nowhere", **more) == sentence


# getting


def test_each_id_that_is_wrong_is_told_why(ecr: Any, repository: str) -> None:
    first, second = push(ecr, repository, "v1"), push(ecr, repository, "v2")
    answer = ecr.batch_get_image(
        repositoryName=repository,
        imageIds=[
            *ids("v1", "unknown", digest_of(b"unknown")),
            {},
            {"imageDigest": "sha256"},
            {"imageTag": "a b"},
            {"imageDigest": second.digest, "imageTag": "v1"},
            {"imageDigest": second.digest, "imageTag": "unknown"},
        ],
    )
    assert [each["imageId"]["imageDigest"] for each in answer["images"]] == [first.digest]
    assert [code for code, _ in failures(answer)] == [
        "ImageNotFound",
        "ImageNotFound",
        "MissingDigestAndTag",
        "InvalidImageDigest",
        "InvalidImageTag",
        "ImageTagDoesNotMatchDigest",
        "ImageNotFound",
    ]
    assert answer["failures"][0] == {
        "imageId": {"imageTag": "unknown"},
        "failureCode": "ImageNotFound",
        "failureReason": "Requested image not found",
    }
    assert answer["failures"][2]["failureReason"] == "Invalid request parameters: both tag and digest cannot be null"


def test_a_hundred_and_one_ids_are_too_many(ecr: Any, repository: str) -> None:
    refused(ecr.batch_get_image, "InvalidParameterException", repositoryName=repository, imageIds=ids(*(f"t{i}" for i in range(101))))
    assert len(ecr.batch_get_image(repositoryName=repository, imageIds=ids(*(f"t{i}" for i in range(100))))["failures"]) == 100


def test_an_image_is_converted_for_who_understands_only_the_other_format(ecr: Any, repository: str) -> None:
    def got(image_id: str, *accepted: str) -> Any:
        return ecr.batch_get_image(repositoryName=repository, imageIds=ids(image_id), acceptedMediaTypes=list(accepted))

    oci, docker = push(ecr, repository, "oci"), push(ecr, repository, "docker", docker=True)
    as_docker = got("oci", DOCKER_MANIFEST)["images"][0]
    assert as_docker["imageManifestMediaType"] == DOCKER_MANIFEST
    told = json.loads(as_docker["imageManifest"])
    assert (told["mediaType"], told["config"]["mediaType"]) == (DOCKER_MANIFEST, DOCKER_CONFIG)
    assert [layer["digest"] for layer in told["layers"]] == [layer["digest"] for layer in json.loads(oci.manifest)["layers"]]
    as_oci = json.loads(got("docker", OCI_MANIFEST)["images"][0]["imageManifest"])
    assert (as_oci["mediaType"], as_oci["config"]["mediaType"]) == (OCI_MANIFEST, OCI_CONFIG)
    assert got("docker", *ALL_TYPES)["images"][0]["imageManifest"] == docker.manifest
    assert failures(got(oci.digest, DOCKER_MANIFEST)) == [("ImageNotFound", "Requested image not found")], "by digest nothing is converted"
    push_index(ecr, repository, "index", oci)
    assert failures(got("index", OCI_MANIFEST)) == [("ImageNotFound", "Requested image not found")]


def test_a_pull_is_noted(ecr: Any, repository: str) -> None:
    push(ecr, repository, "v1")
    assert "lastRecordedPullTime" not in ecr.describe_images(repositoryName=repository)["imageDetails"][0]
    ecr.batch_get_image(repositoryName=repository, imageIds=ids("v1"))
    assert "lastRecordedPullTime" in ecr.describe_images(repositoryName=repository)["imageDetails"][0]


# listing and describing


def test_an_image_is_described(ecr: Any, repository: str) -> None:
    config, layers = b"{}", (b"first layer", b"the second layer")
    have(ecr, repository, config, *layers)
    pushed = put(ecr, repository, manifest_of(config, *layers), "v1")
    put(ecr, repository, pushed.manifest, "v0")
    told = ecr.describe_images(repositoryName=repository)["imageDetails"]
    assert len(told) == 1
    assert told[0].pop("imagePushedAt").tzinfo is not None
    assert told[0] == {
        "registryId": ACCOUNT,
        "repositoryName": repository,
        "imageDigest": pushed.digest,
        "imageTags": ["v0", "v1"],
        "imageSizeInBytes": sum(map(len, layers)),
        "imageManifestMediaType": OCI_MANIFEST,
        "artifactMediaType": OCI_CONFIG,
        "imageStatus": "ACTIVE",
    }


def test_an_index_is_as_large_as_the_largest_of_its_images(ecr: Any, repository: str) -> None:
    small, large = push(ecr, repository, seed="s"), push(ecr, repository, seed="much larger than the other")
    push_index(ecr, repository, "all", small, large)
    told = ecr.describe_images(repositoryName=repository, imageIds=ids("all"))["imageDetails"][0]
    assert told["imageSizeInBytes"] == len("layer of much larger than the other")
    assert "artifactMediaType" not in told


def test_an_unknown_image_is_refused_in_these_words(ecr: Any, repository: str) -> None:
    push(ecr, repository, "v1")
    where = f"does not exist within the repository with name '{repository}' in the registry with id '{ACCOUNT}'"
    sentence = refused(ecr.describe_images, "ImageNotFoundException", repositoryName=repository, imageIds=ids("v1", "gone"))
    assert sentence == f"The image with imageId {{imageDigest:'null', imageTag:'gone'}} {where}"
    unknown = digest_of(b"gone")
    sentence = refused(ecr.describe_images, "ImageNotFoundException", repositoryName=repository, imageIds=ids(unknown))
    assert sentence == f"The image with imageId {{imageDigest:'{unknown}', imageTag:'null'}} {where}"
    refused(ecr.describe_images, "InvalidParameterException", repositoryName=repository, imageIds=[{}])


def test_an_image_that_is_named_by_two_tags_is_described_once(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    put(ecr, repository, pushed.manifest, "v2")
    assert len(ecr.describe_images(repositoryName=repository, imageIds=ids("v1", "v2", pushed.digest))["imageDetails"]) == 1


def test_images_are_filtered_by_whether_they_have_tags(ecr: Any, repository: str) -> None:
    tagged, untagged = push(ecr, repository, "v1"), push(ecr, repository, seed="untagged")
    for status, wanted in (("TAGGED", {tagged.digest}), ("UNTAGGED", {untagged.digest}), ("ANY", {tagged.digest, untagged.digest})):
        described = ecr.describe_images(repositoryName=repository, filter={"tagStatus": status})["imageDetails"]
        assert {each["imageDigest"] for each in described} == wanted
        listed = ecr.list_images(repositoryName=repository, filter={"tagStatus": status})["imageIds"]
        assert {each["imageDigest"] for each in listed} == wanted


def test_pages_show_every_image_once_while_others_come_and_go(ecr: Any, repository: str) -> None:
    have(ecr, repository, b"{}")
    made = [put(ecr, repository, manifest_of(b"{}", annotations={"n": str(i)})) for i in range(7)]
    for i in range(5):
        put(ecr, repository, made[0].manifest, f"tag{i}")
    wanted = sorted([(each.digest, "") for each in made[1:]] + [(made[0].digest, f"tag{i}") for i in range(5)])
    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository, PaginationConfig={"PageSize": 2})
    assert [(each["imageDigest"], each.get("imageTag", "")) for page in pages for each in page["imageIds"]] == wanted
    described = ecr.get_paginator("describe_images").paginate(repositoryName=repository, PaginationConfig={"PageSize": 3})
    assert [each["imageDigest"] for page in described for each in page["imageDetails"]] == sorted(each.digest for each in made)
    page = ecr.list_images(repositoryName=repository, maxResults=3)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": each["imageDigest"]} for each in page["imageIds"]])
    rest = ecr.list_images(repositoryName=repository, nextToken=page["nextToken"])["imageIds"]
    seen = {each["imageDigest"] for each in page["imageIds"]}
    assert [(each["imageDigest"], each.get("imageTag", "")) for each in rest] == [each for each in wanted if each[0] not in seen]


def test_a_token_of_somebody_elses_page_is_refused(ecr: Any, repository: str) -> None:
    for i in range(3):
        push(ecr, repository, f"v{i}")
    token = ecr.list_images(repositoryName=repository, maxResults=1)["nextToken"]
    refused(ecr.describe_images, "InvalidParameterException", repositoryName=repository, nextToken=token)
    refused(ecr.list_images, "InvalidParameterException", repositoryName=repository, nextToken="no token")
    refused(ecr.describe_images, "InvalidParameterException", repositoryName=repository, imageIds=ids("v1"), maxResults=1)


def test_referrers_are_listed_by_what_they_are(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    subject = {"mediaType": OCI_MANIFEST, "digest": pushed.digest, "size": len(pushed.manifest)}
    have(ecr, repository, b"{}")
    kinds = ["text/a", "text/b", "text/b"]
    made = [
        put(ecr, repository, manifest_of(b"{}", subject=subject, artifactType=kind, annotations={"n": str(i)}))
        for i, kind in enumerate(kinds)
    ]
    told = ecr.list_image_referrers(repositoryName=repository, subjectId={"imageDigest": pushed.digest})["referrers"]
    assert {each["digest"] for each in told} == {each.digest for each in made}
    first = next(each for each in told if each["digest"] == made[0].digest)
    assert first == {
        "digest": made[0].digest,
        "mediaType": OCI_MANIFEST,
        "artifactType": "text/a",
        "size": len(made[0].manifest),
        "annotations": {"n": "0"},
        "artifactStatus": "ACTIVE",
    }
    only = ecr.list_image_referrers(
        repositoryName=repository, subjectId={"imageDigest": pushed.digest}, filter={"artifactTypes": ["text/b"]}, maxResults=1
    )
    more = ecr.list_image_referrers(
        repositoryName=repository,
        subjectId={"imageDigest": pushed.digest},
        filter={"artifactTypes": ["text/b"]},
        nextToken=only["nextToken"],
    )
    assert {each["digest"] for each in only["referrers"] + more["referrers"]} == {made[1].digest, made[2].digest}
    assert ecr.list_image_referrers(repositoryName=repository, subjectId={"imageDigest": digest_of(b"nobody")})["referrers"] == []
    refused(ecr.list_image_referrers, "InvalidParameterException", repositoryName=repository, subjectId={"imageDigest": "latest"})
    told = ecr.describe_images(repositoryName=repository, imageIds=ids(made[0].digest))["imageDetails"][0]
    assert (told["subjectManifestDigest"], told["artifactMediaType"]) == (pushed.digest, "text/a")


# deleting


def test_a_tag_goes_alone_until_it_is_the_last(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    put(ecr, repository, pushed.manifest, "v2")
    gone = ecr.batch_delete_image(repositoryName=repository, imageIds=ids("v1"))
    assert (gone["imageIds"], gone["failures"]) == ([{"imageDigest": pushed.digest, "imageTag": "v1"}], [])
    assert ecr.list_images(repositoryName=repository)["imageIds"] == [{"imageDigest": pushed.digest, "imageTag": "v2"}]
    ecr.batch_delete_image(repositoryName=repository, imageIds=ids("v2"))
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []


def test_a_digest_takes_the_image_with_all_its_tags(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    put(ecr, repository, pushed.manifest, "v2")
    bare = push(ecr, repository, seed="bare")
    gone = ecr.batch_delete_image(repositoryName=repository, imageIds=ids(pushed.digest, bare.digest))
    assert gone["imageIds"] == [
        {"imageDigest": pushed.digest, "imageTag": "v1"},
        {"imageDigest": pushed.digest, "imageTag": "v2"},
        {"imageDigest": bare.digest},
    ]
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []


def test_an_image_of_an_index_stays_as_long_as_the_index(ecr: Any, repository: str) -> None:
    child = push(ecr, repository, "child")
    index = push_index(ecr, repository, "all", child)
    for named in ("child", child.digest):
        answer = ecr.batch_delete_image(repositoryName=repository, imageIds=ids(named))
        assert answer["imageIds"] == []
        assert failures(answer) == [("ImageReferencedByManifestList", f"Requested image referenced by manifest list: [{index.digest}]")]
    assert len(ecr.list_images(repositoryName=repository)["imageIds"]) == 2
    gone = ecr.batch_delete_image(repositoryName=repository, imageIds=ids(child.digest, index.digest))
    assert gone["failures"] == []
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []


def test_what_cannot_be_deleted_is_told_with_what_was(ecr: Any, repository: str) -> None:
    first, second = push(ecr, repository, "v1"), push(ecr, repository, "v2")
    answer = ecr.batch_delete_image(
        repositoryName=repository, imageIds=[*ids("gone", "v1"), {}, {"imageDigest": second.digest, "imageTag": "v1"}]
    )
    assert answer["imageIds"] == [{"imageDigest": first.digest, "imageTag": "v1"}]
    assert [code for code, _ in failures(answer)] == ["ImageNotFound", "MissingDigestAndTag", "ImageTagDoesNotMatchDigest"]
    assert ecr.list_images(repositoryName=repository)["imageIds"] == [{"imageDigest": second.digest, "imageTag": "v2"}]


def test_what_no_image_needs_is_off_the_disk_when_the_delete_returns(cloud: CloudThread, ecr: Any, repository: str) -> None:
    shared, own, config = b"needed by both", b"needed by one", b'{"for": "disk"}'
    for content in (shared, own, config):
        upload(ecr, repository, content)
    keeps = put(ecr, repository, manifest_of(config, shared), "keeps")
    goes = put(ecr, repository, manifest_of(config, shared, own), "goes")
    assert blobs_on_disk(cloud.settings.data) >= {digest_of(own), goes.digest, digest_of(shared)}
    ecr.batch_delete_image(repositoryName=repository, imageIds=ids("goes"))
    on_disk = blobs_on_disk(cloud.settings.data)
    assert not on_disk & {digest_of(own), goes.digest}
    assert on_disk >= {digest_of(shared), digest_of(config), keeps.digest}
    ecr.batch_delete_image(repositoryName=repository, imageIds=ids(keeps.digest))
    assert not blobs_on_disk(cloud.settings.data) & {digest_of(shared), digest_of(config), keeps.digest}


def test_a_layer_that_a_push_was_told_of_outlives_the_image_it_came_with(ecr: Any, repository: str) -> None:
    first = push(ecr, repository, "v1")
    layer = json.loads(first.manifest)["layers"][0]["digest"]
    ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[layer])
    ecr.batch_delete_image(repositoryName=repository, imageIds=ids("v1"))
    found = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[layer])["layers"][0]
    assert found["layerAvailability"] == "AVAILABLE"


def test_other_accounts_have_other_images(cloud: CloudThread, ecr: Any, repository: str) -> None:
    push(ecr, repository, "v1")
    stranger = cloud.client("ecr", key="220000000002")
    refused(stranger.batch_get_image, "RepositoryNotFoundException", repositoryName=repository, imageIds=ids("v1"))
    refused(stranger.batch_get_image, "AccessDeniedException", registryId=ACCOUNT, repositoryName=repository, imageIds=ids("v1"))


def test_an_image_that_is_only_upstream_is_had_by_the_api_too(cloud: CloudThread, ecr: Any) -> None:
    with UpstreamRegistry() as upstream:
        digest = upstream.image("library/app", "one", "v1")
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="hub", upstreamRegistryUrl=f"http://{upstream.domain}")
        refused(ecr.batch_get_image, "RepositoryNotFoundException", repositoryName="hub/library/none", imageIds=ids("v1"))
        got = ecr.batch_get_image(repositoryName="hub/library/app", imageIds=ids("v1", "none"))
        assert [each["imageId"]["imageDigest"] for each in got["images"]] == [digest]
        assert [code for code, _ in failures(got)] == ["ImageNotFound"]
        upstream.broken = True
        got = ecr.batch_get_image(repositoryName="hub/library/app", imageIds=[*ids("v2", "v1"), {"imageDigest": "md5:ab"}])
        assert [code for code, _ in failures(got)] == ["UpstreamUnavailable", "ImageNotFound"]
        assert [each["imageId"]["imageDigest"] for each in got["images"]] == [digest]
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="hub")


def test_a_digest_of_an_algorithm_that_nobody_has_matches_nothing(ecr: Any, repository: str) -> None:
    have(ecr, repository, b"{}")
    arguments = {"repositoryName": repository, "imageManifest": manifest_of(b"{}")}
    refused(ecr.put_image, "ImageDigestDoesNotMatchException", **arguments, imageDigest="md5:" + "0" * 32)
    refused(ecr.put_image, "ImageDigestDoesNotMatchException", **arguments, imageDigest="sha256:12")
    refused(ecr.put_image, "InvalidParameterException", **arguments, imageDigest="latest")


def test_many_puts_at_once_each_have_their_image(cloud: CloudThread, ecr: Any, repository: str) -> None:
    have(ecr, repository, b"{}")
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: put(ecr, repository, manifest_of(b"{}", annotations={"n": str(n)}), f"t{n % 8}"), range(40)))
    listed = ecr.list_images(repositoryName=repository)["imageIds"]
    assert {each["imageDigest"] for each in listed} == {each.digest for each in made}
    assert {each["imageTag"] for each in listed if "imageTag" in each} == {f"t{n}" for n in range(8)}
    with ThreadPoolExecutor(16) as pool:
        gone = list(pool.map(lambda each: ecr.batch_delete_image(repositoryName=repository, imageIds=ids(each.digest)), [*made, *made]))
    assert sorted(len(answer["failures"]) for answer in gone) == [0] * 40 + [1] * 40
    assert not blobs_on_disk(cloud.settings.data) & {each.digest for each in made}
