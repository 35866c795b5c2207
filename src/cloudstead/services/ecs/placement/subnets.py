"""Where a Fargate task goes: to the subnet in whose availability zone the fewest tasks of its group are, and there to the subnet with the fewest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec


class Subnet(msgspec.Struct, frozen=True):
    id: str
    zone: str
    free: int | None = None  # addresses; None: nobody counts them


def spread(subnets: Sequence[Subnet], tasks: Mapping[str, int], count: int) -> list[str]:
    """The subnets of so many new tasks; fewer when no more addresses are free.

    Args:
        tasks: how many of the group there are already, by subnet. Those in other subnets count for nothing.
    """
    there = {subnet.id: tasks.get(subnet.id, 0) for subnet in subnets}
    free = {subnet.id: subnet.free for subnet in subnets}
    zones = Counter[str]()
    for subnet in subnets:
        zones[subnet.zone] += there[subnet.id]
    found: list[str] = []
    for _ in range(count):
        open_ones = [subnet for subnet in subnets if free[subnet.id] is None or (free[subnet.id] or 0) > 0]
        if not open_ones:
            break
        chosen = min(open_ones, key=lambda subnet: (zones[subnet.zone], subnet.zone, there[subnet.id]))
        there[chosen.id] += 1
        zones[chosen.zone] += 1
        left = free[chosen.id]
        if left is not None:
            free[chosen.id] = left - 1
        found.append(chosen.id)
    return found
