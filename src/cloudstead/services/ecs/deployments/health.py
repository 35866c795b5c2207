"""Which tasks count towards the minimum, and which are to be replaced.

A task counts when it runs, its essential containers' health checks pass, and its target groups find it healthy, as far as it has the one or the other.
With neither it counts when it has run for 40 seconds (`Service.settle`). What its checks say against it is not heard for the grace period.
"""

from __future__ import annotations

from cloudstead.services.ecs.deployments.model import Service, Target, Task


def alive(task: Task) -> bool:
    """It is there and is to stay."""
    return task.phase in ("PENDING", "RUNNING") and not task.stopping


def occupies(task: Task) -> bool:
    """ "The upper limit on the number of your service's tasks that are allowed in the RUNNING or PENDING state": those on their way out still are."""
    return task.phase in ("PENDING", "RUNNING")


def healthy(task: Task, service: Service, now: float) -> bool:
    if task.phase != "RUNNING" or task.stopping:
        return False
    if task.checked and task.health != "HEALTHY":
        return False
    if service.balanced:
        return bool(task.targets) and all(target.state == "healthy" for target in task.targets)
    return task.checked or _ran(task, now) >= service.settle


def unhealthy(task: Task, service: Service, now: float) -> bool:
    """A check has decided against it."""
    if task.phase != "RUNNING" or task.stopping or _ran(task, now) < service.grace:
        return False
    return (task.checked and task.health == "UNHEALTHY") or failing_target(task) is not None


def failing_target(task: Task) -> Target | None:
    return next((target for target in task.targets if target.state == "unhealthy"), None)


def changes_at(task: Task, service: Service, now: float) -> float | None:
    """When time alone may change the answers."""
    if task.phase != "RUNNING" or task.stopping or task.running_since is None:
        return None
    times = [task.running_since + service.settle, task.running_since + service.grace]
    return min((time for time in times if time > now), default=None)


def _ran(task: Task, now: float) -> float:
    return now - task.running_since if task.running_since is not None else 0.0
