"""The Instance Metadata Service: its tree, its tokens, and that the SDK's own readers understand it."""

from __future__ import annotations

import asyncio
import json

import pytest
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher
from msgspec.structs import replace

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.kernel.clock import NEW_YEAR_2026, Clock, SystemClock, VirtualClock
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ec2.imds import tokens, tree
from cloudstead.services.ec2.imds.endpoint import InstanceEndpoint
from cloudstead.services.ec2.imds.model import Asker, Instance, Interface, MetadataOptions, Profile

MAC = "0e:49:61:0f:c3:11"
INSTANCE = Instance(
    account="111122223333",
    region="us-east-1",
    instance_id="i-1234567890abcdef0",
    image_id="ami-0a887e401f7654935",
    instance_type="m4.xlarge",
    availability_zone="us-east-1a",
    availability_zone_id="use1-az4",
    reservation_id="r-046cb3eca3e201d2f",
    launched=NEW_YEAR_2026,
    local_hostname="ip-172-16-34-43.ec2.internal",
    local_ipv4="172.16.34.43",
    mac=MAC,
    interfaces=(
        Interface(
            mac=MAC, interface_id="eni-1", owner_id="111122223333", local_ipv4s=("172.16.34.43", "172.16.34.44"), public_ipv4s=("192.0.2.54",),
            ipv4_associations={"192.0.2.54": ("172.16.34.43",)}, security_group_ids=("sg-1", "sg-2"), subnet_id="subnet-1", vpc_id="vpc-1",
        ),
    ),
    security_groups=("web", "default"),
    key_name="my key",
    public_key="ssh-ed25519 AAAA my key",
    profile=Profile(
        arn="arn:aws:iam::111122223333:instance-profile/web", id="AIPA5BOGHHXZELSK34VU4", role_name="web-role",
        role_arn="arn:aws:iam::111122223333:role/web-role", updated=NEW_YEAR_2026,
    ),
    tags={"Name": "web 1"},
    user_data=b"\x1f\x8b#!/bin/sh\n",
    options=MetadataOptions(instance_metadata_tags="enabled"),
)  # fmt: skip
SESSIONS = Sessions(b"k" * 32)


async def lend(instance: Instance, role_arn: str) -> RoleCredentials:
    if instance.instance_id == "i-2":
        raise ServiceError("refused")
    return RoleCredentials(
        role_arn=role_arn,
        access_key_id="ASIA",
        secret_access_key="secret",
        token="token",
        updated=NEW_YEAR_2026,
        expiration=NEW_YEAR_2026 + 3600,
    )


