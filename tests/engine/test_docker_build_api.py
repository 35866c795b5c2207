"""`POST /build` and its kin over HTTP: how a query is read, what the client is told. The builder is a stand-in; the real one has tests of its own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloudstead.engine.build.api import BuildContext, BuildOptions, Built, CacheRecord, Output, Pruned, Pulling, StepFailed, Tell
from cloudstead.engine.dockerapi.build import Builds
from cloudstead.engine.errors import EngineError, InvalidArgument
from cloudstead.engine.images.api import Credentials, Image, Progress
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import Ulimit
from docker_stage import Connection, Stage, staged


class FakeBuilder:
    """Reads the context, tells what it was given to tell, and remembers."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tells: list[Output | Pulling | Built] = [Output("Step 1/1 : FROM scratch\n"), Built("sha256:abc")]
        self.error: EngineError | None = None
        self.context = b""
        self.remote = ""
        self.options = BuildOptions()
        self.pruned: dict[str, Any] = {}
        self.hold: asyncio.Event | None = None
        self.cancelled = 0

    async def build(self, context: BuildContext, options: BuildOptions, tell: Tell) -> Image:
        self.options, self.remote = options, context.remote
        try:
            if context.tar is not None:
                self.context = b"".join([piece async for piece in context.tar])
            for event in self.tells:
                await tell(event)
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.stage.images.resolve("busybox")

    async def records(self) -> list[CacheRecord]:
        return [
            CacheRecord(
                id="r1", kind="regular", description="RUN true", size=7, in_use=False, shared=True, created=1.0, last_used=2.0, used=3
            )
        ]

    async def prune(self, *, all: bool = False, unused_for: float = 0.0, keep_bytes: int = 0) -> Pruned:
        self.pruned = {"all": all, "unused_for": unused_for, "keep_bytes": keep_bytes}
        return Pruned(("r1",), 7)


Story = Callable[[Stage, FakeBuilder], Awaitable[None]]


def play(story: Story) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), staged() as stage:
            builder = FakeBuilder(stage)
            stage.api.builder = builder  # type: ignore[assignment]
            await story(stage, builder)

    asyncio.run(run())


async def build(s: Stage, query: Any = None, body: bytes = b"a tar", **headers: str) -> tuple[int, list[Any]]:
    status, _, data = await s.raw("POST", "/v1.41/build", query, body, **headers)
    return status, [json.loads(line) for line in data.splitlines() if line.strip()]


def test_what_the_builder_tells_becomes_lines_and_the_image_comes_last() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        b.tells = [
            Output("Step 1/2 : FROM a\n"),
            Pulling(Progress("Downloading", "abc", 5, 10)),
            Pulling(Progress("Pull complete", "abc")),
            Output("oops\n", "stderr"),
            Built("sha256:abc"),
            Output("Successfully built abc\n"),
        ]
        assert await build(s, body=b"x" * 100_000) == (
            200,
            [
                {"stream": "Step 1/2 : FROM a\n"},
                {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "abc"},
                {"status": "Pull complete", "progressDetail": {}, "id": "abc"},
                {"stream": "\x1b[91moops\n\x1b[0m"},
                {"aux": {"ID": "sha256:abc"}},
                {"stream": "Successfully built abc\n"},
            ],
        )
        assert b.context == b"x" * 100_000

    play(story)


