"""What the daemon knows of networks: the rows, and what follows from them (addresses that are taken, who has which, who is called how)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, InvalidArgument, NoSpace, NotFound
from cloudstead.engine.network import specs
from cloudstead.engine.network.addresses import AddressPool
from cloudstead.engine.network.api import AttachedInterface, Attachment, NetworkSpec, SecurityGroup
from cloudstead.engine.network.commands import InterfaceSetup, Listening, Member, NetworkSetup, PortSetup
from cloudstead.engine.network.model import ATTACHED, GROUPS, NETWORKS, AttachedPod, Endpoint, Group, Network
from cloudstead.kernel.store import Store

MOST_NETWORKS = 36**3


class Records:
    """Everything here is without effects on the host. Loaded by `load`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pools: dict[str, dict[str, AddressPool]] = {}  # by network and subnet
        self._owners: dict[tuple[str, str], str] = {}  # pods by network and address
        self._names: dict[str, dict[str, dict[str, None]]] = {}  # addresses by network and name
        self._pods_of: dict[str, dict[str, None]] = {}  # by network

    def load(self) -> None:
        self._store.attach([NETWORKS, GROUPS, ATTACHED])
        for known in (self._pools, self._owners, self._names, self._pods_of):
            known.clear()
        for network in self._store.table(NETWORKS).scan():
            self._open(network.spec)
        for pod in self._store.table(ATTACHED).scan():
            for endpoint in pod.endpoints:
                self._pool(endpoint.interface).take_this(endpoint.interface.ip)
                self._know(pod.pod, endpoint)

    # ------------------------------------------------------------------------------------------------------------ networks

    def networks(self) -> list[Network]:
        return list(self._store.table(NETWORKS).scan())

    def network(self, id: str) -> Network:
        """
        Raises:
            NotFound
        """
        if (row := self._store.table(NETWORKS).get((id,))) is None:
            raise NotFound(f"network {id} not found")
        return row

    def find(self, id: str) -> tuple[int, NetworkSpec]:
        row = self.network(id)
        return row.slot, row.spec

    def create(self, spec: NetworkSpec) -> Network:
        specs.check_network(spec)
        if (spec.id,) in self._store.table(NETWORKS):
            raise Conflict(f"network with name {spec.id} already exists")
        used = {network.slot for network in self._store.table(NETWORKS).scan()}
        slot = next((number for number in range(MOST_NETWORKS) if number not in used), None)
        if slot is None:
            raise NoSpace(f"there are {MOST_NETWORKS} networks already")
        with self._store.transaction() as tx:
            row = tx.insert(NETWORKS, Network(id=spec.id, slot=slot, spec=spec))
        self._open(spec)
        return row

    def change(self, spec: NetworkSpec) -> Network:
        specs.check_network(spec)
        row = self.network(spec.id)
        used = {e.interface.subnet for _, e in self.endpoints(spec.id)}
        specs.check_change(row.spec, spec, used)
        pools = {}
        for subnet in spec.subnets:
            pool = pools[subnet.id] = AddressPool(subnet)
            for _, endpoint in self.endpoints(spec.id):
                if endpoint.interface.subnet == subnet.id:
                    pool.take_this(endpoint.interface.ip)
        with self._store.transaction() as tx:
            row = tx.update(NETWORKS, row, spec=spec)
        self._pools[spec.id] = pools
        return row

    def remove(self, id: str) -> Network:
        row = self.network(id)
        if self._pods_of.get(id):
            raise Conflict(f"error while removing network: network {row.spec.name or id} has active endpoints")
        with self._store.transaction() as tx:
            tx.delete(NETWORKS, (id,))
            for group in list(self._store.table(GROUPS).scan((id,))):
                tx.delete(GROUPS, (id, group.id))
        for known in (self._pools, self._names, self._pods_of):
            known.pop(id, None)
        return row

    def host_routed(self, but: str = "") -> list[str]:
        return [s.cidr for n in self.networks() if n.spec.host_routes and n.id != but for s in n.spec.subnets]

    def setup(self, id: str, listening: Iterable[Listening]) -> NetworkSetup:
        """A network as it should be on the host."""
        row = self.network(id)
        members: list[Member] = []
        ports: list[PortSetup] = []
        for pod in self._pods_of.get(id, ()):
            attached = self.pod(pod)
            members += [Member(pod=pod, interface=i) for i in self.interfaces(attached) if i.slot == row.slot]
            ports += [port for port in attached.ports if port.slot == row.slot and port.inner_port]
        spec = row.spec
        return NetworkSetup(
            slot=row.slot,
            subnets=specs.subnet_setups(spec),
            internal=spec.internal,
            host_routes=spec.host_routes,
            members_talk=spec.members_talk,
            masquerade=spec.masquerade,
            mtu=spec.mtu,
            groups=tuple(specs.group_setup(group.group) for group in self.groups(id)),
            members=tuple(members),
            ports=tuple(ports),
            listening=tuple(listening),
        )

    # ------------------------------------------------------------------------------------------------------------ security groups

    def groups(self, network: str) -> list[Group]:
        return list(self._store.table(GROUPS).scan((network,)))

    def put_group(self, group: SecurityGroup) -> None:
        self.network(group.network)
        specs.group_setup(group)
        with self._store.transaction() as tx:
            tx.put(GROUPS, Group(network=group.network, id=group.id, group=group))

    def remove_group(self, network: str, id: str) -> None:
        self.require_groups(network, (id,))
        if users := [pod for pod, endpoint in self.endpoints(network) if id in endpoint.groups]:
            raise Conflict(f"the security group {id} is in use by {users[0]}")
        with self._store.transaction() as tx:
            tx.delete(GROUPS, (network, id))

    def require_groups(self, network: str, groups: tuple[str, ...]) -> None:
        for group in groups:
            if (network, group) not in self._store.table(GROUPS):
                raise NotFound(f"network {network} has no security group {group}")

    # ------------------------------------------------------------------------------------------------------------ pods

    def pods(self) -> list[AttachedPod]:
        return list(self._store.table(ATTACHED).scan())

    def find_pod(self, pod: str) -> AttachedPod | None:
        return self._store.table(ATTACHED).get((pod,))

    def pod(self, pod: str) -> AttachedPod:
        """
        Raises:
            NotFound
        """
        if (row := self.find_pod(pod)) is None:
            raise NotFound(f"pod {pod} is attached to no network")
        return row

    def endpoints(self, network: str) -> list[tuple[str, Endpoint]]:
        return [(p, e) for p in self._pods_of.get(network, ()) for e in self.pod(p).endpoints if e.interface.network == network]

    def interfaces(self, pod: AttachedPod) -> tuple[InterfaceSetup, ...]:
        return specs.interface_setups(pod.endpoints, self.find)

    def who_has(self, network: str, ip: str) -> str:
        return self._owners.get((network, ip), "")

    def named(self, network: str, name: str) -> list[str]:
        return list(self._names.get(network, {}).get(name, ()))

    def take_endpoint(self, attachment: Attachment, number: int, names: tuple[str, ...]) -> Endpoint:
        """An endpoint with an address, which is taken from now on."""
        spec = self.network(attachment.network).spec
        self.require_groups(spec.id, attachment.security_groups)
        subnet = specs.subnet_for(spec, attachment)
        pool = self._pools[spec.id][subnet.id]
        ip = pool.take_this(attachment.ip) if attachment.ip else pool.take()
        interface = AttachedInterface(
            network=spec.id,
            subnet=subnet.id,
            name=f"eth{number}",
            ip=ip,
            prefix=pool.network.prefixlen,
            gateway=str(pool.gateway),
            mac=specs.mac_for(attachment.mac, ip),
        )
        called = tuple(dict.fromkeys(name for name in (*names, *attachment.aliases) if name))
        return Endpoint(interface=interface, names=called, groups=attachment.security_groups)

    def give_back(self, endpoint: Endpoint) -> None:
        self._pool(endpoint.interface).give_back(endpoint.interface.ip)

    def insert_pod(self, row: AttachedPod) -> AttachedPod:
        with self._store.transaction() as tx:
            row = tx.insert(ATTACHED, row)
        for endpoint in row.endpoints:
            self._know(row.pod, endpoint)
        return row

    def change_pod(
        self,
        pod: str,
        *,
        endpoints: tuple[Endpoint, ...] | None = None,
        ports: tuple[PortSetup, ...] | None = None,
    ) -> AttachedPod:
        """Addresses of endpoints that are not there any more are given back."""
        before = self.pod(pod)
        after = replace(
            before, endpoints=before.endpoints if endpoints is None else endpoints, ports=before.ports if ports is None else ports
        )
        with self._store.transaction() as tx:
            row = tx.put(ATTACHED, after)
        kept = {endpoint.interface for endpoint in row.endpoints}
        for endpoint in before.endpoints:
            self._unknow(pod, endpoint)
            if endpoint.interface not in kept:
                self.give_back(endpoint)
        for endpoint in row.endpoints:
            self._know(pod, endpoint)
        return row

    def delete_pod(self, pod: str) -> None:
        with self._store.transaction() as tx:
            row = tx.delete(ATTACHED, (pod,))
        for endpoint in row.endpoints if row else ():
            self._unknow(pod, endpoint)
            self.give_back(endpoint)

    # ------------------------------------------------------------------------------------------------------------ what follows

    def _open(self, spec: NetworkSpec) -> None:
        self._pools[spec.id] = {subnet.id: AddressPool(subnet) for subnet in spec.subnets}

    def _pool(self, interface: AttachedInterface) -> AddressPool:
        return self._pools[interface.network][interface.subnet]

    def _know(self, pod: str, endpoint: Endpoint) -> None:
        network, ip = endpoint.interface.network, endpoint.interface.ip
        self._owners[network, ip] = pod
        self._pods_of.setdefault(network, {})[pod] = None
        known = self._names.setdefault(network, {})
        for name in endpoint.names:
            known.setdefault(name.lower().rstrip("."), {})[ip] = None

    def _unknow(self, pod: str, endpoint: Endpoint) -> None:
        network, ip = endpoint.interface.network, endpoint.interface.ip
        self._owners.pop((network, ip), None)
        self._pods_of.get(network, {}).pop(pod, None)
        known = self._names.get(network, {})
        for name in endpoint.names:
            key = name.lower().rstrip(".")
            holders = known.get(key, {})
            holders.pop(ip, None)
            if not holders:
                known.pop(key, None)

    def endpoint_at(self, network: str, ip: str) -> Endpoint | None:
        pod = self.find_pod(self.who_has(network, ip))
        return next((e for e in pod.endpoints if e.interface.network == network and e.interface.ip == ip), None) if pod else None


def overlap(cidrs: Iterable[str], others: Iterable[str]) -> str:
    """The first of the others that overlaps with any of the cidrs; empty: none does."""
    own = [IPv4Network(cidr) for cidr in cidrs]
    return next((other for other in others if any(IPv4Network(other).overlaps(cidr) for cidr in own)), "")


def first_free_name(endpoints: Iterable[Endpoint]) -> int:
    """The number of the next ethN of a pod."""
    used = {endpoint.interface.name for endpoint in endpoints}
    for number in range(1000):
        if f"eth{number}" not in used:
            return number
    raise InvalidArgument("a pod cannot have a thousand interfaces")
