"""What real containers do beyond the conformance suite: they outlive the daemon and the host, leave nothing behind, share networks, stream much."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cloudstead.engine.engine import Engine
from cloudstead.engine.errors import Conflict, EngineError, NotFound, Unavailable
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network.api import Attachment, NetworkSpec, PodNetwork, Subnet
from cloudstead.engine.pods.oci import OciDriver
from cloudstead.engine.pods.specs import ExecSpec, LogSpec, Mount, Resources
from cloudstead.engine.pods.states import PodEvent
from cloudstead.kernel.store import Store
from engine_support import Ground, busybox_layers, pieces, remove_all, running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine())

ENDLESS = ("sleep", "1000")


def played(data: Path, scenario: Callable[[Ground, Engine], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running_engine(data) as engine:
            ground = Ground(engine.pods, engine.clock, await busybox_layers(engine))
            await ground.play(lambda _: scenario(ground, engine))  # type: ignore[arg-type, return-value]

    asyncio.run(run())


# ------------------------------------------------------------------------------------------------------- outliving the daemon

LIFE = """
import asyncio, json, sys
from pathlib import Path
from engine_support import Ground, busybox_layers, running_engine
from cloudstead.engine.network.api import Attachment, PodNetwork
from cloudstead.engine.network.api import NetworkSpec, Subnet
from cloudstead.kernel.store import Store

