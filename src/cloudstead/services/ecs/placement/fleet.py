"""The container instances of one cluster, what is left of each, and which tasks have it.

The table is kept by deltas: an instance is put in, changed, taken out; a task takes its share of one and gives it back. Each change is noted in a
journal, so that whoever keeps an order of the instances (`view.py`) need only look again at those that changed since.

A task may be placed on what was free a moment ago, and a row may be told of twice. Therefore `take` and `give_back` go by the task's id: taking
twice or giving back what nobody has changes nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cloudstead.services.ecs.placement.ports import RESERVED, Port, PortBinding, Ports

ZONE = "ecs.availability-zone"


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
            known.told(told)
        self._note(told.id)

    def drop(self, instance: str) -> None:
        """An instance is gone, and what its tasks had of it."""
        gone = self._instances.pop(instance, None)
        if gone is not None:
            del self._told[instance]
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
        self._instances[instance].add(share)
        self._where[share.task] = instance
        self._note(instance)

    def give_back(self, task: str) -> None:
        instance = self._where.pop(task, None)
        if instance is not None:
            there = self._instances[instance]
            there.remove(there.shares[task])
            self._note(instance)

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
