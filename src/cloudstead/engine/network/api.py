"""What networks are: VPCs with subnets, and rules for who may talk to whom.

A network is one VPC. Docker's networks are VPCs with one subnet; EC2's have many. Every VPC has a network namespace of its own on the host that is its
router: pods hang on it by point-to-point veths with a /32 route each, so all traffic is routed (layer 3, no broadcast, as in a real VPC), is filtered
in one place, and VPCs with the same addresses never meet. An uplink veth with an address that is unique on this host leads out (NAT).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from cloudstead.engine.network.dns_messages import Record
from cloudstead.engine.spec import Spec


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    cidr: str
    gateway: str = ""  # empty: the first address
    range: str = ""  # of addresses that are given out; empty: the whole subnet
    reserved: int = 0  # so many of the first addresses are not given out (AWS: 4); the gateway never is
    nat: bool = True  # may reach the outside world


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a security group lets through; stateful: answers pass."""

    direction: Literal["ingress", "egress"]
    protocol: str = "-1"  # "tcp", "udp", "icmp", a number, "-1" for all
    from_port: int = -1  # for icmp the type; -1: all
    to_port: int = -1
    cidrs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # members of these groups, of the same network


class SecurityGroup(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    network: str
    rules: tuple[Rule, ...] = ()


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    owner: str  # "docker", "ec2"
    name: str = ""
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False  # no way out
    host_routes: bool = False  # the host itself reaches its addresses directly (Docker's do, when no other network has them)
    members_talk: bool = True  # pods reach one another (Docker's enable_icc)
    masquerade: bool = True
    mtu: int = 1500
    names: bool = True  # pods find one another by name
    dns_domain: str = ""  # appended to bare names too


class PortMapping(Spec, frozen=True, kw_only=True):
    container_port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = ""  # empty: all addresses
    host_port: int = 0  # 0: a free one, told by PodStatus.ports


class Attachment(Spec, frozen=True, kw_only=True):
    """One interface of a pod in a network."""

    network: str  # the network's id
    subnet: str = ""  # of the network; empty: its first
    ip: str = ""  # empty: the next free one
    mac: str = ""
    aliases: tuple[str, ...] = ()  # further names by which pods of the same network find it
    security_groups: tuple[str, ...] = ()  # ids; none: nothing is filtered


class PodNetwork(Spec, frozen=True, kw_only=True):
    mode: Literal["none", "host", "vpc", "pod"] = "vpc"
    pod: str = ""  # mode "pod": share the namespace of this one
    attachments: tuple[Attachment, ...] = ()  # mode "vpc": the first has the default route
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()  # name servers instead of the network's own
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:address" lines for /etc/hosts; the address "host-gateway" is the host's


class AttachedInterface(msgspec.Struct, frozen=True, kw_only=True):
    """What an attachment became."""

    network: str
    subnet: str
    name: str  # "eth0"
    ip: str
    prefix: int
    gateway: str
    mac: str


class Asker(NamedTuple):
    """Who asks for a name. `pod` is empty for an address that no pod has."""

    network: str
    ip: str
    pod: str


Zone: TypeAlias = Callable[[str, str, Asker], list[Record] | None]
"""Given a name (lower case, no last dot), a kind ("A", or a number as text) and who asks: None when it knows nothing of such names, otherwise the
records of that kind (none: the name exists, but has none of them). Raises KeyError when the name is its own, and does not exist. Must be quick."""


class Networks(Protocol):
    """All networks of this cloud. Kept in the store (`network/model.py`), made on the host when a pod needs them."""

    async def restore(self) -> None:
        """The host has been started anew: tell it everything again, before any pod is asked for. (`start` does the same for the first host.)"""

    async def create(self, spec: NetworkSpec) -> None:
        """Conflict: the id is taken, or with `host_routes` the addresses are."""

    async def change(self, spec: NetworkSpec) -> None:
        """New subnets or properties; what pods use cannot be taken away."""

    async def remove(self, network: str) -> None:
        """Conflict: pods are attached."""

    def get(self, network: str) -> NetworkSpec: ...

    def all(self, owner: str = "") -> list[NetworkSpec]: ...

    def free_cidr(self, pool: str = "172.16.0.0/12", prefix: int = 16) -> str:
        """Addresses for a network with host routes that nothing on this machine uses. NoSpace: there are none left."""

    async def put_group(self, group: SecurityGroup) -> None:
        """Make or change; acts at once."""

    async def remove_group(self, network: str, group: str) -> None: ...

    def groups(self, network: str) -> list[SecurityGroup]:
        """The groups of a network, as they were put."""
        ...

    async def set_groups(self, pod: str, network: str, groups: tuple[str, ...]) -> None: ...

    async def attach(
        self, pod: str, network: PodNetwork, *, names: tuple[str, ...] = ()
    ) -> tuple[tuple[AttachedInterface, ...], tuple[PortMapping, ...]]:
        """A namespace for a pod, with its interfaces, names and published ports; the same again when it has one.

        NotFound: no such network. Conflict: an address or port is taken. NoSpace: the subnet is full.
        """

    async def connect(self, pod: str, network: PodNetwork, index: int, *, names: tuple[str, ...] = ()) -> AttachedInterface:
        """One more interface, for `network.attachments[index]`."""

    async def disconnect(self, pod: str, network: str) -> None: ...

    async def detach(self, pod: str) -> None:
        """Give everything back. A second time it does nothing."""

    def interfaces(self, pod: str) -> tuple[AttachedInterface, ...]: ...

    def who_has(self, network: str, ip: str) -> str:
        """The pod with an address, for services that answer at link-local addresses; empty: nobody."""

    async def listen(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> int:
        """A listening (bound, for udp) socket inside a network's router, as a descriptor: at a gateway or a link-local address such as
        169.254.169.254. Whoever connects is told apart by its address, which cannot be forged."""

    async def stop_listening(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> None:
        """The socket has been closed: at a gateway the host's own services answer on that port again."""

    def add_zone(self, zone: Zone) -> Callable[[], None]:
        """A further source of names for pods, asked before anything is forwarded, until the returned function is called."""
        ...

    async def dial(self, network: str, address: str, port: int) -> int:
        """A connected stream socket from the router to a pod, as a descriptor: for load balancers and the like."""

    async def start(self) -> None:
        """Find again what runs, and mend what does not agree with the rows."""

    async def stop(self) -> None:
        """Networks go on, without names."""

    async def sweep(self) -> list[str]:
        """Remove what no row owns; a sentence for each."""
