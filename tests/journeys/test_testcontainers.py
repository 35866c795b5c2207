"""Test suites that start what they need in containers, with testcontainers, do so on this engine."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from docker_host import DockerHost, why_no_docker

pytestmark = [
    pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()),
    pytest.mark.xdist_group("testcontainers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SERVE = ["sh", "-c", "echo $GREETING > /tmp/index.html; echo serving; httpd -f -p 8080 -h /tmp"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with pytest.MonkeyPatch.context() as patched, DockerHost(tmp_path_factory.mktemp("testcontainers") / "data") as running:
        for name, value in {
            "DOCKER_HOST": f"unix://{running.socket}",
            "DOCKER_CONFIG": running.config,
            "TESTCONTAINERS_RYUK_DISABLED": "true",  # its reaper is an image of Docker's hub that wants our socket mounted
        }.items():
            patched.setenv(name, value)
        from testcontainers.core.config import testcontainers_config

        patched.setattr(testcontainers_config, "sleep_time", 0.1)
        running.make_busybox()
        yield running


@pytest.fixture(autouse=True)
def all_is_removed(host: DockerHost) -> Iterator[None]:
    """By testcontainers itself, at the end of each `with`."""
    yield
    assert host.docker("ps", "-aq") == ""
    assert host.docker("network", "ls", "-q", "--filter", "type=custom") == ""


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_a_server_is_waited_for_by_its_log_and_reached_through_its_port(host: DockerHost) -> None:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    with DockerContainer("busybox").with_command(SERVE).with_env("GREETING", "hello").with_exposed_ports(8080) as server:
        assert wait_for_logs(server, "serving", timeout=20, interval=0.05) < 20
        url = f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8080)}/"
        wait_for_logs(server, lambda _: answers(url), timeout=20, interval=0.05)
        assert fetch(url) == "hello\n"
        assert server.get_logs() == (b"serving\n", b"")
        assert server.exec("cat /tmp/index.html") == (0, b"hello\n")
        assert server.status == "running"


def test_a_suite_that_runs_in_a_container_itself_finds_ports_at_the_gateway(host: DockerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from testcontainers.core.config import ConnectionMode, testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    ready = HttpWaitStrategy(8080).with_poll_interval(0.05).with_startup_timeout(10)
    for mode in (ConnectionMode.gateway_ip, ConnectionMode.bridge_ip):
        monkeypatch.setattr(testcontainers_config, "connection_mode_override", mode)
        server = DockerContainer("busybox").with_command(SERVE).with_env("GREETING", "near").with_exposed_ports(8080)
        with server.waiting_for(ready):
            assert fetch(f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8080)}/") == "near\n"


def answers(url: str) -> bool:
    try:
        return bool(fetch(url))
    except OSError:
        return False


def test_ways_to_wait_until_it_is_ready(host: DockerHost) -> None:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import (
        CompositeWaitStrategy,
        ExecWaitStrategy,
        HealthcheckWaitStrategy,
        HttpWaitStrategy,
        LogMessageWaitStrategy,
        PortWaitStrategy,
    )

    ways = CompositeWaitStrategy(
        LogMessageWaitStrategy("serving"),
        PortWaitStrategy(8080),
        HttpWaitStrategy(8080),
        ExecWaitStrategy(["true"]),
        HealthcheckWaitStrategy(),
    )
    ways.with_poll_interval(0.05).with_startup_timeout(30)
    check = {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"], "interval": 200_000_000}
    server = DockerContainer("busybox", healthcheck=check).with_command(SERVE).with_exposed_ports(8080).waiting_for(ways)
    with server:
        info = server.get_container_info()
        assert info is not None
        assert info.State is not None
        assert info.State.Health is not None
        assert info.State.Health.Status == "healthy"


def test_one_that_ends_or_never_gets_ready_is_told_and_removed(host: DockerHost) -> None:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy
    from testcontainers.core.waiting_utils import wait_for_logs

    with (
        DockerContainer("busybox").with_command(["sh", "-c", "echo broken; exit 3"]) as broken,
        pytest.raises(RuntimeError, match="exited"),
    ):
        wait_for_logs(broken, "ready", timeout=10, interval=0.05, raise_on_exit=True)
    never = LogMessageWaitStrategy("ready").with_poll_interval(0.05).with_startup_timeout(1)
    with pytest.raises(TimeoutError), DockerContainer("busybox").with_command("sleep 60").waiting_for(never):
        pass
    with pytest.raises(docker.errors.APIError), DockerContainer("busybox").with_command("ghost"):
        pass


def test_files_are_mounted_copied_in_before_the_start_and_copied_out(host: DockerHost, tmp_path: Path) -> None:
    from testcontainers.core.container import DockerContainer

    (tmp_path / "mounted").write_text("mounted")
    script = "cat /config/mounted /etc/copied /srv/tree/deep; touch /scratch/file; echo made > /result"
    container = (
        DockerContainer("busybox")
        .with_command(["sh", "-c", script])
        .with_volume_mapping(tmp_path, "/config", "ro")
        .with_tmpfs_mount("/scratch", "size=1m")
        .with_copy_into_container(b"+copied", "/etc/copied")
    )
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "deep").write_text("+deep")
    container = container.with_copy_into_container(tmp_path / "tree", "/srv")
    with container:
        assert container.wait() == 0
        assert container.get_logs() == (b"mounted+copied+deep", b"")
        container.copy_from_container("/result", tmp_path / "result")
        assert (tmp_path / "result").read_text() == "made\n"


def test_containers_of_a_network_find_one_another(host: DockerHost) -> None:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    with Network() as network:
        server = DockerContainer("busybox").with_command(SERVE).with_env("GREETING", "from afar")
        server = server.with_network(network).with_network_aliases("backend").waiting_for(LogMessageWaitStrategy("serving"))
        ask = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://backend:8080/ && break; sleep 0.3; done"]
        with server, DockerContainer("busybox").with_command(ask).with_network(network) as asking:
            assert asking.wait() == 0
            assert asking.get_logs()[0] == b"from afar\n"


def test_an_image_is_built_for_the_test_and_gone_with_it(host: DockerHost, tmp_path: Path) -> None:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.image import DockerImage

    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY said /said\nCMD cat /said\n")
    (tmp_path / "said").write_text("built for this")
    with DockerImage(path=tmp_path, tag="testcontainers-built:1") as image:
        assert any("Step 2/3" in line.get("stream", "") for line in image.get_logs())
        with DockerContainer(str(image)) as container:
            container.wait()
            assert container.get_logs()[0] == b"built for this"
    assert host.docker("images", "-q", "testcontainers-built") == ""


# ------------------------------------------------------------------------------------------------------------ PostgreSQL

POSTGRES = """
FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/*
COPY --chmod=755 entry /entry
EXPOSE 5432
CMD ["/entry"]
"""
ENTRY = """#!/bin/sh
# As the official image does: makes a cluster with the user, password and database that the environment names, then serves it.
set -e
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
install -d -o postgres -g postgres -m 700 $data
printf %s "$POSTGRES_PASSWORD" > /tmp/password
chown postgres /tmp/password
su postgres -c "$bin/initdb -D $data -U $POSTGRES_USER --pwfile=/tmp/password --auth=scram-sha-256"
echo "host all all all scram-sha-256" >> $data/pg_hba.conf
su postgres -c "echo 'CREATE DATABASE $POSTGRES_DB' | $bin/postgres --single -D $data postgres"
exec setpriv --reuid postgres --regid postgres --init-groups $bin/postgres -D $data -c "listen_addresses=*" -c unix_socket_directories=/tmp
"""
SSL_REQUEST = struct.pack(">II", 8, 80877103)  # PostgreSQL, "Message Formats": answered by one letter, S or N


@pytest.fixture
def postgres_image(host: DockerHost, tmp_path: Path) -> str:
    """Of Debian's packages: apt in a build step, through the engine's network."""
    made = subprocess.run(
        [sys.executable, "-P", "-m", "cloudstead", "image", "bootstrap", "debian", "--data", str(host.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"no base image can be made here: {made.stderr[-500:]}")
    (tmp_path / "Dockerfile").write_text(POSTGRES)
    (tmp_path / "entry").write_text(ENTRY)
    host.docker("build", "-q", "-t", "postgres-of-debian", str(tmp_path))
    return "postgres-of-debian"


@pytest.mark.slow
def test_a_postgresql_of_debian_packages_is_queried(host: DockerHost, postgres_image: str) -> None:
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

    with Network() as network:
        database = PostgresContainer(postgres_image, username="ana", password="it's", dbname="shop", driver=None)
        with database.with_network(network).with_network_aliases("db"):
            address, port = database.get_container_host_ip(), int(database.get_exposed_port(5432))
            assert database.get_connection_url() == f"postgresql://ana:it%27s@{address}:{port}/shop"
            with socket.create_connection((address, port), 10) as connection:
                connection.sendall(SSL_REQUEST)
                assert connection.recv(1) in (b"N", b"S")
            script = "create table t (n int); insert into t select generate_series(1, 1000); select sum(n) from t"
            asking = DockerContainer(postgres_image).with_env("PGPASSWORD", "it's").with_network(network)
            with asking.with_command(["psql", "-qAt", "-h", "db", "-U", "ana", "-c", script, "shop"]) as client:
                assert client.wait() == 0, client.get_logs()
                assert client.get_logs()[0] == b"500500\n"
            refused = DockerContainer(postgres_image).with_env("PGPASSWORD", "wrong").with_network(network)
            with refused.with_command(["psql", "-h", "db", "-U", "ana", "-c", "select 1", "shop"]) as client:
                assert client.wait() == 2
                assert b"password authentication failed" in client.get_logs()[1]
