"""GetCallerIdentity, GetSessionToken, GetFederationToken and the small ones."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace
from strict_world import HOME, World, allow, document, trust

from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.sessions import AUTHORIZATION_MESSAGE, Sessions
from cloudstead.services.iam.model import USERS
from support import CloudThread


def refused(call: Any, code: str, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    assert refusal.value.response["Error"]["Code"] == code
    return str(refusal.value.response["Error"]["Message"])


def test_everyone_may_ask_who_it_is_even_if_denied(world: World) -> None:
    denied = world.user("denied", {"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert denied.get_caller_identity()["Arn"] == f"arn:aws:iam::{HOME}:user/denied"
    assert world.client().get_caller_identity()["UserId"] == HOME


def test_a_key_tells_its_account(world: World) -> None:
    asking = world.user("asking", allow("sts:GetAccessKeyInfo"))
    assert asking.get_access_key_info(AccessKeyId=world.root.access_key_id)["Account"] == HOME
    refused(asking.get_access_key_info, "ValidationError", AccessKeyId="AKIAxxxxxxxxxxxxxxxx")


def test_a_session_token_carries_the_users_own_rights(world: World) -> None:
    user = world.user("token", allow("events:ListRules"))
    session = user.get_session_token()["Credentials"]
    assert 43100 < session["Expiration"].timestamp() - time.time() <= 43200
    assert world.client(session).get_caller_identity()["Arn"] == f"arn:aws:iam::{HOME}:user/token"
    assert world.client(session, "events").list_rules()["Rules"] == []
    refused(world.client(session, "events").list_event_buses, "AccessDeniedException")
    refused(world.client(session).get_session_token, "AccessDenied")
    refused(world.client(session).get_federation_token, "AccessDenied", Name="other")


def test_sessions_stay_with_the_user_whatever_its_name_is(world: World) -> None:
    user = world.user("before", allow(["events:ListRules", "sts:GetFederationToken"]))
    own = user.get_session_token()["Credentials"]
    federated = user.get_federation_token(Name="sue", Policy=document(allow()))["Credentials"]
    world.client(service="iam").update_user(UserName="before", NewUserName="after", NewPath="/there/")
    for session in (own, federated):
        world.client(session, "events").list_rules()
    assert world.client(own).get_caller_identity()["Arn"] == f"arn:aws:iam::{HOME}:user/there/after"
    assert world.client(federated).get_caller_identity()["Arn"] == f"arn:aws:sts::{HOME}:federated-user/sue"


def test_sessions_are_worth_nothing_to_another_user_of_that_name(world: World) -> None:
    user = world.user("twice", allow(["events:ListRules", "sts:GetFederationToken"]))
    sessions = [user.get_session_token()["Credentials"], user.get_federation_token(Name="sue", Policy=document(allow()))["Credentials"]]
    row = world.store.table(USERS).get((HOME, "twice"))
    world.put(USERS, replace(row, user_id="AIDAOTHER"))
    for session in sessions:
        refused(world.client(session, "events").list_rules, "AccessDeniedException")


def test_roots_sessions_last_an_hour(world: World) -> None:
    expires = world.client().get_session_token(DurationSeconds=43200)["Credentials"]["Expiration"]
    assert expires.timestamp() - time.time() <= 3600


def test_a_federated_user_has_the_rights_that_both_its_user_and_its_policy_have(world: World) -> None:
    user = world.user("federator", allow(["sts:GetFederationToken", "events:ListRules"]))
    answer = user.get_federation_token(Name="sue", Policy=document(allow("events:*")), DurationSeconds=900)
    assert answer["FederatedUser"] == {"FederatedUserId": f"{HOME}:sue", "Arn": f"arn:aws:sts::{HOME}:federated-user/sue"}
    assert world.client(answer["Credentials"]).get_caller_identity()["UserId"] == f"{HOME}:sue"
    events = world.client(answer["Credentials"], "events")
    events.list_rules()
    refused(events.list_event_buses, "AccessDeniedException")
    without = user.get_federation_token(Name="sue")["Credentials"]
    refused(world.client(without, "events").list_rules, "AccessDeniedException")
    of_root = world.client().get_federation_token(Name="sue", Policy=document(allow("events:*")))["Credentials"]
    world.client(of_root, "events").list_rules()


def test_sessions_without_a_second_factor_reach_neither_iam_nor_most_of_sts(world: World) -> None:
    role = {"RoleArn": world.role("reached", trust({"AWS": HOME})), "RoleSessionName": "session"}
    user = world.user("onefactor", allow())
    own = user.get_session_token()["Credentials"]
    of_root = world.client().get_session_token()["Credentials"]
    federated = user.get_federation_token(Name="sue", Policy=document(allow()))["Credentials"]
    for session in (own, of_root, federated):
        message = refused(world.client(session, "iam").list_users, "InvalidClientTokenId")
        assert message == "The security token included in the request is invalid."
        message = refused(world.client(session).get_access_key_info, "AccessDenied", AccessKeyId=world.root.access_key_id)
        assert message == "Cannot call GetAccessKeyInfo with session credentials"
        world.client(session).get_caller_identity()
    refused(world.client(federated).assume_role, "AccessDenied", **role)
    assumed = world.client(own).assume_role(**role)["Credentials"]
    message = refused(world.client(assumed, "iam").list_users, "AccessDenied")  # roles are judged by their policies alone
    assert "is not authorized to perform: iam:ListUsers" in message


def test_federation_needs_a_permission(world: World) -> None:
    message = refused(world.user("unfederated").get_federation_token, "AccessDenied", Name="sue")
    assert f"on resource: arn:aws:sts::{HOME}:federated-user/sue" in message


def test_an_encoded_message_is_opened_by_who_may_open_it(world: World) -> None:
    sealed = Sessions.of(world.cloud).seal(AUTHORIZATION_MESSAGE, b'{"allowed":false}')
    reader = world.user("reader", allow("sts:DecodeAuthorizationMessage"))
    assert json.loads(reader.decode_authorization_message(EncodedMessage=sealed)["DecodedMessage"]) == {"allowed": False}
    refused(reader.decode_authorization_message, "InvalidAuthorizationMessageException", EncodedMessage="forged")
    refused(world.user("nosy").decode_authorization_message, "AccessDenied", EncodedMessage=sealed)


class Shifted(SystemClock):
    """A clock that is ahead of the machine's."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_sessions_survive_a_restart_and_then_expire(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data", strict=True) as running:
        world = World(running)
        session = world.client().get_session_token(DurationSeconds=900)["Credentials"]
    clock = Shifted()
    with CloudThread(tmp_path / "data", strict=True, clock=clock) as running:
        world = World(running)
        assert world.client(session).get_caller_identity()["Account"] == HOME
        clock.ahead = 899.0
    with CloudThread(tmp_path / "data", strict=True, clock=clock) as running:
        expired = Sessions.of(running.running.cloud).find(session["AccessKeyId"], session["SessionToken"])
        assert expired is not None
        assert expired.expires_at is not None
        assert expired.expires_at - clock.time() < 2.0


def test_without_enforcement_any_role_can_be_assumed_by_anyone(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data") as running:
        role = "arn:aws:iam::123456789012:role/never/made"
        session = running.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        who = running.client(
            "sts", key=session["AccessKeyId"], secret=session["SecretAccessKey"], token=session["SessionToken"]
        ).get_caller_identity()
        assert who["Arn"] == "arn:aws:sts::123456789012:assumed-role/made/test"
