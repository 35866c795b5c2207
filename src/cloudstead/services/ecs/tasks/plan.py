"""What is to be done next for a task. Pure: from what is seen of its containers, its row and its definition, to steps.

    PROVISIONING ─ Prepare ▶ PENDING ─ Create, Start … ▶ ACTIVATING ▶ RUNNING ─┐
          └── it cannot be prepared ──────────────┴── an essential one ends ────┴▶ DEACTIVATING ▶ STOPPING ─ Halt … ▶ DEPROVISIONING ─ Clean ▶ STOPPED

Containers start when those that they depend on are far enough, and stop before those.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cloudstead.engine.pods.states import ContainerStatus
from cloudstead.kernel.reconcile import Actions
from cloudstead.services.ecs.definition import ContainerDefinition, ContainerDependency, Definition
from cloudstead.services.ecs.tasks.model import KEPT, StopCode, Task, TaskContainer

OUT_OF_MEMORY: Final = "OutOfMemoryError: Container killed due to memory usage"
RESTART_PERIOD: Final = 300.0
AGAIN: Final = 1.0  # seconds, where nobody tells that something is over


class Problem(msgspec.Struct, frozen=True):
    """Why a task cannot start."""

    reason: str
    container: str = ""  # whose fault it is


class Prepare(msgspec.Struct, frozen=True):
    """Get what its containers need."""


class Create(msgspec.Struct, frozen=True):
    """Make pod and containers; those that are there stay."""


class Start(msgspec.Struct, frozen=True):
    container: str


class Halt(msgspec.Struct, frozen=True):
    container: str


class Cancel(msgspec.Struct, frozen=True):
    """Prepare no further."""


class Clean(msgspec.Struct, frozen=True):
    """Deliver the rest of its output, then remove pod, volumes and interface."""


class Note(msgspec.Struct, frozen=True):
    """Write it into the row."""

    changes: dict[str, Any]


class Forget(msgspec.Struct, frozen=True):
    """Move the row to the archive."""


Step: TypeAlias = Prepare | Create | Start | Halt | Cancel | Clean | Note | Forget


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    containers: dict[str, ContainerStatus] = {}  # by name
    prepared: bool = False
    preparing: bool = False
    problem: Problem | None = None
    halting: frozenset[str] = frozenset()  # those that are being stopped


class Wanted(msgspec.Struct, frozen=True):
    row: Task
    definition: Definition  # with its overrides


def plan(seen: Seen, wanted: Wanted | None, now: float) -> Actions[Step]:
    if wanted is None:
        return Actions()
    if wanted.row.status == "STOPPED":
        left = wanted.row.stopped + KEPT - now
        return Actions((Forget(),)) if left <= 0 else Actions((), min(left, KEPT))
    containers = tuple(noted(each, seen.containers.get(each.name)) for each in wanted.row.containers)
    noting: tuple[Step, ...] = (Note({"containers": containers}),) if containers != wanted.row.containers else ()
    wanted = Wanted(replace(wanted.row, containers=containers), wanted.definition)
    further = _run(seen, wanted, now) if wanted.row.desired == "RUNNING" else _end(seen, wanted, now)
    return Actions((*noting, *further.steps), further.requeue_after)


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(seen: Seen, wanted: Wanted, now: float) -> Actions[Step]:
    row = wanted.row
    if seen.problem is not None:
        return Actions((_stop("TaskFailedToStart", seen.problem.reason, now),))
    if any(each.status == "PENDING" and each.name not in seen.containers for each in row.containers):
        if seen.prepared:
            return Actions((Create(),))
        return Actions() if seen.preparing else Actions((Prepare(),))
    steps: list[Step] = []
    later: list[float] = []
    for each in wanted.definition.container_definitions:
        known = row.container(each.called)
        if known is None:
            continue
        if known.status == "PENDING":
            waits = _waits(row, wanted.definition, each, now)
            if isinstance(waits, Problem):
                return Actions((_stop("TaskFailedToStart", waits.reason, now),))
            if waits is None:
                steps.append(Start(each.called))
            else:
                later.append(waits)
        elif known.status == "STOPPED" and restarts(each, known):
            steps.append(Note({"containers": _replaced(row, replace(known, restarts=known.restarts + 1))}))
            steps.append(Start(each.called))
        elif known.status == "STOPPED" and each.essential is not False:
            return Actions((_gone(known, now),))
    if steps:
        return Actions(tuple(steps))
    if row.status in ("PROVISIONING", "PENDING", "ACTIVATING") and all(each.status != "PENDING" for each in row.containers):
        return Actions((Note({"status": "ACTIVATING"}), Note({"status": "RUNNING", "started": now})))
    waiting = [each for each in later if each > 0]
    return Actions((), min(waiting) if waiting else None)


def _gone(known: TaskContainer, now: float) -> Note:
    if known.exit_code is None or (not known.started and known.reason):
        return _stop("TaskFailedToStart", known.reason or "Task failed to start", now)
    return _stop("EssentialContainerExited", "Essential container in task exited", now)


def _stop(code: StopCode, reason: str, now: float) -> Note:
    return Note({"desired": "STOPPED", "stop_code": code, "stopped_reason": reason[:1024], "stopping": now})


def _replaced(row: Task, container: TaskContainer) -> tuple[TaskContainer, ...]:
    return tuple(container if each.name == container.name else each for each in row.containers)


def dependencies(each: ContainerDefinition) -> tuple[ContainerDependency, ...]:
    """With those that follow from volumesFrom."""
    said = each.depends_on or ()
    named = {one.container_name for one in said}
    more = [one.source_container for one in each.volumes_from or () if one.source_container and one.source_container not in named]
    return (*said, *(ContainerDependency(container_name=name, condition="START") for name in more))


def _waits(row: Task, definition: Definition, each: ContainerDefinition, now: float) -> float | Problem | None:
    """None: it may start. Else for how many seconds it may have to wait at most (0: nobody knows), or why it never can start."""
    longest: float | None = None
    for dependency in dependencies(each):
        other, its = row.container(dependency.container_name), definition.container(dependency.container_name)
        if other is None or its is None:
            continue
        far = reached(other, dependency.condition)
        if far is None:
            reason = f"Container {each.called} failed to start: dependency {other.name} did not reach the condition {dependency.condition}."
            return Problem(reason, each.called)
        if far:
            continue
        left = 0.0
        if its.start_timeout and other.started:
            left = other.started + its.start_timeout - now
            if left <= 0:
                reason = f"Container {each.called} failed to start: dependency {other.name} timed out waiting for the condition {dependency.condition}."
                return Problem(reason, each.called)
        longest = left if longest is None or 0 < left < longest or not longest else longest
    return longest


def reached(other: TaskContainer, condition: str) -> bool | None:
    """Whether a container is as far as one that depends on it needs; None: it will never be."""
    ended = other.status == "STOPPED"
    if condition == "START":
        return True if other.started else None if ended else False
    if condition == "COMPLETE":
        return ended
    if condition == "SUCCESS":
        return (other.exit_code == 0 or None) if ended else False
    return None if ended else other.health == "HEALTHY"


def restarts(each: ContainerDefinition, known: TaskContainer) -> bool:
    """Whether a container that has ended is started again: it must have run for the period of its policy."""
    policy = each.restart_policy
    if policy is None or not policy.enabled or not known.started or known.exit_code in (policy.ignored_exit_codes or ()):
        return False
    return known.finished - known.started >= (policy.restart_attempt_period or RESTART_PERIOD)


# ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _end(seen: Seen, wanted: Wanted, now: float) -> Actions[Step]:
    row, steps = wanted.row, list[Step]()
    if seen.preparing:
        steps.append(Cancel())
    if row.status in ("ACTIVATING", "RUNNING"):
        steps.append(Note({"status": "DEACTIVATING"}))
    if row.status not in ("STOPPING", "DEPROVISIONING"):
        steps.append(Note({"status": "STOPPING", "stopping": row.stopping or now}))
    alive = {each.name for each in row.containers if each.status == "RUNNING"}
    needed = {one.container_name for each in wanted.definition.container_definitions if each.called in alive for one in dependencies(each)}
    steps += [Halt(each.name) for each in row.containers if each.name in alive - needed - seen.halting]
    if alive:
        return Actions(tuple(steps), AGAIN)
    if row.status != "DEPROVISIONING":
        ended = tuple(replace(each, status="STOPPED") for each in row.containers)
        steps.append(Note({"status": "DEPROVISIONING", "containers": ended, "execution_stopped": now}))
    steps += [Clean(), Note({"status": "STOPPED", "stopped": now})]
    return Actions(tuple(steps))


# ── what is seen of a container ──────────────────────────────────────────────────────────────────────────────────────


def noted(known: TaskContainer, status: ContainerStatus | None) -> TaskContainer:
    """What the row is to say of a container that the engine tells so."""
    if status is None:
        return replace(known, status="STOPPED", reason=known.reason or "The container is gone.") if known.status == "RUNNING" else known
    if status.state in ("running", "paused"):
        return replace(known, status="RUNNING", started=status.started, finished=0.0, exit_code=None, reason="", health=_health(status))
    if status.state == "created" and not status.error:
        return known
    failed = status.error and not status.started
    reason = f"CannotStartContainerError: {status.error}" if failed else OUT_OF_MEMORY if status.oom_killed else status.error
    return replace(
        known,
        status="STOPPED",
        started=status.started,
        finished=status.finished,
        exit_code=None if failed else status.exit_code,
        reason=reason[:1024],
        health="UNKNOWN" if failed else known.health,
    )


def _health(status: ContainerStatus) -> Any:
    found = status.health.status if status.health is not None else "none"
    return {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}.get(found, "UNKNOWN")
