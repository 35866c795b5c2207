"""VPCs become networks of the engine, when the first thing is plugged into them, and follow their rows from then on.

    rows (VPC, subnets, routes, groups, rules, interfaces) ──▶ wanted_network, wanted_groups ──▶ engine: a network and its groups
                                                                     pure

Who runs something in a subnet (a task, an instance) makes a network interface by the API, and then

    attachment = await fabric.plug(ctx, interface_id, owner="…", instance="")      # marks it attached; the VPC's network is there
    …  PodNetwork(mode="vpc", attachments=(attachment,))  …
    fabric.unplug(ctx, interface_id)                                                # when its pod is gone

The engine takes the address that the attachment names, so that what DescribeNetworkInterfaces says, what a subnet has left and what the packets bear agree.
Afterwards one controller, with the VPC as its key, carries every change over: subnets and routes, groups and their rules, the groups of an interface.
No call of the API waits for the engine, and none starts it: where nothing has been plugged in there is nothing to be kept in step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cloudstead.engine.errors import NotFound
from cloudstead.engine.network.api import Attachment as Plug
from cloudstead.engine.network.api import NetworkSpec, Rule, SecurityGroup
from cloudstead.engine.network.api import Subnet as EngineSubnet
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Store
from cloudstead.services.ec2 import model
from cloudstead.services.ec2.cidrs import RESERVED
from cloudstead.services.ec2.model import (
    GROUP_RULES,
    INTERFACES,
    INTERNET_GATEWAYS,
    NAT_GATEWAYS,
    ROUTE_TABLES,
    SECURITY_GROUPS,
    SUBNETS,
    VPCS,
    GroupRule,
    NetworkInterface,
    Place,
)
from cloudstead.services.ec2.routing import leads_out

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine
    from cloudstead.engine.network.api import Networks

OWNER = "ec2"


def wanted_network(store: Store, place: Place) -> NetworkSpec | None:
    """What the network of a VPC should be; None when there is no such VPC, or nothing could be in it."""
    vpc = store.table(VPCS).get(place)
    subnets = store.table(SUBNETS).scan(place, index="by_vpc")
    if vpc is None or not subnets:
        return None
    return NetworkSpec(
        id=vpc.id,
        owner=OWNER,
        name=vpc.tags.get("Name", vpc.id),
        subnets=tuple(EngineSubnet(id=subnet.id, cidr=subnet.cidr, reserved=RESERVED, nat=leads_out(store, subnet)) for subnet in subnets),
    )


def wanted_groups(store: Store, place: Place) -> dict[str, SecurityGroup]:
    rules: dict[str, list[Rule]] = {}
    for rule in store.table(GROUP_RULES).scan(place, index="by_vpc"):
        rules.setdefault(rule.group, []).append(engine_rule(rule))
    groups = store.table(SECURITY_GROUPS).scan(place, index="by_vpc")
    return {group.id: SecurityGroup(id=group.id, network=group.vpc, rules=tuple(rules.get(group.id, ()))) for group in groups}


def engine_rule(row: GroupRule) -> Rule:
    """ICMPv6 is a protocol of its own number, which no packet here has."""
    return Rule(
        direction="egress" if row.egress else "ingress",
        protocol="58" if row.protocol == "icmpv6" else row.protocol,
        from_port=row.from_port,
        to_port=row.to_port,
        cidrs=tuple(cidr for cidr in (row.cidr4, row.cidr6) if cidr),
        groups=(row.peer_group,) if row.peer_group else (),
    )


class Fabric:
    """Keeps the engine's networks in step with the rows."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store: Store = cloud.store
        clock: Clock = cloud.clock
        self._locks: dict[Place, asyncio.Lock] = {}
        self._joined: dict[str, tuple[str, ...]] = {}  # and of the groups of each interface
        self.controller: Controller[Place] = Controller("ec2.fabric", self._follow, clock=clock, keys=self._keys, resync=60.0)

    def start(self) -> None:
        def of_vpc(row: Any) -> Place | None:
            return (row.account, row.region, row.vpc) if row.vpc else None

        self.controller.watch(self._store, VPCS, model.key_of)
        for table in (SUBNETS, ROUTE_TABLES, INTERNET_GATEWAYS, NAT_GATEWAYS, SECURITY_GROUPS, GROUP_RULES, INTERFACES):
            self.controller.watch(self._store, table, of_vpc)
        self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop(grace=5.0)

    # ------------------------------------------------------------------------------------------------------------ plugging in

    async def plug(self, ctx: Context, interface: str, *, owner: str = "", instance: str = "", device_index: int = 0) -> Plug:
        """Attach an interface, and have its VPC's network made; what the pod's network is to say of it. A second time it says the same.

        Args:
            owner: whose the instance or task is, as AWS tells it ("amazon-ecs", an account).

        Raises:
            NotFound: there is no such interface (of `engine.errors`, as all that the engine raises).
        """
        key = (ctx.account, ctx.region, interface)
        engine = await self._engine()
        row = self._store.table(INTERFACES).get(key)
        if row is None:
            raise NotFound(f"network interface {interface} not found")
        if row.attachment is None:
            attachment = model.Attachment(
                id=hex_id("eni-attach"), at=ctx.now(), instance=instance, owner=owner or ctx.account, device_index=device_index
            )
            with ctx.transaction() as tx:
                row = tx.update(INTERFACES, row, attachment=attachment)
        await self._bring(engine.networks, (ctx.account, ctx.region, row.vpc))
        return plug_of(row)

    def unplug(self, ctx: Context, interface: str) -> None:
        """Its pod is gone: nothing is attached any more. Does nothing for an interface that is not there."""
        row = self._store.table(INTERFACES).get((ctx.account, ctx.region, interface))
        if row is not None and row.attachment is not None:
            self._joined.pop(row.id, None)
            with ctx.transaction() as tx:
                tx.update(INTERFACES, row, attachment=None)

    async def network(self, ctx: Context, subnet: str) -> Networks:
        """The engine's networks, in which that of a subnet's VPC is there and as its rows say."""
        row = self._store.table(SUBNETS).get((ctx.account, ctx.region, subnet))
        if row is None:
            raise NotFound(f"subnet {subnet} not found")
        networks = (await self._engine()).networks
        await self._bring(networks, (ctx.account, ctx.region, row.vpc))
        return networks

    async def _engine(self) -> Engine:
        engine: Engine = await self._cloud.parts["engine"].ready()
        return engine

    # ------------------------------------------------------------------------------------------------------------ following

    def _keys(self) -> Iterable[Place]:
        """Every VPC, and every network whose VPC is gone."""
        known = {vpc.id: model.key_of(vpc) for vpc in self._store.table(VPCS).scan()}
        networks = self._running()
        gone = [("", "", spec.id) for spec in networks.all(OWNER) if spec.id not in known] if networks is not None else []
        return [*known.values(), *gone]

    def _running(self) -> Networks | None:
        """The engine's networks, if an engine has been started, and can have any."""
        room = self._cloud.parts.get("engine")
        engine: Engine | None = room.engine if room is not None else None
        return None if engine is None or engine.why_not else engine.networks

    async def _follow(self, place: Place) -> float | None:
        networks = self._running()
        if networks is not None and _found(networks, place[2]) is not None:
            await self._bring(networks, place)
        return None

    async def _bring(self, networks: Networks, place: Place) -> None:
        """Make the network of a VPC what its rows say."""
        async with self._locks.setdefault(place, asyncio.Lock()):
            wanted, there = wanted_network(self._store, place), _found(networks, place[2])
            if wanted is None:
                if there is not None:
                    await networks.remove(place[2])
                self._locks.pop(place, None)
                return
            if there is None:
                await networks.create(wanted)
            elif there != wanted:
                await networks.change(wanted)
            await self._bring_groups(networks, place)

    async def _bring_groups(self, networks: Networks, place: Place) -> None:
        """Groups that are new come before interfaces join them, and those that are gone go after interfaces have left them."""
        wanted = wanted_groups(self._store, place)
        there = {group.id: group for group in networks.groups(place[2])}
        for id, group in wanted.items():
            if there.get(id) != group:
                await networks.put_group(group)
        for interface in self._store.table(INTERFACES).scan(place, index="by_vpc"):
            await self._join(networks, interface)
        for id in there.keys() - wanted.keys():
            await networks.remove_group(place[2], id)

    async def _join(self, networks: Networks, row: NetworkInterface) -> None:
        pod = networks.who_has(row.vpc, row.ip)
        if pod and self._joined.get(row.id) != row.groups:
            await networks.set_groups(pod, row.vpc, row.groups)
            self._joined[row.id] = row.groups


def plug_of(row: NetworkInterface) -> Plug:
    """What a pod's network says of an interface."""
    return Plug(network=row.vpc, subnet=row.subnet, ip=row.ip, mac=row.mac, security_groups=row.groups)


def _found(networks: Networks, id: str) -> NetworkSpec | None:
    try:
        return networks.get(id)
    except NotFound:
        return None
