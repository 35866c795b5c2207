"""All networks of this instance on this host: routers, the host's side, published ports. What `host.py`'s commands come down to."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, EngineError, Failed, NotFound
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network import host_conntrack, host_namespaces, rules
from cloudstead.engine.network.commands import InterfaceSetup, Listening, Member, NetworkSetup, PortSetup
from cloudstead.engine.network.host_router import Router, make_pod_namespace, open_netlink
from cloudstead.engine.network.host_uplinks import Uplinks, switch_forwarding_on
from cloudstead.engine.network.reservations import Reservations, is_six, key_of

log = logging.getLogger("cloudstead.engine.network")

ROUTER_PREFIX = "R-"  # no pod is called so: their names have no capitals


class Fabric:
    def __init__(self, layout: Layout, pools: str = "") -> None:
        self.layout = layout
        self.uplinks = Uplinks(layout.instance, pools, layout.runs)
        self.routers: dict[int, Router] = {}
        self.reservations = Reservations()
        self.ports: dict[tuple[str, str, int], PortSetup] = {}
        self.took: Callable[[Router], None] = lambda router: None  # told when a router gave a namespace away

    def close(self) -> None:
        """Networks and what uses them stay as they are; only what was ready and the reservations go."""
        for router in self.routers.values():
            router.close()
        self.routers.clear()
        self.reservations.close()
        self.uplinks.close()

    # ------------------------------------------------------------------------------------------------------------ networks

    def restore(self, networks: Iterable[NetworkSetup]) -> list[str]:
        """Everything at once, so that the host's table is written once and never lacks a port on the way."""
        said: list[str] = []
        for setup in networks:
            names = {f"{ROUTER_PREFIX}{setup.slot}", *(member.pod for member in setup.members)}
            if any(host_namespaces.is_bound(self.layout.netns / name) for name in names):
                try:
                    said += self._configure(setup)
                    said += self._reserve_again(setup.ports)
                except (OSError, EngineError) as error:
                    said.append(f"network in slot {setup.slot} could not be restored: {error}")
        self._write_table()
        return said

    def configure(self, setup: NetworkSetup) -> list[str]:
        said = self._configure(setup)
        self._write_table()
        return said

    def _configure(self, setup: NetworkSetup) -> list[str]:
        said = self._ensure(setup)
        router = self.routers[setup.slot]
        router.configure(setup)
        for member in setup.members:
            self._restore_member(router, member, said)
        names = {(member.pod, member.interface.name) for member in setup.members}
        said += router.remove_strangers(names, {member.interface.ip for member in setup.members})
        self.uplinks.route(setup, router.uplink)
        if not setup.internal and (switched := switch_forwarding_on()):
            said.append(switched)
        return said

    def _ensure(self, setup: NetworkSetup) -> list[str]:
        """A router with an uplink whose addresses are none of its pods'."""
        router = self.routers.get(setup.slot)
        own = [subnet.cidr for subnet in setup.subnets]
        if router is not None and not any(rules.inside(router.uplink, cidr) for cidr in own):
            return []
        path = self._router_path(setup.slot)
        namespace = os.dup(router.namespace) if router is not None else host_namespaces.open_bound(path)
        if router is not None:
            router.close()
            del self.routers[setup.slot]
        made = namespace is None
        if namespace is None:
            namespace = host_namespaces.make()
        try:
            uplink = None if made else self.uplinks.find(setup.slot, namespace)
            lacking = uplink is None or any(rules.inside(uplink, cidr) for cidr in own)
            if uplink is None or lacking:
                uplink = self.uplinks.make(setup.slot, namespace, own)
            if made:
                host_namespaces.bind(namespace, path)
            self.routers[setup.slot] = Router(setup.slot, namespace, uplink, setup)
        except BaseException:
            os.close(namespace)
            raise
        return ["made the uplink of a router anew"] if lacking and not made else []

    def _restore_member(self, router: Router, member: Member, said: list[str]) -> None:
        """A pod that runs gets what it lacks; one whose namespace is gone (a reboot) is left to whoever starts it again."""
        namespace = host_namespaces.open_bound(self.layout.netns / member.pod)
        if namespace is None:
            return
        try:
            netlink = open_netlink(namespace, member.pod)
            try:
                had = (member.pod, member.interface.name) in router.links
                router.connect(member.pod, member.interface, namespace, netlink)
                if not had:
                    said.append(f"gave pod {member.pod} its interface {member.interface.name} again")
            finally:
                netlink.close()
        except OSError as error:
            said.append(f"pod {member.pod}: {error}")
        finally:
            os.close(namespace)

    def filter(self, setup: NetworkSetup) -> None:
        if router := self.routers.get(setup.slot):
            router.filter(setup)

    def remove(self, slot: int) -> None:
        if router := self.routers.pop(slot, None):
            router.close()
        self.uplinks.remove(slot)
        host_namespaces.unbind(self._router_path(slot))
        for key, port in list(self.ports.items()):
            if port.slot == slot:
                self.reservations.release(port)
                del self.ports[key]
        self._write_table()

    def router(self, slot: int) -> Router:
        """
        Raises:
            NotFound: it has not been configured.
        """
        if (router := self.routers.get(slot)) is None:
            raise NotFound(f"there is no router in slot {slot}")
        return router

    def _write_table(self) -> None:
        uplinks = {slot: router.uplink for slot, router in self.routers.items()}
        self.uplinks.table(uplinks, [port for port in self.ports.values() if not is_six(port)])

    def _router_path(self, slot: int) -> Path:
        return self.layout.netns / f"{ROUTER_PREFIX}{slot}"

    # ------------------------------------------------------------------------------------------------------------ pods

    def attach(self, pod: str, interfaces: tuple[InterfaceSetup, ...], ports: tuple[PortSetup, ...]) -> tuple[PortSetup, ...]:
        for interface in interfaces:
            self.router(interface.slot)
        path = self.layout.netns / pod
        namespace = host_namespaces.open_bound(path)
        if namespace is not None:
            try:
                self._connect_all(pod, interfaces, namespace)
            finally:
                os.close(namespace)
            return self.publish(ports)
        published = self.publish(ports)
        try:
            self._make_pod(pod, interfaces, path)
        except BaseException:
            self.detach(pod, interfaces, published)
            raise
        return published

    def _make_pod(self, pod: str, interfaces: tuple[InterfaceSetup, ...], path: Path) -> None:
        if not interfaces:
            namespace = make_pod_namespace()
            try:
                host_namespaces.bind(namespace, path)
            finally:
                os.close(namespace)
            return
        first = interfaces[0]
        router = self.router(first.slot)
        if first.name != "eth0":
            raise Failed("the first interface of a pod is eth0")
        ready = router.take()
        try:
            router.join(pod, first, ready)
            if first.groups:
                router.nftables.run(rules.join_groups(first))
            host_namespaces.bind(ready.namespace, path)
            self._connect_all(pod, interfaces[1:], ready.namespace)
        finally:
            ready.netlink.close()
            os.close(ready.namespace)
        self.took(router)

    def _connect_all(self, pod: str, interfaces: tuple[InterfaceSetup, ...], namespace: int) -> None:
        if not interfaces:
            return
        netlink = open_netlink(namespace, pod)
        try:
            for interface in interfaces:
                router = self.router(interface.slot)
                router.connect(pod, interface, namespace, netlink)
                if interface.groups:
                    router.nftables.run(rules.join_groups(interface))
        finally:
            netlink.close()

    def connect(self, pod: str, interface: InterfaceSetup) -> None:
        namespace = host_namespaces.open_bound(self.layout.netns / pod)
        if namespace is None:
            raise NotFound(f"pod {pod} has no network namespace")
        try:
            self._connect_all(pod, (interface,), namespace)
        finally:
            os.close(namespace)

    def disconnect(self, pod: str, interface: InterfaceSetup, ports: tuple[PortSetup, ...], staying: tuple[InterfaceSetup, ...]) -> None:
        self.unpublish(ports)
        self._leave(pod, interface)
        if router := self.routers.get(interface.slot):
            router.disconnect(pod, interface)
        namespace = host_namespaces.open_bound(self.layout.netns / pod)
        if namespace is None:
            return
        try:
            self._connect_all(pod, staying, namespace)
        finally:
            os.close(namespace)

    def detach(self, pod: str, interfaces: tuple[InterfaceSetup, ...], ports: tuple[PortSetup, ...]) -> None:
        """The name goes first: what a crash leaves behind after that is known to the sweeper."""
        self.unpublish(ports)
        host_namespaces.unbind(self.layout.netns / pod)
        for interface in interfaces:
            self._leave(pod, interface)
            if router := self.routers.get(interface.slot):
                router.forget(pod, interface)

    def _leave(self, pod: str, interface: InterfaceSetup) -> None:
        router = self.routers.get(interface.slot)
        if router is not None and interface.groups and (pod, interface.name) in router.links:
            router.nftables.run(rules.leave_groups(interface))

    # ------------------------------------------------------------------------------------------------------------ ports

    def publish(self, ports: tuple[PortSetup, ...]) -> tuple[PortSetup, ...]:
        """All or none."""
        result: list[PortSetup] = []
        fresh: list[PortSetup] = []
        try:
            for port in ports:
                if self.ports.get(key_of(port)) == port and self.reservations.holds(port):
                    result.append(port)
                    continue
                self.router(port.slot)
                chosen = self._choose_inner(self.reservations.reserve(port))
                self.ports[key_of(chosen)] = chosen
                result.append(chosen)
                fresh.append(chosen)
            self._open(fresh)
        except BaseException:
            self._forget_ports(fresh)
            raise
        return tuple(result)

    def _choose_inner(self, port: PortSetup) -> PortSetup:
        taken = self.router(port.slot).inner_ports
        number = port.inner_port or port.host_port
        while (port.protocol, number) in taken:
            number = number + 1 if number < 65535 else 1
        taken.add((port.protocol, number))
        return replace(port, inner_port=number)

    def _open(self, ports: list[PortSetup]) -> None:
        plain = [port for port in ports if not is_six(port)]
        if not plain:
            return
        router = self.router(plain[0].slot)
        router.nftables.run(rules.open_ports(plain))
        try:
            self.uplinks.nftables.run(rules.publish(self.layout.instance, plain, router.uplink))
        except BaseException:
            router.nftables.run(rules.close_ports(plain))
            raise
        self._forget_flows(plain)

    def unpublish(self, ports: tuple[PortSetup, ...]) -> None:
        known = [port for port in ports if self.ports.get(key_of(port)) == port]
        for port in known:
            if not is_six(port):
                self.uplinks.nftables.run_if_there(rules.unpublish(self.layout.instance, [port]))
                if router := self.routers.get(port.slot):
                    router.nftables.run_if_there(rules.close_ports([port]))
        self._forget_ports(known)
        self._forget_flows(known)

    def _forget_flows(self, ports: Iterable[PortSetup]) -> None:
        udp = [port for port in ports if port.protocol == "udp"]
        host_conntrack.forget_udp({port.host_port for port in udp})
        for slot in {port.slot for port in udp}:
            if router := self.routers.get(slot):
                with host_namespaces.inside(router.namespace):
                    host_conntrack.forget_udp({port.inner_port for port in udp if port.slot == slot})

    def _forget_ports(self, ports: list[PortSetup]) -> None:
        for port in ports:
            self.reservations.release(port)
            self.ports.pop(key_of(port), None)
            if router := self.routers.get(port.slot):
                router.inner_ports.discard((port.protocol, port.inner_port))

    def _reserve_again(self, ports: Iterable[PortSetup]) -> list[str]:
        """After a restart. A port that somebody has taken meanwhile stays a published one all the same: nftables comes first."""
        said = []
        for port in ports:
            self.ports[key_of(port)] = port
            try:
                if not self.reservations.holds(port):
                    self.reservations.reserve(port)
            except EngineError as error:
                said.append(f"port {port.host_port}/{port.protocol} is another program's too: {error}")
        return said

    # ------------------------------------------------------------------------------------------------------------ sockets

    def listen(self, slot: int, wanted: Iterable[Listening]) -> list[socket.socket]:
        """All or none."""
        router = self.router(slot)
        sockets: list[socket.socket] = []
        elements: list[str] = []
        try:
            for one in wanted:
                try:
                    sockets.append(router.listen(one))
                except OSError as error:
                    raise Conflict(f"cannot listen at {one.ip}:{one.port}/{one.protocol}: {error.strerror}") from None
                elements.append(f"{one.ip} . {one.protocol} . {one.port}")
            if elements:
                router.nftables.run(f"add element {rules.TABLE} listening {{ {', '.join(elements)} }}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def stop_listening(self, slot: int, one: Listening) -> None:
        if router := self.routers.get(slot):
            element = f"{{ {one.ip} . {one.protocol} . {one.port} }}"
            router.nftables.run(f"add element {rules.TABLE} listening {element}\ndelete element {rules.TABLE} listening {element}")
