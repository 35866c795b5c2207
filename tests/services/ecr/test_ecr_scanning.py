"""Scans through the API: asked for, on push, interrupted; what is told of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from scan_support import ALPINE, BOOKWORM, DAY, debian, layer, stanza, write_data

from cloudstead.engine.registry.model import Repository
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.events import Event
from cloudstead.services.ecr import api, pushes
from cloudstead.services.ecr.model import SCANS
from cloudstead.services.ecr.scanning import examining
from registry_client import digest_of, image, wire_of
from support import ACCOUNT, REGION, CloudThread, context_in, local_cloud

OPENSSL = {"openssl": [("CVE-2023-1", "3.0.11", "high", "A flaw."), ("CVE-2023-2", "3.0.12", "low", "Another.")]}
OLD, NEW = debian(stanza("libssl3", "3.0.9", "openssl")), debian(stanza("libssl3", "3.0.12", "openssl"))
DONE = "The scan was completed successfully."


class Here:
    """A repository in a cloud without HTTP."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ctx: Context = context_in(cloud)
        self.events: list[Event] = []
        cloud.bus.subscribe("test", self.events.append)

    async def make(self, name: str = "app", *, scan_on_push: bool = False) -> None:
        configuration = api.ImageScanningConfiguration(scan_on_push=scan_on_push)
        await self.ctx.call(api.CreateRepositoryRequest(repository_name=name, image_scanning_configuration=configuration))

    async def push(self, *layers: bytes, name: str = "app", tag: str = "latest", config: bytes = b"{}") -> str:
        catalog, place = self.cloud.parts["ecr"].catalog, Repository(f"{ACCOUNT}/{REGION}", name)
        for blob in (config, *layers):
            await catalog.link(place, (await catalog.content.put(blob), len(blob)))
        return await self.put(image(config, *layers), name=name, tag=tag)

    async def put(self, manifest: bytes, *, name: str = "app", tag: str = "latest") -> str:
        rules = pushes.rules_of(self.cloud, ACCOUNT, REGION, name)
        put = await self.cloud.parts["ecr"].catalog.put(rules, manifest, tag=tag)
        found: str = put.image.digest
        return found

    async def scan(self, tag: str = "latest", name: str = "app") -> api.StartImageScanResponse:
        return await self.ctx.call(api.StartImageScanRequest(repository_name=name, image_id=api.ImageIdentifier(image_tag=tag)))

    async def settled(self) -> None:
        await self.cloud.store.settled()
        await self.cloud.parts["ecr"].scanner.controller.settled()
        await self.cloud.bus.idle()

    async def findings(self, tag: str = "latest", name: str = "app", **more: Any) -> api.DescribeImageScanFindingsResponse:
        await self.settled()
        request = api.DescribeImageScanFindingsRequest(repository_name=name, image_id=api.ImageIdentifier(image_tag=tag), **more)
        return await self.ctx.call(request)

    async def names(self, tag: str = "latest", name: str = "app") -> list[str | None]:
        found = (await self.findings(tag, name)).image_scan_findings
        assert found is not None
        assert found.findings is not None
        return [each.name for each in found.findings]

    def scans(self) -> int:
        return len(list(self.cloud.store.table(SCANS).scan()))


@asynccontextmanager
async def registry(data: Path) -> AsyncIterator[Here]:
    async with local_cloud(data) as cloud:
        await cloud.ready("ecr")
        yield Here(cloud)


async def refused(call: Any, error: type[ServiceError]) -> str:
    with pytest.raises(error) as refusal:
        await call
    return str(refusal.value)


async def test_a_scan_tells_what_an_image_is_vulnerable_to(tmp_path: Path) -> None:
    write_data(tmp_path, OPENSSL)
    async with registry(tmp_path) as here:
        await here.make()
        pushed = await here.push(OLD)
        started = await here.scan()
        assert started.image_scan_status == api.ImageScanStatus(status="IN_PROGRESS")
        assert started.image_id == api.ImageIdentifier(image_digest=pushed, image_tag="latest")
        answer = await here.findings()
        assert answer.image_scan_status == api.ImageScanStatus(status="COMPLETE", description=DONE)
        found = answer.image_scan_findings
        assert found is not None
        assert found.vulnerability_source_updated_at == DAY
        assert found.image_scan_completed_at is not None
        assert found.finding_severity_counts == {"HIGH": 1, "LOW": 1}
        assert found.findings is not None
        first = found.findings[0]
        assert (first.name, first.severity, first.description) == ("CVE-2023-1", "HIGH", "A flaw.")
        assert first.attributes == [
            api.Attribute(key="package_version", value="3.0.9"),
            api.Attribute(key="package_name", value="openssl"),
            api.Attribute(key="fixed_version", value="3.0.11"),
        ]


