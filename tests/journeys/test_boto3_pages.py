"""boto3's paginators and waiters: every list operation of IAM, Logs and EventBridge, in pages of any size, gives every item once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloudstead.http.tls import Authority
from support import CloudThread

ITEMS = 5
TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
)
ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
TAGS = [{"Key": f"tag{n}", "Value": str(n)} for n in range(ITEMS)]
N = range(ITEMS)


@pytest.fixture(scope="module")
def world(cloud: CloudThread, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Parameters for each paginator of IAM, in an account where it finds ITEMS items or more."""
    iam = cloud.client("iam")
    policies = [iam.create_policy(PolicyName=f"policy{n}", PolicyDocument=ALLOW, Tags=TAGS)["Policy"]["Arn"] for n in N]
    for n in N:
        iam.create_user(UserName=f"user{n}", Path="/team/", Tags=TAGS)
        iam.create_group(GroupName=f"group{n}", Path="/team/")
        iam.create_role(RoleName=f"role{n}", AssumeRolePolicyDocument=TRUST, Tags=TAGS)
        iam.create_instance_profile(InstanceProfileName=f"profile{n}", Tags=TAGS)
        iam.add_role_to_instance_profile(InstanceProfileName=f"profile{n}", RoleName="role0")
        iam.create_virtual_mfa_device(VirtualMFADeviceName=f"device{n}", Tags=TAGS)
    for n in N:
        iam.add_user_to_group(GroupName="group0", UserName=f"user{n}")
        iam.add_user_to_group(GroupName=f"group{n}", UserName="user0")
        iam.put_user_policy(UserName="user0", PolicyName=f"inline{n}", PolicyDocument=ALLOW)
        iam.put_group_policy(GroupName="group0", PolicyName=f"inline{n}", PolicyDocument=ALLOW)
        iam.put_role_policy(RoleName="role0", PolicyName=f"inline{n}", PolicyDocument=ALLOW)
        iam.attach_user_policy(UserName="user0", PolicyArn=policies[n])
        iam.attach_group_policy(GroupName="group0", PolicyArn=policies[n])
        iam.attach_role_policy(RoleName="role0", PolicyArn=policies[n])
        iam.attach_user_policy(UserName=f"user{n}", PolicyArn=policies[0])
        iam.attach_role_policy(RoleName=f"role{n}", PolicyArn=policies[0])
        iam.attach_group_policy(GroupName=f"group{n}", PolicyArn=policies[0])
        if n:
            iam.create_policy_version(PolicyArn=policies[0], PolicyDocument=ALLOW)
        key = rsa.generate_private_key(65537, 2048).public_key()
        text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
        iam.upload_ssh_public_key(UserName="user0", SSHPublicKeyBody=text)
    for _ in range(2):  # the most that a user can have
        iam.create_access_key(UserName="user0")
    certificate, private = (pem.decode() for pem in Authority.open(tmp_path_factory.mktemp("authority")).leaf(["cloud.example"]))
    for n in N:
        iam.upload_server_certificate(ServerCertificateName=f"certificate{n}", CertificateBody=certificate, PrivateKey=private, Tags=TAGS)
    provider = iam.create_open_id_connect_provider(Url="https://id.example.com", ClientIDList=["a"], Tags=TAGS)["OpenIDConnectProviderArn"]
    iam.create_account_alias(AccountAlias="pages")
    device = iam.list_virtual_mfa_devices()["VirtualMFADevices"][0]["SerialNumber"]
    user, group, role, policy = {"UserName": "user0"}, {"GroupName": "group0"}, {"RoleName": "role0"}, {"PolicyArn": policies[0]}
    profile, server = {"InstanceProfileName": "profile0"}, {"ServerCertificateName": "certificate0"}
    asked = {"ActionNames": [f"s3:{name}" for name in ("GetObject", "PutObject", "ListBucket", "DeleteObject", "GetBucketAcl")]}
    return {
        "get_account_authorization_details": {},
        "get_group": group,
        "list_access_keys": user,
        "list_account_aliases": {},
        "list_attached_group_policies": group,
        "list_attached_role_policies": role,
        "list_attached_user_policies": user,
        "list_entities_for_policy": policy,
        "list_group_policies": group,
        "list_groups": {"PathPrefix": "/team/"},
        "list_groups_for_user": user,
        "list_instance_profile_tags": profile,
        "list_instance_profiles": {},
        "list_instance_profiles_for_role": role,
        "list_mfa_device_tags": {"SerialNumber": device},
        "list_mfa_devices": user,
        "list_open_id_connect_provider_tags": {"OpenIDConnectProviderArn": provider},
        "list_policies": {"Scope": "Local"},
        "list_policy_tags": policy,
        "list_policy_versions": policy,
        "list_role_policies": role,
        "list_role_tags": role,
        "list_roles": {},
        "list_server_certificate_tags": server,
        "list_server_certificates": {},
        "list_signing_certificates": user,
        "list_ssh_public_keys": user,
        "list_user_policies": user,
        "list_user_tags": user,
        "list_users": {},
        "list_virtual_mfa_devices": {},
        "simulate_custom_policy": {"PolicyInputList": [ALLOW], **asked},
        "simulate_principal_policy": {"PolicySourceArn": iam.get_user(UserName="user0")["User"]["Arn"], **asked},
    }


