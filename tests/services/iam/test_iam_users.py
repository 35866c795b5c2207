"""Users and groups."""

from __future__ import annotations

import re
from typing import Any

from iam_calls import ADMIN, READ, refused

from support import CloudThread


def test_a_user_is_shown_as_it_was_made(iam: Any, account: str) -> None:
    tags = [{"Key": "Team", "Value": "a+b =c/@:_.-"}]
    made = iam.create_user(UserName="Alice", Path="/staff/eu/", Tags=tags)["User"]
    assert made["Arn"] == f"arn:aws:iam::{account}:user/staff/eu/Alice"
    assert re.fullmatch("AIDA[A-Z2-7]{17}", made["UserId"])
    assert iam.get_user(UserName="Alice")["User"] == made
    assert made["Tags"] == tags
    assert [{key: user[key] for key in user} for user in iam.list_users()["Users"]] == [{key: made[key] for key in made if key != "Tags"}]


def test_names_are_the_same_whatever_their_case(iam: Any) -> None:
    iam.create_user(UserName="Alice")
    refused(iam.create_user, "EntityAlreadyExists", "User with name aLICE already exists.", UserName="aLICE")
    assert iam.get_user(UserName="ALICE")["User"]["UserName"] == "Alice"


def test_an_unknown_user_is_named_in_the_refusal(iam: Any) -> None:
    for call in (iam.get_user, iam.delete_user, iam.update_user, iam.list_access_keys, iam.list_user_policies, iam.list_user_tags):
        refused(call, "NoSuchEntity", "The user with name nobody cannot be found.", UserName="nobody")


def test_without_a_name_a_user_is_shown_itself(cloud: CloudThread, iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    own = cloud.client("iam", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert own.get_user()["User"]["UserName"] == "alice"
    assert [one["AccessKeyId"] for one in own.list_access_keys()["AccessKeyMetadata"]] == [key["AccessKeyId"]]
    assert own.list_mfa_devices()["MFADevices"] == []


def test_without_a_name_root_is_shown_the_account(iam: Any, account: str) -> None:
    user = iam.get_user()["User"]
    assert (user["Arn"], user["UserId"]) == (f"arn:aws:iam::{account}:root", account)
    assert "UserName" not in user


def test_lists_are_by_path_and_page_by_page(iam: Any) -> None:
    for number in range(7):
        iam.create_user(UserName=f"u{number}", Path="/even/" if number % 2 == 0 else "/odd/")
    pages = list(iam.get_paginator("list_users").paginate(PathPrefix="/even/", PaginationConfig={"PageSize": 2}))
    assert [[user["UserName"] for user in page["Users"]] for page in pages] == [["u0", "u2"], ["u4", "u6"]]
    assert [page["IsTruncated"] for page in pages] == [True, False]
    refused(iam.list_users, "ValidationError", "Invalid Marker.", Marker=pages[0]["Marker"])  # of another path
    refused(iam.list_users, "ValidationError", "Invalid Marker.", Marker="invalid")


def test_a_renamed_user_keeps_what_is_its_own(cloud: CloudThread, iam: Any, account: str) -> None:
    iam.create_user(UserName="old")
    iam.create_group(GroupName="group")
    iam.add_user_to_group(GroupName="group", UserName="old")
    iam.put_user_policy(UserName="old", PolicyName="p", PolicyDocument=READ)
    iam.create_login_profile(UserName="old", Password="Correct-Horse-1")
    credential = iam.create_service_specific_credential(UserName="old", ServiceName="codecommit.amazonaws.com")["ServiceSpecificCredential"]
    key = iam.create_access_key(UserName="old")["AccessKey"]
    user_id = iam.get_user(UserName="old")["User"]["UserId"]
    iam.update_user(UserName="old", NewUserName="new", NewPath="/moved/")
    user = iam.get_user(UserName="new")["User"]
    assert (user["Arn"], user["UserId"]) == (f"arn:aws:iam::{account}:user/moved/new", user_id)
    assert [one["UserName"] for one in iam.get_group(GroupName="group")["Users"]] == ["new"]
    assert iam.list_user_policies(UserName="new")["PolicyNames"] == ["p"]
    assert iam.get_login_profile(UserName="new")["LoginProfile"]["UserName"] == "new"
    listed = iam.list_service_specific_credentials(UserName="new")["ServiceSpecificCredentials"]
    assert [one["ServiceSpecificCredentialId"] for one in listed] == [credential["ServiceSpecificCredentialId"]]
    own = cloud.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert own.get_caller_identity()["Arn"] == user["Arn"]
    refused(iam.get_user, "NoSuchEntity", UserName="old")


def test_a_name_may_change_its_case_but_not_become_anothers(iam: Any) -> None:
    iam.create_user(UserName="alice")
    iam.create_user(UserName="bob")
    iam.update_user(UserName="alice", NewUserName="Alice")
    assert iam.get_user(UserName="alice")["User"]["UserName"] == "Alice"
    refused(iam.update_user, "EntityAlreadyExists", "User with name Bob already exists.", UserName="alice", NewUserName="Bob")


def test_a_user_can_be_deleted_when_nothing_belongs_to_it(iam: Any) -> None:
    iam.create_user(UserName="alice")
    iam.create_group(GroupName="group")
    steps: list[tuple[str, Any, Any]] = [
        (
            "must delete policies first.",
            lambda: iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=READ),
            lambda: iam.delete_user_policy(UserName="alice", PolicyName="p"),
        ),
        (
            "must detach all policies first.",
            lambda: iam.attach_user_policy(UserName="alice", PolicyArn=ADMIN),
            lambda: iam.detach_user_policy(UserName="alice", PolicyArn=ADMIN),
        ),
        (
            "must remove users from group first.",
            lambda: iam.add_user_to_group(GroupName="group", UserName="alice"),
            lambda: iam.remove_user_from_group(GroupName="group", UserName="alice"),
        ),
        (
            "must delete login profile first.",
            lambda: iam.create_login_profile(UserName="alice", Password="Correct-Horse-1"),
            lambda: iam.delete_login_profile(UserName="alice"),
        ),
        (
            "must delete access keys first.",
            lambda: iam.create_access_key(UserName="alice"),
            lambda: iam.delete_access_key(
                UserName="alice", AccessKeyId=iam.list_access_keys(UserName="alice")["AccessKeyMetadata"][0]["AccessKeyId"]
            ),
        ),
        (
            "must remove referenced objects first.",
            lambda: iam.create_service_specific_credential(UserName="alice", ServiceName="cassandra.amazonaws.com"),
            lambda: iam.delete_service_specific_credential(
                UserName="alice",
                ServiceSpecificCredentialId=iam.list_service_specific_credentials(UserName="alice")["ServiceSpecificCredentials"][0][
                    "ServiceSpecificCredentialId"
                ],
            ),
        ),
    ]
    for sentence, give, take in steps:
        give()
        refused(iam.delete_user, "DeleteConflict", f"Cannot delete entity, {sentence}", UserName="alice")
        take()
    iam.delete_user(UserName="alice")
    refused(iam.get_user, "NoSuchEntity", UserName="alice")
    assert iam.get_group(GroupName="group")["Users"] == []


def test_a_user_made_again_is_another_one(iam: Any) -> None:
    first = iam.create_user(UserName="alice", Tags=[{"Key": "a", "Value": "b"}])["User"]
    iam.delete_user(UserName="alice")
    second = iam.create_user(UserName="alice")["User"]
    assert second["UserId"] != first["UserId"]
    assert "Tags" not in iam.get_user(UserName="alice")["User"]


# ---- groups


def test_a_group_shows_its_users_page_by_page(iam: Any) -> None:
    iam.create_group(GroupName="Group", Path="/g/")
    for name in ("c", "a", "b"):
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName="group", UserName=name)
    iam.add_user_to_group(GroupName="group", UserName="a")  # again
    pages = list(iam.get_paginator("get_group").paginate(GroupName="GROUP", PaginationConfig={"PageSize": 2}))
    assert [[user["UserName"] for user in page["Users"]] for page in pages] == [["a", "b"], ["c"]]
    assert pages[0]["Group"]["Path"] == "/g/"
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="a")["Groups"]] == ["Group"]


