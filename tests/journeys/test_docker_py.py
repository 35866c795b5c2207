"""What programs do with docker-py, Docker's own library for Python."""

from __future__ import annotations

import io
import json
import os
import socket as sockets
import struct
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import pytest
from docker.utils.socket import frames_iter

from docker_host import DockerHost, why_no_docker
from waiting import until

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("docker-py")]

SLEEPING = ["sleep", "600"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    with DockerHost(tmp_path_factory.mktemp("docker-py") / "data") as running:
        running.make_busybox()
        connected = docker.DockerClient(base_url=f"unix://{running.socket}", timeout=60)
        yield connected
        connected.close()


@pytest.fixture(autouse=True)
def nothing_stays(client: docker.DockerClient) -> Iterator[None]:
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    client.networks.prune()


def sleeping(client: docker.DockerClient, **options: Any) -> Any:
    return client.containers.run("busybox", SLEEPING, detach=True, init=True, **options)


def tar_of(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


# ------------------------------------------------------------------------------------------------------------------ run


def test_run_gives_the_output_or_raises_with_the_status(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo out", remove=True) == b"out\n"
    assert client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, remove=True) == b"out\nerr\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"why\n")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("busybox", "ghost", remove=True)
    (left,) = client.containers.list(all=True)  # docker-py removes what has run
    assert left.status == "created"


def test_an_image_that_is_nowhere_is_not_found(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.APIError):
        client.containers.run("127.0.0.1:1/ghost", "true")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("ghost")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("ghost")


def test_a_stream_of_output_comes_as_it_is_written(client: docker.DockerClient) -> None:
    lines = client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"], stream=True, remove=True)
    began = time.monotonic()
    assert next(lines) == b"1\n"
    assert time.monotonic() - began < 0.8
    assert b"".join(lines) == b"2\n3\n"


def test_logs_are_followed_cut_and_dated(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo one; sleep 0.5; echo two; echo three >&2"], detach=True)
    assert b"".join(container.logs(stream=True, follow=True)) == b"one\ntwo\nthree\n"
    assert container.wait()["StatusCode"] == 0
    assert container.logs(stdout=True, stderr=False) == b"one\ntwo\n"
    assert container.logs(tail=1, stdout=False) == b"three\n"
    dated = container.logs(timestamps=True, stderr=False).decode().split()
    assert [dated[1], dated[3]] == ["one", "two"]
    assert len(dated[0]) == 30
    assert container.logs(since=int(time.time()) + 100) == b""


def test_waiting_for_what_has_not_begun(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "exit 4"])
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(container.wait(condition="next-exit", timeout=30)))
    waiter.start()
    time.sleep(0.2)
    assert found == []
    container.start()
    waiter.join(20)
    assert found == [{"StatusCode": 4, "Error": None}]


def test_life_of_a_container(client: docker.DockerClient) -> None:
    container = sleeping(client, name="lively", labels={"part": "test"})
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running"
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("renamed")
    assert client.containers.get("renamed").id == container.id
    container.restart(timeout=1)
    until(lambda: any("sleep" in row[-1] for row in container.top()["Processes"][1:]))  # its init is ready for signals
    container.stop(timeout=5)
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 143)
    container.start()
    container.kill()
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)  # at once: a kill is answered when it is done
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        container.reload()


def test_lists_are_filtered(client: docker.DockerClient) -> None:
    mine = sleeping(client, name="mine", labels={"a": "1"})
    ended = client.containers.run("busybox", "true", detach=True, labels={"a": "2"})
    ended.wait()
    names = lambda **options: {each.name for each in client.containers.list(**options)}  # noqa: E731
    assert names() == {"mine"}
    assert names(all=True) == {"mine", ended.name}
    assert names(all=True, filters={"label": "a"}) == {"mine", ended.name}
    assert names(all=True, filters={"label": ["a=1"]}) == {"mine"}
    assert names(filters={"status": "exited"}) == {ended.name}
    assert names(all=True, filters={"exited": 0, "ancestor": "busybox"}) == {ended.name}
    assert names(all=True, since=mine.id) == {ended.name}
    assert names(all=True, limit=1) == {ended.name}
    assert {each.id for each in client.containers.list(all=True, sparse=True)} == {mine.id, ended.id}


# ----------------------------------------------------------------------------------------------------------------- exec


