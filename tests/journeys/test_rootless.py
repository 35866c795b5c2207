"""Containers of a user who is not root: an engine in a user namespace of their own, by the real `docker`."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstead.engine.host.layout import Layout
from rootless_host import RootlessHost, free_port, why_no_rootless
from waiting import until

pytestmark = pytest.mark.xdist_group("rootless")

ECHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5300))
    print("ready", flush=True)
    while True:
        data, sender = sock.recvfrom(65536)
        sock.sendto(data[::-1], sender)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[RootlessHost]:
    if reason := why_no_rootless():
        pytest.skip(reason)
    with RootlessHost() as running:
        running.up()
        running.run("image", "bootstrap", "busybox")
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(host: RootlessHost) -> Iterator[None]:
    yield
    if containers := host.docker("ps", "-aq").split():
        host.docker("rm", "-f", "-v", *containers)


def fetch(port: int, address: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
        return str(answer.read().decode())


def web(host: RootlessHost, name: str, text: str, *options: str) -> None:
    host.docker("run", "-d", "--name", name, *options, "busybox", "sh", "-c", f"echo {text} > /index.html; exec httpd -f -h /")


def own_address() -> str:
    """An address of this machine that is not the loopback's; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(sock.getsockname()[0])


# ------------------------------------------------------------------------------------------------------------------ what holds


def test_root_in_a_container_is_the_user_outside_and_the_others_are_ids_of_their_range(host: RootlessHost) -> None:
    said = host.docker(
        "run", "--rm", "-v", f"{host.box}/home:/home", "busybox", "sh", "-c", "id -u; touch /home/a /home/b; chown 1000:1000 /home/b"
    )
    assert said == "0"
    found = [(host.box / "home" / name).stat() for name in ("a", "b")]
    assert [(one.st_uid, one.st_gid) for one in found] == [(host.uid, host.uid), (host.first + 999, host.first + 999)]


