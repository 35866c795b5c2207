"""Public repositories by the registry protocol: everybody pulls, whoever may pushes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cloudstead.services.ecr_public.model import REGISTRIES
from cloudstead.services.ecr_public.registries import free_alias
from registry_client import Wire, digest_of, header_of
from support import ACCOUNT, CloudThread

HOST = "public.ecr.localhost"
OTHER = "111111111111"


@pytest.fixture(scope="module")
def alias(public: Any) -> str:
    public.create_repository(repositoryName="app")
    public.create_repository(repositoryName="team/other")
    return str(public.describe_registries()["registries"][0]["aliases"][0]["name"])


def wire_of(cloud: CloudThread, account: str = "") -> Wire:
    """Of nobody, or of an account's root."""
    if not account:
        return Wire(cloud, host=HOST)
    token = cloud.client("ecr-public", key=account).get_authorization_token()["authorizationData"]["authorizationToken"]
    return Wire(cloud, token, host=HOST)


def test_the_token_is_what_docker_login_sends(public: Any) -> None:
    given = public.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert len(password) > 32
    assert set(given) == {"authorizationToken", "expiresAt"}


def test_everybody_pulls_what_its_owner_has_pushed(cloud: CloudThread, public: Any, alias: str) -> None:
    made = wire_of(cloud, ACCOUNT).push(f"{alias}/app", "latest")
    nobody = wire_of(cloud)
    for wire in (nobody, wire_of(cloud, OTHER), Wire(cloud, header_of("", ""), host=HOST)):
        found = wire.ask("GET", f"{alias}/app/manifests/latest")
        assert found.status == 200
        assert found.headers["Docker-Content-Digest"] == made
        layer = json.loads(found.body)["layers"][0]["digest"]
        assert digest_of(wire.ask("GET", f"{alias}/app/blobs/{layer}").body) == layer
        assert wire.ask("HEAD", f"{alias}/app/blobs/{layer}").status == 200
        assert json.loads(wire.ask("GET", f"{alias}/app/tags/list").body)["tags"] == ["latest"]
    assert public.describe_images(repositoryName="app")["imageDetails"][0]["imageDigest"] == made


def test_the_first_request_is_challenged_and_a_good_password_passes(cloud: CloudThread) -> None:
    asked = wire_of(cloud).ask("GET", "")
    assert asked.status == 401
    assert asked.headers["WWW-Authenticate"] == f'Basic realm="http://{HOST}/",service="ecr-public.amazonaws.com"'
    assert wire_of(cloud, ACCOUNT).ask("GET", "").status == 200


@pytest.mark.parametrize("shown", [header_of("AWS", "nonsense"), header_of("someone", "nonsense"), "***", ""])
def test_a_password_that_is_none_is_refused(cloud: CloudThread, alias: str, shown: str) -> None:
    answer = Wire(cloud, shown or "x", host=HOST).ask("GET", f"{alias}/app/manifests/latest")
    assert (answer.status, answer.error) == (401, ("UNAUTHORIZED", "Your Authorization Token is invalid."))


def test_passwords_of_the_private_registries_are_none_here(cloud: CloudThread, alias: str) -> None:
    token = cloud.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert Wire(cloud, token, host=HOST).ask("GET", "").status == 401
    private = Wire(cloud, cloud.client("ecr-public").get_authorization_token()["authorizationData"]["authorizationToken"])
    assert private.ask("GET", "").status == 401


def test_an_address_without_a_name_serves_public_repositories_too(cloud: CloudThread, public: Any, alias: str) -> None:
    public.create_repository(repositoryName="plain")
    token = cloud.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    made = Wire(cloud, token).push(f"{alias}/plain", "latest")
    assert Wire(cloud).ask("GET", f"{alias}/plain/manifests/latest").headers["Docker-Content-Digest"] == made
    assert Wire(cloud).push_blob(f"{alias}/plain", b"x").status == 401
    assert Wire(cloud, host=f"{ACCOUNT}.dkr.ecr.us-east-1.localhost").ask("GET", f"{alias}/plain/manifests/latest").status == 401
    assert Wire(cloud).ask("GET", "nobody99/plain/manifests/latest").status == 401


def test_nobody_pushes_or_deletes_without_a_password(cloud: CloudThread, alias: str) -> None:
    wire = wire_of(cloud)
    refusals = [
        wire.ask("POST", f"{alias}/app/blobs/uploads/"),
        wire.push_manifest(f"{alias}/app", "latest", b"{}"),
        wire.ask("DELETE", f"{alias}/app/manifests/latest"),
        wire.ask("GET", "_catalog"),
    ]
    assert [answer.status for answer in refusals] == [401] * 4
    assert all(answer.headers["WWW-Authenticate"].startswith("Basic ") for answer in refusals)


