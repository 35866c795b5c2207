"""A VPC and what is plugged into it: rows of EC2 on one side, packets on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from network_support import OUTSIDE_IP, Machine, needs_networks, refused, tell

from cloudstead.engine.errors import NotFound
from cloudstead.engine.network.api import PodNetwork
from cloudstead.kernel.context import Context
from cloudstead.services.ec2 import api
from cloudstead.services.ec2.controller import Ec2, part
from support import context_in, local_cloud

pytestmark = needs_networks
NOBODY = ("silence", "unreachable")


class Room:
    """In the place of the engine's: an engine of which only the networks are asked for."""

    def __init__(self, machine: Machine) -> None:
        self.engine: Any = None
        self._engine = SimpleNamespace(networks=machine.networks, why_not="")

    async def ready(self) -> Any:
        self.engine = self._engine
        return self.engine

    async def stop(self) -> None:
        """The machine is ended by the test."""


class Site:
    """A VPC with one subnet, and pods in it."""

    def __init__(self, machine: Machine, ctx: Context) -> None:
        self.machine = machine
        self.ctx = ctx
        self.ec2: Ec2
        self.vpc = self.subnet = ""

    async def open(self) -> None:
        await self.ctx.cloud.ready("ec2")
        self.ec2 = part(self.ctx)
        self.vpc = (await self.ctx.call(api.CreateVpcRequest(cidr_block="10.0.0.0/16"))).vpc.vpc_id
        subnet = await self.ctx.call(api.CreateSubnetRequest(vpc_id=self.vpc, cidr_block="10.0.1.0/24"))
        self.subnet = subnet.subnet.subnet_id

    async def group(self, name: str) -> str:
        made = await self.ctx.call(api.CreateSecurityGroupRequest(group_name=name, description=name, vpc_id=self.vpc))
        return str(made.group_id)

    async def pod(self, name: str, *groups: str) -> tuple[str, str]:
        """The id of its interface and its address."""
        made = await self.ctx.call(api.CreateNetworkInterfaceRequest(subnet_id=self.subnet, groups=list(groups)))
        interface = made.network_interface
        plug = await self.ec2.fabric.plug(self.ctx, interface.network_interface_id, owner="amazon-ecs")
        [attached], _ = await self.machine.networks.attach(name, PodNetwork(attachments=(plug,)), names=(name,))
        assert (attached.ip, attached.mac) == (interface.private_ip_address, interface.mac_address)
        return interface.network_interface_id, attached.ip

    def permission(self, group: str, peer: str, port: int) -> dict[str, Any]:
        pair = api.UserIdGroupPair(group_id=peer)
        said = api.IpPermission(ip_protocol="tcp", from_port=port, to_port=port, user_id_group_pairs=[pair])
        return {"group_id": group, "ip_permissions": [said]}

    async def until(self, ask: Callable[[], Awaitable[object]], *answers: object) -> None:
        """A change acts within a second."""
        async with asyncio.timeout(10):
            while (found := await ask()) not in answers:
                assert found is not None
                await asyncio.sleep(0.02)


@asynccontextmanager
async def site(machine: Machine, folder: Path) -> AsyncIterator[Site]:
    async with local_cloud(folder, in_memory=True) as cloud:
        cloud.parts["engine"] = Room(machine)
        made = Site(machine, context_in(cloud))
        await made.open()
        yield made


