"""A service, its deployments and its tasks as the plan sees them, and what a plan says. Times are seconds since the epoch.

The strategies BLUE_GREEN, LINEAR and CANARY have their place in `Service.strategy`; their plans are still to come.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Phase: TypeAlias = Literal["PENDING", "RUNNING", "STOPPING", "STOPPED"]
Rollout: TypeAlias = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]


class Target(msgspec.Struct, frozen=True):
    """A task in a target group."""

    group: str  # its ARN
    port: int
    state: str  # initial, healthy, unhealthy, draining, unused, unavailable
    reason: str = ""  # "Health checks failed"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    deployment: str
    created: float
    phase: Phase = "PENDING"  # PROVISIONING, PENDING and ACTIVATING are PENDING; DEACTIVATING, STOPPING and DEPROVISIONING are STOPPING
    stopping: bool = False  # STOPPED is wanted of it
    running_since: float | None = None
    checked: bool = False  # one of its essential containers has a health check
    health: Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"] = "UNKNOWN"  # of these
    targets: tuple[Target, ...] = ()
    instance: str = ""
    zone: str = ""
    leaving: bool = False  # its instance is DRAINING
    protected_until: float | None = None
    capacity_provider: str = ""
    failed: bool = (
        False  # it ended by itself, or never began: TaskFailedToStart, EssentialContainerExited. Not: its host was lost, a user stopped it
    )
    proven: bool = False  # a plan has found it healthy
    settled: bool = False  # a plan has taken account of its end


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    id: str  # ecs-svc/…
    revision: str  # what its tasks are made from
    status: Literal["PRIMARY", "ACTIVE"] = "PRIMARY"
    created: float
    updated: float
    desired: int = 0
    rollout: Rollout = "IN_PROGRESS"
    reason: str = ""
    failed: int = 0  # tasks in a row; of all when the breaker is not to forget


class Threshold(msgspec.Struct, frozen=True):
    type: Literal["BOUNDED_PERCENT", "UNBOUNDED_PERCENT", "COUNT"] = "BOUNDED_PERCENT"
    value: int = 50


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment circuit breaker, where it is enabled."""

    rollback: bool = False
    reset_on_healthy_task: bool = True
    threshold: Threshold = Threshold()


class CapacityItem(msgspec.Struct, frozen=True):
    provider: str
    weight: int = 0
    base: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan has to know of the plans before it."""

    failures: int = 0  # tasks in a row that never became healthy, over deployments
    launch_after: float = 0.0  # nothing is started before
    impaired: bool = False  # it has been said that tasks cannot be started consistently
    blocked: int = 0  # how many times in a row there was no place for a task
    steady: bool = False
    told: tuple[tuple[str, float], ...] = ()  # what was said and is not to be said again so soon


class Service(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: Literal["REPLICA", "DAEMON"] = "REPLICA"
    controller: Literal["ECS", "CODE_DEPLOY", "EXTERNAL"] = "ECS"
    strategy: Literal["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"] = "ROLLING"
    desired: int = 0  # of a REPLICA service
    minimum: int = 100  # percent; 0 for a DAEMON service that says nothing
    maximum: int = 200  # percent; 100 for a DAEMON service that says nothing
    breaker: Breaker | None = None
    grace: int = 0  # seconds for which the health checks of a new task do not count
    balanced: bool = False  # its tasks are in target groups
    settle: float = 40.0  # seconds that a task without health checks runs before it counts
    capacity: tuple[CapacityItem, ...] = ()
    ending: bool = False  # it is being deleted
    deployments: tuple[Deployment, ...]  # the PRIMARY one first, then the younger before the older
    completed: Deployment | None = None  # the last that was completed, to which may be rolled back
    state: State = State()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    tasks: tuple[Task, ...] = ()  # all that have not stopped, and those whose end is not settled
    instances: tuple[str, ...] = ()  # on which a DAEMON service is to have a task: ACTIVE, and its constraints hold


class Start(msgspec.Struct, frozen=True, kw_only=True):
    deployment: str
    count: int = 1
    capacity_provider: str = ""
    instance: str = ""  # of a DAEMON service


Why: TypeAlias = Literal["unhealthy", "replaced", "leaving", "surplus", "ending"]


class Stop(msgspec.Struct, frozen=True):
    task: str
    why: Why


class Event(msgspec.Struct, frozen=True):
    """A sentence among the service's events, and what EventBridge is told, if anything."""

    message: str
    name: str = ""  # SERVICE_STEADY_STATE …
    level: Literal["INFO", "WARN", "ERROR"] = "INFO"
    deployment: str = ""  # of a Deployment State Change


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """To be carried out in one transaction."""

    deployments: tuple[Deployment, ...]
    completed: Deployment | None
    state: State
    starts: tuple[Start, ...] = ()
    stops: tuple[Stop, ...] = ()
    proven: tuple[str, ...] = ()  # tasks to be marked so
    settled: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None  # seconds until it is time for another plan, if nothing happens before
    over: bool = False  # the service was ending, and its last task has stopped
