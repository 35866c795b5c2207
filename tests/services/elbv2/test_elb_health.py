"""Health checks: what outcomes mean, and checks in virtual time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from cloudstead.kernel.simulation import Simulation
from cloudstead.kernel.store import Key, Store
from cloudstead.services.elbv2.health import states
from cloudstead.services.elbv2.health.checking import Health
from cloudstead.services.elbv2.health.states import FAILED, HEALTHY, TIMEOUT, Progress, Verdict, after
from cloudstead.services.elbv2.model import (
    LISTENERS,
    TABLES,
    TARGET_GROUPS,
    TARGETS,
    Forward,
    HealthCheck,
    Listener,
    Target,
    TargetGroup,
    WeightedGroup,
)

CHECK = HealthCheck(protocol="HTTP", path="/", interval=30, healthy=3, unhealthy=2, matcher="200")


def told(outcomes: str, check: HealthCheck = CHECK, every: float = 30.0) -> list[str]:
    """The states after checks that passed (+) or failed (-)."""
    progress, found = Progress(), []
    for at, outcome in enumerate(outcomes):
        progress = after(progress, HEALTHY if outcome == "+" else FAILED, check, 1000 + at * every)
        found.append(progress.state)
    return found


@pytest.mark.parametrize(
    ("outcomes", "states_"),
    [
        ("+", ["healthy"]),
        ("-+", ["initial", "healthy"]),
        ("--", ["initial", "unhealthy"]),
        ("+-+-", ["healthy"] * 4),
        ("+--", ["healthy", "healthy", "unhealthy"]),
        ("--+++", ["initial", "unhealthy", "unhealthy", "unhealthy", "healthy"]),
        ("--++-+++", ["initial", "unhealthy", "unhealthy", "unhealthy", "unhealthy", "unhealthy", "unhealthy", "healthy"]),
    ],
)
def test_so_many_outcomes_in_a_row_change_the_state(outcomes: str, states_: list[str]) -> None:
    assert told(outcomes) == states_


def test_a_new_target_is_not_given_up_before_its_interval() -> None:
    assert told("-" * 30, every=1.0) == ["initial"] * 30
    assert told("-" * 31, every=1.0)[-1] == "unhealthy"


def test_a_target_says_why_it_is_unhealthy() -> None:
    progress = Progress()
    for at in (0.0, 30.0):
        progress = after(progress, states.mismatch(503), CHECK, at)
    assert progress.verdict == (
        "unhealthy",
        "Target.ResponseCodeMismatch",
        "Health checks failed with these codes: [503]",
    )


@pytest.mark.parametrize(
    ("matcher", "status", "fits"), [("200", 200, True), ("200,301", 301, True), ("200-299", 299, True), ("200-299", 300, False)]
)
def test_a_matcher_fits(matcher: str, status: int, fits: bool) -> None:
    assert states.accepts(matcher, status) is fits


PLACE = {"account": "000000000000", "region": "us-east-1"}


class World:
    """A group of targets whose health is what the test says; each check takes a second."""

    def __init__(self, sim: Simulation, count: int) -> None:
        self.sim = sim
        self.sick: set[str] = set()
        self.checks: dict[str, list[float]] = {}
        self.at_once = self.most_at_once = 0
        self.store = Store.in_memory(clock=sim.clock)
        self.store.attach(TABLES)
        self.health = Health(self.store, sim.clock, self.probe, chance=random.Random(1))
        self.listener = Listener(
            **PLACE,
            arn="listener",
            load_balancer="balancer",
            port=80,
            protocol="HTTP",
            action=Forward(groups=(WeightedGroup(arn="group"),)),
            default_rule="default",
        )
        group = TargetGroup(**PLACE, arn="group", name="g", target_type="ip", protocol="HTTP", port=80, vpc="vpc-1", check=CHECK, created=0)
        with self.store.transaction() as tx:
            tx.insert(LISTENERS, self.listener)
            tx.insert(TARGET_GROUPS, group)
            for at in range(count):
                tx.insert(TARGETS, Target(**PLACE, group="group", id=f"10.0.0.{at}", port=80, registered=sim.clock.time()))

    async def probe(self, row: Target, group: TargetGroup) -> Verdict:
        self.checks.setdefault(row.id, []).append(self.sim.clock.time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.sim.clock.sleep(1.0)
        self.at_once -= 1
        return TIMEOUT if row.id in self.sick else HEALTHY

    def states(self) -> dict[str, str]:
        return {row.id: self.health.verdict(row).state for row in self.store.table(TARGETS).scan()}


def test_targets_are_checked_at_once_and_then_each_in_its_own_time() -> None:
    async def scenario(sim: Simulation) -> None:
        world = World(sim, 200)
        await world.store.settled()
        world.health.start()
        await sim.clock.sleep(2.0)
        assert set(world.states().values()) == {"healthy"}
        assert world.most_at_once == 200
        world.most_at_once = 0
        await sim.clock.sleep(600.0)
        assert world.most_at_once < 200  # they have drifted apart
        gaps = [after - before for times in world.checks.values() for before, after in pairwise(times)]
        assert all(0.95 * 30 <= gap - 1.0 <= 1.05 * 30 for gap in gaps)
        await world.health.stop()
        await world.store.close()

    Simulation(1).run(scenario)


def test_a_sick_target_is_found_out_and_comes_back() -> None:
    async def scenario(sim: Simulation) -> None:
        world = World(sim, 3)
        heard: list[str] = []
        world.health.changed = heard.append
        await world.store.settled()
        world.health.start()
        await sim.clock.sleep(5.0)
        world.sick.add("10.0.0.1")
        await sim.clock.sleep(70.0)
        assert world.states() == {"10.0.0.0": "healthy", "10.0.0.1": "unhealthy", "10.0.0.2": "healthy"}
        world.sick.clear()
        await sim.clock.sleep(70.0)
        assert world.states()["10.0.0.1"] == "unhealthy"  # two of three
        await sim.clock.sleep(35.0)
        assert set(world.states().values()) == {"healthy"}
        assert heard == ["group"] * 5
        await world.health.stop()
        await world.store.close()

    Simulation(2).run(scenario)


def test_a_target_is_not_checked_before_it_is_in_use_and_not_while_it_leaves() -> None:
    async def scenario(sim: Simulation) -> None:
        world = World(sim, 1)
        key: Key = (*PLACE.values(), "group", "10.0.0.0", "00080")
        with world.store.transaction() as tx:
            tx.delete(LISTENERS, world.listener.key)
        await world.store.settled()
        world.health.start()
        await sim.clock.sleep(100.0)
        assert (world.states(), world.checks) == ({"10.0.0.0": "unused"}, {})
        with world.store.transaction() as tx:
            tx.insert(LISTENERS, world.listener)
        await sim.clock.sleep(3.0)
        assert world.states() == {"10.0.0.0": "healthy"}
        with world.store.transaction() as tx:
            row = world.store.table(TARGETS).get(key)
            assert row is not None
            tx.update(TARGETS, row, leaves=sim.clock.time() + 300)
        seen = len(world.checks["10.0.0.0"])
        await sim.clock.sleep(100.0)
        assert (world.states(), len(world.checks["10.0.0.0"])) == ({"10.0.0.0": "draining"}, seen)
        await world.health.stop()
        await world.store.close()

    Simulation(3).run(scenario)
