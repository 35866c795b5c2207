"""A deployment begins: the service is created, updated with something that its tasks are made of, or told to deploy anew (forceNewDeployment)."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.deployments.model import Deployment, Service, State


def in_progress(id: str) -> str:
    return f"ECS deployment {id} in progress."


def begin(service: Service, id: str, revision: str, now: float) -> Service:
    """The service with a new PRIMARY deployment. What has kept the one before from starting tasks does not keep this one."""
    fresh = Deployment(id=id, revision=revision, created=now, updated=now, desired=service.desired, reason=in_progress(id))
    older = tuple(replace(each, status="ACTIVE") for each in service.deployments)
    return replace(service, deployments=(fresh, *older), state=State())


def unplaced(service: Service, now: float, *, first: float = 5.0, most: float = 60.0) -> State:
    """There was no place for a task: when to try again, if nothing changes on the instances before."""
    blocked = service.state.blocked + 1
    wait = min(most, first * 2.0 ** min(blocked - 1, 16))
    return replace(service.state, blocked=blocked, launch_after=max(service.state.launch_after, now + wait))


def room(service: Service) -> State:
    """Instances have come or have become emptier: whoever waited for a place tries at once."""
    return replace(service.state, blocked=0, launch_after=0.0) if service.state.blocked and not service.state.impaired else service.state


def once(state: State, about: str, now: float, every: float) -> State | None:
    """The state when something has been said again; None: it was said less than `every` seconds ago."""
    if any(name == about and now - when < every for name, when in state.told):
        return None
    return replace(state, told=(*(each for each in state.told if each[0] != about), (about, now)))


def forget(state: State, about: str) -> State:
    """The cause is gone: it may be said again."""
    return replace(state, told=tuple(each for each in state.told if each[0] != about))
