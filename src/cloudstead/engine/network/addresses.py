"""Addresses: which ones a subnet gives out, and which cidr is free. Pure: nothing here knows a network or a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from cloudstead.engine.errors import Conflict, InvalidArgument, NoSpace
from cloudstead.engine.network.api import Subnet


class AddressPool:
    """The addresses of one subnet.

    Addresses that were never used come first, in order, then the one that was given back longest ago: an address that somebody may
    still remember (a connection, a cache of names) is not soon another's.
    """

    def __init__(self, subnet: Subnet) -> None:
        self.subnet = subnet
        self.network = IPv4Network(subnet.cidr)
        self.gateway = gateway_of(subnet)
        given = IPv4Network(subnet.range or subnet.cidr)
        first = int(self.network.network_address)
        self._low = max(int(given.network_address), first + max(subnet.reserved, 1))
        self._high = min(int(given.broadcast_address), int(self.network.broadcast_address) - 1)
        self._held = first + subnet.reserved  # addresses below are nobody's
        self._taken: set[int] = set()
        self._freed: dict[int, None] = {}  # in the order in which they were given back
        self._fresh = self._low

    @property
    def available(self) -> int:
        """How many can still be given out without being asked for by name."""
        inside = sum(self._low <= number <= self._high for number in {*self._taken, int(self.gateway)})
        return max(0, self._high - self._low + 1 - inside)

    def take(self) -> str:
        """The next free one.

        Raises:
            NoSpace: all are taken.
        """
        while self._fresh <= self._high:
            number = self._fresh
            self._fresh += 1
            if self._usable(number):
                return self._hold(number)
        for number in self._freed:
            if self._low <= number <= self._high:
                return self._hold(number)
        raise NoSpace(f"no available IPv4 addresses on this network's address pools: {self.subnet.id} ({self.subnet.cidr})")

    def take_this(self, ip: str) -> str:
        """One that was asked for.

        Raises:
            InvalidArgument: it is not one that a pod can have here.
            Conflict: it is taken.
        """
        address = address_of(ip)
        if address not in self.network:
            raise InvalidArgument(f"the address {ip} is not in the subnet {self.subnet.cidr}")
        number = int(address)
        if address in (self.network.network_address, self.network.broadcast_address) or number < self._held:
            raise InvalidArgument(f"the address {ip} is reserved in the subnet {self.subnet.cidr}")
        if address == self.gateway or number in self._taken:
            raise Conflict(f"Address already in use: {ip}")
        return self._hold(number)

    def give_back(self, ip: str) -> None:
        number = int(IPv4Address(ip))
        if number in self._taken:
            self._taken.remove(number)
            self._freed[number] = None

    def _usable(self, number: int) -> bool:
        return number not in self._taken and number not in self._freed and number != int(self.gateway)

    def _hold(self, number: int) -> str:
        self._freed.pop(number, None)
        self._taken.add(number)
        return str(IPv4Address(number))


def gateway_of(subnet: Subnet) -> IPv4Address:
    return IPv4Address(subnet.gateway) if subnet.gateway else IPv4Network(subnet.cidr)[1]


def mac_of(ip: str) -> str:
    """What Docker gives: 02:42 and the address."""
    return ":".join(f"{octet:02x}" for octet in (0x02, 0x42, *IPv4Address(ip).packed))


def free_cidr(pool: str, prefix: int, taken: Iterable[str]) -> str:
    """The first network of that size in the pool that overlaps with none of those taken.

    Raises:
        InvalidArgument: the pool holds no network of that size.
        NoSpace: there is none left.
    """
    whole = network_of(pool)
    if not whole.prefixlen <= prefix <= 31:
        raise InvalidArgument(f"{pool} holds no network with a prefix of {prefix} bits")
    used = sorted((int(n.network_address), int(n.broadcast_address)) for n in map(IPv4Network, taken) if n.overlaps(whole))
    size = 1 << (32 - prefix)
    at = int(whole.network_address)
    for low, high in used:
        if low >= at + size:
            break
        if high >= at:
            at = (high // size + 1) * size
    if at + size - 1 > int(whole.broadcast_address):
        raise NoSpace(f"could not find an available, non-overlapping IPv4 address pool among {pool}")
    return f"{IPv4Address(at)}/{prefix}"


def network_of(cidr: str) -> IPv4Network:
    """
    Raises:
        InvalidArgument: it is none, has bits set behind the prefix, or is IPv6.
    """
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise InvalidArgument(f"invalid subnet {cidr!r}: {error}") from None
    if not isinstance(network, IPv4Network) or "/" not in cidr:
        raise InvalidArgument(f"invalid subnet {cidr!r}: it must be of IPv4, written like 10.0.0.0/16")
    return network


def address_of(ip: str) -> IPv4Address:
    try:
        return IPv4Address(ip)
    except ValueError:
        raise InvalidArgument(f"invalid IPv4 address: {ip}") from None
