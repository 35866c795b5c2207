"""What a task asks of a container instance, and whether it gets it.

What is asked is asked in AWS's order, and the first that is not there is the reason. How far an instance came tells which one matched best: a
service's event names "the closest matching" one.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from cloudstead.services.ecs.placement.conditions import changes_with_tasks, condition
from cloudstead.services.ecs.placement.ports import PortNeed

if TYPE_CHECKING:
    from cloudstead.services.ecs.placement.fleet import Instance

INACTIVE, AGENT, LOCATION, ATTRIBUTE = "INACTIVE", "AGENT", "LOCATION", "ATTRIBUTE"
MEMBER_OF = "MemberOf placement constraint unsatisfied."
DISTINCT = "DistinctInstance placement constraint unsatisfied."
PORTS, CPU, MEMORY, ENI, GPU = "RESOURCE:PORTS", "RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:ENI", "RESOURCE:GPU"
ORDER = (INACTIVE, AGENT, LOCATION, ATTRIBUTE, MEMBER_OF, DISTINCT, PORTS, CPU, MEMORY, ENI, GPU)


class Needs(msgspec.Struct, frozen=True, kw_only=True):
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


class Terms:
    """What an instance answers by what it is, not by what runs there. Tasks with the same terms share one object: it is a key without the cost of one."""

    __slots__ = ("attributes", "member_of", "zones")

    def __init__(self, attributes: tuple[tuple[str, str | None], ...], zones: tuple[str, ...], member_of: tuple[str, ...]) -> None:
        self.attributes = attributes
        self.zones = zones
        self.member_of = member_of

    def met_by(self, instance: Instance) -> bool:
        verdicts = instance.verdicts
        met = verdicts.get(self)
        if met is None:
            if len(verdicts) >= _REMEMBERED:
                verdicts.clear()
            unmet = _unmet(self.attributes, self.zones, instance)
            met = verdicts[self] = not unmet and all(condition(expression)(instance) for expression in self.member_of)
        return met


_REMEMBERED = 512
_terms = lru_cache(1024)(Terms)


class Asked:
    """Needs, prepared for being asked of many instances."""

    __slots__ = ("_changing", "_ports", "_ranges", "_static", "broad", "needs", "terms")

    def __init__(self, needs: Needs) -> None:
        steady = tuple(each for each in needs.member_of if not changes_with_tasks(each))
        self.needs = needs
        self.terms = _terms(needs.attributes, needs.zones, steady)
        self.broad = _terms(needs.attributes, needs.zones, ())  # without the expressions; what meets the terms meets these
        self._changing = [condition(each) for each in needs.member_of if each not in steady]
        self._static = [(need.protocol, need.host_port + number) for need in needs.ports if need.host_port for number in range(need.length)]
        self._ports = len(self._static) < len(needs.ports)
        self._ranges = any(need.length > 1 for need in needs.ports)

    def fits(self, instance: Instance) -> bool:
        """The same as no refusal."""
        needs = self.needs
        if needs.memory > instance.memory or needs.cpu > instance.cpu or not self.terms.met_by(instance):
            return False
        if needs.enis > instance.enis or needs.gpus > len(instance.gpus) or (needs.distinct and needs.group in instance.groups):
            return False
        if self._static and any(port in instance.ports.used() for port in self._static):
            return False
        if (self._ports or self._ranges) and (self._ranges or instance.ports.crowded) and not instance.ports.free_for(needs.ports):
            return False
        return all(holds(instance) for holds in self._changing) if self._changing else True


@lru_cache(4096)
def asked(needs: Needs) -> Asked:
    """
    Raises:
        ExpressionInvalid
    """
    return Asked(needs)


def _unmet(attributes: tuple[tuple[str, str | None], ...], zones: tuple[str, ...], instance: Instance) -> str:
    if instance.status != "ACTIVE":
        return INACTIVE
    if not instance.connected:
        return AGENT
    if zones and instance.zone not in zones:
        return LOCATION
    for name, value in attributes:
        if name not in instance.attributes or (value is not None and instance.attributes[name] != value):
            return ATTRIBUTE
    return ""


def refusal(needs: Needs, instance: Instance) -> str:
    """Why the task cannot go there; empty: it can."""
    if unmet := _unmet(needs.attributes, needs.zones, instance):
        return unmet
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