async def main():
    data = Path(sys.argv[1])
    store = Store.open(data)
    async with running_engine(data, store=store) as engine:
        ground = Ground(engine.pods, engine.clock, await busybox_layers(engine))
        await engine.networks.create(NetworkSpec(id="net", owner="test", subnets=(Subnet(id="a", cidr="10.77.0.0/24"),)))
        vpc = PodNetwork(attachments=(Attachment(network="net"),))
        ids = {
            "runs on": await ground.started("sh", "-c", "while true; do echo tick; sleep 0.1; done"),
            "ends soon": await ground.started("sh", "-c", "sleep 1; echo bye; exit 42"),
            "paused": await ground.started("sleep", "1000"),
            "ended": await ground.ran("sh", "-c", "exit 5"),
            "created": await ground.container("true"),
            "in a network": await ground.started("sleep", "1000", network=vpc),
            "stops": await ground.started("sh", "-c", "trap 'exit 6' TERM; echo ready; sleep 1000 & wait"),
        }
        await engine.pods.pause(ids["paused"])
        print(json.dumps(ids), flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@contextlib.contextmanager
def killed_daemon(data: Path) -> Iterator[dict[str, str]]:
    """The containers of a daemon that was killed with -9 a moment ago; removed in the end."""
    data.mkdir()
    tests = str(Path(__file__).parent.parent)
    daemon = subprocess.Popen(
        [sys.executable, "-P", "-c", LIFE, str(data)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": tests}, text=True
    )
    try:
        assert daemon.stdout is not None
        said = daemon.stdout.readline()
        assert said, "the daemon could not start its containers"
        host = children_of(daemon.pid)
        daemon.kill()
        daemon.wait()
        for _ in range(500):
            if not any(Path(f"/proc/{pid}").exists() and "cloudstead.engine.host" in command_of(pid) for pid in host):
                break
            time.sleep(0.01)
        yield json.loads(said)
    finally:
        daemon.kill()
        daemon.wait()

        async def tidy() -> None:
            async with running_engine(data) as engine:
                await remove_all(engine)

        asyncio.run(tidy())
        assert processes_with(str(data)) == []


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def processes_with(text: str) -> list[str]:
    return [
        command for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid() and text in (command := command_of(int(pid)))
    ]


def test_containers_outlive_a_killed_daemon_and_are_known_again(tmp_path: Path) -> None:
    with killed_daemon(tmp_path / "data") as ids:
        time.sleep(1.2)  # the one ends while nobody is there

        async def second_life() -> None:
            store = Store.open(tmp_path / "data")
            events: list[PodEvent] = []
            began = time.time()
            async with running_engine(tmp_path / "data", store=store) as engine:
                driver = engine.pods
                driver.subscribe(events.append)
                states = {name: driver.inspect(id).state for name, id in ids.items()}
                assert states == {
                    "runs on": "running",
                    "ends soon": "exited",
                    "paused": "paused",
                    "ended": "exited",
                    "created": "created",
                    "in a network": "running",
                    "stops": "running",
                }
                ended = driver.inspect(ids["ends soon"])
                assert ended.exit_code == 42
                assert ended.started + 0.9 < ended.finished < began
                assert driver.inspect(ids["ended"]).exit_code == 5
                ground = Ground(driver, engine.clock, ())
                assert await ground.text(ids["ends soon"]) == "bye\n"
                ticks = await ground.log(ids["runs on"])
                assert len(ticks) >= 10
                assert max(later.time - earlier.time for earlier, later in itertools.pairwise(ticks)) < 0.6  # none is missing
                assert await ground.executed(ids["runs on"], "echo", "still here") == (0, "still here\n")
                await driver.resume(ids["paused"])
                await driver.start(ids["created"])
                assert (await driver.wait(ids["created"])).code == 0
                await driver.stop(ids["stops"])
                assert driver.inspect(ids["stops"]).exit_code == 6
                pod = driver.inspect_pod(driver.inspect(ids["in a network"]).pod)
                assert pod.interfaces[0].ip.startswith("10.77.0.")
                code, told = await ground.executed(ids["in a network"], "ip", "addr")
                assert (code, pod.interfaces[0].ip in told) == (0, True)
            await store.close()

        asyncio.run(second_life())


def test_what_ended_while_nobody_was_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_daemon(tmp_path / "data") as ids:
        time.sleep(1.2)
        told: list[PodEvent] = []
        start = OciDriver.start_driver

        async def listening(driver: OciDriver) -> None:
            driver.subscribe(told.append)
            await start(driver)

        monkeypatch.setattr(OciDriver, "start_driver", listening)

        async def second_life() -> None:
            store = Store.open(tmp_path / "data")
            async with running_engine(tmp_path / "data", store=store):
                pass
            await store.close()

        asyncio.run(second_life())
        assert [(event.kind, event.status.id, event.status.exit_code) for event in told] == [("die", ids["ends soon"], 42)]


# --------------------------------------------------------------------------------------------------------- outliving the host


def test_a_host_that_dies_is_started_anew_and_containers_go_on(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        runs = await g.started("sh", "-c", "while true; do echo tick; sleep 0.05; done")
        soon = await g.started("sh", "-c", "sleep 0.3; exit 12")
        execution = await g.driver.execute(runs, ExecSpec(args=ENDLESS))
        following: list[bytes] = []

        async def follow() -> None:
            async for record in g.driver.logs(runs, follow=True):
                following.append(record.data)

        reading = asyncio.ensure_future(follow())
        host = engine.host
        assert host is not None
        process = host._process
        assert process is not None
        process.kill()
        assert await execution.wait() == 255
        end = await g.driver.wait(soon)
        assert end.code == 12
        await g.until(lambda process=process: host._process is not None and host._process is not process)  # type: ignore[misc]
        await g.until(lambda: len(following) > 30)
        with contextlib.suppress(Unavailable):
            await g.executed(runs, "true")
        assert await g.executed(runs, "echo", "hello") == (0, "hello\n")
        again = await g.ran("sh", "-c", "exit 3")
        assert g.driver.inspect(again).exit_code == 3
        await g.driver.stop(runs, within=0)
        await reading
        assert g.kinds(runs, "exec") == ["create", "start", "kill", "die", "stop"] or g.kinds(runs, "exec")[-2:] == ["die", "stop"]

    played(tmp_path, scenario)


def test_a_host_that_dies_again_while_it_is_started_is_followed_by_one_other(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        runs = await g.started(*ENDLESS)
        host = engine.host
        assert host is not None
        for _ in range(4):
            process = host._process
            assert process is not None
            process.kill()
            await g.until(lambda process=process: host._process is not None and host._process is not process)  # type: ignore[misc]
        async with asyncio.timeout(8):
            again = await g.ran("sh", "-c", "exit 3")
        assert g.driver.inspect(again).exit_code == 3
        await asyncio.sleep(1)
        assert len([pid for pid in children_of(os.getpid()) if "engine.host" in command_of(pid)]) == 1
        await g.driver.stop(runs, within=0)

    played(tmp_path, scenario)


def test_a_host_that_dies_while_containers_are_started_and_ended_leaves_nothing_half_done(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        host = engine.host
        assert host is not None
        await network(engine, "net", "10.76.0.0/24")
        vpc = PodNetwork(attachments=(Attachment(network="net"),))

        async def one() -> str:
            id = await g.container("sh", "-c", "echo $((6*7)); sleep 0.1; exit 9", network=vpc)
            with contextlib.suppress(EngineError):
                await g.driver.start(id)
            return id

        for delay in (0.0, 0.03, 0.08, 0.15):
            process = host._process
            assert process is not None
            starting = [asyncio.ensure_future(one()) for _ in range(8)]
            await asyncio.sleep(delay)
            process.kill()
            ids = await asyncio.gather(*starting, return_exceptions=True)
            for id in ids:
                if isinstance(id, BaseException):
                    assert isinstance(id, Unavailable)
                    continue
                await g.until(lambda id=id: g.driver.inspect(id).state != "running")  # type: ignore[misc]
                status = g.driver.inspect(id)
                if status.state == "exited":
                    assert (status.exit_code, await g.text(id)) == (9, "42\n")
                else:
                    assert (status.state, status.error != "") == ("created", True)
            await g.until(lambda process=process: host._process is not None and host._process is not process)  # type: ignore[misc]
            again = await g.ran("sh", "-c", "exit 3", network=vpc)
            assert g.driver.inspect(again).exit_code == 3
        await g.tidy()
        for _ in range(2):
            await engine.pods.sweep()  # type: ignore[attr-defined]
        await engine.networks.sweep()  # type: ignore[attr-defined]
        layout = Layout(engine.data)
        assert os.listdir(layout.containers) == []
        assert os.listdir(layout.runtime) == []
        assert [command for command in processes_with(str(engine.data)) if "conmon" in command] == []

    played(tmp_path, scenario)


# -------------------------------------------------------------------------------------------------------------------- network


async def network(engine: Engine, name: str, cidr: str) -> None:
    await engine.networks.create(NetworkSpec(id=name, owner="test", subnets=(Subnet(id=f"{name}-a", cidr=cidr),)))


def test_a_pod_has_addresses_names_and_name_servers_from_its_start_to_its_end(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        await network(engine, "one", "10.71.0.0/24")
        await network(engine, "two", "10.72.0.0/24")
        spec = PodNetwork(attachments=(Attachment(network="one"),), extra_hosts=("db:192.0.2.7", "up:host-gateway"), dns_search=("corp",))
        pod = await g.pod(network=spec, hostname="web", domainname="example.org")
        id = await g.container(*ENDLESS, pod=pod)
        assert g.driver.inspect_pod(pod).interfaces == ()
        await g.driver.start(id)
        (first,) = g.driver.inspect_pod(pod).interfaces
        _, hosts = await g.executed(id, "cat", "/etc/hosts")
        assert f"{first.ip}\tweb.example.org web\n" in hosts
        assert "192.0.2.7\tdb\n" in hosts
        assert f"{first.gateway}\tup\n" in hosts
        _, resolv = await g.executed(id, "cat", "/etc/resolv.conf")
        assert resolv.splitlines()[:2] == [f"nameserver {first.gateway}", "search corp"]
        assert await g.executed(id, "hostname") == (0, "web\n")
        await g.driver.connect(pod, Attachment(network="two", aliases=("second",)))
        assert [interface.network for interface in g.driver.inspect_pod(pod).interfaces] == ["one", "two"]
        second = g.driver.inspect_pod(pod).interfaces[1]
        _, hosts = await g.executed(id, "cat", "/etc/hosts")
        assert f"{second.ip}\tweb.example.org web\n" in hosts
        await g.driver.disconnect(pod, "one")
        _, addresses = await g.executed(id, "ip", "addr")
        assert second.ip in addresses
        assert first.ip not in addresses
        with pytest.raises(NotFound):
            await g.driver.disconnect(pod, "one")
        with pytest.raises(Conflict):
            await g.driver.connect(pod, Attachment(network="two"))
        await g.driver.stop(id, within=0)
        await g.until(lambda: g.driver.inspect_pod(pod).interfaces == ())
        await g.driver.start(id)
        assert [interface.network for interface in g.driver.inspect_pod(pod).interfaces] == ["two"]

    played(tmp_path, scenario)


def test_containers_of_a_pod_share_its_network_and_other_pods_may_join(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        await network(engine, "net", "10.73.0.0/24")
        vpc = PodNetwork(attachments=(Attachment(network="net"),))
        pod = await g.pod(network=vpc)
        one = await g.started(*ENDLESS, pod=pod, name="one")
        two = await g.started("sh", "-c", "echo hello | nc -l -p 80; sleep 1000", pod=pod, name="two")
        guest_pod = await g.pod(network=PodNetwork(mode="pod", pod=pod))
        guest = await g.started(*ENDLESS, pod=guest_pod)
        namespaces = {os.readlink(f"/proc/{g.driver.inspect(id).pid}/ns/net") for id in (one, two, guest)}
        assert len(namespaces) == 1
        await g.until_it((lambda: g.executed(guest, "nc", "-w", "2", "127.0.0.1", "80")), (0, "hello\n"))
        ip = g.driver.inspect_pod(pod).interfaces[0].ip
        assert ip in (await g.executed(guest, "cat", "/etc/hosts"))[1]
        await g.driver.stop(one, within=0)
        assert g.driver.inspect_pod(pod).interfaces != ()
        await g.driver.stop(two, within=0)
        await g.driver.stop(guest, within=0)
        with pytest.raises(Conflict, match="non running"):
            await g.driver.start(guest)

    played(tmp_path, scenario)


def test_without_network_there_is_a_loopback_and_containers_of_the_pod_share_it(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        pod = await g.pod()
        one = await g.started(*ENDLESS, pod=pod, name="one")
        two = await g.started(*ENDLESS, pod=pod, name="two")
        _, links = await g.executed(one, "ip", "-o", "link")
        assert [line.split(":")[1].strip() for line in links.splitlines()] == ["lo"]
        assert os.readlink(f"/proc/{g.driver.inspect(one).pid}/ns/net") == os.readlink(f"/proc/{g.driver.inspect(two).pid}/ns/net")
        own = await g.started(*ENDLESS, network=PodNetwork(mode="host"))
        assert os.readlink(f"/proc/{g.driver.inspect(own).pid}/ns/net") == os.readlink("/proc/self/ns/net")

    played(tmp_path, scenario)


# -------------------------------------------------------------------------------------------------------------------- streams


def test_much_input_and_output_goes_through_unharmed_and_a_slow_reader_holds_the_process_back(tmp_path: Path) -> None:
    size = 4 << 20

    async def scenario(g: Ground, engine: Engine) -> None:
        id = await g.container("cat", stdin=True, stdin_once=True, log=LogSpec(driver="none"))
        streams = await g.driver.attach(id)
        await g.driver.start(id)
        data = os.urandom(1 << 16) * (size >> 16)

        async def feed() -> None:
            for at in range(0, size, 50_000):
                await streams.write(data[at : at + 50_000])
            await streams.close_input()

        feeding = asyncio.ensure_future(feed())
        await asyncio.sleep(0.3)
        assert not feeding.done()  # nobody reads
        got = bytearray()
        while (piece := await streams.read()) is not None:
            got += piece[1]
        await feeding
        assert got == data
        await streams.close()
        other = await g.started(*ENDLESS)
        execution = await g.driver.execute(other, ExecSpec(args=("cat",), stdin=True))

        async def feed_other() -> None:
            await execution.streams.write(data)
            await execution.streams.close_input()

        feeding = asyncio.ensure_future(feed_other())
        await asyncio.sleep(0.3)
        assert not feeding.done()
        got.clear()
        while (piece := await execution.streams.read()) is not None:
            got += piece[1]
        assert got == data
        assert await execution.wait() == 0
        await execution.streams.close()

    played(tmp_path, scenario)


def test_closing_streams_wakes_whoever_reads_and_leaves_no_descriptor(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        id = await g.started("cat", stdin=True)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            streams = await g.driver.attach(id)
            execution = await g.driver.execute(id, ExecSpec(args=("cat",), stdin=True))
            terminal = await g.driver.execute(id, ExecSpec(args=("cat",), stdin=True, tty=True))
            reading = [asyncio.ensure_future(each.read()) for each in (streams, execution.streams, terminal.streams)]
            await asyncio.sleep(0)
            for each in (streams, execution.streams, terminal.streams):
                await each.close()
            assert await asyncio.wait_for(asyncio.gather(*reading), 5) == [None] * 3
            await execution.wait()
            await terminal.wait()
        assert len(os.listdir("/proc/self/fd")) == before

    played(tmp_path, scenario)


def test_a_terminal_of_a_further_command_is_one(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        id = await g.started(*ENDLESS)
        execution = await g.driver.execute(id, ExecSpec(args=("sh",), tty=True, stdin=True, env=("PS1=$ ",), size=(30, 90)))
        await execution.streams.write(b"tty; stty size; exit 4\n")
        output = b""
        while (piece := await execution.streams.read()) is not None:
            output += piece[1]
        assert b"/dev/pts/" in output
        assert b"30 90" in output
        assert await execution.wait() == 4
        await execution.streams.close()

    played(tmp_path, scenario)


def test_a_log_is_rotated_and_read_on_across_its_files(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        lines = 3000
        line = "echo line $i of the log that grows; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.05"
        script = f"i=0; while [ $i -lt {lines} ]; do {line}; done; sleep 0.3; echo end"
        id = await g.container("sh", "-c", script, log=LogSpec(max_size=64 << 10, max_files=4))
        await g.driver.start(id)
        followed = b"".join([record.data async for record in g.driver.logs(id, follow=True)]).splitlines()
        assert followed == [*(f"line {number} of the log that grows".encode() for number in range(lines)), b"end"]
        assert b"".join([record.data for record in await g.log(id)]).splitlines() == followed
        id = await g.ran("sh", "-c", script, log=LogSpec(max_size=64 << 10, max_files=2))
        kept = b"".join([record.data for record in await g.log(id)]).splitlines()
        assert 500 < len(kept) < lines
        assert kept[1:] == followed[len(followed) - len(kept) + 1 :]  # the first may have lost its beginning
        assert b"".join([record.data for record in await g.log(id, tail=2)]).splitlines() == followed[-2:]
        folder = Layout(engine.data).containers / id
        sizes = sum(path.stat().st_size for path in (folder / "bundle").glob("log*"))
        assert sizes <= 4 * (64 << 10)

    played(tmp_path, scenario)


# ---------------------------------------------------------------------------------------------------------------------- files


def test_files_are_copied_into_and_out_of_volumes_tmpfs_and_bound_folders(tmp_path: Path) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()

    async def scenario(g: Ground, engine: Engine) -> None:
        await engine.volumes.create("data")
        mounts = (
            Mount(type="volume", source="data", target="/data"),
            Mount(type="bind", source=str(bound), target="/bound"),
            Mount(type="tmpfs", target="/memory"),
        )
        id = await g.started(*ENDLESS, mounts=mounts)
        for folder in ("/data", "/bound", "/memory"):
            await g.driver.put_archive(id, folder, pieces(_tar("in", b"text")))
            assert await g.executed(id, "cat", f"{folder}/in") == (0, "text")
            assert (await g.driver.stat_path(id, f"{folder}/in")).size == 4
            tar = b"".join([chunk async for chunk in g.driver.get_archive(id, f"{folder}/in")])
            with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
                assert opened.getnames() == ["in"]
        assert (bound / "in").read_text() == "text"
        assert [change.path for change in await g.driver.changes(id) if change.path.endswith("/in")] == []
        with pytest.raises(Conflict):
            await engine.volumes.remove("data")
        await g.driver.remove_container(id, force=True)
        await engine.volumes.remove("data")

    played(tmp_path / "data", scenario)


def test_a_missing_volume_is_refused_when_the_container_is_created(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        pod = await g.pod()
        with pytest.raises(NotFound, match="no such volume"):
            await g.container("true", pod=pod, mounts=(Mount(type="volume", source="none", target="/data"),))
        assert g.driver.inspect_pod(pod).containers == ()

    played(tmp_path, scenario)


def test_files_copied_with_the_containers_owner_are_its_users(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        id = await g.started(*ENDLESS, user="nobody")
        await g.driver.put_archive(id, "/tmp", pieces(_tar("mine", b"x")), copy_uid_gid=True)
        await g.driver.put_archive(id, "/tmp", pieces(_tar("roots", b"x")))
        assert await g.executed(id, "stat", "-c", "%u:%g", "/tmp/mine", "/tmp/roots") == (0, "65534:65534\n0:0\n")

    played(tmp_path, scenario)


def _tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------------------- and nothing


def test_strays_are_swept_and_what_is_known_is_left(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        driver = engine.pods
        assert isinstance(driver, OciDriver)
        known, stray = await g.started(*ENDLESS), await g.started(*ENDLESS)
        pid = driver.inspect(stray).pid
        container = driver.records.container(stray)
        await driver.records.remove_container(container)
        said = await driver.sweep()
        assert any(stray in sentence for sentence in said)
        assert command_of(pid) == ""
        assert any(stray in sentence for sentence in await driver.sweep())
        assert await driver.sweep() == []
        assert await g.executed(known, "echo", "untouched") == (0, "untouched\n")
        assert stray not in await engine.snapshots.list_writables()

    played(tmp_path, scenario)


def test_an_end_that_nobody_heard_of_is_noticed_by_the_sweeper(tmp_path: Path) -> None:
    async def scenario(g: Ground, engine: Engine) -> None:
        driver = engine.pods
        assert isinstance(driver, OciDriver)
        id = await g.started(*ENDLESS)
        driver._exited = lambda event: None  # type: ignore[method-assign, assignment]
        engine.host._watchers.clear()  # type: ignore[union-attr]
        os.kill(driver.inspect(id).pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert driver.inspect(id).state == "running"
        await driver.sweep()
        assert (driver.inspect(id).state, driver.inspect(id).exit_code) == ("exited", 137)

    played(tmp_path, scenario)


def test_nothing_is_left_of_many_containers(tmp_path: Path) -> None:
    def counted(engine: Engine) -> dict[str, int]:
        layout = Layout(engine.data)
        mounts = Path("/proc/self/mountinfo").read_text()
        host = engine.host
        assert host is not None
        assert host._process is not None
        return {
            "mounts": sum(str(engine.data) in line or str(layout.run) in line for line in mounts.splitlines()),
            "own descriptors": len(os.listdir("/proc/self/fd")),
            "host's descriptors": len(os.listdir(f"/proc/{host._process.pid}/fd")),
            "containers": len(os.listdir(layout.containers)),
            "runtime": len(os.listdir(layout.runtime)),
            "processes": len(processes_with(str(engine.data))),
            "cgroups": sum(1 for path in Path("/sys/fs/cgroup").glob(f"*{layout.cgroup}/test-*"))
            + sum(1 for _ in Path("/sys/fs/cgroup").glob(f"{layout.cgroup[1:]}/test-*")),
        }

    def more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
        return {name: count for name, count in now.items() if count > before[name]}

    async def scenario(g: Ground, engine: Engine) -> None:
        await g.ran("true")
        await g.tidy()
        await asyncio.sleep(0.2)
        before = counted(engine)

        async def one(number: int) -> None:
            id = await g.container("sh", "-c", f"echo {number}; exit {number % 256}", resources=Resources(memory=64 << 20))
            streams = await g.driver.attach(id)
            await g.driver.start(id)
            while await streams.read() is not None:
                pass
            assert (await g.driver.wait(id)).code == number % 256
            assert await g.text(id) == f"{number}\n"
            await streams.close()
            await g.driver.remove_container(id)

        for start in range(0, 40, 8):
            await asyncio.gather(*(one(number) for number in range(start, start + 8)))
        await g.tidy()
        with contextlib.suppress(TimeoutError):  # what is let go of may take a moment
            await g.until(lambda: not more(counted(engine), before), within=5)
        assert more(counted(engine), before) == {}
        assert await engine.pods.sweep() == []  # type: ignore[attr-defined]

    played(tmp_path, scenario)
