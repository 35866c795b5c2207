"""Repositories over the wire: made, found, set, deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from image_calls import refused

from cloudstead.engine.registry.errors import NameUnknown
from cloudstead.kernel import quotas
from cloudstead.services.ecr import addresses, api, pushes, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import PREVIEWS, SCANS, Preview, Scan
from registry_client import Wire, token_of, wire_of
from support import CloudThread, context_in, local_cloud

ACCOUNT = "210000000001"


@pytest.fixture(scope="module")
def ecr(cloud: CloudThread) -> Any:
    return cloud.client("ecr", key=ACCOUNT)


def test_a_repository_is_what_it_was_asked_to_be(cloud: CloudThread, ecr: Any) -> None:
    made = ecr.create_repository(
        repositoryName="made/as-asked",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "AES256"},
        tags=[{"Key": "team", "Value": "a"}],
    )["repository"]
    port = cloud.endpoint.rpartition(":")[2]
    assert made["repositoryArn"] == f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/made/as-asked"
    assert made["repositoryUri"] == f"{ACCOUNT}.dkr.ecr.us-east-1.localhost:{port}/made/as-asked"
    assert made["registryId"] == ACCOUNT
    assert made["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "dev-*"}]
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert ecr.describe_repositories(repositoryNames=["made/as-asked"])["repositories"] == [made]
    assert ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"] == [{"Key": "team", "Value": "a"}]


def test_a_name_is_taken_once_in_a_region(cloud: CloudThread, ecr: Any) -> None:
    ecr.create_repository(repositoryName="taken")
    sentence = refused(ecr.create_repository, "RepositoryAlreadyExistsException", repositoryName="taken")
    assert sentence == f"The repository with name 'taken' already exists in the registry with id '{ACCOUNT}'"
    cloud.client("ecr", key=ACCOUNT, region="eu-west-1").create_repository(repositoryName="taken")


@pytest.mark.parametrize("name", ["Upper", "two//slashes", "-dash", "end-", "x" * 257, "a..b"])
def test_names_that_docker_could_not_say_are_refused(ecr: Any, name: str) -> None:
    message = refused(ecr.create_repository, "InvalidParameterException", repositoryName=name)
    assert "repositoryName" in message


def test_an_unknown_repository_is_refused_in_the_words_of_aws(ecr: Any) -> None:
    sentence = f"The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'"
    for call in (ecr.delete_repository, ecr.get_repository_policy, ecr.delete_repository_policy):
        assert refused(call, "RepositoryNotFoundException", repositoryName="nowhere") == sentence
    ecr.create_repository(repositoryName="somewhere")
    names = ["somewhere", "nowhere"]
    assert refused(ecr.describe_repositories, "RepositoryNotFoundException", repositoryNames=names) == sentence


def test_repositories_are_listed_by_the_page(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key="210000000002")
    names = [f"page/{number:03}" for number in range(7)]
    for name in names:
        ecr.create_repository(repositoryName=name)
    pages = list(ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["repositories"]) for page in pages] == [3, 3, 1]
    assert [each["repositoryName"] for page in pages for each in page["repositories"]] == names
    refused(ecr.describe_repositories, "InvalidParameterException", nextToken="bm90IG91cnM=")
    refused(ecr.describe_repositories, "InvalidParameterException", repositoryNames=names[:1], maxResults=3)


def test_only_an_empty_repository_goes_without_force(cloud: CloudThread, ecr: Any) -> None:
    ecr.create_repository(repositoryName="full")
    wire = wire_of(cloud, ACCOUNT)
    pushed = wire.push("full", "1")
    assert refused(ecr.delete_repository, "RepositoryNotEmptyException", repositoryName="full") == (
        f"The repository with name 'full' in registry with id '{ACCOUNT}' cannot be deleted because it still contains images"
    )
    assert ecr.delete_repository(repositoryName="full", force=True)["repository"]["repositoryName"] == "full"
    assert wire.ask("GET", "full/manifests/1").error[0] == "NAME_UNKNOWN"
    ecr.create_repository(repositoryName="full")  # another of its name has nothing of it
    assert wire.ask("GET", "full/manifests/1").status == 404
    assert wire.ask("GET", f"full/manifests/{pushed}").status == 404


@pytest.mark.parametrize(
    ("mode", "filters"),
    [
        ("MUTABLE", ["v*"]),
        ("IMMUTABLE", ["v*"]),
        ("MUTABLE_WITH_EXCLUSION", []),
        ("IMMUTABLE_WITH_EXCLUSION", ["v*", "v*"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a*b*c*"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a", "b", "c", "d", "e", "f"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a/b"]),
    ],
)
def test_filters_that_mean_nothing_are_refused(ecr: Any, mode: str, filters: list[str]) -> None:
    about: dict[str, Any] = {"imageTagMutability": mode}
    if filters:
        about["imageTagMutabilityExclusionFilters"] = [{"filterType": "WILDCARD", "filter": each} for each in filters]
    refused(ecr.create_repository, "InvalidParameterException", repositoryName="never-made", **about)


def test_which_tags_may_be_moved_can_be_changed(cloud: CloudThread, ecr: Any) -> None:
    ecr.create_repository(repositoryName="tags/moved")
    wire = wire_of(cloud, ACCOUNT)
    first = wire.push("tags/moved", "v1")
    answer = ecr.put_image_tag_mutability(
        repositoryName="tags/moved",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest*"}],
    )
    assert answer["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "latest*"}]
    wire.push("tags/moved", "latest", "one")
    wire.push("tags/moved", "latest", "two")
    wire.push("tags/moved", "v1", "v1")  # the same image again
    with pytest.raises(AssertionError, match="immutable"):
        wire.push("tags/moved", "v1", "another")
    assert wire.ask("HEAD", "tags/moved/manifests/v1").headers["Docker-Content-Digest"] == first
    ecr.put_image_tag_mutability(repositoryName="tags/moved", imageTagMutability="MUTABLE")
    assert wire.push("tags/moved", "v1", "another") != first
    (described,) = ecr.describe_repositories(repositoryNames=["tags/moved"])["repositories"]
    assert "imageTagMutabilityExclusionFilters" not in described


def test_encryption_with_a_key_of_kms_is_refused(ecr: Any) -> None:
    for configuration in ({"encryptionType": "KMS"}, {"encryptionType": "AES256", "kmsKey": "alias/x"}):
        refused(ecr.create_repository, "InvalidParameterException", repositoryName="with-key", encryptionConfiguration=configuration)


def test_tags_follow_the_rules_of_aws(ecr: Any) -> None:
    arn = ecr.create_repository(repositoryName="tagged")["repository"]["repositoryArn"]
    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ecr.untag_resource(resourceArn=arn, tagKeys=["a", "unknown"])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    refused(ecr.tag_resource, "TooManyTagsException", resourceArn=arn, tags=many)
    refused(ecr.create_repository, "TooManyTagsException", repositoryName="too-many", tags=many)
    refused(ecr.tag_resource, "InvalidTagParameterException", resourceArn=arn, tags=[{"Key": "aws:x", "Value": ""}])
    refused(ecr.tag_resource, "RepositoryNotFoundException", resourceArn=arn + "-not", tags=[])
    for wrong in (
        "nonsense",
        arn.replace(":ecr:", ":ecs:"),
        arn.replace("us-east-1", "eu-west-1"),
        arn.replace("/", ":"),
        arn.replace(ACCOUNT, ""),
    ):
        refused(ecr.list_tags_for_resource, "InvalidParameterException", resourceArn=wrong)


def test_what_is_scanned_is_told_of_several_repositories(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key="210000000003")
    for name in ("prod/app", "dev/app", "dev/own"):
        ecr.create_repository(repositoryName=name)
    ecr.put_image_scanning_configuration(repositoryName="dev/own", imageScanningConfiguration={"scanOnPush": True})
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}
    rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "prod/*", "filterType": "WILDCARD"}]}]
    put = ecr.put_registry_scanning_configuration(scanType="BASIC", rules=rules)["registryScanningConfiguration"]
    assert put == ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": rules}
    answer = ecr.batch_get_repository_scanning_configuration(repositoryNames=["prod/app", "dev/app", "dev/own", "gone"])
    told = {each["repositoryName"]: (each["scanFrequency"], len(each["appliedScanFilters"])) for each in answer["scanningConfigurations"]}
    assert told == {"prod/app": ("SCAN_ON_PUSH", 1), "dev/app": ("MANUAL", 0), "dev/own": ("SCAN_ON_PUSH", 0)}
    assert answer["failures"] == [
        {"repositoryName": "gone", "failureCode": "REPOSITORY_NOT_FOUND", "failureReason": "REPOSITORY_NOT_FOUND"}
    ]
    refused(ecr.put_registry_scanning_configuration, "InvalidParameterException", scanType="ENHANCED", rules=[])
    rules[0]["scanFrequency"] = "CONTINUOUS_SCAN"
    refused(ecr.put_registry_scanning_configuration, "InvalidParameterException", scanType="BASIC", rules=rules)


def test_settings_have_defaults_and_known_values(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key="210000000004")
    assert ecr.get_account_setting(name="BLOB_MOUNTING")["value"] == "ENABLED"
    assert ecr.get_account_setting(name="REGISTRY_POLICY_SCOPE")["value"] == "V2"
    assert ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")["value"] == "DISABLED"
    assert ecr.get_account_setting(name="BLOB_MOUNTING")["value"] == "DISABLED"
    assert cloud.client("ecr", key="210000000004", region="eu-west-1").get_account_setting(name="BLOB_MOUNTING")["value"] == "ENABLED"
    refused(ecr.put_account_setting, "InvalidParameterException", name="BLOB_MOUNTING", value="PERHAPS")
    refused(ecr.get_account_setting, "InvalidParameterException", name="NO_SUCH_THING")


def test_signing_is_kept_and_images_are_told_unsigned(cloud: CloudThread, ecr: Any) -> None:
    refused(ecr.get_signing_configuration, "SigningConfigurationNotFoundException")
    profile = f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/mine"
    rules = [{"signingProfileArn": profile, "repositoryFilters": [{"filter": "signed/*", "filterType": "WILDCARD_MATCH"}]}]
    ecr.put_signing_configuration(signingConfiguration={"rules": rules})
    assert ecr.get_signing_configuration()["signingConfiguration"] == {"rules": rules}
    for name in ("signed/a", "unsigned/a"):
        ecr.create_repository(repositoryName=name)
        wire_of(cloud, ACCOUNT).push(name, "1")
    (told,) = ecr.describe_image_signing_status(repositoryName="signed/a", imageId={"imageTag": "1"})["signingStatuses"]
    assert (told["status"], told["signingProfileArn"]) == ("FAILED", profile)
    assert ecr.describe_image_signing_status(repositoryName="unsigned/a", imageId={"imageTag": "1"})["signingStatuses"] == []
    refused(ecr.describe_image_signing_status, "ImageNotFoundException", repositoryName="signed/a", imageId={"imageTag": "2"})
    assert ecr.delete_signing_configuration()["signingConfiguration"] == {"rules": rules}
    refused(ecr.delete_signing_configuration, "SigningConfigurationNotFoundException")


def test_pulls_of_excluded_principals_do_not_count(cloud: CloudThread, ecr: Any) -> None:
    iam = cloud.client("iam", key=ACCOUNT)
    arn = iam.create_user(UserName="scanner")["User"]["Arn"]
    key = iam.create_access_key(UserName="scanner")["AccessKey"]
    ecr.create_repository(repositoryName="pulled")
    wire_of(cloud, ACCOUNT).push("pulled", "1")
    assert ecr.register_pull_time_update_exclusion(principalArn=arn)["principalArn"] == arn
    refused(ecr.register_pull_time_update_exclusion, "ExclusionAlreadyExistsException", principalArn=arn)
    assert ecr.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == [arn]

    def pulled(account: str, secret: str = "test") -> Any:
        wire = Wire(cloud, token_of(cloud.client("ecr", key=account, secret=secret)))
        assert wire.ask("GET", "pulled/manifests/1").status == 200
        return ecr.describe_images(repositoryName="pulled")["imageDetails"][0].get("lastRecordedPullTime")

    assert pulled(key["AccessKeyId"], key["SecretAccessKey"]) is None
    assert ecr.deregister_pull_time_update_exclusion(principalArn=arn)["principalArn"] == arn
    refused(ecr.deregister_pull_time_update_exclusion, "ExclusionNotFoundException", principalArn=arn)
    first = pulled(key["AccessKeyId"], key["SecretAccessKey"])
    assert first is not None
    assert pulled(ACCOUNT) == first  # not written at each pull


async def test_nothing_stays_of_a_push_whose_repository_was_deleted_meanwhile(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        await cloud.ready("ecr")
        ctx = context_in(cloud)
        await ctx.call(api.CreateRepositoryRequest(repository_name="going"))
        rules = repositories.rules_of(ctx, repositories.require(ctx, "going"))
        await ctx.call(api.DeleteRepositoryRequest(repository_name="going"))
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}).encode()
        with pytest.raises(NameUnknown, match="'going' does not exist"):
            await catalog(ctx).put(rules, index, tag="1")
        assert list(catalog(ctx).images_of(rules.repository)) == []
        assert catalog(ctx).tags_of(rules.repository) == []


async def test_what_is_written_about_images_goes_with_their_repository(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        await cloud.ready("ecr")
        ctx = context_in(cloud)
        here: dict[str, Any] = {"account": ctx.account, "region": ctx.region}
        for name in ("goes", "stays"):
            await ctx.call(api.CreateRepositoryRequest(repository_name=name))
            with ctx.transaction() as tx:
                tx.insert(SCANS, Scan(**here, repository=name, digest="sha256:0", status="COMPLETE", requested=0.0))
                tx.insert(PREVIEWS, Preview(**here, repository=name, policy="{}", started=0.0))
        await ctx.call(api.DeleteRepositoryRequest(repository_name="goes"))
        assert [row.repository for row in ctx.table(SCANS).scan()] == ["stays"]
        assert [row.repository for row in ctx.table(PREVIEWS).scan()] == ["stays"]


async def test_no_more_repositories_are_made_than_the_quota_allows(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        await cloud.ready("ecr")
        ctx = context_in(cloud)
        with ctx.transaction() as tx:
            quotas.grant(ctx, tx, "ecr", "repositories", 1)
        await ctx.call(api.CreateRepositoryRequest(repository_name="first"))
        with pytest.raises(api.LimitExceededException):
            await ctx.call(api.CreateRepositoryRequest(repository_name="second"))


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://127.0.0.1:4566", "000000000000.dkr.ecr.eu-west-1.localhost:4566"),
        ("http://localhost:80", "000000000000.dkr.ecr.eu-west-1.localhost:80"),
        ("https://[::1]:4566", "000000000000.dkr.ecr.eu-west-1.localhost:4566"),
        ("https://cloud.example.org", "000000000000.dkr.ecr.eu-west-1.cloud.example.org"),
        ("http://192.0.2.7:4566", "192.0.2.7:4566"),
        ("http://[2001:db8::1]:4566", "[2001:db8::1]:4566"),
    ],
)
def test_registries_have_names_below_where_cloudstead_is(endpoint: str, host: str) -> None:
    assert addresses.registry_host(endpoint, "000000000000", "eu-west-1") == host
    assert addresses.registry_url(endpoint, "000000000000", "eu-west-1") == f"{endpoint.partition(':')[0]}://{host}"
    place = addresses.place_of(host)
    assert place == (("000000000000", "eu-west-1") if "dkr" in host else None)


@pytest.mark.parametrize("suffix", ["dkr.ecr.us-east-1.amazonaws.com", "dkr.ecr-fips.us-east-1.amazonaws.com", "dkr-ecr.us-east-1.on.aws"])
def test_names_that_aws_gives_are_understood(suffix: str) -> None:
    assert addresses.place_of(f"123456789012.{suffix}") == ("123456789012", "us-east-1")


def test_every_function_that_follows_from_a_push_is_there() -> None:
    for references in (pushes.PUSHED, pushes.REMOVED, pushes.UNTAGGED):
        assert all(callable(each) for each in pushes._functions(references, ()))
