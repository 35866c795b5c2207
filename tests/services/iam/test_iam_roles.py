"""Roles, instance profiles and service-linked roles."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any

import pytest
from iam_calls import ADMIN, READ, refused, trust

from cloudstead.services.iam import aws_managed
from cloudstead.services.iam.service_linked_roles import templates
from support import CloudThread


def test_a_role_is_shown_as_it_was_made(iam: Any, account: str) -> None:
    made = iam.create_role(
        RoleName="Role",
        Path="/r/",
        AssumeRolePolicyDocument=trust(),
        Description="for machines",
        MaxSessionDuration=7200,
        PermissionsBoundary=ADMIN,
        Tags=[{"Key": "a", "Value": ""}],
    )["Role"]
    assert made["Arn"] == f"arn:aws:iam::{account}:role/r/Role"
    assert re.fullmatch("AROA[A-Z2-7]{17}", made["RoleId"])
    role = iam.get_role(RoleName="role")["Role"]
    assert role["AssumeRolePolicyDocument"] == json.loads(trust())
    assert (role["Description"], role["MaxSessionDuration"], role["RoleLastUsed"]) == ("for machines", 7200, {})
    assert role["PermissionsBoundary"] == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": ADMIN}
    assert role["Tags"] == [{"Key": "a", "Value": ""}]
    listed = iam.list_roles(PathPrefix="/r/")["Roles"]
    assert [set(one) & {"Tags", "PermissionsBoundary", "RoleLastUsed"} for one in listed] == [set()]


def test_documents_are_percent_encoded_in_answers(cloud: CloudThread, iam: Any) -> None:
    text = trust({"Service": "ec2.amazonaws.com"}).replace('"Version"', '\n "Version"')
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=text)
    raw: list[bytes] = []
    iam.meta.events.register("after-call", lambda http_response, **_: raw.append(http_response.content))
    iam.get_role(RoleName="role")
    found = re.search(rb"<AssumeRolePolicyDocument>(.*?)</AssumeRolePolicyDocument>", raw[0])
    assert found is not None
    assert found[1].decode() == urllib.parse.quote(text, safe="")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "This policy contains invalid Json"),
        (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:Get"}}',
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}}',
            "Has prohibited field Resource",
        ),
    ],
)
def test_what_is_no_trust_policy_is_refused(iam: Any, document: str, sentence: str) -> None:
    refused(iam.create_role, "MalformedPolicyDocument", sentence, RoleName="role", AssumeRolePolicyDocument=document)
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    refused(iam.update_assume_role_policy, "MalformedPolicyDocument", sentence, RoleName="role", PolicyDocument=document)


def test_a_trust_policy_names_only_those_of_the_account_who_are_there(iam: Any, account: str) -> None:
    arn = f"arn:aws:iam::{account}:user/alice"
    document = trust({"AWS": [arn, account, f"arn:aws:iam::{account}:root", "arn:aws:iam::999999999999:role/elsewhere"]})
    sentence = f'Invalid principal in policy: "AWS":"{arn}"'
    refused(iam.create_role, "MalformedPolicyDocument", sentence, RoleName="role", AssumeRolePolicyDocument=document)
    iam.create_user(UserName="alice")
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=document)


def test_a_trust_policy_has_2048_characters_at_most_white_space_not_counted(iam: Any) -> None:
    def of(services: int) -> str:
        return trust({"Service": [f"{number:04d}.amazonaws.com" for number in range(services)]}).replace(",", ",\n" + " " * 50)

    iam.create_role(RoleName="role", AssumeRolePolicyDocument=of(90))
    refused(
        iam.create_role, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048", RoleName="big", AssumeRolePolicyDocument=of(100)
    )


def test_an_update_changes_what_it_names(iam: Any) -> None:
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust(), Description="first")
    iam.update_role(RoleName="role", MaxSessionDuration=43200)
    role = iam.get_role(RoleName="role")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("first", 43200)
    assert iam.update_role_description(RoleName="role", Description="second")["Role"]["Description"] == "second"
    iam.update_role(RoleName="role", Description="")
    assert "Description" not in iam.get_role(RoleName="role")["Role"]
    iam.update_assume_role_policy(RoleName="role", PolicyDocument=trust({"Service": "lambda.amazonaws.com"}))
    statement = iam.get_role(RoleName="role")["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_a_role_can_be_deleted_when_nothing_hangs_on_it(iam: Any) -> None:
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    iam.create_instance_profile(InstanceProfileName="profile")
    iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="role")
    refused(iam.delete_role, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.", RoleName="role")
    iam.remove_role_from_instance_profile(InstanceProfileName="profile", RoleName="role")
    iam.attach_role_policy(RoleName="role", PolicyArn=ADMIN)
    refused(iam.delete_role, "DeleteConflict", "Cannot delete entity, must detach all policies first.", RoleName="role")
    iam.detach_role_policy(RoleName="role", PolicyArn=ADMIN)
    iam.put_role_policy(RoleName="role", PolicyName="p", PolicyDocument=READ)
    refused(iam.delete_role, "DeleteConflict", "Cannot delete entity, must delete policies first.", RoleName="role")
    iam.delete_role_policy(RoleName="role", PolicyName="p")
    iam.delete_role(RoleName="role")
    refused(iam.get_role, "NoSuchEntity", "The role with name role cannot be found.", RoleName="role")


def test_a_session_of_a_deleted_role_is_no_use_of_a_new_one(cloud: CloudThread, iam: Any, account: str) -> None:
    role = iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust({"AWS": account}))["Role"]
    made = cloud.client("sts", key=account).assume_role(RoleArn=role["Arn"], RoleSessionName="session")["Credentials"]
    session = cloud.client("sts", key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"])
    session.get_caller_identity()
    iam.delete_role(RoleName="role")
    session.get_caller_identity()
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    assert iam.get_role(RoleName="role")["Role"]["RoleLastUsed"] == {}


def test_a_role_tells_when_it_was_last_used(cloud: CloudThread, iam: Any, account: str) -> None:
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust({"AWS": account}))
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    sts = cloud.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    session = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/role", RoleSessionName="session")["Credentials"]
    assert iam.get_role(RoleName="role")["Role"]["RoleLastUsed"] == {}
    as_role = cloud.client(
        "iam", key=session["AccessKeyId"], secret=session["SecretAccessKey"], token=session["SessionToken"], region="us-east-1"
    )
    refused(as_role.get_user, "ValidationError", "Must specify userName when calling with non-User credentials")
    assert iam.get_role(RoleName="role")["Role"]["RoleLastUsed"]["Region"] == "us-east-1"


# ---- instance profiles


def test_an_instance_profile_has_one_role(iam: Any, account: str) -> None:
    made = iam.create_instance_profile(InstanceProfileName="Profile", Path="/p/", Tags=[{"Key": "a", "Value": "b"}])["InstanceProfile"]
    assert made["Arn"] == f"arn:aws:iam::{account}:instance-profile/p/Profile"
    refused(iam.create_instance_profile, "EntityAlreadyExists", "Instance Profile profile already exists.", InstanceProfileName="profile")
    for name in ("one", "two"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust())
    iam.add_role_to_instance_profile(InstanceProfileName="Profile", RoleName="one")
    refused(
        iam.add_role_to_instance_profile,
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        InstanceProfileName="Profile",
        RoleName="two",
    )
    profile = iam.get_instance_profile(InstanceProfileName="profile")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["one"]
    assert profile["Tags"] == [{"Key": "a", "Value": "b"}]
    assert [one["InstanceProfileName"] for one in iam.list_instance_profiles_for_role(RoleName="one")["InstanceProfiles"]] == ["Profile"]
    assert iam.list_instance_profiles_for_role(RoleName="two")["InstanceProfiles"] == []
    refused(
        iam.delete_instance_profile,
        "DeleteConflict",
        "Cannot delete entity, must remove roles from instance profile first.",
        InstanceProfileName="Profile",
    )
    iam.remove_role_from_instance_profile(InstanceProfileName="Profile", RoleName="one")
    iam.delete_instance_profile(InstanceProfileName="Profile")
    refused(iam.get_instance_profile, "NoSuchEntity", "Instance Profile Profile cannot be found.", InstanceProfileName="Profile")


# ---- service-linked roles


def test_a_service_linked_role_has_the_services_policy(iam: Any, account: str) -> None:
    role = iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com", Description="d")["Role"]
    assert role["Arn"] == f"arn:aws:iam::{account}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "ecs.amazonaws.com"}
    attached = iam.list_attached_role_policies(RoleName="AWSServiceRoleForECS")["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == ["arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy"]
    refused(
        iam.create_service_linked_role,
        "InvalidInput",
        "Service role name AWSServiceRoleForECS has been taken in this account, please try a different suffix.",
        AWSServiceName="ecs.amazonaws.com",
    )


def test_only_some_services_take_a_suffix(iam: Any) -> None:
    call = iam.create_service_linked_role
    assert call(AWSServiceName="autoscaling.amazonaws.com", CustomSuffix="x")["Role"]["RoleName"] == "AWSServiceRoleForAutoScaling_x"
    sentence = "Custom suffix is not allowed for batch.amazonaws.com"
    refused(call, "InvalidInput", sentence, AWSServiceName="batch.amazonaws.com", CustomSuffix="x")
    refused(call, "InvalidInput", AWSServiceName="nothing.amazonaws.com")


def test_a_service_linked_role_is_protected(iam: Any) -> None:
    name = iam.create_service_linked_role(AWSServiceName="batch.amazonaws.com")["Role"]["RoleName"]
    sentence = f"Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
    for call, parameters in (
        (iam.delete_role, {}),
        (iam.attach_role_policy, {"PolicyArn": ADMIN}),
        (iam.put_role_policy, {"PolicyName": "p", "PolicyDocument": READ}),
        (iam.update_assume_role_policy, {"PolicyDocument": trust()}),
        (iam.put_role_permissions_boundary, {"PermissionsBoundary": ADMIN}),
        (iam.update_role, {"MaxSessionDuration": 3600}),
    ):
        refused(call, "UnmodifiableEntity", sentence, RoleName=name, **parameters)
    iam.update_role(RoleName=name, Description="another")
    iam.tag_role(RoleName=name, Tags=[{"Key": "a", "Value": "b"}])
    refused(iam.create_role, "ValidationError", RoleName="x", Path="/aws-service-role/x/", AssumeRolePolicyDocument=trust())


def test_the_deletion_of_a_service_linked_role_is_a_task(iam: Any) -> None:
    name = iam.create_service_linked_role(AWSServiceName="rds.amazonaws.com")["Role"]["RoleName"]
    task = iam.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    assert task.startswith(f"task/aws-service-role/rds.amazonaws.com/{name}/")
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    refused(iam.get_role, "NoSuchEntity", RoleName=name)
    refused(iam.get_service_linked_role_deletion_status, "NoSuchEntity", DeletionTaskId=task + "x")
    iam.create_role(RoleName="own", AssumeRolePolicyDocument=trust())
    refused(iam.delete_service_linked_role, "NoSuchEntity", RoleName="own")


def test_every_service_linked_role_has_a_policy_that_is_there() -> None:
    policies = {arn.rpartition("/")[2] for arn in aws_managed.every("/aws-service-role/")}
    assert {template.policy for template in templates().values()} - policies == set()
    assert len({template.role for template in templates().values()}) == len(templates())
