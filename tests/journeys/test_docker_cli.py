"""What people do with the `docker` command, done by the real one."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_host import DockerHost, why_no_docker
from waiting import until

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("docker-cli")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("docker") / "data") as running:
        running.make_busybox()
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(host: DockerHost) -> Iterator[None]:
    yield
    host.remove_containers()


def inspect(host: DockerHost, name: str, template: str) -> str:
    return host.docker("inspect", "-f", template, name)


def names_in(tar: io.BytesIO) -> list[str]:
    with tarfile.open(fileobj=tar) as opened:
        return opened.getnames()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


# ------------------------------------------------------------------------------------------------------------------ run


def test_output_errors_and_the_exit_code_come_back(host: DockerHost) -> None:
    done = host.run("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert host.docker("ps", "-aq") == ""


def test_input_reaches_a_container_and_its_end_too(host: DockerHost) -> None:
    assert host.docker("run", "--rm", "-i", "busybox", "wc", "-c", stdin=b"x" * 300_000) == "300000"


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(host: DockerHost) -> None:
    missing = host.run("run", "--rm", "busybox", "nothing-like-it", check=False)
    assert missing.returncode == 127
    assert 'exec: "nothing-like-it": executable file not found in $PATH' in missing.stderr
    assert host.run("run", "--rm", "busybox", "/etc/passwd", check=False).returncode == 126
    assert host.docker("ps", "-aq") == ""


def test_a_missing_image_is_looked_for_and_the_failure_told(host: DockerHost) -> None:
    done = host.run("run", "--rm", "localhost:1/nothing", check=False)
    assert done.returncode == 125
    assert "Unable to find image 'localhost:1/nothing:latest' locally" in done.stderr


def test_a_terminal_works_under_a_pty(host: DockerHost) -> None:
    ours, theirs = pty.openpty()
    process = host.popen("run", "--rm", "-it", "busybox", "sh", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""

    def see(text: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 20
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 4096).decode(errors="replace")

    see("#")
    os.write(ours, b"echo $((20+3)); tty\n")
    see("23")
    see("/dev/pts/0")
    os.write(ours, b"exit 5\n")
    while process.poll() is None:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                os.read(ours, 4096)
            except OSError:
                break
    assert process.wait(20) == 5
    os.close(ours)


def test_environment_user_folder_hostname_and_entrypoint_are_as_asked(host: DockerHost) -> None:
    said = host.docker(
        "run", "--rm", "-e", "A=1", "-e", "B=two words", "-u", "1000:100", "-w", "/tmp", "-h", "somewhere", "--entrypoint", "sh", "busybox",
        "-c", "echo $A $B; id -u; id -g; pwd; hostname",
    )  # fmt: skip
    assert said.splitlines() == ["1 two words", "1000", "100", "/tmp", "somewhere"]


def test_a_published_port_answers_on_the_host_and_is_free_afterwards(host: DockerHost) -> None:
    host.docker(
        "run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "echo hello > /tmp/index.html; httpd -f -p 80 -h /tmp"
    )
    address = host.docker("port", "web", "80/tcp")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", address)
    until(lambda: host.run("exec", "web", "wget", "-qO-", "http://127.0.0.1/", check=False).returncode == 0)
    assert fetch(f"http://{address}/") == "hello\n"
    assert address.replace(":", ":") in host.docker("ps", "--format", "{{.Ports}}")
    taken = host.run("run", "--rm", "-p", f"{address}:80", "busybox", "true", check=False)
    assert taken.returncode == 125
    assert "port is already allocated" in taken.stderr
    host.docker("rm", "-f", "web")
    assert host.docker("run", "--rm", "-p", f"{address}:80", "busybox", "echo", "free") == "free"


def test_volumes_and_bound_folders_hold_what_is_written(host: DockerHost, tmp_path: Path) -> None:
    host.docker("volume", "create", "--label", "a=b", "kept")
    host.docker("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo one > /data/file")
    assert host.docker("run", "--rm", "-v", "kept:/data:ro", "busybox", "cat", "/data/file") == "one"
    read_only = host.run("run", "--rm", "-v", "kept:/data:ro", "busybox", "touch", "/data/other", check=False)
    assert "Read-only file system" in read_only.stderr
    (tmp_path / "in").write_text("from the host\n")
    host.docker("run", "--rm", "-v", f"{tmp_path}:/host", "busybox", "sh", "-c", "cp /host/in /host/out")
    assert (tmp_path / "out").read_text() == "from the host\n"
    assert "kept" in host.docker("volume", "ls", "-q", "--filter", "label=a=b").split()
    assert json.loads(host.docker("volume", "inspect", "kept"))[0]["Labels"] == {"a": "b"}
    host.docker("run", "-d", "--name", "user", "-v", "kept:/data", "busybox", "sleep", "100")
    assert "volume is in use" in host.run("volume", "rm", "kept", check=False).stderr
    host.docker("rm", "-f", "user")
    host.docker("volume", "rm", "kept")
    assert host.docker("run", "--rm", "--mount", "type=tmpfs,target=/t,tmpfs-size=1m", "busybox", "df", "-k", "/t").split()[-5] == "1024"


def test_memory_is_limited_and_the_kill_is_told(host: DockerHost) -> None:
    done = host.run("run", "--name", "hungry", "-m", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", "tail /dev/zero", check=False)
    assert done.returncode == 137
    assert inspect(host, "hungry", "{{.State.OOMKilled}} {{.State.ExitCode}} {{.HostConfig.Memory}}") == "true 137 33554432"


def test_processor_limits_and_pids_reach_the_kernel(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "limited", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "20", "busybox", "sleep", "100")
    forks = host.run("exec", "limited", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", check=False)
    assert "can't fork" in forks.stderr
    assert inspect(host, "limited", "{{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}") == "500000000 512 20"
    host.docker("update", "--memory", "64m", "--memory-swap", "64m", "limited")
    assert inspect(host, "limited", "{{.HostConfig.Memory}}") == str(64 << 20)
    assert "64MiB" in host.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "limited")


def test_containers_of_a_network_find_each_other_by_name_and_others_do_not(host: DockerHost) -> None:
    host.docker("network", "create", "--subnet", "10.77.0.0/24", "near")
    host.docker("network", "create", "far")
    host.docker(
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "near",
        "--network-alias",
        "alias",
        "busybox",
        "sh",
        "-c",
        "echo yes > /tmp/a; httpd -f -p 80 -h /tmp",
    )
    for name in ("server", "alias"):
        assert host.docker("run", "--rm", "--network", "near", "busybox", "wget", "-qO-", f"http://{name}/a") == "yes"
    assert host.run("run", "--rm", "--network", "far", "busybox", "wget", "-T", "2", "-qO-", "http://server/a", check=False).returncode != 0
    address = inspect(host, "server", '{{(index .NetworkSettings.Networks "near").IPAddress}}')
    assert address.startswith("10.77.0.")
    assert (
        host.run("run", "--rm", "--network", "far", "busybox", "wget", "-T", "2", "-qO-", f"http://{address}/a", check=False).returncode
        != 0
    )
    host.docker("run", "-d", "--name", "visitor", "--network", "far", "busybox", "sleep", "100")
    host.docker("network", "connect", "near", "visitor")
    assert host.docker("exec", "visitor", "wget", "-qO-", "http://server/a") == "yes"
    host.docker("network", "disconnect", "near", "visitor")
    assert host.run("exec", "visitor", "wget", "-T", "2", "-qO-", f"http://{address}/a", check=False).returncode != 0
    assert "has active endpoints" in host.run("network", "rm", "near", check=False).stderr
    assert "server" in host.docker("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "near")
    host.docker("rm", "-f", "server", "visitor")
    host.docker("network", "rm", "near", "far")


def test_none_has_no_network_and_container_shares_one(host: DockerHost) -> None:
    assert host.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net") == "lo"
    host.docker("run", "-d", "--name", "first", "busybox", "sh", "-c", "echo shared > /tmp/a; httpd -f -p 8080 -h /tmp")
    until(
        lambda: (
            host.run(
                "run", "--rm", "--network", "container:first", "busybox", "wget", "-qO-", "http://127.0.0.1:8080/a", check=False
            ).stdout
            == "shared\n"
        )
    )


def test_a_read_only_root_cannot_be_written_and_tmpfs_can(host: DockerHost) -> None:
    done = host.run(
        "run", "--rm", "--read-only", "--tmpfs", "/scratch", "busybox", "sh", "-c", "touch /scratch/ok && echo ok; touch /no", check=False
    )
    assert done.stdout == "ok\n"
    assert "Read-only file system" in done.stderr


def test_capabilities_are_dropped_and_added(host: DockerHost) -> None:
    def effective(*options: str) -> int:
        line = host.docker("run", "--rm", *options, "busybox", "grep", "CapEff", "/proc/self/status")
        return int(line.split()[1], 16)

    assert effective() == 0xA80425FB
    assert effective("--cap-drop", "ALL") == 0
    assert effective("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE") == 1 << 10
    assert effective("--cap-add", "SYS_TIME") == 0xA80425FB | 1 << 25


def test_init_reaps_and_passes_signals_on(host: DockerHost) -> None:
    host.docker("run", "-d", "--init", "--name", "tidy", "busybox", "sleep", "1000")
    assert host.docker("exec", "tidy", "cat", "/proc/1/comm") in ("docker-init", "tini", "catatonit")
    began = time.monotonic()
    host.docker("stop", "tidy")
    assert time.monotonic() - began < 5, "the signal did not reach it"
    assert inspect(host, "tidy", "{{.State.ExitCode}}") == "143"


def test_restart_policies_start_what_has_failed(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 3")
    until(lambda: inspect(host, "failing", "{{.State.Status}} {{.RestartCount}}") == "exited 2")
    host.docker("run", "-d", "--name", "steady", "--restart", "always", "busybox", "sleep", "1000")
    first = inspect(host, "steady", "{{.State.Pid}}")
    os.kill(int(first), 9)
    until(lambda: inspect(host, "steady", "{{.State.Running}}") == "true" and inspect(host, "steady", "{{.State.Pid}}") != first)
    host.docker("stop", "-t", "0", "steady")
    time.sleep(0.5)
    assert inspect(host, "steady", "{{.State.Running}}") == "false"


# ------------------------------------------------------------------------------------------------- looking at containers


def test_ps_shows_what_runs_with_its_filters(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "one", "--label", "tier=a", "busybox", "sleep", "100")
    host.docker("run", "--name", "two", "--label", "tier=b", "busybox", "sh", "-c", "exit 4", check=False)
    assert host.docker("ps", "--format", "{{.Names}}") == "one"
    assert host.docker("ps", "-a", "--format", "{{.Names}}").split() == ["two", "one"]
    assert host.docker("ps", "-a", "--filter", "label=tier=b", "--format", "{{.Names}} {{.Status}}").startswith("two Exited (4)")
    assert host.docker("ps", "-a", "--filter", "exited=4", "--format", "{{.Names}}") == "two"
    assert host.docker("ps", "--filter", "name=^on", "--format", "{{.Image}} {{.Command}}") == 'busybox "sleep 100"'


def test_logs_are_kept_and_followed(host: DockerHost) -> None:
    host.docker(
        "run", "-d", "--name", "talker", "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; echo oops >&2"
    )
    followed = host.run("logs", "-f", "talker")
    assert followed.stdout == "".join(f"line {i}\n" for i in range(1, 6))
    assert followed.stderr == "oops\n"
    assert host.docker("logs", "--tail", "2", "talker") == "line 5"
    stamped = host.docker("logs", "-t", "talker").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d", line) for line in stamped), stamped
    assert host.docker("logs", "--since", stamped[3].split()[0], "talker") == "line 4\nline 5"


def test_exec_runs_beside_with_its_own_exit_code(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "base", "-e", "FROM=run", "busybox", "sleep", "100")
    assert host.docker("exec", "-e", "MORE=1", "-w", "/tmp", "base", "sh", "-c", "echo $FROM $MORE; pwd") == "run 1\n/tmp"
    assert host.run("exec", "base", "sh", "-c", "exit 9", check=False).returncode == 9
    assert host.run("exec", "base", "nowhere", check=False).returncode == 127
    assert host.docker("exec", "-i", "base", "cat", stdin="through") == "through"
    assert host.docker("exec", "-u", "1000", "base", "id", "-u") == "1000"
    host.docker("exec", "-d", "base", "touch", "/tmp/done")
    until(lambda: host.run("exec", "base", "test", "-e", "/tmp/done", check=False).returncode == 0)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        ["docker", "exec", "-it", "base", "tty"], stdin=theirs, stdout=subprocess.PIPE, env=host.environment, timeout=30, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert done.stdout.strip() == b"/dev/pts/0"


def test_stop_signals_kill_pause_and_rename(host: DockerHost) -> None:
    host.docker(
        "run",
        "-d",
        "--name",
        "polite",
        "--stop-signal",
        "SIGUSR1",
        "busybox",
        "sh",
        "-c",
        "trap 'echo bye; exit 6' USR1; while :; do sleep 0.1; done",
    )
    host.docker("pause", "polite")
    assert inspect(host, "polite", "{{.State.Status}}") == "paused"
    assert "is paused" in host.run("exec", "polite", "true", check=False).stderr
    host.docker("unpause", "polite")
    host.docker("rename", "polite", "renamed")
    host.docker("stop", "renamed")
    assert inspect(host, "renamed", "{{.State.ExitCode}}") == "6"
    assert host.docker("logs", "renamed") == "bye"
    host.docker("start", "renamed")
    host.docker("kill", "-s", "KILL", "renamed")
    assert host.docker("wait", "renamed") == "137"
    assert "is not running" in host.run("kill", "renamed", check=False).stderr


def test_files_go_in_and_out(host: DockerHost, tmp_path: Path) -> None:
    host.docker("run", "-d", "--name", "box", "busybox", "sleep", "100")
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("content\n")
    (source / "link").symlink_to("deep/file")
    host.docker("cp", str(source), "box:/tmp")
    assert host.docker("exec", "box", "cat", "/tmp/source/deep/file", "/tmp/source/link") == "content\ncontent"
    host.docker("exec", "box", "sh", "-c", "echo changed > /tmp/source/deep/file; chmod 640 /tmp/source/deep/file")
    host.docker("cp", "box:/tmp/source/.", str(tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "file").read_text() == "changed\n"
    assert (tmp_path / "back" / "deep" / "file").stat().st_mode & 0o777 == 0o640
    host.docker("stop", "-t", "0", "box")
    stopped = subprocess.run(
        ["docker", "cp", "box:/tmp/source/deep/file", "-"], capture_output=True, env=host.environment, timeout=30, check=True
    )
    assert names_in(io.BytesIO(stopped.stdout)) == ["file"]
    assert "Could not find the file /nowhere in container box" in host.run("cp", "box:/nowhere", "-", check=False).stderr


def test_stats_top_diff_and_port_tell_about_a_container(host: DockerHost) -> None:
    host.docker("run", "-d", "--name", "busy", "-p", "0:99", "busybox", "sh", "-c", "echo x > /new; rm /etc/group; while :; do :; done")
    time.sleep(1)
    row = json.loads(host.docker("stats", "--no-stream", "--format", "{{json .}}", "busy"))
    assert 5 < float(row["CPUPerc"].rstrip("%")) < 130, row
    assert row["PIDs"] == "1"
    assert "while" in host.docker("top", "busy")
    assert host.docker("top", "busy", "-o", "pid,comm").split()[:2] == ["PID", "COMMAND"]
    changes = host.docker("diff", "busy").splitlines()
    assert {"A /new", "C /etc", "D /etc/group"} <= set(changes)
    assert host.docker("port", "busy").startswith("99/tcp -> 0.0.0.0:")


def test_events_are_told_in_order(host: DockerHost) -> None:
    began = f"{time.time():.3f}"
    host.docker("run", "--rm", "--name", "eventful", "busybox", "true")
    said = host.docker(
        "events", "--since", began, "--until", f"{time.time() + 0.2:.3f}", "--filter", "container=eventful", "--format", "{{.Action}}"
    )
    assert said.split() == ["create", "attach", "start", "die", "destroy"]


def test_health_is_checked(host: DockerHost) -> None:
    host.docker(
        "run",
        "-d",
        "--name",
        "patient",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "0.3s",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "100",
    )
    until(lambda: inspect(host, "patient", "{{.State.Health.Status}}") == "unhealthy")
    host.docker("exec", "patient", "touch", "/tmp/well")
    until(lambda: inspect(host, "patient", "{{.State.Health.Status}}") == "healthy")
    assert "(healthy)" in host.docker("ps", "--format", "{{.Status}}")


# --------------------------------------------------------------------------------------------------------------- images


def test_commit_save_load_tag_and_rmi_carry_an_image_around(host: DockerHost, tmp_path: Path) -> None:
    host.docker("run", "--name", "work", "busybox", "sh", "-c", "echo kept > /kept")
    host.docker("commit", "-m", "with a file", "-a", "somebody", "--change", 'CMD ["cat", "/kept"]', "work", "mine:1")
    assert host.docker("run", "--rm", "mine:1") == "kept"
    assert host.docker("history", "--format", "{{.Comment}}", "mine:1").splitlines()[0] == "with a file"
    host.docker("tag", "mine:1", "other/name:x")
    archive = tmp_path / "saved.tar"
    host.docker("save", "-o", str(archive), "mine:1", "other/name:x")
    assert {"manifest.json", "index.json", "oci-layout"} <= set(names_in(io.BytesIO(archive.read_bytes())))
    host.docker("rm", "work")
    gone = host.docker("rmi", "mine:1", "other/name:x")
    assert "Untagged: mine:1" in gone
    assert "Deleted: sha256:" in gone
    assert "No such image" in host.run("inspect", "--type", "image", "mine:1", check=False).stderr
    loaded = host.docker("load", "-i", str(archive))
    assert "Loaded image: mine:1" in loaded
    assert host.docker("run", "--rm", "other/name:x") == "kept"
    host.docker("rmi", "mine:1", "other/name:x")


def test_an_image_in_use_is_not_removed(host: DockerHost) -> None:
    host.docker("tag", "busybox", "used")
    host.docker("run", "-d", "--name", "holder", "used", "sleep", "100")
    host.docker("rmi", "used")
    done = host.run("rmi", "busybox", check=False)
    assert done.returncode == 1
    assert "conflict: unable to remove repository reference" in done.stderr or "is being used by running container" in done.stderr
    assert "busybox" in host.docker("images", "--format", "{{.Repository}}").split()


def test_export_and_import_make_one_layer(host: DockerHost, tmp_path: Path) -> None:
    host.docker("run", "--name", "source", "busybox", "sh", "-c", "echo flat > /flat")
    host.docker("export", "-o", str(tmp_path / "root.tar"), "source")
    host.docker("import", str(tmp_path / "root.tar"), "flat:1")
    assert host.docker("run", "--rm", "flat:1", "cat", "/flat") == "flat"
    assert len(json.loads(host.docker("inspect", "flat:1"))[0]["RootFS"]["Layers"]) == 1
    host.docker("rmi", "flat:1")


def test_disk_usage_and_prune(host: DockerHost) -> None:
    host.docker("run", "--name", "finished", "busybox", "true")
    host.docker("volume", "create", "unused")
    host.docker("network", "create", "idle")
    assert re.search(r"Containers\s+1\s+0", host.docker("system", "df"))
    said = host.docker("system", "prune", "-f", "--volumes")
    assert "Total reclaimed space" in said
    assert host.docker("ps", "-aq") == ""
    assert "idle" not in host.docker("network", "ls", "--format", "{{.Name}}").split()
    assert "busybox" in host.docker("images", "--format", "{{.Repository}}").split()
    assert "unused" not in host.docker("volume", "ls", "-q").split()  # named ones too, before API 1.42


# --------------------------------------------------------------------------------------------------------------- builds

TEN_STEPS = """\
# syntax=docker/dockerfile:1
ARG BASE=busybox
FROM ${BASE} AS build
ARG WHO=nobody
WORKDIR /src
COPY . .
RUN echo "built for $WHO" > out
RUN <<SCRIPT
set -e
cat out one.txt > both
wc -l < both > lines
SCRIPT
FROM busybox
LABEL made=here
ENV GREETING=hello
COPY --from=build --chown=1000:1000 --chmod=0600 /src/both /both
COPY <<EOF /written
$GREETING from a heredoc
EOF
USER 1000
ENTRYPOINT ["cat"]
CMD ["/both"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(TEN_STEPS)
    (tmp_path / "one.txt").write_text("one\n")
    (tmp_path / "secret.txt").write_text("not for the image\n")
    (tmp_path / ".dockerignore").write_text("secret.*\n")
    return tmp_path


def test_a_build_of_stages_heredocs_and_arguments(host: DockerHost, project: Path) -> None:
    host.docker("build", "-t", "built:1", "--build-arg", "WHO=me", "--label", "extra=1", str(project))
    assert host.docker("run", "--rm", "built:1") == "built for me\none"
    assert host.docker("run", "--rm", "built:1", "/written") == "hello from a heredoc"
    assert host.docker("run", "--rm", "--entrypoint", "stat", "built:1", "-c", "%u %g %a", "/both") == "1000 1000 600"
    labels = json.loads(host.docker("inspect", "-f", "{{json .Config.Labels}}", "built:1"))
    assert labels == {"made": "here", "extra": "1"}
    again = host.docker("build", "-t", "built:2", "--build-arg", "WHO=me", "--label", "extra=1", str(project))
    assert again.count("Using cache") >= 8
    assert inspect(host, "built:1", "{{.Id}}") == inspect(host, "built:2", "{{.Id}}")
    (project / "secret.txt").write_text("changed, but ignored\n")
    assert "Running in" not in host.docker("build", "--build-arg", "WHO=me", str(project))
    (project / "one.txt").write_text("two\n")
    changed = host.docker("build", "-t", "built:2", "--build-arg", "WHO=me", str(project))
    assert "Running in" in changed
    assert host.docker("run", "--rm", "built:2").splitlines()[-1] == "two"
    host.docker("rmi", "built:1", "built:2")


def test_a_build_stops_at_the_step_that_fails(host: DockerHost, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo fine\nRUN exit 3\nRUN echo never\n")
    done = host.run("build", str(tmp_path), check=False)
    assert done.returncode == 3
    assert "The command '/bin/sh -c exit 3' returned a non-zero code: 3" in done.stderr
    assert "never" not in done.stdout.replace("RUN echo never", "")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nBREW coffee\n")
    assert "unknown instruction: BREW" in host.run("build", str(tmp_path), check=False).stderr
    assert host.docker("ps", "-aq") == ""


def test_a_target_and_a_file_elsewhere(host: DockerHost, project: Path) -> None:
    (project / "Other").write_text(TEN_STEPS)
    identity = host.docker("build", "-q", "-f", str(project / "Other"), "--target", "build", "--no-cache", str(project))
    assert host.docker("run", "--rm", identity, "cat", "/src/lines") == "2"
    with (project / "Dockerfile").open() as dockerfile:
        done = subprocess.run(
            ["docker", "build", "-q", "-"], stdin=dockerfile, capture_output=True, text=True, env=host.environment, timeout=60, check=False
        )
    assert "one.txt" in done.stdout + done.stderr  # nothing to copy: there is no context


# ---------------------------------------------------------------------------------------------------------------- system


def test_version_and_info_describe_the_engine(host: DockerHost) -> None:
    version = json.loads(host.docker("version", "--format", "{{json .Server}}"))
    assert (version["ApiVersion"], version["Os"]) == ("1.41", "linux")
    info = json.loads(host.docker("info", "--format", "{{json .}}"))
    assert info["OSType"] == "linux"
    assert info["DefaultRuntime"] == "runc"
    assert info.get("ServerErrors") is None


def test_what_does_not_exist_is_said_in_dockers_words(host: DockerHost) -> None:
    assert "No such container: ghost" in host.run("start", "ghost", check=False).stderr
    assert "No such container: ghost" in host.run("logs", "ghost", check=False).stderr
    assert "network ghost not found" in host.run("network", "rm", "ghost", check=False).stderr
    assert "no such volume" in host.run("volume", "rm", "ghost", check=False).stderr.lower()
    host.docker("create", "--name", "twice", "busybox")
    assert (
        'The container name "/twice" is already in use by container' in host.run("create", "--name", "twice", "busybox", check=False).stderr
    )
