"""What the daemon asks of the host about networks. All addresses are IPv4, in the usual notation.

The daemon knows what should be; the host makes it so, and keeps only what the kernel holds for it. `RestoreNetworks` at the start of each gives
the host the whole picture; after that, a network comes by `ConfigureNetwork`, pods come and go by themselves.
A network is named by its slot, a small number that is its own for as long as it lives: it is in the names that the kernel sees.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from cloudstead.engine.host.messages import Command, Port

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IP = rf"{_OCTET}(\.{_OCTET}){{3}}"

Ip: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^{_IP}\Z")]
Cidr: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^{_IP}/(3[0-2]|[12]?[0-9])\Z")]
Mac: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")]
Slot: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=36**3)]
Pod: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,127}\Z")]
Group: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")]
InterfaceName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^eth(0|[1-9][0-9]{0,2})\Z")]
Protocol: TypeAlias = Literal["tcp", "udp"]
HostAddress: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F:.]{0,45}\Z")]
"""Empty (all), or an address of the host, of either family; whether it is one, binding to it tells."""


class SubnetSetup(msgspec.Struct, frozen=True, kw_only=True):
    cidr: Cidr
    gateway: Ip
    nat: bool = True


class RuleSetup(msgspec.Struct, frozen=True, kw_only=True):
    direction: Literal["ingress", "egress"]
    protocol: Annotated[int, msgspec.Meta(ge=-1, le=255)]  # -1: all
    low: Annotated[int, msgspec.Meta(ge=-1, le=65535)] = -1  # for icmp the type
    high: Annotated[int, msgspec.Meta(ge=-1, le=65535)] = -1  # for icmp the code
    cidrs: tuple[Cidr, ...] = ()
    groups: tuple[Group, ...] = ()


class GroupSetup(msgspec.Struct, frozen=True, kw_only=True):
    id: Group
    rules: tuple[RuleSetup, ...] = ()


class InterfaceSetup(msgspec.Struct, frozen=True, kw_only=True):
    slot: Slot
    name: InterfaceName
    ip: Ip
    prefix: Annotated[int, msgspec.Meta(ge=1, le=30)]
    gateway: Ip
    mac: Mac
    routes: tuple[Cidr, ...] = ()  # what is reached through the gateway, the own subnet included
    groups: tuple[Group, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    pod: Pod
    interface: InterfaceSetup


class PortSetup(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host that leads to one of a pod."""

    slot: Slot
    ip: Ip
    container_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    protocol: Protocol = "tcp"
    host_ip: HostAddress = ""
    host_port: Port = 0  # 0: choose
    inner_port: Port = 0  # at the router's end of the uplink; 0: choose


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """A socket of the daemon inside a router."""

    ip: Ip
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    protocol: Protocol = "tcp"


class NetworkSetup(msgspec.Struct, frozen=True, kw_only=True):
    """A whole network, as it should be."""

    slot: Slot
    subnets: tuple[SubnetSetup, ...]
    internal: bool = False
    host_routes: bool = False
    members_talk: bool = True
    masquerade: bool = True
    mtu: Annotated[int, msgspec.Meta(ge=68, le=65535)] = 1500
    groups: tuple[GroupSetup, ...] = ()
    members: tuple[Member, ...] = ()
    ports: tuple[PortSetup, ...] = ()
    listening: tuple[Listening, ...] = ()


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    said: tuple[str, ...] = ()  # what was repaired, or could not be
    in_use: tuple[str, ...] = ()  # addresses and routes of this host that are not ours: cidrs
    made: tuple[int, ...] = ()  # slots of the networks that are there now


class RestoreNetworks(Command[Restored], frozen=True, kw_only=True):
    """Compare everything with what is, repair, forget what is not named. Networks without members that do not exist are not made."""

    answers: ClassVar[object] = Restored

    networks: tuple[NetworkSetup, ...]


class HostCidrs(Command[tuple[str, ...]], frozen=True, kw_only=True):
    """Addresses and routes of this host that are not ours."""

    answers: ClassVar[object] = tuple[str, ...]


class ConfigureNetwork(Command[tuple[str, ...]], frozen=True, kw_only=True):
    """Make a network, or bring it to this. Members that have no namespace are left alone. Answers what the user should know."""

    answers: ClassVar[object] = tuple[str, ...]

    network: NetworkSetup


class FilterNetwork(Command[None], frozen=True, kw_only=True):
    """Only what a network lets through has changed; nothing happens to one that has not been made."""

    network: NetworkSetup


class FilterGroup(Command[None], frozen=True, kw_only=True):
    """One group of a network is new or has other rules; nothing happens to a network that has not been made."""

    slot: Slot
    group: GroupSetup
    all: tuple[Group, ...]  # groups of this network, this one among them


class RemoveNetwork(Command[None], frozen=True, kw_only=True):
    """A second time it does nothing."""

    slot: Slot


class AttachPod(Command[tuple[PortSetup, ...]], frozen=True, kw_only=True):
    """A namespace with these interfaces (none: only a loopback) at `layout.netns / pod`, and the ports with what was chosen for them.

    The same again repairs. Conflict: a port is taken. NotFound: a network has not been configured. Nothing is left when it fails.
    """

    answers: ClassVar[object] = tuple[PortSetup, ...]

    pod: Pod
    interfaces: tuple[InterfaceSetup, ...]
    ports: tuple[PortSetup, ...] = ()


class ConnectPod(Command[None], frozen=True, kw_only=True):
    """One more interface. NotFound: the pod has no namespace."""

    pod: Pod
    interface: InterfaceSetup


class DisconnectPod(Command[None], frozen=True, kw_only=True):
    """Take an interface away. `routes` are what the interfaces that stay lead to now."""

    pod: Pod
    interface: InterfaceSetup
    ports: tuple[PortSetup, ...] = ()
    staying: tuple[InterfaceSetup, ...] = ()


class DetachPod(Command[None], frozen=True, kw_only=True):
    """Everything of a pod's. A second time it does nothing."""

    pod: Pod
    interfaces: tuple[InterfaceSetup, ...] = ()
    ports: tuple[PortSetup, ...] = ()


class SetMembership(Command[None], frozen=True, kw_only=True):
    """A pod is in other groups now."""

    slot: Slot
    ip: Ip
    before: tuple[Group, ...]
    after: tuple[Group, ...]


class Listen(Command[None], frozen=True, kw_only=True):
    """Answers with a descriptor for each: a bound socket, for tcp listening. Conflict: there is one already."""

    slot: Slot
    sockets: Annotated[tuple[Listening, ...], msgspec.Meta(max_length=64)]


class StopListening(Command[None], frozen=True, kw_only=True):
    """The socket has been closed."""

    slot: Slot
    socket: Listening


class Dial(Command[None], frozen=True, kw_only=True):
    """Answers with one descriptor: a socket that does not block, which is connected or is being connected."""

    slot: Slot
    ip: Ip
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    protocol: Protocol = "tcp"


class ListenSix(Command[None], frozen=True, kw_only=True):
    """Answers with the listening IPv6 socket of a published tcp port, which the daemon relays; or with none, where there is no such socket."""

    host_ip: HostAddress
    host_port: Port


class SweepNetworks(Command[tuple[str, ...]], frozen=True, kw_only=True):
    """Remove namespaces, links, tables, routes and reservations of this instance that belong to none of these."""

    answers: ClassVar[object] = tuple[str, ...]

    slots: tuple[Slot, ...]
    pods: tuple[Pod, ...]


class Drain(Command[None], frozen=True, kw_only=True):
    """End the namespaces that are kept ready."""
