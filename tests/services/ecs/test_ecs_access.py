"""Where policies are enforced: roles that are passed, tags that are put on what is made, condition keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudstead import datadir
from cloudstead.services.iam.credentials import new_key
from cloudstead.services.iam.model import ACCESS_KEYS, USERS, User
from support import ACCOUNT, CloudThread

APP = {"name": "app", "image": "nginx", "memory": 64}
HERE = f"arn:aws:ecs:us-east-1:{ACCOUNT}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"


def allow(action: Any, resource: Any = "*", **conditions: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return statement | ({"Condition": conditions} if conditions else {})


class Strict:
    def __init__(self, running: CloudThread) -> None:
        self.running = running
        self.key = datadir.root_key(running.running.cloud.data)

    def root(self) -> Any:
        return self.running.client("ecs", key=self.key.access_key_id, secret=self.key.secret_access_key)

    def user(self, name: str, *statements: dict[str, Any]) -> Any:
        """A client of a user with these rights."""
        store = self.running.running.cloud.store
        key = new_key(ACCOUNT, name, 0)
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        row = User(
            account=ACCOUNT,
            name=name,
            user_id=f"AIDA{name.upper()}",
            arn=f"arn:aws:iam::{ACCOUNT}:user/{name}",
            created=0,
            inline={"own": policy},
        )

        async def write() -> None:
            with store.transaction() as tx:
                tx.put(USERS, row)
                tx.put(ACCESS_KEYS, key)

        self.running.do(write)
        return self.running.client("ecs", key=key.access_key_id, secret=key.secret_access_key)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with CloudThread(tmp_path_factory.mktemp("ecs-access") / "data", iam="enforce") as running:
        yield Strict(running)


def denied(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    error = refusal.value.response["Error"]
    assert error["Code"] == "AccessDeniedException", error
    return str(error["Message"])


def test_who_registers_must_be_allowed_to_pass_the_roles(strict: Strict) -> None:
    passing = allow("iam:PassRole", ROLE, StringEquals={"iam:PassedToService": "ecs-tasks.amazonaws.com"})
    ecs = strict.user("nopass", allow("ecs:RegisterTaskDefinition"))
    for member in ("taskRoleArn", "executionRoleArn"):
        assert "iam:PassRole" in denied(ecs.register_task_definition, family="nopass", containerDefinitions=[APP], **{member: ROLE})
    ecs = strict.user("pass", allow("ecs:RegisterTaskDefinition"), passing)
    ecs.register_task_definition(family="pass", containerDefinitions=[APP], taskRoleArn=ROLE, executionRoleArn=ROLE)


def test_a_policy_can_name_the_family_and_the_size_of_what_is_registered(strict: Strict) -> None:
    rule = allow(
        "ecs:RegisterTaskDefinition",
        f"{HERE}:task-definition/small:*",
        NumericLessThanEquals={"ecs:task-cpu": "512"},
        Bool={"ecs:privileged": "false"},
    )
    ecs = strict.user("small", rule)
    ecs.register_task_definition(family="small", containerDefinitions=[APP], cpu="256")
    denied(ecs.register_task_definition, family="large", containerDefinitions=[APP], cpu="256")
    denied(ecs.register_task_definition, family="small", containerDefinitions=[APP], cpu="1024")
    denied(ecs.register_task_definition, family="small", containerDefinitions=[APP | {"privileged": True}], cpu="256")


def test_who_tags_what_he_makes_must_be_allowed_to_tag(strict: Strict) -> None:
    ecs = strict.user("maker", allow("ecs:CreateCluster"))
    ecs.create_cluster(clusterName="plain")
    tags = [{"key": "a", "value": "b"}]
    assert "ecs:TagResource" in denied(ecs.create_cluster, clusterName="tagged", tags=tags)
    tagger = strict.user("tagger", allow("ecs:CreateCluster"), allow("ecs:TagResource", StringEquals={"ecs:CreateAction": "CreateCluster"}))
    tagger.create_cluster(clusterName="tagged", tags=tags)
    strict.root().put_account_setting_default(name="tagResourceAuthorization", value="off")
    ecs.create_cluster(clusterName="unasked", tags=tags)
    strict.root().put_account_setting_default(name="tagResourceAuthorization", value="on")


def test_a_cluster_s_tags_count_by_either_key(strict: Strict) -> None:
    for name, team in (("ours", "shop"), ("theirs", "bank")):
        strict.root().create_cluster(clusterName=name, tags=[{"key": "team", "value": team}])
    for number, key in enumerate(("aws:ResourceTag/team", "ecs:ResourceTag/team")):
        ecs = strict.user(f"team{number}", allow(["ecs:DescribeClusters", "ecs:UpdateCluster"], StringEquals={key: "shop"}))
        ecs.update_cluster(cluster="ours")
        assert len(ecs.describe_clusters(clusters=["ours"])["clusters"]) == 1
        denied(ecs.update_cluster, cluster="theirs")
        denied(ecs.describe_clusters, clusters=["ours", "theirs"])


def test_a_policy_can_name_capacity_providers_and_account_settings(strict: Strict) -> None:
    spot = f"{HERE}:capacity-provider/FARGATE_SPOT"
    ecs = strict.user(
        "spot",
        allow("ecs:CreateCluster", **{"ForAllValues:ArnEquals": {"ecs:capacity-provider": spot}}),
        allow("ecs:PutAccountSetting", StringEquals={"ecs:account-setting": "containerInsights"}),
    )
    ecs.create_cluster(clusterName="spot", capacityProviders=["FARGATE_SPOT"])
    denied(ecs.create_cluster, clusterName="both", capacityProviders=["FARGATE_SPOT", "FARGATE"])
    ecs.put_account_setting(name="containerInsights", value="enabled")
    denied(ecs.put_account_setting, name="awsvpcTrunking", value="enabled")
