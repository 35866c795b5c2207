"""Which of several tasks stop first.

Those that serve nobody yet; then those on instances that are to be empty; then those of the availability zone that has most of the service's tasks,
there those of the instance that has most of them, and of these the oldest. What is protected from scaling in does not stop.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from cloudstead.services.ecs.deployments.model import Task


def protected(task: Task, now: float) -> bool:
    return task.protected_until is not None and task.protected_until > now


def in_order(candidates: Iterable[Task], all_tasks: Sequence[Task], good: Callable[[Task], bool]) -> Iterator[Task]:
    """The candidates in the order in which they stop, each chosen as if those before it were gone.

    Args:
        all_tasks: of the service: what is to be balanced.
        good: whether a task serves.
    """
    zones = Counter(task.zone for task in all_tasks)
    instances = Counter(task.instance for task in all_tasks if task.instance)
    classes: dict[tuple[bool, bool], list[Task]] = {}
    for task in candidates:
        classes.setdefault((good(task), not task.leaving), []).append(task)
    for each in sorted(classes):
        yield from _balanced(classes[each], zones, instances)


def _balanced(tasks: list[Task], zones: Counter[str], instances: Counter[str]) -> Iterator[Task]:
    """What is left in each zone and on each instance is counted down on the way. An instance's place changes only when a task of it is taken."""
    queues: dict[tuple[str, str], deque[Task]] = {}
    for task in sorted(tasks, key=lambda task: (task.created, task.id)):
        queues.setdefault((task.zone, task.instance), deque()).append(task)
    heaps: dict[str, list[tuple[int, float, str]]] = {}
    for (zone, instance), queue in queues.items():
        heapq.heappush(heaps.setdefault(zone, []), (-instances[instance], queue[0].created, instance))
    while heaps:
        zone = min(heaps, key=lambda zone: (-zones[zone], zone))
        _, _, instance = heapq.heappop(heaps[zone])
        queue = queues[zone, instance]
        yield queue.popleft()
        zones[zone] -= 1
        instances[instance] -= bool(instance)
        if queue:
            heapq.heappush(heaps[zone], (-instances[instance], queue[0].created, instance))
        elif not heaps[zone]:
            del heaps[zone]
