"""Reaching targets: a connected socket to an address in a VPC.

Addresses that the engine's network of the VPC has are dialled inside it; all others, such as those of servers on this machine, from this process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from cloudstead.kernel.context import Cloud

if TYPE_CHECKING:
    from cloudstead.engine.network.api import Networks


class Place(NamedTuple):
    vpc: str
    address: str
    port: int


Dialer: TypeAlias = Callable[[Place], Awaitable[socket.socket]]


async def from_here(place: Place) -> socket.socket:
    """
    Raises:
        OSError
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, (place.address, place.port))
    except BaseException:
        found.close()
        raise
    return found


class Dialing:
    """The dialer of a daemon: it knows the engine's networks, once there are any."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def __call__(self, place: Place) -> socket.socket:
        """
        Raises:
            OSError
        """
        networks = self._networks()
        if networks is None or not _has(networks, place):
            return await from_here(place)
        found = socket.socket(fileno=await networks.dial(place.vpc, place.address, place.port))
        found.setblocking(False)
        return found

    def _networks(self) -> Networks | None:
        room: Any = self._cloud.parts.get("engine")
        engine = getattr(room, "engine", None)
        found: Networks | None = getattr(engine, "networks", None)
        return found


def _has(networks: Networks, place: Place) -> bool:
    address = ipaddress.ip_address(place.address)
    return any(spec.id == place.vpc and any(address in ipaddress.ip_network(each.cidr) for each in spec.subnets) for spec in networks.all())
