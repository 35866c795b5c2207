"""AssumeRole: who may, for how long, with which rights."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from strict_world import HOME, OTHER, World, allow, document, trust

ADMIN = allow()
MAY_ASSUME = allow("sts:*")


def refused(call: Any, code: str, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    assert refusal.value.response["Error"]["Code"] == code
    return str(refusal.value.response["Error"]["Message"])


def assume(client: Any, role: str, **parameters: Any) -> Any:
    return client.assume_role(RoleArn=role, RoleSessionName="session", **parameters)


def test_a_trusted_user_becomes_the_role(world: World) -> None:
    role = world.role("plain", trust({"AWS": HOME}))
    answer = assume(world.user("plain", MAY_ASSUME), role)
    assert answer["AssumedRoleUser"] == {
        "AssumedRoleId": "AROAPLAIN:session",
        "Arn": f"arn:aws:sts::{HOME}:assumed-role/plain/session",
    }
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert "PackedPolicySize" not in answer
    who = world.client(answer["Credentials"]).get_caller_identity()
    assert (who["Account"], who["UserId"], who["Arn"]) == (HOME, "AROAPLAIN:session", answer["AssumedRoleUser"]["Arn"])


def test_a_user_whom_the_trust_policy_names_needs_no_permission(world: World) -> None:
    role = world.role("named", trust({"AWS": f"arn:aws:iam::{HOME}:user/named"}))
    assume(world.user("named"), role)


def test_an_untrusted_user_is_refused_whatever_its_policies_allow(world: World) -> None:
    role = world.role("closed", trust({"Service": "ecs-tasks.amazonaws.com"}))
    message = refused(world.user("eager", ADMIN).assume_role, "AccessDenied", RoleArn=role, RoleSessionName="session")
    assert message.startswith(f"User: arn:aws:iam::{HOME}:user/eager is not authorized to perform: sts:AssumeRole on resource: {role}")


def test_across_accounts_both_sides_must_allow(world: World) -> None:
    role = world.role("far", trust({"AWS": HOME}), account=OTHER)
    answer = assume(world.user("traveller", MAY_ASSUME), role)
    assert world.client(answer["Credentials"]).get_caller_identity()["Account"] == OTHER
    refused(world.user("homebody").assume_role, "AccessDenied", RoleArn=role, RoleSessionName="session")


def test_a_role_that_does_not_exist_cannot_be_assumed(world: World) -> None:
    client = world.user("hopeful", ADMIN)
    refused(client.assume_role, "AccessDenied", RoleArn=f"arn:aws:iam::{HOME}:role/nowhere", RoleSessionName="session")
    refused(client.assume_role, "ValidationError", RoleArn=f"arn:aws:iam::{HOME}:user/hopeful", RoleSessionName="session")


def test_root_assumes_no_roles(world: World) -> None:
    role = world.role("notroot", trust({"AWS": "*"}))
    assert refused(world.client().assume_role, "AccessDenied", RoleArn=role, RoleSessionName="s1") == (
        "Roles may not be assumed by root accounts."
    )


def test_an_external_id_must_be_the_agreed_one(world: World) -> None:
    role = world.role("vendor", trust({"AWS": HOME}, Condition={"StringEquals": {"sts:ExternalId": "agreed"}}))
    client = world.user("vendor", MAY_ASSUME)
    assume(client, role, ExternalId="agreed")
    for wrong in ({"ExternalId": "guessed"}, {}):
        refused(client.assume_role, "AccessDenied", RoleArn=role, RoleSessionName="session", **wrong)


def test_a_session_lasts_as_long_as_asked_up_to_the_roles_maximum(world: World) -> None:
    role = world.role("brief", trust({"AWS": HOME}), max_session_duration=7200)
    client = world.user("brief", MAY_ASSUME)
    assume(client, role, DurationSeconds=7200)
    message = refused(client.assume_role, "ValidationError", RoleArn=role, RoleSessionName="session", DurationSeconds=7201)
    assert message == "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."


def test_chained_roles_last_an_hour_at_most(world: World) -> None:
    first = world.role("first", trust({"AWS": HOME}), MAY_ASSUME)
    second = world.role("second", trust({"AWS": first}), max_session_duration=43200)
    chained = world.client(assume(world.user("chain", MAY_ASSUME), first)["Credentials"])
    assume(chained, second, DurationSeconds=3600)
    message = refused(chained.assume_role, "ValidationError", RoleArn=second, RoleSessionName="session", DurationSeconds=3601)
    assert "role chaining" in message


def test_session_policies_limit_the_role(world: World) -> None:
    role = world.role("limited", trust({"AWS": HOME}), ADMIN)
    client = world.user("limiter", MAY_ASSUME)
    listing = {"PolicySourceArn": role, "PolicyInputList": ["x"]}
    full = assume(client, role)
    limited = assume(client, role, Policy=document(allow("sts:*")))
    assert 0 < limited["PackedPolicySize"] <= 100
    # An action that both reach the handler of; only the second is denied before it.
    refused(world.client(full["Credentials"], "iam").get_context_keys_for_principal_policy, "InvalidInput", **listing)
    message = refused(world.client(limited["Credentials"], "iam").get_context_keys_for_principal_policy, "AccessDenied", **listing)
    assert message.endswith("because no session policy allows the iam:GetContextKeysForPrincipalPolicy action")
    managed = assume(client, role, PolicyArns=[{"arn": world.managed("simulating", allow("iam:*"))}])
    refused(world.client(managed["Credentials"], "iam").get_context_keys_for_principal_policy, "InvalidInput", **listing)


def test_a_malformed_session_policy_is_refused(world: World) -> None:
    role = world.role("strictly", trust({"AWS": HOME}))
    client = world.user("sloppy", MAY_ASSUME)
    refused(client.assume_role, "MalformedPolicyDocument", RoleArn=role, RoleSessionName="session", Policy="{}")
    refused(client.assume_role, "ValidationError", RoleArn=role, RoleSessionName="session", Policy=document(allow(Sid="a" * 3000)))
    unknown = [{"arn": f"arn:aws:iam::{HOME}:policy/unknown"}]
    refused(client.assume_role, "ValidationError", RoleArn=role, RoleSessionName="session", PolicyArns=unknown)


def test_tags_become_principal_tags_and_transitive_ones_are_handed_on(world: World) -> None:
    tagging = ["sts:AssumeRole", "sts:TagSession"]
    first = world.role("tagged", trust({"AWS": HOME}, tagging), MAY_ASSUME)
    red = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    second = world.role("redonly", trust({"AWS": HOME}, tagging, Condition=red))
    third = world.role("redagain", trust({"AWS": HOME}, tagging, Condition=red))
    client = world.user("tagger", MAY_ASSUME)
    team = [{"Key": "team", "Value": "red"}, {"Key": "cost", "Value": "1"}]
    refused(client.assume_role, "AccessDenied", RoleArn=second, RoleSessionName="session")
    handed_on = world.client(assume(client, first, Tags=team, TransitiveTagKeys=["team"])["Credentials"])
    again = world.client(assume(handed_on, second)["Credentials"])
    refused(again.assume_role, "AccessDenied", RoleArn=third, RoleSessionName="session")  # "redonly" has no permission of its own
    kept = world.client(assume(client, first, Tags=team)["Credentials"])
    assume(kept, second)
    conflict = {"Tags": [{"Key": "Team", "Value": "blue"}]}
    assert "conflicts" in refused(handed_on.assume_role, "ValidationError", RoleArn=second, RoleSessionName="session", **conflict)
    untransitive = {"Tags": team, "TransitiveTagKeys": ["other"]}
    refused(client.assume_role, "ValidationError", RoleArn=first, RoleSessionName="session", **untransitive)
    twice = {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}
    refused(client.assume_role, "ValidationError", RoleArn=first, RoleSessionName="session", **twice)


def test_tagging_a_session_is_a_permission_of_its_own(world: World) -> None:
    role = world.role("untaggable", trust({"AWS": HOME}))
    client = world.user("wouldtag", MAY_ASSUME)
    tags = {"Tags": [{"Key": "a", "Value": "b"}]}
    assert "sts:TagSession" in refused(client.assume_role, "AccessDenied", RoleArn=role, RoleSessionName="session", **tags)


def test_a_source_identity_stays_through_a_chain(world: World) -> None:
    naming = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    first = world.role("source", trust({"AWS": HOME}, naming), MAY_ASSUME)
    second = world.role("sourced", trust({"AWS": HOME}, naming, Condition={"StringEquals": {"aws:SourceIdentity": "jane"}}))
    answer = assume(world.user("source", MAY_ASSUME), first, SourceIdentity="jane")
    assert answer["SourceIdentity"] == "jane"
    chained = world.client(answer["Credentials"])
    assert assume(chained, second)["SourceIdentity"] == "jane"
    refused(chained.assume_role, "ValidationError", RoleArn=second, RoleSessionName="session", SourceIdentity="eve")


def test_a_tampered_token_and_another_keys_token_are_refused(world: World) -> None:
    role = world.role("sealed", trust({"AWS": HOME}))
    client = world.user("sealed", MAY_ASSUME)
    one, two = (assume(client, role)["Credentials"] for _ in range(2))
    token = one["SessionToken"]
    forged = token[:60] + ("A" if token[60] != "A" else "B") + token[61:]
    refused(world.client({**one, "SessionToken": forged}).get_caller_identity, "InvalidClientTokenId")
    refused(world.client({**one, "SessionToken": two["SessionToken"]}).get_caller_identity, "InvalidClientTokenId")
    refused(world.client({**one, "SecretAccessKey": two["SecretAccessKey"]}).get_caller_identity, "SignatureDoesNotMatch")


def test_what_is_not_there_is_said(world: World) -> None:
    role = world.role("odd", trust({"AWS": HOME}))
    client = world.user("odd", MAY_ASSUME)
    with_mfa = {"SerialNumber": f"arn:aws:iam::{HOME}:mfa/odd", "TokenCode": "123456"}
    refused(client.assume_role, "AccessDenied", RoleArn=role, RoleSessionName="session", **with_mfa)
    saml = {"RoleArn": role, "PrincipalArn": f"arn:aws:iam::{HOME}:saml-provider/x", "SAMLAssertion": "PHNhbWw+"}
    refused(client.assume_role_with_saml, "NotImplemented", **saml)
