"""What drivers with a host have in common: bringing what is known to what is there, and hearing of what happens."""

from __future__ import annotations

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods import recovery
from cloudstead.engine.pods.commands import ContainerExited, ContainerOom, FoundContainer
from cloudstead.engine.pods.lifecycle import Lifecycle
from cloudstead.engine.pods.records import Container
from cloudstead.engine.pods.states import Exit
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

LOST = 255  # exit code of a container whose end nobody saw, as dockerd gives it


class Reconciling(Lifecycle):
    """After the daemon, the host or the machine came back."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._looked_at: set[str] = set()  # containers that are to be looked at once more

    async def _list(self, only: tuple[str, ...] = ()) -> list[FoundContainer]:
        """What is there: all, or of these containers those that are."""
        raise NotImplementedError

    async def _reconcile(self) -> None:
        """Bring what is known to what is there; tells what happened meanwhile, in the order in which it did.

        The list may tell how a container was before what somebody does with it now, or did while the list was made. Such are looked at once more
        when that is over: an end that nobody was there to tell would else not be noticed, and what waits for it go on waiting.
        """
        before = {id: container.status for id, container in self.records.containers.items() if not container.lock.locked()}
        found = {each.id: each for each in await self._list()}
        for container in sorted(self.records.containers.values(), key=lambda container: _when(found.get(container.id))):
            if container.status is before.get(container.id) and not container.lock.locked():
                seen = found.get(container.id)
                self._carry_out(recovery.plan(container.status, seen), container, seen)
            elif container.id not in self._looked_at:
                self._looked_at.add(container.id)
                self._spawn(self._look_again(container))
        for pod in self.records.pods.values():
            self._leave_later(pod)

    async def _look_again(self, container: Container) -> None:
        """The same for one, while nobody else changes it. Of its end it may be told all the same."""
        try:
            async with container.lock:
                self._looked_at.discard(container.id)  # from here on it is seen as it is now
                while not container.removed:
                    known = container.status
                    seen = next(iter(await self._list((container.id,))), None)
                    if container.status is known:
                        self._carry_out(recovery.plan(known, seen), container, seen)
                        break
        except EngineError:  # the host has ended once more: the next one is asked for all
            pass
        finally:
            self._looked_at.discard(container.id)
        if not container.pod.removed:
            self._leave_later(container.pod)

    def _carry_out(self, steps: tuple[recovery.Step, ...], container: Container, found: FoundContainer | None) -> None:
        for step in steps:
            if step == "lose":
                self._has_ended(container, 0, Exit(code=LOST, error="it was gone when the machine or its engine came back"))
            elif step == "clean":
                self._spawn(self._after_end(container))
            elif found is not None and step == "begin":
                self._is_running(container, found.pid, found.started)
            elif found is not None and step == "end":
                how = Exit(code=found.exit_code, oom_killed=found.oom_killed, finished=found.finished)
                self._has_ended(container, 0, how)
            elif found is not None and step == "adopt":
                self._adopt(container, found)

    def _adopt(self, container: Container, found: FoundContainer) -> None:
        state = found.state if found.state in ("running", "paused") else "running"
        if state != container.status.state or found.pid != container.status.pid:
            self.records.set(container, state=state, pid=found.pid)
        if state == "paused" and container.killed:
            self._spawn(self._let_die(container))
        if state == "running" and container.id not in self._watches:
            self._watch_health(container)

    # what the host tells

    def _exited(self, event: ContainerExited) -> None:
        container = self.records.containers.get(event.id)
        if container is not None:
            how = Exit(code=event.exit_code, oom_killed=event.oom_killed, finished=event.finished)
            self._has_ended(container, event.pid, how)

    def _oom(self, event: ContainerOom) -> None:
        container = self.records.containers.get(event.id)
        if container is not None:
            self._out_of_memory(container)


def _when(found: FoundContainer | None) -> float:
    return 0.0 if found is None else found.finished or found.started
