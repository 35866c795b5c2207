"""How Docker's requests find their functions, and how what is wrong with them is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cloudstead.engine.dockerapi.answers import begun
from cloudstead.engine.dockerapi.bodies import read_body
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.parameters import Parameters
from cloudstead.engine.dockerapi.routing import ROUTES, Routes, split_version
from cloudstead.engine.errors import InvalidArgument, Unavailable
from docker_stage import Stage, staged


def on_a_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(30), staged() as stage:
            await test(stage)

    asyncio.run(play())


# ---------------------------------------------------------------------------------------------------------------- streams


def test_an_answer_that_cannot_go_on_is_cut_off_and_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise Unavailable("the engine host has ended")

    async def play() -> None:
        answer = await begun(pieces())
        assert await anext(answer) == b"first"
        with pytest.raises(ConnectionResetError):  # for which the connection is closed before the last chunk
            await anext(answer)

    asyncio.run(play())
    assert caplog.messages == ["an answer was cut off: the engine host has ended"]


# ---------------------------------------------------------------------------------------------------------------- paths


def test_names_hold_slashes_and_colons() -> None:
    routes = Routes()
    found: list[str] = []

    async def function(*_: Any) -> Any:
        found.append("")

    for pattern in ("/images/{name}", "/images/{name}/json", "/images/json", "/images/{name}/get", "/images/get"):
        routes.add("GET", pattern, function)

    def names(path: str) -> dict[str, str] | None:
        found = routes.find("GET", path)
        return None if found is None else found[1]

    assert names("/images/json") == {}
    assert names("/images/localhost:5000/a/b:c/json") == {"name": "localhost:5000/a/b:c"}
    assert names("/images/a@sha256:1/get") == {"name": "a@sha256:1"}
    assert names("/images//json") == {"name": "/json"}
    assert names("/images/") is None
    assert names("/containers/x") is None
    assert routes.find("POST", "/images/json") is None
    with pytest.raises(ValueError, match="two functions"):
        routes.add("GET", "/images/json", function)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1.41/_ping", ((1, 41), "/_ping")),
        ("/v1.24/images/a%2Fb/json", ((1, 24), "/images/a/b/json")),
        ("/_ping", (None, "/_ping")),
        ("/v1/_ping", (None, "/v1/_ping")),
        ("/v1.41", (None, "/v1.41")),
    ],
)
def test_the_version_is_taken_off(path: str, expected: object) -> None:
    assert split_version(path) == expected


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("1.42", "client version 1.42 is too new. Maximum supported API version is 1.41"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.41"),
        ("1.5", "client version 1.5 is too old. Minimum supported API version is 1.22, please upgrade your client to a newer version"),
    ],
)
def test_versions_that_are_not_spoken_are_refused_in_dockers_words(version: str, sentence: str) -> None:
    async def test(stage: Stage) -> None:
        assert await stage.message("GET", f"/v{version}/info", 400) == sentence

    on_a_stage(test)


def test_every_answer_says_what_is_spoken() -> None:
    async def test(stage: Stage) -> None:
        for method, path in (("GET", "/_ping"), ("HEAD", "/v1.41/_ping"), ("GET", "/nowhere"), ("GET", "/containers/no/json")):
            _, headers, _ = await stage.raw(method, path)
            assert headers["api-version"] == "1.41"
            assert headers["ostype"] == "linux"
            assert headers["docker-experimental"] == "false"
            assert headers["server"].startswith("Cloudstead/")
        status, headers, data = await stage.raw("GET", "/_ping")
        assert (status, data, headers["builder-version"]) == (200, b"OK", "1")
        assert (await stage.raw("HEAD", "/_ping"))[1]["content-length"] == "0"

    on_a_stage(test)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("GET", "/v1.41/plugins"), ("DELETE", "/info"), ("GET", "/"), ("GET", "/v1.41/containers/create")],
)
def test_what_is_not_there_is_404_page_not_found(method: str, path: str) -> None:
    async def test(stage: Stage) -> None:
        assert await stage.message(method, path, 404) == "page not found"

    on_a_stage(test)


def test_every_route_of_the_specification_is_there() -> None:
    known = set(ROUTES.all())
    wanted = {
        "GET": "_ping version info system/df events containers/json containers/{}/json containers/{}/top containers/{}/logs "
        "containers/{}/changes containers/{}/export containers/{}/stats containers/{}/archive exec/{}/json images/json images/{}/json "
        "images/{}/history images/search images/{}/get images/get distribution/{}/json networks networks/{} volumes volumes/{}",
        "HEAD": "_ping containers/{}/archive",
        "PUT": "containers/{}/archive",
        "POST": "auth containers/create containers/{}/start containers/{}/stop containers/{}/restart containers/{}/kill containers/{}/pause "
        "containers/{}/unpause containers/{}/wait containers/{}/attach containers/{}/resize containers/{}/rename containers/{}/update "
        "containers/prune commit containers/{}/exec exec/{}/start exec/{}/resize images/create images/{}/tag images/{}/push images/load "
        "images/prune build build/prune networks/create networks/{}/connect networks/{}/disconnect networks/prune volumes/create volumes/prune",
        "DELETE": "containers/{} images/{} networks/{} volumes/{}",
    }
    spelled = {(method, pattern.replace("{name}", "{}").replace("{id}", "{}")) for method, pattern in known}
    missing = [(method, each) for method, paths in wanted.items() for each in paths.split() if (method, f"/{each}") not in spelled]
    assert missing == []


# ---------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("True", True),
        ("true", True),
        ("t", True),
        ("yes", True),
        ("0", False),
        ("False", False),
        ("f", False),
        ("", False),
        ("none", False),
    ],
)
def test_booleans_come_in_many_spellings(text: str, expected: bool) -> None:
    assert Parameters(f"all={text}").flag("all") is expected
    assert Parameters("").flag("all", True) is True


def test_numbers_are_numbers() -> None:
    assert Parameters("t=5").number("t") == 5
    assert Parameters("t=-1").number("t") == -1
    assert Parameters("t=").number("t", 3) == 3
    for text in ("x", "1.5", "9" * 30, "0x10", "\u0661"):
        with pytest.raises(InvalidArgument, match="t"):
            Parameters(f"t={text}").number("t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1700000000.0),
        ("1700000000.250000000", 1700000000.25),
        ("2023-11-14T22:13:20Z", 1700000000.0),
        ("2023-11-14T23:13:20.500000000%2B01:00", 1700000000.5),
        ("10m", 400.0),
        ("1h", -2600.0),
        ("1.5s", 998.5),
        ("0", 0.0),
    ],
)
def test_times_come_as_seconds_dates_and_durations(text: str, expected: float) -> None:
    assert Parameters(f"since={text}").moment("since", 1000.0) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["yesterday", "10", "2023-13-01T00:00:00Z", "1" * 400, "99999-01-01T00:00:00Z"])
def test_times_that_are_none_are_refused(text: str) -> None:
    if text == "10":
        assert Parameters("since=10").moment("since", 0.0) == 10.0
        return
    with pytest.raises(InvalidArgument, match="since"):
        Parameters(f"since={text}").moment("since", 1000.0)


# ------------------------------------------------------------------------------------------------------------- filters


def test_filters_come_in_two_forms() -> None:
    for value in ({"label": {"a=b": True}}, {"label": ["a=b"]}):
        filters = Filters(json.dumps(value), ["label"])
        assert filters.all("label") == ["a=b"]
        assert filters.labels({"a": "b"})
        assert not filters.labels({"a": "c"})
        assert not filters.labels({})


def test_filters_that_nobody_knows_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'wibble'"):
        Filters('{"wibble": ["1"]}', ["label"])
    for text in ("[]", "x", '{"a": 1}', '{"a": {"b": 1}}', "{"):
        with pytest.raises(InvalidArgument):
            Filters(text, ["a"])


def test_filters_match_exactly_by_beginning_and_as_patterns() -> None:
    filters = Filters('{"name": ["^we.$", "exact"], "id": ["ab"], "flag": ["1"], "label!": ["x"]}', ["name", "id", "flag", "label!"])
    assert filters.matches("name", "web")
    assert not filters.matches("name", "webs")
    assert filters.matches("name", "exactly")
    assert filters.one_of("name", "exact")
    assert not filters.one_of("name", "web")
    assert filters.begins("id", "abc")
    assert not filters.begins("id", "cab")
    assert filters.flag("flag", False) is True
    assert filters.flag("other", True) is True
    assert filters.matches("other", "anything")
    assert filters.lacks_labels({"y": ""})
    assert not filters.lacks_labels({"x": ""})
    with pytest.raises(InvalidArgument):
        Filters('{"flag": ["maybe"]}', ["flag"]).flag("flag", False)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", ".*.*.*.*.*x", "(", "[", "a" * 300, "(?<n>a)*"])
def test_patterns_that_would_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        Filters(json.dumps({"name": [pattern]}), ["name"]).matches("name", "a" * 60)


# -------------------------------------------------------------------------------------------------------------- bodies


class Inner(msgspec.Struct, rename="pascal"):
    some_name: str = ""


class Body(msgspec.Struct, rename="pascal"):
    number: int = 0
    inner: Inner = msgspec.field(default_factory=Inner)
    map: dict[str, list[Inner] | None] = {}


def test_bodies_are_read_as_go_reads_them() -> None:
    assert read_body(
        b'{"number": 3, "INNER": {"somename": "x"}, "Map": {"a": null, "b": [{"SomeName": "y"}]}, "Number": null}', Body
    ) == Body(3, Inner("x"), {"a": None, "b": [Inner("y")]})
    assert read_body(b'{"Inner": null, "Unknown": {"a": [0, {}]}}', Body) == Body()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"x",
        b'"x"',
        b'{"Number": "1"}',
        b'{"Unknown": 1}',
        b'{"Number": 1e400}',
        b"[" * 5000,
        b'{"Number": 99999999999999999999}',
    ],
)
def test_bodies_that_make_no_sense_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_body(data, Body)


def test_a_body_must_say_that_it_is_json() -> None:
    async def test(stage: Stage) -> None:
        status, _, data = await stage.raw("POST", "/containers/create", None, b'{"Image": "busybox"}')
        assert (status, json.loads(data)) == (400, {"message": "unsupported Content-Type header (): must be 'application/json'"})
        assert await stage.message("POST", "/containers/create", 400) == "invalid JSON: got EOF while reading request body"
        status, _, data = await stage.raw(
            "POST", "/containers/create", None, b"{" + b" " * (9 << 20), **{"Content-Type": "application/json"}
        )
        assert status == 413

    on_a_stage(test)


def test_a_bug_is_500_and_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def test(stage: Stage) -> None:
        def broken() -> None:
            raise RuntimeError("secret")

        stage.images.all = broken  # type: ignore[method-assign, assignment]
        assert await stage.message("GET", "/info", 500) == "an error inside Cloudstead; its log says more"

    on_a_stage(test)
    assert "secret" in caplog.text


def test_version_and_info_say_what_clients_ask_for() -> None:
    async def test(stage: Stage) -> None:
        version = await stage.get("/version")
        assert (version["ApiVersion"], version["MinAPIVersion"], version["Os"]) == ("1.41", "1.22", "linux")
        await stage.run("sleep", "1000")
        await stage.create("true")
        info = await stage.get("/info")
        assert (info["Containers"], info["ContainersRunning"], info["ContainersStopped"], info["Images"]) == (2, 1, 1, 1)
        assert info["MemTotal"] > 0
        assert info["Swarm"]["LocalNodeState"] == "inactive"

    on_a_stage(test)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/swarm", 503, "This node is not a swarm manager"),
        ("GET", "/v1.41/services", 503, "This node is not a swarm manager"),
        ("POST", "/secrets/create", 503, "This node is not a swarm manager"),
        ("GET", "/nodes/self", 503, "This node is not a swarm manager"),
        ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
        ("POST", "/swarm/init", 501, "swarm mode is not supported"),
    ],
)
def test_there_is_no_swarm_and_none_can_be_made(method: str, path: str, status: int, words: str) -> None:
    async def test(stage: Stage) -> None:
        assert words in await stage.message(method, path, status)

    on_a_stage(test)