def test_exec_tells_its_output_and_its_code(client: docker.DockerClient) -> None:
    container = sleeping(client)
    assert container.exec_run("echo hello") == (0, b"hello\n")
    both = ["sh", "-c", "echo out; echo err >&2; exit 5"]
    assert container.exec_run(both, demux=True) == (5, (b"out\n", b"err\n"))
    assert container.exec_run("pwd", workdir="/tmp").output == b"/tmp\n"
    assert container.exec_run("id -u", user="65534").output == b"65534\n"
    assert container.exec_run(["sh", "-c", "echo $A"], environment={"A": "b c"}).output == b"b c\n"
    assert container.exec_run("tty", tty=True).output == b"/dev/pts/0\r\n"
    assert container.exec_run("ghost").exit_code == 127
    assert container.exec_run("touch /made", detach=True).output in ("", b"")
    until(lambda: container.exec_run("ls /made").exit_code == 0)


def test_exec_streams(client: docker.DockerClient) -> None:
    container = sleeping(client)
    pieces = container.exec_run(["sh", "-c", "echo a; sleep 0.3; echo b >&2"], stream=True).output
    assert list(pieces) == [b"a\n", b"b\n"]
    assert list(container.exec_run(["sh", "-c", "echo a; sleep 0.3; echo b >&2"], stream=True, demux=True).output) == [
        (b"a\n", None),
        (None, b"b\n"),
    ]


def test_exec_gives_a_socket_to_talk_through(client: docker.DockerClient) -> None:
    container = sleeping(client)
    talk = container.exec_run("cat", stdin=True, socket=True).output
    talk._sock.sendall(b"ping\n")
    stream, size = struct.unpack(">BxxxL", talk.read(8))
    assert (stream, talk.read(size)) == (1, b"ping\n")
    talk._sock.shutdown(sockets.SHUT_WR)
    assert talk.read() == b""
    talk.close()


def test_a_terminals_output_is_framed_for_who_does_not_say_that_it_is_one(client: docker.DockerClient) -> None:
    container = sleeping(client)
    made = client.api.exec_create(container.id, ["echo", "hello"], tty=True)
    assert client.api.exec_start(made) == b"hello\r\n"  # without tty=True: docker-py reads frames
    found = client.api.exec_inspect(made)
    assert (found["ExitCode"], found["Running"], found["ProcessConfig"]["tty"]) == (0, False, True)


# --------------------------------------------------------------------------------------------------------------- attach


def test_a_container_is_talked_to_through_its_attached_socket(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "cat", stdin_open=True)
    talk = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    talk._sock.sendall(b"hello\n")
    stream, data = next(frames_iter(talk, tty=False))
    assert (stream, data) == (1, b"hello\n")
    talk.close()
    container.reload()
    assert container.status == "running"
    container.kill()


def test_attaching_shows_what_was_and_what_comes(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "echo out; sleep 0.2; echo err >&2"])
    output = container.attach(stream=True, demux=True)
    container.start()
    assert list(output) == [(b"out\n", None), (None, b"err\n")]
    assert container.attach(logs=True, stream=False) == b"out\nerr\n"


# ---------------------------------------------------------------------------------------------------------------- files


def test_archives_go_in_and_out(client: docker.DockerClient) -> None:
    container = sleeping(client)
    assert container.put_archive("/tmp", tar_of(a="one", b="two"))
    pieces, found = container.get_archive("/tmp/a")
    assert (found["name"], found["size"]) == ("a", 3)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("a").read() == b"one"  # type: ignore[union-attr]
    pieces, _ = container.get_archive("/tmp", encode_stream=True)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert {"tmp/a", "tmp/b"} <= set(tar.getnames())
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/ghost")
    changed = {each["Path"]: each["Kind"] for each in container.diff()}
    assert changed["/tmp/a"] == 1
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
        assert {"tmp/a", "bin/busybox"} <= set(tar.getnames())


def test_volumes_are_seen_in_containers_that_do_not_run(client: docker.DockerClient) -> None:
    """What is copied in before the start is there at the start, and what a run has left can be taken out afterwards."""
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN mkdir /data && echo image > /data/image\nVOLUME /data\n"), tag="withdata")
    container = client.containers.create(
        "withdata", ["sh", "-c", "cat /data/image /data/config > /data/result"], volumes={"cp-volume": {"bind": "/kept", "mode": "rw"}}
    )
    container.put_archive("/data", tar_of(config="copied\n"))
    container.put_archive("/kept", tar_of(file="kept\n"))
    container.start()
    container.wait()
    for path, text in (("/data/result", b"image\ncopied\n"), ("/kept/file", b"kept\n")):
        pieces, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            assert tar.extractfile(path.rpartition("/")[2]).read() == text  # type: ignore[union-attr]
    container.remove(v=True)
    assert client.containers.run("busybox", "cat /kept/file", volumes=["cp-volume:/kept"], remove=True) == b"kept\n"
    client.volumes.get("cp-volume").remove()


