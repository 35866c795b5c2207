"""Containers by the engine host alone: conmon, runc, cgroups. What the kernel shows inside is what was asked for, and nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host_support import Stage, processes_naming

from cloudstead.engine.errors import Conflict, EngineError, Failed, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.pods import cgroups, commands
from cloudstead.engine.pods.commands import NetworkNamespace
from cloudstead.engine.pods.failures import exit_code_of
from cloudstead.engine.pods.specs import ContainerSpec, Device, ExecSpec, LogSpec, Mount, Resources, Ulimit
from engine_support import why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "-")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("runtime") / "data")
    try:
        yield stage
    finally:
        stage.close()


# ---------------------------------------------------------------------------------------------------------------- life


def test_a_container_runs_to_its_end_and_tells_its_exit_code(stage: Stage) -> None:
    container = stage.create("sh", "-c", "echo out; echo err >&2; exit 3")
    ended = stage.wait(container)
    assert (ended.exit_code, ended.oom_killed, ended.pid) == (3, False, stage.created.pid)
    assert abs(ended.finished - time.time()) < 10
    assert sorted((stream, text) for _, stream, _, text in stage.log_lines(container)) == [("stderr", "err"), ("stdout", "out")]
    stage.remove(container)
    assert stage.found(container) is None


def test_nothing_runs_before_the_start(stage: Stage) -> None:
    container = stage.create("echo", "started", start=False)
    found = stage.found(container)
    assert found is not None
    assert found.state == "created"
    with pytest.raises(Conflict, match="is not running"):
        stage.execute(container, "true")
    assert found.pid == stage.created.pid
    time.sleep(0.1)
    assert stage.log(container) == ""
    started = stage.call(commands.StartContainer(id=container))
    assert abs(started - time.time()) < 5
    stage.wait(container)
    assert stage.log(container) == "started\n"
    with pytest.raises(Conflict):
        stage.call(commands.StartContainer(id=container))
    stage.remove(container)


def test_whoever_attaches_at_creation_misses_nothing(stage: Stage) -> None:
    container = stage.create("sh", "-c", "echo hello; read line; echo got $line", attach=True, stdin=True, stdin_once=True)
    with socket.socket(fileno=stage.descriptors[0]) as sock:
        sock.settimeout(20)
        assert sock.type == socket.SOCK_SEQPACKET
        assert sock.recv(8193) == b"\x02hello\n"
        sock.send(b"something\n")
        assert sock.recv(8193) == b"\x02got something\n"
        assert sock.recv(8193) == b""
    assert stage.wait(container).exit_code == 0
    stage.remove(container)


def test_the_next_run_has_the_same_files_and_log(stage: Stage) -> None:
    container = stage.create("sh", "-c", "echo one >> /kept; cat /kept")
    first = stage.wait(container)
    stage.create("sh", "-c", "echo two >> /kept; cat /kept", id=container)
    assert stage.wait(container).pid != first.pid
    assert stage.log(container) == "one\none\ntwo\n"
    found = stage.found(container)
    assert found is not None
    assert (found.state, found.exit_code) == ("exited", 0)
    stage.remove(container)


def test_a_running_container_is_not_created_again(stage: Stage) -> None:
    container = stage.create("sleep", "60")
    with pytest.raises(Conflict, match="already running"):
        stage.create("true", id=container)
    with pytest.raises(Conflict, match="is running"):
        stage.call(commands.CleanUpContainer(id=container))
    stage.remove(container)


def test_cleaning_up_takes_all_of_the_kernels_and_leaves_log_and_code(stage: Stage) -> None:
    container = stage.create("sh", "-c", "echo x; exit 4")
    group = f"{stage.layout.cgroup}/pod/{container}"
    stage.wait(container)
    assert cgroups.exists(cgroups.tree(), group)
    stage.call(commands.CleanUpContainer(id=container))
    assert not cgroups.exists(cgroups.tree(), group)
    assert container not in Path("/proc/self/mounts").read_text()
    assert not (stage.layout.runtime / container).exists()
    found = stage.found(container)
    assert found is not None
    assert (found.state, found.exit_code, found.cleaned) == ("exited", 4, True)
    assert stage.log(container) == "x\n"
    stage.call(commands.CleanUpContainer(id=container))
    stage.remove(container)
    stage.call(commands.RemoveContainer(id=container))


def test_removing_ends_a_running_one_with_all_its_processes(stage: Stage) -> None:
    container = stage.create("sh", "-c", "sleep 61 & sleep 62")
    time.sleep(0.1)
    stage.remove(container)
    assert not [line for line in processes_naming("sleep 6") if line.strip() in ("sleep 61", "sleep 62")]


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        (("no-such-program",), 'exec: "no-such-program": executable file not found in $PATH: unknown', 127),
        (("/no/such/program",), "no such file or directory", 127),
        (("/etc",), "permission denied", 126),
        (("/etc/passwd",), "permission denied", 126),
    ],
)
def test_a_program_that_cannot_be_run_fails_as_with_docker(stage: Stage, args: tuple[str, ...], words: str, code: int) -> None:
    container = os.urandom(32).hex()
    with pytest.raises(Failed) as failure:
        stage.create(*args, id=container)
    assert failure.value.message.startswith("failed to create task for container: failed to create shim task: OCI runtime create failed: ")
    assert words in failure.value.message
    assert exit_code_of(failure.value.message) == code
    assert not cgroups.exists(cgroups.tree(), f"{stage.layout.cgroup}/pod/{container}")
    assert container not in Path("/proc/self/mounts").read_text()
    assert processes_naming(container) == []
    assert stage.found(container) is None


def test_an_unknown_container_is_not_found(stage: Stage) -> None:
    unknown = "0" * 64
    for command in (
        commands.StartContainer(id=unknown),
        commands.SignalContainer(id=unknown, signal=9),
        commands.ReadStats(id=unknown),
        commands.OpenLog(id=unknown),
        commands.AttachContainer(id=unknown),
        commands.ExecContainer(container=unknown, exec="a" * 16, spec=ExecSpec(args=("true",))),
    ):
        with pytest.raises(NotFound):
            stage.call(command)
    stage.call(commands.RemoveContainer(id=unknown))
    stage.call(commands.CleanUpContainer(id=unknown))


@pytest.mark.parametrize("id", ["../../../../etc/x", "a" * 7, "x/y" * 10, ""])
def test_an_id_that_is_a_path_is_refused(stage: Stage, id: str) -> None:
    spec = ContainerSpec(id=id, layers=(stage.chain,), args=("true",))
    with pytest.raises(InvalidArgument):
        stage.call(commands.CreateContainer(pod="pod", spec=spec))


def test_a_creation_that_is_given_up_leaves_nothing(stage: Stage) -> None:
    async def give_up(after: float) -> str:
        id = os.urandom(32).hex()
        spec = ContainerSpec(id=id, layers=(stage.chain,), args=("/bin/sleep", "100"))
        call = asyncio.ensure_future(stage.host.call(commands.CreateContainer(pod="gone", spec=spec, start=True)))
        await asyncio.sleep(after)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return id

    for number in range(12):
        id = stage.run(give_up(number * 0.004))
        stage.known.add(id)
    stage.call(commands.ListContainers())  # the host has undone all before it answers this
    deadline = time.monotonic() + 20
    while any(processes_naming(id) for id in stage.known) and time.monotonic() < deadline:
        time.sleep(0.05)
    for id in list(stage.known):
        found = stage.found(id)
        if found is None:  # it was given up in time
            assert not cgroups.exists(cgroups.tree(), f"{stage.layout.cgroup}/gone/{id}")
            assert processes_naming(id) == []
        stage.remove(id)


def test_many_start_at_once(stage: Stage) -> None:
    async def one(number: int) -> str:
        id = os.urandom(32).hex()
        stage.known.add(id)
        spec = ContainerSpec(id=id, layers=(stage.chain,), args=("/bin/sh", "-c", f"exit {number}"))
        await stage.host.call(commands.CreateContainer(pod=f"many-{number % 3}", spec=spec, start=True))
        return id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(24)))

    started = stage.run(all_of_them())
    assert [stage.wait(id).exit_code for id in started] == list(range(24))

    async def remove() -> None:
        await asyncio.gather(*(stage.host.call(commands.RemoveContainer(id=id)) for id in started))

    stage.run(remove())
    for id in started:
        stage.remove(id)


# ---------------------------------------------------------------------------------------------------------------- isolation


def test_the_defaults_are_dockers(stage: Stage) -> None:
    text = stage.shell("cat /proc/self/status; cat /proc/mounts; ls /dev; echo host $(hostname)")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "2")
    mounts = [line.split() for line in text.splitlines() if line.count(" ") == 5]
    assert {"ro"} <= set(next(mount for mount in mounts if mount[1] == "/sys")[3].split(","))
    assert {"ro"} <= set(next(mount for mount in mounts if mount[1] == "/proc/sys")[3].split(","))
    assert {"/proc/keys", "/proc/timer_list", "/sys/firmware"} <= {mount[1] for mount in mounts}
    devices = text[text.rindex("core") if "core" in text else text.rindex("fd\n") :].split()
    assert {"null", "zero", "random", "urandom", "tty", "pts", "shm", "ptmx"} <= set(devices)
    assert not {"vda", "sda", "mem", "kmsg", "fuse"} & set(devices)


def test_a_container_sees_only_its_own_processes_and_network(stage: Stage) -> None:
    text = stage.shell("echo $$; ls /proc | grep -c '^[0-9]'; ls /sys/class/net")
    pid, processes, *interfaces = text.split()
    assert pid == "1"
    assert int(processes) <= 4
    assert interfaces == ["lo"]


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mknod /dev/x b 254 0 && dd if=/dev/x of=/dev/null count=1",
        "hostname other",
        "unshare -m true",
        "chroot / sh -c 'mount -o remount,rw /sys'",
        "cat /proc/kcore | head -c 10 | grep .",
        "insmod /nothing.ko",
    ],
)
def test_a_container_cannot(stage: Stage, script: str) -> None:
    assert stage.shell(f"( {script} ) 2>/dev/null && echo could; true") == ""


def test_a_privileged_one_can(stage: Stage) -> None:
    text = stage.shell("mount -t tmpfs none /tmp && echo mounted; ls /dev; cat /proc/self/status", privileged=True)
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    own = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    assert text.startswith("mounted\n")
    assert status["CapEff"] == own  # all that the host has, and not more
    assert status["Seccomp"] == "0"
    assert "kmsg" in text


def test_capabilities_are_added_and_dropped(stage: Stage) -> None:
    def effective(**options: object) -> int:
        text = stage.shell("grep CapEff /proc/self/status", **options)
        return int(text.split()[1], 16)

    default = effective()
    assert effective(cap_add=("NET_ADMIN",)) == default | 1 << 12
    assert effective(cap_drop=("CHOWN",)) == default & ~1
    assert effective(cap_drop=("ALL",), cap_add=("KILL",)) == 1 << 5
    assert effective(cap_drop=("ALL",), no_new_privileges=True) == 0
    with pytest.raises(InvalidArgument, match='unknown capability: "CAP_FLY"'):
        stage.create("true", cap_add=("fly",))


def test_a_read_only_root_is_read_only(stage: Stage) -> None:
    text = stage.shell(
        "touch /x 2>&1; touch /dev/shm/x /data/x && echo there", read_only=True, mounts=(Mount(type="tmpfs", target="/data"),)
    )
    assert text == "touch: /x: Read-only file system\nthere\n"


def test_the_user_comes_from_the_image(stage: Stage) -> None:
    assert stage.shell("id", user="nobody") == "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n"
    assert stage.shell("id", user="1234:nogroup") == "uid=1234 gid=65534(nogroup) groups=65534(nogroup)\n"
    assert stage.shell("id", user="7", groups=("nogroup", "9")) == "uid=7 gid=0(root) groups=0(root),9,65534(nogroup)\n"
    for user, words in (
        ("ghost", "unable to find user ghost"),
        ("root:ghosts", "unable to find group ghosts"),
        ("99999999999", "range 0-"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            stage.create("true", user=user)


def test_ulimits_hold_and_are_not_raised_without_the_right(stage: Stage) -> None:
    assert stage.shell("ulimit -n; ulimit -Hn", ulimits=(Ulimit(name="nofile", soft=100, hard=200),)) == "100\n200\n"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and "sys_resource" not in _own_capabilities():
        with pytest.raises(Unsupported, match="lacks CAP_SYS_RESOURCE"):
            stage.create("true", ulimits=(Ulimit(name="nofile", soft=10, hard=hard + 1),))
    with pytest.raises(InvalidArgument):
        stage.create("true", ulimits=(Ulimit(name="wishes", soft=1, hard=3),))


def _own_capabilities() -> set[str]:
    mask = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")), 16)
    return {"sys_resource"} if mask >> 24 & 1 else set()


def test_the_host_keeps_many_files_open_and_containers_do_not(stage: Stage) -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert stage.shell("ulimit -n") == f"{soft}\n"


def test_an_oom_score_below_the_hosts_needs_the_right(stage: Stage) -> None:
    assert stage.shell("cat /proc/self/oom_score_adj", oom_score_adj=300) == "300\n"
    if "sys_resource" not in _own_capabilities():
        with pytest.raises(Unsupported, match="CAP_SYS_RESOURCE"):
            stage.create("true", oom_score_adj=-500)


def test_names_and_files_of_the_network(stage: Stage) -> None:
    of_pod = {
        "hostname": "box",
        "domainname": "example.org",
        "hosts": "127.0.0.1 localhost\n10.1.2.3 other\n",
        "resolv_conf": "nameserver 10.9.8.7\n",
    }
    script = "hostname; cat /etc/hosts /etc/resolv.conf /etc/hostname /proc/sys/kernel/domainname; env | grep HOSTNAME"
    assert stage.shell(script, of_pod=of_pod) == (
        "box\n127.0.0.1 localhost\n10.1.2.3 other\nnameserver 10.9.8.7\nbox\nexample.org\nHOSTNAME=box\n"
    )


def test_the_files_of_the_network_change_while_it_runs(stage: Stage) -> None:
    container = stage.create("sleep", "60", of_pod={"hosts": "old\n", "resolv_conf": "old\n"})
    stage.call(commands.WriteNetworkFiles(id=container, hosts="new\n"))
    assert stage.execute(container, "cat", "/etc/hosts", "/etc/resolv.conf")[1] == "new\nold\n"
    stage.remove(container)


def test_sysctls_only_of_its_own_namespaces(stage: Stage) -> None:
    assert stage.shell("cat /proc/sys/net/ipv4/ip_forward", of_pod={"sysctls": {"net.ipv4.ip_forward": "0"}}) == "0\n"
    assert stage.shell("cat /proc/sys/kernel/shmmni", of_pod={"sysctls": {"kernel.shmmni": "77"}}) == "77\n"
    for name in ("kernel.panic", "vm.swappiness", "fs.file-max"):
        with pytest.raises(InvalidArgument, match="not in a separate kernel namespace"):
            stage.create("true", of_pod={"sysctls": {name: "1"}})
    with pytest.raises(InvalidArgument, match="not allowed in host network namespace"):
        stage.create("true", of_pod={"sysctls": {"net.ipv4.ip_forward": "1"}, "network": NetworkNamespace(kind="host")})


def test_the_hosts_network_when_asked_for(stage: Stage) -> None:
    inside = stage.shell("ls /sys/class/net", of_pod={"network": NetworkNamespace(kind="host")}).split()
    assert set(inside) >= {"lo"}
    assert set(inside) & set(os.listdir("/sys/class/net")) - {"lo"}


def test_a_second_container_joins_the_firsts_network_and_ipc(stage: Stage) -> None:
    first = stage.create("sh", "-c", "echo shared > /dev/shm/x; sleep 60", ipc_mode="shareable")
    network = stage.execute(first, "readlink", "/proc/self/ns/net")[1]
    joined = stage.shell(
        "readlink /proc/self/ns/net; cat /dev/shm/x",
        ipc_mode=f"container:{first}",
        of_pod={"network": NetworkNamespace(kind="container", name=first)},
    )
    assert joined == f"{network}shared\n"
    private = stage.create("sleep", "60")
    with pytest.raises(InvalidArgument, match="non-shareable container"):
        stage.create("true", ipc_mode=f"container:{private}")
    stage.remove(first)
    with pytest.raises(NotFound):
        stage.create("true", pid_mode=f"container:{first}")
    stage.remove(private)


def test_a_pod_shares_its_processes_and_survives_each_of_them(stage: Stage) -> None:
    first = stage.create("sleep", "71", pod="sharing", of_pod={"share_pids": True})
    second = stage.create("sh", "-c", "sleep 0.2; ps; sleep 72", pod="sharing", of_pod={"share_pids": True})
    assert "sleep 71" in stage.execute(second, "ps")[1]
    stage.remove(first)
    found = stage.found(second)
    assert found is not None
    assert found.state == "running"
    with pytest.raises(Conflict, match="has the running container"):
        stage.call(commands.RemovePod(pod="sharing"))
    stage.remove(second)
    stage.call(commands.RemovePod(pod="sharing"))
    assert not cgroups.exists(cgroups.tree(), f"{stage.layout.cgroup}/sharing")
    assert len(stage.call(commands.ListContainers())) == 0


def test_the_hosts_processes_when_asked_for_and_all_its_own_end_with_it(stage: Stage) -> None:
    container = stage.create("sh", "-c", "sleep 91 & echo $$; exit 0", pid_mode="host")
    stage.wait(container)
    assert int(stage.log(container)) == stage.created.pid
    stage.call(commands.CleanUpContainer(id=container))
    assert not [line for line in processes_naming("sleep 91") if line.strip() == "sleep 91"]
    stage.remove(container)


def test_an_init_reaps_and_passes_signals_on(stage: Stage) -> None:
    container = stage.create("sh", "-c", "echo $$; trap 'exit 9' TERM; while :; do sleep 0.05; done", init=True)
    _, name, _ = stage.execute(container, "cat", "/proc/1/cmdline")
    assert name.startswith("/sbin/docker-init\0--\0sh\0")
    stage.call(commands.SignalContainer(id=container, signal=signal.SIGTERM))
    assert stage.wait(container).exit_code == 9
    assert stage.log(container) != "1\n"
    stage.remove(container)


def test_devices_are_given_and_others_refused(stage: Stage) -> None:
    script = (
        "test -c /dev/loop-control && echo there; mknod /dev/mine c 1 11 2>/dev/null; dd if=/dev/mine of=/dev/null count=1 2>&1 | head -1"
    )
    denied = stage.shell(script)
    assert denied == "dd: can't open '/dev/mine': Operation not permitted\n"
    given = stage.shell("ls -l /dev/other; head -c 3 /dev/other | wc -c", devices=(Device(path="/dev/zero", container_path="/dev/other"),))
    assert given.split()[-1] == "3"
    assert "1,   5" in given
    assert stage.shell("mknod /dev/mine c 1 5 && echo made", device_rules=("c 1:5 rwm",)) == "made\n"
    for wrong in ("x 1:3 r", "c 1 r", "c 1:3 q", "c *:* "):
        with pytest.raises(InvalidArgument, match="invalid device cgroup rule format"):
            stage.create("true", device_rules=(wrong,))
    with pytest.raises(InvalidArgument, match="no such file or directory"):
        stage.create("true", devices=(Device(path="/dev/not-there"),))


def test_user_namespaces_are_refused_with_the_reason(stage: Stage) -> None:
    with pytest.raises(Unsupported, match="user namespaces"):
        stage.create("true", userns="private")


def test_an_unknown_runtime_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidArgument, match="unknown or invalid runtime name: warp"):
        stage.create("true", runtime="warp")


# ---------------------------------------------------------------------------------------------------------------- mounts


def test_an_empty_volume_is_filled_from_the_image(stage: Stage) -> None:
    volume = stage.layout.volumes / "filled" / "_data"
    volume.mkdir(parents=True)
    script = "ls /etc | sort; stat -c %a /etc; echo mine > /etc/mine"
    assert stage.shell(script, mounts=(Mount(type="volume", source="filled", target="/etc"),)).split()[-1] == "755"
    assert (volume / "passwd").read_text().startswith("root:")
    assert (volume / "mine").read_text() == "mine\n"
    text = stage.shell("cat /etc/mine", mounts=(Mount(type="volume", source="filled", target="/etc"),))
    assert text == "mine\n"


def test_a_volume_is_left_empty_when_asked_for_and_a_part_of_it_is_mounted(stage: Stage) -> None:
    volume = stage.layout.volumes / "plain" / "_data"
    volume.mkdir(parents=True)
    assert stage.shell("ls /bin2", mounts=(Mount(type="volume", source="plain", target="/bin2", no_copy=True),)) == ""
    (volume / "part").mkdir()
    (volume / "part" / "x").write_text("in part")
    (volume / "away").symlink_to("/etc")
    part = Mount(type="volume", source="plain", target="/p", subpath="part", read_only=True)
    assert stage.shell("cat /p/x; touch /p/y 2>&1", code=1, mounts=(part,)) == "in parttouch: /p/y: Read-only file system\n"
    with pytest.raises(NotFound):
        stage.create("true", mounts=(Mount(type="volume", source="plain", target="/p", subpath="away"),))
    with pytest.raises(NotFound):
        stage.create("true", mounts=(Mount(type="volume", source="absent", target="/p"),))


def test_folders_of_the_host(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("of the host")
    mounts = (
        Mount(type="bind", source=str(tmp_path), target="/h", read_only=True),
        Mount(type="bind", source=str(tmp_path / "x"), target="/file"),
    )
    assert stage.shell("cat /h/x; touch /h/y 2>/dev/null || echo no; echo new > /file", mounts=mounts) == "of the hostno\n"
    assert (tmp_path / "x").read_text() == "new\n"
    missing = tmp_path / "a" / "b"
    with pytest.raises(InvalidArgument, match="bind source path does not exist"):
        stage.create("true", mounts=(Mount(type="bind", source=str(missing), target="/h"),))
    stage.shell("true", mounts=(Mount(type="bind", source=str(missing), target="/h", create_source=True),))
    assert missing.is_dir()
    assert missing.stat().st_mode & 0o777 == 0o755


def test_secrets_are_only_in_memory(stage: Stage) -> None:
    mount = Mount(type="content", target="/run/secret", content=b"hush", mode=0o440, uid=5, gid=6, read_only=True)
    container = stage.create("sh", "-c", "stat -c '%a %u %g' /run/secret; cat /run/secret; sleep 60", mounts=(mount,))
    stage.run(asyncio.sleep(0.2))
    assert stage.log(container) == "440 5 6\nhush"
    assert not [
        path for path in stage.layout.data.rglob("*") if path.is_file() and path.stat().st_size < 100 and path.read_bytes() == b"hush"
    ]
    stage.remove(container)
    assert str(stage.layout.run / "content" / container) not in Path("/proc/self/mounts").read_text()


def test_memory_as_a_file_system(stage: Stage) -> None:
    mount = Mount(type="tmpfs", target="/t", tmpfs_size=1 << 20, options=("exec",))
    text = stage.shell("grep ' /t ' /proc/mounts; dd if=/dev/zero of=/t/x bs=1M count=2 2>&1 | grep -c 'No space'", mounts=(mount,))
    assert "size=1024k" in text
    assert "noexec" not in text
    assert text.endswith("1\n")
    assert "size=2048k" in stage.shell("grep /dev/shm /proc/mounts", shm_size=2 << 20)
    with pytest.raises(InvalidArgument):
        stage.create("true", mounts=(Mount(type="tmpfs", target="/t", options=("size=1g,remount",)),))


@pytest.mark.parametrize("target", ["relative", "/", "/a/../..", ""])
def test_a_mount_needs_a_place(stage: Stage, target: str) -> None:
    with pytest.raises(InvalidArgument):
        stage.create("true", mounts=(Mount(type="tmpfs", target=target),))


# ---------------------------------------------------------------------------------------------------------------- limits


def test_memory_is_limited_and_its_lack_is_told(stage: Stage) -> None:
    container = stage.create("sh", "-c", "head -c 60000000 /dev/zero | tail", resources=Resources(memory=16 << 20))
    ended = stage.wait(container)
    assert ended.oom_killed
    assert ended.exit_code == 137
    stage.until(commands.ContainerOom, id=container)
    found = stage.found(container)
    assert found is not None
    assert found.oom_killed
    stage.call(commands.CleanUpContainer(id=container))
    found = stage.found(container)
    assert found is not None
    assert found.oom_killed
    stage.remove(container)


def test_processes_are_limited(stage: Stage) -> None:
    text = stage.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>&1; wait", resources=Resources(pids_limit=4), code=2)
    assert "can't fork" in text


def test_a_pods_limit_holds_for_all_its_containers(stage: Stage) -> None:
    of_pod = {"pod_resources": Resources(memory=24 << 20, pids_limit=50)}
    first = stage.create("sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=14 2>/dev/null; sleep 60", pod="limited", of_pod=of_pod)
    second = stage.create("sh", "-c", "sleep 0.5; head -c 40000000 /dev/zero | tail; echo done", pod="limited", of_pod=of_pod)
    assert stage.wait(second).oom_killed
    stats = stage.call(commands.ReadStats(id=first))
    assert stats.memory_usage >= 14 << 20
    stage.remove(first)
    stage.remove(second)
    assert not cgroups.exists(cgroups.tree(), f"{stage.layout.cgroup}/limited")


def test_limits_change_while_it_runs(stage: Stage) -> None:
    container = stage.create("sleep", "60", resources=Resources(memory=64 << 20))
    stage.call(
        commands.UpdateContainer(
            id=container, resources=Resources(memory=200 << 20, memory_swap=400 << 20, cpu_quota=50_000, pids_limit=20)
        )
    )
    stats = stage.call(commands.ReadStats(id=container))
    assert (stats.memory_limit, stats.pids_limit) == (200 << 20, 20)
    with pytest.raises(InvalidArgument, match="Minimum memory limit allowed is 6MB"):
        stage.call(commands.UpdateContainer(id=container, resources=Resources(memory=1000)))
    stage.remove(container)


def test_the_processor_is_limited(stage: Stage) -> None:
    container = stage.create("sh", "-c", "while :; do :; done", resources=Resources(cpu_quota=20_000, cpu_period=100_000))
    before, began = stage.call(commands.ReadStats(id=container)), time.monotonic()
    time.sleep(1.5)
    after, seconds = stage.call(commands.ReadStats(id=container)), time.monotonic() - began
    used = (after.cpu_total - before.cpu_total) / 1e9 / seconds
    assert used < 0.24
    assert after.throttled_periods > before.throttled_periods
    assert after.host_cpu_total > before.host_cpu_total
    stage.remove(container)


# ---------------------------------------------------------------------------------------------------------------- while it runs


def test_signals_reach_the_first_process(stage: Stage) -> None:
    container = stage.create("sh", "-c", "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.02; done")
    while stage.log(container) != "ready\n":
        time.sleep(0.01)
    stage.call(commands.SignalContainer(id=container, signal=0))
    stage.call(commands.SignalContainer(id=container, signal=signal.SIGUSR1))
    assert stage.wait(container).exit_code == 5
    with pytest.raises(Conflict, match="is not running"):
        stage.call(commands.SignalContainer(id=container, signal=signal.SIGUSR1))
    stage.remove(container)


def test_a_paused_container_stands_still(stage: Stage) -> None:
    container = stage.create("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    stage.call(commands.PauseContainer(id=container))
    found = stage.found(container)
    assert found is not None
    assert found.state == "paused"
    time.sleep(0.2)  # conmon writes down what was in the pipe
    before = len(stage.log(container))
    time.sleep(0.15)
    assert len(stage.log(container)) == before
    with pytest.raises(Conflict, match="already paused"):
        stage.call(commands.PauseContainer(id=container))
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        stage.execute(container, "true")
    stage.call(commands.ResumeContainer(id=container))
    time.sleep(0.15)
    assert len(stage.log(container)) > before
    with pytest.raises(Conflict, match="is not paused"):
        stage.call(commands.ResumeContainer(id=container))
    stage.call(commands.PauseContainer(id=container))
    stage.remove(container)


def test_a_process_is_run_inside(stage: Stage) -> None:
    container = stage.create("sleep", "60", env=("PATH=/bin", "OWN=1"))
    assert stage.execute(container, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert stage.execute(container, "cat", stdin=b"through") == (0, "through", "")
    code, text, _ = stage.execute(
        container, "sh", "-c", "id -u; pwd; echo $OWN $MORE; grep -c sleep /proc/1/cmdline", user="nobody", cwd="/tmp", env=("MORE=2",)
    )
    assert (code, text) == (0, "65534\n/tmp\n1 2\n1\n")
    assert stage.execute(container, "sh", "-c", "kill -9 $$")[0] == 137
    assert "CapEff:\t00000000a80425fb" in stage.execute(container, "cat", "/proc/self/status")[1]
    privileged = stage.execute(container, "grep", "CapEff", "/proc/self/status", privileged=True)[1]
    assert privileged.split()[1] != "00000000a80425fb"
    stage.remove(container)


def terminal_rest(master: int) -> bytes:
    """Until EIO: nobody has the other end."""
    text = b""
    with contextlib.suppress(OSError):
        while piece := os.read(master, 1000):
            text += piece
    return text


@pytest.mark.parametrize(("args", "code"), [(("absent",), 127), (("/etc/passwd",), 126)])
def test_a_process_that_cannot_be_run_inside_says_so(stage: Stage, args: tuple[str, ...], code: int) -> None:
    container = stage.create("sleep", "60")
    with pytest.raises(Failed, match="OCI runtime exec failed: exec failed: unable to start container process") as failure:
        stage.execute(container, *args)
    assert exit_code_of(failure.value.message) == code
    stage.remove(container)


def test_a_terminal_inside(stage: Stage) -> None:
    container = stage.create("sleep", "60")
    name = os.urandom(8).hex()
    spec = ExecSpec(args=("sh", "-c", "stty size; tty; read line; echo got $line; exit 3"), tty=True, stdin=True, size=(33, 77))
    _, (master,) = stage.run(stage.host.call_with_descriptors(commands.ExecContainer(container=container, exec=name, spec=spec)))
    text = b""
    while b"pts" not in text:
        text += os.read(master, 1000)
    os.write(master, b"typed\n")
    assert stage.until(commands.ExecExited, exec=name).exit_code == 3
    text += terminal_rest(master)
    os.close(master)
    assert text == b"33 77\r\n/dev/pts/0\r\ntyped\r\ngot typed\r\n"
    stage.remove(container)


def test_a_process_inside_is_signalled_and_ends_with_its_container(stage: Stage) -> None:
    container = stage.create("sleep", "60")
    for end in (commands.SignalExec(exec="f" * 16, signal=15), commands.SignalContainer(id=container, signal=9)):
        spec = ExecSpec(args=("sleep", "50"), stdout=False, stderr=False)
        stage.call(commands.ExecContainer(container=container, exec="f" * 16, spec=spec))
        with pytest.raises(Conflict, match="is running"):
            stage.call(commands.ExecContainer(container=container, exec="f" * 16, spec=spec))
        stage.call(end)
        ended = stage.until(commands.ExecExited, exec="f" * 16)
        assert ended.exit_code == (143 if isinstance(end, commands.SignalExec) else 137)
        stage.told.remove(ended)
    with pytest.raises(Conflict):
        stage.call(commands.SignalExec(exec="f" * 16, signal=15))
    stage.remove(container)


def test_the_terminal_of_a_container(stage: Stage) -> None:
    container = stage.create("sh", "-c", "tty; read line; stty size", tty=True, stdin=True, attach=True)
    with socket.socket(fileno=stage.descriptors[0]) as sock:
        sock.settimeout(20)
        text = sock.recv(8193)[1:]
        stage.call(commands.ResizeContainer(id=container, rows=40, columns=100))
        time.sleep(0.2)
        sock.send(b"\n")
        while packet := sock.recv(8193):
            assert packet[:1] == b"\x02"
            text += packet[1:]
    assert text.startswith(b"/dev/")
    assert text.endswith(b"40 100\r\n")
    stage.wait(container)
    stage.remove(container)


def test_what_runs_inside_is_listed(stage: Stage) -> None:
    container = stage.create("sh", "-c", "sleep 81; true")
    time.sleep(0.1)
    listed = stage.call(commands.ListProcesses(id=container))
    command = listed.titles.index("CMD")
    assert [row[command] for row in listed.rows] == ["sh -c sleep 81; true", "sleep 81"]
    listed = stage.call(commands.ListProcesses(id=container, ps_arguments="-o pid,args"))
    assert (listed.titles, len(listed.rows)) == (("PID", "COMMAND"), 2) or listed.rows == ()
    assert len(stage.call(commands.ListProcesses(id=container, ps_arguments="aux")).rows) == 2
    for wrong in ("-o args", "--no-such-option", "-eo ppid=PID,args", "'"):
        with pytest.raises(InvalidArgument):
            stage.call(commands.ListProcesses(id=container, ps_arguments=wrong))
    stage.remove(container)


def test_the_log_is_rotated_without_losing_a_line(stage: Stage) -> None:
    script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); [ $((i%40)) = 0 ] && sleep 0.1; done"
    container = stage.create("sh", "-c", script, log=LogSpec(max_size=4000, max_files=50))
    stage.wait(container)
    stage.until(commands.LogRotated, id=container)
    bundle = stage.layout.containers / container / "bundle"
    assert len(list(bundle.glob("log*"))) > 2
    assert stage.log(container) == "".join(f"line {number}\n" for number in range(400))
    stage.remove(container)


def test_only_so_many_files_of_a_log_are_kept(stage: Stage) -> None:
    script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.005; done"
    container = stage.create("sh", "-c", script, log=LogSpec(max_size=1000, max_files=2))
    stage.wait(container)
    assert sorted(path.name for path in (stage.layout.containers / container / "bundle").glob("log*")) == ["log", "log.1"]
    assert stage.log(container).endswith("line 199\n")
    stage.remove(container)


def test_no_log_when_none_is_wanted(stage: Stage) -> None:
    container = stage.create("echo", "lost", log=LogSpec(driver="none"))
    stage.wait(container)
    assert stage.call(commands.OpenLog(id=container)) == 0
    stage.remove(container)


def test_the_host_says_what_it_can(stage: Stage) -> None:
    facts = stage.call(commands.DescribeHost())
    assert facts.cgroup_version in (1, 2)
    assert facts.runtimes[facts.runtime].endswith("runc")
    assert facts.runtime_version[0].isdigit()
    assert facts.monitor_version[0].isdigit()
    assert {"cpu", "memory", "pids"} <= set(facts.controllers)


# ---------------------------------------------------------------------------------------------------------------- crashes


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Stage]:
    """A stage of its own, whose host is killed."""
    stage = Stage(tmp_path / "data")
    try:
        yield stage
    finally:
        stage.close()


def kill_host(stage: Stage) -> None:
    os.kill(stage.host_pid, signal.SIGKILL)
    stage.run(stage.host.close())
    stage.told.clear()
    stage.start()


def test_containers_survive_the_host_and_are_found_again(fragile: Stage) -> None:
    running = fragile.create("sh", "-c", "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 6")
    pid = fragile.created.pid
    created = fragile.create("sh", "-c", "exit 8", start=False)
    ends = fragile.create("sh", "-c", "sleep 0.3; exit 9")
    os.kill(fragile.host_pid, signal.SIGKILL)
    fragile.run(fragile.host.close())
    time.sleep(0.6)
    fragile.told.clear()
    fragile.start()
    found = {each.id: each for each in fragile.call(commands.ListContainers())}
    assert (found[running].state, found[running].pid) == ("running", pid)
    assert found[created].state == "created"
    assert (found[ends].state, found[ends].exit_code) == ("exited", 9)
    assert found[ends].finished - found[ends].started >= 0.25
    fragile.call(commands.StartContainer(id=created))
    assert fragile.wait(created).exit_code == 8
    assert fragile.wait(running).exit_code == 6
    assert fragile.log(running) == "".join(f"{number}\n" for number in range(300))


def test_a_creation_that_the_host_did_not_survive_is_swept(fragile: Stage) -> None:
    async def cut_off(id: str, after: float) -> None:
        spec = ContainerSpec(id=id, layers=(fragile.chain,), args=("/bin/sleep", "100"))
        call = asyncio.ensure_future(fragile.host.call(commands.CreateContainer(pod="cut", spec=spec, start=True)))
        await asyncio.sleep(after)
        os.kill(fragile.host_pid, signal.SIGKILL)
        await asyncio.gather(call, return_exceptions=True)

    for number in range(8):
        id = os.urandom(32).hex()
        fragile.run(cut_off(id, 0.003 + number * 0.006))
        fragile.run(fragile.host.close())
        fragile.start()
        listed = {each.id: each.state for each in fragile.call(commands.ListContainers())}
        assert listed.get(id, "none") in ("none", "incomplete", "created", "running", "exited")
        fragile.call(commands.SweepContainers(containers=(), pods=()))
        assert fragile.found(id) is None
        assert not cgroups.exists(cgroups.tree(), f"{fragile.layout.cgroup}/cut")
        fragile.remove(id)
    assert processes_naming(str(fragile.layout.containers)) == []


def test_the_end_of_its_monitor_ends_a_container(fragile: Stage) -> None:
    container = fragile.create("sleep", "100")
    monitor, pid = fragile.created.monitor, fragile.created.pid
    os.kill(monitor, signal.SIGKILL)
    assert fragile.wait(container).exit_code == 137
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert not Path(f"/proc/{monitor}").exists()


def test_strays_are_swept_and_known_ones_stay(fragile: Stage) -> None:
    known, stray = fragile.create("sleep", "100", pod="known"), fragile.create("sleep", "100", pod="stray")
    said = fragile.call(commands.SweepContainers(containers=(known,), pods=("known",)))
    assert len(said) == 1
    assert stray in said[0]
    assert fragile.found(stray) is None
    found = fragile.found(known)
    assert found is not None
    assert found.state == "running"
    assert fragile.call(commands.SweepContainers(containers=(known,), pods=("known",))) == []
    fragile.remove(stray)


def test_no_descriptor_stays_open_and_no_zombie(fragile: Stage) -> None:
    def count() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{fragile.host_pid}/fd")), len(
            Path(f"/proc/{fragile.host_pid}/task/{fragile.host_pid}/children").read_text().split()
        )

    def a_life() -> None:
        container = fragile.create("sleep", "60", attach=True, log=LogSpec(max_size=100))
        os.close(fragile.descriptors[0])
        fragile.execute(container, "true")
        with pytest.raises(EngineError):
            fragile.execute(container, "absent")
        fragile.call(commands.AttachContainer(id=container))
        fragile.remove(container)
        with pytest.raises(Failed):
            fragile.create("absent")
        container = fragile.create("true")
        fragile.wait(container)
        fragile.remove(container)

    a_life()
    a_life()
    before = settled(count, 0)
    for _ in range(6):
        a_life()
    assert settled(count, before[0]) <= before


def settled(count: Callable[[], tuple[int, int]], descriptors: int) -> tuple[int, int]:
    """As few as there are to be, or the same for a second: what is ended in the background has its time."""
    found, since = count(), time.monotonic()
    while time.monotonic() - since < 12.0 and not (descriptors and found[0] <= descriptors and found[1] <= 1):
        time.sleep(0.1)
        found = min(found, count())
    return found


def test_two_hosts_of_one_instance_do_not_run_at_once(fragile: Stage) -> None:
    async def second() -> None:
        host = HostClient(fragile.layout)
        await host.start()
        call = asyncio.ensure_future(host.call(commands.ListContainers()))
        await asyncio.sleep(0.7)
        assert not call.done()
        await fragile.host.close()
        assert await call == []
        await host.close()

    fragile.run(second())
    fragile.start()
