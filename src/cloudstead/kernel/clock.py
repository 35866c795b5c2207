"""Time. Whatever waits or asks what time it is does so through a `Clock`, so that tests can let days pass in no time.

`SystemClock` is the machine's. `VirtualClock` stands still until it is moved: by hand (`advance`), or by the event loop of
`kernel.simulation`, which moves it to the next timer each time every task waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol

NEW_YEAR_2026 = 1_767_225_600.0  # where virtual time begins unless told otherwise: 2026-01-01T00:00:00Z
_LONGEST_WAIT = 60.0  # seconds after which a timer of the system clock looks whether somebody has set the clock


class Timer(Protocol):
    """A call that is yet to be made."""

    def cancel(self) -> None:
        """Do not make it; does nothing when it was made."""


class Clock(Protocol):
    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back. For measuring how long a thing took."""

    async def sleep(self, seconds: float) -> None: ...

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back when `time()` has come to `when`, or soon if it has; never before this call returns. Needs a running event loop."""

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back after so many seconds, whatever happens to the time of day."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """`async with clock.timeout(5):` raises TimeoutError at the end of a block that was cut off. None: no limit."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        return _WallTimer(when, callback, args)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback, *args)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


class _WallTimer:
    """Waits for a time of day. Loops count elapsed time, so a long wait is cut up: a clock that was set is noticed within a minute."""

    __slots__ = ("_args", "_callback", "_handle", "_loop", "_when")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle = self._wait()

    def _wait(self) -> asyncio.Handle:
        return self._loop.call_later(min(max(0.0, self._when - time.time()), _LONGEST_WAIT), self._look)

    def _look(self) -> None:
        if time.time() < self._when:
            self._handle = self._wait()
        else:
            self._callback(*self._args)

    def cancel(self) -> None:
        self._handle.cancel()


class VirtualTimer:
    """A timer of a VirtualClock. Timers of the same instant go off in the order in which they were set."""

    __slots__ = ("args", "callback", "context", "sequence", "when")

    def __init__(self, when: float, sequence: int, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context):
        self.when = when  # of monotonic()
        self.sequence = sequence
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def __lt__(self, other: VirtualTimer) -> bool:
        return (self.when, self.sequence) < (other.when, other.sequence)


class VirtualClock:
    """A clock that stands still until it is moved. Used by one thread."""

    def __init__(self, start: float = NEW_YEAR_2026) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[VirtualTimer] = []
        self._sequence = 0
        self.fire: Callable[[VirtualTimer], None] = _call  # what to do with a timer that is due; an event loop may want to queue it

    def time(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        over = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, _finish, over)
        try:
            await over
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> VirtualTimer:
        return self.schedule(when - self._start, callback, args)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> VirtualTimer:
        return self.schedule(self._elapsed + seconds, callback, args)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return _VirtualTimeout(self, seconds)

    def schedule(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None = None
    ) -> VirtualTimer:
        """Set a timer at a moment of `monotonic()`; one that has passed goes off with the next move."""
        self._sequence += 1
        timer = VirtualTimer(max(when, self._elapsed), self._sequence, callback, args, context or contextvars.copy_context())
        heapq.heappush(self._timers, timer)
        return timer

    def next_timer(self) -> float | None:
        """The moment of `monotonic()` at which the next timer goes off."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

    def cancel_where(self, condition: Callable[[VirtualTimer], bool]) -> None:
        """Cancel the timers of which this is so."""
        for timer in self._timers:
            if timer.callback is not None and condition(timer):
                timer.cancel()

    def step(self) -> bool:
        """Move to the next timer and set off all that are due then. False when there is none."""
        due = self.next_timer()
        if due is None:
            return False
        self._elapsed = due
        while self._timers and self._timers[0].when <= due:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self.fire(timer)
        return True

    def advance(self, seconds: float) -> None:
        """Move by so many seconds; timers on the way go off in order. Tasks that they wake run when the event loop next turns."""
        target = self._elapsed + seconds
        while (due := self.next_timer()) is not None and due <= target:
            self.step()
        self._elapsed = target


class _VirtualTimeout:
    """asyncio's timeout, told by a timer of the clock that it is over."""

    __slots__ = ("_clock", "_scope", "_seconds", "_timer")

    def __init__(self, clock: VirtualClock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = asyncio.timeout(None)
        self._timer: VirtualTimer | None = None

    async def __aenter__(self) -> asyncio.Timeout:
        await self._scope.__aenter__()
        if self._seconds is not None:
            self._timer = self._clock.call_later(self._seconds, self._scope.reschedule, float("-inf"))  # a deadline long past: now
        return self._scope

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)  # raises TimeoutError


def _call(timer: VirtualTimer) -> None:
    callback, args = timer.callback, timer.args
    timer.cancel()
    if callback is not None:
        timer.context.run(callback, *args)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
