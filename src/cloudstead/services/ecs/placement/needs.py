"""What a task asks of a container instance, and whether it gets it.

What is asked is asked in AWS's order, and the first that is not there is the reason. How far an instance came tells which one matched best: a
service's event names "the closest matching" one.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cloudstead.services.ecs.placement.conditions import condition
from cloudstead.services.ecs.placement.ports import PortNeed

if TYPE_CHECKING:
    from cloudstead.services.ecs.placement.fleet import Instance

INACTIVE, AGENT, LOCATION, ATTRIBUTE = "INACTIVE", "AGENT", "LOCATION", "ATTRIBUTE"
MEMBER_OF = "MemberOf placement constraint unsatisfied."
DISTINCT = "DistinctInstance placement constraint unsatisfied."
PORTS, CPU, MEMORY, ENI, GPU = "RESOURCE:PORTS", "RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:ENI", "RESOURCE:GPU"
ORDER = (INACTIVE, AGENT, LOCATION, ATTRIBUTE, MEMBER_OF, DISTINCT, PORTS, CPU, MEMORY, ENI, GPU)


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """All of it is hashable: tasks with the same needs share an order of instances."""

    group: str  # "service:web", "family:job" or the caller's own: by it tasks are spread
    cpu: int = 0  # units
    memory: int = 0  # MiB
    gpus: int = 0
    enis: int = 0  # 1 in network mode awsvpc
    ports: tuple[PortNeed, ...] = ()
    attributes: tuple[tuple[str, str | None], ...] = ()  # of the task definition's requiresAttributes; None: whatever its value
    zones: tuple[str, ...] = ()  # of the subnets; empty: any
    member_of: tuple[str, ...] = ()  # expressions, all of which hold
    distinct: bool = False  # no two tasks of the group on one instance


def refusal(needs: Needs, instance: Instance) -> str:
    """Why the task cannot go there; empty: it can."""
    if instance.status != "ACTIVE":
        return INACTIVE
    if not instance.connected:
        return AGENT
    if needs.zones and instance.zone not in needs.zones:
        return LOCATION
    for name, value in needs.attributes:
        if name not in instance.attributes or (value is not None and instance.attributes[name] != value):
            return ATTRIBUTE
    if not all(condition(expression)(instance) for expression in needs.member_of):
        return MEMBER_OF
    if needs.distinct and needs.group in instance.groups:
        return DISTINCT
    if needs.ports and not instance.ports.free_for(needs.ports):
        return PORTS
    return _short(needs, instance)


def _short(needs: Needs, instance: Instance) -> str:
    if needs.cpu > instance.cpu:
        return CPU
    if needs.memory > instance.memory:
        return MEMORY
    if needs.enis > instance.enis:
        return ENI
    if needs.gpus > len(instance.gpus):
        return GPU
    return ""
