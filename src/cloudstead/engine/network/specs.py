"""Specifications: whether they make sense, and what they come to on the host. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from cloudstead.engine.errors import Conflict, InvalidArgument, Unsupported
from cloudstead.engine.network.addresses import address_of, gateway_of, mac_of, network_of
from cloudstead.engine.network.api import AttachedInterface, Attachment, NetworkSpec, Rule, SecurityGroup, Subnet
from cloudstead.engine.network.commands import GroupSetup, InterfaceSetup, RuleSetup, SubnetSetup
from cloudstead.engine.network.model import Endpoint

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_POD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}\Z")
_NOT_FOR_PODS = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
LINK_LOCAL = IPv4Network("169.254.0.0/16")
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "-1": -1}
EVERYWHERE = "0.0.0.0/0"


def check_pod(pod: str) -> None:
    if not _POD.match(pod):
        raise InvalidArgument(f"{pod!r} is no name for a pod")


def check_network(spec: NetworkSpec) -> None:
    """
    Raises:
        InvalidArgument: a sentence about the first thing that is wrong.
    """
    if not _ID.match(spec.id):
        raise InvalidArgument(f"{spec.id!r} is no id for a network")
    if not 576 <= spec.mtu <= 65535:
        raise InvalidArgument(f"an MTU of {spec.mtu} cannot be had: it must be between 576 and 65535")
    if not spec.subnets:
        raise InvalidArgument("a network needs a subnet")
    ids = [subnet.id for subnet in spec.subnets]
    if len(set(ids)) < len(ids):
        raise InvalidArgument("two subnets have one id")
    seen: list[IPv4Network] = []
    for subnet in spec.subnets:
        network = _check_subnet(subnet)
        if any(network.overlaps(other) for other in seen):
            raise InvalidArgument(f"the subnet {subnet.cidr} overlaps with another one of the network")
        seen.append(network)


def _check_subnet(subnet: Subnet) -> IPv4Network:
    network = network_of(subnet.cidr)
    if not 8 <= network.prefixlen <= 29:
        raise InvalidArgument(f"invalid subnet {subnet.cidr}: the prefix must have 8 to 29 bits")
    if any(network.overlaps(other) for other in _NOT_FOR_PODS):
        raise InvalidArgument(f"invalid subnet {subnet.cidr}: these addresses have another meaning")
    if not 0 <= subnet.reserved < network.num_addresses - 1:
        raise InvalidArgument(f"{subnet.reserved} addresses cannot be reserved in {subnet.cidr}")
    if subnet.gateway:
        gateway = address_of(subnet.gateway)
        if gateway not in network:
            raise InvalidArgument(f"no matching subnet for gateway {subnet.gateway}")
        if gateway in (network.network_address, network.broadcast_address):
            raise InvalidArgument(f"the gateway {subnet.gateway} is not an address for a host")
    if subnet.range and not network_of(subnet.range).subnet_of(network):
        raise InvalidArgument(f"no matching subnet for range {subnet.range}")
    return network


def check_change(old: NetworkSpec, new: NetworkSpec, used: set[str]) -> None:
    """What pods use stays.

    Raises:
        Conflict
    """
    subnets = {subnet.id: subnet for subnet in new.subnets}
    for subnet in old.subnets:
        if subnet.id in used:
            after = subnets.get(subnet.id)
            if after is None or after.cidr != subnet.cidr or gateway_of(after) != gateway_of(subnet):
                raise Conflict(f"the subnet {subnet.cidr} is in use")
    if used and old.mtu != new.mtu:
        raise Conflict("the MTU of a network cannot be changed while pods are attached")


def subnet_setups(spec: NetworkSpec) -> tuple[SubnetSetup, ...]:
    return tuple(SubnetSetup(cidr=subnet.cidr, gateway=str(gateway_of(subnet)), nat=subnet.nat) for subnet in spec.subnets)


# ---------------------------------------------------------------------------------------------------------------- security groups


def group_setup(group: SecurityGroup) -> GroupSetup:
    """
    Raises:
        InvalidArgument: a rule makes no sense.
    """
    if not _ID.match(group.id):
        raise InvalidArgument(f"{group.id!r} is no id for a security group")
    return GroupSetup(id=group.id, rules=tuple(_rule(rule) for rule in group.rules))


def _rule(rule: Rule) -> RuleSetup:
    protocol = _protocol(rule.protocol)
    low, high = rule.from_port, rule.to_port
    if protocol not in (1, 6, 17):
        low = high = -1  # AWS gives ports for all protocols and looks at them for these three
    elif protocol == 1:
        if not (-1 <= low <= 255 and -1 <= high <= 255):
            raise InvalidArgument(f"ICMP has no type {low} with the code {high}")
    elif (low, high) != (-1, -1):
        if not (0 <= low <= 65535 and 0 <= high <= 65535):
            raise InvalidArgument(f"the ports {low} to {high} are not between 0 and 65535")
        if low > high:
            raise InvalidArgument(f"the ports {low} to {high} are no range")
    for group in rule.groups:
        if not _ID.match(group):
            raise InvalidArgument(f"{group!r} is no id for a security group")
    cidrs = tuple(cidr for cidr in map(_source, rule.cidrs) if cidr)
    return RuleSetup(direction=rule.direction, protocol=protocol, low=low, high=high, cidrs=cidrs, groups=rule.groups)


def _protocol(name: str) -> int:
    if name in NUMBERS:
        return NUMBERS[name]
    if name.isascii() and name.isdecimal() and int(name) <= 255:
        return int(name)
    raise InvalidArgument(f"{name!r} is no protocol: tcp, udp, icmp, a number, or -1 for all")


def _source(cidr: str) -> str:
    """Of IPv4; empty for IPv6, of which there is none in these networks, so that it can match nothing."""
    if ":" in cidr:
        return ""
    try:
        return str(IPv4Network(cidr, strict=False))
    except ValueError:
        raise InvalidArgument(f"CIDR block {cidr} is malformed") from None


# ---------------------------------------------------------------------------------------------------------------- pods


def check_attachments(attachments: Sequence[Attachment], spec_of: Callable[[str], NetworkSpec]) -> None:
    """
    Raises:
        InvalidArgument: a network twice, or an address that is none.
        Conflict: two networks have the same addresses.
        NotFound: from `spec_of`.
    """
    seen: list[tuple[str, IPv4Network]] = []
    for attachment in attachments:
        own = [IPv4Network(subnet.cidr) for subnet in spec_of(attachment.network).subnets]
        for other, network in seen:
            if other == attachment.network:
                raise InvalidArgument(f"the pod is attached to network {other} twice")
            if any(network.overlaps(subnet) for subnet in own):
                raise Conflict(f"networks {other} and {attachment.network} have the same addresses, so a pod cannot be in both")
        seen += [(attachment.network, subnet) for subnet in own]
        if attachment.mac:
            mac_for(attachment.mac, "")


def mac_for(wanted: str, ip: str) -> str:
    if not wanted:
        return mac_of(ip)
    if not _MAC.match(wanted) or int(wanted[:2], 16) & 1 or not int(wanted.replace(":", "").replace("-", ""), 16):
        raise InvalidArgument(f"invalid MAC address: {wanted}")
    return wanted.lower().replace("-", ":")


def subnet_for(spec: NetworkSpec, attachment: Attachment) -> Subnet:
    """The one that is named, that the address is of, or the first.

    Raises:
        InvalidArgument
    """
    if attachment.subnet:
        for subnet in spec.subnets:
            if subnet.id == attachment.subnet:
                return subnet
        raise InvalidArgument(f"network {spec.id} has no subnet {attachment.subnet}")
    if attachment.ip:
        ip = address_of(attachment.ip)
        for subnet in spec.subnets:
            if ip in IPv4Network(subnet.cidr):
                return subnet
        raise InvalidArgument(f"no configured subnet contains IP address {attachment.ip}")
    return spec.subnets[0]


def interface_setups(endpoints: Iterable[Endpoint], find: Callable[[str], tuple[int, NetworkSpec]]) -> tuple[InterfaceSetup, ...]:
    """What the host is to make of a pod's endpoints. The first network with a way out has the default route; where none has, the first leads
    to the link-local addresses at least (names, metadata, credentials)."""
    known = [(endpoint, *find(endpoint.interface.network)) for endpoint in endpoints]
    way_out = next((endpoint for endpoint, _, spec in known if not spec.internal), None)
    setups = []
    for number, (endpoint, slot, spec) in enumerate(known):
        routes = [subnet.cidr for subnet in spec.subnets]
        if endpoint is way_out:
            routes.append(EVERYWHERE)
        elif way_out is None and number == 0:
            routes.append(str(LINK_LOCAL))
        setups.append(_interface(endpoint, slot, tuple(routes)))
    return tuple(setups)


def _interface(endpoint: Endpoint, slot: int, routes: tuple[str, ...]) -> InterfaceSetup:
    made: AttachedInterface = endpoint.interface
    return InterfaceSetup(
        slot=slot,
        name=made.name,
        ip=made.ip,
        prefix=made.prefix,
        gateway=made.gateway,
        mac=made.mac,
        routes=routes,
        groups=endpoint.groups,
    )


def check_listening(spec: NetworkSpec, address: str, port: int) -> None:
    """
    Raises:
        InvalidArgument: pods could have that address, or there is no such port.
    """
    ip = address_of(address)
    if not 1 <= port <= 65535:
        raise InvalidArgument(f"{port} is no port")
    if ip in LINK_LOCAL:
        return
    for subnet in spec.subnets:
        network = IPv4Network(subnet.cidr)
        if ip in network and (ip == gateway_of(subnet) or network.network_address < ip < network[subnet.reserved]):
            return
    raise InvalidArgument(f"nothing can listen at {address} in network {spec.id}: it is no gateway, no reserved address and not link-local")


def name_server_addresses(spec: NetworkSpec) -> list[str]:
    """Gateways, AWS's "plus two" where it is reserved, and its link-local one."""
    found = {str(gateway_of(subnet)): None for subnet in spec.subnets}
    found |= {str(IPv4Network(subnet.cidr)[2]): None for subnet in spec.subnets if subnet.reserved > 2}
    return [*found, "169.254.169.253"]


def host_address(text: str) -> str:
    """Of a published port: empty, or in its usual notation.

    Raises:
        InvalidArgument
    """
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None
    if isinstance(address, IPv4Address) or not address.ipv4_mapped:
        return str(address)
    raise Unsupported(f"a port cannot be published at {text}: write the address as IPv4")
