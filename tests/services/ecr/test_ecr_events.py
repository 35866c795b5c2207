"""What EventBridge is told of images, whichever way they came and went."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from image_calls import have, manifest_of, push, put

from cloudstead.engine.images.media_types import OCI_CONFIG, OCI_MANIFEST
from cloudstead.services.ecr import events
from cloudstead.services.ecr.model import RepositoryRow
from cloudstead.services.ecr.restoring import RESTORE_SECONDS
from registry_client import wire_of
from support import REGION, CloudThread

ACCOUNT = "220000000005"
ROW = RepositoryRow(account=ACCOUNT, region=REGION, name="app", created=0.0)
ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/app"


class Heard:
    """The events of one repository."""

    def __init__(self, cloud: CloudThread, repository: str) -> None:
        self.repository = repository
        self.told: list[Any] = []
        self._cloud = cloud
        self._bus = cloud.running.cloud.bus
        self._end = self._subscribe()

    def _subscribe(self) -> Any:
        async def subscribe() -> Any:
            return self._bus.subscribe(f"test {self.repository}", self._hear)

        return self._cloud.do(subscribe)

    def _hear(self, event: Any) -> None:
        if event.source == "aws.ecr" and event.detail["repository-name"] == self.repository:
            self.told.append(event)

    def end(self) -> None:
        self._cloud.loop.call_soon_threadsafe(self._end)

    def details(self, *names: str) -> list[tuple[Any, ...]]:
        """These members of what was told since the last time, in order."""
        self._cloud.do(self._bus.idle)
        told, self.told = self.told, []
        return [(event.detail_type, *(event.detail.get(name) for name in names)) for event in told]


@pytest.fixture(scope="module")
def ecr(cloud: CloudThread) -> Any:
    return cloud.client("ecr", key=ACCOUNT)


@pytest.fixture
def heard(cloud: CloudThread, ecr: Any, request: pytest.FixtureRequest) -> Iterator[Heard]:
    name = request.node.name.replace("test_", "").lower()
    ecr.create_repository(repositoryName=name)
    heard = Heard(cloud, name)
    yield heard
    heard.end()
    ecr.delete_repository(repositoryName=name, force=True)


def test_a_push_is_told_with_what_was_pushed(ecr: Any, heard: Heard) -> None:
    pushed = push(ecr, heard.repository, "v1")
    heard._cloud.do(heard._bus.idle)
    event = heard.told[-1]
    assert (event.account, event.region, event.resources) == (ACCOUNT, REGION, ())
    assert event.detail == {
        "result": "SUCCESS",
        "repository-name": heard.repository,
        "image-digest": pushed.digest,
        "action-type": "PUSH",
        "image-tag": "v1",
        "manifest-media-type": OCI_MANIFEST,
        "artifact-media-type": OCI_CONFIG,
    }


def test_each_way_of_pushing_and_deleting_is_told_alike(cloud: CloudThread, ecr: Any, heard: Heard) -> None:
    wire, members = wire_of(cloud, ACCOUNT), ("action-type", "image-digest", "image-tag")
    by_api = push(ecr, heard.repository, "api")
    by_wire = wire.push(heard.repository, "wire")
    put(ecr, heard.repository, by_api.manifest, "second")
    bare = push(ecr, heard.repository, seed="bare")
    assert heard.details(*members) == [
        ("ECR Image Action", "PUSH", by_api.digest, "api"),
        ("ECR Image Action", "PUSH", by_wire, "wire"),
        ("ECR Image Action", "PUSH", by_api.digest, "second"),
        ("ECR Image Action", "PUSH", bare.digest, None),
    ]
    assert wire.ask("DELETE", f"{heard.repository}/manifests/{by_wire}").status == 202
    for image_id in ({"imageTag": "api"}, {"imageTag": "second"}, {"imageDigest": bare.digest}):
        ecr.batch_delete_image(repositoryName=heard.repository, imageIds=[image_id])
    assert heard.details(*members) == [
        ("ECR Image Action", "DELETE", by_wire, "wire"),
        ("ECR Image Action", "DELETE", by_api.digest, "api"),
        ("ECR Image Action", "DELETE", by_api.digest, "second"),
        ("ECR Image Action", "DELETE", bare.digest, None),
    ]


def test_a_deleted_image_is_told_with_each_of_its_tags(ecr: Any, heard: Heard) -> None:
    pushed = push(ecr, heard.repository, "v1")
    put(ecr, heard.repository, pushed.manifest, "v2")
    heard.details()
    ecr.batch_delete_image(repositoryName=heard.repository, imageIds=[{"imageDigest": pushed.digest}])
    assert heard.details("action-type", "image-tag") == [("ECR Image Action", "DELETE", "v1"), ("ECR Image Action", "DELETE", "v2")]


def test_what_refers_to_an_image_has_events_of_its_own_kind(ecr: Any, heard: Heard) -> None:
    have(ecr, heard.repository, b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 3}
    put(ecr, heard.repository, manifest_of(b"{}", subject=subject, artifactType="text/signature"))
    assert heard.details("action-type", "artifact-media-type") == [("ECR Referrer Action", "PUSH", "text/signature")]


def test_what_is_refused_is_not_told(ecr: Any, heard: Heard) -> None:
    pushed = push(ecr, heard.repository, "v1")
    heard.details()
    with pytest.raises(ecr.exceptions.ImageAlreadyExistsException):
        put(ecr, heard.repository, pushed.manifest, "v1")
    with pytest.raises(ecr.exceptions.LayersNotFoundException):
        put(ecr, heard.repository, manifest_of(b"{}", b"nowhere"), "v1")
    ecr.batch_delete_image(repositoryName=heard.repository, imageIds=[{"imageTag": "v2"}])
    assert heard.details() == []


def test_the_archive_tells_what_goes_in_and_comes_out(ecr: Any, heard: Heard) -> None:
    pushed = push(ecr, heard.repository, "v1")
    members = ("action-type", "target-storage-class")

    def change(target: str) -> None:
        ecr.update_image_storage_class(repositoryName=heard.repository, imageId={"imageTag": "v1"}, targetStorageClass=target)

    heard.details()
    change("ARCHIVE")
    change("ARCHIVE")
    assert heard.details(*members) == [("ECR Image Action", "UPDATE_STORAGE_CLASS", "ARCHIVE")]
    put(ecr, heard.repository, pushed.manifest, "v1")
    assert heard.details(*members) == [("ECR Image Action", "UPDATE_STORAGE_CLASS", "STANDARD")]
    change("ARCHIVE")
    change("STANDARD")
    heard.details()
    deadline = time.monotonic() + 10 * RESTORE_SECONDS
    while not heard.told and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [event.detail["target-storage-class"] for event in heard.told] == ["STANDARD"]
    assert heard.told[0].detail["last-activated-at"].endswith("Z")


def test_a_rule_brings_a_push_to_a_log_group(cloud: CloudThread, ecr: Any, heard: Heard) -> None:
    logs, bridge = cloud.client("logs", key=ACCOUNT), cloud.client("events", key=ACCOUNT)
    group = "/aws/events/pushes"
    logs.create_log_group(logGroupName=group)
    pattern = {"source": ["aws.ecr"], "detail-type": ["ECR Image Action"], "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"]}}
    bridge.put_rule(Name="pushes", EventPattern=json.dumps(pattern))
    bridge.put_targets(Rule="pushes", Targets=[{"Id": "log", "Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"}])
    push(ecr, heard.repository, "v1")
    deadline = time.monotonic() + 20
    found: list[Any] = []
    while not found and time.monotonic() < deadline:
        found = logs.filter_log_events(logGroupName=group)["events"]
        time.sleep(0.05)
    told = json.loads(found[0]["message"])
    assert (told["detail-type"], told["source"], told["account"]) == ("ECR Image Action", "aws.ecr", ACCOUNT)
    assert told["detail"]["image-tag"] == "v1"


def test_the_other_events_have_the_forms_of_awss_page() -> None:
    scan = events.image_scan(ROW, "sha256:1", 0.0, status="COMPLETE", counts={"CRITICAL": 10, "LOW": 0}, tags=["v1"])
    assert (scan.detail_type, scan.resources) == ("ECR Image Scan", (ARN,))
    assert scan.detail == {
        "scan-status": "COMPLETE",
        "repository-name": "app",
        "finding-severity-counts": {"CRITICAL": 10},
        "image-digest": "sha256:1",
        "image-tags": ["v1"],
    }
    pulled = events.pull_through(ROW, 0.0, prefix="docker-hub", upstream="public.ecr.aws", tag="3", digest="sha256:1")
    assert (pulled.detail_type, pulled.resources) == ("ECR Pull Through Cache Action", (ARN,))
    assert pulled.detail == {
        "rule-version": "1",
        "sync-status": "SUCCESS",
        "ecr-repository-prefix": "docker-hub",
        "repository-name": "app",
        "upstream-registry-url": "public.ecr.aws",
        "image-tag": "3",
        "image-digest": "sha256:1",
    }
    copied = events.replication(ROW, "sha256:1", 0.0, source_account="1", source_region="us-west-2", tag="3", result="FAILED")
    assert (copied.detail_type, copied.resources) == ("ECR Replication Action", (ARN,))
    assert copied.detail == {
        "result": "FAILED",
        "repository-name": "app",
        "image-digest": "sha256:1",
        "source-account": "1",
        "action-type": "REPLICATE",
        "source-region": "us-west-2",
        "image-tag": "3",
    }
