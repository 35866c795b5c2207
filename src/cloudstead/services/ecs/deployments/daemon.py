"""What to start and to stop of a service with one task on each instance.

The instances decide how many are desired. On an instance the old task goes before the new one comes, as far as the minimum allows at a time; only a
maximum above 100 percent lets them stand beside each other. Tasks on instances that are no longer for the service go at once.
"""

from __future__ import annotations

from cloudstead.services.ecs.deployments.accounting import Draft, launching
from cloudstead.services.ecs.deployments.choosing import protected
from cloudstead.services.ecs.deployments.health import alive, occupies, unhealthy
from cloudstead.services.ecs.deployments.limits import maximum, minimum_healthy
from cloudstead.services.ecs.deployments.model import Start, Task
from cloudstead.services.ecs.deployments.replica import tell_unhealthy


def move(draft: Draft) -> None:
    wanted = set(draft.observed.instances) if not draft.service.ending else set()
    launcher = launching(draft)
    there: dict[str, list[Task]] = {instance: [] for instance in draft.observed.instances}
    for task in draft.observed.tasks:
        if task.instance in wanted and occupies(task):
            there[task.instance].append(task)
        elif alive(task):
            draft.stop(task, "ending" if draft.service.ending else "leaving")
    _stop_old(draft, there)
    if launcher is None or draft.now < draft.state.launch_after or draft.service.ending:
        return
    room = maximum(draft.desired, draft.service.maximum) - sum(map(len, there.values()))
    for instance, tasks in there.items():
        if not any(_fits(draft, task) for task in tasks) and (not tasks or (draft.service.maximum > 100 and len(tasks) == 1)) and room > 0:
            draft.starts.append(Start(deployment=launcher.id, instance=instance))
            room -= 1


def _fits(draft: Draft, task: Task) -> bool:
    """It is what the instance should have."""
    wanted = task.deployment == draft.primary.id or draft.primary.rollout == "FAILED"
    return wanted and alive(task) and not unhealthy(task, draft.service, draft.now)


def _stop_old(draft: Draft, there: dict[str, list[Task]]) -> None:
    least = minimum_healthy(draft.desired, draft.service.minimum)
    good = sum(draft.is_good(task) for tasks in there.values() for task in tasks)
    room = maximum(draft.desired, draft.service.maximum) > sum(map(len, there.values()))
    for tasks in there.values():
        fitting = [task for task in tasks if _fits(draft, task)]
        keep = min(fitting, key=lambda task: (not draft.is_good(task), task.created, task.id), default=None)
        left = len(tasks)
        for task in sorted(tasks, key=lambda task: (draft.is_good(task), task.created, task.id)):
            if task is keep or not alive(task):
                continue
            if unhealthy(task, draft.service, draft.now):
                tell_unhealthy(draft, task)
                draft.stop(task, "unhealthy")
            elif _may_go(draft, task, keep, alone=left == 1, room=room and good >= least) and (
                task.phase == "PENDING" or good - draft.is_good(task) >= least
            ):
                draft.stop(task, "replaced")
                good -= draft.is_good(task)
                left -= 1


def _may_go(draft: Draft, task: Task, keep: Task | None, *, alone: bool, room: bool) -> bool:
    """Whether a task that is not wanted on its instance can be spared there."""
    if protected(task, draft.now):
        return False
    if keep is not None:
        return draft.is_good(keep)
    beside = alone and room and draft.service.maximum > 100  # the one that replaces it comes first
    return not beside or task.phase == "PENDING"