def test_output_exit_codes_exec_and_logs_are_as_ever(host: RootlessHost) -> None:
    host.docker("run", "--name", "ends", "busybox", "sh", "-c", "echo out; exit 7", check=False)
    assert (host.docker("logs", "ends"), host.docker("inspect", "-f", "{{.State.ExitCode}}", "ends")) == ("out", "7")
    host.docker("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    assert host.docker("exec", "-u", "33:33", "stays", "id", "-u") == "33"
    assert "sleep 1000" in host.docker("top", "stays")
    assert host.docker("stats", "--no-stream", "--format", "{{.PIDs}}", "stays") == "1"
    assert host.docker("kill", "stays") == "stays"
    assert host.docker("wait", "stays") == "137"


def test_layers_are_built_with_what_they_remove_and_replace(host: RootlessHost) -> None:
    folder = host.box / "context"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(
        "FROM busybox\nRUN mkdir /d && touch /d/old && chown 33:44 /d/old && echo x > /gone\n"
        "RUN rm /gone && rm -r /d && mkdir /d && touch /d/new\nCOPY Dockerfile /d/copied\n"
    )
    host.docker("build", "-t", "built", str(folder))
    shown = "ls /d; test -e /gone || echo removed"
    assert host.docker("run", "--rm", "built", "sh", "-c", shown).split() == ["copied", "new", "removed"]
    saved = host.box / "saved.tar"
    host.docker("save", "-o", str(saved), "built")
    host.docker("rmi", "built")
    host.docker("load", "-i", str(saved))
    assert host.docker("run", "--rm", "built", "sh", "-c", shown).split() == ["copied", "new", "removed"]


def test_what_a_container_changed_is_told_committed_and_copied(host: RootlessHost) -> None:
    host.docker("run", "--name", "one", "busybox", "sh", "-c", "rm -r /home; mkdir /home; echo n > /home/n")
    assert host.docker("diff", "one").split("\n") == ["C /home", "A /home/n"]
    host.docker("commit", "one", "changed")
    assert host.docker("run", "--rm", "changed", "ls", "/home") == "n"
    host.docker("cp", "one:/home/n", str(host.box / "n"))
    assert (host.box / "n").read_text() == "n\n"


def test_volumes_keep_owners_and_can_be_read_only(host: RootlessHost) -> None:
    host.docker("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo x > /data/f; chown 1000 /data /data/f; chmod 600 /data/f")
    assert host.docker("run", "--rm", "-v", "kept:/data", "-u", "1000", "busybox", "cat", "/data/f") == "x"
    assert "Read-only file system" in host.docker("run", "--rm", "-v", "kept:/data:ro", "busybox", "touch", "/data/g", check=False)
    host.docker("volume", "rm", "kept")


def test_containers_find_each_other_by_name_and_not_across_networks(host: RootlessHost) -> None:
    host.docker("network", "create", "own")
    web(host, "served", "hello", "--network", "own")
    assert host.docker("run", "--rm", "--network", "own", "busybox", "wget", "-qO-", "http://served/") == "hello"
    assert "bad address" in host.docker("run", "--rm", "busybox", "wget", "-qO-", "http://served/", check=False)
    host.docker("rm", "-f", "served")
    host.docker("network", "rm", "own")


def test_ports_are_published_on_this_machine_and_taken_for_others(host: RootlessHost) -> None:
    port = free_port()
    web(host, "first", "one", "-p", f"{port}:80", "-p", "80")
    until(lambda: fetch(port) == "one\n", passing=OSError)
    other = next(
        int(line.rpartition(":")[2]) for line in host.docker("port", "first", "80/tcp").split("\n") if not line.endswith(f":{port}")
    )
    assert fetch(other) == "one\n"
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        assert fetch(port, "[::1]") == "one\n"
    refused = host.docker("run", "--rm", "-p", f"{port}:80", "busybox", "true", check=False)
    assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in refused
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        refused = host.docker("run", "--rm", "-p", f"{taken.getsockname()[1]}:80", "busybox", "true", check=False)
        assert "port is already allocated" in refused
    host.docker("rm", "-f", "first")
    with socket.create_server(("0.0.0.0", port)):  # nobody listens there any more
        pass


def test_udp_ports_are_published_too(host: RootlessHost) -> None:
    port = free_port()
    host.docker("run", "-d", "--name", "udp", "-p", f"{port}:5300/udp", "busybox", "sleep", "1000")
    pid = host.docker("inspect", "-f", "{{.State.Pid}}", "udp")
    inside = subprocess.Popen(["nsenter", "-t", pid, "-n", sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
    try:
        assert inside.stdout is not None
        assert inside.stdout.readline() == b"ready\n"
        for text in (b"abc", b"def"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(10)
                sock.sendto(text, ("127.0.0.1", port))
                assert sock.recv(100) == text[::-1]
    finally:
        inside.kill()
        inside.wait()


@pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="needs slirp4netns")
def test_containers_reach_the_outside_and_not_this_machines_loopback(host: RootlessHost) -> None:
    address = own_address()
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        ask = 'printf "HEAD / HTTP/1.0\\r\\n\\r\\n" | nc -w 5 $0 $1'
        said = [
            host.docker("run", "--rm", "busybox", "sh", "-c", ask, where, str(server.server_port), check=False)
            for where in (address, "10.0.2.2")
        ]
    finally:
        server.shutdown()
        server.server_close()
    assert said[0].startswith("HTTP/1.0 501")
    assert "HTTP" not in said[1]


# ------------------------------------------------------------------------------------------------------------------ what does not


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-m", "64m"), "memory limit capabilities"),
        (("--cpus", "1"), "CPU CFS scheduler"),
        (("--pids-limit", "20"), "PIDs limit capabilities"),
        (("--pid", "host"), "a common PID namespace"),
    ],
)
def test_limits_are_refused_where_no_cgroup_was_delegated(host: RootlessHost, options: tuple[str, ...], sentence: str) -> None:
    said = host.docker("run", "--rm", *options, "busybox", "true", check=False)
    assert sentence in said
    assert "Cloudstead runs without root here, and no cgroup (v2) was delegated to it" in said


def test_what_else_cannot_be_is_said(host: RootlessHost) -> None:
    host.docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    assert "cannot be paused" in host.docker("pause", "runs", check=False)
    assert "cannot be raised" in host.docker("run", "--rm", "--ulimit", "nofile=999999999", "busybox", "true", check=False)
    assert "domain name" in host.docker("run", "--rm", "--domainname", "example.com", "busybox", "true", check=False)
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 81:
        assert "ip_unprivileged_port_start=81" in host.docker("run", "--rm", "-p", "81:80", "busybox", "true", check=False)
    told = host.docker("info")
    assert "rootless" in told
    assert "no limits, no pausing" in told
    assert host.docker("ps", "-q").count("\n") == 0


def test_root_and_others_leave_the_users_data_alone(host: RootlessHost) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cloudstead.engine.teardown", str(host.data)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"were made by the user {host.uid}" in done.stderr
    assert not Layout(host.data).run.exists()


# ------------------------------------------------------------------------------------------------------------------ what lasts


def test_containers_outlive_the_daemon_and_its_host(host: RootlessHost) -> None:
    port = free_port()
    web(host, "lasting", "here", "-p", f"{port}:80")
    host.docker("run", "-d", "--name", "ending", "busybox", "sh", "-c", "echo begun; sleep 2; echo done; exit 5")
    keepers = host.processes("sleep infinity")
    host.kill()
    until(lambda: not host.processes("engine.host"))
    assert host.processes("httpd")
    assert host.processes("sleep infinity") == keepers
    until(lambda: not host.processes("sleep 2"))
    host.up()
    assert host.docker("inspect", "-f", "{{.State.ExitCode}}", "ending") == "5"
    assert host.docker("logs", "ending") == "begun\ndone"
    assert host.docker("exec", "lasting", "cat", "/index.html") == "here"
    until(lambda: fetch(port) == "here\n", passing=OSError)
    assert host.processes("sleep infinity") == keepers


def test_the_namespaces_are_found_by_a_containers_monitor_when_their_keeper_was_killed(host: RootlessHost) -> None:
    port = free_port()
    web(host, "lasting", "here", "-p", f"{port}:80")
    host.run("down")
    for pid in host.processes("sleep infinity"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not host.processes("slirp4netns"))
    host.up()
    assert host.docker("exec", "lasting", "cat", "/index.html") == "here"
    until(lambda: fetch(port) == "here\n", passing=OSError)
    assert len(host.processes("sleep infinity")) == 1
    assert len(host.processes("slirp4netns")) == (shutil.which("slirp4netns") is not None)


def test_nothing_is_left_without_containers_and_after_a_reset(host: RootlessHost) -> None:
    """The last of this module."""
    host.run("down")
    until(lambda: not host.processes())
    host.up()
    web(host, "lasting", "here")
    host.docker("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "mkdir -p /data/a/b; chown -R 1000 /data; chmod 700 /data/a")
    host.run("down")
    assert host.processes("httpd")
    host.run("reset", "--yes")
    until(lambda: not host.processes())
    assert list(host.data.iterdir()) == []
    assert [path.name for path in (host.box / "run" / "cloudstead").iterdir()] == ["uplinks.lock"]
    host.up()
    assert host.docker("ps", "-aq") == ""
