"""The daemon of a simulation: a process that is killed at any moment, answers clients while it lives, and is started again.

What belongs to a life is known by a context variable, which tasks and timers inherit from whoever makes them. The event loop asks `is_dead`
before each step.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cloudstead.kernel.simulation import Simulation

T = TypeVar("T")


class Down(ConnectionError):
    """The daemon did not answer."""


class Life:
    """One life of a daemon, from its boot to its crash."""

    def __init__(self, daemon: Daemon, context: contextvars.Context) -> None:
        self.daemon = daemon
        self.context = context  # whatever runs in it, or in a copy of it, ends with this life
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.calls: dict[asyncio.Future[Any], None] = {}  # of clients who wait for an answer


current_life: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class Daemon:
    """A process that may be killed, and is started again. What `boot` reaches of the world stays; all else it made is gone."""

    def __init__(self, simulation: Simulation, boot: Callable[[], Coroutine[Any, Any, None]], name: str, down: tuple[float, float]) -> None:
        self.name = name
        self.lives = 0
        self._simulation = simulation
        self._boot = boot
        self._down = down
        self._current: Life | None = None

    def start(self) -> None:
        self.lives += 1
        self._current = life = Life(self, self._simulation.outside.copy())
        self._simulation.record(f"{self.name} starts", self.lives)
        life.context.run(current_life.set, life)
        life.context.run(self._simulation.task, self._boot(), f"{self.name} {self.lives}")

    async def call(self, handler: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Have the daemon do something and wait for its answer, as a client does.

        Raises:
            Down: it is not there, or died before it answered. What was asked for may have been done all the same.
        """
        life = self._current
        if life is None:
            raise Down(f"{self.name} does not run")
        task = life.context.copy().run(asyncio.ensure_future, handler(*args))
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        life.calls[answer] = None
        task.add_done_callback(lambda task: _pass_on(task, answer))
        try:
            return await answer
        finally:
            life.calls.pop(answer, None)

    def crash(self) -> None:
        """Die here and now; start again after a while."""
        life = self._current
        if life is None:
            return
        self._simulation.record(f"{self.name} dies", self.lives)
        self._current = None
        life.alive = False
        self._simulation.bury(life)
        for answer in life.calls:
            if not answer.done():
                answer.set_exception(Down(f"{self.name} died"))
        self._simulation.later(self._simulation.random.uniform(*self._down), self.start)


def is_dead(context: contextvars.Context) -> bool:
    life = context.get(current_life)
    return life is not None and not life.alive


def _pass_on(task: asyncio.Task[T], answer: asyncio.Future[T]) -> None:
    if answer.done():
        return
    if task.cancelled():
        answer.cancel()
    elif (error := task.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
    context: contextvars.Context | None = options.get("context")
    life = context.get(current_life) if context is not None else current_life.get()
    if life is not None:  # the event loop itself holds tasks only weakly
        life.tasks[task] = None
        task.add_done_callback(lambda task: life.tasks.pop(task, None))
    return task


def make_stillborn(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """When all is over nothing new begins, such as the next worker of a controller that was not stopped."""
    coro.close()
    return asyncio.Task(asyncio.sleep(0), loop=loop, **options)
