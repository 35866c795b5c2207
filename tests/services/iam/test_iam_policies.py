"""Managed policies and their versions, inline policies, attachments, boundaries."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from iam_calls import ADMIN, READ, WRITE, allow, document, refused, trust

from cloudstead.services.iam import aws_managed


def of_size(characters: int) -> str:
    """A policy with so many characters that count, and some white space."""
    text = document(allow("s3:Get", "arn:aws:s3:::"))
    missing = characters - len("".join(text.split()))
    return text.replace("s3:::", "s3:::" + "x" * missing)


def made(iam: Any, name: str = "policy", **more: Any) -> str:
    return str(iam.create_policy(PolicyName=name, PolicyDocument=READ, **more)["Policy"]["Arn"])


def test_a_policy_is_shown_as_it_was_made(iam: Any, account: str) -> None:
    arn = made(iam, "Policy", Path="/p/q/", Description="reads", Tags=[{"Key": "a", "Value": "b"}])
    assert arn == f"arn:aws:iam::{account}:policy/p/q/Policy"
    policy = iam.get_policy(PolicyArn=arn)["Policy"]
    assert re.fullmatch("ANPA[A-Z2-7]{17}", policy["PolicyId"])
    shown = {key: policy[key] for key in ("DefaultVersionId", "AttachmentCount", "IsAttachable", "Description", "Path", "Tags")}
    assert shown == {
        "DefaultVersionId": "v1",
        "AttachmentCount": 0,
        "IsAttachable": True,
        "Description": "reads",
        "Path": "/p/q/",
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == json.loads(READ)
    sentence = "A policy called policy already exists. Duplicate names are not allowed."
    refused(iam.create_policy, "EntityAlreadyExists", sentence, PolicyName="policy", PolicyDocument=READ)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no", "Syntax errors in policy."),
        ('{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get"}}', "Policy statement must contain resources."),
        (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"Get","Resource":"*"}}',
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        ('{"Statement":{"Effect":"Allow","Action":"s3:Get","Resource":"*"}}', "Policy document must be version 2012-10-17 or greater."),
    ],
)
def test_what_is_no_policy_is_refused(iam: Any, text: str, sentence: str) -> None:
    refused(iam.create_policy, "MalformedPolicyDocument", sentence, PolicyName="p", PolicyDocument=text)
    refused(iam.create_policy_version, "MalformedPolicyDocument", sentence, PolicyArn=made(iam), PolicyDocument=text)


def test_a_policy_has_6144_characters_at_most(iam: Any) -> None:
    iam.create_policy(PolicyName="full", PolicyDocument=of_size(6144))
    sentence = "Cannot exceed quota for PolicySize: 6144"
    refused(iam.create_policy, "LimitExceeded", sentence, PolicyName="p", PolicyDocument=of_size(6145))


def test_versions_are_numbered_on_and_five_at_most(iam: Any) -> None:
    arn = made(iam)
    for number in range(2, 6):
        version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=WRITE, SetAsDefault=number == 3)["PolicyVersion"]
        assert (version["VersionId"], version["IsDefaultVersion"]) == (f"v{number}", number == 3)
    refused(
        iam.create_policy_version,
        "LimitExceeded",
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
        PolicyArn=arn,
        PolicyDocument=READ,
    )
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)["PolicyVersion"]["VersionId"] == "v6"
    listed = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(one["VersionId"], one["IsDefaultVersion"]) for one in listed] == [
        ("v6", False), ("v4", False), ("v3", True), ("v2", False), ("v1", False),
    ]  # fmt: skip
    pages = iam.get_paginator("list_policy_versions").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 2})
    assert [len(page["Versions"]) for page in pages] == [2, 2, 1]


def test_the_default_version_can_be_chosen_and_not_deleted(iam: Any) -> None:
    arn = made(iam)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=WRITE)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    sentence = "Cannot delete the default version of a policy."
    refused(iam.delete_policy_version, "DeleteConflict", sentence, PolicyArn=arn, VersionId="v2")
    for call in (iam.get_policy_version, iam.set_default_policy_version, iam.delete_policy_version):
        sentence = f"Policy {arn} version v9 does not exist or is not attachable."
        refused(call, "NoSuchEntity", sentence, PolicyArn=arn, VersionId="v9")
        sentence = f"Policy {arn}x version v1 does not exist or is not attachable."
        refused(call, "NoSuchEntity", sentence, PolicyArn=f"{arn}x", VersionId="v1")


def test_a_policy_can_be_deleted_when_nobody_has_it_and_one_version_is_left(iam: Any) -> None:
    arn = made(iam)
    iam.create_user(UserName="alice", PermissionsBoundary=arn)
    refused(iam.delete_policy, "DeleteConflict", "Cannot delete a policy attached to entities.", PolicyArn=arn)
    iam.delete_user_permissions_boundary(UserName="alice")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=WRITE)
    assert refused(iam.delete_policy, "DeleteConflict", PolicyArn=arn).startswith("This policy has more than one version.")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    for call in (iam.get_policy, iam.delete_policy, iam.list_policy_versions):
        refused(call, "NoSuchEntity", f"Policy {arn} was not found.", PolicyArn=arn)
    sentence = f"Policy {arn} does not exist or is not attachable."
    refused(iam.list_entities_for_policy, "NoSuchEntity", sentence, PolicyArn=arn)


def test_what_is_no_arn_of_a_policy_is_refused(iam: Any) -> None:
    iam.create_user(UserName="alice")
    attach = iam.attach_user_policy
    refused(attach, "ValidationError", "ARN longpolicynamebutnoarn is not valid.", UserName="alice", PolicyArn="longpolicynamebutnoarn")
    arn = "arn:aws:iam::000000000000:role/x"
    refused(attach, "InvalidInput", f"ARN {arn} is not valid.", UserName="alice", PolicyArn=arn)


def test_awss_own_policies_are_there_to_read_and_attach_only(iam: Any) -> None:
    for name in (
        "AdministratorAccess", "PowerUserAccess", "ReadOnlyAccess", "IAMFullAccess", "service-role/AmazonECSTaskExecutionRolePolicy",
        "AmazonECS_FullAccess", "service-role/AmazonEC2ContainerServiceforEC2Role", "service-role/AWSLambdaBasicExecutionRole",
        "service-role/AWSLambdaVPCAccessExecutionRole", "service-role/AWSLambdaSQSQueueExecutionRole", "AWSLambda_FullAccess",
        "service-role/AWSBatchServiceRole", "AWSBatchFullAccess", "service-role/AmazonAPIGatewayPushToCloudWatchLogs",
        "AmazonEC2ContainerRegistryPowerUser", "CloudWatchLogsFullAccess", "AmazonS3ReadOnlyAccess", "AmazonSSMManagedInstanceCore",
        "AmazonEventBridgeFullAccess", "SecretsManagerReadWrite", "AWSXRayDaemonWriteAccess", "ElasticLoadBalancingFullAccess",
        "AmazonEC2FullAccess", "AmazonVPCFullAccess", "aws-service-role/BatchServiceRolePolicy",
    ):  # fmt: skip
        arn = f"arn:aws:iam::aws:policy/{name}"
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        assert version["Document"]["Statement"]
    refused(iam.delete_policy, "AccessDenied", "Cannot delete policies outside your own account.", PolicyArn=ADMIN)
    refused(iam.create_policy_version, "AccessDenied", PolicyArn=ADMIN, PolicyDocument=READ)
    refused(iam.tag_policy, "AccessDenied", PolicyArn=ADMIN, Tags=[{"Key": "a", "Value": "b"}])


def test_awss_policies_are_read_one_at_a_time() -> None:
    first, again = (aws_managed.find(ADMIN) for _ in range(2))
    assert first is again
    assert first is not None
    assert json.loads(first.document)["Statement"][0]["Action"] == "*"
    assert aws_managed.find(ADMIN + "x") is None
    assert len(list(aws_managed.every())) > 1000


def test_policies_are_listed_by_scope_path_and_use(iam: Any) -> None:
    own, boundary = made(iam, "own", Path="/here/"), made(iam, "boundary")
    made(iam, "unused")
    iam.create_user(UserName="alice", PermissionsBoundary=boundary)
    for arn in (own, ADMIN):
        iam.attach_user_policy(UserName="alice", PolicyArn=arn)

    def listed(**parameters: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**parameters)
        return [policy["PolicyName"] for page in pages for policy in page["Policies"]]

    assert listed(Scope="Local") == ["boundary", "own", "unused"]
    assert listed(Scope="Local", PathPrefix="/here/") == ["own"]
    assert listed(OnlyAttached=True) == ["AdministratorAccess", "boundary", "own"]
    assert listed(OnlyAttached=True, Scope="AWS") == ["AdministratorAccess"]
    assert listed(PolicyUsageFilter="PermissionsPolicy") == ["AdministratorAccess", "own"]
    assert listed(PolicyUsageFilter="PermissionsBoundary") == ["boundary"]
    assert set(listed(Scope="AWS", PathPrefix="/job-function/")) > {"Billing", "NetworkAdministrator"}
    assert len(listed()) == len(listed(Scope="AWS")) + 3


@pytest.mark.parametrize("kind", ["user", "group", "role"])
def test_policies_are_attached_once_and_ten_at_most(iam: Any, kind: str) -> None:
    who = {f"{kind.title()}Name": "one"}
    getattr(iam, f"create_{kind}")(**who, **({"AssumeRolePolicyDocument": trust()} if kind == "role" else {}))
    attach, detach, listed = (
        getattr(iam, f"{verb}_{kind}_{noun}") for verb, noun in (("attach", "policy"), ("detach", "policy"), ("list_attached", "policies"))
    )
    arns = [made(iam, f"p{number}", Path="/even/" if number % 2 == 0 else "/") for number in range(11)]
    for arn in arns[:10]:
        attach(**who, PolicyArn=arn)
    attach(**who, PolicyArn=arns[0])
    refused(attach, "LimitExceeded", f"Cannot exceed quota for PoliciesPer{kind.title()}: 10", **who, PolicyArn=arns[10])
    refused(attach, "NoSuchEntity", f"Policy {arns[0]}x does not exist or is not attachable.", **who, PolicyArn=f"{arns[0]}x")
    refused(detach, "NoSuchEntity", f"Policy {arns[10]} was not found.", **who, PolicyArn=arns[10])
    assert len(listed(**who)["AttachedPolicies"]) == 10
    assert [one["PolicyName"] for one in listed(**who, PathPrefix="/even/")["AttachedPolicies"]] == ["p0", "p2", "p4", "p6", "p8"]
    assert iam.get_policy(PolicyArn=arns[0])["Policy"]["AttachmentCount"] == 1
    detach(**who, PolicyArn=arns[0])
    assert iam.get_policy(PolicyArn=arns[0])["Policy"]["AttachmentCount"] == 0


def test_a_policy_of_a_service_linked_role_cannot_be_attached(iam: Any) -> None:
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    refused(
        iam.attach_role_policy,
        "PolicyNotAttachable",
        "Cannot attach a Service Role Policy to a Customer Role.",
        RoleName="role",
        PolicyArn="arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy",
    )


@pytest.mark.parametrize(("kind", "longest"), [("user", 2048), ("group", 5120), ("role", 10240)])
def test_inline_policies_stand_in_their_owner(iam: Any, kind: str, longest: int) -> None:
    who = {f"{kind.title()}Name": "one"}
    getattr(iam, f"create_{kind}")(**who, **({"AssumeRolePolicyDocument": trust()} if kind == "role" else {}))
    put, get, delete = (getattr(iam, f"{verb}_{kind}_policy") for verb in ("put", "get", "delete"))
    listed = getattr(iam, f"list_{kind}_policies")
    put(**who, PolicyName="b", PolicyDocument=READ)
    put(**who, PolicyName="a", PolicyDocument=READ)
    put(**who, PolicyName="a", PolicyDocument=WRITE)
    assert listed(**who)["PolicyNames"] == ["a", "b"]
    answer = get(**who, PolicyName="a")
    assert (answer["PolicyDocument"], answer[f"{kind.title()}Name"]) == (json.loads(WRITE), "one")
    sentence = f"Maximum policy size of {longest} bytes exceeded for {kind} one"
    refused(put, "LimitExceeded", sentence, **who, PolicyName="c", PolicyDocument=of_size(longest))
    refused(put, "MalformedPolicyDocument", **who, PolicyName="c", PolicyDocument="{}")
    delete(**who, PolicyName="a")
    for call in (get, delete):
        refused(call, "NoSuchEntity", f"The {kind} policy with name a cannot be found.", **who, PolicyName="a")
    put(**who, PolicyName="c", PolicyDocument=of_size(longest - len("".join(READ.split()))))


def test_a_boundary_is_a_policy_that_is_there(iam: Any) -> None:
    arn = made(iam)
    iam.create_user(UserName="alice")
    iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=arn)
    boundary = iam.get_user(UserName="alice")["User"]["PermissionsBoundary"]
    assert boundary["PermissionsBoundaryArn"] == arn
    assert iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    put = iam.put_user_permissions_boundary
    refused(put, "NoSuchEntity", UserName="alice", PermissionsBoundary=f"{arn}x")
    refused(put, "ValidationError", UserName="alice", PermissionsBoundary="not-an-arn-but-long-enough")
    iam.delete_user_permissions_boundary(UserName="alice")
    assert "PermissionsBoundary" not in iam.get_user(UserName="alice")["User"]
    refused(iam.delete_user_permissions_boundary, "NoSuchEntity", UserName="alice")


def test_those_who_have_a_policy_are_told(iam: Any) -> None:
    arn = made(iam)
    iam.create_user(UserName="alice", Path="/staff/", PermissionsBoundary=arn)
    iam.create_user(UserName="bob", PermissionsBoundary=arn)
    iam.attach_user_policy(UserName="bob", PolicyArn=arn)
    iam.create_group(GroupName="group")
    iam.attach_group_policy(GroupName="group", PolicyArn=arn)
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    iam.attach_role_policy(RoleName="role", PolicyArn=arn)

    def who(**parameters: Any) -> list[str]:
        pages = iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=arn, **parameters, PaginationConfig={"PageSize": 2})
        found: list[str] = []
        for page in pages:
            found += [one["UserName"] for one in page["PolicyUsers"]]
            found += [one["GroupName"] for one in page["PolicyGroups"]]
            found += [one["RoleName"] for one in page["PolicyRoles"]]
        return sorted(found)

    assert who() == ["alice", "bob", "group", "role"]
    assert who(EntityFilter="User") == ["alice", "bob"]
    assert who(PolicyUsageFilter="PermissionsPolicy") == ["bob", "group", "role"]
    assert who(PolicyUsageFilter="PermissionsBoundary") == ["alice", "bob"]
    assert who(PathPrefix="/staff/") == ["alice"]


def test_those_policies_are_told_that_speak_of_a_service(iam: Any, account: str) -> None:
    arn = made(iam)
    iam.create_user(UserName="alice")
    iam.put_user_policy(UserName="alice", PolicyName="inline", PolicyDocument=document(allow(["sqs:*", "s*:List"])))
    iam.create_group(GroupName="group")
    iam.add_user_to_group(GroupName="group", UserName="alice")
    iam.attach_group_policy(GroupName="group", PolicyArn=arn)
    answer = iam.list_policies_granting_service_access(Arn=f"arn:aws:iam::{account}:user/alice", ServiceNamespaces=["s3", "sqs", "ec2"])[
        "PoliciesGrantingServiceAccess"
    ]
    found = {entry["ServiceNamespace"]: [policy["PolicyName"] for policy in entry["Policies"]] for entry in answer}
    assert found == {"ec2": [], "s3": ["inline", "policy"], "sqs": ["inline"]}
