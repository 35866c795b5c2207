"""An asyncio event loop on virtual time, whose order of execution follows from a seed.

A turn of the loop takes all that is ready and runs it. The steps of tasks among it are shuffled first: asyncio promises no order between
tasks, but always has one, and code comes to depend on it unnoticed. Plain callbacks keep their order, which asyncio does promise.
When nothing is ready, every task waits; then the clock moves to its next timer, and what that wakes is ready. No real time passes.

Timers of the loop (`asyncio.sleep`, `asyncio.timeout`, `call_later`) and of the VirtualClock are the same timers. `run_in_executor` runs the
function at once: threads have no place in a run that is to be repeated. What other threads hand over is taken, but when, nobody can say.

It leans on four private names of asyncio's loop and handles (_ready, _selector, _process_events, _context), the same for years (tested with Python 3.11 and 3.13).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from cloudstead.kernel.clock import VirtualClock, VirtualTimer

_REAL_PATIENCE = 2.0  # real seconds to wait for another thread when nothing else is left to wait for
_TURNS_IN_AN_INSTANT = 100_000


class Deadlock(AssertionError):
    """Every task waits, and there is no timer that could wake one."""


class Livelock(AssertionError):
    """Tasks keep each other awake without time passing."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. The three hooks are plain attributes, to be set before it runs."""

    _ready: deque[Any]
    _selector: Any
    _stopping: bool

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        super().__init__()
        self._clock = clock
        self._random = random
        self._dropped: list[Any] = []  # steps that were not taken, because their task was dead
        self.turns = 0  # since time last moved
        clock.fire = self._fire
        self.is_dead: Callable[[contextvars.Context], bool] = lambda context: False  # whether what runs in this context is to run no more
        self.on_turn: Callable[[int], None] = lambda ready: None
        self.after_step: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self._clock.monotonic()

    def call_at(  # type: ignore[override]  # typeshed names the parameters' types through variadics
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _LoopTimer(when, callback, args, self, context)
        handle.timer = self._clock.schedule(when, callback, args, context)
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def revive(self) -> None:
        """Take the dropped steps after all: without its step a task cannot even be cancelled. For cleaning up at the end."""
        self.turns = 0
        self._ready.extend(self._dropped)
        self._dropped.clear()

    def _fire(self, timer: VirtualTimer) -> None:
        callback, args = timer.callback, timer.args
        timer.cancel()
        if callback is not None:
            self.call_soon(callback, *args, context=timer.context)

    def _run_once(self) -> None:
        if not self._ready and not self._stopping:
            self._wait()
        self.turns += 1
        if self.turns > _TURNS_IN_AN_INSTANT:
            raise Livelock(f"{self.turns} turns of the event loop at the same instant")
        turn = list(self._ready)
        self._ready.clear()
        self._shuffle(turn)
        self.on_turn(len(turn))
        ran = 0
        try:
            for handle in turn:
                ran += 1
                if handle._cancelled:
                    continue
                if self.is_dead(handle._context):
                    if _is_step(handle):
                        self._dropped.append(handle)
                    continue
                handle._run()
                self.after_step()
        finally:
            self._ready.extendleft(reversed(turn[ran:]))  # nothing is lost when a check after a step ends the run

    def _shuffle(self, turn: list[Any]) -> None:
        if len(turn) < 2:
            return
        places = [place for place, handle in enumerate(turn) if _is_step(handle)]
        shuffled = [turn[place] for place in places]
        self._random.shuffle(shuffled)
        for place, handle in zip(places, shuffled, strict=True):
            turn[place] = handle

    def _wait(self) -> None:
        events = self._selector.select(0)
        if not events:
            self.turns = 0
            if self._clock.step():
                return
            events = self._selector.select(_REAL_PATIENCE)
            if not events and not self._ready:
                raise Deadlock("every task waits and no timer is set")
        self._process_events(events)  # type: ignore[attr-defined]


def _is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


class _LoopTimer(asyncio.TimerHandle):
    """What asyncio wants of a timer, in front of a timer of the clock."""

    timer: VirtualTimer

    def cancel(self) -> None:
        self.timer.cancel()
        super().cancel()
