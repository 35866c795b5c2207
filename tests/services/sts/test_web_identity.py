"""AssumeRoleWithWebIdentity: tokens of identity providers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from strict_world import HOME, Issuer, World, encoded, trust

WITH_TOKEN = "sts:AssumeRoleWithWebIdentity"
URL = "idp.example.com/tenant"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def provider(world: World, issuer: Issuer) -> str:
    return world.provider(URL, "app", keys=[issuer.public])


@pytest.fixture
def client(world: World) -> Any:
    return world.client(key="x", config=Config(signature_version=UNSIGNED))


def ask(client: Any, role: str, token: str, **parameters: Any) -> Any:
    return client.assume_role_with_web_identity(RoleArn=role, RoleSessionName="session", WebIdentityToken=token, **parameters)


def refused(client: Any, role: str, token: str, code: str, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        ask(client, role, token, **parameters)
    assert refusal.value.response["Error"]["Code"] == code
    return str(refusal.value.response["Error"]["Message"])


def test_a_token_of_a_trusted_provider_becomes_the_role(world: World, client: Any, issuer: Issuer, provider: str) -> None:
    condition = {"StringEquals": {f"{URL}:aud": "app"}, "StringLike": {f"{URL}:sub": "subject-*"}}
    role = world.role("web", trust({"Federated": provider}, WITH_TOKEN, Condition=condition))
    answer = ask(client, role, issuer.token(URL))
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"], answer["Provider"]) == ("subject-1", "app", provider)
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{HOME}:assumed-role/web/session"
    assert world.client(answer["Credentials"]).get_caller_identity()["Arn"] == answer["AssumedRoleUser"]["Arn"]
    assert refused(client, role, issuer.token(URL, sub="somebody"), "AccessDenied") == f"Not authorized to perform {WITH_TOKEN}"


def test_elliptic_curves_sign_as_well(world: World, client: Any) -> None:
    issuer = Issuer("ES256")
    provider = world.provider("curves.example.com", "app", keys=[issuer.public])
    ask(client, world.role("curves", trust({"Federated": provider}, WITH_TOKEN)), issuer.token("curves.example.com"))


def test_a_role_that_trusts_another_provider_refuses(world: World, client: Any, issuer: Issuer, provider: str) -> None:
    role = world.role("elsewhere", trust({"Federated": provider + "2"}, WITH_TOKEN))
    refused(client, role, issuer.token(URL), "AccessDenied")
    refused(client, world.role("people", trust({"AWS": HOME})), issuer.token(URL), "AccessDenied")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1000}, "ExpiredTokenException"),
        ({"exp": None}, "InvalidIdentityToken"),
        ({"exp": float("inf")}, "InvalidIdentityToken"),
        ({"sub": "\ud800"}, "InvalidIdentityToken"),
        ({"nbf": time.time() + 4000}, "InvalidIdentityToken"),
        ({"aud": "another"}, "InvalidIdentityToken"),
        ({"sub": None}, "InvalidIdentityToken"),
        ({"iss": "https://unregistered.example.com"}, "InvalidIdentityToken"),
        ({"header": {"kid": "unknown"}}, "InvalidIdentityToken"),
        ({"header": {"alg": "none"}}, "InvalidIdentityToken"),
        ({"header": {"alg": "HS256"}}, "InvalidIdentityToken"),
    ],
)
def test_a_token_that_does_not_hold_is_refused(
    world: World, client: Any, issuer: Issuer, provider: str, claims: dict[str, Any], code: str
) -> None:
    role = world.role("wary", trust({"Federated": provider}, WITH_TOKEN))
    refused(client, role, issuer.token(URL, **claims), code)


def test_a_forged_token_is_refused(world: World, client: Any, issuer: Issuer, provider: str) -> None:
    role = world.role("unforged", trust({"Federated": provider}, WITH_TOKEN))
    header, _, signature = issuer.token(URL).split(".")
    _, other, _ = issuer.token(URL, sub="admin-user").split(".")
    refused(client, role, f"{header}.{other}.{signature}", "InvalidIdentityToken")
    impostor = Issuer()
    refused(client, role, impostor.token(URL), "InvalidIdentityToken")
    for nonsense in ("no token", "a.b.c", f"{encoded(b'[]')}.{encoded(b'{}')}.", "x" * 5000):
        assert "not a valid JWT" in refused(client, role, nonsense, "InvalidIdentityToken")


def test_the_provider_may_tag_the_session(world: World, client: Any, issuer: Issuer, provider: str) -> None:
    tags = {"https://aws.amazon.com/tags": {"principal_tags": {"team": ["red"]}, "transitive_tag_keys": ["team"]}}
    condition = {"StringEquals": {"aws:RequestTag/team": "red"}}
    role = world.role("webtags", trust({"Federated": provider}, [WITH_TOKEN, "sts:TagSession"], Condition=condition))
    assert ask(client, role, issuer.token(URL, **tags))["PackedPolicySize"] > 0
    untaggable = world.role("webuntagged", trust({"Federated": provider}, WITH_TOKEN))
    refused(client, untaggable, issuer.token(URL, **tags), "AccessDenied")


def test_a_provider_without_keys_is_told_where_to_put_them(world: World, client: Any, issuer: Issuer) -> None:
    provider = world.provider("offline.invalid", "app", keys=[])
    (world.cloud.data / "sts" / "keys" / "offline.invalid.json").unlink()
    role = world.role("offline", trust({"Federated": provider}, WITH_TOKEN))
    assert "offline.invalid.json" in refused(client, role, issuer.token("offline.invalid"), "IDPCommunicationError")


def test_access_tokens_of_oauth_are_refused(world: World, client: Any, issuer: Issuer, provider: str) -> None:
    role = world.role("oauth", trust({"Federated": "graph.facebook.com"}, WITH_TOKEN))
    refused(client, role, issuer.token(URL), "ValidationError", ProviderId="graph.facebook.com")
