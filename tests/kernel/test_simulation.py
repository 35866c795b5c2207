"""The simulation itself: virtual time, order by seed, faults, crashes, and what a failure tells. Its use is shown in test_simulation_fleet.py."""

from __future__ import annotations

import asyncio
import time

import pytest

from cloudstead.kernel import ids
from cloudstead.kernel.simulation import DAY, Down, Fault, InjectedFault, Simulation, seeds
from cloudstead.kernel.virtual_loop import Deadlock, Livelock


def test_a_year_passes_in_no_time():
    async def scenario(sim):
        for _ in range(365):
            await sim.clock.sleep(DAY / 2)
            await asyncio.sleep(DAY / 2)  # asyncio's own timers are on the same time
        return sim.clock.monotonic()

    started = time.monotonic()
    assert Simulation().run(scenario) == 365 * DAY
    assert time.monotonic() - started < 5


def test_time_moves_only_when_every_task_waits():
    async def scenario(sim):
        seen = []

        async def busy():
            for _ in range(50):
                seen.append(sim.clock.monotonic())
                await asyncio.sleep(0)

        sim.clock.call_later(0.001, seen.append, "timer")
        await asyncio.gather(busy(), busy(), busy())
        await sim.clock.sleep(1)
        return seen

    assert Simulation().run(scenario) == [0.0] * 150 + ["timer"]


def order_of_tasks(seed):
    async def scenario(sim):
        order = []

        async def step(number):
            order.append(number)
            sim.record("step", number)

        await asyncio.gather(*(step(number) for number in range(10)))
        return order

    simulation = Simulation(seed)
    return simulation.run(scenario), simulation.trace


def test_the_order_of_ready_tasks_and_the_trace_follow_from_the_seed():
    assert order_of_tasks(1) == order_of_tasks(1)
    orders = {tuple(order_of_tasks(seed)[0]) for seed in range(20)}
    traces = {order_of_tasks(seed)[1] for seed in range(20)}
    assert len(orders) == len(traces) == 20
    assert all(sorted(order) == list(range(10)) for order in orders)