async def test_an_update_in_a_later_layer_ends_the_findings(tmp_path: Path) -> None:
    write_data(tmp_path, OPENSSL)
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD, NEW)
        await here.scan()
        assert await here.names() == []


@pytest.mark.parametrize(("here_too", "found", "words"), [(True, ["CVE-2023-1"], DONE), (False, [], "kept elsewhere were not read: 1.")])
async def test_a_layer_with_urls_is_read_when_it_is_here(tmp_path: Path, here_too: bool, found: list[str], words: str) -> None:
    write_data(tmp_path, {"openssl": OPENSSL["openssl"][:1]})
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(NEW, *([OLD] if here_too else []), tag="other")
        manifest = json.loads(image(b"{}", NEW, OLD))
        manifest["layers"][1]["urls"] = ["https://example.org/layer"]
        await here.put(json.dumps(manifest).encode())
        await here.scan()
        assert await here.names() == found
        status = (await here.findings()).image_scan_status
        assert status is not None
        assert status.description is not None
        assert status.description.endswith(words)


async def test_an_image_may_be_scanned_again_with_newer_data(tmp_path: Path) -> None:
    write_data(tmp_path, {"openssl": []})
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        await here.scan()
        assert await here.names() == []
        write_data(tmp_path, OPENSSL, dated=DAY + 86400)
        await here.scan()
        answer = await here.findings()
        assert answer.image_scan_findings is not None
        assert answer.image_scan_findings.vulnerability_source_updated_at == DAY + 86400
        assert answer.image_scan_findings.finding_severity_counts == {"HIGH": 1, "LOW": 1}


async def test_findings_come_by_the_page_and_a_token_is_of_one_scan(tmp_path: Path) -> None:
    write_data(tmp_path, {"openssl": [(f"CVE-2023-{number:04}", "9", "high") for number in range(250)]})
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        await here.scan()
        names, sizes, token = [], [], None
        while True:
            answer = await here.findings(next_token=token)
            assert answer.image_scan_findings is not None
            page = answer.image_scan_findings.findings or []
            assert answer.image_scan_findings.finding_severity_counts == {"HIGH": 250}
            names += [each.name for each in page]
            sizes.append(len(page))
            if answer.next_token is None:
                break
            token = answer.next_token
        assert sizes == [100, 100, 50]
        assert names == [f"CVE-2023-{number:04}" for number in range(250)]
        await here.scan()
        await refused(here.findings(next_token=token), api.InvalidParameterException)
        await refused(here.findings(next_token="nonsense"), api.InvalidParameterException)


