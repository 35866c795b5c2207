"""Which host ports a task gets on an instance.

A mapping asks for a port of its own (static), for any (dynamic: host port 0 in bridge mode), or for as many in a row as a range of container ports has.
Dynamic ones come from 49153 to 65535. A task gets all it asks for or nothing. The next dynamic port is the one after the last that was given: a port
that has just been freed rests, so that a client with an old address does not reach the wrong task.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

FIRST_DYNAMIC, LAST_DYNAMIC = 49153, 65535
_MANY = 8_000  # of 16,383; a task definition has at most 1,000 mappings

Port = tuple[str, int]  # protocol and number

# What an instance keeps for itself: SSH, Docker and the agent.
RESERVED: frozenset[Port] = frozenset(("tcp", number) for number in (22, 2375, 2376, 51678, 51679))


class PortNeed(msgspec.Struct, frozen=True):
    container_port: int
    protocol: str = "tcp"
    host_port: int = 0  # 0: any
    length: int = 1  # of a range of container ports, which begins at container_port


class PortBinding(NamedTuple):
    """A range of host ports that leads to a range of container ports."""

    protocol: str
    host_port: int
    container_port: int
    length: int = 1

    def ports(self) -> list[Port]:
        return [(self.protocol, number) for number in range(self.host_port, self.host_port + self.length)]


class Ports:
    """The host ports of one instance that are in use."""

    __slots__ = ("_dynamic", "_next", "_used")

    def __init__(self, used: Iterable[Port] = RESERVED) -> None:
        self._used: set[Port] = set()
        self._dynamic: dict[str, int] = {}  # how many of the dynamic range are in use, by protocol
        self._next = FIRST_DYNAMIC
        for port in used:
            self._add(port)

    def free_for(self, needs: Sequence[PortNeed]) -> bool:
        """Whether all are to be had; a quick answer where there is one."""
        dynamic = 0
        for need in needs:
            if need.host_port == 0:
                dynamic += need.length
                if need.length > 1:
                    return self.bindings(needs) is not None
            elif any((need.protocol, number) in self._used for number in range(need.host_port, need.host_port + need.length)):
                return False
        room = LAST_DYNAMIC - FIRST_DYNAMIC + 1
        if dynamic and room - max(self._dynamic.values(), default=0) - len(needs) < dynamic:
            return self.bindings(needs) is not None
        return True

    @property
    def crowded(self) -> bool:
        """So many dynamic ports are in use that a task with a few mappings may not get them. Else it will, and nobody need look."""
        return any(count > _MANY for count in self._dynamic.values())

    def bindings(self, needs: Sequence[PortNeed]) -> tuple[PortBinding, ...] | None:
        """The ports that the task would get; None: not all are to be had."""
        found: dict[int, PortBinding] = {}
        taken: set[Port] = set()
        at = self._next
        for place, need in sorted(enumerate(needs), key=lambda each: each[1].host_port == 0):
            start = need.host_port or self._search(need, at, taken)
            binding = PortBinding(need.protocol, start, need.container_port, need.length)
            ports = binding.ports()
            if not start or any(port in self._used or port in taken for port in ports):
                return None
            taken.update(ports)
            found[place] = binding
            if not need.host_port:
                at = start + need.length
        return tuple(found[place] for place in range(len(needs)))

    def take(self, bindings: Iterable[PortBinding]) -> None:
        """
        Raises:
            ValueError: one of them is in use: a port never has two owners.
        """
        ports = [port for binding in bindings for port in binding.ports()]
        clash = next((port for port in ports if port in self._used), None)
        if clash is not None:
            raise ValueError(f"port {clash[1]}/{clash[0]} is in use")
        for port in ports:
            self._add(port)
            if port[1] >= FIRST_DYNAMIC:
                self._next = port[1] + 1 if port[1] < LAST_DYNAMIC else FIRST_DYNAMIC

    def give_back(self, bindings: Iterable[PortBinding]) -> None:
        for binding in bindings:
            for port in binding.ports():
                if port in self._used:
                    self._used.discard(port)
                    if port[1] >= FIRST_DYNAMIC:
                        self._dynamic[port[0]] -= 1

    def used(self) -> Collection[Port]:
        return self._used

    def _add(self, port: Port) -> None:
        if port not in self._used:
            self._used.add(port)
            if port[1] >= FIRST_DYNAMIC:
                self._dynamic[port[0]] = self._dynamic.get(port[0], 0) + 1

    def _search(self, need: PortNeed, begin: int, taken: set[Port]) -> int:
        """The first of so many free dynamic ports in a row, from `begin` round to it again; 0: there are none."""
        for low, high in ((max(begin, FIRST_DYNAMIC), LAST_DYNAMIC), (FIRST_DYNAMIC, LAST_DYNAMIC)):
            run = 0
            for number in range(low, high + 1):
                port = (need.protocol, number)
                run = 0 if port in self._used or port in taken else run + 1
                if run == need.length:
                    return number - need.length + 1
        return 0