def test_a_mount_that_is_read_only_takes_no_archive_when_nothing_runs(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before")
    container = client.containers.create("busybox", "true", volumes={str(tmp_path): {"bind": "/ro", "mode": "ro"}})
    with pytest.raises(docker.errors.APIError):
        container.put_archive("/ro", tar_of(there="after"))
    assert (tmp_path / "there").read_text() == "before"
    pieces, _ = container.get_archive("/ro/there")
    assert b"before" in b"".join(pieces)


# --------------------------------------------------------------------------------------------------------------- images


def test_images_are_built_of_a_file_and_of_a_folder(client: docker.DockerClient, tmp_path: Path) -> None:
    image, lines = client.images.build(
        fileobj=io.BytesIO(b"FROM busybox\nARG WHO\nENV WHO=$WHO\nCMD echo hello $WHO\n"), buildargs={"WHO": "you"}
    )
    assert any("Successfully built" in line.get("stream", "") for line in lines)
    assert client.containers.run(image, remove=True) == b"hello you\n"
    (tmp_path / "file").write_text("content")
    (tmp_path / "ignored").write_text("secret")
    (tmp_path / ".dockerignore").write_text("ignored\n")
    (tmp_path / "Dockerfile").write_text("FROM busybox AS first\nCOPY . /src\nFROM first\nRUN exit 1\n")
    image, _ = client.images.build(path=str(tmp_path), tag="folder:1", target="first", labels={"made": "here"}, rm=True)
    assert image.tags == ["folder:1"]
    assert image.labels == {"made": "here"}
    assert client.containers.run("folder:1", "ls /src", remove=True) == b"Dockerfile\nfile\n"
    with pytest.raises(docker.errors.BuildError) as failed:
        client.images.build(path=str(tmp_path))
    assert "returned a non-zero code: 1" in str(failed.value)
    with pytest.raises(docker.errors.APIError):
        client.images.build(fileobj=io.BytesIO(b"FRUM busybox"))


def test_images_are_tagged_saved_loaded_and_removed(client: docker.DockerClient) -> None:
    image = client.images.get("busybox")
    assert image.tag("copied", tag="1")
    saved = b"".join(client.images.get("copied:1").save(named="copied:1"))
    client.images.remove("copied:1")
    (loaded,) = client.images.load(saved)
    assert (loaded.id, "copied:1" in loaded.tags) == (image.id, True)
    assert [each.short_id for each in client.images.list(name="copied")] == [image.short_id]
    assert client.images.list(filters={"reference": "cop*:1"}) != []
    assert image.history()[0]["Id"] == image.id
    with pytest.raises(docker.errors.ImageLoadError):
        client.images.load(b"no archive at all")
    client.images.remove("copied:1")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("copied:1")


def test_a_container_becomes_an_image(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo kept > /file"], detach=True, environment={"UNSET": None, "SET": "1"})
    container.wait()
    assert "UNSET" in container.attrs["Config"]["Env"] or "UNSET" in client.api.inspect_container(container.id)["Config"]["Env"]
    image = container.commit("committed", tag="1", message="why", changes=['CMD ["cat", "/file"]', "ENV ADDED=2"])
    assert image.tags == ["committed:1"]
    assert client.containers.run("committed:1", remove=True) == b"kept\n"
    assert {"SET=1", "ADDED=2"} <= set(image.attrs["Config"]["Env"])
    client.images.remove("committed:1")


# -------------------------------------------------------------------------------------------------- networks and volumes


def test_containers_of_a_network_meet_by_name_alias_and_address(client: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="172.29.7.0/24", gateway="172.29.7.1")
    network = client.networks.create("meeting", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"}, attachable=True)
    server = client.containers.create("busybox", ["sh", "-c", "echo hi > /tmp/index.html; httpd -f -h /tmp"], name="server")
    network.connect(server, aliases=["web", "www"], ipv4_address="172.29.7.20")
    client.networks.get("bridge").disconnect(server)
    server.start()
    for name in ("server", "web", "www", "172.29.7.20"):
        ask = ["sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://{name}/ && break; sleep 0.3; done"]
        assert client.containers.run("busybox", ask, network="meeting", remove=True) == b"hi\n"
    network.reload()
    assert [each.name for each in network.containers] == ["server"]
    server.reload()
    assert server.attrs["NetworkSettings"]["Networks"]["meeting"]["IPAddress"] == "172.29.7.20"
    assert [each.name for each in client.networks.list(filters={"label": "a=b"})] == ["meeting"]
    with pytest.raises(docker.errors.APIError, match="active endpoints"):
        network.remove()
    network.disconnect(server, force=True)
    network.remove()
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("meeting")


def test_networks_of_a_containers_creation_say_where_it_is(client: docker.DockerClient) -> None:
    client.networks.create("front")
    endpoint = client.api.create_endpoint_config(aliases=["front-door"])
    container = sleeping(client, network="front", networking_config={"front": endpoint})
    assert client.containers.run("busybox", "nslookup front-door", network="front", remove=True)
    container.reload()
    assert "front-door" in container.attrs["NetworkSettings"]["Networks"]["front"]["Aliases"]


def test_ports_are_published(client: docker.DockerClient) -> None:
    serve = ["sh", "-c", "echo up > /tmp/index.html; httpd -f -p 8000 -h /tmp"]
    container = client.containers.run("busybox", serve, detach=True, ports={"8000/tcp": ("127.0.0.1", None), "9000/udp": None})
    container.reload()
    (binding,) = container.ports["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert int(container.ports["9000/udp"][0]["HostPort"]) > 0

    def answer() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{binding['HostPort']}/", timeout=5) as got:
                return bytes(got.read())
        except OSError:
            return b""

    assert until(answer) == b"up\n"


def test_volumes_outlive_containers(client: docker.DockerClient) -> None:
    volume = client.volumes.create("lasting", labels={"kept": "yes"})
    mount = docker.types.Mount("/data", "lasting")
    client.containers.run("busybox", ["sh", "-c", "echo 1 > /data/file"], mounts=[mount], remove=True)
    assert client.containers.run("busybox", "cat /data/file", volumes={"lasting": {"bind": "/data", "mode": "ro"}}, remove=True) == b"1\n"
    assert [each.name for each in client.volumes.list(filters={"label": "kept=yes"})] == ["lasting"]
    holder = sleeping(client, mounts=[mount])
    with pytest.raises(docker.errors.APIError, match="in use"):
        volume.remove()
    holder.remove(force=True)
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get("lasting")


# ------------------------------------------------------------------------------------------------------------- settings


def test_what_a_host_configuration_asks_for_holds_inside(client: docker.DockerClient, tmp_path: Path) -> None:
    host = client.api.create_host_config(
        binds=[f"{tmp_path}:/bound:rw"],
        mem_limit="64m",
        nano_cpus=500_000_000,
        pids_limit=50,
        cap_drop=["ALL"],
        cap_add=["CHOWN"],
        dns=["192.0.2.53"],
        dns_search=["example.test"],
        extra_hosts={"somewhere": "192.0.2.7"},
        tmpfs={"/scratch": "size=1m"},
        ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)],
        sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
        read_only=True,
        security_opt=["no-new-privileges"],
        log_config=docker.types.LogConfig(type="json-file", config={"max-file": "3"}),
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        shm_size="8m",
        init=True,
    )
    script = "; ".join(
        [
            "touch /bound/written",
            "ulimit -n; cat /etc/resolv.conf | tr '\\n' ' '; echo",
            "grep somewhere /etc/hosts | cut -f1",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            "touch /nowhere 2>&1 | grep -o Read-only",
            "grep NoNewPrivs /proc/self/status | cut -f2",
            "grep CapEff /proc/self/status | cut -f2",
            "df -k /dev/shm | tail -1 | awk '{print $2}'",
            "df -k /scratch | tail -1 | awk '{print $2}'",
        ]
    )
    made = client.api.create_container("busybox", ["sh", "-c", script], host_config=host, runtime="runc", hostname="named")
    container = client.containers.get(made["Id"])
    container.start()
    assert container.wait()["StatusCode"] == 0
    said = container.logs().decode().splitlines()
    assert "192.0.2.53" in said[1] or "example.test" in said[1]
    assert [said[0], *said[2:]] == ["100", "192.0.2.7", "0", "Read-only", "1", "0000000000000001", "8192", "1024"]
    assert (tmp_path / "written").exists()
    kept = client.api.inspect_container(made["Id"])
    assert (kept["HostConfig"]["Memory"], kept["HostConfig"]["Runtime"], kept["Config"]["Hostname"]) == (64 << 20, "runc", "named")


def test_what_is_not_supported_is_refused_by_name(client: docker.DockerClient) -> None:
    for options, words in (
        ({"links": {"other": "alias"}}, "Links"),
        ({"runtime": "ghost"}, "runtime"),
        ({"isolation": "hyperv"}, "isolation"),
    ):
        with pytest.raises(docker.errors.APIError, match=words):
            client.containers.run("busybox", "true", **options)
        for left in client.containers.list(all=True):
            left.remove(force=True)


def test_limits_are_changed_while_it_runs(client: docker.DockerClient) -> None:
    container = sleeping(client, mem_limit="64m")
    container.update(mem_limit="128m", memswap_limit="128m", cpu_shares=512)
    container.reload()
    assert (container.attrs["HostConfig"]["Memory"], container.attrs["HostConfig"]["CpuShares"]) == (128 << 20, 512)
    assert container.stats(stream=False)["memory_stats"]["limit"] == 128 << 20


def test_health_is_watched(client: docker.DockerClient) -> None:
    check = {"test": ["CMD", "test", "-e", "/tmp/ok"], "interval": 200_000_000, "timeout": 5_000_000_000, "retries": 2}
    container = sleeping(client, healthcheck=check)
    assert container.health == "unknown" or container.health == "starting"

    def health() -> str:
        container.reload()
        return str(container.health)

    until(lambda: health() == "unhealthy")
    container.exec_run("touch /tmp/ok")
    until(lambda: health() == "healthy")


# ------------------------------------------------------------------------------------------------------------ observing


def test_stats_and_top_tell_of_what_runs(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "while :; do :; done"], detach=True)
    stream = container.stats(decode=True)
    first, second = next(stream), next(stream)
    stream.close()
    assert second["cpu_stats"]["cpu_usage"]["total_usage"] > first["cpu_stats"]["cpu_usage"]["total_usage"]
    assert second["memory_stats"]["usage"] > 0
    assert "eth0" in second["networks"]
    once = container.stats(stream=False)
    assert once["cpu_stats"]["online_cpus"] == os.cpu_count()
    top = container.top(ps_args="-eo pid,args")
    assert any("while" in " ".join(row) for row in top["Processes"])


def test_events_are_told(client: docker.DockerClient) -> None:
    began = time.time()
    stream = client.events(decode=True, filters={"type": "container", "label": "watched"})
    seen: list[str] = []

    def watch() -> None:
        for event in stream:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.2)
    client.containers.run("busybox", "true", labels={"watched": ""}, remove=True)
    watcher.join(20)
    stream.close()
    assert [each for each in seen if each != "attach"] == ["create", "start", "die", "destroy"]
    past = [json.loads(line) for line in client.events(since=began - 1, until=time.time() + 1) for line in line.splitlines()]
    assert {"create", "start", "die", "destroy"} <= {event["Action"] for event in past}


