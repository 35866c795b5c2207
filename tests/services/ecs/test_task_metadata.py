"""What tasks are told of themselves, and that the SDK's own readers understand it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.utils import ContainerMetadataFetcher

from cloudstead.edge.policy import PolicyAuthorizer
from cloudstead.engine.errors import Conflict
from cloudstead.engine.pods.states import Stats
from cloudstead.http.messages import HttpRequest
from cloudstead.http.server import Server
from cloudstead.kernel.clock import NEW_YEAR_2026, SystemClock, VirtualClock
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.role_credentials import RoleCredentials, RoleLender
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ecs.metadata import documents
from cloudstead.services.ecs.metadata.endpoint import TaskEndpoint
from cloudstead.services.ecs.metadata.model import ContainerMetadata, Health, Interface, Port, TaskMetadata, Volume
from cloudstead.services.ecs.metadata.stats import Sampler
from cloudstead.services.iam import api as iam
from cloudstead.services.iam.credentials import IamCredentials
from support import ACCOUNT, REGION, context_in, local_cloud

ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
INTERFACE = Interface(
    ipv4_addresses=("10.0.2.100",),
    attachment_index=0,
    mac_address="0e:9e:32:c7:48:85",
    ipv4_subnet_cidr_block="10.0.2.0/24",
    domain_name_servers=("10.0.0.2",),
    private_dns_name="ip-10-0-2-100.ec2.internal",
    subnet_gateway_ipv4_address="10.0.2.1/24",
)
CURL = ContainerMetadata(
    endpoint_id="endpoint-of-curl",
    docker_id="c" * 64,
    name="curl",
    docker_name="ecs-curltest-24-curl-cca48e8dcadd97805600",
    image="111122223333.dkr.ecr.us-west-2.amazonaws.com/curltest:latest",
    image_id="sha256:d691691e9652791a60114e67b365688d20d19940dde7c4736ea30e660d8d3553",
    arn=f"{ARN}:container/default/8f03e41243824aea923aca126495f665/0206b271",
    labels={"com.amazonaws.ecs.container-name": "curl"},
    cpu=10,
    memory=128,
    created_at=1601597708.239508891,
    started_at=1601597708.0,
    interfaces=(INTERFACE,),
    health=Health(status="HEALTHY", since=1601597710.5),
    ports=(Port(container_port=80, host_port=32768, host_ip="0.0.0.0"),),
    volumes=(Volume(docker_name="data", destination="/data"),),
    log_driver="awslogs",
    log_options={"awslogs-group": "/ecs/metadata", "awslogs-region": "us-west-2"},
    snapshotter="overlayfs",
)
DONE = ContainerMetadata(
    endpoint_id="endpoint-of-done",
    docker_id="d" * 64,
    name="done",
    docker_name="ecs-curltest-24-done",
    image="busybox",
    image_id="sha256:0",
    arn=f"{ARN}:container/x",
    desired_status="STOPPED",
    known_status="STOPPED",
    exit_code=0,
    restart_count=0,
)
TASK = TaskMetadata(
    account=ACCOUNT,
    region=REGION,
    cluster=f"{ARN}:cluster/default",
    arn=f"{ARN}:task/default/8f03e41243824aea923aca126495f665",
    family="curltest",
    revision="24",
    containers=(CURL, DONE),
    cpu=0.25,
    memory=512,
    pull_started_at=1601597707.62,
    pull_stopped_at=1601597708.0,
    availability_zone="us-west-2d",
    launch_type="FARGATE",
    tags={"team": "metadata"},
    clock_error_bound=0.5,
    ephemeral_storage_utilized=261,
    ephemeral_storage_reserved=20496,
    credentials_id="secret-id",
    role_arn=f"arn:aws:iam::{ACCOUNT}:role/task",
)
OTHER = TaskMetadata(
    account=ACCOUNT,
    region=REGION,
    cluster="default",
    arn=f"{ARN}:task/default/other",
    family="other",
    revision="1",
    credentials_id="other-id",
)
WHERE = {"10.0.2.100": [TASK], "10.0.2.101": [OTHER], "10.0.9.1": [TASK, OTHER]}


async def no_stats(container: str, name: str) -> dict[str, Any] | None:
    return None if container[0] == "d" else {"id": container, "name": name}


async def lend(task: TaskMetadata) -> RoleCredentials:
    if not task.role_arn:
        raise ServiceError("no role")
    return RoleCredentials(
        role_arn=task.role_arn,
        access_key_id="ASIA",
        secret_access_key="s",
        token="t",
        updated=NEW_YEAR_2026,
        expiration=NEW_YEAR_2026 + 3600,
    )


def endpoint(who: Callable[[str], list[TaskMetadata]] = lambda ip: WHERE.get(ip, [])) -> TaskEndpoint:
    return TaskEndpoint(VirtualClock(), who, no_stats, lend)


def get(path: str, peer: str = "10.0.2.100", method: str = "GET") -> tuple[int, Any]:
    response = asyncio.run(endpoint()(HttpRequest.of(method, path, peer=peer)))
    assert isinstance(response.body, bytes)
    assert response.headers == [("Content-Type", "application/json")]
    return response.status, json.loads(response.body)


def test_a_container_is_described_as_the_agent_does() -> None:
    assert get("/v4/endpoint-of-curl") == (
        200,
        {
            "DockerId": "c" * 64,
            "Name": "curl",
            "DockerName": "ecs-curltest-24-curl-cca48e8dcadd97805600",
            "Image": "111122223333.dkr.ecr.us-west-2.amazonaws.com/curltest:latest",
            "ImageID": "sha256:d691691e9652791a60114e67b365688d20d19940dde7c4736ea30e660d8d3553",
            "Ports": [{"ContainerPort": 80, "Protocol": "tcp", "HostPort": 80, "HostIp": "0.0.0.0"}],
            "Labels": {"com.amazonaws.ecs.container-name": "curl"},
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "Limits": {"CPU": 10, "Memory": 128},
            "CreatedAt": "2020-10-02T00:15:08.239509Z",
            "StartedAt": "2020-10-02T00:15:08Z",
            "Type": "NORMAL",
            "Health": {"status": "HEALTHY", "statusSince": "2020-10-02T00:15:10.5Z"},
            "Volumes": [{"DockerName": "data", "Destination": "/data"}],
            "LogDriver": "awslogs",
            "LogOptions": {"awslogs-group": "/ecs/metadata", "awslogs-region": "us-west-2"},
            "ContainerARN": f"{ARN}:container/default/8f03e41243824aea923aca126495f665/0206b271",
            "Networks": [
                {
                    "NetworkMode": "awsvpc",
                    "IPv4Addresses": ["10.0.2.100"],
                    "AttachmentIndex": 0,
                    "MACAddress": "0e:9e:32:c7:48:85",
                    "IPv4SubnetCIDRBlock": "10.0.2.0/24",
                    "DomainNameServers": ["10.0.0.2"],
                    "PrivateDNSName": "ip-10-0-2-100.ec2.internal",
                    "SubnetGatewayIpv4Address": "10.0.2.1/24",
                }
            ],
            "Snapshotter": "overlayfs",
        },
    )


def test_version_3_knows_less() -> None:
    status, document = get("/v3/endpoint-of-curl")
    assert status == 200
    assert document["Networks"] == [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.100"]}]
    assert document["Ports"] == [{"ContainerPort": 80, "Protocol": "tcp", "HostPort": 80}]
    assert not {"LogDriver", "LogOptions", "ContainerARN", "Snapshotter"} & set(document)
    status, document = get("/v3/endpoint-of-curl/task")
    assert not {"LaunchType", "FaultInjectionEnabled", "ClockDrift", "EphemeralStorageMetrics", "TaskTags"} & set(document)


def test_a_task_is_described_with_all_its_containers() -> None:
    status, document = get("/v4/endpoint-of-done/task")
    assert status == 200
    containers = document.pop("Containers")
    assert [each["Name"] for each in containers] == ["curl", "done"]
    assert containers[1]["ExitCode"] == 0
    assert containers[1]["RestartCount"] == 0
    assert containers[1]["Limits"] == {"CPU": 2, "Memory": 0}
    assert document == {
        "Cluster": f"{ARN}:cluster/default",
        "TaskARN": f"{ARN}:task/default/8f03e41243824aea923aca126495f665",
        "Family": "curltest",
        "Revision": "24",
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 0.25, "Memory": 512},
        "PullStartedAt": "2020-10-02T00:15:07.62Z",
        "PullStoppedAt": "2020-10-02T00:15:08Z",
        "AvailabilityZone": "us-west-2d",
        "LaunchType": "FARGATE",
        "ClockDrift": {"ClockErrorBound": 0.5, "ReferenceTimestamp": "2026-01-01T00:00:00Z", "ClockSynchronizationStatus": "SYNCHRONIZED"},
        "EphemeralStorageMetrics": {"Utilized": 261, "Reserved": 20496},
        "FaultInjectionEnabled": False,
    }
    assert get("/v4/endpoint-of-done/taskWithTags")[1]["TaskTags"] == {"team": "metadata"}


def test_a_bridged_container_tells_the_ports_of_its_host() -> None:
    bridged = ContainerMetadata(
        endpoint_id="b", docker_id="b", name="b", docker_name="b", image="b", image_id="b", arn="b",
        network_mode="bridge", interfaces=(Interface(ipv4_addresses=("172.17.0.2",)),), ports=(Port(container_port=80, host_port=32768),),
    )  # fmt: skip
    document = documents.container(bridged, 4)
    assert document["Networks"] == [{"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]}]
    assert document["Ports"] == [{"ContainerPort": 80, "Protocol": "tcp", "HostPort": 32768}]


def test_stats_are_told_of_one_container_and_of_all() -> None:
    assert get("/v4/endpoint-of-curl/stats") == (200, {"id": "c" * 64, "name": CURL.docker_name})
    assert get("/v4/endpoint-of-done/stats") == (200, None)
    assert get("/v4/endpoint-of-done/task/stats") == (200, {"c" * 64: {"id": "c" * 64, "name": CURL.docker_name}, "d" * 64: None})
    assert get("/v2/stats")[1] == get("/v4/endpoint-of-curl/task/stats")[1]


@pytest.mark.parametrize(
    ("path", "peer", "says"),
    [
        ("/v4/nobody", "10.0.2.100", "V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: nobody"),
        ("/v4/endpoint-of-curl/task", "10.0.2.101", "V4 task metadata handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: endpoint-of-curl"),
        ("/v3/endpoint-of-curl/stats", "10.9.9.9", "V3 container stats handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: endpoint-of-curl"),
        ("/v4/endpoint-of-curl/secrets", "10.0.2.100", "404 page not found"),
        ("/v4", "10.0.2.100", "404 page not found"),
        ("/", "10.0.2.100", "404 page not found"),
    ],
)  # fmt: skip
def test_nobody_is_told_of_others_or_of_what_is_not_there(path: str, peer: str, says: str) -> None:
    assert get(path, peer) == (404, says)


def test_version_2_goes_by_the_address() -> None:
    assert get("/v2/metadata", "10.0.2.101")[1]["Family"] == "other"
    assert get("/v2/metadataWithTags")[1]["TaskTags"] == {"team": "metadata"}
    for peer in ("10.0.9.1", "10.9.9.9"):
        assert get("/v2/metadata", peer)[0] == 404


def test_credentials_are_for_those_who_know_their_id_at_their_address() -> None:
    assert get("/v2/credentials/secret-id") == (
        200,
        {"RoleArn": TASK.role_arn, "AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t", "Expiration": "2026-01-01T01:00:00Z"},
    )
    assert get("/v1/credentials?id=secret-id", "10.0.9.1")[0] == 200
    invalid = {"code": "InvalidIdInRequest", "message": "CredentialsV2Request: Credentials not found", "HTTPErrorCode": 400}
    for path, peer in (
        ("/v2/credentials/other-id", "10.0.2.100"),
        ("/v2/credentials/secret-id", "10.0.2.101"),
        ("/v2/credentials/x", "9.9.9.9"),
    ):
        assert get(path, peer) == (400, invalid)
    missing = {"code": "NoIdInRequest", "message": "CredentialsV2Request: No Credential ID in the request", "HTTPErrorCode": 400}
    assert get("/v2/credentials/") == (400, missing)
    assert get("/v2/credentials/other-id", "10.0.2.101")[0] == 500  # its role cannot be assumed
    assert get("/v4/endpoint-of-curl", method="POST")[0] == 405


def test_the_sdk_reads_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        server = Server(endpoint(lambda ip: [TASK]))
        port = await server.listen_tcp("127.0.0.1")
        fetcher = ContainerMetadataFetcher()
        got = await asyncio.to_thread(fetcher.retrieve_full_uri, f"http://127.0.0.1:{port}/v2/credentials/secret-id")
        assert got["Token"] == "t"
        await server.stop(0.0)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------------- stats


class Machine:
    """A driver of which stats alone are asked."""

    def __init__(self, clock: SystemClock | VirtualClock) -> None:
        self.clock = clock
        self.asked = 0

    async def stats(self, container: str) -> Stats:
        if container == "gone":
            raise Conflict("it does not run")
        self.asked += 1
        return Stats(read=self.clock.time(), cpu_total=self.asked * 1000, networks={"eth0": {"rx_bytes": self.asked * 500, "tx_bytes": 0}})


def test_a_sample_comes_with_the_one_before_it() -> None:
    async def main() -> None:
        clock = VirtualClock()
        machine = Machine(clock)
        sampler = Sampler(machine, clock)  # type: ignore[arg-type]

        async def sample() -> dict[str, Any]:
            task = asyncio.ensure_future(sampler.sample("id", "name"))
            for _ in range(5):
                await asyncio.sleep(0)
                clock.advance(0.5)
            document = await task
            assert document is not None
            return document

        first = await sample()
        assert (first["id"], first["name"]) == ("id", "name")
        assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 1000
        assert first["cpu_stats"]["cpu_usage"]["total_usage"] == 2000
        assert 300 < first["network_rate_stats"]["rx_bytes_per_sec"] <= 500
        assert first["network_rate_stats"]["tx_bytes_per_sec"] == 0.0
        second = await sample()
        assert second["precpu_stats"] == first["cpu_stats"]
        assert machine.asked == 3
        assert await sampler.sample("gone", "name") is None

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------- real roles


def test_a_role_is_lent_to_a_task_when_it_trusts_tasks(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with local_cloud(tmp_path, clock=clock, in_memory=True) as cloud:
            ctx = context_in(cloud)
            await cloud.ready("iam")
            cloud.authorizer = PolicyAuthorizer("enforce", IamCredentials(cloud))
            for name, service in (("task", "ecs-tasks.amazonaws.com"), ("other", "lambda.amazonaws.com")):
                trust = {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
                }
                await ctx.call(iam.CreateRoleRequest(role_name=name, assume_role_policy_document=json.dumps(trust)))
            lender = RoleLender(cloud, "ecs-tasks.amazonaws.com")
            lent = await lender.lend(ACCOUNT, REGION, f"arn:aws:iam::{ACCOUNT}:role/task", "8f03e4")
            known = Sessions.of(cloud).find(lent.access_key_id, lent.token)
            assert known is not None
            assert known.secret_access_key == lent.secret_access_key
            assert known.identity.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/task/8f03e4"
            assert lent.expiration == clock.time() + 3600
            clock.advance(1700)
            assert await lender.lend(ACCOUNT, REGION, lent.role_arn, "8f03e4") is lent
            assert await lender.lend(ACCOUNT, REGION, lent.role_arn, "another") is not lent
            clock.advance(200)
            fresh = await lender.lend(ACCOUNT, REGION, lent.role_arn, "8f03e4")
            assert fresh.expiration > lent.expiration
            for role in ("nowhere", "other"):
                with pytest.raises(ServiceError):
                    await lender.lend(ACCOUNT, REGION, f"arn:aws:iam::{ACCOUNT}:role/{role}", "8f03e4")

    asyncio.run(main())
