"""The Docker API on the real engine: what simulated containers cannot show of images, volumes and networks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from image_support import tar_of

from cloudstead.cli.bootstrap import making
from cloudstead.cli.bootstrap.making import Order
from cloudstead.cli.docker import Docker
from cloudstead.engine.build.builder import Builder
from cloudstead.engine.dockerapi.api import LIMITS, DockerApi
from cloudstead.engine.engine import Engine
from cloudstead.http.server import Server
from cloudstead.kernel.clock import SystemClock
from docker_stage import Stage, unframed
from engine_support import running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "-")


class RealStage(Stage):
    """Docker's API over a real engine, whose only image is the busybox that the command line makes."""

    def __init__(self, path: Path, engine: Engine) -> None:
        super().__init__(path, SystemClock())
        self.engine = engine

    async def open(self) -> None:
        self.builder = Builder(self.engine)
        await self.builder.start()
        self.api = DockerApi(self.engine, self.builder)
        await self.api.start()
        self.server = Server(self.api, limits=LIMITS)
        await self.server.listen_unix(self.path / "docker.sock")
        made = making.make("busybox", Order("bookworm"))
        with made.path.open("rb") as archive:
            await asyncio.to_thread(Docker(self.path).load, archive, made.path.stat().st_size)

    async def close(self) -> None:
        await self.server.stop(0.2)
        await self.api.stop()
        await self.builder.stop()

    async def output(self, *cmd: str, **config: Any) -> str:
        """Run to the end; what it wrote, standard error too. The container is removed."""
        id, code = await self.ran(*cmd, **config)
        data = (await self.raw("GET", f"/containers/{id}/logs", {"stdout": "1", "stderr": "1"}))[2]
        assert (await self.ask("DELETE", f"/containers/{id}"))[0] == 204
        streams = unframed(data)
        return f"{(streams['stdout'] + streams['stderr']).decode()}[{code}]"

    async def inside(self, container: str, *cmd: str) -> tuple[int, str]:
        body = {"Cmd": list(cmd), "AttachStdout": True, "AttachStderr": True}
        id = (await self.post(f"/containers/{container}/exec", body, 201))["Id"]
        client = await self.hijack(f"/exec/{id}/start", body={"Detach": False, "Tty": False})
        streams = await client.frames()
        await client.close()
        return (await self.get(f"/exec/{id}/json"))["ExitCode"], (streams["stdout"] + streams["stderr"]).decode()


@contextlib.asynccontextmanager
async def real() -> AsyncIterator[RealStage]:
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        async with running_engine(Path(folder)) as engine:
            stage = RealStage(Path(folder), engine)
            await stage.open()
            try:
                yield stage
            finally:
                await stage.close()


