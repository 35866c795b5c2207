"""Which of several tasks stop first.

Those that serve nobody yet; then those on instances that are to be empty; then those of the availability zone that has most of the service's tasks,
there those of the instance that has most of them, and of these the oldest. What is protected from scaling in does not stop.
"""

from __future__ import annotations

import heapq
from collections import Counter
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

    def key(task: Task) -> tuple[bool, bool, int, int, float, str]:
        return (good(task), not task.leaving, -zones[task.zone], -instances[task.instance], task.created, task.id)

    heap = [(key(task), task.id, task) for task in candidates]
    heapq.heapify(heap)
    while heap:
        was, _, task = heap[0]
        now = key(task)
        if now != was:  # its zone or instance has lost a task since: counts only fall, so it belongs further back
            heapq.heapreplace(heap, (now, task.id, task))
            continue
        heapq.heappop(heap)
        yield task
        zones[task.zone] -= 1
        instances[task.instance] -= 1
