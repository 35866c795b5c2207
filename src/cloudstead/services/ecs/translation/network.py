"""The network of a pod: what the task's interface is given for with awsvpc, and each container for itself with bridge."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.engine.network.api import PodNetwork, PortMapping
from cloudstead.services.ecs.definition import ContainerDefinition
from cloudstead.services.ecs.translation.supplies import Supplies


def of_pod(mode: str, supplies: Supplies, each: ContainerDefinition) -> PodNetwork:
    """
    Args:
        each: with bridge and none, the container whose pod it is.
    """
    if mode == "awsvpc":
        return supplies.network
    if mode == "host":
        return PodNetwork(mode="host")
    if mode == "none" or each.disable_networking:
        return PodNetwork(mode="none")
    return replace(
        supplies.network,
        ports=tuple(_ports(supplies, each)),
        dns=tuple(each.dns_servers or ()) or supplies.network.dns,
        dns_search=tuple(each.dns_search_domains or ()) or supplies.network.dns_search,
        extra_hosts=tuple(_hosts(supplies, each)),
    )


def _ports(supplies: Supplies, each: ContainerDefinition) -> list[PortMapping]:
    chosen = supplies.host_ports.get(each.called, {})
    found = []
    for mapping in each.port_mappings or ():
        first, _, last = (mapping.container_port_range or f"{mapping.container_port}-{mapping.container_port}").partition("-")
        protocol = mapping.protocol or "tcp"
        for port in range(int(first), int(last) + 1):
            host = chosen.get(f"{port}/{protocol}", mapping.host_port or 0)
            found.append(PortMapping(container_port=port, protocol=protocol, host_port=host))
    return found


def _hosts(supplies: Supplies, each: ContainerDefinition) -> list[str]:
    """Lines for /etc/hosts: those that are said, and a name or two for each link, once the other container has its address."""
    found = [f"{host.hostname}:{host.ip_address}" for host in each.extra_hosts or ()]
    for link in each.links or ():
        name, _, alias = link.partition(":")
        if name in supplies.addresses:
            found += [f"{known}:{supplies.addresses[name]}" for known in dict.fromkeys((alias or name, name))]
    return found