def test_pods_talk_only_as_the_rules_of_their_groups_say_and_a_changed_rule_acts_at_once(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with site(machine, tmp_path / "cloud") as here:
            web, database = await here.group("web"), await here.group("database")
            await here.ctx.call(api.AuthorizeSecurityGroupIngressRequest(**here.permission(database, web, 5432)))
            await here.pod("web", web)
            _, ip = await here.pod("database", database)
            interface, _ = await here.pod("stranger", database)
            for port in (5432, 6000):
                await machine.serve("database", port)

            async def asked(by: str, port: int) -> str:
                return await machine.ask(by, ip, port, within=0.3)

            assert (await asked("web", 5432)).startswith("database sees")
            assert await asked("web", 6000) in NOBODY
            assert await asked("stranger", 5432) in NOBODY
            await here.ctx.call(api.AuthorizeSecurityGroupIngressRequest(**here.permission(database, web, 6000)))
            await here.until(lambda: asked("web", 6000), f"database sees {machine.networks.interfaces('web')[0].ip}")
            await here.ctx.call(api.RevokeSecurityGroupIngressRequest(**here.permission(database, web, 5432)))
            await here.until(lambda: asked("web", 5432), *NOBODY)
            joining = api.ModifyNetworkInterfaceAttributeRequest(network_interface_id=interface, groups=[web])
            await here.ctx.call(joining)
            await here.until(lambda: asked("stranger", 6000), f"database sees {machine.networks.interfaces('stranger')[0].ip}")

    tell(tmp_path, story)


def test_a_subnet_leads_out_when_its_routes_do(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with site(machine, tmp_path / "cloud") as here:
            await here.pod("pod", await here.group("all"))
            await machine.serve("outside", 80)

            async def answered() -> bool:
                return (await machine.ask("pod", OUTSIDE_IP, 80, within=0.3)).startswith("outside sees")

            assert not await answered()
            gateway = (await here.ctx.call(api.CreateInternetGatewayRequest())).internet_gateway.internet_gateway_id
            await here.ctx.call(api.AttachInternetGatewayRequest(internet_gateway_id=gateway, vpc_id=here.vpc))
            tables = await here.ctx.call(api.DescribeRouteTablesRequest(filters=[api.Filter(name="vpc-id", values=[here.vpc])]))
            table = tables.route_tables[0].route_table_id
            out = {"route_table_id": table, "destination_cidr_block": "0.0.0.0/0"}
            await here.ctx.call(api.CreateRouteRequest(**out, gateway_id=gateway))
            await here.until(answered, True)
            await here.ctx.call(api.DeleteRouteRequest(**out))
            await here.until(answered, False)

    tell(tmp_path, story)


def test_nothing_is_made_before_something_is_plugged_in_and_the_network_goes_with_its_vpc(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with site(machine, tmp_path / "cloud") as here:
            await here.group("all")
            assert machine.networks.all("ec2") == []
            interface, _ = await here.pod("pod")
            [network] = machine.networks.all("ec2")
            assert (network.id, [subnet.reserved for subnet in network.subnets]) == (here.vpc, [4])
            more = await here.ctx.call(api.CreateSubnetRequest(vpc_id=here.vpc, cidr_block="10.0.2.0/24"))

            async def subnets() -> int:
                return len(machine.networks.get(here.vpc).subnets)

            await here.until(subnets, 2)
            await machine.networks.detach("pod")
            here.ec2.fabric.unplug(here.ctx, interface)
            await here.ctx.call(api.DeleteNetworkInterfaceRequest(network_interface_id=interface))
            for id in (here.subnet, more.subnet.subnet_id):
                await here.ctx.call(api.DeleteSubnetRequest(subnet_id=id))
            groups = await here.ctx.call(api.DescribeSecurityGroupsRequest(filters=[api.Filter(name="vpc-id", values=[here.vpc])]))
            for group in groups.security_groups:
                if group.group_name != "default":
                    await here.ctx.call(api.DeleteSecurityGroupRequest(group_id=group.group_id))
            await here.ctx.call(api.DeleteVpcRequest(vpc_id=here.vpc))

            async def networks() -> int:
                return len(machine.networks.all("ec2"))

            await here.until(networks, 0)

    tell(tmp_path, story)


def test_an_interface_that_is_not_there_cannot_be_plugged_in(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with site(machine, tmp_path / "cloud") as here:
            said = await refused(NotFound, here.ec2.fabric.plug(here.ctx, "eni-01234567"))
            assert said == "network interface eni-01234567 not found"

    tell(tmp_path, story)
