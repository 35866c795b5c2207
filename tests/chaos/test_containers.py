"""Containers outlive the daemon, and leave nothing behind when they go."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstead.engine.host.layout import Layout
from docker_host import DockerHost, command, processes_of, why_no_docker
from waiting import until

pytestmark = pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())

RUNNING = 20
CHURN = 500
CALLERS = 8


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DockerHost]:
    with DockerHost(tmp_path / "data") as running:
        running.make_busybox()
        yield running


def in_parallel(work: object, things: object) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(work, things))  # type: ignore[arg-type]


def state(host: DockerHost, name: str) -> str:
    return host.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", name)


def test_containers_go_on_when_the_daemon_is_killed(host: DockerHost) -> None:
    """Some run on, some end while nobody looks, one is killed for its memory, one is to be started again by its policy."""

    def script(number: int) -> str:
        return f"i=0; while [ $i -lt {20 + number} ]; do echo tick $i; i=$((i+1)); sleep 0.1; done; exit {number}"

    in_parallel(lambda number: host.docker("run", "-d", "--name", f"c{number}", "busybox", "sh", "-c", script(number)), range(RUNNING - 3))
    host.docker("run", "-d", "--name", "lasting", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "echo up > /tmp/a; httpd -f -p 80 -h /tmp")
    host.docker("run", "-d", "--name", "hungry", "-m", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", "sleep 2; tail /dev/zero")
    host.docker("run", "-d", "--name", "again", "--restart", "always", "busybox", "sleep", "2")
    pids = {name: host.docker("inspect", "-f", "{{.State.Pid}}", name) for name in ("lasting", "c16")}
    port = host.docker("port", "lasting", "80/tcp").rpartition(":")[2]
    host.kill()
    time.sleep(4)
    assert Path(f"/proc/{pids['lasting']}").exists()
    host.start()
    for number in range(RUNNING - 3):
        until(lambda number=number: state(host, f"c{number}") == f"exited {number} false")
        ticks = re.findall(r"tick (\d+)", host.docker("logs", f"c{number}"))
        assert ticks == [str(tick) for tick in range(20 + number)]
    assert state(host, "hungry") == "exited 137 true"
    assert state(host, "lasting") == "running 0 false"
    assert host.docker("inspect", "-f", "{{.State.Pid}}", "lasting") == pids["lasting"]
    assert host.docker("exec", "lasting", "wget", "-qO-", "http://127.0.0.1/a") == "up"
    assert command("curl", "-s", "-m", "5", f"http://127.0.0.1:{port}/a") == ["up"]
    until(lambda: int(host.docker("inspect", "-f", "{{.RestartCount}}", "again")) >= 1 and state(host, "again").startswith("running"))
    host.docker("stop", "-t", "1", "lasting", "again")
    assert state(host, "lasting").startswith("exited")


def test_the_host_process_may_be_killed_too(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "survivor", "busybox", "sh", "-c", "echo before; sleep 3; echo after; sleep 100")
    engine_host = [line for line in processes_of(Layout(host.data)) if "engine.host" in line]
    assert len(engine_host) == 1
    os.kill(int(engine_host[0].split()[0]), 9)
    until(lambda: host.run("exec", "survivor", "echo", "still here", check=False).stdout == "still here\n")
    until(lambda: host.docker("logs", "survivor") == "before\nafter")
    assert host.docker("run", "--rm", "busybox", "echo", "new") == "new"


def test_a_daemon_that_is_killed_while_containers_start_and_end_leaves_nothing(host: DockerHost) -> None:
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
            for _ in range(24):
                callers.submit(host.run, "run", "-d", "busybox", "sh", "-c", "sleep 0.3", check=False)
            time.sleep(0.4)
            host.kill()
        host.start()
    names = host.docker("ps", "-aq").split()
    until(lambda: all(state(host, name).split()[0] in ("exited", "created") for name in names))
    if names:
        host.docker("rm", "-f", *names)
    until(lambda: holdings(host)["writables"] == [])
    assert [line for line in processes_of(Layout(host.data)) if "conmon" in line] == []


def holdings(host: DockerHost) -> dict[str, object]:
    """All that a container may leave: counted, or named where it must be none."""
    layout = Layout(host.data)
    assert host.process is not None
    engine_host = next(int(line.split()[0]) for line in processes_of(layout) if "engine.host" in line)
    cgroups = [path for path in Path("/sys/fs/cgroup").glob(f"*{layout.cgroup}") if path.is_dir()]
    return {
        "descriptors": len(os.listdir(f"/proc/{host.process.pid}/fd")),
        "host descriptors": len(os.listdir(f"/proc/{engine_host}/fd")),
        "host children": children(engine_host),
        "monitors": [line for line in processes_of(layout) if "conmon" in line],
        "overlays": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(host.data) in line],
        "namespaces": len(os.listdir(layout.netns)),
        "links": len([line for line in command("ip", "-o", "link") if layout.instance in line]),
        "cgroups": [str(child) for path in cgroups for child in path.iterdir() if child.is_dir()],
        "runtime": os.listdir(layout.runtime),
        "sockets": os.listdir(layout.sockets),
        "writables": [name for name in os.listdir(layout.containers) if not name.startswith(".")],
        "rules": sum(
            len(command("nft", "list", "table", *line.split()[1:])) for line in command("nft", "list", "tables") if layout.instance in line
        ),
    }


def children(engine_host: int) -> list[str]:
    """But for the shell that stays, which has the kernel ready for the next container."""
    found = Path(f"/proc/{engine_host}/task/{engine_host}/children").read_text().split()
    return [pid for pid in found if Path(f"/proc/{pid}").exists() and b"while read" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_five_hundred_containers_leave_nothing(host: DockerHost) -> None:
    def one(number: int) -> str:
        options = (["-p", "80"], ["-v", f"v{number}:/v"], ["--tmpfs", "/t"], ["-m", "32m"])[number % 4]
        return host.docker("run", "--rm", *options, "busybox", "sh", "-c", "echo $HOSTNAME > /out; true")

    in_parallel(one, range(16))
    time.sleep(2)
    before = holdings(host)
    in_parallel(one, range(CHURN))
    quiet_fields = ("monitors", "overlays", "cgroups", "runtime", "sockets", "writables", "host children")
    until(lambda: all(not holdings(host)[field] for field in quiet_fields))
    until(lambda: abs(int(str(holdings(host)["namespaces"])) - int(str(before["namespaces"]))) <= 8)
    after = holdings(host)
    print(json.dumps({"before": before, "after": after}))
    for field in ("descriptors", "host descriptors", "links", "rules"):
        assert int(str(after[field])) <= int(str(before[field])) + 8, (field, before, after)
    assert host.docker("ps", "-aq") == ""
