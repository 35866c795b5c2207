"""What networks need of the host's own namespace: uplinks, routes, forwarding, the host's table, its firewall.

Several instances share a host. Addresses of uplinks are therefore chosen under a lock among those that nothing on this host has; links and
tables bear the instance's name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from socket import ntohl

from cloudstead.engine import linux
from cloudstead.engine.errors import NoSpace
from cloudstead.engine.host.layout import RUN
from cloudstead.engine.network import addresses, host_namespaces, rules
from cloudstead.engine.network.commands import NetworkSetup, PortSetup
from cloudstead.engine.network.host_netlink import (
    UNICAST,
    Netlink,
    add_address,
    add_route,
    delete_link,
    delete_route,
    set_link,
    veth,
)
from cloudstead.engine.network.host_nftables import Nftables
from cloudstead.engine.network.host_router import LOOPBACK, NO_IPV6, ROUTER_SETTINGS
from cloudstead.engine.network.rules import UPLINK, Uplink

POOLS = "100.64.0.0/10,198.18.0.0/15"  # RFC 6598 and RFC 2544: no host's network, unless a VPN (Tailscale) has the first
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class Uplinks:
    """Made in the host's namespace.

    Args:
        runs: the folder of all instances' folders.
        pools: cidrs from which uplinks get their addresses. One in which something else on this host has addresses is the last choice.
    """

    def __init__(self, instance: str, pools: str = "", runs: Path = RUN) -> None:
        self.instance = instance
        self._runs = runs
        self.netlink = Netlink()
        self.nftables = Nftables()
        self._pools = [str(addresses.network_of(pool.strip())) for pool in (pools or POOLS).split(",")]
        host_namespaces.home()

    def close(self) -> None:
        self.netlink.close()
        self.nftables.close()

    def make(self, slot: int, namespace: int, avoid: Iterable[str]) -> Uplink:
        """A pair of links from here to a router, with addresses, in the place of what was there."""
        name = rules.link_name(self.instance, slot)
        if index := self.netlink.index(name):
            self.netlink.do(delete_link(index))
        with host_namespaces.inside(namespace):
            host_namespaces.write_settings(NO_IPV6, optional=True)
            host_namespaces.write_settings(ROUTER_SETTINGS)
            inner = Netlink()
        with _lock(self._runs):
            uplink = self._choose(avoid)
            self.netlink.do(veth(name, UPLINK, mtu=65535, peer_namespace=namespace))
            index = self.netlink.index(name)
            _set_up(name)
            self.netlink.do(add_address(index, uplink.host, 31), set_link(index, up=True))
        try:
            far = inner.index(UPLINK)
            inner.do(set_link(LOOPBACK, up=True), add_address(far, uplink.router, 31), set_link(far, up=True))
            self.netlink.put_to_work(index)
        finally:
            inner.close()
        return uplink

    def find(self, slot: int, namespace: int) -> Uplink | None:
        """The uplink that a router has; None when it is not whole."""
        index = self.netlink.index(rules.link_name(self.instance, slot))
        here = [a.ip for a in self.netlink.addresses() if a.index == index] if index else []
        with host_namespaces.inside(namespace):
            inner = Netlink()
        try:
            far = inner.index(UPLINK)
            there = [a.ip for a in inner.addresses() if a.index == far] if far else []
        finally:
            inner.close()
        return Uplink(here[0], there[0]) if here and there else None

    def remove(self, slot: int) -> bool:
        """Takes what is routed over it along."""
        index = self.netlink.index(rules.link_name(self.instance, slot))
        if index:
            self.netlink.do(delete_link(index))
        return bool(index)

    def slots(self) -> dict[int, str]:
        """The links of this instance that are there."""
        prefix = rules.link_prefix(self.instance)
        return {int(link.name[len(prefix) :], 36): link.name for link in self.netlink.links() if link.name.startswith(prefix)}

    def route(self, setup: NetworkSetup, uplink: Uplink) -> None:
        """The host's own routes to a network, as it wants them."""
        index = self.netlink.index(rules.link_name(self.instance, setup.slot))
        wanted = {subnet.cidr for subnet in setup.subnets} if setup.host_routes else set()
        there = {r.cidr for r in self.netlink.routes() if r.index == index and r.gateway == uplink.router}
        changes = [add_route(cidr, index, via=uplink.router, source=uplink.host) for cidr in sorted(wanted - there)]
        changes += [delete_route(cidr, index, via=uplink.router) for cidr in sorted(there - wanted)]
        if changes:
            self.netlink.do(*changes)

    def in_use(self, *, own: bool = False) -> list[str]:
        """Cidrs that this host has addresses in or routes to."""
        prefix = rules.link_prefix(self.instance)
        ours = {link.index for link in self.netlink.links() if link.name.startswith(prefix)} if not own else set()
        found = {str(IPv4Network((a.ip, a.prefix), strict=False)) for a in self.netlink.addresses() if a.index not in ours}
        found |= {r.cidr for r in self.netlink.routes() if r.kind == UNICAST and r.index not in ours and not r.cidr.endswith("/0")}
        return sorted(found | routes_of_daemon() if linux.in_user_namespace() else found)

    def _choose(self, avoid: Iterable[str]) -> Uplink:
        every_instance = {link.index for link in self.netlink.links() if link.name.startswith("cs-")}
        foreign = [IPv4Network((a.ip, a.prefix), strict=False) for a in self.netlink.addresses() if a.index not in every_instance]
        foreign += [IPv4Network(r.cidr) for r in self.netlink.routes() if r.index not in every_instance and not r.cidr.endswith("/0")]
        taken = [*self.in_use(own=True), *avoid]
        ordered = sorted(self._pools, key=lambda pool: any(other.overlaps(IPv4Network(pool)) for other in foreign))
        for pool in ordered:
            try:
                pair = IPv4Network(addresses.free_cidr(pool, 31, taken))
            except NoSpace:
                continue
            return Uplink(str(pair[0]), str(pair[1]))
        raise NoSpace(f"no addresses are left for uplinks in {', '.join(self._pools)}")

    def table(self, uplinks: dict[int, Uplink], ports: Iterable[PortSetup]) -> None:
        """The host's table, anew; none when there are no networks."""
        if uplinks:
            self.nftables.run(rules.host_table(self.instance, uplinks, ports))
        else:
            self.nftables.run_if_there(f"delete table inet {rules.host_table_name(self.instance)}")

    def has_table(self) -> bool:
        return f"table inet {rules.host_table_name(self.instance)}" in self.nftables.run("list tables").splitlines()


