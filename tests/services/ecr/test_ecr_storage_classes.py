"""Images that go to the archive and come back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from image_calls import digest_of, push, push_index, put, refused

from cloudstead.services.ecr.restoring import RESTORE_SECONDS
from registry_client import wire_of
from support import CloudThread, Daemon

ACCOUNT = "220000000004"


@pytest.fixture(scope="module")
def ecr(cloud: CloudThread) -> Any:
    return cloud.client("ecr", key=ACCOUNT)


def change(ecr: Any, repository: str, tag: str, target: str) -> str:
    done = ecr.update_image_storage_class(repositoryName=repository, imageId={"imageTag": tag}, targetStorageClass=target)
    assert done["imageId"]["imageTag"] == tag
    return str(done["imageStatus"])


def described(ecr: Any, repository: str, tag: str) -> Any:
    return ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"][0]


def wait_until_active(ecr: Any, repository: str, tag: str) -> Any:
    deadline = time.monotonic() + 10 * RESTORE_SECONDS
    while (told := described(ecr, repository, tag))["imageStatus"] != "ACTIVE":
        assert told["imageStatus"] == "ACTIVATING"
        assert time.monotonic() < deadline, "it was not restored"
        time.sleep(0.1)
    return told


def test_an_archived_image_cannot_be_pulled_until_it_is_restored(cloud: CloudThread, ecr: Any, repository: str) -> None:
    wire = wire_of(cloud, ACCOUNT)
    push(ecr, repository, "v1")
    assert change(ecr, repository, "v1", "ARCHIVE") == "ARCHIVED"
    failure = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["failures"][0]
    assert failure["failureCode"] == "ImageInaccessible"
    assert wire.ask("GET", f"{repository}/manifests/v1").status == 404
    layer = {"repositoryName": repository, "layerDigest": digest_of(b"layer of v1")}
    refused(ecr.get_download_url_for_layer, "LayerInaccessibleException", **layer)
    asked = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[layer["layerDigest"]])["layers"][0]
    assert asked["layerAvailability"] == "ARCHIVED"
    assert "lastArchivedAt" in described(ecr, repository, "v1")
    assert change(ecr, repository, "v1", "STANDARD") == "ACTIVATING"
    assert wire.ask("GET", f"{repository}/manifests/v1").status == 404
    assert change(ecr, repository, "v1", "STANDARD") in ("ACTIVATING", "ACTIVE")
    assert "lastActivatedAt" in wait_until_active(ecr, repository, "v1")
    assert wire.ask("GET", f"{repository}/manifests/v1").status == 200
    assert ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["failures"] == []


def test_lists_leave_out_what_is_archived_unless_they_are_asked_for_it(ecr: Any, repository: str) -> None:
    active, archived = push(ecr, repository, "active"), push(ecr, repository, "archived")
    change(ecr, repository, "archived", "ARCHIVE")
    for filters, wanted in (
        ({}, {active.digest}),
        ({"imageStatus": "ACTIVE"}, {active.digest}),
        ({"imageStatus": "ARCHIVED"}, {archived.digest}),
        ({"imageStatus": "ACTIVATING"}, set()),
        ({"imageStatus": "ANY", "tagStatus": "TAGGED"}, {active.digest, archived.digest}),
    ):
        listed = ecr.list_images(repositoryName=repository, filter=filters)["imageIds"]
        assert {each["imageDigest"] for each in listed} == wanted
        told = ecr.describe_images(repositoryName=repository, filter=filters)["imageDetails"]
        assert {each["imageDigest"] for each in told} == wanted


def test_a_push_brings_an_image_back_at_once(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    change(ecr, repository, "v1", "ARCHIVE")
    put(ecr, repository, pushed.manifest, "v1")
    told = described(ecr, repository, "v1")
    assert (told["imageStatus"], "lastActivatedAt" in told) == ("ACTIVE", True)


def test_an_index_comes_back_with_its_images(ecr: Any, repository: str) -> None:
    child = push(ecr, repository, "child")
    index = push_index(ecr, repository, "all", child)
    sentence = refused(
        ecr.update_image_storage_class,
        "ImageStorageClassUpdateNotSupportedException",
        repositoryName=repository,
        imageId={"imageTag": "child"},
        targetStorageClass="ARCHIVE",
    )
    assert index.digest in sentence
    change(ecr, repository, "all", "ARCHIVE")
    change(ecr, repository, "child", "ARCHIVE")
    change(ecr, repository, "all", "STANDARD")
    wait_until_active(ecr, repository, "all")
    wait_until_active(ecr, repository, "child")


def test_what_is_being_restored_cannot_be_archived(ecr: Any, repository: str) -> None:
    push(ecr, repository, "v1")
    change(ecr, repository, "v1", "ARCHIVE")
    assert change(ecr, repository, "v1", "ARCHIVE") == "ARCHIVED"
    change(ecr, repository, "v1", "STANDARD")
    arguments = {"repositoryName": repository, "targetStorageClass": "ARCHIVE"}
    refused(ecr.update_image_storage_class, "ImageStorageClassUpdateNotSupportedException", **arguments, imageId={"imageTag": "v1"})
    refused(ecr.update_image_storage_class, "ImageNotFoundException", **arguments, imageId={"imageTag": "gone"})
    refused(ecr.update_image_storage_class, "InvalidParameterException", **arguments, imageId={})
    wait_until_active(ecr, repository, "v1")


def test_a_restoration_goes_on_after_a_crash(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        ecr = daemon.client("ecr")
        ecr.create_repository(repositoryName="app")
        push(ecr, "app", "v1")
        change(ecr, "app", "v1", "ARCHIVE")
        change(ecr, "app", "v1", "STANDARD")
        daemon.kill()
        daemon.start()
        wait_until_active(daemon.client("ecr"), "app", "v1")