def test_another_account_pushes_only_where_a_policy_lets_it(cloud: CloudThread, public: Any, alias: str) -> None:
    stranger = wire_of(cloud, OTHER)
    answer = stranger.push_blob(f"{alias}/team/other", b"layer")
    assert (answer.status, answer.error[0]) == (403, "DENIED")
    assert "ecr-public:InitiateLayerUpload" in answer.error[1]
    principal = {"AWS": f"arn:aws:iam::{OTHER}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": ["ecr-public:*Layer*", "ecr-public:PutImage"]}
    public.set_repository_policy(repositoryName="team/other", policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    made = stranger.push(f"{alias}/team/other", "theirs")
    assert stranger.ask("DELETE", f"{alias}/team/other/manifests/{made}").status == 403
    assert wire_of(cloud, ACCOUNT).ask("DELETE", f"{alias}/team/other/manifests/{made}").status == 202


@pytest.mark.parametrize("path", ["{alias}/nothing", "nobody99/app", "{alias}", "app", ACCOUNT + "/app"])
def test_what_is_not_there_is_unknown_by_its_alias(cloud: CloudThread, alias: str, path: str) -> None:
    path = path.format(alias=alias)
    registry, _, name = path.partition("/")
    for wire in (wire_of(cloud), wire_of(cloud, ACCOUNT)):
        answer = wire.ask("GET", f"{path}/manifests/latest")
        assert answer.status == 404
        assert answer.error == ("NAME_UNKNOWN", f"The repository with name '{name}' does not exist in the registry with id '{registry}'")
    assert wire_of(cloud, ACCOUNT).push_blob(path, b"x").status == 404


def test_blobs_are_mounted_from_any_public_repository(cloud: CloudThread, public: Any, alias: str) -> None:
    wire = wire_of(cloud, ACCOUNT)
    layer = b"to be mounted"
    assert wire.push_blob(f"{alias}/app", layer).status == 201
    public.create_repository(repositoryName="mounting")
    where = f"{alias}/mounting/blobs/uploads/?mount={digest_of(layer)}"
    assert wire.ask("POST", f"{where}&from={alias}/nothing").status == 202
    assert wire.ask("POST", f"{where}&from={alias}/app").status == 201
    assert wire.ask("HEAD", f"{alias}/mounting/blobs/{digest_of(layer)}").status == 200
    public.create_repository(repositoryName="mounting-too")
    assert wire.ask("POST", f"{alias}/mounting-too/blobs/uploads/?mount={digest_of(layer)}").status == 201


def test_the_catalog_has_the_callers_own_repositories(cloud: CloudThread, alias: str) -> None:
    assert f"{alias}/team/other" in json.loads(wire_of(cloud, ACCOUNT).ask("GET", "_catalog").body)["repositories"]
    assert json.loads(wire_of(cloud, "999999999999").ask("GET", "_catalog").body)["repositories"] == []


def test_aliases_are_the_same_everywhere_and_never_shared(cloud: CloudThread, alias: str) -> None:
    async def found() -> tuple[str, str]:
        store = cloud.running.cloud.store
        row = store.table(REGISTRIES).get((ACCOUNT,))
        return row.alias, free_alias(store, ACCOUNT)

    kept, another = cloud.do(found)
    assert kept == alias == "ldr89kjg"
    assert another != kept


def test_who_calls_is_judged_by_iam(tmp_path: Path) -> None:
    with CloudThread(tmp_path, iam="enforce") as strict:
        owner, iam = strict.client("ecr-public"), strict.client("iam")
        owner.create_repository(repositoryName="app")
        alias = owner.describe_registries()["registries"][0]["aliases"][0]["name"]
        iam.create_user(UserName="u")
        key = iam.create_access_key(UserName="u")["AccessKey"]
        user = strict.client("ecr-public", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
        allow(iam, "ecr-public:GetAuthorizationToken")
        with pytest.raises(user.exceptions.ClientError, match="sts:GetServiceBearerToken"):
            user.get_authorization_token()
        allow(iam, "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken")
        wire = Wire(strict, user.get_authorization_token()["authorizationData"]["authorizationToken"], host=HOST)
        answer = wire.push_blob(f"{alias}/app", b"layer")
        assert (answer.status, answer.error[0]) == (403, "DENIED")
        allow(iam, "ecr-public:*Layer*", "ecr-public:PutImage")
        wire.push(f"{alias}/app", "latest")
        assert Wire(strict, host=HOST).ask("GET", f"{alias}/app/manifests/latest").status == 200


def allow(iam: Any, *actions: str) -> None:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps(document))
