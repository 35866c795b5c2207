"""Public repositories: their names, addresses, catalog data, policies and tags, as boto3 sees them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from botocore import session, xform_name
from botocore.exceptions import ClientError

from support import ACCOUNT, CloudThread

POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "push", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": ["ecr-public:Describe*"]}
        ],
    }
)


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_registry_gets_its_alias_with_its_first_repository(cloud: CloudThread) -> None:
    client = cloud.client("ecr-public", key="222222222222")
    before = client.describe_registries()["registries"][0]
    assert before["aliases"] == []
    made = client.create_repository(repositoryName="first")["repository"]
    registry = client.describe_registries()["registries"][0]
    alias = registry["aliases"][0]
    port = cloud.endpoint.rpartition(":")[2]
    assert registry["registryId"] == "222222222222"
    assert registry["registryArn"] == "arn:aws:ecr-public::222222222222:registry/222222222222"
    assert registry["verified"] is False
    assert alias == {"name": alias["name"], "status": "ACTIVE", "primaryRegistryAlias": True, "defaultRegistryAlias": True}
    assert len(alias["name"]) == 8
    assert registry["registryUri"] == f"public.ecr.localhost:{port}/{alias['name']}"
    assert made["repositoryUri"] == f"public.ecr.localhost:{port}/{alias['name']}/first"


def test_a_repository_is_made_described_and_deleted(public: Any) -> None:
    made = public.create_repository(repositoryName="team/app")
    assert made["catalogData"] == {}
    repository = made["repository"]
    assert repository["repositoryArn"] == f"arn:aws:ecr-public::{ACCOUNT}:repository/team/app"
    assert repository["registryId"] == ACCOUNT
    assert public.describe_repositories(repositoryNames=["team/app"])["repositories"] == [repository]
    assert public.describe_repositories(registryId=ACCOUNT, repositoryNames=["team/app"])["repositories"] == [repository]
    assert public.delete_repository(repositoryName="team/app")["repository"] == repository
    code, message = refused(public.describe_repositories, repositoryNames=["team/app"])
    assert code == "RepositoryNotFoundException"
    assert message == f"The repository with name 'team/app' does not exist in the registry with id '{ACCOUNT}'"


def test_a_name_is_taken_once(public: Any) -> None:
    public.create_repository(repositoryName="taken")
    code, message = refused(public.create_repository, repositoryName="taken")
    assert code == "RepositoryAlreadyExistsException"
    assert message == f"The repository with name 'taken' already exists in the registry with id '{ACCOUNT}'"


def test_repositories_come_by_the_page(cloud: CloudThread) -> None:
    client = cloud.client("ecr-public", key="333333333333")
    for number in range(5):
        client.create_repository(repositoryName=f"paged-{number}")
    pages = list(client.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["repositories"]) for page in pages] == [2, 2, 1]
    assert [one["repositoryName"] for page in pages for one in page["repositories"]] == [f"paged-{number}" for number in range(5)]
    assert refused(client.describe_repositories, nextToken="nonsense")[0] == "InvalidParameterException"


MEMBERS: dict[str, Any] = {
    "repositoryName": "any",
    "resourceArn": f"arn:aws:ecr-public::{ACCOUNT}:repository/any",
    "catalogData": {},
    "imageIds": [{"imageTag": "x"}],
    "imageManifest": "{}",
    "layerDigests": [f"sha256:{'0' * 64}"],
    "layerPartBlob": b"x",
    "partFirstByte": 0,
    "partLastByte": 0,
    "policyText": "{}",
    "tagKeys": [],
    "tags": [],
    "uploadId": "00000000-0000-0000-0000-000000000000",
}
OPERATIONS = session.Session().get_service_model("ecr-public")


@pytest.mark.parametrize("name", OPERATIONS.operation_names)
def test_other_regions_have_no_public_registry(cloud: CloudThread, name: str) -> None:
    client = cloud.client("ecr-public", region="eu-west-1")
    shape = OPERATIONS.operation_model(name).input_shape
    given = {member: MEMBERS[member] for member in (shape.required_members if shape is not None else ())}
    assert refused(getattr(client, xform_name(name)), **given) == (
        "UnsupportedCommandException",
        f"{name} command is only supported in us-east-1.",
    )


def test_catalog_data_are_kept_and_replaced_as_a_whole(public: Any) -> None:
    logo = b"\x89PNG\r\n\x1a\nnot much of a picture"
    given = {
        "description": "A thing",
        "architectures": ["ARM 64", "x86-64"],
        "operatingSystems": ["Linux"],
        "logoImageBlob": logo,
        "aboutText": "# About",
        "usageText": "Use it.",
    }
    made = public.create_repository(repositoryName="shown", catalogData=given)["catalogData"]
    url = made.pop("logoUrl")
    assert url == f"data:image/png;base64,{base64.b64encode(logo).decode()}"
    del given["logoImageBlob"]
    assert made == given | {"marketplaceCertified": False}
    assert public.get_repository_catalog_data(repositoryName="shown")["catalogData"] == made | {"logoUrl": url}
    public.put_repository_catalog_data(repositoryName="shown", catalogData={"description": "Another"})
    assert public.get_repository_catalog_data(repositoryName="shown")["catalogData"] == {
        "description": "Another",
        "marketplaceCertified": False,
    }
    public.put_repository_catalog_data(repositoryName="shown", catalogData={})
    assert public.get_repository_catalog_data(repositoryName="shown")["catalogData"] == {}


def test_a_registry_has_a_display_name(cloud: CloudThread) -> None:
    client = cloud.client("ecr-public", key="444444444444")
    assert client.get_registry_catalog_data()["registryCatalogData"] == {}
    assert client.put_registry_catalog_data(displayName="Acme")["registryCatalogData"] == {"displayName": "Acme"}
    assert client.get_registry_catalog_data()["registryCatalogData"] == {"displayName": "Acme"}
    client.create_repository(repositoryName="first")
    assert client.get_registry_catalog_data()["registryCatalogData"] == {"displayName": "Acme"}
    client.put_registry_catalog_data()
    assert client.get_registry_catalog_data()["registryCatalogData"] == {}


def test_a_policy_is_set_told_and_deleted(public: Any) -> None:
    public.create_repository(repositoryName="guarded")
    code, message = refused(public.get_repository_policy, repositoryName="guarded")
    assert code == "RepositoryPolicyNotFoundException"
    assert message == f"Repository policy does not exist for the repository with name 'guarded' in the registry with id '{ACCOUNT}'"
    wanted = {"registryId": ACCOUNT, "repositoryName": "guarded", "policyText": POLICY}
    for answer in (
        public.set_repository_policy(repositoryName="guarded", policyText=POLICY),
        public.get_repository_policy(repositoryName="guarded"),
        public.delete_repository_policy(repositoryName="guarded"),
    ):
        answer.pop("ResponseMetadata")
        assert answer == wanted
    assert refused(public.delete_repository_policy, repositoryName="guarded")[0] == "RepositoryPolicyNotFoundException"


@pytest.mark.parametrize("text", ["nonsense", "{}", '{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}'])
def test_a_policy_that_is_none_is_refused(public: Any, text: str) -> None:
    public.create_repository(repositoryName="unguarded")
    try:
        code, message = refused(public.set_repository_policy, repositoryName="unguarded", policyText=text)
    finally:
        public.delete_repository(repositoryName="unguarded")
    assert code == "InvalidParameterException"
    assert "Invalid repository policy provided" in message


def test_whoever_locks_himself_out_must_mean_it(public: Any) -> None:
    public.create_repository(repositoryName="locked")
    statement = {"Effect": "Deny", "Principal": "*", "Action": "ecr-public:SetRepositoryPolicy"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert refused(public.set_repository_policy, repositoryName="locked", policyText=text)[0] == "InvalidParameterException"
    assert public.set_repository_policy(repositoryName="locked", policyText=text, force=True)["policyText"] == text


def test_another_account_sees_what_a_policy_lets_it_see(cloud: CloudThread, public: Any) -> None:
    public.create_repository(repositoryName="shared")
    friend, stranger = cloud.client("ecr-public", key="111111111111"), cloud.client("ecr-public", key="555555555555")
    asked = {"registryId": ACCOUNT, "repositoryNames": ["shared"]}
    assert refused(friend.describe_repositories, **asked)[0] == "AccessDeniedException"
    public.set_repository_policy(repositoryName="shared", policyText=POLICY)
    assert friend.describe_repositories(**asked)["repositories"][0]["repositoryName"] == "shared"
    assert friend.describe_images(registryId=ACCOUNT, repositoryName="shared")["imageDetails"] == []
    assert refused(stranger.describe_repositories, **asked)[0] == "AccessDeniedException"
    assert refused(friend.delete_repository, registryId=ACCOUNT, repositoryName="shared")[0] == "AccessDeniedException"
    assert refused(friend.describe_repositories, registryId=ACCOUNT)[0] == "AccessDeniedException"


def test_a_registry_is_found_by_its_alias(public: Any) -> None:
    public.create_repository(repositoryName="aliased")
    alias = public.describe_registries()["registries"][0]["aliases"][0]["name"]
    digest = f"sha256:{'0' * 64}"
    for registry in (alias, ACCOUNT):
        found = public.batch_check_layer_availability(registryId=registry, repositoryName="aliased", layerDigests=[digest])
        assert found["layers"] == [{"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}]
    asked = {"registryId": "nobody", "repositoryName": "aliased", "layerDigests": [digest]}
    assert refused(public.batch_check_layer_availability, **asked)[0] == "RegistryNotFoundException"


def test_tags_are_kept_on_the_repository(public: Any) -> None:
    made = public.create_repository(repositoryName="tagged", tags=[{"Key": "team", "Value": "a"}])["repository"]
    arn = made["repositoryArn"]
    public.tag_resource(resourceArn=arn, tags=[{"Key": "team", "Value": "b"}, {"Key": "empty", "Value": ""}])
    assert public.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "team", "Value": "b"}, {"Key": "empty", "Value": ""}]
    public.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert public.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "empty", "Value": ""}]


def test_tags_that_cannot_be_are_refused(public: Any) -> None:
    arn = public.create_repository(repositoryName="untagged")["repository"]["repositoryArn"]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    assert refused(public.tag_resource, resourceArn=arn, tags=many)[0] == "TooManyTagsException"
    assert refused(public.tag_resource, resourceArn=arn, tags=[{"Key": "aws:x", "Value": ""}])[0] == "InvalidTagParameterException"
    assert refused(public.tag_resource, resourceArn=arn, tags=[{"Value": "x"}])[0] == "InvalidParameterException"
    assert refused(public.tag_resource, resourceArn="nonsense", tags=[])[0] == "InvalidParameterException"
    assert (
        refused(public.tag_resource, resourceArn=arn.replace("ecr-public::", "ecr-public:eu-west-1:"), tags=[])[0]
        == "InvalidParameterException"
    )
    assert refused(public.list_tags_for_resource, resourceArn=f"{arn}-else")[0] == "RepositoryNotFoundException"


def test_policies_name_the_service_with_its_hyphen(tmp_path: Path) -> None:
    with CloudThread(tmp_path, iam="enforce") as strict:
        iam = strict.client("iam")
        iam.create_user(UserName="pusher")
        document = {
            "Effect": "Allow",
            "Action": "ecr-public:CreateRepository",
            "Resource": f"arn:aws:ecr-public::{ACCOUNT}:repository/mine",
        }
        iam.put_user_policy(
            UserName="pusher", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [document]})
        )
        key = iam.create_access_key(UserName="pusher")["AccessKey"]
        client = strict.client("ecr-public", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
        assert client.create_repository(repositoryName="mine")["repository"]["repositoryName"] == "mine"
        code, message = refused(client.create_repository, repositoryName="others")
        assert code == "AccessDeniedException"
        assert "not authorized to perform: ecr-public:CreateRepository on resource" in message


def test_what_is_there_outlives_a_restart(tmp_path: Path) -> None:
    with CloudThread(tmp_path) as first:
        client = first.client("ecr-public")
        made = client.create_repository(repositoryName="kept", catalogData={"description": "here"})
        alias = client.describe_registries()["registries"][0]["aliases"]
    with CloudThread(tmp_path) as second:
        client = second.client("ecr-public")
        assert client.get_repository_catalog_data(repositoryName="kept")["catalogData"] == made["catalogData"]
        assert client.describe_registries()["registries"][0]["aliases"] == alias
