"""Which addresses are free, and which one is next.

What is taken is what the network interfaces have (an index over them); the addresses that AWS keeps of each subnet are nobody's. A new address is drawn by
chance, as AWS does: one that has just been given back is not met again at once under another owner. https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_digits
from cloudstead.services.ec2 import cidrs
from cloudstead.services.ec2.failures import Ec2Error, failure, invalid
from cloudstead.services.ec2.model import ADDRESSES, INTERFACES, Subnet

_DRAWS = 16
# Addresses that stand for public ones: nobody in the world has them (RFC 2544), so that none of somebody else's is ever meant.
PUBLIC = IPv4Network("198.18.0.0/15")


def free_addresses(ctx: Context, subnet: Subnet) -> int:
    taken = ctx.table(INTERFACES).count((subnet.account, subnet.region, subnet.id), index="by_address")
    return cidrs.usable(IPv4Network(subnet.cidr)) - taken


def is_taken(ctx: Context, subnet: Subnet, ip: str) -> bool:
    return ctx.table(INTERFACES).find("by_address", (subnet.account, subnet.region, subnet.id, ip)) is not None


def this_address(ctx: Context, subnet: Subnet, ip: str) -> str:
    """One that was asked for.

    Raises:
        InvalidParameterValue, InvalidIPAddress.InUse
    """
    network, address = IPv4Network(subnet.cidr), cidrs.address(ip)
    if address not in network:
        raise invalid(f"Address {ip} does not fall within the subnet's address range")
    if not cidrs.is_usable(network, address):
        raise invalid(f"Address {ip} is in subnet's reserved address range")
    if is_taken(ctx, subnet, ip):
        raise failure("InvalidIPAddress.InUse", "The specified address is already in use.")
    return str(address)


def next_addresses(ctx: Context, subnet: Subnet, count: int, *, but: Iterable[str] = ()) -> tuple[str, ...]:
    """So many that are free.

    Raises:
        InsufficientFreeAddressesInSubnet
    """
    found: list[str] = []
    avoided = set(but)
    if free_addresses(ctx, subnet) - len(avoided) < count:
        raise full(subnet)
    while len(found) < count:
        ip = _free(ctx, subnet, avoided)
        avoided.add(ip)
        found.append(ip)
    return tuple(found)


def full(subnet: Subnet) -> Ec2Error:
    return failure("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")


def _free(ctx: Context, subnet: Subnet, avoided: set[str]) -> str:
    network = IPv4Network(subnet.cidr)
    first, size = int(network.network_address) + cidrs.RESERVED, cidrs.usable(network)
    start = int(hex_digits(8), 16) % size
    for step in range(size):
        # The first few by chance; a subnet that is nearly full is gone through from there.
        at = int(hex_digits(8), 16) % size if step < _DRAWS else (start + step) % size
        ip = str(IPv4Address(first + at))
        if ip not in avoided and not is_taken(ctx, subnet, ip):
            return ip
    for at in range(size):
        ip = str(IPv4Address(first + at))
        if ip not in avoided and not is_taken(ctx, subnet, ip):
            return ip
    raise full(subnet)


def public_address(ctx: Context) -> str:
    """One that nobody has, in any account or region."""
    elastic, own = ctx.table(ADDRESSES), ctx.table(INTERFACES)
    while True:
        ip = str(PUBLIC[1 + int(hex_digits(8), 16) % (PUBLIC.num_addresses - 2)])
        if elastic.find("by_ip", (ip,)) is None and own.find("by_public_ip", (ip,)) is None:
            return ip


def new_mac() -> str:
    """Locally administered, as those of AWS are."""
    digits = hex_digits(10)
    return ":".join(("02", *(digits[at : at + 2] for at in range(0, 10, 2))))
