"""A daemon that is told to use an engine host which is not there: it runs, says so to whoever asks for a container, and loses none."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from docker_host import DockerHost, why_no_docker
from waiting import until

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("docker-cli")]


def engine_of(host: DockerHost) -> dict[str, Any]:
    with urllib.request.urlopen(f"{host.endpoint}/_cloudstead/status", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["engine"]
        return found


def asked(path: Path, target: str) -> tuple[int, dict[str, Any]]:
    """What Docker's API answers to a GET, as a client of it sees it."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_host_that_is_not_there_is_told_and_its_container_is_found_again(tmp_path: Path) -> None:
    with DockerHost(tmp_path / "data") as host:
        host.make_busybox()
        made = host.docker("run", "-d", "--name", "kept", "busybox", "sleep", "1000")
        super(DockerHost, host).stop()  # the daemon alone: the container goes on
        missing = tmp_path / "nobody.sock"
        sentence = f"no engine host listens at {missing}: No such file or directory"
        host.options = ("--engine-host", str(missing))
        host.start()
        assert engine_of(host)["state"] == sentence  # it was asked for at the start, because there is a container
        for _ in range(2):  # it is looked for each time
            refused = host.run("ps", check=False)
            assert refused.returncode == 1
            assert sentence in refused.stderr
        assert asked(host.socket, "/v1.43/containers/json") == (503, {"message": sentence})
        assert engine_of(host)["state"] == sentence
        assert host.client("ecr-public").describe_registries()["registries"]  # what needs no container works
        super(DockerHost, host).stop()
        host.options = ()
        host.start()
        assert host.docker("ps", "-q", "--no-trunc") == made
        assert host.docker("exec", "kept", "echo", "there") == "there"
        assert engine_of(host) | {"docker": ""} == {"state": "running", "containers": 1, "running": 1, "docker": ""}
        host.docker("rm", "-f", "kept")


def test_a_host_that_comes_later_is_taken(tmp_path: Path) -> None:
    """Whoever asked too early asks again."""
    late = tmp_path / "late.sock"
    with DockerHost(tmp_path / "data", "--engine-host", str(late)) as host:
        assert engine_of(host)["state"] == "not needed yet"
        assert asked(host.socket, "/version")[0] == 503
        with socket.socket(socket.AF_UNIX) as unheard:
            unheard.bind(str(late))  # bound, but nobody listens
            assert asked(host.socket, "/version") == (503, {"message": f"no engine host listens at {late}: Connection refused"})
        late.unlink()
        command = [sys.executable, "-P", "-m", "cloudstead.engine.host", "--data", str(host.data), "--listen", str(late), "--user", "root"]
        engine_host = subprocess.Popen(command)
        try:
            until(lambda: asked(host.socket, "/version")[0] == 200)
            assert engine_of(host)["state"] == "running"
        finally:
            super(DockerHost, host).stop()
            engine_host.terminate()
            engine_host.wait(30)