def test_the_engine_describes_itself(client: docker.DockerClient) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.41"
    container = sleeping(client)
    assert client.info()["ContainersRunning"] == 1
    used = client.df()
    assert container.id in [each["Id"] for each in used["Containers"]]
    assert any("busybox:latest" in (each["RepoTags"] or []) for each in used["Images"])


def test_pruning_removes_what_nothing_uses(client: docker.DockerClient) -> None:
    ended = client.containers.run("busybox", "true", detach=True)
    ended.wait()
    client.networks.create("unused")
    client.volumes.create()
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo 1 > /1\n"), tag="unused:1")
    assert client.containers.prune()["ContainersDeleted"] == [ended.id]
    assert client.networks.prune()["NetworksDeleted"] == ["unused"]
    assert len(client.volumes.prune()["VolumesDeleted"] or []) >= 1
    client.containers.create("busybox")  # an image in use stays
    removed = client.images.prune(filters={"dangling": False})
    assert "unused:1" in [each.get("Untagged") for each in removed["ImagesDeleted"]]
    client.api.prune_builds()
    assert client.images.get("busybox")


def test_there_is_no_swarm(client: docker.DockerClient) -> None:
    for call in (client.services.list, client.nodes.list, client.secrets.list, client.configs.list, client.swarm.leave):
        with pytest.raises(docker.errors.APIError, match="swarm") as refused:
            call()
        assert refused.value.status_code == 503
    with pytest.raises(docker.errors.APIError, match="swarm mode is not supported"):
        client.swarm.init()
    assert client.info()["Swarm"]["LocalNodeState"] == "inactive"


def test_many_callers_at_once(client: docker.DockerClient) -> None:
    """Through one client, as a test suite with threads does."""
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(client.containers.run("busybox", f"echo {n}", remove=True))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [f"{n}\n".encode() for n in range(8)]
