"""Services in a simulated world where everything goes wrong: the limits hold, no port has two owners, and it always ends right."""

from __future__ import annotations

from typing import Any

import pytest
from ecs_world import Version, World, deployment

from cloudstead.kernel.simulation import HOUR, MINUTE, Fault, Simulation, seeds
from cloudstead.services.ecs.deployments.limits import minimum_healthy
from cloudstead.services.ecs.deployments.model import Breaker, Service

FAULTS = [Fault("engine.*", fail=0.1, delay=0.1, seconds=(0.1, 15.0), duplicate=0.05, crash=0.02)]

VERSIONS = {
    each.name: each
    for each in (
        Version("v1"),
        Version("v2", slow=20.0, healthy_after=15.0),
        Version("unchecked", checked=False),
        Version("fixed-port", static_port=True),
        Version("no-image", starts=False),
        Version("crashes", dies_after=1.0),
        Version("sick", healthy_after=0.0),
    )
}
BROKEN = ("no-image", "crashes", "sick")


def service(sim: Simulation, **more: Any) -> Service:
    first = deployment("v1", sim.clock.time())
    return Service(**({"name": "web", "desired": 4, "deployments": (first,), "breaker": Breaker(rollback=True)} | more))


def limits(seed: int) -> dict[str, int]:
    least, most = ((100, 200), (50, 200), (50, 100), (0, 100), (75, 150), (100, 150))[seed % 6]
    return {"minimum": least, "maximum": most}


@pytest.mark.parametrize("kind", ["REPLICA", "DAEMON"])
@pytest.mark.parametrize("seed", seeds(12))
def test_a_service_survives_everything_and_converges(seed: int, kind: str) -> None:
    """World.apply asserts the minimum and the maximum, the world's invariant the ports."""
    sim = Simulation(seed, faults=FAULTS)

    async def scenario(sim: Simulation) -> None:
        world = World(sim, service(sim, kind=kind, **limits(seed)), VERSIONS)
        daemon = sim.daemon(world.boot, down=(0.1, 30.0))
        for number in range(40):
            await sim.clock.sleep(sim.random.uniform(1, 90))
            world.mischief(sim.random, list(VERSIONS))
            if number % 9 == 8:
                daemon.crash()
        sim.calm()
        world.dying = False
        for id in list(world.instances):
            world.drain(id, "ACTIVE")
        while len(world.instances) < 4:
            world.join()
        world.scale(4)  # one task between 50 and 100 percent could never be replaced
        world.update("v1")
        await sim.until(lambda: world.steady() and world.serving("v1") == world.size, within=3 * HOUR)
        await sim.clock.sleep(3 * MINUTE)  # the last machines come back
        await sim.until(world.steady, within=HOUR)
        rest = sim.steps
        await sim.clock.sleep(HOUR)
        assert sim.steps == rest, "a steady service does nothing"

    sim.run(scenario)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("seed", seeds(4))
def test_a_broken_version_is_rolled_back_and_nobody_notices(seed: int, broken: str) -> None:
    sim = Simulation(seed, faults=[Fault("engine.*", fail=0.1, delay=0.1, duplicate=0.05, crash=0.02)])

    async def scenario(sim: Simulation) -> None:
        world = World(sim, service(sim, desired=6, minimum=100, maximum=150), VERSIONS, dying=False)
        sim.daemon(world.boot)
        await sim.until(world.steady, within=HOUR)
        sim.invariant(lambda: world.serving("v1") >= 6, "the old version serves all the time")
        world.update(broken)
        await sim.until(lambda: any("rolling back to deployment ecs-svc/0." in each for each in world.events), within=HOUR)
        await sim.until(world.steady, within=HOUR)
        assert [(each.id, each.rollout) for each in world.service.deployments] == [("ecs-svc/0", "COMPLETED")]

    sim.run(scenario)


@pytest.mark.parametrize("seed", seeds(6))
def test_a_rolling_update_never_serves_with_less_than_the_minimum(seed: int) -> None:
    sim = Simulation(seed, faults=[Fault("engine.*", fail=0.05, delay=0.2, duplicate=0.05, crash=0.01)])

    async def scenario(sim: Simulation) -> None:
        wanted = service(sim, desired=6, **limits(seed))
        world = World(sim, wanted, VERSIONS, dying=False, machines=4)
        sim.daemon(world.boot)
        await sim.until(world.steady, within=HOUR)
        sim.invariant(lambda: world.serving() >= minimum_healthy(6, wanted.minimum), "as many serve as were promised")
        world.update("v2")
        await sim.until(lambda: world.steady() and world.serving("v2") == 6, within=HOUR)
        drained = sorted(world.instances)[0]
        world.drain(drained, "DRAINING")
        await sim.clock.sleep(1.5)
        await sim.until(world.steady, within=HOUR)
        assert not any(each.instance == drained for each in world.containers.values() if each.status == "running")

    sim.run(scenario)


def test_a_static_port_makes_room_for_itself_where_instances_are_few() -> None:
    """Four tasks with one port on four instances: the next version has no place until the minimum lets old ones go."""
    sim = Simulation(3)

    async def scenario(sim: Simulation) -> None:
        wanted = service(sim, desired=4, minimum=50, maximum=200, deployments=(deployment("fixed-port", sim.clock.time()),))
        world = World(sim, wanted, VERSIONS, dying=False, machines=4)
        sim.daemon(world.boot)
        await sim.until(world.steady, within=HOUR)
        world.update("fixed-port")
        await sim.until(world.steady, within=HOUR)
        assert any("is already using a port required by your task" in each for each in world.events)

    sim.run(scenario)


def test_a_version_that_never_starts_is_tried_ever_more_rarely() -> None:
    sim = Simulation(5)

    async def scenario(sim: Simulation) -> None:
        world = World(sim, service(sim, desired=2, breaker=None, deployments=(deployment("no-image", sim.clock.time()),)), VERSIONS)
        sim.daemon(world.boot)
        await sim.clock.sleep(2 * HOUR)
        tried = world.numbers
        assert tried < 50
        assert sum("is unable to consistently start tasks successfully" in each for each in world.events) == 1
        world.update("v1")
        await sim.until(world.steady, within=5 * MINUTE)

    sim.run(scenario)


def test_a_run_is_the_same_again_from_the_same_seed() -> None:
    def run() -> str:
        sim = Simulation(11, faults=FAULTS)

        async def scenario(sim: Simulation) -> None:
            world = World(sim, service(sim), VERSIONS)
            sim.daemon(world.boot)
            for _ in range(10):
                await sim.clock.sleep(sim.random.uniform(1, 60))
                world.mischief(sim.random, list(VERSIONS))

        sim.run(scenario)
        return sim.trace

    assert run() == run()
