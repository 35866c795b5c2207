"""What every driver does. One suite: the simulated driver runs it on virtual time, the OCI driver for real."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import stat
import tarfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.errors import Conflict, EngineError, Failed, InvalidArgument, NotFound
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.api import Driver, Streams
from cloudstead.engine.pods.simulated import SimulatedDriver
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, HealthCheck, PodSpec, Resources
from cloudstead.kernel.simulation import Simulation, seeds
from engine_support import Ground, busybox_layers, container_id, pieces, running_engine, why_no_engine

Scenario = Callable[[Ground], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]

ENDLESS = ("sleep", "1000")
STOPS_WELL = ("sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait")


class Simulated(Ground):
    kind = "simulated"


def simulated() -> Iterator[Play]:
    def play(scenario: Scenario) -> None:
        async def run(sim: Simulation) -> None:
            driver = SimulatedDriver(sim.clock)
            await driver.start_driver()
            await Simulated(driver, sim.clock, ("sha256:busybox",)).play(scenario)
            await driver.stop_driver()

        for seed in seeds(5):
            Simulation(seed).run(run)

    yield play


def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """One engine for the module, its loop between tests at rest."""

    async def scenarios(data: Path, given: asyncio.Queue[tuple[Scenario, asyncio.Future[None]]]) -> None:
        async with running_engine(data) as engine:
            layers = await busybox_layers(engine)
            while True:
                scenario, over = await given.get()
                try:
                    await Ground(engine.pods, engine.clock, layers).play(scenario)
                    over.set_result(None)
                except BaseException as error:
                    over.set_exception(error)

    with asyncio.Runner() as runner:
        given: asyncio.Queue[tuple[Scenario, asyncio.Future[None]]] = asyncio.Queue()

        async def begin() -> asyncio.Task[None]:
            return asyncio.ensure_future(scenarios(tmp_path_factory.mktemp("engine"), given))

        playing = runner.run(begin())

        async def one(scenario: Scenario) -> None:
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            given.put_nowait((scenario, over))
            await asyncio.wait((over, playing), return_when=asyncio.FIRST_COMPLETED)
            await (over if over.done() else playing)

        yield lambda scenario: runner.run(one(scenario))

        async def end() -> None:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing

        runner.run(end())


@pytest.fixture(scope="module", params=["simulated", "oci"])
def play(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    if request.param == "simulated":
        yield from simulated()
    elif reason := why_no_engine():
        pytest.skip(reason)
    else:
        yield from oci(tmp_path_factory)


def conforms(scenario: Scenario) -> Callable[[Play], None]:
    def test(play: Play) -> None:
        play(scenario)

    test.__name__ = test.__qualname__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


# ------------------------------------------------------------------------------------------------------------------ life


@conforms
async def test_a_container_runs_to_its_end_and_its_exit_code_is_told(g: Ground) -> None:
    id = await g.container("sh", "-c", "echo hello; echo oops >&2; exit 7")
    assert g.driver.inspect(id).state == "created"
    await g.driver.start(id)
    end = await g.driver.wait(id)
    status = g.driver.inspect(id)
    assert (end.code, end.oom_killed, end.error) == (7, False, "")
    assert (status.state, status.exit_code, status.pid) == ("exited", 7, 0)
    assert status.created <= status.started <= status.finished == end.finished
    assert (await g.text(id), await g.text(id, "stderr")) == ("hello\n", "oops\n")


@conforms
async def test_a_running_container_has_a_pid_and_starting_it_again_changes_nothing(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    before = g.driver.inspect(id)
    await g.driver.start(id)
    assert before.state == "running"
    assert before.pid > 0
    assert g.driver.inspect(id) == before


@conforms
async def test_a_command_that_is_not_there_fails_with_127_and_leaves_the_container_created(g: Ground) -> None:
    id = await g.container("no-such-command")
    waiting = asyncio.ensure_future(g.driver.wait(id))
    with pytest.raises(Failed, match=r"no-such-command.*not found"):
        await g.driver.start(id)
    status, end = g.driver.inspect(id), await waiting
    assert (status.state, status.exit_code) == ("created", 127)
    assert "no-such-command" in status.error
    assert (end.code, end.error) == (127, status.error)
    assert g.kinds(id) == ["create"]


@conforms
async def test_an_exited_container_starts_again_on_the_same_files(g: Ground) -> None:
    id = await g.ran("sh", "-c", "cat /tmp/kept; echo once > /tmp/kept; echo run")
    first = g.driver.inspect(id)
    await g.driver.start(id)
    await g.driver.wait(id)
    second = g.driver.inspect(id)
    assert (await g.text(id)) == "run\nonce\nrun\n"
    assert second.started >= first.finished
    assert second.created == first.created


@conforms
async def test_whoever_waits_before_the_start_hears_of_the_end(g: Ground) -> None:
    id = await g.container("sh", "-c", "exit 4")
    waiting = [asyncio.ensure_future(g.driver.wait(id)) for _ in range(3)]
    await g.clock.sleep(0.05)
    assert not any(task.done() for task in waiting)
    await g.driver.start(id)
    assert [end.code for end in await asyncio.gather(*waiting)] == [4, 4, 4]


@conforms
async def test_whoever_waits_for_a_container_that_is_removed_is_told_so(g: Ground) -> None:
    id = await g.container("true")
    waiting = asyncio.ensure_future(g.driver.wait(id))
    await g.clock.sleep(0.01)
    await g.driver.remove_container(id)
    with pytest.raises(NotFound):
        await waiting


@conforms
async def test_events_come_in_order_with_the_state_afterwards(g: Ground) -> None:
    id = await g.ran("sh", "-c", "exit 5")
    await g.driver.remove_container(id)
    events = [event for event in g.events if event.status.id == id]
    assert [(event.kind, event.status.state) for event in events] == [
        ("create", "created"),
        ("start", "running"),
        ("die", "exited"),
        ("remove", "exited"),
    ]
    assert events[2].attributes["exitCode"] == "5"
    assert [event.time for event in events] == sorted(event.time for event in events)


@conforms
async def test_an_environment_and_a_folder_reach_the_process(g: Ground) -> None:
    id = await g.ran("sh", "-c", "echo $GREETING; pwd", env=("PATH=/bin", "GREETING=good day"), cwd="/tmp")
    assert await g.text(id) == "good day\n/tmp\n"


@conforms
async def test_many_containers_start_at_once(g: Ground) -> None:
    codes = list(range(8))
    ids = await asyncio.gather(*(g.container("sh", "-c", f"exit {code}") for code in codes))
    await asyncio.gather(*map(g.driver.start, ids))
    ends = await asyncio.gather(*map(g.driver.wait, ids))
    assert [end.code for end in ends] == codes


# ------------------------------------------------------------------------------------------------------- ending and pausing


@conforms
async def test_stop_sends_the_stop_signal_and_returns_at_the_end(g: Ground) -> None:
    id = await g.started(*STOPS_WELL)
    await g.until(lambda: g.driver.inspect(id).state == "running")
    await _ready(g, id)
    await g.driver.stop(id)
    assert g.driver.inspect(id).exit_code == 3
    assert g.kinds(id) == ["create", "start", "kill", "die", "stop"]


@conforms
async def test_stop_kills_what_does_not_listen(g: Ground) -> None:
    id = await g.started("sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done")
    await _ready(g, id)
    began = g.clock.time()
    await g.driver.stop(id, within=0.5)
    assert g.driver.inspect(id).exit_code == 137
    assert 0.5 <= g.clock.time() - began < 5
    kills = [event.attributes["signal"] for event in g.events if event.kind == "kill"]
    assert kills == ["15", "9"]


@conforms
async def test_the_containers_own_stop_signal_and_timeout_are_used(g: Ground) -> None:
    id = await g.started("sh", "-c", "trap 'exit 9' USR1; echo ready; sleep 1000 & wait", stop_signal="SIGUSR1", stop_timeout=20.0)
    await _ready(g, id)
    await g.driver.stop(id)
    assert g.driver.inspect(id).exit_code == 9


@conforms
async def test_stopping_what_does_not_run_does_nothing(g: Ground) -> None:
    created, exited = await g.container("true"), await g.ran("true")
    await g.driver.stop(created)
    await g.driver.stop(exited)
    assert "stop" not in [event.kind for event in g.events]


@conforms
async def test_a_signal_reaches_the_first_process(g: Ground) -> None:
    id = await g.started(*STOPS_WELL)
    await _ready(g, id)
    await g.driver.signal(id, "TERM")
    assert (await g.driver.wait(id)).code == 3
    with pytest.raises(Conflict, match="not running"):
        await g.driver.signal(id, "SIGTERM")
    with pytest.raises(InvalidArgument, match="BOGUS"):
        await g.driver.signal(id, "SIGBOGUS")


@conforms
async def test_the_exit_code_of_a_killed_process_is_128_and_the_signal(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    await g.driver.signal(id, "SIGKILL")
    end = await g.driver.wait(id)
    assert (end.code, end.oom_killed) == (128 + signal.SIGKILL, False)


@conforms
async def test_a_paused_container_stands_still_until_it_is_resumed(g: Ground) -> None:
    id = await g.started("sh", "-c", "sleep 0.3; echo woke")
    await g.driver.pause(id)
    assert g.driver.inspect(id).state == "paused"
    with pytest.raises(Conflict, match="already paused"):
        await g.driver.pause(id)
    with pytest.raises(Conflict, match="paused"):
        await g.driver.execute(id, ExecSpec(args=("true",)))
    await g.clock.sleep(0.6)
    assert g.driver.inspect(id).state == "paused"
    await g.driver.resume(id)
    assert (await g.driver.wait(id)).code == 0
    assert g.kinds(id) == ["create", "start", "pause", "unpause", "die"]
    with pytest.raises(Conflict):
        await g.driver.resume(id)


@conforms
async def test_a_paused_container_can_be_killed_and_stopped(g: Ground) -> None:
    for end in (lambda id: g.driver.signal(id, "KILL"), lambda id: g.driver.stop(id, within=0.2)):
        id = await g.started(*ENDLESS)
        await g.driver.pause(id)
        await end(id)
        assert (await g.driver.wait(id)).code == 137


@conforms
async def test_a_process_over_its_memory_is_killed_and_told_so(g: Ground) -> None:
    id = await g.started("tail", "/dev/zero", resources=Resources(memory=32 << 20, memory_swap=32 << 20))
    end = await g.driver.wait(id)
    assert (end.code, end.oom_killed) == (137, True)
    assert g.driver.inspect(id).oom_killed
    assert g.kinds(id) == ["create", "start", "oom", "die"]


# --------------------------------------------------------------------------------------------------------------- removing


@conforms
async def test_what_runs_is_removed_only_by_force(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    pod = g.driver.inspect(id).pod
    with pytest.raises(Conflict):
        await g.driver.remove_container(id)
    with pytest.raises(Conflict):
        await g.driver.remove_pod(pod)
    await g.driver.remove_container(id, force=True)
    with pytest.raises(NotFound):
        g.driver.inspect(id)
    assert g.kinds(id)[-2:] == ["die", "remove"]
    assert g.driver.inspect_pod(pod).containers == ()


@conforms
async def test_a_pod_goes_with_its_containers_and_going_twice_is_no_error(g: Ground) -> None:
    pod = await g.pod()
    ids = [await g.started(*ENDLESS, pod=pod, name=name) for name in ("one", "two")]
    assert [status.id for status in g.driver.inspect_pod(pod).containers] == ids
    await g.driver.remove_pod(pod, force=True)
    await g.driver.remove_pod(pod, force=True)
    assert pod not in [status.id for status in g.driver.list_pods("test")]
    with pytest.raises(NotFound):
        g.driver.inspect_pod(pod)
    with pytest.raises(NotFound):
        g.driver.inspect(ids[0])


@conforms
async def test_no_container_outlives_the_pod_that_is_removed_while_it_is_made(g: Ground) -> None:
    id = await g.started("sh", "-c", "trap '' TERM; sleep 1000")
    pod = g.driver.inspect(id).pod
    removing = [asyncio.ensure_future(g.driver.remove_pod(pod, force=True)) for _ in range(2)]
    late = asyncio.ensure_future(g.container("true", pod=pod, name="late"))
    with contextlib.suppress(Conflict, NotFound):
        await late
    await asyncio.gather(*removing)
    with pytest.raises(NotFound):
        g.driver.inspect_pod(pod)
    if late.exception() is None:  # it came first, and has gone with the pod
        with pytest.raises(NotFound):
            g.driver.inspect(late.result())


@conforms
async def test_ids_and_names_are_taken_once(g: Ground) -> None:
    id = await g.container("true")
    pod = g.driver.inspect(id).pod
    with pytest.raises(Conflict):
        await g.driver.create_pod(PodSpec(id=pod, owner="test"))
    with pytest.raises(Conflict):
        await g.driver.create_container(pod, ContainerSpec(id=id, name="other", layers=g.layers, args=("true",)))
    with pytest.raises(Conflict):
        await g.container("true", pod=pod)


@conforms
async def test_a_removal_by_force_waits_for_a_start_and_ends_what_it_started(g: Ground) -> None:
    ids = [await g.container(*ENDLESS) for _ in range(4)]
    pods = [g.driver.inspect(id).pod for id in ids]
    for number, (id, pod) in enumerate(zip(ids, pods, strict=True)):
        starting = asyncio.ensure_future(g.driver.start(id))
        for _ in range(number):
            await asyncio.sleep(0)
        if number % 2:
            await g.driver.remove_container(id, force=True)
        else:
            await g.driver.remove_pod(pod, force=True)
        with contextlib.suppress(EngineError):
            await starting
        with pytest.raises(NotFound):
            g.driver.inspect(id)


@conforms
async def test_what_makes_no_sense_is_refused(g: Ground) -> None:
    pod = await g.pod()
    bad: list[dict[str, Any]] = [
        {"id": "../../etc"},
        {"args": ()},
        {"stop_signal": "SIGNOTHING"},
        {"resources": Resources(memory=4096)},
    ]
    for fields in bad:
        spec = ContainerSpec(**{"id": container_id(), "layers": g.layers, "args": ("true",), **fields})
        with pytest.raises(InvalidArgument):
            await g.driver.create_container(pod, spec)
    with pytest.raises(InvalidArgument):
        await g.driver.create_pod(PodSpec(id="../x", owner="test"))
    for network in (
        PodNetwork(dns=("9.9.9.9\nnameserver 6.6.6.6",)),
        PodNetwork(dns_search=("a b",)),
        PodNetwork(dns_options=("ndots:1\nnameserver 6.6.6.6",)),
        PodNetwork(extra_hosts=("a\n6.6.6.6 b:1.2.3.4",)),
    ):
        with pytest.raises(InvalidArgument):
            await g.driver.create_pod(PodSpec(id="x", owner="test", network=network))
    with pytest.raises(NotFound):
        await g.driver.create_container("no-pod", ContainerSpec(id=container_id(), layers=g.layers, args=("true",)))
    with pytest.raises(NotFound):
        await g.driver.create_pod(PodSpec(id="x", owner="test", network=PodNetwork(mode="pod", pod="no-pod")))
    assert g.driver.inspect_pod(pod).containers == ()


@conforms
async def test_unknown_containers_are_not_found(g: Ground) -> None:
    id = container_id()
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: g.driver.start(id),
        lambda: g.driver.stop(id),
        lambda: g.driver.signal(id, "TERM"),
        lambda: g.driver.wait(id),
        lambda: g.driver.pause(id),
        lambda: g.driver.attach(id),
        lambda: g.driver.stats(id),
        lambda: g.driver.stat_path(id, "/"),
        lambda: g.driver.remove_container(id),
        lambda: g.log(id),
        lambda: g.executed(id, "true"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call()


# ----------------------------------------------------------------------------------------------------------------- inside


@conforms
async def test_a_further_command_runs_inside_with_its_own_exit_code(g: Ground) -> None:
    id = await g.started(*ENDLESS, env=("PATH=/bin", "KIND=container"))
    assert await g.executed(id, "sh", "-c", "echo $KIND $MORE; exit 3", env=("MORE=exec",)) == (3, "container exec\n")
    assert await g.executed(id, "pwd", cwd="/tmp") == (0, "/tmp\n")
    told = [event.attributes for event in g.events if event.kind == "exec"]
    assert "exitCode" not in told[0]
    assert told[1] == {"execID": told[0]["execID"], "exitCode": "3"}
    assert "hello" not in await g.text(id)


@conforms
async def test_a_further_command_reads_its_input(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    execution = await g.driver.execute(id, ExecSpec(args=("cat",), stdin=True))
    await execution.streams.write(b"one ")
    await execution.streams.write(b"two")
    await execution.streams.close_input()
    assert await _all(execution.streams) == (b"one two", b"")
    assert await execution.wait() == 0
    assert execution.exit_code == 0
    await execution.streams.close()


@conforms
async def test_a_further_command_that_is_not_there_fails_with_127(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    with pytest.raises(Failed, match="no-such-command"):
        await g.driver.execute(id, ExecSpec(args=("no-such-command",)))
    assert g.driver.inspect(id).state == "running"


@conforms
async def test_a_further_command_can_be_killed_and_ends_with_the_container(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    killed = await g.driver.execute(id, ExecSpec(args=ENDLESS))
    assert killed.pid > 0
    await killed.signal("KILL")
    assert await killed.wait() == 137
    with pytest.raises(Conflict):
        await killed.signal("KILL")
    left = await g.driver.execute(id, ExecSpec(args=ENDLESS))
    await g.driver.stop(id, within=0)
    assert await left.wait() == 137
    assert await left.streams.read() is None
    with pytest.raises(Conflict, match="not running"):
        await g.driver.execute(id, ExecSpec(args=("true",)))


@conforms
async def test_whoever_attaches_before_the_start_misses_nothing(g: Ground) -> None:
    id = await g.container("sh", "-c", "echo first; echo second >&2; echo third")
    streams = await g.driver.attach(id)
    await g.driver.start(id)
    assert await _all(streams) == (b"first\nthird\n", b"second\n")
    await streams.close()


@conforms
async def test_several_may_attach_and_each_gets_all(g: Ground) -> None:
    id = await g.container("sh", "-c", "echo all of it")
    streams = [await g.driver.attach(id) for _ in range(3)]
    await g.driver.start(id)
    assert await asyncio.gather(*map(_all, streams)) == [(b"all of it\n", b"")] * 3
    for each in streams:
        await each.close()


@conforms
async def test_input_reaches_the_process_and_its_end_too(g: Ground) -> None:
    id = await g.container("cat", stdin=True, stdin_once=True)
    streams = await g.driver.attach(id)
    await g.driver.start(id)
    await streams.write(b"through the cat")
    await streams.close_input()
    assert await _all(streams) == (b"through the cat", b"")
    assert (await g.driver.wait(id)).code == 0
    await streams.close()


@conforms
async def test_input_that_is_kept_open_outlives_who_attached(g: Ground) -> None:
    id = await g.container("cat", stdin=True)
    first = await g.driver.attach(id)
    await g.driver.start(id)
    await first.write(b"one\n")
    assert await first.read() == ("stdout", b"one\n")
    await first.close_input()
    await first.close()
    second = await g.driver.attach(id)
    await second.write(b"two\n")
    assert await second.read() == ("stdout", b"two\n")
    await second.close()
    assert g.driver.inspect(id).state == "running"


@conforms
async def test_without_stdin_a_process_reads_its_end_at_once(g: Ground) -> None:
    id = await g.ran("cat")
    assert g.driver.inspect(id).exit_code == 0


@conforms
async def test_a_failed_start_ends_the_streams_of_who_attached(g: Ground) -> None:
    id = await g.container("no-such-command")
    streams = await g.driver.attach(id)
    with pytest.raises(EngineError):
        await g.driver.start(id)
    assert await streams.read() is None
    await streams.close()


@conforms
async def test_a_terminal_has_one_stream_and_a_size(g: Ground) -> None:
    id = await g.container("sh", "-c", "echo out; echo err >&2; sleep 0.2; stty size", tty=True, stdin=True)
    streams = await g.driver.attach(id)
    await g.driver.start(id)
    await g.driver.resize(id, 33, 99)
    out, err = await _all(streams)
    assert (out, err) == (b"out\r\nerr\r\n33 99\r\n", b"")
    await streams.close()
    assert g.kinds(id).count("resize") == 1


@conforms
async def test_the_terminal_of_a_further_command_can_be_resized(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    execution = await g.driver.execute(id, ExecSpec(args=("sh", "-c", "sleep 0.2; stty size"), tty=True, size=(10, 20)))
    await execution.resize(44, 55)
    out, _ = await _all(execution.streams)
    assert out.replace(b"\r\n", b"\n") == b"44 55\n"
    assert await execution.wait() == 0
    await execution.streams.close()


@conforms
async def test_stats_and_processes_tell_of_what_runs(g: Ground) -> None:
    id = await g.started(*ENDLESS, resources=Resources(memory=64 << 20, pids_limit=50))
    stats, processes = await g.driver.stats(id), await g.driver.processes(id)
    assert (stats.memory_limit, stats.pids_limit) == (64 << 20, 50)
    assert stats.pids >= 1
    assert abs(stats.read - g.clock.time()) < 5
    assert "PID" in processes.titles
    assert [row[-1] for row in processes.rows] == ["sleep 1000"]
    await g.driver.stop(id, within=0)
    for question in (g.driver.stats(id), g.driver.processes(id)):
        with pytest.raises(Conflict):
            await question


@conforms
async def test_limits_change_while_it_runs_and_what_is_not_named_stays(g: Ground) -> None:
    id = await g.started(*ENDLESS, resources=Resources(memory=64 << 20, memory_swap=128 << 20, pids_limit=50))
    await g.driver.update(id, Resources(pids_limit=20))
    stats = await g.driver.stats(id)
    assert (stats.memory_limit, stats.pids_limit) == (64 << 20, 20)
    with pytest.raises(InvalidArgument):
        await g.driver.update(id, Resources(memory=1))
    assert g.kinds(id) == ["create", "start", "update"]


# ------------------------------------------------------------------------------------------------------------------- logs


@conforms
async def test_the_end_of_a_log_and_a_stretch_of_time_can_be_asked_for(g: Ground) -> None:
    id = await g.ran("sh", "-c", "echo 1; echo 2; sleep 0.3; echo 3; echo 4")
    records = await g.log(id)
    assert [record.data for record in records] == [b"1\n", b"2\n", b"3\n", b"4\n"]
    assert [record.time for record in records] == sorted(record.time for record in records)
    assert [record.data for record in await g.log(id, tail=1)] == [b"4\n"]
    assert [record.data for record in await g.log(id, tail=3)] == [b"2\n", b"3\n", b"4\n"]
    assert await g.log(id, tail=0) == []
    assert [record.data for record in await g.log(id, tail=100)] == [b"1\n", b"2\n", b"3\n", b"4\n"]
    middle = records[1].time + 0.1
    assert [record.data for record in await g.log(id, since=middle)] == [b"3\n", b"4\n"]
    assert [record.data for record in await g.log(id, until=middle)] == [b"1\n", b"2\n"]


@conforms
async def test_a_followed_log_goes_on_to_the_end_of_the_container(g: Ground) -> None:
    id = await g.started("sh", "-c", "echo 1; sleep 0.2; echo 2; sleep 0.2; echo 3")
    seen = [record.data async for record in g.driver.logs(id, follow=True)]
    assert seen == [b"1\n", b"2\n", b"3\n"]
    assert g.driver.inspect(id).state == "exited"
    assert [record.data async for record in g.driver.logs(id, follow=True, tail=1)] == [b"3\n"]


@conforms
async def test_a_line_without_end_is_logged_as_it_is(g: Ground) -> None:
    id = await g.ran("sh", "-c", "echo -n no end")
    assert await g.text(id) == "no end"


# ------------------------------------------------------------------------------------------------------------------ files


@conforms
async def test_files_go_in_and_come_out_again(g: Ground) -> None:
    id = await g.container("sh", "-c", "cat /tmp/in; echo written > /tmp/out")
    await g.driver.put_archive(id, "/tmp", pieces(_tar({"in": b"from outside\n"})))
    found = await g.driver.stat_path(id, "/tmp/in")
    assert (found.name, found.size, stat.S_ISREG(found.mode)) == ("in", 13, True)
    await g.driver.start(id)
    await g.driver.wait(id)
    assert await g.text(id) == "from outside\n"
    assert _untar(await _joined(g.driver.get_archive(id, "/tmp/out"))) == {"out": b"written\n"}
    with pytest.raises(NotFound):
        await g.driver.stat_path(id, "/tmp/none")
    with pytest.raises(NotFound):
        await _joined(g.driver.get_archive(id, "/tmp/none"))
    with pytest.raises(NotFound):
        await g.driver.put_archive(id, "/none", pieces(_tar({"x": b""})))
    with pytest.raises(InvalidArgument):
        await g.driver.put_archive(id, "/tmp/in", pieces(_tar({"x": b""})))


@conforms
async def test_files_go_into_a_container_that_runs(g: Ground) -> None:
    id = await g.started(*ENDLESS)
    await g.driver.put_archive(id, "/tmp", pieces(_tar({"late": b"late\n"})))
    assert await g.executed(id, "cat", "/tmp/late") == (0, "late\n")
    await g.executed(id, "sh", "-c", "echo back > /tmp/back")
    assert _untar(await _joined(g.driver.get_archive(id, "/tmp/back"))) == {"back": b"back\n"}


@conforms
async def test_a_folder_is_not_replaced_by_a_file_when_that_is_asked(g: Ground) -> None:
    id = await g.container("true")
    await g.driver.put_archive(id, "/tmp", pieces(_tar({"a/b": b"x"})))
    with pytest.raises(EngineError):
        await g.driver.put_archive(id, "/tmp", pieces(_tar({"a": b"file"})), no_overwrite_dir_non_dir=True)
    assert stat.S_ISDIR((await g.driver.stat_path(id, "/tmp/a")).mode)


@conforms
async def test_what_a_container_changed_is_listed(g: Ground) -> None:
    id = await g.ran("sh", "-c", "echo x > /tmp/new; mkdir /made; rm -r /var")
    changes = {change.path: change.kind for change in await g.driver.changes(id)}
    assert changes["/tmp"] == "modified"
    assert (changes["/tmp/new"], changes["/made"], changes["/var"]) == ("added", "added", "deleted")


@conforms
async def test_the_whole_root_file_system_comes_out_as_a_tar(g: Ground) -> None:
    id = await g.ran("sh", "-c", "echo x > /tmp/new")
    names = _untar(await _joined(g.driver.export(id)))
    assert names["tmp/new"] == b"x\n"


# ----------------------------------------------------------------------------------------------------------------- health


@conforms
async def test_a_check_that_passes_makes_a_container_healthy_and_failures_unhealthy(g: Ground) -> None:
    check = HealthCheck(test=("CMD-SHELL", "cat /tmp/well"), interval=0.2, timeout=2.0, retries=2)
    id = await g.started("sh", "-c", "echo x > /tmp/well; sleep 1000", health=check)
    health = g.driver.inspect(id).health
    assert health is not None
    assert health.status == "starting"
    await g.until(lambda: _health(g.driver, id) == "healthy")
    await g.executed(id, "rm", "/tmp/well")
    await g.until(lambda: _health(g.driver, id) == "unhealthy")
    health = g.driver.inspect(id).health
    assert health is not None
    assert health.failing_streak >= 2
    assert health.log[-1].exit_code == 1
    assert "well" in health.log[-1].output
    told = [event.attributes["status"] for event in g.events if event.kind == "health"]
    assert told == ["healthy", "unhealthy"]


@conforms
async def test_a_check_that_takes_too_long_has_failed(g: Ground) -> None:
    check = HealthCheck(test=("CMD", "sleep", "1000"), interval=0.1, timeout=0.3, retries=1)
    id = await g.started(*ENDLESS, health=check)
    await g.until(lambda: _health(g.driver, id) == "unhealthy")
    health = g.driver.inspect(id).health
    assert health is not None
    assert health.log[0].exit_code == -1
    assert "exceeded timeout (300ms)" in health.log[0].output


# ---------------------------------------------------------------------------------------------------------------- several


@conforms
async def test_containers_of_one_pod_live_and_die_apart(g: Ground) -> None:
    pod = await g.pod()
    one = await g.started(*ENDLESS, pod=pod, name="one")
    two = await g.started("sh", "-c", "exit 2", pod=pod, name="two")
    assert (await g.driver.wait(two)).code == 2
    assert g.driver.inspect(one).state == "running"
    await g.driver.start(two)
    await g.driver.wait(two)
    assert {status.name: status.state for status in g.driver.inspect_pod(pod).containers} == {"one": "running", "two": "exited"}


@conforms
async def test_a_call_goes_on_when_its_caller_goes_away(g: Ground) -> None:
    id = await g.container(*ENDLESS)
    begun = asyncio.Event()

    async def start() -> None:
        begun.set()
        await g.driver.start(id)

    starting = asyncio.ensure_future(start())
    await begun.wait()
    starting.cancel()
    await g.until(lambda: g.driver.inspect(id).state == "running")


# ------------------------------------------------------------------------------------------------------------- in the tests


async def _ready(g: Ground, id: str) -> None:
    """Until it has said so."""
    async for record in g.driver.logs(id, follow=True):
        if record.data == b"ready\n":
            return


async def _all(streams: Streams) -> tuple[bytes, bytes]:
    out = {"stdout": b"", "stderr": b""}
    while (piece := await streams.read()) is not None:
        out[piece[0]] += piece[1]
    return out["stdout"], out["stderr"]


async def _joined(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def _health(driver: Driver, id: str) -> str:
    health = driver.inspect(id).health
    return "" if health is None else health.status


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _untar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                found[member.name.removeprefix("./").lstrip("/")] = content.read()
        return found
