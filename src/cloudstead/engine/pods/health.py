"""Health checks, as Docker runs them.

A check runs every `interval` seconds, or every `start_interval` while the container is starting within its `start_period`; the next pause begins when
a check has ended. The container begins as *starting*. A check that passes makes it *healthy*. `retries` failures in a row make it *unhealthy*; those of
the start period do not count, unless a check has passed before. A check that takes longer than `timeout` is killed and has failed.
(moby, daemon/health.go)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.api import Execution
from cloudstead.engine.pods.specs import ExecSpec, HealthCheck
from cloudstead.engine.pods.states import Health, Probe
from cloudstead.kernel.clock import Clock

KEPT = 5  # probes
LONGEST_OUTPUT = 4096
DRAIN = 1.0  # seconds for the rest of the output of a check that has ended
DEFAULT_INTERVAL, DEFAULT_TIMEOUT, DEFAULT_START_INTERVAL, DEFAULT_RETRIES = 30.0, 30.0, 5.0, 3
NEVER_ENDED = -1  # exit code of a check that was killed or could not be run

Execute = Callable[[ExecSpec], Awaitable[Execution]]


def arguments(check: HealthCheck | None) -> tuple[str, ...]:
    """What to run; nothing when there is no check."""
    if check is None or not check.test or check.test[0] == "NONE":
        return ()
    kind, *rest = check.test
    if kind == "CMD-SHELL":
        return ("/bin/sh", "-c", " ".join(rest))
    return tuple(rest) if kind == "CMD" else check.test


def first(check: HealthCheck | None) -> Health | None:
    """How a container begins."""
    return Health(status="starting") if arguments(check) else None


def pause_before_next(check: HealthCheck, health: Health, running_for: float) -> float:
    if health.status == "starting" and running_for < check.start_period:
        return check.start_interval or DEFAULT_START_INTERVAL
    return check.interval or DEFAULT_INTERVAL


def judge(check: HealthCheck, health: Health, probe: Probe, started: float) -> Health:
    """How a container is after one more probe."""
    log = (*health.log, probe)[-KEPT:]
    if probe.exit_code == 0:
        return Health(status="healthy", log=log)
    if health.status == "starting" and probe.start - started < check.start_period:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    failed = streak >= (check.retries or DEFAULT_RETRIES)
    return Health(status="unhealthy" if failed else health.status, failing_streak=streak, log=log)


async def watch(
    check: HealthCheck, health: Health, *, started: float, clock: Clock, execute: Execute, tell: Callable[[Health], None]
) -> None:
    """Probe for ever; `tell` gets each new health."""
    while True:
        await clock.sleep(pause_before_next(check, health, clock.time() - started))
        begin = clock.time()
        exit_code, output = await probe(check, clock, execute)
        health = judge(check, health, Probe(start=begin, end=clock.time(), exit_code=exit_code, output=output), started)
        tell(health)


async def probe(check: HealthCheck, clock: Clock, execute: Execute) -> tuple[int, str]:
    """Run the check once: its exit code and what it wrote."""
    output = bytearray()
    execution: Execution | None = None
    reading: asyncio.Task[None] | None = None
    try:
        async with clock.timeout(check.timeout or DEFAULT_TIMEOUT):
            execution = await execute(ExecSpec(args=arguments(check)))
            reading = asyncio.ensure_future(_collect(execution, output))
            exit_code = await execution.wait()
            with contextlib.suppress(TimeoutError):  # what it left running in the background may hold its output open
                async with clock.timeout(DRAIN):
                    await asyncio.shield(reading)
            return exit_code, _cut(output)
    except TimeoutError:
        said = _cut(output)
        return NEVER_ENDED, f"Health check exceeded timeout ({_seconds(check.timeout or DEFAULT_TIMEOUT)})" + (f": {said}" if said else "")
    except EngineError as error:
        return NEVER_ENDED, error.message
    finally:
        if reading is not None:
            reading.cancel()
        if execution is not None:
            await asyncio.shield(_let_go(execution))


async def _collect(execution: Execution, output: bytearray) -> None:
    while (piece := await execution.streams.read()) is not None:
        output += piece[1][: max(0, LONGEST_OUTPUT + 1 - len(output))]


async def _let_go(execution: Execution) -> None:
    if execution.exit_code is None:
        with contextlib.suppress(EngineError):
            await execution.signal("SIGKILL")
    await execution.streams.close()


def _cut(output: bytes | bytearray) -> str:
    text = bytes(output[:LONGEST_OUTPUT]).decode(errors="replace")
    return text if len(output) <= LONGEST_OUTPUT else text[: LONGEST_OUTPUT - 3] + "..."


def _seconds(seconds: float) -> str:
    """As Go writes a duration: 1m30s, 2s, 500ms."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
