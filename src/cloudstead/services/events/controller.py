"""What EventBridge keeps running: it hears the kernel's bus, fires schedules, carries events to targets, replays and forgets old ones.

This module imports no API, so that it costs little to start with the daemon.
"""

from __future__ import annotations

from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Event
from cloudstead.services.events.authorizing import Authorizing
from cloudstead.services.events.delivery import Deliveries
from cloudstead.services.events.envelope import of_kernel
from cloudstead.services.events.http_targets import Http
from cloudstead.services.events.model import DEFAULT_BUS
from cloudstead.services.events.replaying import Replaying
from cloudstead.services.events.retention import Retention
from cloudstead.services.events.routing import Router
from cloudstead.services.events.scheduler import Scheduler


class Events:
    """The running part of the service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.router = Router(cloud.store)
        self.http = Http(cloud.clock)
        self.deliveries = Deliveries(cloud)
        self.scheduler = Scheduler(cloud, self.router)
        self.replaying = Replaying(cloud, self.router)
        self.retention = Retention(cloud)
        self.authorizing = Authorizing(cloud, self.http)
        self._parts = (self.deliveries, self.scheduler, self.replaying, self.retention, self.authorizing)

    def start(self) -> None:
        for part in self._parts:
            part.start()
        self._unsubscribe = self._cloud.bus.subscribe("events", self.happened, durable=True)

    async def stop(self) -> None:
        self._unsubscribe()
        for part in self._parts:
            await part.stop()
        self.http.stop()
        self.router.close()

    def happened(self, event: Event) -> None:
        """Something happened in a service: an event on the default bus of its account and region."""
        self.router.accept((event.account, event.region, DEFAULT_BUS), of_kernel(event), self._cloud.clock.time())


async def start(cloud: Cloud) -> Events:
    events = Events(cloud)
    cloud.parts["events"] = events  # deliveries that are waiting begin at once, and ask for it
    events.start()
    return events


def part(ctx: Context) -> Events:
    events: Events = ctx.cloud.parts["events"]
    return events
