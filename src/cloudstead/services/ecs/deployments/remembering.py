"""What one plan leaves to the next (`State`), as far as placing tasks and saying things are concerned."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.deployments import sentences
from cloudstead.services.ecs.deployments.model import Event, Service, State

SAY_AGAIN = 6 * 3600.0  # "duplicate event messages are omitted until either the cause is resolved or six hours passes"
FIRST_RETRY, LAST_RETRY = 5.0, 60.0
_NO_PLACE = "no place"


def unplaced(service: Service, now: float, instance: str = "", reason: str = "") -> tuple[State, list[Event]]:
    """There was no place for a task. It is tried again after a while, if nothing changes on the instances before.

    Args:
        instance: the closest matching one, if there are any.
        reason: what it answered.
    """
    blocked = service.state.blocked + 1
    wait = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(blocked - 1, 16))
    state = replace(service.state, blocked=blocked, launch_after=max(service.state.launch_after, now + wait))
    told = once(state, _NO_PLACE, now)
    return (state, []) if told is None else (told, [sentences.no_place(service.name, instance, reason)])


def placed(service: Service) -> State:
    """All that was started has a place."""
    return replace(forget(service.state, _NO_PLACE), blocked=0) if service.state.blocked else service.state


def room(service: Service) -> State:
    """Instances have come or have become emptier: whoever waited for a place tries at once."""
    return replace(service.state, launch_after=0.0) if service.state.blocked and not service.state.impaired else service.state


def once(state: State, about: str, now: float, every: float = SAY_AGAIN) -> State | None:
    """The state when something has been said again; None: it was said not long ago."""
    if any(name == about and now - when < every for name, when in state.told):
        return None
    return replace(state, told=(*(each for each in state.told if each[0] != about), (about, now)))


def forget(state: State, about: str) -> State:
    """The cause is gone: it may be said again."""
    return replace(state, told=tuple(each for each in state.told if each[0] != about))
