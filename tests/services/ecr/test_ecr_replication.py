"""Replication: what is pushed arrives in other regions and accounts, and what does not arrive says why."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.images import digests
from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import Repository
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.events import Event
from cloudstead.services.ecr import api, creation_templates, pushes, replicating
from cloudstead.services.ecr.model import BACKFILLS, COPIES, REPOSITORIES, Destination, ReplicationRule
from support import ACCOUNT, REGION, CloudThread, Daemon, context_in, local_cloud

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
FAR = "eu-west-1"
OTHER = "111122223333"


class Here:
    """A registry in a cloud without HTTP."""

    def __init__(self, cloud: Cloud, account: str = ACCOUNT, region: str = REGION) -> None:
        self.cloud = cloud
        self.ctx: Context = context_in(cloud, account=account, region=region)
        self.account, self.region = account, region

    @property
    def catalog(self) -> Catalog:
        found: Catalog = self.cloud.parts["ecr"].catalog
        return found

    def at(self, account: str = ACCOUNT, region: str = REGION) -> Here:
        return Here(self.cloud, account, region)

    def place(self, name: str) -> Repository:
        return Repository(f"{self.account}/{self.region}", name)

    async def replicate(self, *destinations: tuple[str, str], prefixes: tuple[str, ...] = (), deletes: bool | None = None) -> None:
        rule = api.ReplicationRule(
            destinations=[api.ReplicationDestination(region=region, registry_id=account) for region, account in destinations],
            repository_filters=[api.RepositoryFilter(filter=each, filter_type="PREFIX_MATCH") for each in prefixes] or None,
            delete_replication=None if deletes is None else api.DeleteReplication(enabled=deletes),
        )
        configuration = api.ReplicationConfiguration(rules=[rule])
        await self.ctx.call(api.PutReplicationConfigurationRequest(replication_configuration=configuration))

    async def make(self, name: str, **more: Any) -> None:
        await self.ctx.call(api.CreateRepositoryRequest(repository_name=name, **more))

    async def image(self, name: str, text: str, *tags: str) -> str:
        """Pushes an image of one layer; its digest."""
        blobs = []
        for each in (f"config {text}", f"layer {text}"):
            blobs.append((await self.catalog.content.put(each.encode()), len(each)))
        await self.catalog.link(self.place(name), *blobs)
        (config, config_size), (layer, layer_size) = blobs
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size}],
        }
        return await self.put(name, document, *tags)

    async def put(self, name: str, document: dict[str, Any], *tags: str) -> str:
        data = json.dumps(document).encode()
        for tag in tags or ("",):
            await self.catalog.put(pushes.rules_of(self.cloud, self.account, self.region, name), data, tag=tag)
        return digests.of(data)

    async def settled(self) -> None:
        await self.cloud.store.settled()
        await self.cloud.parts["ecr"].replication.controller.settled()

    def tags(self, name: str) -> dict[str, str]:
        found = {tag: self.catalog.resolve(self.place(name), tag) for tag in self.catalog.tags_of(self.place(name))}
        return {tag: row.digest for tag, row in found.items() if row is not None}

    async def statuses(self, name: str, digest: str) -> list[tuple[str | None, ...]]:
        request = api.DescribeImageReplicationStatusRequest(repository_name=name, image_id=api.ImageIdentifier(image_digest=digest))
        answer = await self.ctx.call(request)
        return [(each.region, each.registry_id, each.status, each.failure_code) for each in answer.replication_statuses]


@asynccontextmanager
async def registry(data: Path) -> AsyncIterator[Here]:
    async with local_cloud(data) as cloud:
        await cloud.ready("ecr")
        yield Here(cloud)


async def test_an_image_arrives_with_its_tags_and_no_byte_is_copied(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        digest = await here.image("app", "one", "v1", "latest")
        blobs = sorted(path.name for path in (tmp_path / "blobs" / "sha256").iterdir())
        await here.settled()
        assert far.tags("app") == {"v1": digest, "latest": digest}
        assert await here.statuses("app", digest) == [(FAR, ACCOUNT, "COMPLETE", None)]
        assert sorted(path.name for path in (tmp_path / "blobs" / "sha256").iterdir()) == blobs


async def test_what_was_pushed_before_stays_until_it_gets_a_new_tag(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        digest = await here.image("app", "one", "old")
        await here.replicate((FAR, ACCOUNT))
        await here.settled()
        assert await here.statuses("app", digest) == []
        await here.image("app", "one", "new")
        await here.settled()
        assert far.tags("app") == {"new": digest}


async def test_an_index_arrives_with_children_that_were_pushed_before(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        child = await here.image("app", "amd64")
        size = here.catalog.image(here.place("app"), child).size  # type: ignore[union-attr]
        await here.replicate((FAR, ACCOUNT))
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": child, "size": size}]}
        index = await here.put("app", document, "multi")
        await here.settled()
        assert far.tags("app") == {"multi": index}
        assert far.catalog.image(far.place("app"), child) is not None


async def test_an_artifact_arrives_with_what_it_refers_to(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        image = await here.image("app", "one", "v1")
        empty = await here.catalog.content.put(b"{}")
        await here.catalog.link(here.place("app"), (empty, 2))
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.example.signature",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
            "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": image, "size": 1},
        }
        signature = await here.put("app", document)
        await here.settled()
        assert [row.digest for row in far.catalog.referrers(far.place("app"), image)] == [signature]


async def test_only_repositories_of_a_prefix_are_replicated(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("prod/app")
        await here.make("test/app")
        await here.replicate((FAR, ACCOUNT), prefixes=("prod",))
        await here.image("prod/app", "one", "v1")
        await here.image("test/app", "one", "v1")
        await here.settled()
        assert set(far.tags("prod/app")) == {"v1"}
        assert far.tags("test/app") == {}


async def test_replication_does_not_chain(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far, further = here.at(region=FAR), here.at(region="eu-west-2")
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        await far.replicate(("eu-west-2", ACCOUNT))
        digest = await here.image("app", "one", "v1")
        await here.settled()
        assert set(far.tags("app")) == {"v1"}
        assert further.tags("app") == {}
        assert await far.statuses("app", digest) == []


async def test_a_repository_is_made_over_there_by_its_template(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        request = api.CreateRepositoryCreationTemplateRequest(prefix="ROOT", applied_for=["REPLICATION"], image_tag_mutability="IMMUTABLE")
        await far.ctx.call(request)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        await here.image("app", "one", "v1")
        await here.settled()
        row = here.cloud.store.table(REPOSITORIES).get((ACCOUNT, FAR, "app"))
        assert row is not None
        assert (row.mutability, row.created_by_template) == ("IMMUTABLE", creation_templates.ROOT)


async def test_a_tag_that_is_immutable_over_there_is_not_moved(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await far.make("app", image_tag_mutability="IMMUTABLE")
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        first = await here.image("app", "one", "v1")
        await here.settled()
        second = await here.image("app", "two", "v1")
        await here.settled()
        assert far.tags("app") == {"v1": first}
        assert await here.statuses("app", second) == [(FAR, ACCOUNT, "FAILED", "DESTINATION_IMAGE_TAG_ALREADY_EXISTS")]


async def test_a_tag_that_moves_often_ends_where_it_moved_last(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        for text in ("one", "two", "three", "one", "four"):
            last = await here.image("app", text, "latest")
        await here.settled()
        assert far.tags("app") == {"latest": last}


async def test_deletions_stay_here_unless_a_rule_says_otherwise(tmp_path: Path) -> None:
    for deletes, left in ((None, {"v1", "v2", "v3"}), (True, {"v2"})):
        async with registry(tmp_path / str(deletes)) as here:
            far = here.at(region=FAR)
            await here.make("app")
            await here.replicate((FAR, ACCOUNT), deletes=deletes)
            one = await here.image("app", "one", "v1")
            await here.image("app", "two", "v2", "v3")
            await here.settled()
            rules = pushes.rules_of(here.cloud, ACCOUNT, REGION, "app")
            row = here.catalog.image(here.place("app"), one)
            assert row is not None
            await here.catalog.delete(rules, [row])
            here.catalog.untag(rules, ["v3"])
            await here.settled()
            assert set(far.tags("app")) == left
            assert (far.catalog.image(far.place("app"), one) is None) is bool(deletes)


async def test_the_end_of_a_repository_is_not_replicated(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT), deletes=True)
        digest = await here.image("app", "one", "v1")
        await here.settled()
        await here.ctx.call(api.DeleteRepositoryRequest(repository_name="app", force=True))
        await here.settled()
        assert far.tags("app") == {"v1": digest}
        assert here.cloud.store.table(COPIES).scan() == []


async def test_an_image_that_went_before_it_was_copied_is_forgotten(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        digest = await here.image("app", "one", "v1")
        row = here.catalog.image(here.place("app"), digest)
        assert row is not None
        await here.catalog.delete(pushes.rules_of(here.cloud, ACCOUNT, REGION, "app"), [row])
        await here.settled()
        assert here.cloud.store.table(COPIES).scan() == []


async def test_what_was_not_copied_before_a_restart_is_copied_after_it(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.cloud.parts["ecr"].replication.stop()
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        digest = await here.image("app", "one", "v1")
        assert await here.statuses("app", digest) == [(FAR, ACCOUNT, "IN_PROGRESS", None)]
    async with registry(tmp_path) as here:
        await here.settled()
        assert here.at(region=FAR).tags("app") == {"v1": digest}


async def test_eventbridge_is_told_where_it_arrives(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        heard: list[Event] = []
        here.cloud.bus.subscribe("test", heard.append)
        await here.make("app")
        await here.replicate((FAR, ACCOUNT))
        digest = await here.image("app", "one", "v1")
        await here.settled()
        await here.cloud.store.settled()
        await here.cloud.bus.idle()
        told = [each for each in heard if each.detail_type == "ECR Replication Action"]
        assert [(each.region, each.resources, each.detail) for each in told] == [
            (
                FAR,
                (f"arn:aws:ecr:{FAR}:{ACCOUNT}:repository/app",),
                {
                    "result": "SUCCESS",
                    "repository-name": "app",
                    "image-digest": digest,
                    "source-account": ACCOUNT,
                    "action-type": "REPLICATE",
                    "source-region": REGION,
                    "image-tag": "v1",
                },
            )
        ]
        assert not [each for each in heard if each.detail_type == "ECR Image Action" and each.region == FAR]


@pytest.mark.parametrize(
    "destinations",
    [
        [(REGION, ACCOUNT)],
        [],
        [(FAR, ACCOUNT), (FAR, ACCOUNT)],
        [(f"eu-west-{number}", ACCOUNT) for number in range(26)],
    ],
)
async def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, destinations: list[tuple[str, str]]) -> None:
    async with registry(tmp_path) as here:
        with pytest.raises(ServiceError, match="Invalid parameter at 'replicationConfiguration' failed to satisfy constraint") as caught:
            await here.replicate(*destinations)
        assert caught.value.code == "InvalidParameterException"


def test_each_destination_counts_once() -> None:
    rules = (
        ReplicationRule((Destination("a", "1"), Destination("b", "1")), ("prod",)),
        ReplicationRule((Destination("b", "1"),), deletes=True),
    )
    assert replicating.destinations(rules, "prod/x") == [Destination("a", "1"), Destination("b", "1")]
    assert replicating.destinations(rules, "test") == [Destination("b", "1")]
    assert replicating.destinations(rules, "prod/x", deletes=True) == [Destination("b", "1")]


def push(ecr: Any, name: str, text: str, tag: str) -> str:
    """By the API."""
    found = []
    for each in (f"config {text}".encode(), f"layer {text}".encode()):
        upload = ecr.initiate_layer_upload(repositoryName=name)["uploadId"]
        ecr.upload_layer_part(repositoryName=name, uploadId=upload, partFirstByte=0, partLastByte=len(each) - 1, layerPartBlob=each)
        found.append(
            (ecr.complete_layer_upload(repositoryName=name, uploadId=upload, layerDigests=[digests.of(each)])["layerDigest"], len(each))
        )
    (config, config_size), (layer, layer_size) = found
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size}],
    }
    image = ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=tag)["image"]
    return str(image["imageId"]["imageDigest"])


def outcome(cloud: CloudThread, ecr: Any, name: str, digest: str) -> tuple[str, str]:
    async def settled() -> None:
        await cloud.running.cloud.store.settled()
        await cloud.running.cloud.parts["ecr"].replication.controller.settled()

    cloud.do(settled)
    status = ecr.describe_image_replication_status(repositoryName=name, imageId={"imageDigest": digest})["replicationStatuses"][0]
    return status["status"], status.get("failureCode", "")


def test_another_account_must_let_the_images_in(cloud: CloudThread) -> None:
    source, other = cloud.client("ecr"), cloud.client("ecr", key=OTHER)
    source.create_repository(repositoryName="app")
    rules = [{"destinations": [{"region": REGION, "registryId": OTHER}], "deleteReplication": {"enabled": False}}]
    put = source.put_replication_configuration(replicationConfiguration={"rules": rules})
    assert put["replicationConfiguration"]["rules"] == rules
    assert source.describe_registry()["replicationConfiguration"]["rules"] == rules
    assert outcome(cloud, source, "app", push(source, "app", "one", "v1")) == ("FAILED", "DESTINATION_REGISTRY_ACCESS_DENIED")

    def allow(*actions: str) -> None:
        principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        statement = {"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": f"arn:aws:ecr:{REGION}:{OTHER}:repository/*"}
        other.put_registry_policy(policyText=json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "a", **statement}]}))

    allow("ecr:ReplicateImage")
    assert outcome(cloud, source, "app", push(source, "app", "two", "v2")) == ("FAILED", "DESTINATION_REPOSITORY_NOT_FOUND")
    allow("ecr:ReplicateImage", "ecr:CreateRepository")
    digest = push(source, "app", "three", "v3")
    assert outcome(cloud, source, "app", digest) == ("COMPLETE", "")
    found = other.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v3"}])["images"]
    assert [image["imageId"]["imageDigest"] for image in found] == [digest]
    source.put_replication_configuration(replicationConfiguration={"rules": []})
    assert source.describe_registry()["replicationConfiguration"]["rules"] == []


def test_the_image_that_is_asked_for_must_be_there(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", region="eu-north-1")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_image_replication_status(repositoryName="none", imageId={"imageTag": "a"})
    ecr.create_repository(repositoryName="some")
    with pytest.raises(ecr.exceptions.ImageNotFoundException):
        ecr.describe_image_replication_status(repositoryName="some", imageId={"imageTag": "a"})


# backfills


async def start(here: Here, region: str = FAR) -> str:
    destination = api.ReplicationDestination(region=region, registry_id=ACCOUNT)
    answer = await here.ctx.call(api.StartReplicationBackfillRequest(destination=destination))
    assert answer.status == "PREPARING"
    return str(answer.replication_backfill_id)


async def results(here: Here, backfill: str, **more: Any) -> api.DescribeReplicationBackfillResultsResponse:
    await here.cloud.store.settled()
    await here.cloud.parts["ecr"].backfilling.controller.settled()
    found: api.DescribeReplicationBackfillResultsResponse = await here.ctx.call(
        api.DescribeReplicationBackfillResultsRequest(replication_backfill_id=backfill, **more)
    )
    return found


async def test_a_backfill_brings_what_was_pushed_before(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await here.make("prod/app")
        await here.make("test/app")
        one = await here.image("prod/app", "one", "v1", "v2")
        two = await here.image("prod/app", "two")
        await here.image("test/app", "three", "v3")
        await here.replicate((FAR, ACCOUNT), prefixes=("prod/",))
        answer = await results(here, await start(here))
        assert (answer.status, answer.failure_code, answer.ended_at is None) == ("COMPLETE", None, False)
        assert answer.progress == api.ReplicationBackfillProgress(
            total_replication_count=3, completed_replication_count=3, failed_replication_count=0, failure_codes=[]
        )
        found = {(each.image_id.image_digest, each.image_id.image_tag, each.status) for each in answer.results or ()}
        assert found == {(one, "v1", "COMPLETE"), (one, "v2", "COMPLETE"), (two, None, "COMPLETE")}
        assert far.tags("prod/app") == {"v1": one, "v2": one}
        assert far.catalog.image(far.place("prod/app"), two) is not None
        assert far.tags("test/app") == {}
        assert await here.statuses("prod/app", one) == [(FAR, ACCOUNT, "COMPLETE", None)]


async def test_a_backfill_tells_what_failed(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await far.make("app", image_tag_mutability="IMMUTABLE")
        await far.image("app", "other", "v1")
        await here.make("app")
        await here.image("app", "one", "v1")
        await here.image("app", "two", "v2")
        await here.replicate((FAR, ACCOUNT))
        backfill = await start(here)
        answer = await results(here, backfill, result_status_filter="FAILED")
        assert answer.progress is not None
        assert (answer.progress.completed_replication_count, answer.progress.failed_replication_count) == (1, 1)
        assert [each.failure_code for each in answer.results or ()] == answer.progress.failure_codes
        assert answer.progress.failure_codes == ["DESTINATION_IMAGE_TAG_ALREADY_EXISTS"]


async def test_a_backfill_fails_when_half_of_a_hundred_fail(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        far = here.at(region=FAR)
        await far.make("app", image_tag_mutability="IMMUTABLE")
        await here.make("app")
        tags = [f"v{number}" for number in range(110)]
        await far.image("app", "other", *tags)
        await here.image("app", "one", *tags)
        await here.replicate((FAR, ACCOUNT))
        answer = await results(here, await start(here))
        assert answer.status == "FAILED"
        assert answer.failure_code
        assert answer.progress is not None
        assert answer.progress.failed_replication_count == 100


async def test_a_backfill_needs_a_destination_that_is_configured_and_free(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        with pytest.raises(api.InvalidParameterException):
            await start(here)
        await here.cloud.parts["ecr"].backfilling.stop()
        regions = [f"eu-west-{number}" for number in range(1, 12)]
        await here.replicate(*((region, ACCOUNT) for region in regions))
        await start(here, regions[0])
        with pytest.raises(api.ReplicationBackfillInProgressException):
            await start(here, regions[0])
        for region in regions[1:10]:
            await start(here, region)
        with pytest.raises(api.LimitExceededException):
            await start(here, regions[10])
        first = await here.ctx.call(api.ListReplicationBackfillsRequest(max_results=7))
        second = await here.ctx.call(api.ListReplicationBackfillsRequest(max_results=7, next_token=first.next_token))
        assert {each.destination.region for each in (*first.backfills, *second.backfills)} == set(regions[:10])
        assert {each.progress for each in first.backfills} == {None}


async def test_a_backfill_that_was_interrupted_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.cloud.parts["ecr"].backfilling.stop()
        await here.make("app")
        digest = await here.image("app", "one", "v1")
        await here.replicate((FAR, ACCOUNT))
        backfill = await start(here)
    async with registry(tmp_path) as here:
        assert (await results(here, backfill)).status == "COMPLETE"
        assert here.at(region=FAR).tags("app") == {"v1": digest}


async def test_a_backfill_is_stopped_once(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.cloud.parts["ecr"].backfilling.stop()
        await here.replicate((FAR, ACCOUNT))
        backfill = await start(here)
        assert (await here.ctx.call(api.StopReplicationBackfillRequest(replication_backfill_id=backfill))).status == "STOPPED"
        with pytest.raises(api.ReplicationBackfillInvalidStatusException):
            await here.ctx.call(api.StopReplicationBackfillRequest(replication_backfill_id=backfill))
        unknown = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(api.ReplicationBackfillNotFoundException):
            await here.ctx.call(api.StopReplicationBackfillRequest(replication_backfill_id=unknown))


async def test_a_backfill_under_way_is_stopping_until_it_has_stopped(tmp_path: Path) -> None:
    async with registry(tmp_path) as here:
        await here.cloud.parts["ecr"].backfilling.stop()
        await here.make("app")
        await here.image("app", "one", "v1")
        await here.replicate((FAR, ACCOUNT))
        backfill = await start(here)
        with here.cloud.store.transaction() as tx:
            tx.update(BACKFILLS, here.cloud.store.table(BACKFILLS).scan()[0], status="IN_PROGRESS", total=1)
        assert (await here.ctx.call(api.StopReplicationBackfillRequest(replication_backfill_id=backfill))).status == "STOPPING"
    async with registry(tmp_path) as here:
        answer = await results(here, backfill)
        assert (answer.status, answer.results) == ("STOPPED", [])
        assert here.at(region=FAR).tags("app") == {}


def test_every_acknowledged_push_arrives_whenever_the_daemon_dies(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        ecr = daemon.client("ecr")
        ecr.create_repository(repositoryName="app")
        rules = [{"destinations": [{"region": FAR, "registryId": ACCOUNT}]}]
        ecr.put_replication_configuration(replicationConfiguration={"rules": rules})
        pushed: dict[str, str] = {}
        for number in range(9):
            tag = f"v{number}"
            pushed[tag] = push(daemon.client("ecr"), "app", f"image {number}", tag)
            if number % 3 == 2:
                daemon.kill()
                daemon.start()
        far = daemon.client("ecr", region=FAR)
        deadline = time.monotonic() + 30
        while (there := arrived(far)) != pushed and time.monotonic() < deadline:
            time.sleep(0.05)
        assert there == pushed


def arrived(ecr: Any) -> dict[str, str]:
    try:
        found = ecr.list_images(repositoryName="app")["imageIds"]
    except ecr.exceptions.RepositoryNotFoundException:
        return {}
    return {each["imageTag"]: each["imageDigest"] for each in found if "imageTag" in each}
