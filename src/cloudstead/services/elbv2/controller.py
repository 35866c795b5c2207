"""What Elastic Load Balancing keeps running: sockets that listen, health checks, targets that leave. This module imports no API, so that it costs little
to start with the daemon.

Other parts of this cloud may give targets another way to be reached: `parts["elbv2"].groups.dial`, an async function of a `Place`.
"""

from __future__ import annotations

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.elbv2.draining import Draining
from cloudstead.services.elbv2.health.checking import Health
from cloudstead.services.elbv2.health.probing import probe
from cloudstead.services.elbv2.health.states import Verdict
from cloudstead.services.elbv2.model import Target, TargetGroup
from cloudstead.services.elbv2.traffic.answering import Answering
from cloudstead.services.elbv2.traffic.dialing import Dialing
from cloudstead.services.elbv2.traffic.fronts import Fronts
from cloudstead.services.elbv2.traffic.groups import Groups
from cloudstead.services.elbv2.traffic.listening import Listening
from cloudstead.services.elbv2.traffic.plans import Plans
from cloudstead.services.elbv2.traffic.stickiness import Cookies


class LoadBalancing:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        store, clock = cloud.store, cloud.clock
        self._clock = clock
        self.groups = Groups(store, clock, Dialing(cloud))
        self.health = self.groups.health = Health(store, clock, self._probe)
        self.plans = Plans(store)
        self.answering = Answering(self.plans, self.groups, Cookies(store), clock)
        self.fronts = Fronts(store, self.answering)
        self.draining = Draining(store, clock, self.groups)
        self.listening = Listening(cloud, self.plans, self.groups, self.answering, self.fronts)
        self._parts = (self.plans, self.groups, self.health, self.draining, self.listening)

    def start(self) -> None:
        for part in self._parts:
            part.start()

    async def stop(self) -> None:
        for part in reversed(self._parts):
            await part.stop()

    async def at_the_edge(self, request: HttpRequest) -> HttpResponse:
        """A request to the edge's own port for a load balancer's name."""
        return await self.fronts.at_the_edge(request)

    async def _probe(self, row: Target, group: TargetGroup) -> Verdict:
        port = 0 if group.check.port == "traffic-port" else int(group.check.port)
        return await probe(self.groups.place(row, port), group.check, self.groups.dial, self._clock)


async def start(cloud: Cloud) -> LoadBalancing:
    balancing = LoadBalancing(cloud)
    balancing.start()
    return balancing


def part(ctx: Context) -> LoadBalancing:
    found: LoadBalancing = ctx.cloud.parts["elbv2"]
    return found
