"""The pull-through cache: its rules, what it fetches and when, what it serves when the other side is not there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from upstream_registry import INDEX, MANIFEST, UpstreamRegistry

from cloudstead.engine.images import digests
from cloudstead.engine.registry.model import Repository
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.events import Event
from cloudstead.services.ecr import api, pulling_through, upstreams
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import REPOSITORIES
from support import ACCOUNT, REGION, CloudThread, context_in, local_cloud

SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ecr-pullthroughcache/hub-AbCdEf"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cache"


class LaterClock(SystemClock):
    """The machine's, some time ahead."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class Missing(ServiceError):
    code = "ResourceNotFoundException"


class Secrets:
    """Secrets Manager as the companion has it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert service == "secretsmanager"
        if parameters["SecretId"] not in self.values:
            raise Missing("Secrets Manager can't find the specified secret.")
        return {"SecretString": self.values[parameters["SecretId"]]} if operation == "GetSecretValue" else {}


class Cache:
    def __init__(self, ctx: Context, clock: LaterClock) -> None:
        self.ctx = ctx
        self.clock = clock
        self.secrets = Secrets()
        ctx.cloud.companion = self.secrets

    async def rule(self, prefix: str, url: str, **more: Any) -> api.CreatePullThroughCacheRuleResponse:
        request = api.CreatePullThroughCacheRuleRequest(ecr_repository_prefix=prefix, upstream_registry_url=url, **more)
        made: api.CreatePullThroughCacheRuleResponse = await self.ctx.call(request)
        return made

    async def pull(self, name: str, reference: str) -> str | None:
        """The digest of what is here then."""
        await pulling_through.fetch(self.ctx, name, reference)
        found = catalog(self.ctx).resolve(Repository(f"{ACCOUNT}/{REGION}", name), reference)
        return None if found is None else found.digest

    async def refused(self, name: str, reference: str) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.pull(name, reference)
        return caught.value


@asynccontextmanager
async def cache(data: Path) -> AsyncIterator[Cache]:
    clock = LaterClock()
    async with local_cloud(data, clock=clock) as cloud:
        await cloud.ready("ecr")
        yield Cache(context_in(cloud), clock)


# pulling


async def test_what_is_pulled_comes_from_upstream_once(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            digest = upstream.image("library/app", "one", "v1")
            await here.rule("hub", upstream.domain)
            assert await here.pull("hub/library/app", "v1") == digest
            asked = upstream.asked.copy()
            assert await here.pull("hub/library/app", "v1") == digest
            assert await here.pull("hub/library/app", digest) == digest
            assert upstream.asked == asked
        image = catalog(here.ctx).resolve(Repository(f"{ACCOUNT}/{REGION}", "hub/library/app"), "v1")
        assert image is not None
        assert all(catalog(here.ctx).content.has(blob.digest) for blob in image.blobs)


async def test_a_tag_is_looked_up_again_after_a_day(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            first = upstream.image("app", "one", "latest")
            await here.rule("hub", upstream.domain)
            await here.pull("hub/app", "latest")
            second = upstream.image("app", "two", "latest")
            here.clock.ahead = 23 * 3600
            assert await here.pull("hub/app", "latest") == first
            here.clock.ahead = 25 * 3600
            assert await here.pull("hub/app", "latest") == second
            heads = upstream.asked["HEAD manifests"]
            gets = upstream.asked["GET manifests"]
            here.clock.ahead = 60 * 3600
            assert await here.pull("hub/app", "latest") == second
            assert upstream.asked["GET manifests"] == gets  # it had not moved: asked for by HEAD alone
            assert upstream.asked["HEAD manifests"] > heads


async def test_what_is_here_is_served_while_upstream_is_down_or_has_lost_it(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            digest = upstream.image("app", "one", "v1")
            await here.rule("hub", upstream.domain)
            await here.pull("hub/app", "v1")
            here.clock.ahead = 25 * 3600
            upstream.broken = True
            assert await here.pull("hub/app", "v1") == digest
            asked = upstream.asked.copy()
            assert await here.pull("hub/app", "v1") == digest
            assert upstream.asked == asked  # and is left alone for a while
            upstream.broken = False
            upstream.content.clear()
            here.clock.ahead = 26 * 3600
            assert await here.pull("hub/app", "v1") == digest


async def test_an_index_is_kept_alone_and_its_images_come_when_asked_for(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            children = [upstream.image("app", text) for text in ("amd64", "arm64")]
            descriptors = [{"mediaType": MANIFEST, "digest": each, "size": len(upstream.content[each][0])} for each in children]
            index = upstream.manifest("app", {"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors}, "v1")
            await here.rule("hub", upstream.domain)
            assert await here.pull("hub/app", "v1") == index
            assert upstream.asked["GET blobs"] == 0
            assert await here.pull("hub/app", children[0]) == children[0]
            assert catalog(here.ctx).image(Repository(f"{ACCOUNT}/{REGION}", "hub/app"), children[1]) is None


async def test_pulls_at_the_same_time_share_one_fetch(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            upstream.wait.clear()
            digest = upstream.image("app", "one", "v1")
            await here.rule("hub", upstream.domain)
            pulls = [asyncio.create_task(here.pull("hub/app", "v1")) for _ in range(8)]
            await asyncio.to_thread(upstream.began.wait, 20)
            pulls[0].cancel()  # it goes on for the others
            upstream.wait.set()
            assert await asyncio.gather(*pulls[1:]) == [digest] * 7
            assert upstream.asked["GET blobs"] == 3


async def test_a_layer_that_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            digest = upstream.image("app", "one", "v1")
            document = json.loads(upstream.content[digest][0])
            upstream.lying.add(document["layers"][0]["digest"])
            await here.rule("hub", upstream.domain)
            assert (await here.refused("hub/app", "v1")).code == "UnableToGetUpstreamLayerException"
            upstream.lying.clear()
            assert await here.pull("hub/app", "v1") == digest


async def test_what_is_nowhere_makes_no_repository(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream:
            await here.rule("hub", upstream.domain)
            assert await here.pull("hub/app", "v1") is None
            assert here.ctx.table(REPOSITORIES).scan() == []
            assert await here.pull("elsewhere/app", "v1") is None
            assert upstream.asked["GET manifests"] == 2  # the challenge, and the answer


async def test_a_registry_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        heard: list[Event] = []
        here.ctx.cloud.bus.subscribe("test", heard.append)
        with UpstreamRegistry() as upstream:
            await here.rule("hub", upstream.domain)
        error = await here.refused("hub/app", "v1")
        assert error.code == "UnableToGetUpstreamImageException"
        assert upstream.domain in error.message
        await here.ctx.store.settled()
        await here.ctx.cloud.bus.idle()
        (told,) = [each for each in heard if each.detail_type == "ECR Pull Through Cache Action"]
        assert (told.detail["sync-status"], told.detail["repository-name"], told.detail["image-tag"]) == ("FAILED", "hub/app", "v1")


async def test_eventbridge_is_told_of_an_image_that_came(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        heard: list[Event] = []
        here.ctx.cloud.bus.subscribe("test", heard.append)
        with UpstreamRegistry() as upstream:
            digest = upstream.image("app", "one", "v1")
            await here.rule("hub", upstream.domain)
            await here.pull("hub/app", "v1")
        await here.ctx.store.settled()
        await here.ctx.cloud.bus.idle()
        (told,) = [each for each in heard if each.source == "aws.ecr"]
        assert told.detail_type == "ECR Pull Through Cache Action"
        assert told.detail == {
            "rule-version": "1",
            "sync-status": "SUCCESS",
            "ecr-repository-prefix": "hub",
            "repository-name": "hub/app",
            "upstream-registry-url": upstream.domain,
            "image-tag": "v1",
            "image-digest": digest,
        }


async def test_the_repository_is_made_by_its_template_and_keeps_to_it(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        request = api.CreateRepositoryCreationTemplateRequest(
            prefix="hub", applied_for=["PULL_THROUGH_CACHE"], image_tag_mutability="IMMUTABLE"
        )
        await here.ctx.call(request)
        with UpstreamRegistry() as upstream:
            first = upstream.image("app", "one", "v1")
            await here.rule("hub", upstream.domain)
            await here.pull("hub/app", "v1")
            upstream.image("app", "two", "v1")
            here.clock.ahead = 25 * 3600
            assert await here.pull("hub/app", "v1") == first
        row = here.ctx.table(REPOSITORIES).get((ACCOUNT, REGION, "hub/app"))
        assert row is not None
        assert row.mutability == "IMMUTABLE"


async def test_what_came_through_the_cache_is_replicated(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        destination = api.ReplicationDestination(region="eu-west-1", registry_id=ACCOUNT)
        configuration = api.ReplicationConfiguration(rules=[api.ReplicationRule(destinations=[destination])])
        await here.ctx.call(api.PutReplicationConfigurationRequest(replication_configuration=configuration))
        with UpstreamRegistry() as upstream:
            child = upstream.image("app", "one")
            descriptor = {"mediaType": MANIFEST, "digest": child, "size": len(upstream.content[child][0])}
            index = upstream.manifest("app", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}, "v1")
            await here.rule("hub", upstream.domain)
            await here.pull("hub/app", "v1")
        await here.ctx.store.settled()
        await here.ctx.cloud.parts["ecr"].replication.controller.settled()
        found = catalog(here.ctx).resolve(Repository(f"{ACCOUNT}/eu-west-1", "hub/app"), "v1")
        assert found is not None
        assert found.digest == index


async def test_the_secret_opens_a_private_registry(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry({"me": "token"}) as upstream:
            digest = upstream.image("app", "one", "v1")
            here.secrets.values[SECRET] = json.dumps({"username": "me", "accessToken": "wrong"})
            await here.rule("hub", upstream.domain, credential_arn=SECRET)
            validate = api.ValidatePullThroughCacheRuleRequest(ecr_repository_prefix="hub")
            assert (await here.ctx.call(validate)).is_valid is False
            assert (await here.refused("hub/app", "v1")).code == "UnableToGetUpstreamImageException"
            here.secrets.values[SECRET] = json.dumps({"username": "me", "accessToken": "token"})
            answer = await here.ctx.call(validate)
            assert (answer.is_valid, answer.failure) == (True, None)
            assert await here.pull("hub/app", "v1") == digest
            here.secrets.values[SECRET] = "no JSON"
            assert (await here.refused("hub/app", "v2")).code == "UnableToAccessSecretException"
            del here.secrets.values[SECRET]
            assert (await here.refused("hub/app", "v2")).code == "SecretNotFoundException"
            assert "not found" in (await here.ctx.call(validate)).failure


async def test_names_are_mapped_by_prefixes(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with UpstreamRegistry() as upstream, UpstreamRegistry() as other:
            found = upstream.image("up/stream/app", "one", "v1")
            rest = other.image("tools/app", "two", "v1")
            await here.rule("hub/team", upstream.domain, upstream_repository_prefix="up/stream")
            await here.rule("ROOT", other.domain)
            assert await here.pull("hub/team/app", "v1") == found
            assert await here.pull("tools/app", "v1") == rest


@pytest.mark.parametrize(
    ("prefix", "upstream_prefix", "name", "mapped"),
    [
        ("ecr-public", "ROOT", "ecr-public/my-app/image1", "my-app/image1"),
        ("ROOT", "ROOT", "my-app/image1", "my-app/image1"),
        ("team-a", "team-a", "team-a/myapp/image1", "team-a/myapp/image1"),
        ("my-app/", "upstream-app", "my-app/image1", "upstream-app/image1"),
    ],
)
def test_the_mapping_is_that_of_the_user_guide(prefix: str, upstream_prefix: str, name: str, mapped: str) -> None:
    assert upstreams.upstream_name(prefix, upstream_prefix, name) == mapped


# rules


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("public.ecr.aws", "ecr-public"),
        ("registry.k8s.io", "k8s"),
        ("quay.io", "quay"),
        ("registry-1.docker.io", "docker-hub"),
        ("ghcr.io", "github-container-registry"),
        ("registry.gitlab.com", "gitlab-container-registry"),
        ("cgr.dev", "chainguard"),
        ("mycompany.azurecr.io", "azure-container-registry"),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("localhost:5000", None),
        ("http://127.0.0.1:5000", None),
    ],
)
async def test_a_rule_tells_what_registry_it_stands_before(tmp_path: Path, url: str, kind: str | None) -> None:
    async with cache(tmp_path) as here:
        here.secrets.values[SECRET] = "{}"
        needed: dict[str, Any] = {"credential_arn": SECRET, "custom_role_arn": ROLE}
        made = await here.rule("hub", url, **needed, **({} if kind is None else {"upstream_registry": kind}))
        assert (made.upstream_registry_url, made.upstream_registry, made.upstream_repository_prefix) == (url, kind, None)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("UnsupportedUpstreamRegistryException", {"url": "no address"}),
        ("UnsupportedUpstreamRegistryException", {"url": "http://quay.io"}),
        ("UnsupportedUpstreamRegistryException", {"url": "quay.io/path"}),
        ("UnsupportedUpstreamRegistryException", {"url": "registry-1.docker.io"}),
        ("UnsupportedUpstreamRegistryException", {"url": "quay.io", "upstream_registry": "k8s"}),
        ("InvalidParameterException", {"url": "111122223333.dkr.ecr.eu-west-1.amazonaws.com"}),
        ("InvalidParameterException", {"url": "quay.io", "custom_role_arn": "arn:aws:iam::999999999999:role/other"}),
        ("SecretNotFoundException", {"url": "ghcr.io", "credential_arn": SECRET}),
        ("SecretNotFoundException", {"url": "ghcr.io", "credential_arn": SECRET.replace(ACCOUNT, "999999999999")}),
    ],
)
async def test_a_rule_that_could_not_work_is_refused(tmp_path: Path, code: str, more: dict[str, Any]) -> None:
    async with cache(tmp_path) as here:
        with pytest.raises(ServiceError) as caught:
            await here.rule("hub", **more)
        assert caught.value.code == code


async def test_root_stands_for_all_names_over_there_too(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        with pytest.raises(api.InvalidParameterException, match="ROOT"):
            await here.rule("ROOT", "quay.io", upstream_repository_prefix="some")


async def test_a_registry_has_fifty_rules(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        for number in range(50):
            await here.rule(f"hub{number}", "quay.io")
        with pytest.raises(api.LimitExceededException):
            await here.rule("hub50", "quay.io")


async def test_other_credentials_take_the_place_of_those_before(tmp_path: Path) -> None:
    async with cache(tmp_path) as here:
        await here.rule("hub", "quay.io")
        with pytest.raises(api.InvalidParameterException, match="Please set either credential arn or role arn to update the credentials"):
            await here.ctx.call(api.UpdatePullThroughCacheRuleRequest(ecr_repository_prefix="hub"))
        with pytest.raises(api.SecretNotFoundException):
            await here.ctx.call(api.UpdatePullThroughCacheRuleRequest(ecr_repository_prefix="hub", credential_arn=SECRET))
        here.secrets.values[SECRET] = "{}"
        answer = await here.ctx.call(
            api.UpdatePullThroughCacheRuleRequest(ecr_repository_prefix="hub/", credential_arn=SECRET, custom_role_arn=ROLE)
        )
        assert (answer.ecr_repository_prefix, answer.credential_arn, answer.custom_role_arn) == ("hub", SECRET, ROLE)


def test_rules_over_the_wire(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key="222233334444")
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="k8s", upstreamRegistryUrl="registry.k8s.io")
    with pytest.raises(ecr.exceptions.PullThroughCacheRuleAlreadyExistsException):
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="registry.k8s.io")
    first = ecr.describe_pull_through_cache_rules(maxResults=1)
    second = ecr.describe_pull_through_cache_rules(maxResults=1, nextToken=first["nextToken"])
    rules = first["pullThroughCacheRules"] + second["pullThroughCacheRules"]
    assert [(each["ecrRepositoryPrefix"], each["upstreamRegistry"]) for each in rules] == [("k8s", "k8s"), ("quay", "quay")]
    assert ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")["upstreamRegistryUrl"] == "quay.io"
    for call in (ecr.delete_pull_through_cache_rule, ecr.validate_pull_through_cache_rule):
        with pytest.raises(ecr.exceptions.PullThroughCacheRuleNotFoundException):
            call(ecrRepositoryPrefix="quay")
    with pytest.raises(ecr.exceptions.PullThroughCacheRuleNotFoundException):
        ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["quay"])


# by the protocol


def get(cloud: CloudThread, path: str, *, key: str = ACCOUNT, region: str = REGION) -> tuple[int, bytes]:
    ecr = cloud.client("ecr", key=key, region=region)
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    headers = {"Authorization": f"Basic {token}", "Accept": f"{MANIFEST}, {INDEX}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{cloud.endpoint}/v2/{path}", headers=headers), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_client_pulls_through(cloud: CloudThread) -> None:
    with UpstreamRegistry() as upstream:
        digest = upstream.image("library/app", "one", "v1")
        cloud.client("ecr").create_pull_through_cache_rule(ecrRepositoryPrefix="hub", upstreamRegistryUrl=f"http://{upstream.domain}")
        status, manifest = get(cloud, "hub/library/app/manifests/v1")
        assert (status, manifest) == (200, upstream.content[digest][0])
        layer = json.loads(manifest)["layers"][0]["digest"]
        assert get(cloud, f"hub/library/app/blobs/{layer}") == (200, upstream.content[layer][0])
        status, body = get(cloud, "hub/library/app/manifests/none")
        assert (status, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
        status, body = get(cloud, "hub/library/none/manifests/v1")
        assert (status, json.loads(body)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
        upstream.broken = True
        status, body = get(cloud, "hub/library/app/manifests/v2")
        assert status == 404
        assert "could not be pulled from the upstream registry" in json.loads(body)["errors"][0]["message"]
    described = cloud.client("ecr").describe_images(repositoryName="hub/library/app")["imageDetails"]
    assert [each["imageTags"] for each in described] == [["v1"]]


def test_another_registry_of_this_installation_is_an_upstream(cloud: CloudThread) -> None:
    far = "eu-west-3"
    with UpstreamRegistry() as upstream:
        digest = upstream.image("app", "far", "v1")
        cloud.client("ecr", region=far).create_pull_through_cache_rule(ecrRepositoryPrefix="origin", upstreamRegistryUrl=upstream.domain)
        assert get(cloud, "origin/app/manifests/v1", region=far)[0] == 200
        asked = upstream.asked.copy()
        url = f"{ACCOUNT}.dkr.ecr.{far}.amazonaws.com"
        cloud.client("ecr").create_pull_through_cache_rule(ecrRepositoryPrefix="far", upstreamRegistryUrl=url)
        status, manifest = get(cloud, "far/origin/app/manifests/v1")
        assert (status, manifest) == (200, upstream.content[digest][0])
        assert upstream.asked == asked
        assert cloud.client("ecr").validate_pull_through_cache_rule(ecrRepositoryPrefix="far")["isValid"]


def test_a_registry_of_another_account_is_asked_as_the_role_that_the_rule_names(cloud: CloudThread) -> None:
    theirs, here, far = "555566667777", "me-south-1", "eu-south-1"
    owner = cloud.client("ecr", key=theirs, region=far)
    with UpstreamRegistry() as upstream:
        upstream.image("app", "far", "v1")
        owner.create_pull_through_cache_rule(ecrRepositoryPrefix="origin", upstreamRegistryUrl=upstream.domain)
        assert get(cloud, "origin/app/manifests/v1", key=theirs, region=far)[0] == 200
    ecr = cloud.client("ecr", region=here)
    url = f"{theirs}.dkr.ecr.{far}.amazonaws.com"
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="theirs", upstreamRegistryUrl=url, customRoleArn=ROLE)
    status, body = get(cloud, "theirs/origin/app/manifests/v1", region=here)
    assert status == 404
    assert "not authorized" in json.loads(body)["errors"][0]["message"]
    statement = {
        "Sid": "a",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }
    owner.set_repository_policy(repositoryName="origin/app", policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert get(cloud, "theirs/origin/app/manifests/v1", region=here)[0] == 200


def test_caches_before_each_other_do_not_wait_for_ever(cloud: CloudThread) -> None:
    account, regions = "333344445555", ("ap-south-1", "ap-south-2")
    for region, other in (regions, regions[::-1]):
        ecr = cloud.client("ecr", key=account, region=region)
        ecr.create_repository(repositoryName="some")  # so that AWS's name of the registry means this one
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="ROOT", upstreamRegistryUrl=f"{account}.dkr.ecr.{other}.amazonaws.com")
    status, _ = get(cloud, "app/manifests/v1", key=account, region=regions[0])
    assert status == 404


def test_a_registry_is_not_its_own_upstream(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="mine")
    host = cloud.endpoint.partition("://")[2]
    for url in (host, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"):
        with pytest.raises(ecr.exceptions.UnsupportedUpstreamRegistryException):
            ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="self", upstreamRegistryUrl=url)


def test_the_secret_is_read_from_secrets_manager(cloud: CloudThread) -> None:
    secrets = cloud.client("secretsmanager")
    value = json.dumps({"username": "me", "accessToken": "token"})
    arn = secrets.create_secret(Name="ecr-pullthroughcache/mine", SecretString=value)["ARN"]
    with UpstreamRegistry({"me": "token"}) as upstream:
        upstream.image("app", "private", "v1")
        ecr = cloud.client("ecr")
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="private", upstreamRegistryUrl=upstream.domain, credentialArn=arn)
        assert get(cloud, "private/app/manifests/v1")[0] == 200


def test_batch_get_image_pulls_through_too(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", region="sa-east-1")
    with UpstreamRegistry({"me": "token"}) as upstream:
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="closed", upstreamRegistryUrl=upstream.domain)
        ecr.create_repository(repositoryName="closed/app")
        upstream.image("app", "one", "v1")
        answer = ecr.batch_get_image(repositoryName="closed/app", imageIds=[{"imageTag": "v1"}])
        assert [each["failureCode"] for each in answer["failures"]] == ["UpstreamAccessDenied"]
        upstream.users = None
        digest = upstream.image("app", "two", "v2")
        answer = ecr.batch_get_image(repositoryName="closed/app", imageIds=[{"imageTag": "v2"}, {"imageTag": "none"}])
        assert [each["imageId"]["imageDigest"] for each in answer["images"]] == [digest]
        assert [each["failureCode"] for each in answer["failures"]] == ["ImageNotFound"]
        upstream.image("fresh", "three", "v3")
        assert len(ecr.batch_get_image(repositoryName="closed/fresh", imageIds=[{"imageTag": "v3"}])["images"]) == 1


def test_who_may_bring_images_in_is_judged_by_iam(tmp_path: Path) -> None:
    with CloudThread(tmp_path, iam="enforce") as strict, UpstreamRegistry() as upstream:
        upstream.image("app", "one", "v1")
        owner, iam = strict.client("ecr"), strict.client("iam")
        owner.create_pull_through_cache_rule(ecrRepositoryPrefix="hub", upstreamRegistryUrl=upstream.domain)
        iam.create_user(UserName="u")
        key = iam.create_access_key(UserName="u")["AccessKey"]
        user = strict.client("ecr", key=key["AccessKeyId"], secret=key["SecretAccessKey"])

        def allow(*actions: str) -> None:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
            iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps(document))

        def pull() -> tuple[int, str]:
            token = user.get_authorization_token()["authorizationData"][0]["authorizationToken"]
            return ask(strict, "hub/app/manifests/v1", token)

        allow("ecr:GetAuthorizationToken", "ecr:BatchGetImage")
        assert pull() == (403, "DENIED")
        allow("ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:BatchImportUpstreamImage")
        assert pull() == (403, "DENIED")
        principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/u"}
        resource = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/hub/*"
        statement = {"Sid": "a", "Effect": "Allow", "Principal": principal, "Action": "ecr:CreateRepository", "Resource": resource}
        owner.put_registry_policy(policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        assert pull() == (200, "")
        allow("ecr:GetAuthorizationToken", "ecr:BatchGetImage")
        assert pull() == (200, "")  # what is here needs nobody to bring it in


def ask(cloud: CloudThread, path: str, token: str) -> tuple[int, str]:
    """Status, and the code of an error."""
    request = urllib.request.Request(f"{cloud.endpoint}/v2/{path}", headers={"Authorization": f"Basic {token}", "Accept": MANIFEST})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["errors"][0]["code"]


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry: what others run."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = tmp_path / "registry.yml"
    storage = json.dumps({"filesystem": {"rootdirectory": str(tmp_path / "registry")}})
    configuration.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {storage}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    process = subprocess.Popen([program, "serve", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"localhost:{port}"
    finally:
        process.kill()
        process.wait()


def push_to(registry: str, name: str, tag: str, layer: bytes) -> str:
    """To a registry without authentication; waits for it to begin."""

    def send(method: str, url: str, data: bytes = b"", kind: str = "application/octet-stream") -> str:
        target = url if "://" in url else f"http://{registry}/v2/{name}/{url}"
        for attempt in range(100):
            try:
                request = urllib.request.Request(target, data=data, method=method, headers={"Content-Type": kind})
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return str(answer.headers.get("Location"))
            except urllib.error.URLError as error:
                if isinstance(error, urllib.error.HTTPError) or attempt == 99:
                    raise
                time.sleep(0.05)
        raise AssertionError("unreachable")

    for blob in (b"{}", layer):
        place = send("POST", "blobs/uploads/")
        send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digests.of(blob)}", blob)
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digests.of(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": digests.of(layer), "size": len(layer)}],
    }
    send("PUT", f"manifests/{tag}", json.dumps(document).encode(), document["mediaType"])  # type: ignore[arg-type]
    return digests.of(json.dumps(document).encode())


def test_images_of_a_real_registry_come_through(cloud: CloudThread, docker_registry: str) -> None:
    layer = os.urandom(5 << 20)
    digest = push_to(docker_registry, "team/app", "v1", layer)
    ecr = cloud.client("ecr", region="ca-west-1")
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="real", upstreamRegistryUrl=docker_registry)
    assert ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="real")["isValid"]
    assert digests.of(get(cloud, "real/team/app/manifests/v1", region="ca-west-1")[1]) == digest
    assert get(cloud, f"real/team/app/blobs/{digests.of(layer)}", region="ca-west-1") == (200, layer)
