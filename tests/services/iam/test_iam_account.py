"""What concerns the whole account: alias, password policy, summary, details, reports."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import pytest
from iam_calls import ADMIN, READ, refused, trust

from cloudstead.kernel.clock import SystemClock
from cloudstead.services.iam import api
from cloudstead.services.iam.model import TASKS, USES
from support import CloudThread, client_of, context_in, local_cloud


class Shifted(SystemClock):
    """The clock of the system, which a test can put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_an_account_has_one_alias_that_no_other_has(cloud: CloudThread, iam: Any) -> None:
    iam.create_account_alias(AccountAlias="first-alias")
    iam.create_account_alias(AccountAlias="second-alias")
    assert iam.list_account_aliases()["AccountAliases"] == ["second-alias"]
    other = cloud.client("iam", key="123456789012")
    refused(other.create_account_alias, "EntityAlreadyExists", AccountAlias="second-alias")
    other.create_account_alias(AccountAlias="first-alias")
    refused(iam.delete_account_alias, "NoSuchEntity", AccountAlias="first-alias")
    iam.delete_account_alias(AccountAlias="second-alias")
    assert iam.list_account_aliases()["AccountAliases"] == []


def test_a_password_policy_is_replaced_as_a_whole(iam: Any, account: str) -> None:
    missing = f"The Password Policy with domain name {account} cannot be found."
    refused(iam.get_account_password_policy, "NoSuchEntity", missing)
    refused(iam.delete_account_password_policy, "NoSuchEntity", "The account policy with name PasswordPolicy cannot be found.")
    iam.update_account_password_policy(MinimumPasswordLength=10, MaxPasswordAge=60, HardExpiry=True, PasswordReusePrevention=3)
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert (policy["ExpirePasswords"], policy["MaxPasswordAge"], policy["HardExpiry"]) == (True, 60, True)
    iam.update_account_password_policy(RequireNumbers=True)
    assert iam.get_account_password_policy()["PasswordPolicy"] == {
        "MinimumPasswordLength": 6,
        "RequireSymbols": False,
        "RequireNumbers": True,
        "RequireUppercaseCharacters": False,
        "RequireLowercaseCharacters": False,
        "AllowUsersToChangePassword": False,
        "ExpirePasswords": False,
    }
    iam.delete_account_password_policy()
    refused(iam.get_account_password_policy, "NoSuchEntity", missing)


def test_the_summary_counts(iam: Any) -> None:
    before = iam.get_account_summary()["SummaryMap"]
    assert (before["UsersQuota"], before["VersionsPerPolicyQuota"], before["AccessKeysPerUserQuota"]) == (5000, 5, 2)
    iam.create_user(UserName="alice")
    iam.create_group(GroupName="group")
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    iam.create_policy(PolicyName="policy", PolicyDocument=READ)
    iam.create_instance_profile(InstanceProfileName="profile")
    iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")
    iam.create_open_id_connect_provider(Url="https://idp.example.com")
    iam.set_security_token_service_preferences(GlobalEndpointTokenVersion="v2Token")
    after = iam.get_account_summary()["SummaryMap"]
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "Users": 1, "Groups": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 1, "InstanceProfiles": 1, "MFADevices": 1,
        "Providers": 1, "GlobalEndpointTokenVersion": 1,
    }  # fmt: skip


