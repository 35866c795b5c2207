"""A container's place in a network, as clients write it and read it: EndpointSettings."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Any

import msgspec

from cloudstead.engine.dockerapi.network_model import DockerNetwork
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.network.api import AttachedInterface, Attachment

MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)


class EndpointIpam(msgspec.Struct, frozen=True, omit_defaults=True):
    ipv4_address: str = msgspec.field(name="IPv4Address", default="")
    ipv6_address: str = msgspec.field(name="IPv6Address", default="")
    link_local_ips: tuple[str, ...] = msgspec.field(name="LinkLocalIPs", default=())


class EndpointSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client wants. Those below the line are Docker's to tell: clients that send back what they read send them too, and they count for nothing."""

    ipam_config: EndpointIpam | None = msgspec.field(name="IPAMConfig", default=None)
    links: tuple[str, ...] = msgspec.field(name="Links", default=())
    aliases: tuple[str, ...] = msgspec.field(name="Aliases", default=())
    mac_address: str = msgspec.field(name="MacAddress", default="")
    driver_opts: dict[str, str] = msgspec.field(name="DriverOpts", default={})
    # ---
    network_id: str = msgspec.field(name="NetworkID", default="")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str = msgspec.field(name="Gateway", default="")
    ip_address: str = msgspec.field(name="IPAddress", default="")
    ip_prefix_len: int = msgspec.field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = msgspec.field(name="IPv6Gateway", default="")
    global_ipv6_address: str = msgspec.field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = msgspec.field(name="GlobalIPv6PrefixLen", default=0)
    dns_names: tuple[str, ...] = msgspec.field(name="DNSNames", default=())


def attachment(network: DockerNetwork, wanted: EndpointSettings | None) -> Attachment:
    """What the engine is asked for. The container's own names are not in it: `Networks.attach` is given them.

    Raises:
        InvalidArgument: the address is none, or not one of the network.
        Unsupported: it asks for what there is not here.
    """
    wanted = wanted or EndpointSettings()
    refuse_unsupported(wanted)
    address = wanted.ipam_config.ipv4_address if wanted.ipam_config else ""
    if address:
        _check_address(network, address)
    if wanted.aliases and not network.user_defined:
        raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
    if wanted.mac_address and not MAC.fullmatch(wanted.mac_address):
        raise InvalidArgument(f"invalid MAC address: {wanted.mac_address}")
    return Attachment(network=network.id, ip=address, mac=wanted.mac_address.lower().replace("-", ":"), aliases=wanted.aliases)


def refuse_unsupported(wanted: EndpointSettings) -> None:
    if wanted.links:
        raise Unsupported("links between containers are not supported; containers of a network of your own find one another by name")
    if wanted.driver_opts:
        raise Unsupported(f"the endpoint option {next(iter(wanted.driver_opts))} is not supported")
    if wanted.ipam_config and wanted.ipam_config.ipv6_address:
        raise Unsupported("IPv6 addresses in networks are not supported")
    if wanted.ipam_config and wanted.ipam_config.link_local_ips:
        raise Unsupported("link-local addresses of endpoints are not supported")


def _check_address(network: DockerNetwork, address: str) -> None:
    try:
        ip = ipaddress.IPv4Address(address)
    except ValueError:
        raise InvalidArgument(f"invalid IPv4 address: {address}") from None
    if not network.user_defined:
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if ip not in ipaddress.IPv4Network(network.cidr):
        raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {address}")


def endpoint_id(network: str, container: str) -> str:
    """64 digits that are the same for the same two."""
    return hashlib.sha256(f"{network}/{container}".encode()).hexdigest()


def describe_endpoint(
    network: DockerNetwork, container: str, wanted: EndpointSettings | None, interface: AttachedInterface | None
) -> dict[str, Any]:
    """As inspecting a container shows it under NetworkSettings.Networks; `interface` is None while it does not run."""
    wanted = wanted or EndpointSettings()
    running = interface is not None or network.driver != "bridge"
    return {
        "IPAMConfig": wanted.ipam_config,
        "Links": None,
        "Aliases": list(wanted.aliases) or None,
        "NetworkID": network.id,
        "EndpointID": endpoint_id(network.id, container) if running else "",
        "Gateway": interface.gateway if interface else "",
        "IPAddress": interface.ip if interface else "",
        "IPPrefixLen": interface.prefix if interface else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": interface.mac if interface else wanted.mac_address,
        "DriverOpts": None,
    }