FEWER = {"list_access_keys": 2, "list_account_aliases": 1, "list_mfa_devices": 0, "list_signing_certificates": 0}
PAGED = [
    "get_account_authorization_details", "get_group", "list_access_keys", "list_account_aliases", "list_attached_group_policies",
    "list_attached_role_policies", "list_attached_user_policies", "list_entities_for_policy", "list_group_policies", "list_groups",
    "list_groups_for_user", "list_instance_profile_tags", "list_instance_profiles", "list_instance_profiles_for_role", "list_mfa_device_tags",
    "list_mfa_devices", "list_open_id_connect_provider_tags", "list_policies", "list_policy_tags", "list_policy_versions", "list_role_policies",
    "list_role_tags", "list_roles", "list_server_certificate_tags", "list_server_certificates", "list_signing_certificates",
    "list_ssh_public_keys", "list_user_policies", "list_user_tags", "list_users", "list_virtual_mfa_devices", "simulate_custom_policy",
    "simulate_principal_policy",
]  # fmt: skip


def items_of(client: Any, operation: str, parameters: dict[str, Any], size: int) -> tuple[list[str], int, int]:
    """All items as text, in order; how many pages there were; and the most items in one page."""
    paginator = client.get_paginator(operation)
    keys = [key.expression for key in paginator.result_keys]
    found: list[list[str]] = [[] for _ in keys]
    pages, most = 0, 0
    for page in paginator.paginate(**parameters, PaginationConfig={"PageSize": size}):
        pages += 1
        listed = [page.get(key) or [] for key in keys]
        most = max(most, sum(len(items) for items in listed))
        for items, all_items in zip(listed, found, strict=True):
            all_items += [json.dumps(item, default=str, sort_keys=True) for item in items]
    return [item for items in found for item in items], pages, most


@pytest.mark.parametrize("operation", PAGED)
def test_pages_of_any_size_give_every_item_once(cloud: CloudThread, world: dict[str, dict[str, Any]], operation: str) -> None:
    iam, parameters = cloud.client("iam"), world[operation]
    everything, pages, _ = items_of(iam, operation, parameters, 1000)
    assert pages == 1
    assert len(everything) >= FEWER.get(operation, ITEMS)
    assert len(set(everything)) == len(everything)
    for size in (1, 2, 3, len(everything) or 1):
        listed, pages, most = items_of(iam, operation, parameters, size)
        assert listed == everything, f"pages of {size}"
        assert most <= size
        assert pages <= max(1, -(-len(everything) // size)) + 1


def test_the_last_page_is_not_truncated_and_a_marker_of_elsewhere_is_refused(cloud: CloudThread, world: object) -> None:
    iam = cloud.client("iam")
    page = iam.list_users(MaxItems=2)
    assert page["IsTruncated"]
    assert not iam.list_users()["IsTruncated"]
    assert "Marker" not in iam.list_users()
    for call in (iam.list_roles, iam.list_groups):
        with pytest.raises(ClientError) as refusal:
            call(Marker=page["Marker"])
        assert refusal.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="ValidationError"):
        iam.list_users(Marker="made-up")


def test_an_item_removed_between_two_pages_makes_none_of_the_others_missing(cloud: CloudThread, world: object) -> None:
    iam = cloud.client("iam")
    for name in "abcdef":
        iam.create_user(UserName=f"moving-{name}", Path="/moving/")
    first = iam.list_users(PathPrefix="/moving/", MaxItems=3)
    iam.delete_user(UserName="moving-c")  # the last of this page
    rest = iam.list_users(PathPrefix="/moving/", Marker=first["Marker"])
    assert [user["UserName"] for user in rest["Users"]] == ["moving-d", "moving-e", "moving-f"]


@pytest.fixture(scope="module")
def logs(cloud: CloudThread) -> Any:
    """Logs in which every paginator finds ITEMS items."""
    logs = cloud.client("logs")
    now = int(time.time() * 1000)
    cloud.client("kinesis").create_stream(StreamName="pages", ShardCount=1)
    for n in N:
        logs.create_log_group(logGroupName=f"/pages/{n}")
        logs.create_log_stream(logGroupName="/pages/0", logStreamName=f"stream{n}")
        events = [{"timestamp": now + at, "message": f"{n}-{at}"} for at in range(7)]
        logs.put_log_events(logGroupName="/pages/0", logStreamName=f"stream{n}", logEvents=events)
        logs.put_metric_filter(
            logGroupName="/pages/0",
            filterName=f"filter{n}",
            filterPattern="ERROR",
            metricTransformations=[{"metricName": f"m{n}", "metricNamespace": "pages", "metricValue": "1"}],
        )
        logs.put_resource_policy(
            policyName=f"policy{n}",
            policyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"Service": "es.amazonaws.com"}, "Action": "logs:PutLogEvents", "Resource": "*"}
                    ],
                }
            ),
        )
        logs.put_query_definition(name=f"query{n}", queryString="fields @message")
        logs.put_destination(
            destinationName=f"destination{n}",
            targetArn="arn:aws:kinesis:us-east-1:000000000000:stream/pages",
            roleArn="arn:aws:iam::000000000000:role/r",
        )
    return logs


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("describe_destinations", {}),
        ("describe_log_groups", {"logGroupNamePrefix": "/pages/"}),
        ("describe_log_streams", {"logGroupName": "/pages/0"}),
        ("describe_log_streams", {"logGroupName": "/pages/0", "orderBy": "LastEventTime", "descending": True}),
        ("describe_metric_filters", {"logGroupName": "/pages/0"}),
        ("describe_resource_policies", {}),
        ("filter_log_events", {"logGroupName": "/pages/0"}),
        ("filter_log_events", {"logGroupName": "/pages/0", "logStreamNamePrefix": "stream"}),
        ("filter_log_events", {"logGroupName": "/pages/0", "filterPattern": "%-[0-3]%"}),
    ],
)
def test_pages_of_logs_give_every_item_once(logs: Any, operation: str, parameters: dict[str, Any]) -> None:
    everything, _, _ = items_of(logs, operation, parameters, 50)
    assert len(everything) >= ITEMS
    assert len(set(everything)) == len(everything)
    for size in (1, 2, 3, len(everything)):
        listed, _, most = items_of(logs, operation, parameters, min(size, 50))
        assert (listed, most <= size) == (everything, True), f"pages of {size}"


