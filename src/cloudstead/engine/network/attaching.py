"""Pods in networks: attached, connected, disconnected, detached.

A row is written before the host is asked, so that whatever the host makes is somebody's. When the host refuses, the row goes and with it the addresses.
What is done to one pod is done one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

from msgspec.structs import replace

from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.network import commands, specs
from cloudstead.engine.network.api import AttachedInterface, PodNetwork, PortMapping
from cloudstead.engine.network.commands import PortSetup
from cloudstead.engine.network.model import AttachedPod, Endpoint
from cloudstead.engine.network.records import Records, first_free_name
from cloudstead.engine.network.relays import Relays
from cloudstead.engine.network.reservations import Reservations
from cloudstead.engine.network.routers import Routers

log = logging.getLogger("cloudstead.engine.network")

Attached = tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]


class Attaching:
    def __init__(self, records: Records, routers: Routers, host: HostClient) -> None:
        self._records = records
        self._routers = routers
        self._host = host
        self._relays = Relays(self._dial)
        self._reservations = Reservations()  # of this machine's ports, where the host has a network of its own
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}  # locks, and how many want them

    def close(self) -> None:
        self._relays.close_all()
        self._reservations.close()

    async def restore_relays(self) -> None:
        for pod in self._records.pods():
            try:
                self._reserve(tuple(port for port in pod.ports if port.inner_port))
                await self._open_relays(pod.ports)
            except EngineError as error:
                log.warning("pod %s: %s", pod.pod, error)

    async def attach(self, pod: str, network: PodNetwork, names: tuple[str, ...]) -> Attached:
        specs.check_pod(pod)
        if network.mode in ("host", "pod"):
            return (), ()
        async with self._alone(pod):
            if (known := self._records.find_pod(pod)) is not None:
                return await self._make(known)
            row = self._claim(pod, network, names)
            try:
                return await self._make(row)
            except BaseException:
                await asyncio.shield(self._detach(pod, only_row=True))
                raise

    def _claim(self, pod: str, network: PodNetwork, names: tuple[str, ...]) -> AttachedPod:
        attachments = network.attachments if network.mode == "vpc" else ()
        specs.check_attachments(attachments, lambda id: self._records.network(id).spec)
        taken: list[Endpoint] = []
        try:
            for number, attachment in enumerate(attachments):
                taken.append(self._records.take_endpoint(attachment, number, names))
            row = AttachedPod(pod=pod, endpoints=tuple(taken), ports=self._wanted_ports(taken, network.ports), dns=network.dns)
            return self._records.insert_pod(row)
        except BaseException:
            for endpoint in taken:
                self._records.give_back(endpoint)
            raise

    def _wanted_ports(self, endpoints: list[Endpoint], ports: tuple[PortMapping, ...]) -> tuple[PortSetup, ...]:
        """Ports lead to the first network with a way out; where there is none, nothing is published (as with Docker's internal networks)."""
        place = self._way_out(endpoints)
        if place is None:
            return ()
        slot, ip = place
        for port in ports:
            if not (0 <= port.host_port <= 65535 and 1 <= port.container_port <= 65535):
                raise InvalidArgument(f"invalid port: {port.host_port}:{port.container_port}")
        return tuple(
            PortSetup(
                slot=slot,
                ip=ip,
                container_port=port.container_port,
                protocol=port.protocol,
                host_ip=specs.host_address(port.host_ip),
                host_port=port.host_port,
            )
            for port in ports
        )

    def _way_out(self, endpoints: list[Endpoint]) -> tuple[int, str] | None:
        for endpoint in endpoints:
            slot, spec = self._records.find(endpoint.interface.network)
            if not spec.internal:
                return slot, endpoint.interface.ip
        return None

    async def _make(self, row: AttachedPod) -> Attached:
        for endpoint in row.endpoints:
            await self._routers.ensure(endpoint.interface.network)
        interfaces = self._records.interfaces(row)
        held = [port for port in row.ports if self._reservations.holds(port)]
        reserved = self._reserve(row.ports)
        try:
            ports = await self._host.call(commands.AttachPod(pod=row.pod, interfaces=interfaces, ports=reserved))
        except BaseException:
            for port in reserved:
                if port not in held:
                    self._reservations.release(port)
            raise
        if ports != row.ports:
            self._records.change_pod(row.pod, ports=ports)
            await self._open_relays(ports)
        return tuple(endpoint.interface for endpoint in row.endpoints), tuple(map(_mapping, ports))

    def _reserve(self, ports: tuple[PortSetup, ...]) -> tuple[PortSetup, ...]:
        """Where the host has a network of its own, this process holds the machine's ports. All or none; what is held already stays."""
        if not self._host.rootless:
            return ports
        reserved: list[PortSetup] = []
        fresh: list[PortSetup] = []
        try:
            for port in ports:
                if port.inner_port and self._reservations.holds(port):
                    reserved.append(port)
                    continue
                fresh.append(self._reservations.reserve(port))
                reserved.append(fresh[-1])
        except BaseException:
            for port in fresh:
                self._reservations.release(port)
            raise
        return tuple(reserved)

    def _unpublish(self, port: PortSetup) -> None:
        self._relays.close(port)
        self._reservations.release(port)

    async def connect(self, pod: str, network: PodNetwork, index: int, names: tuple[str, ...]) -> AttachedInterface:
        async with self._alone(pod):
            row = self._records.pod(pod)
            attachment = network.attachments[index]
            known = [endpoint.interface.network for endpoint in row.endpoints]
            for endpoint in row.endpoints:
                if endpoint.interface.network == attachment.network:
                    return endpoint.interface
            others = [other for other in network.attachments if other.network in known]
            specs.check_attachments([*others, attachment], lambda id: self._records.network(id).spec)
            endpoint = self._records.take_endpoint(attachment, first_free_name(row.endpoints), names)
            row = self._records.change_pod(pod, endpoints=(*row.endpoints, endpoint))
            try:
                await self._routers.ensure(attachment.network)
                setup = next(setup for setup in self._records.interfaces(row) if setup.name == endpoint.interface.name)
                await self._host.call(commands.ConnectPod(pod=pod, interface=setup))
            except BaseException:
                await asyncio.shield(self._disconnect(pod, attachment.network))
                raise
            return endpoint.interface

    async def disconnect(self, pod: str, network: str) -> None:
        async with self._alone(pod):
            if self._records.find_pod(pod) is not None:
                await self._disconnect(pod, network)

    async def _disconnect(self, pod: str, network: str) -> None:
        before = self._records.pod(pod)
        gone = next((e for e in before.endpoints if e.interface.network == network), None)
        if gone is None:
            return
        setups = {setup.name: setup for setup in self._records.interfaces(before)}
        staying = tuple(endpoint for endpoint in before.endpoints if endpoint is not gone)
        after = self._records.interfaces(replace(before, endpoints=staying))
        slot = setups[gone.interface.name].slot
        ports = tuple(port for port in before.ports if port.slot == slot and port.inner_port)
        command = commands.DisconnectPod(pod=pod, interface=setups[gone.interface.name], ports=ports, staying=after)
        for port in ports:
            self._unpublish(port)
        await self._host.call(command)
        moved = self._moved_ports(before.ports, slot, list(staying))
        row = self._records.change_pod(pod, endpoints=staying, ports=moved)
        if moved:
            await self._make(row)

    def _moved_ports(self, ports: tuple[PortSetup, ...], slot: int, staying: list[Endpoint]) -> tuple[PortSetup, ...]:
        """Ports go on to lead to the pod by another of its networks."""
        place = self._way_out(staying)
        if place is None:
            return ()
        return tuple(replace(port, slot=place[0], ip=place[1], inner_port=0) if port.slot == slot else port for port in ports)

    async def detach(self, pod: str) -> None:
        async with self._alone(pod):
            await self._detach(pod)

    async def _detach(self, pod: str, *, only_row: bool = False) -> None:
        """After a failure what the host cannot be told now is left to the sweeper."""
        row = self._records.find_pod(pod)
        if row is None:
            return
        ports = tuple(port for port in row.ports if port.inner_port)
        for port in ports:
            self._unpublish(port)
        try:
            await self._host.call(commands.DetachPod(pod=pod, interfaces=self._records.interfaces(row), ports=ports))
        except EngineError as error:
            if not only_row:
                raise
            log.warning("pod %s: %s", pod, error)
        self._records.delete_pod(pod)

    async def set_groups(self, pod: str, network: str, groups: tuple[str, ...]) -> None:
        async with self._alone(pod):
            self._records.require_groups(network, groups)
            row = self._records.pod(pod)
            endpoint = next((e for e in row.endpoints if e.interface.network == network), None)
            if endpoint is None:
                raise NotFound(f"pod {pod} is not in network {network}")
            changed = tuple(replace(e, groups=groups) if e is endpoint else e for e in row.endpoints)
            self._records.change_pod(pod, endpoints=changed)
            if self._routers.is_made(network):
                slot = self._records.network(network).slot
                command = commands.SetMembership(slot=slot, ip=endpoint.interface.ip, before=endpoint.groups, after=groups)
                await self._host.call(command)

    async def _open_relays(self, ports: tuple[PortSetup, ...]) -> None:
        for port in ports:
            if self._host.rootless:
                for sock in self._reservations.duplicates(port):
                    await self._relays.open(port, sock)
            elif port.protocol == "tcp" and (not port.host_ip or ":" in port.host_ip):
                command = commands.ListenSix(host_ip=port.host_ip, host_port=port.host_port)
                _, descriptors = await self._host.call_with_descriptors(command)
                if descriptors:
                    await self._relays.open(port, socket.socket(fileno=descriptors[0]))

    async def _dial(self, port: PortSetup) -> int:
        command = commands.Dial(slot=port.slot, ip=port.ip, port=port.container_port, protocol=port.protocol)
        _, descriptors = await self._host.call_with_descriptors(command)
        if port.protocol == "udp":
            return descriptors[0]
        return await self._routers.connected(descriptors[0], f"{port.ip}:{port.container_port}")

    @contextlib.asynccontextmanager
    async def _alone(self, pod: str) -> AsyncIterator[None]:
        lock, wanted = self._busy.get(pod, (asyncio.Lock(), 0))
        self._busy[pod] = (lock, wanted + 1)
        try:
            async with lock:
                yield
        finally:
            lock, wanted = self._busy[pod]
            if wanted == 1:
                del self._busy[pod]
            else:
                self._busy[pod] = (lock, wanted - 1)


def _mapping(port: PortSetup) -> PortMapping:
    return PortMapping(container_port=port.container_port, protocol=port.protocol, host_ip=port.host_ip, host_port=port.host_port)