def routes_of_daemon() -> set[str]:
    """Those of the machine's network, where this host has another one than its parent: a way out leads there, and what is alike could not be reached. proc(5)."""
    try:
        lines = Path(f"/proc/{os.getppid()}/net/route").read_text().splitlines()[1:]
    except OSError:
        return set()
    words = [(int(line.split()[1], 16), int(line.split()[7], 16)) for line in lines]
    return {str(IPv4Network((ntohl(to), ntohl(mask).bit_count()))) for to, mask in words if mask}


def switch_forwarding_on() -> str:
    """Let the kernel forward, if it does not. The host becomes a router for all its interfaces, so it is said; empty: it was on."""
    if FORWARDING.read_text().strip() != "0":
        return ""
    FORWARDING.write_text("1")
    return (
        "switched on net.ipv4.ip_forward, without which no container reaches the outside: this machine forwards between its interfaces now"
    )


def _set_up(name: str) -> None:
    host_namespaces.write_settings({f"net/ipv6/conf/{name}/disable_ipv6": "1"}, optional=True)
    # The host's own programs reach published ports at 127.0.0.1; what comes over the uplink for 127.0.0.0/8 is dropped (rules.host_table).
    host_namespaces.write_settings({f"net/ipv4/conf/{name}/route_localnet": "1", f"net/ipv4/conf/{name}/forwarding": "1"})


@contextlib.contextmanager
def _lock(runs: Path) -> Iterator[None]:
    """Held for a few milliseconds by one instance at a time."""
    runs.mkdir(mode=0o755, parents=True, exist_ok=True)
    file = os.open(runs / "uplinks.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
