"""Names of containers in networks, as they are now: a renamed container is found by its new name at once.

Attachments carry the name that a container had when it was connected, beside its short id and aliases; the engine's name server knows those. Here
the name is looked up in the rows, and asked for before them, so a name that somebody else took meanwhile is that one's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cloudstead.engine.dockerapi.networks import DockerNetworks
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.errors import NotFound
from cloudstead.engine.network.api import AttachedInterface
from cloudstead.engine.network.dns_messages import Record

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi
    from cloudstead.engine.network.api import Asker


class Names:
    """`api.part(Names)`."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._containers = api.part(Containers)
        self._networks = api.part(DockerNetworks)
        self.end: Callable[[], None] = api.engine.networks.add_zone(self.find)

    def find(self, name: str, kind: str, asker: Asker) -> list[Record] | None:
        """What the name server calls: addresses of the container of that name in the networks that the asker is in."""
        row = self._containers.by_name(name)
        asking = self._containers.by_id(asker.pod)
        if row is None or asking is None:
            return None
        shared = {id for id in asking.networks if id in row.networks and self._has_names(id)}
        addresses = [interface.ip for interface in self._interfaces(row.id) if interface.network in shared]
        if not addresses:
            return None
        return [Record("A", ip) for ip in addresses] if kind in ("A", "255") else []

    def _has_names(self, network: str) -> bool:
        found = self._networks.get(network)
        return found is not None and found.user_defined

    def _interfaces(self, pod: str) -> tuple[AttachedInterface, ...]:
        try:
            return self._api.engine.pods.inspect_pod(pod).interfaces
        except NotFound:
            return ()


async def start(api: DockerApi) -> None:
    api.part(Names)


async def stop(api: DockerApi) -> None:
    api.part(Names).end()
