"""A service's events, in AWS's words: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html"""

from __future__ import annotations

from collections.abc import Sequence

from cloudstead.services.ecs.deployments.model import Deployment, Event, Target, Task

_MORE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
_AT_ONCE = 10  # tasks that one sentence names

# What the closest matching instance lacked; another reason is given as it is.
_LACKS = {
    "RESOURCE:CPU": "has insufficient CPU units available",
    "RESOURCE:MEMORY": "has insufficient memory available",
    "RESOURCE:PORTS": "is already using a port required by your task",
    "ATTRIBUTE": "is missing an attribute required by your task",
    "AGENT": "doesn't have the agent connected",
}


def started(service: str, tasks: Sequence[str]) -> list[Event]:
    return [Event(f"(service {service}) has started {len(some)} tasks: {_named(some)}.") for some in _parts(tasks)]


def stopped(service: str, tasks: Sequence[str]) -> list[Event]:
    return [Event(f"(service {service}) has stopped {len(some)} running tasks: {_named(some)}.") for some in _parts(tasks)]


def draining(service: str, tasks: Sequence[str]) -> list[Event]:
    return [Event(f"(service {service}) has begun draining connections on {len(some)} tasks.") for some in _parts(tasks)]


def registered(service: str, targets: int, group: str) -> Event:
    return Event(f"(service {service}) registered {targets} targets in (target-group {group})")


def deregistered(service: str, targets: int, group: str) -> Event:
    return Event(f"(service {service}) deregistered {targets} targets in (target-group {group})")


def steady(service: str) -> Event:
    return Event(f"(service {service}) has reached a steady state.", "SERVICE_STEADY_STATE")


def impaired(service: str) -> Event:
    return Event(f"(service {service}) is unable to consistently start tasks successfully. {_MORE}", "SERVICE_TASK_START_IMPAIRED", "WARN")


def stuck(service: str) -> Event:
    return Event(
        f"(service {service}) was unable to stop or start tasks during a deployment because of the service deployment configuration. "
        "Update the minimumHealthyPercent or maximumPercent value and try again.",
        "SERVICE_TASK_CONFIGURATION_FAILURE",
        "ERROR",
    )


def failed_checks(service: str, task: Task) -> Event:
    return Event(f"(service {service}) (task {task.id}) failed container health checks.")


def unhealthy_target(service: str, target: Target) -> Event:
    reason = target.reason or "Health checks failed"
    return Event(f"(service {service}) (port {target.port}) is unhealthy in (target-group {target.group}) due to (reason {reason}).")


def completed(service: str, deployment: Deployment) -> Event:
    message = f"(service {service}) (deployment {deployment.id}) deployment completed."
    return Event(message, "SERVICE_DEPLOYMENT_COMPLETED", deployment=deployment.id)


def failed(service: str, deployment: Deployment) -> Event:
    message = f"(service {service}) (deployment {deployment.id}) deployment failed: tasks failed to start."
    return Event(message, "SERVICE_DEPLOYMENT_FAILED", "ERROR", deployment.id)


def rolling_back(service: str, deployment: Deployment) -> Event:
    message = f"(service {service}) rolling back to deployment {deployment.id}."
    return Event(message, "SERVICE_DEPLOYMENT_IN_PROGRESS", deployment=deployment.id)


def no_place(service: str, instance: str, reason: str) -> Event:
    """
    Args:
        instance: the closest matching one; empty: there are none at all.
        reason: what it answered.
    """
    about = f"(service {service}) was unable to place a task because no container instance met all of its requirements."
    if not instance:
        return Event(
            f"{about} Reason: No Container Instances were found in your cluster. {_MORE}", "SERVICE_TASK_PLACEMENT_FAILURE", "ERROR"
        )
    lacks = _LACKS.get(reason, f'encountered error "{reason}"')
    return Event(
        f"{about} The closest matching (container-instance {instance}) {lacks}. {_MORE}", "SERVICE_TASK_PLACEMENT_FAILURE", "ERROR"
    )


def _named(tasks: Sequence[str]) -> str:
    return " ".join(f"(task {task})" for task in tasks)


def _parts(tasks: Sequence[str]) -> list[Sequence[str]]:
    return [tasks[at : at + _AT_ONCE] for at in range(0, len(tasks), _AT_ONCE)]
