"""What a container tries and must not be able to do. Each probe runs inside one, through the real API; some look from the host at the same time."""

from __future__ import annotations

import io
import os
import re
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_host import DockerHost, why_no_docker
from docker_host import command as command_of_host
from engine_support import busybox_tar

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("isolation")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("isolation") / "data") as running:
        running.make_busybox()
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(host: DockerHost) -> Iterator[None]:
    yield
    host.remove_containers()


def inside(host: DockerHost, script: str, *options: str) -> str:
    """What a script says in a fresh container, errors included."""
    done = host.run("run", "--rm", *options, "busybox", "sh", "-c", f"exec 2>&1; {script}", check=False)
    return done.stdout + done.stderr


# ----------------------------------------------------------------------------------------------------- processes and files


def test_it_sees_no_process_but_its_own(host: DockerHost) -> None:
    said = inside(host, "ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm; echo $PPID")
    count, first, parent = said.split()
    assert first == "sh"
    assert int(count) <= 4
    assert parent == "0"


def test_it_cannot_signal_a_process_of_the_host(host: DockerHost) -> None:
    assert "No such process" in inside(host, f"kill -9 {os.getpid()}")


def test_it_sees_no_file_of_the_host(host: DockerHost, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("secret")
    said = inside(host, f"cat {tmp_path}/mine; cat /proc/1/root{tmp_path}/mine; ls /proc/*/root/{host.data}; ls /; mount")
    assert "secret" not in said
    assert "state.db" not in said
    assert str(tmp_path) not in [line.split()[2] for line in said.splitlines() if " on " in line and len(line.split()) > 2]


def test_no_descriptor_of_the_host_is_left_open(host: DockerHost) -> None:
    open_files = inside(host, "ls /proc/1/fd").split()
    assert set(open_files) <= {"0", "1", "2", "3"}, "3 is the folder being listed"


@pytest.mark.parametrize("number", range(3, 12))
def test_a_folder_of_the_host_cannot_be_entered_by_a_descriptor_that_leaks(host: DockerHost, number: int) -> None:
    """CVE-2024-21626."""
    said = inside(host, "ls ../../../../; cat ../../../../etc/os-release", "-w", f"/proc/self/fd/{number}")
    assert "ID=debian" not in said
    assert "boot" not in said.split()


def test_the_root_of_an_image_is_not_left_by_links(host: DockerHost, tmp_path: Path) -> None:
    """Folders and files that the engine itself opens: the working folder, the users, what volumes are filled from."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN rm /etc/passwd && ln -s ../../../../../../etc/shadow /etc/passwd && ln -s ../../../../../../etc /out && ln -s / /all\n"
    )
    host.docker("build", "-q", "-t", "links", str(tmp_path))
    assert "root:" not in host.run("run", "--rm", "-u", "root", "links", "cat", "/etc/passwd", check=False).stdout
    assert "debian" not in host.run("run", "--rm", "-v", "filled:/out", "links", "ls", "/out", check=False).stdout
    host.docker("run", "--name", "linked", "links", "true")
    assert host.run("cp", "linked:/out/shadow", "-", check=False).returncode != 0
    host.docker("rm", "linked")
    host.docker("rmi", "links")
    host.docker("volume", "rm", "filled")


def with_links(links: dict[str, str], *, whole: bool = True) -> bytes:
    """A tar with links, and busybox without what they stand for."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar, tarfile.open(fileobj=io.BytesIO(busybox_tar())) as given:
        for member in given if whole else ():
            if member.name.strip("./").partition("/")[0] not in links:
                tar.addfile(member, given.extractfile(member))
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return made.getvalue()


def test_places_that_the_runtime_mounts_on_lead_nowhere_else(host: DockerHost, tmp_path: Path) -> None:
    """A runtime that makes /dev/fd by its path would follow the image's link, as root of the host."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "ptmx").write_text("keep")
    links = {name: str(victim) for name in ("dev", "proc", "sys", "etc", "v")}
    host.docker("import", "-c", "ENV PATH=/bin", "-", "links", stdin=with_links(links))
    script = "test -c /dev/null && test -L /dev/fd && test -r /proc/self/status && test -d /sys/kernel && echo fine"
    assert host.docker("run", "--rm", "-v", "/v/new", "-w", "/v/work", "--tmpfs", "/v/t", "links", "sh", "-c", script) == "fine"
    host.docker("create", "--name", "changed", "busybox", "sh", "-c", script)
    (tmp_path / "dev.tar").write_bytes(with_links({"dev": str(victim)}, whole=False))
    command_of_host(
        "curl", "-sf", "--unix-socket", str(host.socket), "-T", str(tmp_path / "dev.tar"), "http://d/containers/changed/archive?path=/"
    )
    host.run("start", "-a", "changed", check=False)
    assert sorted(os.listdir(victim)) == ["ptmx"]
    assert (victim / "ptmx").read_text() == "keep"


def test_what_the_kernel_shows_of_itself_is_masked_or_read_only(host: DockerHost) -> None:
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats"):
        assert inside(host, f"[ -e {path} ] && cat {path} | wc -c") in ("0\n", ""), path
    assert inside(host, "ls /sys/firmware") == ""
    for path in (
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/panic_on_oom",
        "/proc/irq/0/smp_affinity",
        "/sys/kernel/mm/ksm/run",
    ):
        said = inside(host, f"echo 1 > {path} && echo written")
        assert "written" not in said, path


def test_no_cgroup_can_be_written(host: DockerHost) -> None:
    """The escape by release_agent, among others."""
    said = inside(
        host,
        "for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name release_agent -o -name memory.limit_in_bytes -o -name memory.max); do echo tried; echo 0 > $f && echo written; done",
    )
    assert "tried" in said
    assert "written" not in said


# ------------------------------------------------------------------------------------------------------------------- kernel


POWERS = (
    "mount -t tmpfs none /tmp",
    "mount -o remount,rw /sys",
    "mount --bind / /tmp",
    "unshare -m true",
    "unshare -U true",
    "unshare -n true",
    "nsenter -t 1 -m true",
    "hostname elsewhere",
    "ip link add probe0 type veth peer name probe1",
    "ip addr add 10.9.9.9/32 dev eth0",
    "ip route add 10.8.0.0/16 dev eth0",
    "sysctl -w net.ipv4.ip_forward=1",
    "renice -n -20 1",
)
"""What a privileged container may do to itself."""
DANGERS = (
    "umount /proc/acpi",
    "insmod /module.ko",
    "swapon /dev/zero",
    "date -s 2001-01-01; date +%Y | grep 2001",
    "pivot_root / /tmp",
    "dmesg -c",
)
"""What would reach the machine, so it is not tried with privileges."""
REFUSAL = re.compile(r"not permitted|denied|read-only", re.IGNORECASE)


@pytest.mark.parametrize("attempt", POWERS + DANGERS)
def test_the_kernel_refuses(host: DockerHost, attempt: str) -> None:
    said = inside(host, f"dd if=/dev/zero of=/module.ko bs=64 count=1 2>/dev/null; {attempt} && echo succeeded")
    assert "succeeded" not in said
    assert REFUSAL.search(said), said


@pytest.mark.parametrize("attempt", POWERS)
def test_what_the_kernel_refuses_is_possible_with_privileges(host: DockerHost, attempt: str) -> None:
    """So the refusal was one of rights, not of something that lacks here."""
    assert "succeeded" in inside(host, f"{attempt} && echo succeeded", "--privileged")


def test_devices_of_the_host_cannot_be_made_or_read(host: DockerHost) -> None:
    disk = os.stat("/").st_dev
    said = inside(
        host,
        f"mknod /disk b {os.major(disk)} {os.minor(disk)} && head -c 1 /disk && echo read; mknod /mem c 1 1 && head -c 1 /mem && echo read; ls /dev",
    )
    assert "read" not in said.replace("read-only", "").split()
    assert not {"sda", "vda", "kvm", "mem", "kmsg"} & set(said.split())


def test_a_privilege_is_not_gained_by_setuid_when_that_is_forbidden(host: DockerHost, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN cp /bin/busybox /bin/sudo-cat && chmod 4755 /bin/busybox\n")
    host.docker("build", "-q", "-t", "suid", str(tmp_path))
    options = ("run", "--rm", "-u", "1000", "--security-opt", "no-new-privileges", "suid")
    assert "NoNewPrivs:\t1" in host.docker(*options, "grep", "NoNewPrivs", "/proc/self/status")
    assert host.run(*options, "su", "-c", "id -u", check=False).stdout.strip() != "0"
    host.docker("rmi", "suid")


def test_system_calls_are_filtered(host: DockerHost) -> None:
    status = inside(host, "cat /proc/self/status")
    assert "Seccomp:\t2" in status
    assert "Seccomp:\t0" in inside(host, "cat /proc/self/status", "--security-opt", "seccomp=unconfined")


# ------------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("processors", [0.25, 0.5])
def test_it_gets_as_much_processor_time_as_it_may(host: DockerHost, processors: float) -> None:
    """Four loops that want all there is, over three seconds of the wall clock."""
    script = "for i in 1 2 3 4; do (while :; do :; done) & done; read a b < /proc/uptime; sleep 3; read c d < /proc/uptime; cat /sys/fs/cgroup/cpuacct/cpuacct.usage /sys/fs/cgroup/cpu.stat 2>/dev/null; echo $a $c"
    said = inside(host, script, "--cpus", str(processors))
    used = int(said.split()[0]) / 1e9 if "usage_usec" not in said else int(said.split("usage_usec")[1].split()[0]) / 1e6
    began, ended = (float(text) for text in said.split()[-2:])
    assert used / (ended - began) == pytest.approx(processors, rel=0.1)


def test_too_much_memory_kills_it_alone(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "neighbour", "busybox", "sleep", "100")
    host.run("run", "--name", "greedy", "-m", "24m", "--memory-swap", "24m", "busybox", "tail", "/dev/zero", check=False)
    assert host.docker("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", "greedy") == "137 true"
    assert host.docker("inspect", "-f", "{{.State.Status}}", "neighbour") == "running"


def test_memory_on_a_tmpfs_counts(host: DockerHost) -> None:
    done = host.run(
        "run",
        "--rm",
        "-m",
        "24m",
        "--memory-swap",
        "24m",
        "--tmpfs",
        "/t:size=100m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/t/big",
        "bs=1M",
        "count=64",
        check=False,
    )
    assert done.returncode == 137


def test_a_fork_bomb_ends_at_its_limit(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "bomb", "--pids-limit", "50", "busybox", "sh", "-c", "f() { f | f & }; f; sleep 100")
    time.sleep(1)
    assert 1 <= int(host.docker("stats", "--no-stream", "--format", "{{.PIDs}}", "bomb")) <= 50
    assert host.docker("run", "--rm", "busybox", "echo", "others work") == "others work"


def test_open_files_and_shared_memory_are_limited(host: DockerHost) -> None:
    assert inside(host, "ulimit -n; ulimit -Hn", "--ulimit", "nofile=64:128").split() == ["64", "128"]
    assert "No space left" in inside(host, "dd if=/dev/zero of=/dev/shm/big bs=1M count=8", "--shm-size", "2m")


# ------------------------------------------------------------------------------------------------------------------ network


def address(host: DockerHost, name: str) -> str:
    return host.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)


def test_another_network_cannot_be_reached_even_with_every_right_over_its_own(host: DockerHost) -> None:
    host.docker("network", "create", "theirs")
    host.docker("network", "create", "ours")
    host.docker(
        "run", "-d", "--name", "target", "--network", "theirs", "busybox", "sh", "-c", "echo secret > /tmp/a; httpd -f -p 80 -h /tmp"
    )
    there = address(host, "target")
    script = f"ip route add {there}/32 dev eth0; echo 'GET /a' | nc -w 2 {there} 80; ping -c 1 -W 1 {there} && echo pong"
    for options in ((), ("--cap-add", "NET_ADMIN"), ("--privileged",)):
        said = inside(host, script, "--network", "ours", *options)
        assert "secret" not in said
        assert "pong" not in said
    host.docker("rm", "-f", "target")
    host.docker("network", "rm", "ours", "theirs")


def test_an_address_of_another_cannot_be_taken(host: DockerHost) -> None:
    """With NET_ADMIN it can give itself any address; nothing that it sends from there arrives, and nothing meant for the other one reaches it."""
    host.docker("network", "create", "shared")
    host.docker(
        "run", "-d", "--name", "victim", "--network", "shared", "busybox", "sh", "-c", "echo victim > /tmp/a; httpd -f -p 80 -h /tmp"
    )
    host.docker("run", "-d", "--name", "listener", "--network", "shared", "busybox", "sh", "-c", "sleep 1000 | nc -lu -p 7777 > /tmp/heard")
    theirs, listening = address(host, "victim"), address(host, "listener")
    host.docker("run", "-d", "--name", "thief", "--network", "shared", "--cap-add", "NET_ADMIN", "busybox", "sleep", "100")
    for command in (
        f"ip addr add {theirs}/32 dev eth0",
        f"arping -c 2 -w 1 -U -s {theirs} -I eth0 {theirs}",
        f"(echo forged | timeout 1 nc -u -s {theirs} {listening} 7777) || true",
        "mkdir -p /tmp/fake; echo thief > /tmp/fake/a; httpd -p 80 -h /tmp/fake",
    ):
        host.run("exec", "thief", "sh", "-c", command, check=False)
    time.sleep(0.5)
    assert host.docker("exec", "listener", "cat", "/tmp/heard") == ""
    assert inside(host, f"wget -qO- http://{theirs}/a", "--network", "shared").strip() == "victim"
    host.docker("rm", "-f", "victim", "thief", "listener")
    host.docker("network", "rm", "shared")


def test_metadata_cannot_be_forged_for_a_neighbour(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "forger", "--cap-add", "NET_ADMIN", "busybox", "sleep", "100")
    host.docker(
        "exec",
        "forger",
        "sh",
        "-c",
        "ip addr add 169.254.169.254/32 dev eth0; mkdir -p /tmp/m; echo forged > /tmp/m/a; httpd -p 80 -h /tmp/m",
    )
    host.run("exec", "forger", "sh", "-c", "arping -c 2 -w 1 -U -s 169.254.169.254 -I eth0 169.254.169.254", check=False)
    assert "forged" not in inside(host, "(echo 'GET /a'; sleep 1) | nc -w 2 169.254.169.254 80")


def test_sockets_of_the_host_are_out_of_reach(host: DockerHost) -> None:
    """Unix sockets by file and by abstract name, and what listens on the host's loopback."""
    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        abstract.bind(f"\0cloudstead-probe-{os.getpid()}")
        abstract.listen()
        port = listening.getsockname()[1]
        said = inside(host, f"(echo | nc -w 1 127.0.0.1 {port}) && echo connected; cat /proc/net/unix; ls /var/run /run; ls {host.socket}")
    assert "connected" not in said
    assert "cloudstead-probe" not in said
    assert "docker.sock\n" not in said.replace(f"{host.socket}: No such file or directory", "")
