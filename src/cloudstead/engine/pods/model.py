"""What the drivers keep of pods and containers.

    engine.pods/<pod>                     PodRow: its spec, with the attachments that it has now; its namespace's addresses and ports while it has one
    engine.containers/<container>         ContainerRow: its spec, with the limits that it has now
    engine.container_states/<container>   StateRow: how it is, as it was last seen

The state has a row of its own, because it changes often and is small, while a spec may carry files.
"""

from __future__ import annotations

from cloudstead.engine.network.api import AttachedInterface, PortMapping
from cloudstead.engine.pods.specs import ContainerSpec, PodSpec
from cloudstead.engine.pods.states import ContainerStatus
from cloudstead.kernel.store import Row, Table


class PodRow(Row, frozen=True, kw_only=True):
    spec: PodSpec
    created: float
    joined: bool = False  # it has a namespace, or may have: one is being made
    interfaces: tuple[AttachedInterface, ...] = ()
    ports: tuple[PortMapping, ...] = ()


class ContainerRow(Row, frozen=True, kw_only=True):
    pod: str
    spec: ContainerSpec


class StateRow(Row, frozen=True, kw_only=True):
    status: ContainerStatus


PODS = Table("engine.pods", PodRow, key=lambda row: (row.spec.id,))
CONTAINERS = Table("engine.containers", ContainerRow, key=lambda row: (row.spec.id,))
STATES = Table("engine.container_states", StateRow, key=lambda row: (row.status.id,))
TABLES = (PODS, CONTAINERS, STATES)
