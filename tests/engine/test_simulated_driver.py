"""The simulated driver: programs on virtual time, faults from a seed, daemons that die, and a controller that keeps containers alive through it all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, EngineError, Failed, Unavailable
from cloudstead.engine.network.api import Attachment, PodNetwork, PortMapping
from cloudstead.engine.pods import recovery
from cloudstead.engine.pods.commands import FoundContainer
from cloudstead.engine.pods.records import Container
from cloudstead.engine.pods.simulated import Faults, Process, Program, SimulatedDriver, SimulatedMachine
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, PodSpec, Resources
from cloudstead.engine.pods.states import ContainerStatus, PodEvent
from cloudstead.kernel import ids
from cloudstead.kernel.simulation import HOUR, MINUTE, Down, Fault, Simulation, seeds
from cloudstead.kernel.store import MemoryBackend, Store

Scenario = Callable[[Simulation, SimulatedMachine, SimulatedDriver], Awaitable[None]]


def played(scenario: Scenario, *, seed: int = 1, faults: Faults | None = None) -> Simulation:
    sim = Simulation(seed)

    async def run(sim: Simulation) -> None:
        machine = SimulatedMachine.of(sim, faults=faults or Faults())
        driver = SimulatedDriver(sim.clock, machine=machine)
        await driver.start_driver()
        await scenario(sim, machine, driver)
        await driver.stop_driver()

    sim.run(run)
    return sim


async def started(driver: SimulatedDriver, *args: str, pod: str = "", **options: object) -> str:
    id = await created(driver, *args, pod=pod, **options)
    await driver.start(id)
    return id


async def created(driver: SimulatedDriver, *args: str, pod: str = "", **options: object) -> str:
    id = ids.hex_digits(64)
    if not pod:
        pod = f"pod-{id[:12]}"
        await driver.create_pod(PodSpec(id=pod, owner="test"))
    fields = {"id": id, "layers": ("image",), "args": args, **options}
    await driver.create_container(pod, ContainerSpec(**fields))  # type: ignore[arg-type]
    return id


async def log(driver: SimulatedDriver, id: str) -> list[bytes]:
    return [record.data async for record in driver.logs(id)]


# ------------------------------------------------------------------------------------------------------------------ programs


def test_a_description_prints_runs_its_time_and_ends_with_its_code() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["job"] = Program(seconds=3600, exit_code=9, prints=("begun",), complains=("warning",))
        id = await started(driver, "job", "--all")
        began = sim.clock.time()
        end = await driver.wait(id)
        assert (end.code, end.finished - began) == (9, 3600)
        assert await log(driver, id) == [b"begun\n", b"warning\n"]

    played(scenario)


def test_programs_are_found_by_their_line_their_name_and_their_image() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs |= {
            "image": Program(seconds=0, exit_code=1),
            "app": Program(seconds=0, exit_code=2),
            "app --fast": Program(seconds=0, exit_code=3),
        }
        for args, code in [(("other",), 1), (("app", "--slow"), 2), (("app", "--fast"), 3), (("/bin/sh", "-c", "app --fast"), 3)]:
            assert (await driver.wait(await started(driver, *args))).code == code, args

    played(scenario)


def test_a_stop_signal_is_obeyed_after_a_while_or_ignored() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs |= {
            "good": Program(stops_after=5, stop_code=0),
            "slow": Program(stops_after=60),
            "deaf": Program(ignores=("SIGTERM",)),
        }
        for name, code, seconds in [("good", 0, 5), ("slow", 137, 10), ("deaf", 137, 10)]:
            id, began = await started(driver, name), sim.clock.time()
            await driver.stop(id)
            assert (driver.inspect(id).exit_code, sim.clock.time() - began) == (code, seconds), name

    played(scenario)


def test_memory_over_the_containers_or_the_pods_limit_kills() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["hungry"] = Program(memory=100 << 20, memory_after=30)
        alone = await started(driver, "hungry", resources=Resources(memory=64 << 20))
        end = await driver.wait(alone)
        assert (end.code, end.oom_killed, sim.clock.monotonic()) == (137, True, 30)
        await driver.create_pod(PodSpec(id="shared", owner="test", resources=Resources(memory=150 << 20)))
        both = [await started(driver, "hungry", pod="shared", name=name) for name in ("one", "two")]
        await sim.clock.sleep(31)
        assert sorted(driver.inspect(id).state for id in both) == ["exited", "running"]
        enough = await started(driver, "hungry", resources=Resources(memory=128 << 20))
        await sim.clock.sleep(31)
        assert (driver.inspect(enough).state, (await driver.stats(enough)).memory) == ("running", 100 << 20)

    played(scenario)


def test_a_description_answers_further_commands_of_its_container() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["web"] = Program(execs={"curl -f localhost": Program(seconds=0, prints=("well",)), "sleepy": Program(seconds=90)})
        id = await started(driver, "web")
        for args in (("curl", "-f", "localhost"), ("/bin/sh", "-c", "curl -f localhost")):
            execution = await driver.execute(id, ExecSpec(args=args))
            assert await execution.streams.read() == ("stdout", b"well\n")
            assert await execution.wait() == 0
        execution, began = await driver.execute(id, ExecSpec(args=("sleepy",))), sim.clock.time()
        await execution.wait()
        assert sim.clock.time() - began == 90
        with pytest.raises(Failed, match="not found"):
            await driver.execute(id, ExecSpec(args=("unknown",)))

    played(scenario)


def test_a_program_may_be_a_function() -> None:
    async def server(process: Process) -> int:
        process.on_signal("SIGHUP", lambda: process.print("again"))
        process.print(process.env["GREETING"])
        while line := await process.read():
            process.print(line.decode().strip()[::-1])
        return 4

    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["server"] = server
        id = await created(driver, "server", env=("GREETING=hello",), stdin=True, stdin_once=True)
        streams = await driver.attach(id)
        await driver.start(id)
        assert await streams.read() == ("stdout", b"hello\n")
        await streams.write(b"abc\n")
        assert await streams.read() == ("stdout", b"cba\n")
        await driver.signal(id, "HUP")
        assert await streams.read() == ("stdout", b"again\n")
        await streams.close_input()
        assert (await driver.wait(id)).code == 4

    played(scenario)


def test_a_start_can_be_slow_or_fail_with_a_reason() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs |= {"slow": Program(start_seconds=40), "broken": Program(start_error="exec: permission denied")}
        id = await started(driver, "slow")
        assert (driver.inspect(id).state, sim.clock.monotonic()) == ("running", 40)
        id = await created(driver, "broken")
        with pytest.raises(Failed, match="permission denied"):
            await driver.start(id)
        assert (driver.inspect(id).state, driver.inspect(id).exit_code) == ("created", 126)

    played(scenario)


# ------------------------------------------------------------------------------------------------------------------- network


def test_addresses_and_ports_are_given_at_the_start_and_taken_back_at_the_end() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["web"] = Program()
        network = PodNetwork(
            attachments=(Attachment(network="vpc"),),
            ports=(PortMapping(container_port=80), PortMapping(container_port=443, host_port=8443)),
        )
        for pod in ("one", "two"):
            await driver.create_pod(PodSpec(id=pod, owner="test", network=network))
        one, two = await created(driver, "web", pod="one"), await created(driver, "web", pod="two")
        assert driver.inspect_pod("one").ports == ()
        await driver.start(one)
        status = driver.inspect_pod("one")
        assert status.interfaces[0].network == "vpc"
        assert status.ports[0].host_port > 0
        with pytest.raises(Conflict, match="8443"):
            await driver.start(two)
        await driver.stop(one)
        await driver.start(two)
        assert driver.inspect_pod("one").interfaces == ()
        await driver.connect("two", Attachment(network="other"))
        assert [interface.name for interface in driver.inspect_pod("two").interfaces] == ["eth0", "eth1"]
        await driver.disconnect("two", "vpc")
        assert [interface.network for interface in driver.inspect_pod("two").interfaces] == ["other"]

    played(scenario)


# -------------------------------------------------------------------------------------------------------------------- faults


def test_a_host_that_is_away_refuses_and_containers_go_on() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs |= {"web": Program(), "job": Program(seconds=5, exit_code=3)}
        web, job = await started(driver, "web"), await started(driver, "job")
        other = await created(driver, "web")
        machine.host_dies(20)
        with pytest.raises(Unavailable):
            await driver.start(other)
        with pytest.raises(Unavailable):
            await driver.execute(web, ExecSpec(args=("true",)))
        await sim.clock.sleep(21)
        assert (driver.inspect(web).state, driver.inspect(job).exit_code) == ("running", 3)
        await driver.start(other)

    played(scenario)


def test_a_power_failure_ends_everything_and_what_was_written_stays() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        id = await started(driver, "sh", "-c", "echo kept > /tmp/file; echo said; sleep 1000")
        await sim.clock.sleep(1)
        machine.power_fails(60)
        end = await driver.wait(id)
        assert (end.code, sim.clock.monotonic()) == (255, 61)
        assert "gone" in end.error
        assert await log(driver, id) == [b"said\n"]
        assert (await driver.stat_path(id, "/tmp/file")).size == 5
        await driver.start(id)
        assert driver.inspect(id).state == "running"

    played(scenario)


def test_faults_happen_about_as_often_as_they_are_asked_for() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["web"] = Program()
        failed = 0
        for _ in range(300):
            id = await created(driver, "web")
            began = sim.clock.time()
            try:
                await driver.start(id)
            except Failed:
                failed += 1
            slow.append(sim.clock.time() > began)
        await sim.clock.sleep(HOUR)
        died = sum(status.exit_code == 137 for pod in driver.list_pods() for status in pod.containers if status.started)
        assert 40 < failed < 80
        assert 60 < sum(slow) < 120
        assert 90 < died < 150

    slow: list[bool] = []
    played(scenario, faults=Faults(start_fails=0.2, slow_start=0.3, slow_seconds=(1, 2), dies=0.5, dies_within=(1, 100)))


# ----------------------------------------------------------------------------------------------------- everything goes wrong


class World:
    """A daemon that keeps so many containers running, on a machine that fails in every way."""

    def __init__(self, sim: Simulation, wanted: int) -> None:
        self.sim = sim
        self.wanted = wanted
        self.disk = MemoryBackend()
        faults = Faults(
            start_fails=0.1, slow_start=0.1, dies=0.3, dies_within=(10, 600), host_dies_every=15 * MINUTE, power_fails_every=45 * MINUTE
        )
        self.machine = SimulatedMachine.of(sim, faults=faults)
        self.machine.programs["web"] = Program(seconds=1800)
        self.driver: SimulatedDriver
        self.told: list[list[PodEvent]] = []  # by each life of the daemon
        self.daemon = sim.daemon(self.boot, down=(0.1, MINUTE))

    async def boot(self) -> None:
        store = Store.in_memory(self.disk, clock=self.sim.clock)
        driver = self.driver = SimulatedDriver(self.sim.clock, store, self.machine)
        told: list[PodEvent] = []
        self.told.append(told)
        driver.subscribe(told.append)
        await driver.start_driver()
        while True:
            for slot in range(self.wanted):
                with contextlib.suppress(EngineError):
                    await self.keep(driver, slot)
            await self.sim.clock.sleep(5)

    async def keep(self, driver: SimulatedDriver, slot: int) -> None:
        pod = f"slot-{slot}"
        id = f"{slot:064x}"
        if pod not in [status.id for status in driver.list_pods()]:
            await driver.create_pod(PodSpec(id=pod, owner="test", network=PodNetwork(attachments=(Attachment(network="vpc"),))))
        if not driver.inspect_pod(pod).containers:
            await driver.create_container(pod, ContainerSpec(id=id, layers=("image",), args=("web",)))
        if driver.inspect(id).state == "created" or driver.inspect(id).state == "exited":
            await driver.start(id)

    def right(self) -> bool:
        if not hasattr(self, "driver"):
            return False
        running = [container for container in self.machine.containers.values() if container.main is not None]
        known = [status for pod in self.driver.list_pods() for status in pod.containers if status.state == "running"]
        return len(running) == len(known) == self.wanted and all(
            status.pid == container.main.pid  # type: ignore[union-attr]
            for status in known
            for container in running
            if container.spec.id == status.id
        )


@pytest.mark.parametrize("seed", seeds(6))
def test_through_every_fault_what_is_known_comes_to_what_is(seed: int) -> None:
    async def scenario(sim: Simulation) -> None:
        world = World(sim, 4)

        async def crash() -> None:
            world.daemon.crash()

        for _ in range(12):
            await sim.clock.sleep(sim.random.uniform(1, 30 * MINUTE))
            await crash()
        sim.calm()
        world.machine.calm()
        await sim.clock.sleep(2 * MINUTE)
        async with sim.clock.timeout(HOUR):
            while not world.right():
                await sim.clock.sleep(1)
        assert world.daemon.lives == len(world.told) > 8
        for told in world.told:
            for slot in range(world.wanted):
                assert alternate([event.kind for event in told if event.status.id == f"{slot:064x}" and event.kind in ("start", "die")])

    Simulation(seed, faults=[Fault("pods.*", fail=0.03, crash=0.01, delay=0.05, seconds=(0.1, 20))]).run(scenario)


def alternate(kinds: list[str]) -> bool:
    """Starts and ends take turns. The first a daemon tells may be an end: of what an earlier one started."""
    return all(one != other for one, other in itertools.pairwise(kinds))


def test_the_same_seed_gives_the_same_run() -> None:
    def trace() -> str:
        async def scenario(sim: Simulation) -> None:
            world = World(sim, 3)
            for _ in range(3):
                await sim.clock.sleep(20 * MINUTE)
                world.daemon.crash()

        sim = Simulation(11, faults=[Fault("pods.*", fail=0.05, crash=0.01, delay=0.05)])
        sim.run(scenario)
        return sim.trace

    assert trace() == trace()


def test_a_daemon_that_dies_leaves_nobody_waiting() -> None:
    async def scenario(sim: Simulation) -> None:
        world = World(sim, 1)
        await sim.clock.sleep(MINUTE)

        async def wait() -> None:
            await world.driver.wait(f"{0:064x}")

        waiting = asyncio.ensure_future(world.daemon.call(wait))
        await sim.clock.sleep(1)
        world.daemon.crash()
        with pytest.raises(Down):
            await waiting

    Simulation(2).run(scenario)


def test_an_end_that_nobody_heard_of_is_noticed_although_the_container_was_being_changed_when_all_were_looked_at() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["job"] = Program(seconds=5, exit_code=3)
        job = await started(driver, "job")
        stopping = asyncio.ensure_future(driver.wait(job))
        async with driver.records.container(job).lock:  # as who pauses it has it, and waits for the host
            machine.deaf()
            await sim.clock.sleep(10)
            machine.listen(driver._told, driver._host_lost)
            machine.host_dies(1)
            await sim.clock.sleep(5)
            assert not stopping.done()
        async with sim.clock.timeout(1):
            assert (await stopping).code == 3
        assert driver.inspect(job).state == "exited"

    played(scenario)


def test_a_pause_that_nobody_heard_of_is_noticed_although_the_container_changed_while_all_were_looked_at() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["web"] = Program()
        web = await started(driver, "web")
        container, list_ = driver.records.container(web), driver._list
        machine.containers[web].freeze()  # by a host that was killed before it could answer

        async def changed_meanwhile(only: tuple[str, ...] = ()) -> list[FoundContainer]:
            found = await list_(only)
            if not only:
                driver.records.set(container, oom_killed=True)
            return found

        driver._list = changed_meanwhile  # type: ignore[method-assign]
        machine.host_dies(1)
        await sim.clock.sleep(2)
        assert driver.inspect(web).state == "paused"
        async with sim.clock.timeout(1):
            await driver.stop(web, within=0)

    played(scenario)


def test_what_is_killed_while_it_is_being_paused_dies() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["web"] = Program()
        web = await started(driver, "web")
        frozen, answered, freeze = asyncio.Event(), asyncio.Event(), driver._freeze

        async def slowly(container: Container) -> None:
            await freeze(container)
            frozen.set()
            await answered.wait()

        driver._freeze = slowly  # type: ignore[method-assign]
        pausing = asyncio.ensure_future(driver.pause(web))
        await frozen.wait()
        await driver.signal(web, "KILL")
        assert driver.inspect(web).state == "running"
        answered.set()
        with pytest.raises(Conflict, match="is not running"):
            await pausing
        async with sim.clock.timeout(1):
            assert (await driver.wait(web)).code == 137

    played(scenario)


def test_who_stops_what_somebody_else_resumes_just_then_does_not_wait_for_long() -> None:
    async def scenario(sim: Simulation, machine: SimulatedMachine, driver: SimulatedDriver) -> None:
        machine.programs["stubborn"] = Program(ignores=("SIGTERM",))
        stubborn = await started(driver, "stubborn")
        await driver.pause(stubborn)
        thawing, thaw, signal = asyncio.Event(), driver._thaw, driver._signal
        resuming: list[asyncio.Future[None]] = []

        async def resumed_meanwhile(container: Container, number: int) -> None:
            await signal(container, number)
            if not resuming:
                resuming.append(asyncio.ensure_future(driver.resume(stubborn)))
                await sim.clock.sleep(0.1)

        async def slowly(container: Container) -> None:
            await thawing.wait()
            await thaw(container)

        driver._signal, driver._thaw = resumed_meanwhile, slowly  # type: ignore[method-assign]
        stopping = asyncio.ensure_future(driver.stop(stubborn, within=2))
        await sim.clock.sleep(1)
        thawing.set()
        async with sim.clock.timeout(3):
            await asyncio.gather(*resuming, stopping)
        assert driver.inspect(stubborn).exit_code == 137

    played(scenario)


# ------------------------------------------------------------------------------------------------------------------ recovery

KNOWN = ContainerStatus(id="a", name="main", pod="p", state="running", pid=7, created=1, started=100)
FOUND = FoundContainer(id="a", pod="p", state="running", pid=7, created=1, started=100)


@pytest.mark.parametrize(
    ("known", "found", "steps"),
    [
        ({}, {}, ("adopt",)),
        ({"state": "paused"}, {}, ("adopt",)),
        ({}, {"started": 200, "pid": 9}, ("lose", "begin")),
        ({}, {"state": "exited", "finished": 150}, ("end",)),
        ({}, {"state": "exited", "started": 200, "finished": 250}, ("lose", "begin", "end")),
        ({}, {"state": "incomplete"}, ("lose", "clean")),
        ({}, None, ("lose",)),
        ({"state": "created", "started": 0}, {}, ("begin",)),
        ({"state": "created", "started": 0}, {"state": "exited"}, ("begin", "end")),
        ({"state": "created", "started": 0}, {"state": "created", "started": 0}, ("clean",)),
        ({"state": "created", "started": 0}, None, ()),
        ({"state": "exited"}, {}, ()),
        ({"state": "exited"}, {"started": 200}, ("begin",)),
        ({"state": "exited"}, {"state": "exited"}, ("clean",)),
        ({"state": "exited"}, {"state": "exited", "cleaned": True}, ()),
        ({"state": "exited"}, {"state": "exited", "started": 300}, ("begin", "end")),
        ({"state": "exited"}, {"state": "incomplete"}, ("clean",)),
    ],
)
def test_what_was_known_is_brought_to_what_is_found(
    known: dict[str, object], found: dict[str, object] | None, steps: tuple[str, ...]
) -> None:
    there = None if found is None else replace(FOUND, **found)
    assert recovery.plan(replace(KNOWN, **known), there) == steps
