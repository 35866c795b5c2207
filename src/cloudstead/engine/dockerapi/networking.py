"""Where a container's network is: NetworkMode, EndpointsConfig and PortBindings to the engine's PodNetwork."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from cloudstead.engine.dockerapi import shapes
from cloudstead.engine.dockerapi.endpoints import EndpointSettings, attachment
from cloudstead.engine.dockerapi.network_model import DockerNetwork
from cloudstead.engine.dockerapi.network_specs import HOST_IP
from cloudstead.engine.dockerapi.networks import DockerNetworks
from cloudstead.engine.dockerapi.registry import Containers, short
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.network.api import Attachment, PodNetwork, PortMapping

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(\w+))?")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    pod: PodNetwork
    networks: dict[str, EndpointSettings]  # for the row


def plan(
    api: DockerApi, id: str, name: str, config: shapes.ContainerConfig, host: shapes.HostConfig, networking: shapes.NetworkingConfig
) -> Plan:
    """Raises NotFound, InvalidArgument and Unsupported, where there are such in Docker's words."""
    mode = "none" if config.network_disabled else host.network_mode or "default"
    if mode.startswith("container:"):
        return _shared(api, mode, config, host)
    networks = _networks(api, mode, networking)
    if config.mac_address and networks:
        first = next(iter(networks))
        networks[first] = replace(networks[first], mac_address=config.mac_address)
    rows = [api.part(DockerNetworks).get(each) for each in networks]
    found = [row for row in rows if row is not None]
    if len(found) > 1 and (odd := next((row for row in found if row.driver != "bridge"), None)) is not None:
        raise InvalidArgument(f"conflicting options: cannot attach both user-defined and non-user-defined networks ({odd.name})")
    driver = found[0].driver if found else "null"
    if driver != "bridge":
        return Plan(pod=_with_names(PodNetwork(mode="host" if driver == "host" else "none"), host), networks=networks)
    attachments = tuple(place(row, networks[row.id], id, name) for row in found)
    address = found[0].options.get(HOST_IP, "")
    return Plan(
        pod=_with_names(PodNetwork(mode="vpc", attachments=attachments, ports=ports(config, host, address)), host),
        networks=networks,
    )


def place(network: DockerNetwork, wanted: EndpointSettings, id: str, name: str) -> Attachment:
    """An attachment by whose names others find the container: its own, its short id, its aliases."""
    given = attachment(network, wanted)
    return replace(given, aliases=tuple(dict.fromkeys((name, short(id), *given.aliases))))


def _networks(api: DockerApi, mode: str, networking: shapes.NetworkingConfig) -> dict[str, EndpointSettings]:
    """By id; the one of the mode first. Endpoints that are named take the place of the default network, as in Docker before 1.44."""
    part = api.part(DockerNetworks)
    named: dict[str, EndpointSettings] = {}
    for term, settings in (networking.endpoints_config or {}).items():
        named[part.find(settings.network_id or term).id] = settings
    row = part.find(mode)
    if row.id in named:
        return {row.id: named.pop(row.id), **named}
    if named and not row.user_defined and row.driver == "bridge":
        return named
    return {row.id: EndpointSettings(), **named}


def _shared(api: DockerApi, mode: str, config: shapes.ContainerConfig, host: shapes.HostConfig) -> Plan:
    """The namespace of another container."""
    other = api.part(Containers).find(mode.removeprefix("container:"))
    conflicts = (
        (config.hostname, "hostname and the network mode"),
        (host.links, "container type network can't be used with links. This would result in undefined behavior"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (config.mac_address, "mac-address and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports and not host.network_mode, "port exposing and the container type network mode"),
    )
    for given, what in conflicts:
        if given:
            raise InvalidArgument(f"conflicting options: {what}")
    return Plan(pod=PodNetwork(mode="pod", pod=other.id), networks={})


def _with_names(network: PodNetwork, host: shapes.HostConfig) -> PodNetwork:
    for line in host.extra_hosts or ():
        name, _, address = line.partition(":")
        if not name or not address or re.search(r"[\s\0]", line):
            raise InvalidArgument(f'bad format for add-host: "{line[:200]}"')
    for address in host.dns or ():
        if not re.fullmatch(r"[0-9a-fA-F:.%]{2,60}", address):
            raise InvalidArgument(f"{address[:100]} is not an ip address")
    return replace(
        network,
        dns=tuple(host.dns or ()),
        dns_search=tuple(host.dns_search or ()),
        dns_options=tuple(host.dns_options or ()),
        extra_hosts=tuple(host.extra_hosts or ()),
    )


# ports


def ports(config: shapes.ContainerConfig, host: shapes.HostConfig, address: str) -> tuple[PortMapping, ...]:
    """What is published: PortBindings, and with PublishAllPorts whatever else is exposed."""
    found = []
    for spelled, bindings in (host.port_bindings or {}).items():
        number, protocol = port(spelled)
        for binding in bindings or [shapes.PortBinding()]:
            found.append(
                PortMapping(
                    container_port=number,
                    protocol=protocol,  # type: ignore[arg-type]
                    host_ip=binding.host_ip or address,
                    host_port=_host_port(binding.host_port),
                )
            )
    if host.publish_all_ports:
        known = {(mapping.container_port, mapping.protocol) for mapping in found}
        for spelled in config.exposed_ports or {}:
            number, protocol = port(spelled)
            if (number, protocol) not in known:
                found.append(PortMapping(container_port=number, protocol=protocol, host_ip=address))  # type: ignore[arg-type]
    return tuple(found)


def port(spelled: str) -> tuple[int, str]:
    """ "80/tcp". Raises InvalidArgument; Unsupported for SCTP."""
    found = PORT.fullmatch(spelled)
    if not found or found[2] or not 1 <= int(found[1]) <= 65535:
        raise InvalidArgument(f"invalid port specification: {spelled[:100]!r}")
    protocol = (found[3] or "tcp").lower()
    if protocol == "sctp":
        raise Unsupported("ports of SCTP cannot be published")
    if protocol not in ("tcp", "udp"):
        raise InvalidArgument(f"invalid proto: {protocol}")
    return int(found[1]), protocol


def _host_port(text: str) -> int:
    if not text or text == "0":
        return 0
    found = PORT.fullmatch(text)
    if not found or found[3] or int(found[1]) > 65535:
        raise InvalidArgument(f"invalid port specification: {text[:100]!r}")
    if found[2] and found[2] != found[1]:
        raise Unsupported(f"HostPort {text}: one of a range of host ports cannot be chosen; name one, or none for any that is free")
    return int(found[1])
