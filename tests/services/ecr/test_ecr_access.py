"""Who gets into a registry: tokens, policies of repositories and registries, other accounts, IAM on and off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_calls import refused

from cloudstead import datadir
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.iam.credentials import new_key
from cloudstead.services.iam.model import ACCESS_KEYS
from registry_client import Wire, digest_of, header_of, image, password_of, token_of, wire_of
from support import CloudThread

OWNER, GUEST = "220000000001", "220000000002"
PULL = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]


class Shifted(SystemClock):
    """A clock that is ahead of the machine's."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def policy(action: Any, principal: Any, effect: str = "Allow", **more: Any) -> str:
    statement = {"Sid": "one", "Effect": effect, "Principal": principal, "Action": action, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


def repository(cloud: CloudThread, name: str, account: str = OWNER) -> Any:
    ecr = cloud.client("ecr", key=account)
    ecr.create_repository(repositoryName=name)
    return ecr


# tokens


def test_without_a_password_clients_are_told_how_to_come_in(cloud: CloudThread) -> None:
    host = f"{OWNER}.dkr.ecr.us-east-1.localhost:4566"
    answer = Wire(cloud, host=host).ask("GET", "")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="http://{host}/",service="ecr.amazonaws.com"'
    assert answer.error[0] == "UNAUTHORIZED"


def test_a_strange_host_is_not_told_back(cloud: CloudThread) -> None:
    answer = Wire(cloud, host='x",evil="y').ask("GET", "")
    assert "evil" not in answer.headers.get("WWW-Authenticate", "")


def test_what_get_authorization_token_gives_lets_in(cloud: CloudThread) -> None:
    given = cloud.client("ecr", key=OWNER).get_authorization_token()["authorizationData"]
    port = cloud.endpoint.rpartition(":")[2]
    assert [each["proxyEndpoint"] for each in given] == [f"http://{OWNER}.dkr.ecr.us-east-1.localhost:{port}"]
    assert Wire(cloud, given[0]["authorizationToken"]).ask("GET", "").status == 200
    several = cloud.client("ecr", key=OWNER).get_authorization_token(registryIds=[OWNER, GUEST])["authorizationData"]
    assert [each["proxyEndpoint"].partition(".")[0] for each in several] == [f"http://{OWNER}", f"http://{GUEST}"]


def test_wrong_passwords_are_refused(cloud: CloudThread) -> None:
    good = token_of(cloud.client("ecr", key=OWNER))
    password = password_of(good)
    forged = password[:40] + ("A" if password[40] != "A" else "B") + password[41:]
    for header in (
        header_of("AWS", "password"),
        header_of("AWS", ""),
        header_of("AWS", forged),
        header_of("AWS", password[:-4]),
        header_of("aws", password),
        header_of("AWS", "x" * 20_000),
        "not base64 \u00e9",
        good + "x",
    ):
        answer = Wire(cloud, header).ask("GET", "")
        assert answer.status == 401, header
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert Wire(cloud, good).ask("GET", "").status == 200


def test_a_password_of_another_purpose_is_refused(cloud: CloudThread) -> None:
    session = Sessions.of(cloud.running.cloud).seal("session", b"anything")
    assert Wire(cloud, header_of("AWS", session)).ask("GET", "").status == 401


def test_passwords_live_twelve_hours_and_survive_a_restart(tmp_path: Path) -> None:
    clock = Shifted()
    with CloudThread(tmp_path / "data", clock=clock) as running:
        token = token_of(running.client("ecr"))
        assert Wire(running, token).ask("GET", "").status == 200
    with CloudThread(tmp_path / "data", clock=clock) as running:
        wire = Wire(running, token)
        clock.ahead = 12 * 3600 - 60
        assert wire.ask("GET", "").status == 200
        clock.ahead = 12 * 3600 + 1
        answer = wire.ask("GET", "")
        assert answer.status == 401
        assert answer.error == ("UNAUTHORIZED", "Your authorization token has expired. Reauthenticate and try again.")
        assert wire.ask("GET", "").status == 401


def test_on_localhost_the_token_says_which_registry_it_is(cloud: CloudThread) -> None:
    ecr = repository(cloud, "by-token")
    digest_ = wire_of(cloud, OWNER).push("by-token", "1")
    own = Wire(cloud, token_of(ecr))
    assert own.ask("HEAD", "by-token/manifests/1").headers["Docker-Content-Digest"] == digest_
    elsewhere = Wire(cloud, token_of(cloud.client("ecr", key=OWNER, region="eu-west-1")))
    assert elsewhere.ask("GET", "by-token/manifests/1").error[0] == "NAME_UNKNOWN"


# other accounts, IAM off


def test_a_token_of_another_account_sees_nothing(cloud: CloudThread) -> None:
    repository(cloud, "private")
    owner, guest = wire_of(cloud, OWNER), wire_of(cloud, GUEST, registry=OWNER)
    pushed = owner.push("private", "1")
    arn = f"arn:aws:ecr:us-east-1:{OWNER}:repository/private"
    answer = guest.ask("GET", "private/manifests/1")
    assert answer.status == 403
    assert answer.error == (
        "DENIED",
        f"User: arn:aws:iam::{GUEST}:root is not authorized to perform: ecr:BatchGetImage on resource: {arn} "
        "because no resource-based policy allows the ecr:BatchGetImage action",
    )
    layer = digest_of(b"layer 1")
    for method, path in [
        ("HEAD", "private/manifests/1"),
        ("GET", f"private/blobs/{layer}"),
        ("HEAD", f"private/blobs/{layer}"),
        ("GET", "private/tags/list"),
        ("GET", f"private/referrers/{pushed}"),
        ("POST", "private/blobs/uploads/"),
        ("PUT", "private/manifests/2"),
        ("DELETE", "private/manifests/1"),
        ("DELETE", f"private/manifests/{pushed}"),
        ("DELETE", f"private/blobs/{layer}"),
        ("GET", "never-made/manifests/1"),  # which names there are is nobody's business either
        ("GET", "_catalog"),
    ]:
        assert guest.ask(method, path).status == 403, (method, path)
    assert owner.ask("GET", "private/manifests/1").status == 200
    # with the same name in his own registry he finds his own
    assert Wire(cloud, token_of(cloud.client("ecr", key=GUEST))).ask("GET", "private/manifests/1").error[0] == "NAME_UNKNOWN"


def test_a_repository_policy_lets_another_account_pull(cloud: CloudThread) -> None:
    ecr = repository(cloud, "shared")
    wire_of(cloud, OWNER).push("shared", "1")
    text = policy(PULL, {"AWS": f"arn:aws:iam::{GUEST}:root"})
    ecr.set_repository_policy(repositoryName="shared", policyText=text)
    assert ecr.get_repository_policy(repositoryName="shared")["policyText"] == text
    guest = wire_of(cloud, GUEST, registry=OWNER)
    assert guest.ask("GET", "shared/manifests/1").status == 200
    assert guest.ask("GET", f"shared/blobs/{digest_of(b'layer 1')}").body == b"layer 1"
    assert guest.ask("POST", "shared/blobs/uploads/").error[0] == "DENIED"
    assert guest.ask("GET", "shared/tags/list").status == 403
    third = wire_of(cloud, "220000000003", registry=OWNER)
    assert third.ask("GET", "shared/manifests/1").status == 403
    assert ecr.delete_repository_policy(repositoryName="shared")["policyText"] == text
    assert guest.ask("GET", "shared/manifests/1").status == 403


def test_a_registry_policy_counts_for_every_repository(cloud: CloudThread) -> None:
    owner = "220000000011"
    ecr = repository(cloud, "of-all", owner)
    refused(ecr.get_registry_policy, "RegistryPolicyNotFoundException")
    text = policy(["ecr:BatchGetImage"], {"AWS": GUEST}, Resource=f"arn:aws:ecr:us-east-1:{owner}:repository/of-*")
    ecr.put_registry_policy(policyText=text)
    assert ecr.get_registry_policy()["policyText"] == text
    guest = wire_of(cloud, GUEST, registry=owner)
    assert guest.ask("GET", "of-all/manifests/1").status == 404
    assert guest.ask("GET", "other/manifests/1").status == 403
    ecr.set_repository_policy(repositoryName="of-all", policyText=policy("ecr:BatchGetImage", "*", "Deny"))
    assert "explicit deny in a resource-based policy" in guest.ask("GET", "of-all/manifests/1").error[1]
    ecr.delete_repository_policy(repositoryName="of-all")
    ecr.put_account_setting(name="REGISTRY_POLICY_SCOPE", value="V1")
    assert guest.ask("GET", "of-all/manifests/1").status == 403
    assert ecr.delete_registry_policy()["policyText"] == text
    refused(ecr.delete_registry_policy, "RegistryPolicyNotFoundException")


def test_the_api_keeps_accounts_apart_too(cloud: CloudThread) -> None:
    ecr = repository(cloud, "by-api")
    guest = cloud.client("ecr", key=GUEST)
    about = {"registryId": OWNER, "repositoryName": "by-api"}
    arn = f"arn:aws:ecr:us-east-1:{OWNER}:repository/by-api"
    sentence = refused(guest.get_repository_policy, "AccessDeniedException", **about)
    assert sentence == (
        f"User: arn:aws:iam::{GUEST}:root is not authorized to perform: ecr:GetRepositoryPolicy on resource: {arn} "
        "because no resource-based policy allows the ecr:GetRepositoryPolicy action"
    )
    for call in (guest.delete_repository, guest.list_images, guest.describe_images):
        refused(call, "AccessDeniedException", **about)
    refused(guest.describe_repositories, "AccessDeniedException", registryId=OWNER)
    refused(guest.create_repository, "AccessDeniedException", registryId=OWNER, repositoryName="foreign")
    refused(guest.tag_resource, "AccessDeniedException", resourceArn=arn, tags=[])
    ecr.set_repository_policy(repositoryName="by-api", policyText=policy(["ecr:DescribeRepositories", "ecr:ListImages"], {"AWS": GUEST}))
    assert guest.list_images(**about)["imageIds"] == []
    (seen,) = guest.describe_repositories(registryId=OWNER, repositoryNames=["by-api"])["repositories"]
    assert seen["repositoryArn"] == arn
    refused(guest.delete_repository, "AccessDeniedException", **about)


# policies


def test_what_is_no_policy_is_refused(cloud: CloudThread) -> None:
    ecr = repository(cloud, "policies")
    for text in ("{}", "nonsense", '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}'):
        assert refused(ecr.set_repository_policy, "InvalidParameterException", repositoryName="policies", policyText=text) == (
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'"
        )
        refused(ecr.put_registry_policy, "InvalidParameterException", policyText=text)
    assert refused(ecr.get_repository_policy, "RepositoryPolicyNotFoundException", repositoryName="policies") == (
        f"Repository policy does not exist for the repository with name 'policies' in the registry with id '{OWNER}'"
    )


def test_nobody_locks_himself_out_unless_he_means_it(cloud: CloudThread) -> None:
    ecr = repository(cloud, "locked")
    about: dict[str, Any] = {"repositoryName": "locked", "policyText": policy("ecr:*", "*", "Deny")}
    refused(ecr.set_repository_policy, "InvalidParameterException", **about)
    ecr.set_repository_policy(**about, force=True)


# create on push, mounts


def test_a_push_makes_a_repository_where_a_template_says_so(cloud: CloudThread) -> None:
    owner = "220000000021"
    ecr, wire = cloud.client("ecr", key=owner), wire_of(cloud, owner)
    refusal = wire.ask("POST", "made/by-push/blobs/uploads/")
    assert refusal.status == 404
    assert refusal.error == ("NAME_UNKNOWN", f"The repository with name 'made/by-push' does not exist in the registry with id '{owner}'")
    ecr.create_repository_creation_template(prefix="made", appliedFor=["CREATE_ON_PUSH"], imageTagMutability="IMMUTABLE")
    assert wire.ask("GET", "made/by-push/manifests/1").status == 404
    wire.push("made/by-push", "1")
    (made,) = ecr.describe_repositories()["repositories"]
    assert (made["repositoryName"], made["imageTagMutability"]) == ("made/by-push", "IMMUTABLE")
    assert wire_of(cloud, GUEST, registry=owner).ask("POST", "made/by-guest/blobs/uploads/").status == 403
    assert wire.ask("POST", "made/Wrong/blobs/uploads/").error[0] == "NAME_INVALID"
    assert wire.ask("GET", "made/by-push/manifests/2").error == ("MANIFEST_UNKNOWN", "Requested image not found")
    code, told = wire.ask("POST", "k/blobs/uploads/").error
    assert (code, "length of 2 to 256" in told) == ("NAME_INVALID", True)


def test_blobs_are_mounted_within_a_registry(cloud: CloudThread) -> None:
    owner = "220000000031"
    ecr, wire = repository(cloud, "source", owner), wire_of(cloud, owner)
    ecr.create_repository(repositoryName="target")
    wire.push("source", "1")
    layer = digest_of(b"layer 1")
    other = wire_of(cloud, GUEST)
    repository(cloud, "target", GUEST)
    assert other.ask("POST", f"target/blobs/uploads/?mount={layer}&from=source").status == 202
    assert other.ask("POST", f"target/blobs/uploads/?mount={layer}").status == 202
    assert wire.ask("POST", f"target/blobs/uploads/?mount={layer}&from=nowhere").status == 202
    ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert wire.ask("POST", f"target/blobs/uploads/?mount={layer}&from=source").status == 202
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert wire.ask("POST", f"target/blobs/uploads/?mount={layer}").status == 201
    assert wire.ask("GET", f"target/blobs/{layer}").body == b"layer 1"


def test_an_archived_image_cannot_be_pulled(cloud: CloudThread) -> None:
    ecr, wire = repository(cloud, "archive"), wire_of(cloud, OWNER)
    pushed = wire.push("archive", "1")
    ecr.update_image_storage_class(repositoryName="archive", imageId={"imageTag": "1"}, targetStorageClass="ARCHIVE")
    assert wire.ask("GET", "archive/manifests/1").error[0] == "MANIFEST_UNKNOWN"
    assert wire.ask("HEAD", f"archive/manifests/{pushed}").status == 404
    assert wire.push("archive", "1") == pushed  # which brings it back
    assert wire.ask("GET", "archive/manifests/1").status == 200


# IAM on


class Strict:
    """A strict cloud, and users with rights."""

    def __init__(self, running: CloudThread) -> None:
        self.running = running
        key = datadir.root_key(running.running.cloud.data)
        self._root = {"key": key.access_key_id, "secret": key.secret_access_key}
        self.ecr = running.client("ecr", **self._root)
        self.iam = running.client("iam", **self._root)

    def user(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        self.iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        if statements:
            self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}

    def wire(self, credentials: dict[str, str] | None = None) -> Wire:
        return Wire(self.running, token_of(self.running.client("ecr", **(credentials or self._root))))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield Strict(running)


TOKEN = {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}


def test_what_a_user_may_by_the_api_he_may_by_the_protocol(strict: Strict) -> None:
    strict.ecr.create_repository(repositoryName="judged")
    strict.wire().push("judged", "1")
    nobody = strict.user("nobody")
    refused(strict.running.client("ecr", **nobody).get_authorization_token, "AccessDeniedException")
    reading = {"Effect": "Allow", "Action": PULL, "Resource": "arn:aws:ecr:us-east-1:*:repository/judged"}
    reader = strict.wire(strict.user("reader", TOKEN, reading))
    assert reader.ask("GET", "judged/manifests/1").status == 200
    assert reader.ask("GET", f"judged/blobs/{digest_of(b'layer 1')}").status == 200
    assert reader.ask("HEAD", f"judged/blobs/{digest_of(b'layer 1')}").status == 200
    for method, path, action in [
        ("GET", "judged/tags/list", "ecr:ListImages"),
        ("POST", "judged/blobs/uploads/", "ecr:InitiateLayerUpload"),
        ("DELETE", "judged/manifests/1", "ecr:BatchDeleteImage"),
        ("GET", "other/manifests/1", "ecr:BatchGetImage"),
    ]:
        code, sentence = reader.ask(method, path).error
        assert code == "DENIED"
        assert sentence.endswith(f"because no identity-based policy allows the {action} action")
    refusal = reader.push_manifest("judged", "2", image(b"{}"))
    assert "ecr:PutImage" in refusal.error[1]


def test_a_repository_policy_lets_in_a_user_without_rights_of_his_own(strict: Strict) -> None:
    strict.ecr.create_repository(repositoryName="for-one")
    strict.wire().push("for-one", "1")
    user = strict.wire(strict.user("one", TOKEN))
    assert user.ask("GET", "for-one/manifests/1").status == 403
    text = policy("ecr:BatchGetImage", {"AWS": "arn:aws:iam::000000000000:user/one"})
    strict.ecr.set_repository_policy(repositoryName="for-one", policyText=text)
    assert user.ask("GET", "for-one/manifests/1").status == 200


def test_tags_of_the_repository_decide(strict: Strict) -> None:
    for team in "ab":
        strict.ecr.create_repository(repositoryName=f"team/{team}", tags=[{"Key": "team", "Value": team}])
    own = {"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"StringEquals": {"ecr:ResourceTag/team": "a"}}}
    user = strict.wire(strict.user("teamed", TOKEN, own))
    user.push("team/a", "1")
    assert user.ask("GET", "team/b/manifests/1").status == 403


def test_making_a_repository_by_a_push_needs_the_right_to(strict: Strict) -> None:
    strict.ecr.create_repository_creation_template(prefix="auto", appliedFor=["CREATE_ON_PUSH"])
    pushing = {"Effect": "Allow", "Action": "ecr:*", "NotResource": "arn:aws:ecr:*:*:repository/auto/locked*"}
    less = {"Effect": "Allow", "NotAction": "ecr:CreateRepository", "Resource": "arn:aws:ecr:*:*:repository/auto/locked*"}
    user = strict.wire(strict.user("pusher", TOKEN, pushing, less))
    user.push("auto/open", "1")
    code, sentence = user.ask("POST", "auto/locked/blobs/uploads/").error
    assert code == "DENIED"
    assert "ecr:CreateRepository" in sentence


def test_tags_at_creation_need_the_right_to_tag(strict: Strict) -> None:
    about: dict[str, Any] = {"repositoryName": "tagged-at-birth", "tags": [{"Key": "a", "Value": "b"}]}
    may = {"Effect": "Allow", "Action": "ecr:CreateRepository", "Resource": "*"}
    client = strict.running.client("ecr", **strict.user("creator", may))
    assert "ecr:TagResource" in refused(client.create_repository, "AccessDeniedException", **about)
    client.create_repository(repositoryName="tagged-at-birth")


def test_a_token_is_worth_no_more_than_its_user(strict: Strict) -> None:
    strict.ecr.create_repository(repositoryName="outlived")
    wire = strict.wire(strict.user("leaver", TOKEN, {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}))
    assert wire.ask("GET", "outlived/tags/list").status == 200
    strict.iam.delete_user_policy(UserName="leaver", PolicyName="own")
    assert wire.ask("GET", "outlived/tags/list").status == 403


def test_with_iam_other_accounts_need_both_sides(strict: Strict) -> None:
    owner = "220000000041"
    key = strict.running.do(_key_of, strict.running, owner)
    ecr = strict.running.client("ecr", **key)
    ecr.create_repository(repositoryName="both")
    user = strict.user("visitor", {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"})
    client = strict.running.client("ecr", **user)
    about: dict[str, Any] = {"registryId": owner, "repositoryNames": ["both"]}
    assert "no resource-based policy allows" in refused(client.describe_repositories, "AccessDeniedException", **about)
    ecr.set_repository_policy(repositoryName="both", policyText=policy(["ecr:Describe*", *PULL], {"AWS": "000000000000"}))
    assert client.describe_repositories(**about)["repositories"][0]["registryId"] == owner
    host = f"{owner}.dkr.ecr.us-east-1.localhost"
    assert Wire(strict.running, token_of(client), host=host).ask("GET", "both/manifests/1").status == 404
    without = strict.running.client("ecr", **strict.user("visitor-without", TOKEN))
    answer = Wire(strict.running, token_of(without), host=host).ask("GET", "both/manifests/1")
    assert "no identity-based policy allows" in answer.error[1]


async def _key_of(running: CloudThread, account: str) -> dict[str, str]:
    """A key of the root user of an account that a strict cloud did not have."""
    key = new_key(account, "", 0.0)
    with running.running.cloud.store.transaction() as tx:
        tx.insert(ACCESS_KEYS, key)
    return {"key": key.access_key_id, "secret": key.secret_access_key}
