"""Where policies are enforced: policies of buses across accounts, passing and using roles, condition keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudstead import datadir
from cloudstead.services.iam.credentials import new_key
from cloudstead.services.iam.model import ACCESS_KEYS, USERS, User
from support import CloudThread

HOME, OTHER = "000000000000", "111122223333"
BUS = f"arn:aws:events:us-east-1:{HOME}:event-bus/default"
ENTRY = {"Source": "shop", "DetailType": "Order", "Detail": "{}"}
PATTERN = json.dumps({"source": ["shop"]})


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


class Strict:
    def __init__(self, running: CloudThread) -> None:
        self.running = running
        self.key = datadir.root_key(running.running.cloud.data)

    def root(self, service: str) -> Any:
        return self.running.client(service, key=self.key.access_key_id, secret=self.key.secret_access_key)

    def user(self, name: str, *statements: dict[str, Any], account: str = HOME) -> Any:
        """An EventBridge client of a user with these rights, in any account."""
        store = self.running.running.cloud.store
        arn = f"arn:aws:iam::{account}:user/{name}"
        key = new_key(account, name, 0)

        async def write() -> None:
            with store.transaction() as tx:
                tx.put(
                    USERS,
                    User(
                        account=account, name=name, user_id=f"AIDA{name.upper()}", arn=arn, created=0, inline={"own": document(*statements)}
                    ),
                )
                tx.put(ACCESS_KEYS, key)

        self.running.do(write)
        return self.running.client("events", key=key.access_key_id, secret=key.secret_access_key)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield Strict(running)


def denied(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    assert refusal.value.response["Error"]["Code"] == "AccessDeniedException"
    return str(refusal.value.response["Error"]["Message"])


def arrived(strict: Strict, group: str) -> list[Any]:
    return [json.loads(event["message"]) for event in strict.root("logs").filter_log_events(logGroupName=group)["events"]]


def wait(reached: Any) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def log_rule(strict: Strict, name: str) -> tuple[str, str]:
    """A rule for events of the source `name`, and the log group it could deliver to; its name and its ARN."""
    group = f"/events/{name}"
    strict.root("logs").create_log_group(logGroupName=group)
    strict.root("events").put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    return group, f"arn:aws:logs:us-east-1:{HOME}:log-group:{group}"


def test_another_account_puts_events_only_when_the_bus_lets_it(strict: Strict) -> None:
    group, arn = log_rule(strict, "foreign")
    strict.root("events").put_targets(Rule="foreign", Targets=[{"Id": "log", "Arn": arn}])
    stranger = strict.user("stranger", allow("events:*"), account=OTHER)
    entry = {**ENTRY, "Source": "foreign", "EventBusName": BUS}
    message = denied(stranger.put_events, Entries=[entry])
    assert message == (
        f"User: arn:aws:iam::{OTHER}:user/stranger is not authorized to perform: events:PutEvents on resource: {BUS} "
        "because no resource-based policy allows the events:PutEvents action"
    )
    strict.root("events").put_permission(Action="events:PutEvents", Principal=OTHER, StatementId="other")
    assert stranger.put_events(Entries=[entry, {**ENTRY, "Source": "own"}])["FailedEntryCount"] == 0
    wait(lambda: arrived(strict, group))
    assert arrived(strict, group)[0]["account"] == OTHER
    strict.root("events").remove_permission(StatementId="other")
    denied(stranger.put_events, Entries=[entry])


def test_a_rule_sends_events_to_another_account_only_when_its_bus_lets_it(strict: Strict) -> None:
    group, arn = log_rule(strict, "sent")
    strict.root("events").put_targets(Rule="sent", Targets=[{"Id": "log", "Arn": arn}])
    sender = strict.user("sender", allow("events:*"), account=OTHER)
    sender.put_rule(Name="out", EventPattern='{"source": ["sent"]}')
    sender.put_targets(Rule="out", Targets=[{"Id": "home", "Arn": BUS}])
    sender.put_events(Entries=[{**ENTRY, "Source": "sent", "DetailType": "early"}])
    time.sleep(0.5)
    strict.root("events").put_permission(Action="events:PutEvents", Principal=OTHER, StatementId="sent")
    sender.put_events(Entries=[{**ENTRY, "Source": "sent", "DetailType": "late"}])
    wait(lambda: arrived(strict, group))
    assert [event["detail-type"] for event in arrived(strict, group)] == ["late"]
    strict.root("events").remove_permission(StatementId="sent")


def test_a_role_must_be_passed_must_exist_must_trust_and_must_be_allowed(strict: Strict) -> None:
    group, arn = log_rule(strict, "roles")
    iam = strict.root("iam")
    trusting = document({"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName="deliver", AssumeRolePolicyDocument=trusting)["Role"]["Arn"]
    target = {"Id": "log", "Arn": arn, "RoleArn": role}
    powerless = strict.user("powerless", allow("events:*"))
    assert f"iam:PassRole on resource: {role}" in denied(powerless.put_targets, Rule="roles", Targets=[target])
    passing = strict.user(
        "passing",
        allow("events:*"),
        allow("iam:PassRole", role, Condition={"StringEquals": {"iam:PassedToService": "events.amazonaws.com"}}),
    )
    passing.put_targets(Rule="roles", Targets=[target])
    passing.put_events(Entries=[{**ENTRY, "Source": "roles", "DetailType": "refused"}])
    time.sleep(0.5)
    iam.put_role_policy(
        RoleName="deliver", PolicyName="logs", PolicyDocument=document(allow(["logs:PutLogEvents", "logs:CreateLogStream"]))
    )
    passing.put_events(Entries=[{**ENTRY, "Source": "roles", "DetailType": "allowed"}])
    wait(lambda: arrived(strict, group))
    assert [event["detail-type"] for event in arrived(strict, group)] == ["allowed"]


def test_rights_may_depend_on_source_and_target(strict: Strict) -> None:
    source = {"ForAllValues:StringEquals": {"events:source": "shop"}}
    target = {"ForAllValues:ArnLike": {"events:TargetArn": "arn:aws:sqs:*:*:allowed-*"}}
    limited = strict.user(
        "limited",
        allow("events:PutEvents", BUS, Condition=source),
        allow("events:PutRule", f"arn:aws:events:us-east-1:{HOME}:rule/mine-*"),
        allow("events:PutTargets", "*", Condition=target),
    )
    assert limited.put_events(Entries=[ENTRY])["FailedEntryCount"] == 0
    denied(limited.put_events, Entries=[ENTRY, {**ENTRY, "Source": "other"}])
    limited.put_rule(Name="mine-1", EventPattern=PATTERN)
    denied(limited.put_rule, Name="yours-1", EventPattern=PATTERN)
    limited.put_targets(Rule="mine-1", Targets=[{"Id": "a", "Arn": f"arn:aws:sqs:us-east-1:{HOME}:allowed-1"}])
    denied(limited.put_targets, Rule="mine-1", Targets=[{"Id": "a", "Arn": f"arn:aws:sqs:us-east-1:{HOME}:other"}])
    denied(limited.list_rules)