def test_rules_and_targets_come_in_pages(cloud: CloudThread) -> None:
    events = cloud.client("events")
    for n in N:
        events.put_rule(Name=f"pages{n}", EventPattern='{"source": ["a"]}')
        events.put_targets(Rule=f"pages{n}", Targets=[{"Id": "one", "Arn": "arn:aws:sqs:us-east-1:000000000000:pages"}])
    events.put_targets(Rule="pages0", Targets=[{"Id": f"t{n}", "Arn": f"arn:aws:sqs:us-east-1:000000000000:pages{n}"} for n in range(4)])
    for operation, parameters, number in [
        ("list_rules", {"NamePrefix": "pages"}, ITEMS),
        ("list_targets_by_rule", {"Rule": "pages0"}, 5),
        ("list_rule_names_by_target", {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:pages"}, ITEMS),
    ]:
        everything, _, _ = items_of(events, operation, parameters, 100)
        assert len(everything) == number, operation
        for size in (1, 2, number):
            assert items_of(events, operation, parameters, size)[0] == everything


@pytest.mark.parametrize(
    ("waiter", "parameters", "missing", "make"),
    [
        ("user_exists", {"UserName": "waited"}, {"UserName": "none"}, lambda iam: iam.create_user(UserName="waited")),
        (
            "role_exists",
            {"RoleName": "waited"},
            {"RoleName": "none"},
            lambda iam: iam.create_role(RoleName="waited", AssumeRolePolicyDocument=TRUST),
        ),
        (
            "instance_profile_exists",
            {"InstanceProfileName": "waited"},
            {"InstanceProfileName": "none"},
            lambda iam: iam.create_instance_profile(InstanceProfileName="waited"),
        ),
        (
            "policy_exists",
            {"PolicyArn": "arn:aws:iam::000000000000:policy/waited"},
            {"PolicyArn": "arn:aws:iam::000000000000:policy/none"},
            lambda iam: iam.create_policy(PolicyName="waited", PolicyDocument=ALLOW),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_waiter_ends_when_the_thing_is_there_and_goes_on_when_it_is_not(
    cloud: CloudThread, waiter: str, parameters: dict[str, str], missing: dict[str, str], make: Callable[[Any], object]
) -> None:
    iam = cloud.client("iam")
    make(iam)
    iam.get_waiter(waiter).wait(**parameters, WaiterConfig={"Delay": 0, "MaxAttempts": 1})
    with pytest.raises(WaiterError, match="Max attempts exceeded"):
        iam.get_waiter(waiter).wait(**missing, WaiterConfig={"Delay": 0, "MaxAttempts": 2})
