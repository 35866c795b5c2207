"""One network's router: a namespace on whose links its pods hang, each by a veth pair of its own and a route to one address.

    pod                              router (R-<slot>)                     host
    eth0 172.18.0.2/16 ─────────── v7  172.18.0.2/32 dev v7
         172.18.0.0/16 via .1       lo  172.18.0.1, 169.254.169.254 …
         default       via .1       up  100.64.0.1/31 ──────────────────── cs-<instance>-<slot>  100.64.0.0/31
                                    unreachable 172.18.0.0/16

No ARP is needed or believed: both ends of each pair know each other's hardware address for ever. A link carries the pod's name as its alias, so that
whoever comes after a crash knows whose it is. Namespaces with a link are made ahead (`ready`): they are held by descriptors only, and vanish with this process.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import NotFound
from cloudstead.engine.network import host_namespaces, rules
from cloudstead.engine.network.commands import InterfaceSetup, Listening, NetworkSetup
from cloudstead.engine.network.host_netlink import (
    UNICAST,
    UNREACHABLE,
    Netlink,
    add_address,
    add_neighbour,
    add_route,
    delete_address,
    delete_link,
    delete_neighbour,
    delete_route,
    set_link,
    veth,
)
from cloudstead.engine.network.host_nftables import Nftables
from cloudstead.engine.network.rules import UPLINK, Uplink

ROUTER_MAC = "0a:43:53:00:00:01"  # of all ends at routers: each is alone with one pod
LOOPBACK = 1
SO_RCVBUFFORCE = 33
ROUTER_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/all/accept_source_route": "0",
    "net/ipv4/conf/all/route_localnet": "0",
    "net/ipv4/conf/default/route_localnet": "0",
}
NO_IPV6 = {"net/ipv6/conf/default/disable_ipv6": "1"}
POD_SETTINGS = {"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ping_group_range": "0 2147483647"}  # as Docker's


class Ready(NamedTuple):
    """A namespace that waits for its pod."""

    namespace: int
    netlink: Netlink  # inside it
    outer: int  # the link's index in the router
    inner: int  # and in the namespace


class Router:
    """Made with its namespace's descriptor, which it owns."""

    def __init__(self, slot: int, namespace: int, uplink: Uplink, setup: NetworkSetup) -> None:
        self.slot = slot
        self.namespace = namespace
        self.uplink = uplink
        self.setup = setup
        self.ready: list[Ready] = []
        self.links: dict[tuple[str, str], int] = {}  # by pod and interface
        self.inner_ports: set[tuple[str, int]] = set()
        self._addresses: set[str] = set()  # of the loopback
        self._nameless: set[int] = set()  # links seen at the last sweep
        with host_namespaces.inside(namespace):
            self.netlink = Netlink()
            self.nftables = Nftables()
        self._number = self._look()

    def _look(self) -> int:
        """What is there; and the number above those of all links."""
        highest = 0
        for link in self.netlink.links():
            if link.name[:1] == "v" and link.name[1:].isdecimal():
                highest = max(highest, int(link.name[1:]))
                pod, _, name = link.alias.partition("/")
                if name:
                    self.links[pod, name] = link.index
        self._addresses = {a.ip for a in self.netlink.addresses() if a.index == LOOPBACK and a.ip != "127.0.0.1"}
        return highest

    def close(self) -> None:
        """Let go; what is in use stays."""
        self.drain()
        self.netlink.close()
        self.nftables.close()
        os.close(self.namespace)

    # ------------------------------------------------------------------------------------------------------------ the whole

    def configure(self, setup: NetworkSetup) -> None:
        """Addresses, routes and rules as they should be, whatever there was."""
        if setup.mtu != self.setup.mtu:
            self.drain()
        self.setup = setup
        # Addresses that nobody has are nowhere: neither those of the network, nor link-local ones. A cloud machine's own metadata, with its
        # credentials, is at the same 169.254.169.254 as ours.
        nowhere = {subnet.cidr for subnet in setup.subnets} | {"169.254.0.0/16"}
        stale = [r for r in self.netlink.routes() if r.kind == UNREACHABLE and r.cidr not in nowhere]
        self._set_addresses({subnet.gateway for subnet in setup.subnets} | {one.ip for one in setup.listening})
        self.netlink.do(
            *(add_route(cidr, kind=UNREACHABLE) for cidr in sorted(nowhere)),
            *(delete_route(route.cidr, kind=UNREACHABLE) for route in stale),
            add_route("0.0.0.0/0", self.netlink.index(UPLINK), via=self.uplink.host),
        )
        self.inner_ports = {(port.protocol, port.inner_port) for port in setup.ports}
        self.filter(setup)

    def _set_addresses(self, wanted: set[str]) -> None:
        changes = [add_address(LOOPBACK, ip, 32) for ip in sorted(wanted - self._addresses)]
        changes += [delete_address(LOOPBACK, ip, 32) for ip in sorted(self._addresses - wanted)]
        if changes:
            self.netlink.do(*changes)
        self._addresses = wanted

    def filter(self, setup: NetworkSetup) -> None:
        self.setup = setup
        self.nftables.run(rules.router_table(setup, self.uplink))

    # ------------------------------------------------------------------------------------------------------------ pods

    def take(self) -> Ready:
        """A namespace with a link to here."""
        return self.ready.pop() if self.ready else self.make_ready()

    def make_ready(self) -> Ready:
        namespace = host_namespaces.make()
        try:
            netlink = _open_pod(namespace)
            try:
                outer, inner = self._pair(namespace, netlink, "eth0")
            except BaseException:
                netlink.close()
                raise
        except BaseException:
            os.close(namespace)
            raise
        return Ready(namespace, netlink, outer, inner)

    def _pair(self, namespace: int, netlink: Netlink, name: str) -> tuple[int, int]:
        self._number += 1
        outer_name = f"v{self._number}"
        self.netlink.do(veth(outer_name, name, mtu=self.setup.mtu, mac=ROUTER_MAC, peer_namespace=namespace))
        with host_namespaces.inside(self.namespace):
            outer = socket.if_nametoindex(outer_name)
        with host_namespaces.inside(namespace):
            inner = socket.if_nametoindex(name)
        self.netlink.do(set_link(outer, up=True))
        netlink.do(set_link(inner, up=True))
        self.netlink.put_to_work(outer)
        return outer, inner

    def join(self, pod: str, interface: InterfaceSetup, ready: Ready) -> None:
        """Give a namespace that was ready its addresses."""
        self._inside(interface, ready.netlink, ready.inner)
        self._outside(pod, interface, ready.outer)

    def connect(self, pod: str, interface: InterfaceSetup, namespace: int, netlink: Netlink) -> None:
        """Give a namespace one more interface, or put the one that it has in order."""
        outer = self.links.get((pod, interface.name), 0)
        inner = netlink.index(interface.name) if outer else 0
        if not inner:
            self.disconnect(pod, interface)
            outer, inner = self._pair(namespace, netlink, interface.name)
        self._inside(interface, netlink, inner)
        self._outside(pod, interface, outer)

    def _inside(self, interface: InterfaceSetup, netlink: Netlink, index: int) -> None:
        netlink.do(
            set_link(index, up=True, mac=interface.mac),
            add_address(index, interface.ip, interface.prefix, prefix_route=False),
            add_route(f"{interface.gateway}/32", index),
            add_neighbour(index, interface.gateway, ROUTER_MAC),
            *(add_route(cidr, index, via=interface.gateway, source=interface.ip) for cidr in interface.routes),
        )

    def _outside(self, pod: str, interface: InterfaceSetup, index: int) -> None:
        self.links[pod, interface.name] = index
        self.netlink.do(
            set_link(index, up=True, alias=f"{pod}/{interface.name}"),
            add_neighbour(index, interface.ip, interface.mac),
            add_route(f"{interface.ip}/32", index, source=interface.gateway),
        )

    def forget(self, pod: str, interface: InterfaceSetup) -> None:
        """Nothing comes from a pod or to it any more. Its link goes with its namespace: the kernel takes 25 ms to remove one, and does so by itself."""
        index = self.links.pop((pod, interface.name), 0)
        if index:
            nameless = set_link(index, alias="", ignore=(errno.ENODEV,))  # the namespace may have ended meanwhile
            self.netlink.do(delete_route(f"{interface.ip}/32", index), delete_neighbour(index, interface.ip), nameless)

    def disconnect(self, pod: str, interface: InterfaceSetup) -> None:
        """Take the interface from a namespace that stays."""
        if index := self.links.pop((pod, interface.name), 0):
            self.netlink.do(delete_link(index))

    def remove_strangers(self, members: set[tuple[str, str]], addresses: set[str]) -> list[str]:
        """Links of pods that should not be here, and routes to addresses that nobody has."""
        said = self.remove_links(set(self.links) - members)
        for route in self.netlink.routes():
            if route.kind == UNICAST and route.cidr.endswith("/32") and route.cidr[:-3] not in addresses and not route.gateway:
                self.netlink.do(delete_route(route.cidr, route.index))
                said.append(f"removed the route to {route.cidr[:-3]}, which is nobody's")
        return said

    def remove_links(self, keys: set[tuple[str, str]]) -> list[str]:
        said = []
        for pod, name in sorted(keys):
            self.netlink.do(delete_link(self.links.pop((pod, name))))
            said.append(f"removed the interface {name} of pod {pod}, which is in no network")
        return said

    def remove_nameless(self) -> list[str]:
        """Links that were nobody's the last time already: what holds the namespace of a pod that is gone is a process that should be gone too."""
        ready = {one.outer for one in self.ready}
        there = {link.index for link in self.netlink.links() if link.name.startswith("v") and not link.alias} - ready
        stray, self._nameless = there & self._nameless, there
        if stray:
            self.netlink.do(*map(delete_link, sorted(stray)))
        return [f"removed {len(stray)} links of pods that are gone, whose namespaces something still holds"] if stray else []

    def drain(self, keep: int = 0) -> None:
        while len(self.ready) > keep:
            ready = self.ready.pop()
            ready.netlink.close()
            os.close(ready.namespace)

    # ------------------------------------------------------------------------------------------------------------ sockets

    def listen(self, one: Listening) -> socket.socket:
        """A bound socket in this namespace."""
        if one.ip not in self._addresses:
            self.netlink.do(add_address(LOOPBACK, one.ip, 32))
            self._addresses.add(one.ip)
        kind = socket.SOCK_STREAM if one.protocol == "tcp" else socket.SOCK_DGRAM
        with host_namespaces.inside(self.namespace):
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if one.protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                force = socket.SO_RCVBUF if linux.in_user_namespace() else SO_RCVBUFFORCE  # the latter is not for a user namespace's root
                sock.setsockopt(socket.SOL_SOCKET, force, 1 << 20)
            sock.bind((one.ip, one.port))
            if one.protocol == "tcp":
                sock.listen(1024)
        except BaseException:
            sock.close()
            raise
        return sock

    def dial(self, ip: str, port: int, protocol: str) -> socket.socket:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with host_namespaces.inside(self.namespace):
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect((ip, port))
        except BlockingIOError:
            pass
        except BaseException:
            sock.close()
            raise
        return sock


def _open_pod(namespace: int) -> Netlink:
    """A new pod's namespace made usable: its loopback up, no IPv6 but ::1."""
    with host_namespaces.inside(namespace):
        host_namespaces.write_settings(NO_IPV6, optional=True)  # not there where the kernel has no IPv6
        host_namespaces.write_settings(POD_SETTINGS, optional=True)
        netlink = Netlink()
    netlink.do(set_link(LOOPBACK, up=True))
    return netlink


def make_pod_namespace() -> int:
    """One without interfaces, for a pod without network."""
    namespace = host_namespaces.make()
    _open_pod(namespace).close()
    return namespace


def open_netlink(namespace: int | None, pod: str) -> Netlink:
    """
    Raises:
        NotFound: the pod has no namespace.
    """
    if namespace is None:
        raise NotFound(f"pod {pod} has no network namespace")
    with host_namespaces.inside(namespace):
        return Netlink()