async def test_who_asks_for_what_is_not_there_is_told_so(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.make()
        pushed = await here.push(OLD)
        told = await refused(here.findings(), api.ScanNotFoundException)
        assert told == (
            "Image scan does not exist for the image with '{imageDigest:'null', imageTag:'latest'}' in the repository with name 'app' "
            f"in the registry with id '{ACCOUNT}'"
        )
        await refused(here.findings("other"), api.ImageNotFoundException)
        await refused(here.scan("other"), api.ImageNotFoundException)
        await refused(here.scan(name="elsewhere"), api.RepositoryNotFoundException)
        nothing = api.ImageIdentifier()
        await refused(here.ctx.call(api.StartImageScanRequest(repository_name="app", image_id=nothing)), api.InvalidParameterException)
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
        index["manifests"] = [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": pushed, "size": 1}]
        await here.put(json.dumps(index).encode(), tag="index")
        assert "image.index" in await refused(here.scan("index"), api.UnsupportedImageTypeException)
        artifact = json.loads(image(b"{}", OLD))
        artifact["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
        await here.put(json.dumps(artifact).encode(), tag="chart")
        assert "helm" in await refused(here.scan("chart"), api.UnsupportedImageTypeException)


async def test_an_archived_image_is_not_scanned(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        wanted = api.ImageIdentifier(image_tag="latest")
        await here.ctx.call(api.UpdateImageStorageClassRequest(repository_name="app", image_id=wanted, target_storage_class="ARCHIVE"))
        await refused(here.scan(), api.ImageArchivedException)


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (layer(("bin/app", "static")), "UnsupportedImageError: The operating system and/or package manager are not supported."),
        (b"no tar" * 200, "The image cannot be scanned: this is no tar"),
        (layer(("etc/os-release", 'ID=fedora\nPRETTY_NAME="Fedora 40"\n'), ("usr/lib/sysimage/rpm/rpmdb.sqlite", "")), "It is Fedora 40"),
        (layer(("etc/os-release", ALPINE), ("lib/apk/db/installed", "P:a\nV:1\n")), "There are no security data of alpine 3.20"),
    ],
    ids=["scratch", "damaged", "rpm", "no data"],
)
async def test_what_cannot_be_scanned_fails_as_with_aws(tmp_path: Path, blob: bytes, words: str) -> None:
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(blob)
        await here.scan()
        answer = await here.findings()
        assert answer.image_scan_status is not None
        assert answer.image_scan_status.status == "FAILED"
        assert words in str(answer.image_scan_status.description)
        assert answer.image_scan_findings is None
        details = await here.ctx.call(api.DescribeImagesRequest(repository_name="app"))
        assert details.image_details is not None
        assert details.image_details[0].image_scan_status == answer.image_scan_status


# ── on push ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repository_scans_what_is_pushed(tmp_path: Path) -> None:
    write_data(tmp_path, OPENSSL)
    async with registry(tmp_path) as here:
        await here.make(scan_on_push=True)
        pushed = await here.push(OLD)
        assert await here.names() == ["CVE-2023-1", "CVE-2023-2"]
        details = await here.ctx.call(api.DescribeImagesRequest(repository_name="app"))
        assert details.image_details is not None
        summary = details.image_details[0].image_scan_findings_summary
        assert summary is not None
        assert (summary.finding_severity_counts, summary.vulnerability_source_updated_at) == ({"HIGH": 1, "LOW": 1}, DAY)
        (event,) = (each for each in here.events if each.detail_type == "ECR Image Scan")
        assert (event.source, event.resources) == ("aws.ecr", (f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/app",))
        assert event.detail == {
            "scan-status": "COMPLETE",
            "repository-name": "app",
            "finding-severity-counts": {"HIGH": 1, "LOW": 1},
            "image-digest": pushed,
            "image-tags": ["latest"],
        }
        await here.push(OLD, tag="again")  # the same image under another name
        await here.settled()
        assert sum(each.detail_type == "ECR Image Scan" for each in here.events) == 1


@pytest.mark.parametrize("pattern", ["prod*", "*prod*", "prod", "p*-web", "rod-w"])
async def test_a_rule_of_the_registry_scans_what_is_pushed(tmp_path: Path, pattern: str) -> None:
    """A filter without a wildcard matches the names that contain it."""
    async with registry(tmp_path) as here:
        for name in ("prod-web", "test-web"):
            await here.make(name)
        rule = api.RegistryScanningRule(
            scan_frequency="SCAN_ON_PUSH", repository_filters=[api.ScanningRepositoryFilter(filter=pattern, filter_type="WILDCARD")]
        )
        await here.ctx.call(api.PutRegistryScanningConfigurationRequest(scan_type="BASIC", rules=[rule]))
        for name in ("prod-web", "test-web"):
            await here.push(OLD, name=name)
        assert (await here.findings(name="prod-web")).image_scan_status is not None
        await refused(here.findings(name="test-web"), api.ScanNotFoundException)


async def test_artifacts_and_indexes_are_pushed_without_a_scan(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.make(scan_on_push=True)
        pushed = await here.push(OLD)
        manifests = [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": pushed, "size": 1}]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        await here.put(json.dumps(index).encode(), tag="index")
        artifact = json.loads(image(b"{}", OLD)) | {"artifactType": "application/vnd.example"}
        artifact["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
        await here.put(json.dumps(artifact).encode(), tag="artifact")
        await here.settled()
        assert here.scans() == 1


async def test_what_was_found_goes_with_the_image(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.make(scan_on_push=True)
        await here.push(OLD)
        await here.settled()
        assert here.scans() == 1
        await here.ctx.call(api.BatchDeleteImageRequest(repository_name="app", image_ids=[api.ImageIdentifier(image_tag="latest")]))
        assert here.scans() == 0


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────────────────


class Held:
    """Examinations that wait until they are let go, or told to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.first, self.let_go = threading.Event(), threading.Event()
        real = examining.examine

        def examine(blobs: Any, security: Path, stop: Any) -> Any:
            self.begun += 1
            self.first.set()
            while not self.let_go.wait(0.01):
                if stop():
                    break
            return real(blobs, security, stop)

        monkeypatch.setattr(examining, "examine", examine)

    async def until_begun(self) -> None:
        await asyncio.to_thread(self.first.wait)


async def test_a_scan_that_a_restart_interrupted_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path, OPENSSL)
    held = Held(monkeypatch)
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        await here.scan()
        await held.until_begun()
    held.let_go.set()
    async with registry(tmp_path) as here:
        assert await here.names() == ["CVE-2023-1", "CVE-2023-2"]
    assert held.begun == 2


async def test_a_scan_under_way_is_not_begun_anew_and_forgotten_when_its_image_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        await here.scan()
        await held.until_begun()
        request = api.DescribeImageScanFindingsRequest(repository_name="app", image_id=api.ImageIdentifier(image_tag="latest"))
        answer = await here.ctx.call(request)
        assert answer.image_scan_status == api.ImageScanStatus(status="IN_PROGRESS")
        assert answer.image_scan_findings is None
        assert (await here.scan()).image_scan_status == api.ImageScanStatus(status="IN_PROGRESS")
        await here.ctx.call(api.DeleteRepositoryRequest(repository_name="app", force=True))
        held.let_go.set()
        await here.settled()
        assert held.begun == 1
        assert here.scans() == 0
        assert not [each for each in here.events if each.detail_type == "ECR Image Scan"]


async def test_a_fault_of_ours_ends_the_scan_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(examining.matching, "match", fault)
    async with registry(tmp_path) as here:
        await here.make()
        await here.push(OLD)
        await here.scan()
        answer = await here.findings()
        assert answer.image_scan_status is not None
        assert answer.image_scan_status.status == "FAILED"
    assert "ZeroDivisionError" in caplog.text


# ── over the wire ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudThread]:
    with CloudThread(tmp_path / "data", engine="off") as running:
        yield running


def push(cloud: CloudThread, name: str, tag: str, *layers: bytes) -> str:
    wire = wire_of(cloud, ACCOUNT)
    for blob in (b"{}", *layers):
        assert wire.push_blob(name, blob).status == 201
    manifest = image(b"{}", *layers)
    assert wire.push_manifest(name, tag, manifest).status == 201
    return digest_of(manifest)


def test_boto3_waits_for_a_scan_with_the_shipped_data(cloud: CloudThread) -> None:
    """An image with the packages that bookworm was released with has known CVEs; with later ones it has none."""
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
    released = debian(stanza("libssl3", "3.0.9-1", "openssl"), stanza("libc6", "2.36-9", "glibc"), os_release=BOOKWORM)
    push(cloud, "app", "old", released)
    push(cloud, "app", "new", released, debian(stanza("libssl3", "99-1", "openssl"), stanza("libc6", "99-1", "glibc")))
    push(cloud, "app", "scratch", layer(("app", "static")))
    waiter = ecr.get_waiter("image_scan_complete")
    quickly = {"Delay": 0.1, "MaxAttempts": 100}
    for tag in ("old", "new"):
        waiter.wait(repositoryName="app", imageId={"imageTag": tag}, WaiterConfig=quickly)
    found = [
        finding
        for page in ecr.get_paginator("describe_image_scan_findings").paginate(
            repositoryName="app", imageId={"imageTag": "old"}, PaginationConfig={"PageSize": 10}
        )
        for finding in page["imageScanFindings"]["findings"]
    ]
    assert {"CVE-2023-4911", "CVE-2024-0727"} <= {each["name"] for each in found}
    answer = ecr.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "new"})["imageScanFindings"]
    assert answer["findings"] == []
    assert answer["findingSeverityCounts"] == {}
    assert answer["vulnerabilitySourceUpdatedAt"].year >= 2025
    with pytest.raises(WaiterError):
        waiter.wait(repositoryName="app", imageId={"imageTag": "scratch"}, WaiterConfig=quickly)
    assert ecr.start_image_scan(repositoryName="app", imageId={"imageTag": "old"})["imageScanStatus"] == {"status": "IN_PROGRESS"}
    with pytest.raises(ClientError) as refusal:
        ecr.start_image_scan(repositoryName="app", imageId={"imageTag": "none"})
    assert refusal.value.response["Error"]["Code"] == "ImageNotFoundException"