def test_a_user_may_be_in_ten_groups(iam: Any) -> None:
    iam.create_user(UserName="alice")
    for number in range(11):
        iam.create_group(GroupName=f"g{number}")
        if number < 10:
            iam.add_user_to_group(GroupName=f"g{number}", UserName="alice")
    refused(iam.add_user_to_group, "LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10", GroupName="g10", UserName="alice")


def test_a_renamed_group_keeps_its_users_and_their_rights(iam: Any, account: str) -> None:
    iam.create_group(GroupName="old")
    iam.create_user(UserName="alice")
    iam.add_user_to_group(GroupName="old", UserName="alice")
    iam.attach_group_policy(GroupName="old", PolicyArn=ADMIN)
    iam.update_group(GroupName="old", NewGroupName="new", NewPath="/x/")
    group = iam.get_group(GroupName="new")
    assert group["Group"]["Arn"] == f"arn:aws:iam::{account}:group/x/new"
    assert [user["UserName"] for user in group["Users"]] == ["alice"]
    assert len(iam.list_attached_group_policies(GroupName="new")["AttachedPolicies"]) == 1
    refused(iam.get_group, "NoSuchEntity", "The group with name old cannot be found.", GroupName="old")


def test_a_group_can_be_deleted_when_it_is_empty(iam: Any) -> None:
    iam.create_group(GroupName="group")
    iam.create_user(UserName="alice")
    iam.add_user_to_group(GroupName="group", UserName="alice")
    refused(iam.delete_group, "DeleteConflict", "Cannot delete entity, must remove users from group first.", GroupName="group")
    iam.remove_user_from_group(GroupName="group", UserName="alice")
    iam.put_group_policy(GroupName="group", PolicyName="p", PolicyDocument=READ)
    refused(iam.delete_group, "DeleteConflict", "Cannot delete entity, must delete policies first.", GroupName="group")
    iam.delete_group_policy(GroupName="group", PolicyName="p")
    iam.delete_group(GroupName="group")
    assert iam.list_groups()["Groups"] == []


def test_an_account_may_have_300_groups(iam: Any) -> None:
    for number in range(300):
        iam.create_group(GroupName=f"g{number}")
    refused(iam.create_group, "LimitExceeded", "Cannot exceed quota for GroupsPerAccount: 300", GroupName="one-more")
    assert sum(len(page["Groups"]) for page in iam.get_paginator("list_groups").paginate()) == 300
