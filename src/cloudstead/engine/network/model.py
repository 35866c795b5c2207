"""The rows that networks are kept in.

networks/<id>                      a VPC: its specification and its slot            Network
└── groups/<id>                    a security group                                 Group
pods/<pod>                         interfaces, names and ports of a pod             AttachedPod

A pod's row is written before the host is asked for anything and deleted after everything was given back, so whatever exists without a row is a stray.
Which addresses are taken is known from the pods' rows alone.
"""

from __future__ import annotations

import msgspec

from cloudstead.engine.network.api import AttachedInterface, NetworkSpec, SecurityGroup
from cloudstead.engine.network.commands import PortSetup
from cloudstead.kernel.store import Row, Table


class Network(Row, frozen=True, kw_only=True):
    id: str
    slot: int
    spec: NetworkSpec


class Group(Row, frozen=True, kw_only=True):
    network: str
    id: str
    group: SecurityGroup


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A pod in one network."""

    interface: AttachedInterface
    names: tuple[str, ...] = ()  # the first is what its address is called (PTR)
    groups: tuple[str, ...] = ()


class AttachedPod(Row, frozen=True, kw_only=True):
    pod: str
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortSetup, ...] = ()
    dns: tuple[str, ...] = ()  # where its questions go that no name of its networks answers


NETWORKS = Table("engine.networks", Network, key=lambda n: (n.id,))
GROUPS = Table("engine.security_groups", Group, key=lambda g: (g.network, g.id))
ATTACHED = Table("engine.attached_pods", AttachedPod, key=lambda p: (p.pod,))
