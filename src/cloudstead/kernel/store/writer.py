"""Who makes batches durable.

`ThreadWriter` has one thread that takes batches and other jobs in order, so the event loop never waits for a disk. `InlineWriter` writes at
once, on the loop: for backends in memory, and for simulations, where a thread would make runs differ.

The thread needs Python's lock a dozen times in a batch, for a moment each. An event loop that is never idle lets go of it often, but takes it back
before a thread on another core has woken up; and a thread that was woken in vain begins to count anew the time after which it may insist. Writes
then take seconds. So while a batch is in flight the loop steps aside once a millisecond, long enough to be overtaken. (Measured with a loop kept
busy by 100 µs callbacks and 16 callers: 8 writes a second without, 2,800 with it.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from cloudstead.kernel.store.backend import Backend, Batch
from cloudstead.kernel.store.failures import WriteFailed

log = logging.getLogger(__name__)

Done: TypeAlias = Callable[[Exception | None], None]

STEP_ASIDE = 0.001  # seconds between two naps of a loop that has a batch in flight
NAP = 0.00002  # seconds; with the kernel's timer slack about 70 µs, a thread wakes in less

PAUSES = (0.01, 0.05, 0.2)  # seconds between the attempts at a batch when the failure may pass


class Writer(Protocol):
    def write(self, batch: Batch, done: Done) -> None:
        """Write a batch and then call back on the event loop, with what went wrong if something did. Needs a running loop."""
        ...

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do something else with the backend, between batches."""
        ...

    def close(self) -> None:
        """Return when everything that was asked for is done."""
        ...


def write_with_patience(backend: Backend, batch: Batch) -> Exception | None:
    """Write, again after a while if the failure is one that passes; the failure, or None."""
    for pause in (*PAUSES, None):
        try:
            backend.write(batch)
            return None
        except WriteFailed as error:
            if pause is None or not error.transient:
                return error
            log.warning("a batch of %d writes failed, trying again: %s", len(batch), error)
            time.sleep(pause)
        except Exception as error:
            log.exception("a batch of %d writes failed", len(batch))
            return error
    return None


class ThreadWriter:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._in_flight = 0  # jobs that the loop waits for
        self._naps_due = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, batch: Batch, done: Done) -> None:
        loop = asyncio.get_running_loop()

        def landed(error: Exception | None) -> None:
            self._in_flight -= 1
            done(error)

        def job() -> None:
            error = write_with_patience(self._backend, batch)
            with contextlib.suppress(RuntimeError):  # the loop was closed without closing the store
                loop.call_soon_threadsafe(landed, error)

        self._in_flight += 1
        self._jobs.put(job)
        if not self._naps_due:
            self._naps_due = True
            loop.call_later(STEP_ASIDE, self._step_aside, loop)

    def _step_aside(self, loop: asyncio.AbstractEventLoop) -> None:
        self._naps_due = self._in_flight > 0
        if self._naps_due:
            time.sleep(NAP)
            loop.call_later(STEP_ASIDE, self._step_aside, loop)

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            try:
                answer = (future.set_result, job())
            except Exception as error:
                answer = (future.set_exception, error)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_answer, future, *answer)

        self._jobs.put(work)
        return future

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class InlineWriter:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def write(self, batch: Batch, done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, write_with_patience(self._backend, batch))

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(job())
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass


def _answer(future: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        settle(value)
