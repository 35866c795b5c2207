"""169.254.170.2 and 169.254.169.254 from inside real pods: reached over their network's router, told apart by their addresses."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.engine import Engine
from cloudstead.engine.network.api import Attachment, NetworkSpec, PodNetwork, Subnet
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, PodSpec
from cloudstead.http.server import Server
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ec2.imds.endpoint import InstanceEndpoint
from cloudstead.services.ec2.imds.model import Asker, Instance
from cloudstead.services.ecs.metadata.endpoint import TaskEndpoint
from cloudstead.services.ecs.metadata.model import ContainerMetadata, Interface, TaskMetadata
from cloudstead.services.ecs.metadata.stats import Sampler
from engine_support import busybox_layers, container_id, running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "containers run")

CLOCK = SystemClock()


class Ground:
    """Two VPCs with the same addresses, and pods that are tasks and instances in them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.containers: dict[str, str] = {}  # by pod
        self.servers: list[Server] = []

    async def vpc(self, network: str) -> None:
        subnet = Subnet(id="main", cidr="10.20.0.0/16", reserved=4)
        await self.engine.networks.create(NetworkSpec(id=network, owner="test", subnets=(subnet,)))
        tasks = TaskEndpoint(CLOCK, lambda ip: self.tasks(network, ip), Sampler(self.engine.pods, CLOCK).sample, self.lend)
        instances = InstanceEndpoint(CLOCK, Sessions(b"k" * 32), lambda ip: self.instance(network, ip), self.lend_to_instance)
        for address, handler in (("169.254.170.2", tasks), ("169.254.169.254", instances)):
            server = Server(handler)
            await server.listen_on(socket.socket(fileno=await self.engine.networks.listen(network, address, 80)))
            self.servers.append(server)

    async def pod(self, name: str, network: str) -> None:
        attached = PodNetwork(attachments=(Attachment(network=network),))
        await self.engine.pods.create_pod(PodSpec(id=name, owner="test", network=attached))
        id = self.containers[name] = container_id()
        layers = await busybox_layers(self.engine)
        await self.engine.pods.create_container(name, ContainerSpec(id=id, layers=layers, args=("sleep", "1000"), env=("PATH=/bin",)))
        await self.engine.pods.start(id)

    def tasks(self, network: str, ip: str) -> list[TaskMetadata]:
        pod = self.engine.networks.who_has(network, ip)
        if not pod:
            return []
        container = ContainerMetadata(
            endpoint_id=f"endpoint-of-{pod}", docker_id=self.containers[pod], name="main", docker_name=pod, image="busybox", image_id="", arn="",
            interfaces=(Interface(ipv4_addresses=(ip,)),),
        )  # fmt: skip
        arn = f"arn:aws:ecs:us-east-1:000000000000:task/default/{pod}"
        return [
            TaskMetadata(
                account="000000000000", region="us-east-1", cluster="default", arn=arn, family=pod, revision="1", containers=(container,),
                credentials_id=f"credentials-of-{pod}", role_arn=f"role-of-{pod}",
            )
        ]  # fmt: skip

    def instance(self, network: str, ip: str) -> Asker | None:
        pod = self.engine.networks.who_has(network, ip)
        instance = Instance(
            account="000000000000", region="us-east-1", instance_id=f"i-{pod}", image_id="ami-1", instance_type="t3.micro",
            availability_zone="us-east-1a", local_ipv4=ip,
        )  # fmt: skip
        return Asker(instance=instance) if pod else None

    async def lend(self, task: TaskMetadata) -> RoleCredentials:
        return RoleCredentials(
            role_arn=task.role_arn, access_key_id="ASIA", secret_access_key="s", token="t", updated=0.0, expiration=CLOCK.time() + 3600
        )

    async def lend_to_instance(self, instance: Instance, role_arn: str) -> RoleCredentials:
        raise AssertionError("it has no profile")

    async def ask(self, pod: str, script: str) -> str:
        """What a shell in a pod says."""
        execution = await self.engine.pods.execute(self.containers[pod], ExecSpec(args=("sh", "-c", script)))
        output = b""
        while (piece := await execution.streams.read()) is not None:
            output += piece[1]
        await execution.wait()
        await execution.streams.close()
        return output.decode()

    async def request(self, pod: str, line: str, address: str = "169.254.170.2", *headers: str) -> tuple[int, str]:
        """By hand: the wget of a static busybox does not survive its look-up of names."""
        said = "\\r\\n".join([f"{line} HTTP/1.0", *headers, "", ""])
        head, _, body = (await self.ask(pod, f"printf '{said}' | nc -w 5 {address} 80")).partition("\r\n\r\n")
        return int(head.split(" ")[1]), body

    async def get(self, pod: str, path: str) -> Any:
        status, body = await self.request(pod, f"GET {path}")
        assert status == 200, body
        return json.loads(body)

    async def end(self) -> None:
        for server in self.servers:
            await server.stop(0.0)
        for pod in self.containers:
            await self.engine.pods.remove_pod(pod, force=True)


def test_pods_are_told_of_themselves_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_engine(tmp_path / "data") as engine:
            g = Ground(engine)
            try:
                await story(g)
            finally:
                await g.end()

    asyncio.run(main())


async def story(g: Ground) -> None:
    for network in ("vpc-1", "vpc-2"):
        await g.vpc(network)
    for pod, network in (("web", "vpc-1"), ("db", "vpc-1"), ("twin", "vpc-2")):
        await g.pod(pod, network)
    web, twin = await g.get("web", "/v4/endpoint-of-web"), await g.get("twin", "/v4/endpoint-of-twin")
    assert web["DockerId"] == g.containers["web"]
    assert web["Networks"] == twin["Networks"]  # the same address, in different VPCs
    assert (await g.get("db", "/v4/endpoint-of-db/task"))["Family"] == "db"
    assert (await g.request("db", "GET /v4/endpoint-of-web"))[0] == 404
    assert (await g.get("web", "/v2/credentials/credentials-of-web"))["RoleArn"] == "role-of-web"
    assert (await g.request("db", "GET /v2/credentials/credentials-of-web"))[0] == 400
    stats = (await g.get("web", "/v4/endpoint-of-web/task/stats"))[g.containers["web"]]
    assert stats["memory_stats"]["usage"] > 0
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] >= stats["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert stats["network_rate_stats"]["rx_bytes_per_sec"] >= 0
    instance, lifetime = "169.254.169.254", "X-aws-ec2-metadata-token-ttl-seconds: 60"
    status, token = await g.request("web", "PUT /latest/api/token", instance, lifetime)
    assert status == 200
    shown = f"X-aws-ec2-metadata-token: {token}"
    assert await g.request("web", "GET /latest/meta-data/instance-id", instance, shown) == (200, "i-web")
    assert (await g.request("db", "GET /latest/meta-data/instance-id", instance, shown))[0] == 401
    assert (await g.request("web", "GET /latest/meta-data/instance-id", instance))[0] == 401
