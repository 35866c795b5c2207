"""What EC2 keeps running.

nat_progress    NAT gateways come and go
instances       their machines are made, started, stopped and removed
fabric          the engine's networks follow the rows; `part(ctx).fabric` is what plugs tasks and instances in
"""

from __future__ import annotations

from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.ec2.fabric import Fabric
from cloudstead.services.ec2.instance_progress import InstanceProgress
from cloudstead.services.ec2.machines import Machines
from cloudstead.services.ec2.nat_progress import NatProgress


class Ec2:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self.fabric = Fabric(cloud)
        self.nat_progress = NatProgress(cloud)
        self.instances = InstanceProgress(cloud, self.fabric)

    @property
    def machines(self) -> Machines:
        return self.instances.machines

    def start(self) -> None:
        self.fabric.start()
        self.nat_progress.start()
        self.instances.start()

    async def stop(self) -> None:
        await self.instances.stop()
        await self.nat_progress.stop()
        await self.fabric.stop()


async def start(cloud: Cloud) -> Ec2:
    ec2 = Ec2(cloud)
    ec2.start()
    return ec2


def part(ctx: Context) -> Ec2:
    found: Ec2 = ctx.cloud.parts["ec2"]
    return found
