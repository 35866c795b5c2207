"""Restart policies: whether a container that ended is started again, and after how long.

The delay is Docker's: 100 ms, doubled with each run that lasted less than ten seconds, one minute at most, and 100 ms again after a longer run.
Deciding is pure; `Restarts` keeps the delays and the timers.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.shapes import RestartPolicy
from cloudstead.kernel.clock import Clock, Timer

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
LONG_RUN = 10.0  # seconds after which a run counts as a success


def wanted(policy: RestartPolicy, *, exit_code: int, restarts: int, stopped: bool) -> bool:
    """After an end. `restarts`: how often it was started again before; `stopped`: somebody wanted it to end."""
    if stopped:
        return False
    if policy.name == "on-failure":
        return exit_code != 0 and (policy.maximum_retry_count == 0 or restarts < policy.maximum_retry_count)
    return policy.name in ("always", "unless-stopped")


def wanted_at_boot(policy: RestartPolicy, *, exit_code: int, restarts: int, stopped: bool) -> bool:
    """When the daemon starts and finds it ended: `always` does not ask who stopped it."""
    return policy.name == "always" or wanted(policy, exit_code=exit_code, restarts=restarts, stopped=stopped)


def next_delay(before: float, ran: float) -> float:
    """`before`: the delay before the run that has just ended, 0 for none; `ran`: how long that was."""
    if before == 0 or ran >= LONG_RUN:
        return FIRST_DELAY
    return min(2 * before, LONGEST_DELAY)


class Restarts:
    """Who waits to be started again. `begin` is called when a delay is over."""

    def __init__(self, clock: Clock, begin: Callable[[str], None]) -> None:
        self._clock = clock
        self._begin = begin
        self._delays: dict[str, float] = {}
        self._timers: dict[str, Timer] = {}

    def wanted(self, row: DockerContainer, exit_code: int) -> bool:
        return wanted(row.host_config.restart_policy, exit_code=exit_code, restarts=row.restart_count, stopped=row.stopped)

    def at_boot(self, row: DockerContainer, exit_code: int) -> bool:
        return wanted_at_boot(row.host_config.restart_policy, exit_code=exit_code, restarts=row.restart_count, stopped=row.stopped)

    def schedule(self, id: str, *, ran: float) -> None:
        delay = self._delays[id] = next_delay(self._delays.get(id, 0.0), ran)
        self._cancel(id)
        self._timers[id] = self._clock.call_later(delay, self._due, id)

    def forget(self, id: str) -> None:
        """It shall not be started again; the next time the delay begins anew."""
        self._delays.pop(id, None)
        self._cancel(id)

    def close(self) -> None:
        for id in list(self._timers):
            self._cancel(id)

    def _due(self, id: str) -> None:
        self._timers.pop(id, None)
        self._begin(id)

    def _cancel(self, id: str) -> None:
        timer = self._timers.pop(id, None)
        if timer is not None:
            timer.cancel()
