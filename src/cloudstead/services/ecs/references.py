"""What names a task definition or a capacity provider, so that it cannot go yet. Services and task sets come with their tables."""

from __future__ import annotations

from cloudstead.kernel.store import Store
from cloudstead.services.ecs.model import CLUSTERS, CapacityProvider, TaskDefinition
from cloudstead.services.ecs.tasks.model import TASKS


def to_task_definition(store: Store, row: TaskDefinition) -> bool:
    """Whether a task that has not stopped, or a deployment of a service, uses this revision."""
    tasks = store.table(TASKS).scan((row.account, row.region, row.family, str(row.revision)), index="by_definition")
    return any(task.status != "STOPPED" for task in tasks)


def to_capacity_provider(store: Store, row: CapacityProvider) -> list[str]:
    """The names of the active clusters that it is associated with."""
    clusters = store.table(CLUSTERS).scan((row.account, row.region))
    return [each.name for each in clusters if each.active and row.name in each.capacity_providers]