def play(story: Callable[[RealStage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(120), real() as stage:
            await story(stage)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_the_bootstrapped_busybox_runs() -> None:
    async def story(s: RealStage) -> None:
        assert await s.output("sh", "-c", "id -un; ls -d /tmp; stat -c %a /tmp") == "root\n/tmp\n1777\n[0]"
        assert (await s.output("whoami", User="nobody")) == "nobody\n[0]"

    play(story)


def test_a_volume_outlives_containers_and_is_filled_from_the_image() -> None:
    async def story(s: RealStage) -> None:
        await s.post("/volumes/create", {"Name": "data"}, 201)
        with_data = {"HostConfig": {"Binds": ["data:/x"]}}
        assert await s.output("sh", "-c", "echo kept > /x/f", **with_data) == "[0]"
        assert await s.output("cat", "/x/f", **with_data) == "kept\n[0]"
        content = Path((await s.get("/volumes/data"))["Mountpoint"])
        assert (content / "f").read_text() == "kept\n"
        assert (await s.get("/system/df"))["Volumes"][0]["UsageData"] == {"RefCount": 0, "Size": 5}
        await s.output("true", HostConfig={"Binds": ["copied:/etc"]})
        assert "passwd" in os.listdir((await s.get("/volumes/copied"))["Mountpoint"])
        pruned = await s.post("/volumes/prune", expect=200)
        assert sorted(pruned["VolumesDeleted"]) == ["copied", "data"]
        assert pruned["SpaceReclaimed"] > 5
        assert not os.path.lexists(content)  # noqa: ASYNC240

    play(story)


def test_a_tmpfs_volume_is_as_large_as_was_asked_and_gone_with_its_container() -> None:
    async def story(s: RealStage) -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        await s.post("/volumes/create", {"Name": "fast", "DriverOpts": options}, 201)
        said = await s.output(
            "sh", "-c", "dd if=/dev/zero of=/f/x bs=64k count=100 2>&1 | grep -c 'No space'", HostConfig={"Binds": ["fast:/f"]}
        )
        assert said == "1\n[0]"
        assert str(s.path) + "/engine/volumes" not in mounts()
        bad = {"type": "none", "device": "/does/not/exist", "o": "bind"}
        await s.post("/volumes/create", {"Name": "bad", "DriverOpts": bad}, 201)
        message = await s.create("true", name="never", HostConfig={"Binds": ["bad:/f"]}, expect=404)
        assert "no such file or directory" in message
        for name in ("fast", "bad"):
            assert (await s.ask("DELETE", f"/volumes/{name}"))[0] == 204

    play(story)


def test_containers_meet_by_name_in_a_network_while_they_are_in_it() -> None:
    async def story(s: RealStage) -> None:
        ipam = {"Config": [{"Subnet": "10.211.7.0/24", "Gateway": "10.211.7.9"}]}
        await s.post("/networks/create", {"Name": "meet", "IPAM": ipam}, 201)
        endpoint = {"meet": {"IPAMConfig": {"IPv4Address": "10.211.7.50"}, "Aliases": ["alpha"]}}
        await s.run("sleep", "1000", name="one", HostConfig={"NetworkMode": "meet"}, NetworkingConfig={"EndpointsConfig": endpoint})
        await s.run("sleep", "1000", name="two")
        assert (await s.inside("two", "ping", "-c1", "-W1", "10.211.7.50"))[0] == 1
        assert (await s.ask("POST", "/networks/meet/connect", None, {"Container": "two", "EndpointConfig": {"Aliases": ["beta"]}}))[
            0
        ] == 200
        assert (await s.inside("two", "ping", "-c1", "-W2", "alpha"))[0] == 0
        for name in ("two", "beta"):
            code, said = await s.inside("one", "ping", "-c1", "-W2", name)
            assert code == 0, said
        inside = (await s.get("/networks/meet"))["Containers"]
        assert sorted((each["Name"], each["IPv4Address"]) for each in inside.values())[0] == ("one", "10.211.7.50/24")
        assert (await s.ask("POST", "/networks/meet/disconnect", None, {"Container": "two"}))[0] == 200
        assert (await s.inside("two", "ping", "-c1", "-W1", "10.211.7.50"))[0] == 1
        message = await s.message("DELETE", "/networks/meet", 403)
        assert "has active endpoints" in message
        for name in ("one", "two"):
            assert (await s.ask("DELETE", f"/containers/{name}", {"force": "1"}))[0] == 204
        assert (await s.ask("DELETE", "/networks/meet"))[0] == 204

    play(story)


def test_an_image_is_built_run_saved_and_removed() -> None:
    async def story(s: RealStage) -> None:
        dockerfile = b'FROM busybox\nARG WHO\nCOPY hello /hello\nRUN echo $WHO >> /hello\nCMD ["cat", "/hello"]\n'
        context = tar_of({"Dockerfile": dockerfile, "hello": b"hello "})
        query = {"t": "greets:1", "buildargs": '{"WHO":"you"}'}
        status, _, lines = await s.raw("POST", "/build", query, context)
        assert status == 200
        assert b'{"aux":{"ID":"sha256:' in lines
        assert lines.rstrip().endswith(b'{"stream":"Successfully tagged greets:1\\n"}')
        assert await s.output(Image="greets:1") == "hello you\n[0]"
        archive = (await s.raw("GET", "/images/greets:1/get"))[2]
        assert (await s.ask("DELETE", "/images/greets:1"))[0] == 200
        assert (await s.raw("POST", "/images/load", None, archive))[0] == 200
        assert await s.output(Image="greets:1") == "hello you\n[0]"
        assert (await s.post("/build/prune", expect=200, all="1"))["CachesDeleted"]

    play(story)
