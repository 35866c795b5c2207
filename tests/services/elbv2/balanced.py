"""A cloud with a load balancer in front of small servers, for tests of the data plane."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.http.limits import Limits
from cloudstead.http.messages import Handler, HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.http.upstream import Upstream, UpstreamResponse
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.store import Key
from cloudstead.services.ec2 import api as ec2
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.controller import LoadBalancing
from cloudstead.services.elbv2.traffic.dialing import Place, from_here
from support import context_in, local_cloud

SECONDS = 20.0


class World:
    """What the tests act on. Targets are addresses of the VPC that stand for servers of the test: dialling leads there."""

    def __init__(self, cloud: Cloud, ctx: Context) -> None:
        self.cloud = cloud
        self.ctx = ctx
        self.vpc = ""
        self.balancer: api.LoadBalancer
        self.routes: dict[tuple[str, int], int] = {}
        self.servers: dict[str, Server] = {}
        self.address = ""
        self._last = 0

    @property
    def balancing(self) -> LoadBalancing:
        found: LoadBalancing = self.cloud.parts["elbv2"]
        return found

    async def call(self, request: Any) -> Any:
        answer = await self.ctx.call(request)
        await self.cloud.store.settled()
        return answer

    async def dial(self, place: Place) -> socket.socket:
        port = self.routes.get((place.address, place.port))
        return await from_here(place if port is None else Place(place.vpc, "127.0.0.1", port))

    async def open(self, kind: str = "application") -> None:
        subnets = (await self.call(ec2.DescribeSubnetsRequest())).subnets
        self.vpc = subnets[0].vpc_id
        request = api.CreateLoadBalancerRequest(name="web", type=kind, subnets=[one.subnet_id for one in subnets[:2]])  # type: ignore[arg-type]
        self.balancer = (await self.call(request)).load_balancers[0]
        self.balancing.groups.dial = self.dial
        self.address = self.balancer.availability_zones[0].load_balancer_addresses[0].ip_address  # type: ignore[index,union-attr,assignment]

    async def group(self, name: str = "one", protocol: Any = "HTTP", **more: Any) -> str:
        request = api.CreateTargetGroupRequest(name=name, protocol=protocol, port=80, vpc_id=self.vpc, target_type="ip", **more)
        return str((await self.call(request)).target_groups[0].target_group_arn)

    async def attributes(self, group: str, **values: str) -> None:
        given = [api.TargetGroupAttribute(key=key.replace("__", "."), value=value) for key, value in values.items()]
        await self.call(api.ModifyTargetGroupAttributesRequest(target_group_arn=group, attributes=given))

    async def listen(self, *actions: api.Action, protocol: Any = "HTTP", **more: Any) -> tuple[str, int]:
        """A listener on a free port, listening; its ARN and port."""
        with socket.socket() as probe:
            probe.bind((self.address, 0))
            port = probe.getsockname()[1]
        request = api.CreateListenerRequest(
            load_balancer_arn=str(self.balancer.load_balancer_arn), protocol=protocol, port=port, default_actions=list(actions), **more
        )
        arn = (await self.call(request)).listeners[0].listener_arn
        await self.balancing.listening.settled()
        return str(arn), port

    async def serve(self, name: str, handler: Handler) -> str:
        """A server of that name; returns the address that stands for it."""
        self._last += 1
        address = f"172.31.9.{self._last}"
        server = self.servers[address] = Server(handler, limits=Limits(half_closed_timeout=0.1))
        self.routes[address, 80] = await server.listen_tcp("127.0.0.1", 0)
        return address

    async def register(self, group: str, *addresses: str, healthy: bool = True) -> None:
        given = [api.TargetDescription(id=each) for each in addresses]
        await self.call(api.RegisterTargetsRequest(target_group_arn=group, targets=given))
        if healthy:
            await self.until_state(group, "healthy", *addresses)

    async def deregister(self, group: str, *addresses: str) -> None:
        given = [api.TargetDescription(id=each) for each in addresses]
        await self.call(api.DeregisterTargetsRequest(target_group_arn=group, targets=given))

    async def states(self, group: str, *addresses: str) -> dict[str, str]:
        given = [api.TargetDescription(id=each) for each in addresses] or None
        answer = await self.call(api.DescribeTargetHealthRequest(target_group_arn=group, targets=given))
        return {one.target.id: one.target_health.state for one in answer.target_health_descriptions}

    async def until_state(self, group: str, state: str, *addresses: str) -> None:
        async def reached() -> bool:
            return set((await self.states(group, *addresses)).values()) == {state}

        await until(reached)

    def key(self, group: str, address: str) -> Key:
        return (self.ctx.account, self.ctx.region, group, address, "00080")

    async def until_idle(self, group: str, address: str) -> None:
        """Nothing of this target is under way."""

        async def reached() -> bool:
            return not self.balancing.groups.busy(self.key(group, address))

        await until(reached)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if await reached():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def world(path: Path, kind: str = "application") -> AsyncIterator[World]:
    async with local_cloud(path) as cloud:
        await cloud.ready("elbv2")
        found = World(cloud, context_in(cloud))
        try:
            await found.open(kind)
            yield found
        finally:
            for server in found.servers.values():
                await server.stop(0.0)


@asynccontextmanager
async def client(address: str, port: int) -> AsyncIterator[Upstream]:
    upstream = Upstream((address, port), connect_timeout=SECONDS)
    try:
        yield upstream
    finally:
        await upstream.close()


def named(name: str) -> Handler:
    """A server that says its name."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("X-Name", name)], name.encode())

    return handler


async def echo(request: HttpRequest) -> HttpResponse:
    """A server that tells what it was asked."""
    told = {
        "target": request.target,
        "method": request.method,
        "headers": dict(request.headers.pairs),
        "body": (await request.read()).decode(),
    }
    return HttpResponse(200, [], msgspec.json.encode(told))


async def get(
    port: int, address: str, path: str = "/", *, host: str = "", headers: list[tuple[str, str]] | None = None
) -> UpstreamResponse:
    """One request on a connection of its own; its body has been read into `text`."""
    async with client(address, port) as upstream:
        pairs = [*(headers or ()), *([("Host", host)] if host else ())]
        response = await upstream.send("GET", path, pairs)
        response.text = (await response.read()).decode()  # type: ignore[attr-defined]
        return response


def forward(*groups: str, weights: tuple[int, ...] = (), sticky: int | None = None) -> api.Action:
    if len(groups) == 1:
        return api.Action(type="forward", target_group_arn=groups[0])
    tuples = [api.TargetGroupTuple(target_group_arn=arn, weight=weight) for arn, weight in zip(groups, weights, strict=True)]
    config = api.ForwardActionConfig(target_groups=tuples)
    if sticky is not None:
        config.target_group_stickiness_config = api.TargetGroupStickinessConfig(enabled=True, duration_seconds=sticky)
    return api.Action(type="forward", forward_config=config)


def text_of(response: UpstreamResponse) -> str:
    return str(response.text)  # type: ignore[attr-defined]