def test_the_details_are_of_everything(iam: Any) -> None:
    policy = iam.create_policy(PolicyName="policy", PolicyDocument=READ)["Policy"]["Arn"]
    iam.create_group(GroupName="group")
    iam.put_group_policy(GroupName="group", PolicyName="inline", PolicyDocument=READ)
    iam.create_user(UserName="alice", PermissionsBoundary=policy, Tags=[{"Key": "a", "Value": "b"}])
    iam.add_user_to_group(GroupName="group", UserName="alice")
    iam.attach_user_policy(UserName="alice", PolicyArn=ADMIN)
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust())
    iam.create_instance_profile(InstanceProfileName="profile")
    iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="role")
    details = iam.get_account_authorization_details()
    [user], [group], [role] = details["UserDetailList"], details["GroupDetailList"], details["RoleDetailList"]
    assert (user["GroupList"], user["AttachedManagedPolicies"]) == (
        ["group"],
        [{"PolicyName": "AdministratorAccess", "PolicyArn": ADMIN}],
    )
    assert (user["PermissionsBoundary"]["PermissionsBoundaryArn"], user["Tags"]) == (policy, [{"Key": "a", "Value": "b"}])
    assert group["GroupPolicyList"][0]["PolicyDocument"]["Statement"][0]["Action"] == "s3:Get*"
    assert [one["InstanceProfileName"] for one in role["InstanceProfileList"]] == ["profile"]
    assert sorted(one["PolicyName"] for one in details["Policies"]) == ["AdministratorAccess", "policy"]
    only = iam.get_account_authorization_details(Filter=["Role", "LocalManagedPolicy"])
    assert [len(only[name]) for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")] == [0, 0, 1, 1]
    pages = list(iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": 2}))
    lists = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")
    assert [sum(len(page[name]) for name in lists) for page in pages] == [2, 2, 1]


def test_the_credential_report_stands_for_four_hours(tmp_path: Path) -> None:
    clock = Shifted()
    with CloudThread(tmp_path / "data", clock=clock) as cloud:
        iam = cloud.client("iam")
        refused(iam.get_credential_report, "ReportNotPresent")
        iam.create_user(UserName="alice")
        iam.create_login_profile(UserName="alice", Password="Correct-Horse-1")
        key = iam.create_access_key(UserName="alice")["AccessKey"]
        client_of(cloud.endpoint, "sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"]).get_caller_identity()
        assert iam.generate_credential_report()["State"] == "STARTED"
        assert iam.generate_credential_report()["State"] == "COMPLETE"
        root, alice = csv.DictReader(iam.get_credential_report()["Content"].decode().splitlines())
        assert (root["user"], root["mfa_active"], root["password_enabled"]) == ("<root_account>", "false", "not_supported")
        assert {name: alice[name] for name in ("user", "password_enabled", "mfa_active", "access_key_1_active", "access_key_2_active")} == {
            "user": "alice",
            "password_enabled": "true",
            "mfa_active": "false",
            "access_key_1_active": "true",
            "access_key_2_active": "false",
        }
        assert (alice["access_key_1_last_used_service"], alice["access_key_1_last_used_region"]) == ("sts", "us-east-1")
        assert (alice["access_key_2_last_used_service"], alice["cert_1_last_rotated"]) == ("N/A", "N/A")
        clock.ahead = 4 * 3600.0 + 1  # further than signatures may be off, so the question is put within the cloud

        async def ask() -> tuple[str, str]:
            ctx = context_in(cloud.running.cloud)
            try:
                await ctx.call(api.GetCredentialReportRequest())
            except api.CredentialReportExpiredException as expired:
                return expired.code, (await ctx.call(api.GenerateCredentialReportRequest())).state
            return "", ""

        assert cloud.do(ask) == ("ReportExpired", "STARTED")


def test_when_services_were_last_used_is_told(cloud: CloudThread, iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=READ)
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    cloud.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"]).get_caller_identity()
    arn = f"arn:aws:iam::{account}:user/alice"
    job = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]
    report = iam.get_service_last_accessed_details(JobId=job)
    assert report["JobStatus"] == "COMPLETED"
    services = {one["ServiceNamespace"]: one for one in report["ServicesLastAccessed"]}
    assert set(services) == {"s3", "sts"}
    assert services["sts"]["LastAuthenticatedEntity"] == arn
    assert (services["s3"]["TotalAuthenticatedEntities"], "LastAuthenticated" in services["s3"]) == (0, False)
    entities = iam.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="sts")["EntityDetailsList"]
    assert [(one["EntityInfo"]["Name"], "LastAuthenticated" in one) for one in entities] == [("alice", True)]
    refused(iam.generate_service_last_accessed_details, "NoSuchEntity", Arn=f"{arn}x")
    refused(iam.get_service_last_accessed_details, "NoSuchEntity", JobId=job[::-1])


def test_what_a_user_used_is_remembered_when_it_is_renamed_and_forgotten_with_it(cloud: CloudThread, iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    made = cloud.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"]).get_session_token()["Credentials"]
    cloud.client("logs", key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"]).describe_log_groups()
    iam.delete_access_key(UserName="alice", AccessKeyId=key["AccessKeyId"])
    iam.update_user(UserName="alice", NewUserName="bob", NewPath="/staff/")
    job = iam.generate_service_last_accessed_details(Arn=f"arn:aws:iam::{account}:user/staff/bob")["JobId"]
    report = iam.get_service_last_accessed_details(JobId=job)["ServicesLastAccessed"]
    assert [(one["ServiceNamespace"], "LastAuthenticated" in one) for one in report] == [("logs", True)]
    iam.delete_user(UserName="bob")
    assert cloud.running.cloud.store.table(USES).scan((account,)) == []


def test_jobs_are_forgotten_after_a_day(tmp_path: Path) -> None:
    clock = Shifted()

    async def scenario() -> None:
        async with local_cloud(tmp_path, clock=clock, in_memory=True) as cloud:
            ctx = context_in(cloud)
            await ctx.call(api.CreateUserRequest(user_name="alice"))
            request = api.GenerateServiceLastAccessedDetailsRequest(arn="arn:aws:iam::000000000000:user/alice")
            jobs = [(await ctx.call(request)).job_id for _ in range(3)]
            clock.ahead = 86_401.0
            with pytest.raises(api.NoSuchEntityException):
                await ctx.call(api.GetServiceLastAccessedDetailsRequest(job_id=jobs[0]))
            await ctx.call(request)
            assert ctx.table(TASKS).count((ctx.account,)) == 1

    asyncio.run(scenario())
