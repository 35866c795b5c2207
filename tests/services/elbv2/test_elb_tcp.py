"""Network load balancers: bytes both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from balanced import World, forward, named, text_of, world
from balanced import get as get_http

from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.traffic.relaying import proxy_header


@asynccontextmanager
async def echoing(lb: World, address: str) -> AsyncIterator[list[bytes]]:
    """A server that sends everything back in capitals, and what it was sent first."""
    firsts: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while piece := await reader.read(65536):
            if first:
                firsts.append(piece)
            first = False
            writer.write(piece.upper())
            await writer.drain()
        writer.write(b"over")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    lb.routes[address, 80] = server.sockets[0].getsockname()[1]
    try:
        yield firsts
    finally:
        server.close()


async def test_bytes_go_both_ways_and_each_side_may_end_for_itself(tmp_path: Path) -> None:
    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        _, port = await lb.listen(forward(group), protocol="TCP")
        async with echoing(lb, "172.31.9.1"):
            await lb.register(group, "172.31.9.1")
            reader, writer = await asyncio.open_connection(lb.address, port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            assert lb.balancing.groups.busy(lb.key(group, "172.31.9.1")) == 1
            writer.write(b"x" * (8 << 20))
            writer.write_eof()
            assert await reader.read(-1) == b"X" * (8 << 20) + b"over"
            writer.close()
            await lb.until_idle(group, "172.31.9.1")


async def test_a_target_that_refuses_is_passed_over_and_without_any_the_connection_is_reset(tmp_path: Path) -> None:
    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        _, port = await lb.listen(forward(group), protocol="TCP")
        async with echoing(lb, "172.31.9.1"):
            lb.routes["172.31.9.2", 80] = 1  # nobody listens there
            await lb.register(group, "172.31.9.1")
            await lb.register(group, "172.31.9.2", healthy=False)
            for _ in range(4):
                reader, writer = await asyncio.open_connection(lb.address, port)
                writer.write(b"a")
                assert await reader.readexactly(1) == b"A"
                writer.close()
            await lb.until_idle(group, "172.31.9.1")
            await lb.deregister(group, "172.31.9.1", "172.31.9.2")
            reader, writer = await asyncio.open_connection(lb.address, port)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()


async def test_a_server_may_speak_first(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready")
        writer.close()

    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        _, port = await lb.listen(forward(group), protocol="TCP")
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        lb.routes["172.31.9.1", 80] = server.sockets[0].getsockname()[1]
        await lb.register(group, "172.31.9.1")
        for _ in range(20):
            reader, writer = await asyncio.open_connection(lb.address, port)
            assert await reader.read() == b"220 ready"
            writer.close()
        server.close()


async def test_a_target_may_be_told_of_the_client_by_the_proxy_protocol(tmp_path: Path) -> None:
    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        await lb.attributes(group, proxy_protocol_v2__enabled="true")
        _, port = await lb.listen(forward(group), protocol="TCP")
        async with echoing(lb, "172.31.9.1") as firsts:
            await lb.register(group, "172.31.9.1")
            reader, writer = await asyncio.open_connection(lb.address, port)
            here = writer.get_extra_info("sockname")
            writer.write(b"a")
            while not (await reader.read(100)).endswith(b"A"):
                pass
            assert firsts[-1][:28] == proxy_header(here, (lb.address, port))
            writer.close()


async def test_connections_of_a_leaving_target_go_on_unless_they_are_to_be_cut(tmp_path: Path) -> None:
    async with world(tmp_path, "network") as lb:
        group = await lb.group(protocol="TCP")
        await lb.attributes(group, deregistration_delay__connection_termination__enabled="true", deregistration_delay__timeout_seconds="1")
        _, port = await lb.listen(forward(group), protocol="TCP")
        async with echoing(lb, "172.31.9.1"):
            await lb.register(group, "172.31.9.1")
            reader, writer = await asyncio.open_connection(lb.address, port)
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            await lb.deregister(group, "172.31.9.1")
            writer.write(b"b")
            assert await reader.readexactly(1) == b"B"
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()


async def test_an_application_load_balancer_may_be_the_target_of_a_network_one(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        inner = await lb.group("inner")
        _, port = await lb.listen(forward(inner))
        await lb.register(inner, await lb.serve("one", named("one")))
        subnets = [zone.subnet_id or "" for zone in lb.balancer.availability_zones or ()]
        request = api.CreateLoadBalancerRequest(name="outer", type="network", subnets=subnets)
        outer = (await lb.call(request)).load_balancers[0]
        made = api.CreateTargetGroupRequest(name="alb", protocol="TCP", port=port, vpc_id=lb.vpc, target_type="alb")
        group = (await lb.call(made)).target_groups[0].target_group_arn
        target = api.TargetDescription(id=str(lb.balancer.load_balancer_arn))
        await lb.call(api.RegisterTargetsRequest(target_group_arn=group, targets=[target]))
        listener = api.CreateListenerRequest(
            load_balancer_arn=outer.load_balancer_arn, protocol="TCP", port=port, default_actions=[forward(group)]
        )
        await lb.call(listener)
        await lb.balancing.listening.settled()
        await lb.until_state(group, "healthy")
        assert text_of(await get_http(port, outer.availability_zones[0].load_balancer_addresses[0].ip_address)) == "one"