def test_the_query_reaches_the_builder_field_by_field() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        query = [
            ("t", "a:1"),
            ("t", "b:2"),
            ("dockerfile", "docker/File"),
            ("buildargs", '{"A":"b","C":null}'),
            ("labels", '{"x":"y"}'),
            ("target", "stage"),
            ("platform", "linux/amd64"),
            ("nocache", "1"),
            ("pull", "true"),
            ("rm", "0"),
            ("q", "1"),
            ("cachefrom", '["old:1"]'),
            ("extrahosts", "db:10.0.0.1"),
            ("memory", "1000000"),
            ("memswap", "-1"),
            ("cpushares", "512"),
            ("cpuperiod", "100000"),
            ("cpuquota", "50000"),
            ("cpusetcpus", "0-1"),
            ("cpusetmems", "0"),
            ("shmsize", "65536"),
            ("ulimits", '[{"Name":"nofile","Soft":10,"Hard":20}]'),
            ("networkmode", "none"),
            ("version", "1"),
            ("squash", "1"),
            ("isolation", "hyperv"),
            ("cgroupparent", "/x"),
        ]
        config = base64.urlsafe_b64encode(
            json.dumps({"https://index.docker.io/v1/": {"username": "me", "password": "pw"}}).encode()
        ).decode()
        await build(s, query, **{"X-Registry-Config": config})
        o = b.options
        assert (o.tags, o.dockerfile, o.target, o.platform) == (("a:1", "b:2"), "docker/File", "stage", "linux/amd64")
        assert (o.build_args, o.labels, o.cache_from) == ({"A": "b", "C": None}, {"x": "y"}, ("old:1",))
        assert (o.no_cache, o.pull, o.remove_intermediate, o.quiet, o.squash) == (True, True, False, True, True)
        r = o.resources
        assert (r.memory, r.memory_swap, r.cpu_shares, r.cpu_period, r.cpu_quota) == (1_000_000, -1, 512, 100_000, 50_000)
        assert (r.cpuset_cpus, r.cpuset_mems, o.shm_size, o.ulimits) == ("0-1", "0", 65536, (Ulimit(name="nofile", soft=10, hard=20),))
        assert (o.network, o.extra_hosts) == (PodNetwork(mode="none"), ("db:10.0.0.1",))
        assert o.credentials == {"docker.io": Credentials("me", "pw")}
        assert (o.isolation, o.cgroup_parent) == ("hyperv", "/x")

    play(story)


def test_what_is_not_said_is_as_docker_has_it() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        await build(s, {"buildargs": "", "labels": "null", "cachefrom": "[]", "networkmode": "default", "t": ""})
        assert b.options == BuildOptions()
        await build(s, {"rm": "0", "forcerm": "1"})
        assert b.options == BuildOptions()

    play(story)


