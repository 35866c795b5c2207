"""Health checks, on virtual time: when they run, what they make of a container."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cloudstead.engine.errors import Conflict
from cloudstead.engine.pods import health
from cloudstead.engine.pods.simulated import Process, Program, SimulatedDriver, SimulatedMachine
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, HealthCheck, PodSpec
from cloudstead.engine.pods.states import Health, Probe
from cloudstead.kernel.simulation import Simulation
from engine_support import container_id


def probe(start: float, code: int) -> Probe:
    return Probe(start=start, end=start, exit_code=code, output="")


def judged(check: HealthCheck, *probes: Probe, began: float = 0.0) -> Health:
    now = Health(status="starting")
    for each in probes:
        now = health.judge(check, now, each, began)
    return now


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        (("CMD", "curl", "-f", "x"), ("curl", "-f", "x")),
        (("CMD-SHELL", "curl -f x || exit 1"), ("/bin/sh", "-c", "curl -f x || exit 1")),
        (("NONE",), ()),
        ((), ()),
    ],
)
def test_what_a_check_runs(test: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    assert health.arguments(HealthCheck(test=test)) == arguments
    assert (health.first(HealthCheck(test=test)) is None) == (not arguments)


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    check = HealthCheck(test=("CMD", "x"), retries=3)
    failures = [probe(n, 1) for n in range(3)]
    assert judged(check, *failures[:2]).status == "starting"
    assert judged(check, *failures).status == "unhealthy"
    assert judged(check, *failures, probe(9, 0)) == Health(status="healthy", failing_streak=0, log=(*failures, probe(9, 0)))
    assert judged(check, probe(0, 0), *failures[:2]).status == "healthy"
    assert judged(check, probe(0, 0), *failures).status == "unhealthy"


def test_failures_of_the_start_period_do_not_count_unless_it_was_well_before() -> None:
    check = HealthCheck(test=("CMD", "x"), retries=1, start_period=10)
    assert judged(check, probe(1, 1), probe(9, 1)) == Health(status="starting", log=(probe(1, 1), probe(9, 1)))
    assert judged(check, probe(1, 1), probe(11, 1)).status == "unhealthy"
    assert judged(check, probe(1, 0), probe(2, 1)).status == "unhealthy"


def test_the_last_five_probes_are_kept() -> None:
    kept = judged(HealthCheck(test=("CMD", "x")), *(probe(n, 0) for n in range(9)))
    assert [each.start for each in kept.log] == [4, 5, 6, 7, 8]


def test_no_retries_means_three() -> None:
    check = HealthCheck(test=("CMD", "x"), retries=0)
    assert judged(check, probe(1, 1), probe(2, 1)).status == "starting"
    assert judged(check, probe(1, 1), probe(2, 1), probe(3, 1)).status == "unhealthy"


def played(check: HealthCheck, well: Callable[[float], tuple[int, float]], seconds: float) -> list[tuple[float, str, int]]:
    """When each probe began, and what the container was after it. `well` says exit code and duration of a probe at a time."""
    seen: list[tuple[float, str, int]] = []

    async def run(sim: Simulation) -> None:
        began = sim.clock.time()

        async def curl(process: Process) -> int:
            code, takes = well(sim.clock.time() - began)
            await process.sleep(takes)
            process.print("x" * 5000)
            return code

        machine = SimulatedMachine.of(sim)
        machine.programs |= {"web": Program(), "curl": curl}
        driver = SimulatedDriver(sim.clock, machine=machine)
        await driver.start_driver()
        await driver.create_pod(PodSpec(id="pod", owner="test"))
        id = container_id()
        await driver.create_container("pod", ContainerSpec(id=id, layers=("image",), args=("web",), health=check))
        await driver.start(id)
        log: dict[float, tuple[str, int]] = {}
        while sim.clock.time() - began < seconds:
            await sim.clock.sleep(0.5)
            now = driver.inspect(id).health
            assert now is not None
            if now.log:
                log.setdefault(now.log[-1].start - began, (now.status, now.log[-1].exit_code))
                assert len(now.log[-1].output) <= health.LONGEST_OUTPUT
        seen.extend((start, *what) for start, what in log.items())
        await driver.stop_driver()

    Simulation(1).run(run)
    return seen


def test_the_pause_between_probes_begins_when_one_has_ended() -> None:
    check = HealthCheck(test=("CMD", "curl"), interval=10, timeout=5)
    assert played(check, lambda now: (0, 2.0), 40) == [(10, "healthy", 0), (22, "healthy", 0), (34, "healthy", 0)]


def test_while_it_starts_it_is_asked_more_often() -> None:
    check = HealthCheck(test=("CMD", "curl"), interval=30, start_period=12, start_interval=3, retries=1)
    assert played(check, lambda now: (0 if now > 8 else 1, 0.0), 45) == [
        (3, "starting", 1),
        (6, "starting", 1),
        (9, "healthy", 0),
        (39, "healthy", 0),
    ]


def test_a_probe_that_takes_too_long_is_killed_and_counts_as_failed() -> None:
    check = HealthCheck(test=("CMD", "curl"), interval=10, timeout=2, retries=2)
    assert played(check, lambda now: (0, 100.0), 30) == [(10, "starting", -1), (22, "unhealthy", -1)]


def test_a_check_that_cannot_be_run_has_failed_and_says_why() -> None:
    async def run(sim: Simulation) -> None:
        async def refuse(spec: ExecSpec) -> Awaitable[None]:
            raise Conflict("it does not run")

        told: list[Health] = []
        check = HealthCheck(test=("CMD", "x"), interval=1, retries=1)
        watching = sim.task(
            health.watch(check, Health(status="starting"), started=0, clock=sim.clock, execute=refuse, tell=told.append), "watch"
        )
        await sim.clock.sleep(1.5)
        watching.cancel()
        assert (told[0].status, told[0].log[0].exit_code, told[0].log[0].output) == ("unhealthy", -1, "it does not run")

    Simulation(1).run(run)


def test_checks_stop_with_the_container_rest_while_it_is_paused_and_begin_anew_with_it() -> None:
    async def run(sim: Simulation) -> None:
        probes: list[float] = []

        async def curl(process: Process) -> int:
            probes.append(sim.clock.monotonic())
            return 0

        machine = SimulatedMachine.of(sim)
        machine.programs |= {"web": Program(), "curl": curl}
        driver = SimulatedDriver(sim.clock, machine=machine)
        await driver.start_driver()
        await driver.create_pod(PodSpec(id="pod", owner="test"))
        id = container_id()
        check = HealthCheck(test=("CMD", "curl"), interval=10)
        await driver.create_container("pod", ContainerSpec(id=id, layers=("image",), args=("web",), health=check))
        await driver.start(id)
        await sim.clock.sleep(25)
        assert probes == [10, 20]
        await driver.pause(id)
        await sim.clock.sleep(100)
        assert probes == [10, 20]
        await driver.resume(id)
        await sim.clock.sleep(15)
        assert probes == [10, 20, 135]
        await driver.stop(id)
        await sim.clock.sleep(100)
        assert probes == [10, 20, 135]
        now = driver.inspect(id).health
        assert now is not None
        assert now.status == "healthy"
        await driver.start(id)
        now = driver.inspect(id).health
        assert now is not None
        assert (now.status, now.log) == ("starting", ())
        await driver.stop_driver()

    Simulation(1).run(run)
