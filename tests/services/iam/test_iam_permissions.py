"""Policies about IAM itself, in a strict cloud: which resources and condition keys its operations declare."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from iam_calls import ADMIN, READ, allow, document, refused, trust

from cloudstead import datadir
from cloudstead.services.iam import totp
from support import CloudThread

HOME = "000000000000"
_names = itertools.count(1)


class Strict:
    """A strict cloud, seen by its root user, and users with rights."""

    def __init__(self, running: CloudThread) -> None:
        self.running = running
        key = datadir.root_key(running.running.cloud.data)
        self.root = running.client("iam", key=key.access_key_id, secret=key.secret_access_key)
        self.keys: dict[str, dict[str, str]] = {}  # of the users, by their names

    def user(self, *statements: dict[str, Any], **about: Any) -> Any:
        """A client of a new user with these rights."""
        name = f"tester{next(_names)}"
        self.root.create_user(UserName=name, **about)
        if statements:
            self.root.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
        key = self.root.create_access_key(UserName=name)["AccessKey"]
        self.keys[name] = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        return self.running.client("iam", **self.keys[name])


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield Strict(running)


def arn(kind: str, name: str) -> str:
    return f"arn:aws:iam::{HOME}:{kind}/{name}"


def test_who_has_no_rights_may_nothing(strict: Strict) -> None:
    user = strict.user()
    message = refused(user.list_users, "AccessDenied")
    assert message.endswith(
        f"is not authorized to perform: iam:ListUsers on resource: {arn('user', '')} because no identity-based policy allows the iam:ListUsers action"
    )


def test_rights_are_for_paths(strict: Strict) -> None:
    user = strict.user(allow("iam:*", arn("user", "dev/*")))
    user.create_user(UserName="path-one", Path="/dev/")
    refused(user.create_user, "AccessDenied", UserName="path-two", Path="/ops/")
    user.get_user(UserName="path-one")  # known by its name, judged by its path
    strict.root.create_user(UserName="path-three", Path="/ops/")
    refused(user.get_user, "AccessDenied", UserName="path-three")
    refused(user.update_user, "AccessDenied", UserName="path-one", NewPath="/ops/")
    user.update_user(UserName="path-one", NewPath="/dev/sub/")
    user.delete_user(UserName="path-one")
    user.list_users(PathPrefix="/dev/")
    refused(user.list_users, "AccessDenied")


def test_users_may_be_allowed_what_is_their_own(strict: Strict) -> None:
    user = strict.user(allow(["iam:*AccessKey*", "iam:GetUser"], arn("user", "${aws:username}")))
    keys = user.list_access_keys()["AccessKeyMetadata"]
    user.get_user()
    user.update_access_key(AccessKeyId=keys[0]["AccessKeyId"], Status="Active")
    strict.root.create_user(UserName="not-own")
    refused(user.list_access_keys, "AccessDenied", UserName="not-own")
    refused(user.create_access_key, "AccessDenied", UserName="not-own")


def test_only_some_policies_may_be_attached(strict: Strict) -> None:
    user = strict.user(
        allow("iam:AttachRolePolicy", Condition={"ArnLike": {"iam:PolicyARN": "arn:aws:iam::aws:policy/AmazonS3*"}}),
    )
    strict.root.create_role(RoleName="attach", AssumeRolePolicyDocument=trust())
    user.attach_role_policy(RoleName="attach", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    refused(user.attach_role_policy, "AccessDenied", RoleName="attach", PolicyArn=ADMIN)


def test_a_boundary_may_be_required(strict: Strict) -> None:
    boundary = strict.root.create_policy(PolicyName="the-boundary", PolicyDocument=READ)["Policy"]["Arn"]
    actions = ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"]
    user = strict.user(allow(actions, Condition={"StringEquals": {"iam:PermissionsBoundary": boundary}}))
    refused(user.create_role, "AccessDenied", RoleName="free", AssumeRolePolicyDocument=trust())
    user.create_role(RoleName="bound", AssumeRolePolicyDocument=trust(), PermissionsBoundary=boundary)
    user.put_role_policy(RoleName="bound", PolicyName="p", PolicyDocument=READ)
    user.attach_role_policy(RoleName="bound", PolicyArn=ADMIN)
    strict.root.create_role(RoleName="unbound", AssumeRolePolicyDocument=trust())
    refused(user.put_role_policy, "AccessDenied", RoleName="unbound", PolicyName="p", PolicyDocument=READ)
    refused(user.attach_role_policy, "AccessDenied", RoleName="unbound", PolicyArn=ADMIN)


def test_a_boundary_bounds(strict: Strict) -> None:
    boundary = strict.root.create_policy(PolicyName="users-only", PolicyDocument=document(allow("iam:*User*")))["Policy"]["Arn"]
    user = strict.user(allow(), PermissionsBoundary=boundary)
    user.list_users()
    assert "no permissions boundary allows" in refused(user.list_roles, "AccessDenied")
    strict.root.create_policy_version(PolicyArn=boundary, PolicyDocument=document(allow("iam:*")), SetAsDefault=True)
    user.list_roles()  # another version counts from the next call on


def test_tags_decide(strict: Strict) -> None:
    user = strict.user(
        allow("iam:CreateRole", Condition={"StringEquals": {"aws:RequestTag/team": "a"}}),
        allow("iam:TagRole", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}),
        allow(["iam:GetRole", "iam:DeleteRole"], Condition={"StringEquals": {"iam:ResourceTag/team": "a"}}),
        allow("iam:UpdateRole", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
    )
    about: dict[str, Any] = {"RoleName": "tagged", "AssumeRolePolicyDocument": trust()}
    refused(user.create_role, "AccessDenied", **about)
    refused(user.create_role, "AccessDenied", **about, Tags=[{"Key": "team", "Value": "b"}])
    user.create_role(**about, Tags=[{"Key": "team", "Value": "a"}])
    user.get_role(RoleName="tagged")
    user.update_role(RoleName="tagged", Description="d")
    refused(user.tag_role, "AccessDenied", RoleName="tagged", Tags=[{"Key": "other", "Value": "x"}])
    strict.root.tag_role(RoleName="tagged", Tags=[{"Key": "team", "Value": "b"}])
    refused(user.get_role, "AccessDenied", RoleName="tagged")
    refused(user.delete_role, "AccessDenied", RoleName="tagged")


def test_a_role_is_given_to_machines_only_by_who_may_pass_it(strict: Strict) -> None:
    strict.root.create_role(RoleName="passed", AssumeRolePolicyDocument=trust())
    strict.root.create_instance_profile(InstanceProfileName="machine")
    about = {"InstanceProfileName": "machine", "RoleName": "passed"}
    only = allow("iam:AddRoleToInstanceProfile")
    assert "iam:PassRole" in refused(strict.user(only).add_role_to_instance_profile, "AccessDenied", **about)
    to = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    refused(strict.user(only, allow("iam:PassRole", Condition=to)).add_role_to_instance_profile, "AccessDenied", **about)
    to = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    strict.user(only, allow("iam:PassRole", arn("role", "passed"), Condition=to)).add_role_to_instance_profile(**about)


def test_a_service_linked_role_may_be_allowed_for_one_service(strict: Strict) -> None:
    user = strict.user(
        allow(
            "iam:CreateServiceLinkedRole",
            arn("role", "aws-service-role/*"),
            Condition={"StringLike": {"iam:AWSServiceName": "batch.amazonaws.com"}},
        )
    )
    refused(user.create_service_linked_role, "AccessDenied", AWSServiceName="ecs.amazonaws.com")
    user.create_service_linked_role(AWSServiceName="batch.amazonaws.com")


def test_rights_come_and_go_with_groups_and_versions(strict: Strict) -> None:
    user = strict.user(allow("iam:GetUser"))
    name = user.get_user()["User"]["UserName"]
    strict.root.create_group(GroupName="readers")
    policy = strict.root.create_policy(PolicyName="reads", PolicyDocument=document(allow("iam:List*")))["Policy"]["Arn"]
    strict.root.attach_group_policy(GroupName="readers", PolicyArn=policy)
    refused(user.list_groups, "AccessDenied")
    strict.root.add_user_to_group(GroupName="readers", UserName=name)
    user.list_groups()
    strict.root.create_policy_version(PolicyArn=policy, PolicyDocument=document(allow("s3:List*")), SetAsDefault=True)
    refused(user.list_groups, "AccessDenied")
    strict.root.set_default_policy_version(PolicyArn=policy, VersionId="v1")
    strict.root.update_group(GroupName="readers", NewGroupName="listers")
    user.list_groups()
    strict.root.remove_user_from_group(GroupName="listers", UserName=name)
    refused(user.list_groups, "AccessDenied")


def test_the_password_policy_may_let_users_change_their_own_passwords(strict: Strict) -> None:
    user = strict.user(allow("iam:GetUser"))
    name = user.get_user()["User"]["UserName"]
    strict.root.create_login_profile(UserName=name, Password="Correct-Horse-1")
    change = {"OldPassword": "Correct-Horse-1", "NewPassword": "Correct-Horse-2"}
    refused(user.change_password, "AccessDenied", **change)
    strict.root.update_account_password_policy(AllowUsersToChangePassword=True)
    user.change_password(**change)
    strict.root.delete_account_password_policy()


def test_awss_managed_policies_grant_what_they_say(strict: Strict) -> None:
    user = strict.user(allow("iam:GetUser"))
    name = user.get_user()["User"]["UserName"]
    strict.root.attach_user_policy(UserName=name, PolicyArn="arn:aws:iam::aws:policy/IAMReadOnlyAccess")
    user.list_users()
    user.get_account_authorization_details()
    refused(user.create_user, "AccessDenied", UserName="denied")


def test_a_second_factor_counts_once_and_opens_what_asks_for_it(strict: Strict) -> None:
    present = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    user = strict.user(allow("iam:GetUser"), allow(["iam:ListUsers", "sts:AssumeRole"], Condition=present))
    me = user.get_user()["User"]
    made = strict.root.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], made["Base32StringSeed"].decode()
    step = totp.step_of(time.time())
    about = {"UserName": me["UserName"], "SerialNumber": serial}
    strict.root.enable_mfa_device(**about, AuthenticationCode1=totp.code(seed, step - 2), AuthenticationCode2=totp.code(seed, step - 1))
    refused(user.list_users, "AccessDenied")
    sts = strict.running.client("sts", **strict.keys[me["UserName"]])
    refused(sts.get_session_token, "AccessDenied", SerialNumber=serial, TokenCode=totp.code(seed, step - 1))  # was used
    refused(sts.get_session_token, "AccessDenied", SerialNumber=f"{serial}x", TokenCode=totp.code(seed, step))
    refused(sts.get_session_token, "ValidationError", SerialNumber=serial)
    session = sts.get_session_token(SerialNumber=serial, TokenCode=totp.code(seed, step))["Credentials"]
    refused(sts.get_session_token, "AccessDenied", SerialNumber=serial, TokenCode=totp.code(seed, step))  # once
    strict.running.client("iam", key=session["AccessKeyId"], secret=session["SecretAccessKey"], token=session["SessionToken"]).list_users()
    strict.root.create_role(RoleName="guarded", AssumeRolePolicyDocument=trust({"AWS": me["Arn"]}))
    role = {"RoleArn": arn("role", "guarded"), "RoleSessionName": "session"}
    strict.root.update_assume_role_policy(
        RoleName="guarded",
        PolicyDocument=document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": me["Arn"]}, "Condition": present}),
    )
    refused(sts.assume_role, "AccessDenied", **role)
    sts.assume_role(**role, SerialNumber=serial, TokenCode=totp.code(seed, step + 1))