class Service:
    def __init__(self, instance: Instance = INSTANCE, *, hops: int = 1, clock: Clock | None = None) -> None:
        self.clock = clock or VirtualClock()
        asker = Asker(instance=instance, hops=hops)
        self.endpoint = InstanceEndpoint(self.clock, SESSIONS, lambda ip: asker if ip == "172.16.34.43" else None, lend)

    def ask(self, method: str, path: str, peer: str = "172.16.34.43", **headers: str) -> HttpResponse:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return asyncio.run(self.endpoint(HttpRequest.of(method, path, fields, peer=peer)))

    def token(self, seconds: int = 21600) -> str:
        response = self.ask("PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds=str(seconds))
        assert response.status == 200
        assert dict(response.headers)["X-aws-ec2-metadata-token-ttl-seconds"] == str(seconds)
        assert isinstance(response.body, bytes)
        return response.body.decode()

    def get(self, path: str, token: str | None = None) -> tuple[int, str]:
        response = self.ask("GET", path, X_aws_ec2_metadata_token=token or self.token())
        assert isinstance(response.body, bytes)
        return response.status, response.body.decode("latin-1")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/latest/", "dynamic/\nmeta-data/\nuser-data"),
        ("/latest/meta-data/instance-id", "i-1234567890abcdef0"),
        ("/2021-07-15/meta-data/instance-type", "m4.xlarge"),
        ("/latest/meta-data/local-ipv4", "172.16.34.43"),
        ("/latest/meta-data/placement/", "availability-zone\navailability-zone-id\nregion"),
        ("/latest/meta-data/placement/availability-zone", "us-east-1a"),
        ("/latest/meta-data/security-groups", "web\ndefault"),
        ("/latest/meta-data/network/interfaces/macs/", f"{MAC}/"),
        (f"/latest/meta-data/network/interfaces/macs/{MAC}/local-ipv4s", "172.16.34.43\n172.16.34.44"),
        (f"/latest/meta-data/network/interfaces/macs/{MAC}/ipv4-associations/192.0.2.54", "172.16.34.43"),
        (f"/latest/meta-data/network/interfaces/macs/{MAC}/device-number", "0"),
        ("/latest/meta-data/public-keys/", "0=my key"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        ("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA my key"),
        ("/latest/meta-data/iam/", "info\nsecurity-credentials/"),
        ("/latest/meta-data/iam/security-credentials/", "web-role"),
        ("/latest/meta-data/tags/instance/Name", "web 1"),
        ("/latest/meta-data/services/domain", "amazonaws.com"),
        ("/latest/user-data", "\x1f\x8b#!/bin/sh\n"),
    ],
)
def test_what_stands_at_a_path(path: str, answer: str) -> None:
    assert Service().get(path) == (200, answer)


@pytest.mark.parametrize(
    "path", ["/latest/meta-data/public-ipv4", "/latest/meta-data/spot/", "/latest/meta-data/instance-id/x", "/1999-01-01/", "/latest/meta-data/iam/security-credentials/other", "/latest/%2e%2e/x"]
)  # fmt: skip
def test_what_an_instance_has_not_is_not_there(path: str) -> None:
    status, page = Service().get(path)
    assert status == 404
    assert "<h1>404 - Not Found</h1>" in page


def test_every_folder_leads_to_what_it_lists() -> None:
    def walk(path: str) -> int:
        found = tree.find(INSTANCE, path)
        assert found is not None, path
        if not path.endswith("/") or not isinstance(found, str):
            return 1
        return sum(walk(path + name.partition("=")[0] + ("/" if "=" in name else "")) for name in found.split("\n"))

    assert walk("/latest/") > 40
    bare = Instance(account="1", region="r", instance_id="i", image_id="a", instance_type="t", availability_zone="z")
    assert tree.find(bare, "/latest/user-data") is None
    assert tree.find(bare, "/latest/meta-data/iam/info") is None
    assert tree.find(replace(INSTANCE, options=MetadataOptions()), "/latest/meta-data/tags/") is None


def test_the_identity_document() -> None:
    document = json.loads(Service().get("/latest/dynamic/instance-identity/document")[1])
    assert document["accountId"] == "111122223333"
    assert document["pendingTime"] == "2026-01-01T00:00:00Z"
    assert document["privateIp"] == "172.16.34.43"
    assert document["billingProducts"] is None
    assert document["version"] == "2017-09-30"


def test_the_profile_and_its_credentials() -> None:
    service = Service()
    info = json.loads(service.get("/latest/meta-data/iam/info")[1])
    assert info["InstanceProfileArn"] == "arn:aws:iam::111122223333:instance-profile/web"
    assert info["LastUpdated"] == "2026-01-01T00:00:00Z"
    got = json.loads(service.get("/latest/meta-data/iam/security-credentials/web-role")[1])
    assert got == {
        "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIA", "SecretAccessKey": "secret",
        "Token": "token", "Expiration": "2026-01-01T01:00:00Z",
    }  # fmt: skip
    refused = Service(replace(INSTANCE, instance_id="i-2")).get("/latest/meta-data/iam/security-credentials/web-role")
    assert json.loads(refused[1])["Code"] == "AssumeRoleUnauthorizedAccess"


