"""The network interface of a task: made in the service's name by EC2's API, plugged in, and given back."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from msgspec.structs import replace

from cloudstead.engine.network.api import Attachment
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ec2 import api as ec2_api
from cloudstead.services.ecs.tasks.model import Task, TaskInterface

PRINCIPAL: Final = "ecs.amazonaws.com"
OWNER: Final = "amazon-ecs"


class Interfaces:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _context(self, row: Task) -> Context:
        return self._cloud.service_context(PRINCIPAL, row.account, row.region)

    async def make(self, row: Task, wanted: TaskInterface) -> TaskInterface:
        """The interface, made if it is not. Making it again gives the same one. Raises ServiceError."""
        if wanted.id:
            return wanted
        request = ec2_api.CreateNetworkInterfaceRequest(
            subnet_id=wanted.subnet,
            groups=list(wanted.groups) or None,
            description=f"arn:aws:ecs:{row.region}:{row.account}:attachment/{wanted.attachment}",
            client_token=row.id,
        )
        made = (await self._context(row).call(request)).network_interface
        return replace(
            wanted,
            id=made.network_interface_id,
            vpc=made.vpc_id,
            mac=made.mac_address,
            ip=made.private_ip_address,
            private_name=made.private_dns_name or "",
        )

    async def plug(self, row: Task, interface: TaskInterface) -> Attachment:
        """Raises EngineError."""
        found: Attachment = await (await self._fabric()).plug(self._context(row), interface.id, owner=OWNER, device_index=1)
        return found

    async def give_back(self, row: Task, interface: TaskInterface) -> None:
        """Does nothing for one that is not there any more."""
        if interface.id:
            ctx = self._context(row)
            (await self._fabric()).unplug(ctx, interface.id)
            with contextlib.suppress(ServiceError):
                await ctx.call(ec2_api.DeleteNetworkInterfaceRequest(network_interface_id=interface.id))

    async def _fabric(self) -> Any:
        await self._cloud.ready("ec2")
        return self._cloud.parts["ec2"].fabric
