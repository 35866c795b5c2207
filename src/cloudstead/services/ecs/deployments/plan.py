"""The plan of a service: takes account of what has happened, decides what to start and to stop, and concludes how far its deployments are."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.deployments import daemon, replica, sentences
from cloudstead.services.ecs.deployments.accounting import Draft, judge, take_account
from cloudstead.services.ecs.deployments.capacity import distribute
from cloudstead.services.ecs.deployments.health import alive, changes_at, occupies
from cloudstead.services.ecs.deployments.model import Event, Observed, Plan, Service, Start
from cloudstead.services.ecs.deployments.remembering import SAY_AGAIN, forget, once


class Unplanned(ValueError):
    """A kind of deployment that is not ours to plan: another controller's, or a strategy to come."""


def plan(observed: Observed, service: Service, now: float) -> Plan:
    """
    Raises:
        Unplanned
    """
    if service.controller != "ECS":
        raise Unplanned(f"deployment controller {service.controller}")
    if service.strategy != "ROLLING":
        raise Unplanned(f"deployment strategy {service.strategy}")
    draft = Draft(observed, service, now)
    take_account(draft)
    judge(draft)
    (daemon if service.kind == "DAEMON" else replica).move(draft)
    _conclude(draft)
    stopped = [stop.task for stop in draft.stops]
    return Plan(
        deployments=tuple(draft.deployments),
        completed=draft.completed,
        state=draft.state,
        starts=_over_capacity(draft),
        stops=tuple(draft.stops),
        proven=tuple(draft.proven),
        settled=tuple(draft.settled),
        events=(*draft.events, *sentences.stopped(service.name, stopped)),
        requeue_after=_next_look(draft),
        over=service.ending and all(task.phase == "STOPPED" for task in observed.tasks),
    )


def _conclude(draft: Draft) -> None:
    """Which deployments there still are, how far they are, and whether the service is steady."""
    stopping = draft.stopping()
    there = [task for task in draft.observed.tasks if occupies(task)]
    live = [task for task in there if alive(task) and task.id not in stopping]
    primary = draft.primary
    inhabited = {task.deployment for task in there}
    draft.deployments = [each for each in draft.deployments if each.id == primary.id or each.id in inhabited]
    alone = all(task.deployment == primary.id for task in there) and len(live) == len(there)
    complete = alone and len(live) == draft.desired and all(map(draft.is_good, live)) and not draft.starts and not draft.stuck
    if complete and primary.rollout == "IN_PROGRESS":
        reason = f"ECS deployment {primary.id} completed."
        draft.change(primary.id, lambda deployment: replace(deployment, rollout="COMPLETED", reason=reason, failed=0))
        draft.completed = draft.primary
        draft.events.append(sentences.completed(draft.service.name, primary))
    counts = {each.id: sum(task.deployment == each.id for task in live) for each in draft.deployments}
    draft.deployments = [
        replace(each, desired=draft.desired if each.id == primary.id and each.rollout != "FAILED" else counts[each.id])
        for each in draft.deployments
    ]
    _say(draft, complete)


def _say(draft: Draft, steady: bool) -> None:
    """What a service says again and again while it is so, and only once in six hours."""
    if not steady and draft.state.steady:
        draft.state = replace(forget(draft.state, "steady"), steady=False)
    if steady:
        draft.state = replace(draft.state, steady=True)
        _once(draft, "steady", sentences.steady(draft.service.name))
    if draft.stuck:
        _once(draft, "stuck", sentences.stuck(draft.service.name))
    else:
        draft.state = forget(draft.state, "stuck")


def _once(draft: Draft, about: str, event: Event) -> None:
    told = once(draft.state, about, draft.now)
    if told is not None and not draft.service.ending:
        draft.state = told
        draft.events.append(event)


def _over_capacity(draft: Draft) -> tuple[Start, ...]:
    """Each start, over the capacity providers of the service."""
    if not draft.service.capacity or draft.service.kind == "DAEMON":
        return tuple(draft.starts)
    running: dict[str, int] = {}
    stopping = draft.stopping()
    for task in draft.observed.tasks:
        if alive(task) and task.id not in stopping:
            running[task.capacity_provider] = running.get(task.capacity_provider, 0) + 1
    return tuple(
        replace(start, count=count, capacity_provider=provider)
        for start in draft.starts
        for provider, count in distribute(draft.service.capacity, running, start.count)
    )


def _next_look(draft: Draft) -> float | None:
    now, times = draft.now, []
    if draft.state.launch_after > now:
        times.append(draft.state.launch_after)
    for task in draft.observed.tasks:
        times += [time for time in (changes_at(task, draft.service, now), task.protected_until) if time is not None and time > now]
    times += [when + SAY_AGAIN for name, when in draft.state.told if name == "steady"]
    return min((time - now for time in times if time > now), default=None)
