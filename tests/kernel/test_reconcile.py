"""The queue of a controller: who is looked at, when, by how many. On virtual time, so that seconds cost nothing."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel.reconcile import Actions, Backoff, Controller, controller
from cloudstead.kernel.simulation import Simulation, seeds


class Bench:
    """A controller whose work takes `seconds` and notes who worked when. Fails so many times for each key of `broken`."""

    def __init__(self, sim, *, seconds=1.0, broken=None, **options):
        self.clock = sim.clock
        self.seconds = seconds
        self.broken = broken or {}
        self.again = {}  # key -> what the work returns
        self.began = []  # (key, when)
        self.active = []
        self.most = 0
        options.setdefault("resync", None)
        self.controller = Controller("test", self.work, clock=sim.clock, chance=random.Random(sim.seed), **options)

    async def work(self, key):
        self.began.append((key, self.clock.monotonic()))
        assert key not in self.active, f"two workers for {key}"
        self.active.append(key)
        self.most = max(self.most, len(self.active))
        try:
            await self.clock.sleep(self.seconds)
        finally:
            self.active.remove(key)
        if self.broken.get(key, 0) > 0:
            self.broken[key] -= 1
            raise RuntimeError(f"{key} is broken")
        return self.again.pop(key, None)

    def times(self, key):
        return [when for began, when in self.began if began == key]


def simulated(scenario):
    return Simulation(1).run(scenario)


def others():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def test_a_key_that_is_queued_twice_is_worked_once():
    async def scenario(sim):
        bench = Bench(sim, parallel=1)
        bench.controller.start()
        for key in ("a", "b", "a", "b", "b"):
            bench.controller.enqueue(key)
        await bench.controller.settled()
        assert [key for key, _ in bench.began] == ["a", "b"]

    simulated(scenario)


def test_a_key_queued_while_it_is_worked_on_is_worked_once_more_afterwards():
    async def scenario(sim):
        bench = Bench(sim)
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(0.5)
        for _ in range(3):
            bench.controller.enqueue("a")
        await bench.controller.settled()
        assert bench.times("a") == [0.0, 1.0]

    simulated(scenario)


def test_keys_are_worked_in_parallel_up_to_the_bound_and_in_order():
    async def scenario(sim):
        bench = Bench(sim, parallel=3)
        bench.controller.start()
        for number in range(9):
            bench.controller.enqueue(number)
        metrics = bench.controller.metrics()
        assert (metrics.depth, metrics.in_flight) == (6, 3)
        await bench.controller.settled()
        assert bench.most == 3
        assert sorted(bench.began, key=lambda began: began[1]) == bench.began
        assert [{key for key, when in bench.began if when == second} for second in (0.0, 1.0, 2.0)] == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]

    simulated(scenario)


@pytest.mark.parametrize("seed", seeds(10))
def test_there_is_never_more_than_one_worker_for_a_key(seed):
    """Random enqueuing, now and later, with failures, for a day; Bench.work asserts it."""

    async def scenario(sim):
        dice = sim.random
        bench = Bench(sim, parallel=5, resync=600, keys=lambda: range(8), broken=dict.fromkeys(range(8), 40))
        sim.invariant(lambda: len(bench.active) <= 5, "no more than 5 workers")
        bench.controller.start()
        for _ in range(3000):
            bench.seconds = dice.choice([0, 0.1, 5])
            key = dice.randrange(8)
            if dice.random() < 0.2:
                bench.again[key] = dice.choice([0, 1, 60])
            bench.controller.enqueue(key, after=dice.choice([0, 0, 0, 2, 100]))
            sim.record("enqueue", key)
            await sim.clock.sleep(dice.choice([0, 0, 0.05, 1, 100]))
        await sim.clock.sleep(1000)
        assert {key for key, _ in bench.began} == set(range(8))
        assert not bench.controller.failing()
        assert bench.controller.metrics().failures == 320
        await bench.controller.stop()
        assert not others()

    Simulation(seed).run(scenario)


def test_a_failing_key_backs_off_up_to_the_cap_and_starts_afresh_after_a_success():
    async def scenario(sim):
        bench = Bench(sim, seconds=0, broken={"a": 10}, backoff=Backoff(first=1, cap=60))
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(1000)
        times = bench.times("a")
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        full = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        assert all(whole / 2 <= gap <= whole for gap, whole in zip(gaps, full, strict=True))
        assert len(set(gaps[6:])) == 4  # jitter
        metrics = bench.controller.metrics()
        assert (metrics.runs, metrics.failures, metrics.retries, metrics.delayed) == (11, 10, 10, 0)

        bench.broken["a"] = 1
        bench.controller.enqueue("a")
        started = sim.clock.monotonic()
        await sim.clock.sleep(10)
        assert bench.times("a")[-1] - started <= 1

    simulated(scenario)


def test_one_failing_key_holds_no_other_up():
    async def scenario(sim):
        bench = Bench(sim, broken={"bad": 1000}, parallel=1, backoff=Backoff(first=10))
        bench.controller.start()
        bench.controller.enqueue("bad")
        bench.controller.enqueue("good")
        await bench.controller.settled()
        assert bench.times("good") == [1.0]
        assert bench.controller.failing()["bad"].error == "RuntimeError: bad is broken"
        await bench.controller.stop()

    simulated(scenario)


def test_a_change_brings_a_failing_key_forward_but_cannot_make_it_spin():
    async def scenario(sim):
        bench = Bench(sim, seconds=0, broken={"a": 1000}, backoff=Backoff(first=1, cap=1000))
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(120)
        runs = len(bench.began)
        bench.controller.enqueue("a")  # long after the failure: at once
        await bench.controller.settled()
        assert bench.times("a")[-1] == 120
        for _ in range(150):  # as if each failure changed the row that is watched
            bench.controller.enqueue("a")
            await sim.clock.sleep(0.01)
        assert len(bench.began) == runs + 2  # the one above, and one a second after it

    simulated(scenario)


def test_the_work_says_when_to_look_again():
    async def scenario(sim):
        bench = Bench(sim, seconds=0)
        bench.again["a"] = 30
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(1000)
        assert bench.times("a") == [0, 30]

    simulated(scenario)


def test_the_earlier_of_two_wishes_counts():
    async def scenario(sim):
        bench = Bench(sim, seconds=0)
        bench.controller.start()
        bench.controller.enqueue("a", after=50)
        bench.controller.enqueue("a", after=20)
        bench.controller.enqueue("a", after=90)
        await sim.clock.sleep(1000)
        assert bench.times("a") == [20]

    simulated(scenario)


def test_everything_is_looked_at_in_the_beginning_and_now_and_then():
    async def scenario(sim):
        bench = Bench(sim, seconds=0, keys=lambda: ["a", "b"], resync=100)
        bench.controller.start()
        await sim.clock.sleep(1000)
        for key in ("a", "b"):
            times = bench.times(key)
            assert times[0] == 0
            assert all(90 <= later - earlier <= 100 for earlier, later in itertools.pairwise(times))
            assert times[-1] > 890

    simulated(scenario)


def test_a_run_that_takes_too_long_is_a_failure_and_the_key_is_free_again():
    async def scenario(sim):
        bench = Bench(sim, seconds=1e6, deadline=60, backoff=Backoff(first=1))
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(60.1)
        assert not bench.active
        assert "TimeoutError" in bench.controller.failing()["a"].error
        await sim.clock.sleep(1)
        assert bench.active == ["a"]
        await bench.controller.stop(grace=0.1)

    simulated(scenario)


def test_work_that_waited_for_something_cancelled_is_tried_again():
    async def scenario(sim):
        runs = []

        async def work(key):
            runs.append(key)
            if len(runs) == 1:
                raise asyncio.CancelledError

        queue = Controller("test", work, clock=sim.clock, resync=None)
        queue.start()
        queue.enqueue("a")
        await sim.clock.sleep(10)
        assert runs == ["a", "a"]
        assert not queue.failing()

    simulated(scenario)


def test_stopping_lets_workers_finish_and_leaves_nothing():
    async def scenario(sim):
        bench = Bench(sim, seconds=3, parallel=2, keys=lambda: ["a", "b", "c"], resync=100)
        bench.controller.start()
        bench.controller.enqueue("later", after=50)
        await sim.clock.sleep(1)
        await bench.controller.stop(grace=5)
        assert sim.clock.monotonic() == 3
        assert [key for key, _ in bench.began] == ["a", "b"]
        assert not others()
        assert sim.clock.next_timer() is None
        bench.controller.enqueue("a")
        assert bench.controller.metrics().depth == 0

    simulated(scenario)


def test_stopping_cancels_who_does_not_finish_in_time():
    async def scenario(sim):
        bench = Bench(sim, seconds=1000)
        bench.controller.start()
        bench.controller.enqueue("a")
        await sim.clock.sleep(1)
        await bench.controller.stop(grace=5)
        assert sim.clock.monotonic() == 6
        assert not bench.active
        assert not others()

    simulated(scenario)


def test_an_idle_controller_has_no_task():
    async def scenario(sim):
        bench = Bench(sim, keys=lambda: ["a"], resync=100)
        bench.controller.start()
        await bench.controller.settled()
        await sim.clock.sleep(1)
        assert not others()

    simulated(scenario)


class Rows:
    """As much of a store as a controller watches."""

    def __init__(self):
        self.callbacks = {}

    def watch(self, table, callback):
        self.callbacks[table] = callback
        return lambda: self.callbacks.pop(table)


def test_a_changed_row_queues_the_keys_of_its_old_and_new_self():
    async def scenario(sim):
        bench, rows = Bench(sim, seconds=0, parallel=1), Rows()
        bench.controller.watch(rows, "tasks", lambda row: row["service"])
        bench.controller.start()
        changed = rows.callbacks["tasks"]
        changed(None, {"service": "made"})
        changed({"service": "from"}, {"service": "to"})
        changed({"service": "gone"}, None)
        changed(None, {"service": None})
        await bench.controller.settled()
        assert [key for key, _ in bench.began] == ["made", "from", "to", "gone"]
        await bench.controller.stop()
        assert not rows.callbacks

    simulated(scenario)


class Thermostat:
    """The smallest reconciler: each room is brought to its temperature degree by degree."""

    def __init__(self):
        self.wanted = {"kitchen": 21, "cellar": 12}
        self.rooms = {"kitchen": 17, "cellar": 15}

    def keys(self):
        return self.wanted

    async def observe(self, key):
        return self.rooms[key]

    def desired(self, key):
        return self.wanted[key]

    @staticmethod
    def plan(observed, desired, now):
        if observed == desired:
            return Actions()
        step = 1 if desired > observed else -1
        return Actions(steps=tuple(step for _ in range(abs(desired - observed))), requeue_after=5)

    async def act(self, key, step):
        if self.rooms[key] == 19:
            self.rooms[key] += step
            raise OSError("the valve sticks, once")
        self.rooms[key] += step


def test_a_reconciler_observes_plans_and_acts_until_nothing_is_left_to_do():
    async def scenario(sim):
        house = Thermostat()
        queue = controller("heating", house, clock=sim.clock, resync=None)
        queue.start()
        await sim.clock.sleep(60)
        assert house.rooms == house.wanted
        assert queue.metrics().failures == 1  # the remaining steps were planned anew, from what was observed then
        house.wanted["cellar"] = 10
        queue.enqueue("cellar")
        await queue.settled()
        assert house.rooms["cellar"] == 10
        await queue.stop()

    simulated(scenario)


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(10, 1e6), st.integers())
def test_a_back_off_is_positive_capped_and_never_overflows(failures, first, cap, seed):
    delay = Backoff(first, cap).delay(failures, random.Random(seed))
    assert min(first * 2.0 ** min(failures - 1, 62), cap) / 2 <= delay <= cap
