"""The queries that run and have run. They are kept in memory: a restart forgets them and their results."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from cloudstead.kernel.clock import Clock
from cloudstead.services.logs.insights.worker import Job, Outcome

log = logging.getLogger(__name__)

Status: TypeAlias = Literal["Scheduled", "Running", "Complete", "Failed", "Cancelled", "Timeout"]

MOST_RUNNING = 30  # of an account in a region
AT_ONCE = 2  # processes
KEPT = 200  # queries of all accounts
LONGEST_SECONDS = 15 * 60.0
_TRIES = 5


class Run(msgspec.Struct, kw_only=True):
    """One query."""

    id: str
    account: str
    region: str
    text: str
    groups: tuple[str, ...]
    created: int  # ms
    caller: str  # ARN
    status: Status = "Scheduled"
    finished: int = 0  # ms
    outcome: Outcome = msgspec.field(default_factory=Outcome)

    @property
    def running(self) -> bool:
        return self.status in ("Scheduled", "Running")


class Queries:
    """All queries of this Cloudstead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def running(self, account: str, region: str) -> int:
        return sum(run.running for run in self.of(account, region))

    def of(self, account: str, region: str) -> list[Run]:
        """The latest first."""
        return [run for run in reversed(self._runs.values()) if (run.account, run.region) == (account, region)]

    def find(self, account: str, region: str, id_: str) -> Run | None:
        run = self._runs.get(id_)
        return run if run is not None and (run.account, run.region) == (account, region) else None

    def start(self, run: Run, job: Callable[[], Job]) -> None:
        """Run a query. `job` is asked for what there is to read when it is its turn."""
        self._runs[run.id] = run
        while len(self._runs) > KEPT and not next(iter(self._runs.values())).running:
            self._runs.popitem(last=False)
        task = self._tasks[run.id] = asyncio.create_task(self._run(run, job), name=f"logs-query-{run.id}")
        task.add_done_callback(lambda _: self._tasks.pop(run.id, None))

    def cancel(self, run: Run) -> bool:
        """Stop a query; False when it had ended."""
        if not run.running:
            return False
        run.status = "Cancelled"
        if (task := self._tasks.get(run.id)) is not None:
            task.cancel()
        return True

    async def _run(self, run: Run, job: Callable[[], Job]) -> None:
        try:
            async with self._turn:
                run.status = "Running"
                async with self._clock.timeout(LONGEST_SECONDS):
                    run.outcome = await _outcome(job)
                run.status = "Complete"
        except TimeoutError:
            run.status = "Timeout"
        except Exception:
            log.exception("Query %s failed", run.id)
            run.status = "Failed"
        finally:
            run.finished = int(self._clock.time() * 1000)


async def _outcome(job: Callable[[], Job]) -> Outcome:
    for _ in range(_TRIES):
        outcome = await _in_process(job())
        if not outcome.stale:
            return outcome
    raise RuntimeError("files of the archive kept going away")


async def _in_process(job: Job) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cloudstead.services.logs.insights.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(msgspec.msgpack.encode(job))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"the query's process ended with {process.returncode}: {errors.decode(errors='replace')[-2000:]}")
    return msgspec.msgpack.decode(output, type=Outcome)
