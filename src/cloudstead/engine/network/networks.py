"""The networks of this machine: `LocalNetworks`, what `api.Networks` promises.

    networks.py    this: what the others come to
    records.py     the rows and what follows from them           specs.py, addresses.py   whether it makes sense, who gets which address: pure
    routers.py     what there is on the host                     rules.py                 nftables in words: pure
    attaching.py   pods come and go                              commands.py              what the host is asked
    names.py       the name server                               dns_*.py                 its messages, and forwarding
    relays.py      published ports by IPv6                       host*.py                 the host's side

docs/decisions/0009-routed-networks.md says why it is made so.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.network import addresses, commands, specs
from cloudstead.engine.network.api import AttachedInterface, NetworkSpec, PodNetwork, PortMapping, SecurityGroup, Zone
from cloudstead.engine.network.attaching import Attaching
from cloudstead.engine.network.dns_forwarding import Forwarder
from cloudstead.engine.network.records import Records, overlap
from cloudstead.engine.network.routers import Routers
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger("cloudstead.engine.network")


class LocalNetworks:
    """
    Args:
        resolv_conf: names the servers that are asked for what no network knows; the host's, looked at as it changes.
    """

    def __init__(self, store: Store, clock: Clock, host: HostClient, *, resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._store = store
        self._host = host
        self._records = Records(store)
        self._routers = Routers(self._records, clock, host, Forwarder(clock, resolv_conf))
        self._pods = Attaching(self._records, self._routers, host)
        self._failures = store.failures

    async def start(self) -> None:
        """Bring everything that the store knows about back. Without a host, what needs one refuses."""
        self._records.load()
        if not self._host.why_not:
            await self.restore()

    async def restore(self) -> None:
        self._pods.close()
        await self._routers.restore()
        await self._pods.restore_relays()

    async def stop(self) -> None:
        """Networks and pods go on; names do not resolve while nobody answers. Where there are no pods, nothing stays on the host."""
        self._pods.close()
        await self._routers.close()
        if not self._host.why_not and not any(self._records.pods()):
            with contextlib.suppress(EngineError):
                await self._host.call(commands.SweepNetworks(slots=(), pods=()))

    async def sweep(self) -> list[str]:
        if self._store.failures != self._failures:  # transactions were undone: what follows from rows may follow from rows that are not
            self._failures = self._store.failures
            self._records.load()
        slots = tuple(row.slot for row in self._records.networks())
        pods = tuple(row.pod for row in self._records.pods())
        said = await self._host.call(commands.SweepNetworks(slots=slots, pods=pods))
        await self._routers.refresh()
        return list(said)

    async def drain(self) -> None:
        """End the namespaces that are kept ready for pods to come."""
        await self._host.call(commands.Drain())

    # ------------------------------------------------------------------------------------------------------------ networks

    async def create(self, spec: NetworkSpec) -> None:
        specs.check_network(spec)
        if spec.host_routes:
            await self._refuse_overlap(spec)
        self._records.create(spec)

    async def _refuse_overlap(self, spec: NetworkSpec) -> None:
        cidrs = [subnet.cidr for subnet in spec.subnets]
        if overlap(cidrs, self._records.host_routed(but=spec.id)):
            raise Conflict("Pool overlaps with other one on this address space")
        await self._routers.refresh()
        if other := overlap(cidrs, self._routers.in_use):
            raise Conflict(f"Pool overlaps with other one on this address space: this machine uses {other}")

    async def change(self, spec: NetworkSpec) -> None:
        before = self._records.network(spec.id).spec
        specs.check_network(spec)
        if spec.host_routes and (not before.host_routes or spec.subnets != before.subnets):
            await self._refuse_overlap(spec)
        self._records.change(spec)
        await self._routers.configure(spec.id)

    async def remove(self, network: str) -> None:
        row = self._records.remove(network)
        await self._routers.remove(network, row.slot)

    def get(self, network: str) -> NetworkSpec:
        return self._records.network(network).spec

    def all(self, owner: str = "") -> list[NetworkSpec]:
        return [row.spec for row in self._records.networks() if owner in ("", row.spec.owner)]

    def free_cidr(self, pool: str = "172.16.0.0/12", prefix: int = 16) -> str:
        own = [subnet.cidr for row in self._records.networks() for subnet in row.spec.subnets]
        return addresses.free_cidr(pool, prefix, [*own, *self._routers.in_use])

    # ------------------------------------------------------------------------------------------------------------ security groups

    async def put_group(self, group: SecurityGroup) -> None:
        self._records.put_group(group)
        if self._routers.is_made(group.network):
            everyone = tuple(row.id for row in self._records.groups(group.network))
            slot = self._records.network(group.network).slot
            await self._host.call(commands.FilterGroup(slot=slot, group=specs.group_setup(group), all=everyone))

    async def remove_group(self, network: str, group: str) -> None:
        self._records.remove_group(network, group)
        await self._routers.filter(network)

    def groups(self, network: str) -> list[SecurityGroup]:
        return [row.group for row in self._records.groups(network)]

    async def set_groups(self, pod: str, network: str, groups: tuple[str, ...]) -> None:
        await self._pods.set_groups(pod, network, groups)

    # ------------------------------------------------------------------------------------------------------------ pods

    async def attach(
        self, pod: str, network: PodNetwork, *, names: tuple[str, ...] = ()
    ) -> tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]:
        return await self._pods.attach(pod, network, names)

    async def connect(self, pod: str, network: PodNetwork, index: int, *, names: tuple[str, ...] = ()) -> AttachedInterface:
        if not 0 <= index < len(network.attachments):
            raise InvalidArgument(f"there is no attachment {index}")
        return await self._pods.connect(pod, network, index, names)

    async def disconnect(self, pod: str, network: str) -> None:
        await self._pods.disconnect(pod, network)

    async def detach(self, pod: str) -> None:
        await self._pods.detach(pod)

    def interfaces(self, pod: str) -> tuple[AttachedInterface, ...]:
        row = self._records.find_pod(pod)
        return tuple(endpoint.interface for endpoint in row.endpoints) if row is not None else ()

    # ------------------------------------------------------------------------------------------------------------ services

    def who_has(self, network: str, ip: str) -> str:
        return self._records.who_has(network, ip)

    async def listen(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> int:
        return await self._routers.listen(network, address, port, kind)

    async def stop_listening(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> None:
        await self._routers.stop_listening(network, address, port, kind)

    async def dial(self, network: str, address: str, port: int) -> int:
        return await self._routers.dial(network, address, port)

    def add_zone(self, zone: Zone) -> Callable[[], None]:
        return self._routers.names.add_zone(zone)