def test_plain_callbacks_keep_their_order():
    async def scenario(sim):
        heard = []
        for number in range(100):
            asyncio.get_running_loop().call_soon(heard.append, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return heard

    assert Simulation(3).run(scenario) == list(range(100))


def test_names_follow_from_the_seed():
    async def scenario(sim):
        return ids.request_id(), sim.random.random()

    assert Simulation(1).run(scenario) == Simulation(1).run(scenario) != Simulation(2).run(scenario)


def test_a_failure_tells_its_seed_its_time_and_how_to_see_it_again():
    async def scenario(sim):
        await sim.clock.sleep(DAY)
        sim.record("last thing", "done")
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong") as raised:
        Simulation(41).run(scenario)
    (note,) = raised.value.__notes__
    assert "seed 41" in note
    assert "2026-01-02T00:00:00.000+00:00" in note
    assert "CLOUDSTEAD_SEED=41 python -m pytest tests/kernel/test_simulation.py::test_a_failure_tells" in note
    assert "86400.000000 last thing done" in note


def test_the_environment_chooses_the_seeds(monkeypatch):
    monkeypatch.delenv("CLOUDSTEAD_SEEDS", raising=False)
    monkeypatch.delenv("CLOUDSTEAD_SEED", raising=False)
    assert seeds(3) == [0, 1, 2]
    monkeypatch.setenv("CLOUDSTEAD_SEEDS", "5")
    assert seeds(3) == [0, 1, 2, 3, 4]
    monkeypatch.setenv("CLOUDSTEAD_SEED", "41")
    assert seeds(3) == [41]


def test_an_invariant_is_checked_in_the_very_step_that_breaks_it():
    async def scenario(sim):
        count = 0
        sim.invariant(lambda: count <= 3, "at most three")
        while True:
            await sim.clock.sleep(1)
            count += 1
            sim.record("counted", count)

    simulation = Simulation()
    with pytest.raises(AssertionError, match="at most three"):
        simulation.run(scenario)
    assert simulation.clock.monotonic() == 4


def test_an_exception_in_any_task_or_callback_ends_the_run():
    async def in_task(sim):
        async def work():
            await sim.clock.sleep(5)
            raise ValueError("in a task")

        sim.spawn(work())
        await sim.clock.sleep(DAY)

    async def in_callback(sim):
        sim.later(5, [].pop)
        await sim.clock.sleep(DAY)

    for scenario, error in ((in_task, ValueError), (in_callback, IndexError)):
        simulation = Simulation()
        with pytest.raises(error):
            simulation.run(scenario)
        assert simulation.clock.monotonic() == 5


def test_tasks_that_wait_for_each_other_are_a_deadlock(monkeypatch):
    monkeypatch.setattr("cloudstead.kernel.virtual_loop._REAL_PATIENCE", 0.01)

    async def scenario(sim):
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        Simulation().run(scenario)


def test_tasks_that_spin_are_a_livelock():
    async def scenario(sim):
        while True:
            await sim.clock.sleep(0)

    with pytest.raises(Livelock):
        Simulation().run(scenario)


def test_waiting_for_something_ends_when_it_is_so_or_in_time():
    async def scenario(sim):
        happened = []
        sim.later(10, lambda: (happened.append(1), sim.record("happened")))
        await sim.until(lambda: happened, within=60)
        assert sim.clock.monotonic() == 10
        with pytest.raises(TimeoutError):
            await sim.until(lambda: len(happened) == 2, within=60)
        assert sim.clock.monotonic() == 70

    Simulation().run(scenario)


def test_a_crash_runs_no_cleanup_and_leaves_no_timer():
    async def scenario(sim):
        world = []

        async def boot():
            world.append("boot")
            sim.clock.call_later(5, world.append, "timer of the daemon")
            sim.later(5, world.append, "timer of the world")
            try:
                await asyncio.gather(sim.clock.sleep(3), sim.clock.sleep(7))
                world.append("lived")
            finally:
                world.append("cleanup")

        daemon = sim.daemon(boot, down=(100, 100))
        await sim.clock.sleep(2)
        daemon.crash()
        await sim.clock.sleep(50)
        assert world == ["boot", "timer of the world"]
        await sim.clock.sleep(200)
        assert world == ["boot", "timer of the world", "boot", "timer of the daemon", "timer of the world", "lived", "cleanup"]
        assert daemon.lives == 2

    Simulation().run(scenario)


def test_a_client_gets_its_answer_the_error_or_hears_that_the_daemon_died():
    async def scenario(sim):
        async def boot():
            pass

        async def handler(seconds):
            await sim.clock.sleep(seconds)
            return 10 // seconds

        daemon = sim.daemon(boot, down=(5, 5))
        assert await daemon.call(handler, 2) == 5
        with pytest.raises(ZeroDivisionError):
            await daemon.call(handler, 0)
        sim.later(1, daemon.crash)
        with pytest.raises(Down, match="died"):
            await daemon.call(handler, 2)
        with pytest.raises(Down, match="does not run"):
            await daemon.call(handler, 2)
        await sim.clock.sleep(6)
        assert await daemon.call(handler, 1) == 10

    Simulation().run(scenario)


def outcomes(fault, seed=0, times=400):
    """How often an action was asked for, done, failed before and after it was done, and how long all took."""

    async def scenario(sim):
        done = failed = lost = 0

        async def action():
            nonlocal done
            done += 1

        for _ in range(times):
            before = done
            try:
                await sim.act("engine.launch", action)
            except InjectedFault:
                failed += done == before
                lost += done > before
        return done, failed, lost, sim.clock.monotonic()

    return Simulation(seed, faults=[fault]).run(scenario)


def test_actions_fail_before_or_after_they_were_done():
    done, failed, lost, _ = outcomes(Fault("engine.*", fail=0.2))
    assert 20 < failed < 60
    assert 20 < lost < 60
    assert done == 400 - failed


def test_actions_are_done_twice_or_late():
    done, failed, lost, seconds = outcomes(Fault("engine.launch", duplicate=0.1, delay=0.5, seconds=(1, 3)))
    assert 420 < done < 460
    assert failed == lost == 0
    assert 300 < seconds < 500


def test_a_fault_concerns_only_its_point():
    assert outcomes(Fault("network.*", fail=1.0, crash=1.0)) == (400, 0, 0, 0.0)


def test_an_action_may_kill_the_daemon_before_or_after_it_was_done():
    async def scenario(sim):
        started = done = answered = 0

        async def action():
            nonlocal done
            done += 1

        async def boot():
            nonlocal started, answered
            while True:
                started += 1
                await sim.act("engine.launch", action)
                answered += 1
                await sim.clock.sleep(1)

        daemon = sim.daemon(boot)
        await sim.clock.sleep(1000)
        sim.calm()
        lives = daemon.lives
        await sim.clock.sleep(1000)
        assert daemon.lives - lives <= 1  # it may have been down when calm came
        return lives, started, done, answered

    lives, started, done, answered = Simulation(faults=[Fault("*", crash=0.2)]).run(scenario)
    assert lives > 20
    assert answered < done < started


def test_nothing_of_a_run_is_left_behind():
    async def scenario(sim):
        async def boot():
            try:
                await asyncio.Event().wait()
            finally:
                await sim.clock.sleep(1)
                ended.append(sim.clock.monotonic())
                sim.record("too late to be told")

        daemon = sim.daemon(boot)
        await sim.clock.sleep(1)
        daemon.crash()
        await sim.clock.sleep(100)

    ended = []
    simulation = Simulation()
    simulation.run(scenario)
    assert len(ended) == 2  # the dead and the living, both after the end
    assert "too late" not in "".join(simulation.last)
    with pytest.raises(RuntimeError, match="runs once"):
        simulation.run(scenario)