def test_a_network_is_found_by_its_name() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        id = (await s.post("/networks/create", {"Name": "net1"}, 201))["Id"]
        await build(s, {"networkmode": "net1"})
        assert b.options.network is not None
        assert [each.network for each in b.options.network.attachments] == [id]
        await build(s, {"networkmode": "host"})
        assert b.options.network == PodNetwork(mode="host")
        container = await s.run("sleep", "1000", name="web")
        await build(s, {"networkmode": "container:web"})
        assert b.options.network == PodNetwork(mode="pod", pod=container)
        assert (await build(s, {"networkmode": "nowhere"}))[1] == [{"message": "network nowhere not found"}]

    play(story)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"version": "2"}, 501, "DOCKER_BUILDKIT=0"),
        ({"version": "3"}, 400, "invalid version 3"),
        ({"session": "abc"}, 501, "BuildKit"),
        ({"remote": "client-session"}, 501, "BuildKit"),
        ({"securityopt": "seccomp=x"}, 400, "does not support setting security options on build"),
        ({"buildargs": "{"}, 400, "error reading build args"),
        ({"buildargs": '["A"]'}, 400, "error reading build args"),
        ({"labels": '{"a":1}'}, 400, "error reading labels"),
        ({"ulimits": '[{"Name":1}]'}, 400, "error reading ulimit settings"),
        ({"memory": "lots"}, 400, "memory"),
        ({"shmsize": "-1"}, 400, "below zero"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_before_anything_is_built(query: dict[str, str], status: int, message: str) -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        found, lines = await build(s, query)
        assert found == status, lines
        assert message in lines[0]["message"]
        assert b.context == b""

    play(story)


def test_an_error_before_the_first_line_is_a_status_and_later_a_line() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        b.tells, b.error = [], InvalidArgument("dockerfile parse error on line 1")
        assert await build(s) == (400, [{"message": "dockerfile parse error on line 1"}])
        b.tells = [Output("Step 1\n")]
        message = "dockerfile parse error on line 1"
        assert await build(s) == (200, [{"stream": "Step 1\n"}, {"errorDetail": {"message": message}, "error": message}])
        b.error = StepFailed("The command '/bin/sh -c false' returned a non-zero code: 1", 1)
        assert (await build(s))[1][-1] == {"errorDetail": {"code": 1, "message": b.error.message}, "error": b.error.message}

    play(story)


def test_a_remote_context_is_the_builders_to_fetch() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        await build(s, {"remote": "http://example.org/context.tar"}, b"")
        assert b.remote == "http://example.org/context.tar"

    play(story)


class Endless(list[Any]):
    """More than anybody will read: 40 MB."""

    told = 0

    def __iter__(self) -> Any:
        for _ in range(4000):
            self.told += 1
            yield Output("x" * 10_000)


def test_a_build_whose_client_leaves_is_cancelled() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        b.tells = Endless()
        client = await Connection.open(s.path / "docker.sock")
        client.send(b"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx")
        assert (await client.head())[0] == 200
        await client.close()
        await until(lambda: b.cancelled == 1)

    play(story)


def test_a_build_is_cancelled_by_its_id() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        b.hold = asyncio.Event()
        running = asyncio.ensure_future(build(s, {"buildid": "b1"}))
        await until(lambda: "b1" in s.api.part(Builds).running)
        assert (await s.ask("POST", "/build/cancel", {"id": "b1"}))[0] == 204
        assert (await running)[1][-1] == {"errorDetail": {"message": "context canceled"}, "error": "context canceled"}
        assert b.cancelled == 1
        assert (await s.ask("POST", "/build/cancel", {"id": "b1"}))[0] == 404
        assert await s.message("POST", "/build/cancel", 404) == "build ID not provided"

    play(story)


def test_a_slow_reader_slows_the_build_down() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        b.tells = many = Endless()
        client = await Connection.open(s.path / "docker.sock")
        client.send(b"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx")
        await client.head()
        await asyncio.sleep(0.2)
        assert many.told < 2000
        size = 0
        async for chunk in client.chunks():
            size += len(chunk)
        assert (many.told, size > 40_000_000) == (4000, True)
        await client.close()

    play(story)


def test_the_cache_is_shown_and_pruned() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        s.images.disk_usage = disk_usage  # type: ignore[attr-defined]
        assert (await s.get("/system/df"))["BuildCache"] == [
            {
                "ID": "r1",
                "Parent": "",
                "Type": "regular",
                "Description": "RUN true",
                "InUse": False,
                "Shared": True,
                "Size": 7,
                "CreatedAt": "1970-01-01T00:00:01Z",
                "LastUsedAt": "1970-01-01T00:00:02Z",
                "UsageCount": 3,
            }
        ]
        query = {"all": "1", "keep-storage": "100", "filters": '{"until":["90m"]}'}
        assert await s.post("/build/prune", expect=200, **query) == {"CachesDeleted": ["r1"], "SpaceReclaimed": 7}
        assert b.pruned == {"all": True, "unused_for": 5400.0, "keep_bytes": 100}
        await s.post("/build/prune", expect=200)
        assert b.pruned == {"all": False, "unused_for": 0.0, "keep_bytes": 0}
        assert "no duration" in await s.message("POST", "/build/prune", 400, filters='{"until":["x"]}')
        assert "invalid filter 'id'" in await s.message("POST", "/build/prune", 400, filters='{"id":["x"]}')

    play(story)


def test_buildkits_own_endpoints_say_that_there_is_no_buildkit() -> None:
    async def story(s: Stage, b: FakeBuilder) -> None:
        for path in ("/session", "/grpc"):
            assert "DOCKER_BUILDKIT=0" in await s.message("POST", path, 501)

    play(story)


async def disk_usage() -> tuple[int, dict[str, int]]:
    return 0, {}


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
