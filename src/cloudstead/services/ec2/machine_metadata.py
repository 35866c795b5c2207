"""169.254.169.254 in every VPC that has a machine: who asks is known by its address, and told what its row says at that moment."""

from __future__ import annotations

import base64
import contextlib
import socket
from typing import TYPE_CHECKING

from cloudstead.engine.errors import EngineError
from cloudstead.http.server import Server
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.role_credentials import RoleCredentials, RoleLender
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ec2.imds.endpoint import InstanceEndpoint
from cloudstead.services.ec2.imds.model import Asker, Instance, Interface, Profile
from cloudstead.services.ec2.interface_forms import private_name, public_name
from cloudstead.services.ec2.model import INSTANCES, INTERFACES, SECURITY_GROUPS, SUBNETS, VPCS, Place
from cloudstead.services.ec2.model import Instance as Row
from cloudstead.services.ec2.places import zone_id

if TYPE_CHECKING:
    from cloudstead.engine.network.api import Networks

ADDRESS, PORT = "169.254.169.254", 80


class MachineMetadata:
    """One server for each VPC."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lender = RoleLender(cloud, "ec2.amazonaws.com")
        self._servers: dict[str, Server] = {}

    async def stop(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.stop(grace=0.0)

    async def serve(self, networks: Networks, place: Place) -> None:
        """Listen in a VPC, unless that is done already."""
        vpc = place[2]
        if vpc in self._servers:
            return

        def who(ip: str) -> Asker | None:
            row = self._cloud.store.table(INSTANCES).get((place[0], place[1], networks.who_has(vpc, ip)))
            return None if row is None else Asker(instance=described(self._cloud, row))

        server = self._servers[vpc] = Server(InstanceEndpoint(self._cloud.clock, Sessions.of(self._cloud), who, self._lend))
        try:
            with contextlib.suppress(EngineError):  # of a daemon that is no more
                await networks.stop_listening(vpc, ADDRESS, PORT)
            await server.listen_on(socket.socket(fileno=await networks.listen(vpc, ADDRESS, PORT)))
        except BaseException:
            del self._servers[vpc]
            raise

    async def _lend(self, instance: Instance, role_arn: str) -> RoleCredentials:
        return await self._lender.lend(instance.account, instance.region, role_arn, instance.instance_id)


def described(cloud: Cloud, row: Row) -> Instance:
    """An instance as the metadata service tells it."""
    interfaces = _interfaces(cloud, row)
    first = interfaces[0] if interfaces else Interface(mac="", interface_id="", owner_id="")
    profile = row.profile
    return Instance(
        account=row.account,
        region=row.region,
        instance_id=row.id,
        image_id=row.image,
        instance_type=row.type,
        availability_zone=row.zone,
        availability_zone_id=zone_id(row.zone),
        reservation_id=row.reservation,
        launch_index=row.index,
        launched=row.launched,
        monitoring="enabled" if row.monitoring else "disabled",
        local_hostname=private_name(row.region, row.ip),
        local_ipv4=row.ip,
        public_hostname=first.public_hostname,
        public_ipv4=first.public_ipv4s[0] if first.public_ipv4s else "",
        mac=first.mac,
        interfaces=interfaces,
        security_groups=first.security_groups,
        key_name=row.key_name,
        public_key=row.public_key,
        profile=None
        if profile is None
        else Profile(
            arn=profile.arn, id=profile.profile_id, role_name=profile.role.rpartition("/")[2], role_arn=profile.role, updated=profile.at
        ),
        tags=row.tags,
        user_data=base64.b64decode(row.user_data),
        options=row.options,
    )


def _interfaces(cloud: Cloud, row: Row) -> tuple[Interface, ...]:
    place = (row.account, row.region)
    interface = cloud.store.table(INTERFACES).get((*place, row.interface))
    subnet, vpc = cloud.store.table(SUBNETS).get((*place, row.subnet)), cloud.store.table(VPCS).get((*place, row.vpc))
    if interface is None or subnet is None or vpc is None:
        return ()
    groups = [cloud.store.table(SECURITY_GROUPS).get((*place, id)) for id in interface.groups]
    public = (interface.public_ip,) if interface.public_ip else ()
    return (
        Interface(
            mac=interface.mac,
            interface_id=interface.id,
            owner_id=interface.account,
            local_hostname=private_name(row.region, interface.ip),
            local_ipv4s=interface.ips,
            public_hostname=public_name(row.region, public[0]) if public and vpc.dns_hostnames else "",
            public_ipv4s=public,
            ipv4_associations=dict.fromkeys(public, (interface.ip,)),
            security_groups=tuple(group.name for group in groups if group is not None),
            security_group_ids=interface.groups,
            subnet_id=subnet.id,
            subnet_ipv4_cidr_block=subnet.cidr,
            vpc_id=vpc.id,
            vpc_ipv4_cidr_block=vpc.cidr,
            vpc_ipv4_cidr_blocks=tuple(one.cidr for one in vpc.cidrs),
        ),
    )
