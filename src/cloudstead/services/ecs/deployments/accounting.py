"""What has happened since the last plan.

A task that ended by itself before it was ever healthy, or that is stopped because its checks have decided against it, is a failure of its deployment.
A task that becomes healthy ends the row of failures. Two things follow from a row:

- *The circuit breaker*: a deployment in progress with as many failures as the threshold has FAILED. Nothing of it is started any more. If it is to be
  rolled back, the last deployment that was completed becomes PRIMARY again, under its own id, with the tasks that it still has; as it is then
  in progress, it is not one to be rolled back to before it is completed once more. Without one the service stays where it is.
- *Back-off*: when each place of the service has failed three times over, the next tasks wait 10 seconds, then twice as long each time, up to the 27
  minutes that AWS names. A new deployment or a healthy task ends it. It holds with and without the breaker.

A lost host, a task that a user stopped, a place that could not be found: none of these is the deployment's fault.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from cloudstead.services.ecs.deployments import sentences
from cloudstead.services.ecs.deployments.health import healthy
from cloudstead.services.ecs.deployments.limits import threshold
from cloudstead.services.ecs.deployments.model import Deployment, Event, Observed, Service, Start, State, Stop, Task, Why

FREE_ROUNDS = 2  # failures of each place before there is a wait
FIRST_WAIT, LONGEST_WAIT = 10.0, 27 * 60.0
_FAILED = "ECS deployment circuit breaker: tasks failed to start."


class Draft:
    """A plan while it is made."""

    def __init__(self, observed: Observed, service: Service, now: float) -> None:
        self.observed = observed
        self.service = service
        self.now = now
        self.desired = 0 if service.ending else service.desired if service.kind == "REPLICA" else len(observed.instances)
        self.deployments = list(service.deployments)
        self.completed = service.completed
        self.state: State = service.state
        self.starts: list[Start] = []
        self.stops: list[Stop] = []
        self.proven: list[str] = []
        self.settled: list[str] = []
        self.events: list[Event] = []
        self.stuck = False
        self.good = {task.id for task in observed.tasks if healthy(task, service, now)}
        self.serving = len(self.good)  # less those that this plan stops

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    def is_good(self, task: Task) -> bool:
        return task.id in self.good

    def change(self, id: str, change: Callable[[Deployment], Deployment]) -> None:
        for place, deployment in enumerate(self.deployments):
            if deployment.id == id:
                self.deployments[place] = replace(change(deployment), updated=self.now)

    def stop(self, task: Task, why: Why) -> None:
        self.stops.append(Stop(task.id, why))
        self.serving -= self.is_good(task)
        if why == "unhealthy":
            self.fail(task)

    def stopping(self) -> set[str]:
        return {stop.task for stop in self.stops}

    def fail(self, task: Task) -> None:
        """One more failure in the row. Counted at most once: afterwards the task is settled."""
        if task.settled:
            return
        if task.id not in self.settled:
            self.settled.append(task.id)
        self.change(task.deployment, lambda deployment: replace(deployment, failed=deployment.failed + 1))
        failures = self.state.failures + 1
        wait = waiting(failures, self.desired)
        self.state = replace(self.state, failures=failures, launch_after=max(self.state.launch_after, self.now + wait if wait else 0.0))
        if wait and not self.state.impaired:
            self.state = replace(self.state, impaired=True)
            self.events.append(sentences.impaired(self.service.name))


def waiting(failures: int, desired: int) -> float:
    """Seconds before the next start after so many failures in a row."""
    rounds = failures // max(1, desired) - FREE_ROUNDS
    return 0.0 if rounds < 1 else min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(rounds - 1, 16))


def take_account(draft: Draft) -> None:
    for task in draft.observed.tasks:
        if task.phase == "STOPPED" and not task.settled:
            if task.failed and not task.stopping and not task.proven:
                draft.fail(task)
            else:
                draft.settled.append(task.id)
        elif draft.is_good(task) and not task.proven:
            _prove(draft, task)


def _prove(draft: Draft, task: Task) -> None:
    draft.proven.append(task.id)
    draft.state = replace(draft.state, failures=0, impaired=False)
    if not draft.state.blocked:
        draft.state = replace(draft.state, launch_after=0.0)
    breaker = draft.service.breaker
    if breaker is None or breaker.reset_on_healthy_task:
        draft.change(task.deployment, lambda deployment: replace(deployment, failed=0))


# ── the circuit breaker ──────────────────────────────────────────────────────────────────────────────────────────────


def judge(draft: Draft) -> None:
    """Whether the deployment in progress has failed, and what becomes of it."""
    breaker, primary = draft.service.breaker, draft.primary
    if breaker is None or primary.rollout != "IN_PROGRESS" or primary.failed < threshold(draft.desired, breaker.threshold):
        return
    draft.change(primary.id, lambda deployment: replace(deployment, rollout="FAILED", reason=_FAILED))
    draft.events.append(sentences.failed(draft.service.name, primary))
    if breaker.rollback:
        _roll_back(draft)


def _roll_back(draft: Draft) -> None:
    there = next((each for each in draft.deployments[1:] if each.rollout == "COMPLETED"), None)
    target = there or draft.completed
    if target is None or target.id == draft.primary.id:
        return
    reason = f"ECS deployment circuit breaker: rolling back to deploymentId {target.id}."
    primary = replace(target, status="PRIMARY", rollout="IN_PROGRESS", reason=reason, failed=0, updated=draft.now, desired=draft.desired)
    others = [replace(each, status="ACTIVE") for each in draft.deployments if each.id != target.id]
    draft.deployments = [primary, *others]
    draft.completed = None
    draft.state = State(told=draft.state.told)
    draft.events.append(sentences.rolling_back(draft.service.name, target))


def launching(draft: Draft) -> Deployment | None:
    """The deployment whose tasks are started: the PRIMARY one, unless it has failed; then the one that still works, if there is one."""
    if draft.primary.rollout != "FAILED":
        return draft.primary
    return next((each for each in draft.deployments[1:] if each.rollout == "COMPLETED"), None)
