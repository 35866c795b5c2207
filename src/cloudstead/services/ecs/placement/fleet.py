"""The container instances of one cluster, what is left of each, and which tasks have it.

The table is kept by deltas: an instance is put in, changed, taken out; a task takes its share of one and gives it back. Each change is noted in a
journal, so that whoever keeps an order of the instances (`view.py`) need only look again at those that changed since. For each group it is known on
which instances its tasks are, and how many by the values of those attributes over which somebody spreads.

A task may be placed on what was free a moment ago, and a row may be told of twice. Therefore `take` and `give_back` go by the task's id: taking
twice or giving back what nobody has changes nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from cloudstead.services.ecs.placement.ports import RESERVED, Port, PortBinding, Ports

if TYPE_CHECKING:
    from cloudstead.services.ecs.placement.needs import Terms

ZONE = "ecs.availability-zone"

Path: TypeAlias = tuple[str, ...]  # values of attributes


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A container instance as it says of itself, without its tasks."""

    id: str
    ec2_instance_id: str = ""
    status: str = "ACTIVE"  # DRAINING, REGISTERING …: no new tasks
    connected: bool = True
    agent_version: str = ""
    registered: float = 0.0
    zone: str = ""
    attributes: Mapping[str, str] = {}
    cpu: int = 0
    memory: int = 0
    enis: int = 0
    gpus: tuple[str, ...] = ()  # their ids
    ports: frozenset[Port] = RESERVED  # taken from the beginning


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a task has of its instance."""

    task: str
    group: str
    cpu: int = 0
    memory: int = 0
    enis: int = 0
    gpus: tuple[str, ...] = ()
    ports: tuple[PortBinding, ...] = ()


class Instance:
    """What is left of a container instance. Changed by its fleet alone."""

    __slots__ = (
        "agent_version",
        "attributes",
        "connected",
        "cpu",
        "ec2_instance_id",
        "enis",
        "gpus",
        "groups",
        "id",
        "memory",
        "ports",
        "rank",
        "registered",
        "shares",
        "status",
        "verdicts",
        "zone",
    )

    def __init__(self, told: Registered) -> None:
        self.id = told.id
        self.rank = zlib.crc32(told.id.encode())  # settles what strategies leave open, in the same way each time
        self.shares: dict[str, Share] = {}
        self.groups: dict[str, int] = {}
        self.told(told)

    def told(self, told: Registered) -> None:
        """It speaks of itself anew; its tasks keep what they have."""
        self.verdicts: dict[Terms, bool] = {}  # what it has answered to which terms
        self.ec2_instance_id = told.ec2_instance_id
        self.status, self.connected = told.status, told.connected
        self.agent_version, self.registered = told.agent_version, told.registered
        self.zone = told.zone
        self.attributes = {**told.attributes, ZONE: told.zone} if told.zone else dict(told.attributes)
        shares = self.shares.values()
        self.cpu = told.cpu - sum(share.cpu for share in shares)
        self.memory = told.memory - sum(share.memory for share in shares)
        self.enis = told.enis - sum(share.enis for share in shares)
        self.gpus = set(told.gpus).difference(*(share.gpus for share in shares))
        self.ports = Ports(told.ports | {port for share in shares for binding in share.ports for port in binding.ports()})

    @property
    def running(self) -> int:
        return len(self.shares)

    def add(self, share: Share) -> None:
        self.ports.take(share.ports)
        self.shares[share.task] = share
        self.groups[share.group] = self.groups.get(share.group, 0) + 1
        self.cpu -= share.cpu
        self.memory -= share.memory
        self.enis -= share.enis
        self.gpus.difference_update(share.gpus)

    def remove(self, share: Share) -> None:
        del self.shares[share.task]
        left = self.groups[share.group] - 1
        if left:
            self.groups[share.group] = left
        else:
            del self.groups[share.group]
        self.cpu += share.cpu
        self.memory += share.memory
        self.enis += share.enis
        self.gpus.update(share.gpus)
        self.ports.give_back(share.ports)


class Fleet:
    def __init__(self, instances: Iterable[Registered] = ()) -> None:
        self._instances: dict[str, Instance] = {}
        self._told: dict[str, Registered] = {}
        self._where: dict[str, str] = {}  # task: instance
        self._journal: list[str] = []  # the instances that changed, in order
        self._forgotten = 0  # how many of the journal's beginning
        self._members: dict[str, dict[str, int]] = {}  # group: instance: tasks
        self._spreads: dict[tuple[str, ...], dict[str, dict[Path, int]]] = {}  # attributes: group: their first values: tasks
        for each in instances:
            self.put(each)

    def __len__(self) -> int:
        return len(self._instances)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._instances.values())

    def get(self, instance: str) -> Instance | None:
        return self._instances.get(instance)

    def where(self, task: str) -> str | None:
        """The instance of a task."""
        return self._where.get(task)

    def put(self, told: Registered) -> None:
        """An instance is new, or something of it has changed."""
        if self._told.get(told.id) == told:
            return
        self._told[told.id] = told
        known = self._instances.get(told.id)
        if known is None:
            self._instances[told.id] = Instance(told)
        else:
            self._recount(known, -1)
            known.told(told)
            self._recount(known, 1)
        self._note(told.id)

    def drop(self, instance: str) -> None:
        """An instance is gone, and what its tasks had of it."""
        gone = self._instances.pop(instance, None)
        if gone is not None:
            del self._told[instance]
            self._recount(gone, -1)
            for group in gone.groups:
                self._leave(group, instance, gone.groups[group])
            for task in gone.shares:
                del self._where[task]
            self._note(instance)

    def take(self, instance: str, share: Share) -> None:
        """
        Raises:
            KeyError: there is no such instance.
            ValueError: a port of it has an owner, or the task has a share of another instance.
        """
        there = self._where.get(share.task)
        if there == instance:
            return
        if there is not None:
            raise ValueError(f"task {share.task} is on {there}")
        taker = self._instances[instance]
        taker.add(share)
        self._where[share.task] = instance
        members = self._members.setdefault(share.group, {})
        members[instance] = members.get(instance, 0) + 1
        self._count(taker, share.group, 1)
        self._note(instance)

    def give_back(self, task: str) -> None:
        instance = self._where.pop(task, None)
        if instance is not None:
            there = self._instances[instance]
            share = there.shares[task]
            there.remove(share)
            self._leave(share.group, instance, 1)
            self._count(there, share.group, -1)
            self._note(instance)

    # groups

    def members(self, group: str) -> Mapping[str, int]:
        """The instances that have tasks of a group, and how many."""
        return self._members.get(group, _NONE)

    def spread(self, attributes: tuple[str, ...], group: str) -> Mapping[Path, int]:
        """How many tasks of a group there are by the first value, by the first two …"""
        if attributes not in self._spreads:
            self._spreads[attributes] = {}
            for instance in self:
                for each, tasks in instance.groups.items():
                    _add(self._spreads[attributes], attributes, instance, each, tasks)
        return self._spreads[attributes].get(group, _NOWHERE)

    def _leave(self, group: str, instance: str, tasks: int) -> None:
        members = self._members[group]
        members[instance] -= tasks
        if not members[instance]:
            del members[instance]
            if not members:
                del self._members[group]

    def _count(self, instance: Instance, group: str, tasks: int) -> None:
        for attributes, groups in self._spreads.items():
            _add(groups, attributes, instance, group, tasks)

    def _recount(self, instance: Instance, sign: int) -> None:
        """Its attributes are about to change, or have changed."""
        for group, tasks in instance.groups.items():
            self._count(instance, group, sign * tasks)

    # the journal

    @property
    def now(self) -> int:
        """The journal's end."""
        return self._forgotten + len(self._journal)

    def behind(self, since: int) -> int | None:
        """How many changes there were since; None: more than it pays to look at one by one."""
        return None if since < self._forgotten else self.now - since

    def changed(self, since: int) -> list[str]:
        return self._journal[since - self._forgotten :]

    def _note(self, instance: str) -> None:
        self._journal.append(instance)
        if len(self._journal) > 4 * len(self._instances) + 1024:
            half = len(self._journal) // 2
            del self._journal[:half]
            self._forgotten += half


_NONE: Mapping[str, int] = {}
_NOWHERE: Mapping[Path, int] = {}


def path(attributes: tuple[str, ...], instance: Instance) -> Path:
    """Its values of attributes; an empty one where it has none."""
    return tuple([instance.attributes.get(name, "") for name in attributes])


def _add(groups: dict[str, dict[Path, int]], attributes: tuple[str, ...], instance: Instance, group: str, tasks: int) -> None:
    counts = groups.setdefault(group, {})
    values = path(attributes, instance)
    for depth in range(1, len(values) + 1):
        left = counts.get(values[:depth], 0) + tasks
        if left:
            counts[values[:depth]] = left
        else:
            del counts[values[:depth]]
    if not counts:
        del groups[group]
