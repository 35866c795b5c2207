"""The policy simulator, through boto3."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudstead.services.iam.model import GROUPS, ROLES, USERS, Group, Role, User
from support import CloudThread

ACCOUNT = "000000000000"
JANE = f"arn:aws:iam::{ACCOUNT}:user/jane"
BUCKET = "arn:aws:s3:::b/k"
DATED = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*",'
    '"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}'
)


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


@pytest.fixture(scope="module")
def iam(cloud: CloudThread) -> Any:
    store = cloud.running.cloud.store

    async def fill() -> None:
        devs = Group(
            account=ACCOUNT,
            name="devs",
            group_id="AGPA",
            arn=f"arn:aws:iam::{ACCOUNT}:group/devs",
            created=0,
            inline={"send": document(allow("sqs:*"))},
        )
        own = document(allow("s3:*", "arn:aws:s3:::${aws:username}/*"), deny("s3:Delete*"))
        jane = User(account=ACCOUNT, name="jane", user_id="AIDAJANE", arn=JANE, created=time.time(), groups=("devs",), inline={"own": own})
        limit = "arn:aws:iam::aws:policy/AdministratorAccess"
        app = Role(
            account=ACCOUNT,
            name="app",
            role_id="AROAAPP",
            arn=f"arn:aws:iam::{ACCOUNT}:role/app",
            created=0,
            trust_policy="{}",
            boundary=limit,
        )
        with store.transaction() as tx:
            tx.put(GROUPS, devs)
            tx.put(USERS, jane)
            tx.put(ROLES, app)

    cloud.do(fill)
    return cloud.client("iam")


def custom(iam: Any, *policies: str, action: str = "s3:GetObject", **parameters: Any) -> dict[str, Any]:
    (result,) = iam.simulate_custom_policy(PolicyInputList=list(policies), ActionNames=[action], **parameters)["EvaluationResults"]
    return dict(result)


def current(time_: str) -> dict[str, Any]:
    return {"ContextEntries": [{"ContextKeyName": "aws:CurrentTime", "ContextKeyValues": [time_], "ContextKeyType": "date"}]}


def test_the_example_of_the_cli_reference(iam: Any) -> None:
    allowed = custom(iam, DATED, action="dynamodb:CreateBackup", **current("2019-04-25T11:00:00Z"))
    assert allowed == {
        "EvalActionName": "dynamodb:CreateBackup",
        "EvalResourceName": "*",
        "EvalDecision": "allowed",
        "MatchedStatements": [
            {
                "SourcePolicyId": "PolicyInputList.1",
                "SourcePolicyType": "none",
                "StartPosition": {"Line": 1, "Column": 38},
                "EndPosition": {"Line": 1, "Column": 167},
            }
        ],
        "MissingContextValues": [],
    }
    early = custom(iam, DATED, action="dynamodb:CreateBackup", **current("2014-04-25T11:00:00Z"))
    assert (early["EvalDecision"], early["MatchedStatements"]) == ("implicitDeny", [])


def test_a_key_that_nobody_gave_is_missing(iam: Any) -> None:
    assert custom(iam, DATED, action="dynamodb:CreateBackup")["MissingContextValues"] == ["aws:CurrentTime"]
    assert custom(iam, DATED, action="s3:GetObject")["MissingContextValues"] == []


def test_a_deny_names_the_statement_that_denies(iam: Any) -> None:
    result = custom(iam, document(allow()), document(allow("iam:*"), deny("s3:*", Sid="NoS3")))
    assert result["EvalDecision"] == "explicitDeny"
    assert [statement["SourcePolicyId"] for statement in result["MatchedStatements"]] == ["PolicyInputList.2"]


def test_a_boundary_is_told_apart(iam: Any) -> None:
    result = custom(iam, document(allow()), PermissionsBoundaryPolicyInputList=[document(allow("sqs:*"))])
    assert result["EvalDecision"] == "implicitDeny"
    assert result["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}


def test_each_action_and_resource_has_a_result_and_pages_hold_so_many(iam: Any) -> None:
    asked = {
        "PolicyInputList": [document(allow("s3:*", BUCKET))],
        "ActionNames": ["s3:GetObject", "sqs:SendMessage"],
        "ResourceArns": [BUCKET, BUCKET + "2"],
    }
    first = iam.simulate_custom_policy(**asked, MaxItems=3)
    assert first["IsTruncated"]
    second = iam.simulate_custom_policy(**asked, MaxItems=3, Marker=first["Marker"])
    results = first["EvaluationResults"] + second["EvaluationResults"]
    assert [result["EvalDecision"] for result in results] == ["allowed", "implicitDeny", "implicitDeny", "implicitDeny"]
    assert len(results) == 4


def test_a_resource_policy_is_judged_for_a_caller(iam: Any) -> None:
    other = "arn:aws:iam::111122223333:user/bob"
    policy = document({"Effect": "Allow", "Principal": {"AWS": other}, "Action": "s3:*", "Resource": "*"})
    asked = {"ResourceArns": [BUCKET], "ResourcePolicy": policy, "ResourceOwner": f"arn:aws:iam::{ACCOUNT}:root"}
    assert custom(iam, document(allow()), CallerArn=other, **asked)["EvalDecision"] == "allowed"
    assert custom(iam, document(allow("sqs:*")), CallerArn=other, **asked)["EvalDecision"] == "implicitDeny"


def test_a_users_policies_are_its_own_and_its_groups(iam: Any) -> None:
    results = iam.simulate_principal_policy(
        PolicySourceArn=JANE,
        ActionNames=["s3:GetObject", "sqs:SendMessage", "s3:DeleteObject", "iam:GetUser"],
        ResourceArns=["arn:aws:s3:::jane/x"],
    )["EvaluationResults"]
    assert [result["EvalDecision"] for result in results] == ["allowed", "allowed", "explicitDeny", "implicitDeny"]
    assert [statement["SourcePolicyType"] for result in results[:2] for statement in result["MatchedStatements"]] == ["user", "group"]


def test_a_principals_own_boundary_counts_and_policies_can_be_added(iam: Any) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/app"
    (bare,) = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["s3:GetObject"])["EvaluationResults"]
    assert (bare["EvalDecision"], bare["PermissionsBoundaryDecisionDetail"]) == ("implicitDeny", {"AllowedByPermissionsBoundary": True})
    (more,) = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["s3:GetObject"], PolicyInputList=[document(allow())])[
        "EvaluationResults"
    ]
    assert more["EvalDecision"] == "allowed"


def test_context_keys_are_listed_as_written(iam: Any) -> None:
    assert iam.get_context_keys_for_custom_policy(PolicyInputList=[DATED])["ContextKeyNames"] == ["aws:CurrentTime"]
    assert iam.get_context_keys_for_principal_policy(PolicySourceArn=JANE)["ContextKeyNames"] == ["aws:username"]


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("InvalidInput", {"PolicySourceArn": "arn:aws:s3:::bucket-of-jane", "ActionNames": ["s3:GetObject"]}),
        ("NoSuchEntity", {"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:user/nobody", "ActionNames": ["s3:GetObject"]}),
        ("NoSuchEntity", {"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:group/nobody", "ActionNames": ["s3:GetObject"]}),
        ("InvalidInput", {"PolicySourceArn": JANE, "ActionNames": ["s3:GetObject"], "PolicyInputList": ["{}"]}),
        ("InvalidInput", {"PolicySourceArn": JANE, "ActionNames": ["s3:GetObject"], "CallerArn": "nonsense"}),
        ("InvalidInput", {"PolicySourceArn": JANE, "ActionNames": ["s3:GetObject"], "Marker": "forged"}),
        ("NotImplemented", {"PolicySourceArn": JANE, "ActionNames": ["s3:GetObject"], "ResourceHandlingOption": "EC2-VPC-InstanceStore"}),
    ],
)
def test_what_cannot_be_simulated_is_refused(iam: Any, code: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refusal:
        iam.simulate_principal_policy(**parameters)
    assert refusal.value.response["Error"]["Code"] == code
