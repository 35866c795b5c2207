"""What to start and to stop of a service with so many tasks, so that they become those of its deployment.

    occupied   tasks that are PENDING or RUNNING, those on their way out included: never started beyond the maximum
    good       tasks that count: never stopped below the minimum by us
    keepers    tasks of the deployment that nothing speaks against: as many are wanted as the service desires

Missing keepers are started as far as the maximum leaves room. Then goes what is no keeper (of older deployments, unhealthy, on a draining instance),
by this rule: **while the new ones could all be started, a good task goes only when another has come for it; when some could not, for want of room or of
a place, tasks go down to the minimum to make room.** So a service with room to spare never serves with less than it desires, and one without is
not stuck. A new version whose tasks keep failing makes no room for itself: what only waits for its time is not short of anything.

What is not good is stopped by how far it came: PENDING at once; RUNNING but not counted yet as if it were good, since it may serve; unhealthy without
ever having been healthy at once; unhealthy after having been healthy when its replacement is good, or, where the maximum leaves no room to start one
first, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstead.services.ecs.deployments import sentences
from cloudstead.services.ecs.deployments.accounting import Draft, launching
from cloudstead.services.ecs.deployments.choosing import in_order, protected
from cloudstead.services.ecs.deployments.health import alive, failing_target, occupies, unhealthy
from cloudstead.services.ecs.deployments.limits import maximum, minimum_healthy
from cloudstead.services.ecs.deployments.model import Start, Task, Why


def move(draft: Draft) -> None:
    service, now = draft.service, draft.now
    live = [task for task in draft.observed.tasks if alive(task)]
    bad = {task.id for task in live if unhealthy(task, service, now)}
    launcher = launching(draft)
    keepers = [task for task in live if task.id not in bad and not task.leaving and _kept(draft, task)]
    kept = {task.id for task in keepers}
    others = [task for task in live if task.id not in kept]

    need = max(0, draft.desired - len(keepers)) if launcher is not None else 0
    occupied = sum(map(occupies, draft.observed.tasks))
    room = max(0, maximum(draft.desired, service.maximum) - occupied)
    waits = now < draft.state.launch_after
    if need and launcher is not None and room and not waits:
        draft.starts.append(Start(deployment=launcher.id, count=min(need, room)))
    short = max(0, need - room)
    if need and waits and draft.state.blocked:
        short = need

    unserving = _stop_bad(draft, [task for task in others if task.id in bad], short)
    _stop_others(draft, [task for task in others if task.id not in bad], live, short - unserving)
    _stop_surplus(draft, keepers)
    draft.stuck = short > 0 and not draft.stops and not draft.starts and not draft.state.blocked and _at_rest(draft)


def _kept(draft: Draft, task: Task) -> bool:
    """Of the deployment that is wanted. When that has failed and nothing is to follow it, whatever there is stays."""
    return task.deployment == draft.primary.id or draft.primary.rollout == "FAILED"


def _stop_bad(draft: Draft, bad: list[Task], short: int) -> int:
    """Stop unhealthy tasks. Returns how many."""
    stopped = 0
    replaced = draft.serving >= draft.desired
    for task in sorted(bad, key=lambda task: (task.proven, task.created, task.id)):
        if task.proven and not replaced and (short <= 0 or stopped):
            continue
        tell_unhealthy(draft, task)
        draft.stop(task, "unhealthy")
        stopped += 1
    return stopped


def _stop_others(draft: Draft, others: list[Task], live: list[Task], short: int) -> None:
    least = minimum_healthy(draft.desired, draft.service.minimum)
    floor = least if short > 0 else max(least, draft.desired)
    for task in _free(draft, others):
        if task.phase == "PENDING":
            draft.stop(task, _why(task))
            short -= 1
    making_room = floor < draft.desired
    for task in in_order((task for task in _free(draft, others) if task.phase == "RUNNING"), live, draft.is_good):
        after = draft.serving - draft.is_good(task)
        if after < floor or (making_room and short <= 0 and after < draft.desired):
            break
        draft.stop(task, _why(task))
        short -= 1


def _stop_surplus(draft: Draft, keepers: list[Task]) -> None:
    surplus = len(keepers) - draft.desired
    if surplus <= 0:
        return
    least = minimum_healthy(draft.desired, draft.service.minimum)
    for task in in_order(_free(draft, keepers), keepers, draft.is_good):
        if surplus == 0 or draft.serving - draft.is_good(task) < min(least, draft.serving):
            break
        draft.stop(task, "ending" if draft.service.ending else "surplus")
        surplus -= 1


def _free(draft: Draft, tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if draft.service.ending or not protected(task, draft.now)]


def _why(task: Task) -> Why:
    return "leaving" if task.leaving else "replaced"


def _at_rest(draft: Draft) -> bool:
    """Nothing is under way that could make room."""
    return all(draft.is_good(task) and not protected(task, draft.now) for task in draft.observed.tasks if occupies(task))


def tell_unhealthy(draft: Draft, task: Task) -> None:
    target = failing_target(task)
    name = draft.service.name
    draft.events.append(sentences.failed_checks(name, task) if target is None else sentences.unhealthy_target(name, target))
