"""What is in a cluster, counted in the rows of what runs there. Services and container instances come with their tables."""

from __future__ import annotations

from collections import Counter

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.services.ecs.model import Cluster
from cloudstead.services.ecs.tasks.model import TASKS

_KINDS = {"EC2": "EC2", "FARGATE": "Fargate", "EXTERNAL": "External"}


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """By launch type where AWS tells them so: EC2, Fargate, External."""

    container_instances: int = 0
    running: dict[str, int] = {}  # tasks
    pending: dict[str, int] = {}
    services: dict[str, int] = {}  # active ones
    draining: dict[str, int] = {}  # services that are being deleted


LAUNCH_TYPES = ("EC2", "Fargate", "External")


def of(ctx: Context, row: Cluster) -> Counts:
    """
    Args:
        row: the cluster; what is in it has its key as the first parts of its own.
    """
    running: Counter[str] = Counter()
    pending: Counter[str] = Counter()
    for task in ctx.table(TASKS).scan(row.key):
        kind = _KINDS[task.launch_type]
        if task.status == "RUNNING":
            running[kind] += 1
        elif task.status in ("PROVISIONING", "PENDING", "ACTIVATING"):
            pending[kind] += 1
    return Counts(running=dict(running), pending=dict(pending))


def statistics(counts: Counts) -> list[tuple[str, str]]:
    """As DescribeClusters tells them with STATISTICS."""
    found = []
    for kind in LAUNCH_TYPES:
        found.append((f"running{kind}TasksCount", counts.running.get(kind, 0)))
        found.append((f"pending{kind}TasksCount", counts.pending.get(kind, 0)))
    for kind in LAUNCH_TYPES:
        found.append((f"active{kind}ServiceCount", counts.services.get(kind, 0)))
        found.append((f"draining{kind}ServiceCount", counts.draining.get(kind, 0)))
    return [(name, str(count)) for name, count in found]
