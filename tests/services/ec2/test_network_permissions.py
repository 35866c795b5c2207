"""Where policies are enforced: what EC2 asks of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudstead import datadir
from support import CloudThread

Refusal = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", iam="enforce") as running:
        yield running


@pytest.fixture(scope="module")
def root(strict: CloudThread) -> Callable[[str], Any]:
    key = datadir.root_key(strict.running.cloud.data)
    return lambda service: strict.client(service, key=key.access_key_id, secret=key.secret_access_key)


@pytest.fixture
def user(strict: CloudThread, root: Callable[[str], Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    """An EC2 client of a user with these rights."""
    name = request.node.name[:60]

    def made(*statements: dict[str, Any]) -> Any:
        iam = root("iam")
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return strict.client("ec2", key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    return made


def allow(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def tagged(kind: str, **tags: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def test_a_policy_can_ask_for_tags_of_what_is_made(user: Callable[..., Any], refusal: Refusal) -> None:
    condition = {"StringEquals": {"aws:RequestTag/team": "shop"}}
    creating = {"StringEquals": {"ec2:CreateAction": "CreateVpc"}}
    ec2 = user(allow("ec2:CreateVpc", Condition=condition), allow("ec2:CreateTags", Condition=creating))
    assert ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", team="shop"))["Vpc"]["Tags"]
    assert refusal(ec2.create_vpc, CidrBlock="10.0.0.0/16")[0] == "UnauthorizedOperation"
    assert refusal(ec2.create_vpc, CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", team="bank"))[0] == "UnauthorizedOperation"


def test_tags_at_creation_need_the_permission_to_tag(user: Callable[..., Any], refusal: Refusal) -> None:
    ec2 = user(allow("ec2:CreateVpc"))
    code, sentence = refusal(ec2.create_vpc, CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", team="shop"))
    assert code == "UnauthorizedOperation"
    assert "ec2:CreateTags" in sentence


def test_a_policy_can_go_by_the_tags_of_a_resource(user: Callable[..., Any], root: Callable[[str], Any], refusal: Refusal) -> None:
    admin = root("ec2")
    mine = admin.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", team="shop"))["Vpc"]["VpcId"]
    other = admin.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    condition = {"StringEquals": {"aws:ResourceTag/team": "shop", "ec2:Region": "us-east-1"}}
    ec2 = user(allow("ec2:DeleteVpc", "arn:aws:ec2:*:*:vpc/*", Condition=condition))
    assert refusal(ec2.delete_vpc, VpcId=other)[0] == "UnauthorizedOperation"
    assert refusal(ec2.delete_vpc, VpcId=mine, DryRun=True)[0] == "DryRunOperation"
    assert refusal(ec2.delete_vpc, VpcId=other, DryRun=True)[0] == "UnauthorizedOperation"
    ec2.delete_vpc(VpcId=mine)


def test_every_resource_of_a_call_is_asked_about(user: Callable[..., Any], root: Callable[[str], Any], refusal: Refusal) -> None:
    admin = root("ec2")
    vpc = admin.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2 = user(allow("ec2:CreateSubnet", "arn:aws:ec2:*:*:subnet/*"))
    code, sentence = refusal(ec2.create_subnet, VpcId=vpc, CidrBlock="10.0.1.0/24")
    assert code == "UnauthorizedOperation"
    assert f"vpc/{vpc}" in sentence