def test_without_a_token_nothing_is_told_where_it_is_required() -> None:
    service = Service()
    assert service.ask("GET", "/latest/meta-data/instance-id").status == 401
    for token in ("", "nonsense", "é", "A" * 5000):
        assert service.ask("GET", "/latest/meta-data/instance-id", X_aws_ec2_metadata_token=token).status == 401
    optional = Service(replace(INSTANCE, options=MetadataOptions(http_tokens="optional")))
    assert optional.ask("GET", "/latest/meta-data/instance-id").status == 200
    assert optional.ask("GET", "/latest/meta-data/instance-id", X_aws_ec2_metadata_token="wrong").status == 401


def test_a_token_ends_and_is_for_one_instance() -> None:
    clock = VirtualClock()
    service = Service(clock=clock)
    token = service.token(60)
    assert token != service.token(60)
    assert service.get("/latest/meta-data/instance-id", token)[0] == 200
    assert Service(replace(INSTANCE, instance_id="i-3"), clock=clock).get("/latest/meta-data/instance-id", token)[0] == 401
    clock.advance(60)
    assert service.get("/latest/meta-data/instance-id", token)[0] == 401
    assert not tokens.is_good(SESSIONS, SESSIONS.seal("other", b"x" * 30), "", 0.0)
    assert not tokens.is_good(SESSIONS, SESSIONS.seal("imds-token", b"short"), "", 0.0)


@pytest.mark.parametrize("seconds", [None, "", "0", "21601", "-1", "1.5", "x", "٣", "9" * 5000])
def test_a_token_of_no_sensible_lifetime_is_refused(seconds: str | None) -> None:
    headers = {} if seconds is None else {"X_aws_ec2_metadata_token_ttl_seconds": seconds}
    assert Service().ask("PUT", "/latest/api/token", **headers).status == 400


def test_who_may_not_ask() -> None:
    service = Service()
    assert service.ask("PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds="60", X_Forwarded_For="1.2.3.4").status == 403
    assert service.ask("GET", "/latest/api/token").status == 405
    assert service.ask("DELETE", "/latest/meta-data/").status == 405
    assert service.ask("GET", "/latest/meta-data/", peer="10.9.9.9").status == 404
    off = Service(replace(INSTANCE, options=MetadataOptions(http_endpoint="disabled")))
    assert off.ask("PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds="60").status == 403


def test_a_container_too_many_hops_away_gets_no_token() -> None:
    async def main() -> None:
        clock = VirtualClock()
        far = Service(replace(INSTANCE, options=MetadataOptions(http_put_response_hop_limit=1)), hops=2, clock=clock)
        request = HttpRequest.of("PUT", "/latest/api/token", [("X-aws-ec2-metadata-token-ttl-seconds", "60")], peer="172.16.34.43")
        waiting = asyncio.ensure_future(far.endpoint(request))
        for _ in range(10):
            await asyncio.sleep(0)
            clock.advance(5)
        assert not waiting.done()
        clock.advance(60)
        assert (await waiting).status == 403

    asyncio.run(main())
    assert Service(hops=2).token()


def test_the_sdk_reads_credentials_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)

    async def main() -> None:
        asker = Asker(instance=INSTANCE)
        server = Server(InstanceEndpoint(SystemClock(), SESSIONS, lambda ip: asker, lend))
        base = f"http://127.0.0.1:{await server.listen_tcp('127.0.0.1')}/"
        got = await asyncio.to_thread(InstanceMetadataFetcher(num_attempts=1, base_url=base).retrieve_iam_role_credentials)
        assert (got["role_name"], got["access_key"], got["token"]) == ("web-role", "ASIA", "token")
        region = await asyncio.to_thread(InstanceMetadataRegionFetcher(num_attempts=1, base_url=base).retrieve_region)
        assert region == "us-east-1"
        await server.stop(0.0)

    asyncio.run(main())
