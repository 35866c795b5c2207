"""Blocks of addresses, as EC2 takes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from cloudstead.services.ec2.failures import failure, invalid

RESERVED = 4  # the first addresses of a subnet: the network, the router, DNS, one for the future; the last one too
_REFUSED = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))


def block(text: str, parameter: str = "cidrBlock") -> IPv4Network:
    """A block of IPv4; what is set behind the prefix is cut off, as AWS does."""
    try:
        if "/" not in text:
            raise ValueError
        return IPv4Network(text, strict=False)
    except ValueError:
        raise invalid(f"Value ({text}) for parameter {parameter} is invalid. This is not a valid CIDR block.") from None


def block6(text: str, parameter: str) -> str:
    try:
        if "/" not in text:
            raise ValueError
        return str(IPv6Network(text, strict=False))
    except ValueError:
        raise invalid(f"Value ({text}) for parameter {parameter} is invalid. This is not a valid CIDR block.") from None


def of_vpc(text: str) -> IPv4Network:
    network = block(text)
    if not 16 <= network.prefixlen <= 28 or any(network.overlaps(other) for other in _REFUSED):
        raise failure("InvalidVpc.Range", f"The CIDR '{text}' is invalid.")
    return network


def of_subnet(text: str, vpc: Iterable[str], taken: Iterable[str]) -> IPv4Network:
    """A block within one of the VPC's, that no other subnet has."""
    network = block(text)
    if not 16 <= network.prefixlen <= 28 or not any(network.subnet_of(IPv4Network(cidr)) for cidr in vpc):
        raise failure("InvalidSubnet.Range", f"The CIDR '{text}' is invalid.")
    if any(network.overlaps(IPv4Network(cidr)) for cidr in taken):
        raise failure("InvalidSubnet.Conflict", f"The CIDR '{text}' conflicts with another subnet")
    return network


def usable(network: IPv4Network) -> int:
    """How many addresses interfaces can have."""
    return network.num_addresses - RESERVED - 1


def is_usable(network: IPv4Network, ip: IPv4Address) -> bool:
    return ip in network and RESERVED <= int(ip) - int(network.network_address) < network.num_addresses - 1


def address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise invalid(f"Value ({text}) for parameter address is invalid. Invalid IPv4 address.") from None
