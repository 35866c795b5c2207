"""Docker's containers over HTTP: their lives, lists, names, events and restart policies. What runs in them is simulated."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tarfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloudstead.engine.dockerapi import restart
from cloudstead.engine.dockerapi.files import go_mode
from cloudstead.engine.dockerapi.shapes import RestartPolicy
from cloudstead.engine.dockerapi.sizes import size_of
from cloudstead.engine.dockerapi.status import human_duration
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.api import ExecConfig
from cloudstead.engine.network.api import Asker
from docker_stage import Connection, Stage, staged

ENDLESS = ("sleep", "1000")
STOPS = ("sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait")


def on_a_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(30), staged() as stage:
            await test(stage)

    asyncio.run(play())


def staged_test(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        on_a_stage(test)

    run.__name__ = run.__qualname__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def until(condition: Callable[[], Awaitable[Any]], within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.01)


async def state(stage: Stage, id: str) -> str:
    return str((await stage.get(f"/containers/{id}/json"))["State"]["Status"])


# ------------------------------------------------------------------------------------------------------------- life


@staged_test
async def test_a_container_lives_and_ends(stage: Stage) -> None:
    id = await stage.create("sh", "-c", "echo hi; exit 7", name="web")
    assert await state(stage, "web") == "created"
    await stage.post("/containers/web/start")
    assert (await stage.post("/containers/web/wait", expect=200)) == {"StatusCode": 7, "Error": None}
    found = (await stage.get(f"/containers/{id[:12]}/json"))["State"]
    assert (found["Status"], found["Running"], found["ExitCode"], found["Pid"]) == ("exited", False, 7, 0)
    assert found["StartedAt"] < found["FinishedAt"]
    assert await stage.ask("DELETE", "/containers/web") == (204, None)
    assert await stage.message("GET", "/containers/web/json", 404) == "No such container: web"


@staged_test
async def test_what_is_so_already_is_304_and_what_cannot_be_409(stage: Stage) -> None:
    id = await stage.run(*STOPS, name="web")
    assert await stage.ask("POST", "/containers/web/start") == (304, None)
    await stage.post("/containers/web/pause")
    assert (await stage.message("POST", "/containers/web/pause", 409)) == f"Container {id} is already paused"
    assert (await stage.message("POST", "/containers/web/start", 409)) == "cannot start a paused container, try unpause instead"
    assert (await stage.message("POST", "/containers/web/exec", 409, {"Cmd": ["true"]})).startswith("Container ")
    await stage.post("/containers/web/unpause")
    assert "is not paused" in await stage.message("POST", "/containers/web/unpause", 409)
    refused = await stage.message("DELETE", "/containers/web", 409)
    assert refused == 'cannot remove container "/web": container is running: stop the container before removing or force remove'
    await stage.post("/containers/web/stop")
    assert await stage.ask("POST", "/containers/web/stop") == (304, None)
    assert await stage.message("POST", "/containers/web/kill", 409) == f"cannot kill container: web: container {id} is not running"
    assert await stage.message("GET", "/containers/web/top", 409) == f"container {id} is not running"
    assert await stage.message("POST", "/containers/web/kill", 400, signal="WIBBLE") == "Invalid signal: WIBBLE"
    assert (await stage.get("/containers/web/json"))["State"]["ExitCode"] == 3


@staged_test
async def test_stop_waits_as_long_as_it_is_told_and_then_kills(stage: Stage) -> None:
    await stage.run("sleep", "1000", name="deaf")  # process 1 does not hear SIGTERM
    begun = time.monotonic()
    await stage.post("/containers/deaf/stop", t=1)
    assert 0.9 < time.monotonic() - begun < 3
    assert (await stage.get("/containers/deaf/json"))["State"]["ExitCode"] == 137


@staged_test
async def test_restart_is_a_new_run_of_the_same_container(stage: Stage) -> None:
    id = await stage.run(*STOPS, HostConfig={"AutoRemove": True})
    before = (await stage.get(f"/containers/{id}/json"))["State"]["StartedAt"]
    await stage.post(f"/containers/{id}/restart")
    found = await stage.get(f"/containers/{id}/json")
    assert found["State"]["Running"]
    assert found["State"]["StartedAt"] > before
    assert found["RestartCount"] == 0


@staged_test
async def test_wait_sends_its_head_before_there_is_an_answer(stage: Stage) -> None:
    """`docker run` waits for it before it starts the container."""
    id = await stage.create("sh", "-c", "exit 5")
    waits = {}
    for condition in ("next-exit", "removed"):
        waits[condition] = await Connection.open(stage.path / "docker.sock")
        waits[condition].send(f"POST /containers/{id}/wait?condition={condition} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode())
        status, headers = await asyncio.wait_for(waits[condition].head(), 2)
        assert (status, headers["content-type"], headers["transfer-encoding"]) == (200, "application/json", "chunked")
    assert (await stage.post(f"/containers/{id}/wait", expect=200))["StatusCode"] == 0, "not-running is so before the start"
    await stage.post(f"/containers/{id}/start")

    async def answer(condition: str) -> Any:
        return json.loads(b"".join([chunk async for chunk in waits[condition].chunks()]))

    assert (await answer("next-exit"))["StatusCode"] == 5
    removed = asyncio.ensure_future(answer("removed"))
    await asyncio.sleep(0.05)
    assert not removed.done()
    await stage.ask("DELETE", f"/containers/{id}")
    assert await removed == {"StatusCode": 5, "Error": None}
    assert await stage.message("POST", f"/containers/{id}/wait", 404) == f"No such container: {id}"
    other = await stage.create("true")
    assert await stage.message("POST", f"/containers/{other}/wait", 400, condition="never") == 'invalid condition: "never"'
    for connection in waits.values():
        await connection.close()


@staged_test
async def test_a_waiter_who_goes_away_is_forgotten(stage: Stage) -> None:
    from cloudstead.engine.dockerapi.supervision import Life

    id = await stage.run(*ENDLESS)
    connection = await Connection.open(stage.path / "docker.sock")
    connection.send(f"POST /containers/{id}/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode())
    await connection.head()
    assert len(stage.api.part(Life)._waiters[id]) == 1
    connection.writer.transport.abort()
    for each in list(stage.server.connections):
        each.abort()

    async def gone() -> bool:
        return not stage.api.part(Life)._waiters

    await until(gone)


@staged_test
async def test_killing_sends_any_signal(stage: Stage) -> None:
    id = await stage.run("sh", "-c", "trap 'echo hup' HUP; trap 'exit 9' USR1; while true; do sleep 0.01; done")
    await asyncio.sleep(0.05)
    await stage.post(f"/containers/{id}/kill", signal="HUP")
    await stage.post(f"/containers/{id}/kill", signal="10")
    assert (await stage.post(f"/containers/{id}/wait", expect=200))["StatusCode"] == 9


@staged_test
async def test_what_cannot_be_started_says_why(stage: Stage) -> None:
    id = await stage.create("nosuch")
    status, answer = await stage.ask("POST", f"/containers/{id}/start")
    assert status >= 400
    assert "nosuch" in answer["message"]
    found = (await stage.get(f"/containers/{id}/json"))["State"]
    assert (found["Status"], found["ExitCode"]) == ("created", 127)
    assert "nosuch" in found["Error"]


@staged_test
async def test_autoremove_removes_after_the_end_and_after_a_start_that_failed(stage: Stage) -> None:
    id = await stage.create("sh", "-c", "exit 4", HostConfig={"AutoRemove": True, "Binds": ["named:/named"]}, Volumes={"/anonymous": {}})
    assert len(stage.volumes.all()) == 2
    removed = asyncio.ensure_future(stage.post(f"/containers/{id}/wait", expect=200, condition="removed"))
    await asyncio.sleep(0.05)
    await stage.post(f"/containers/{id}/start")
    assert (await removed)["StatusCode"] == 4
    assert [volume.name for volume in stage.volumes.all()] == ["named"]
    other = await stage.create("nosuch", HostConfig={"AutoRemove": True})
    removed = asyncio.ensure_future(stage.post(f"/containers/{other}/wait", expect=200, condition="removed"))
    await asyncio.sleep(0.05)
    await stage.ask("POST", f"/containers/{other}/start")
    assert (await removed) == {"StatusCode": 127, "Error": None}
    assert await stage.get("/containers/json", all=1) == []
    assert stage.driver.records.pods == {}


# ------------------------------------------------------------------------------------------------------------ names


@staged_test
async def test_names_are_unique_checked_and_made_up(stage: Stage) -> None:
    id = await stage.create("true", name="web")
    assert await stage.create("true", name="/web", expect=409) == (
        f'Conflict. The container name "/web" is already in use by container "{id}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    for name in ("-web", "a b", "a", "ä"):
        assert (await stage.create("true", name=name, expect=400)).startswith("Invalid container name (")
    unnamed = await stage.get(f"/containers/{await stage.create('true')}/json")
    adjective, _, person = unnamed["Name"].removeprefix("/").partition("_")
    assert adjective
    assert person


@staged_test
async def test_two_who_want_one_name_at_once_do_not_both_get_it(stage: Stage) -> None:
    answers = await asyncio.gather(*(stage.ask("POST", "/containers/create", {"name": "web"}, {"Image": "busybox"}) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 7
    assert len(stage.driver.records.pods) == len(stage.driver.records.containers) == 1


@staged_test
async def test_ids_may_be_cut_short_unless_that_is_ambiguous(stage: Stage) -> None:
    ids = [await stage.create("true") for _ in range(40)]
    first = next(a for a in ids if sum(b.startswith(a[0]) for b in ids) > 1)
    assert await stage.message("GET", f"/containers/{first[0]}/json", 400) == f"multiple IDs found with provided prefix: {first[0]}"
    assert (await stage.get(f"/containers/{first[:20]}/json"))["Id"] == first
    assert (await stage.get(f"/containers//{(await stage.get(f'/containers/{first}/json'))['Name'][1:]}/json"))["Id"] == first


@staged_test
async def test_a_name_is_found_before_the_beginning_of_an_id(stage: Stage) -> None:
    id = await stage.create("true")
    named = await stage.create("true", name=id[:4])
    assert (await stage.get(f"/containers/{id[:4]}/json"))["Id"] == named


@staged_test
async def test_renaming(stage: Stage) -> None:
    await stage.create("true", name="old")
    await stage.create("true", name="taken")
    await stage.post("/containers/old/rename", name="new")
    assert (await stage.get("/containers/new/json"))["Name"] == "/new"
    assert "already in use" in await stage.message("POST", "/containers/new/rename", 409, name="taken")
    assert "same name" in await stage.message("POST", "/containers/new/rename", 400, name="new")
    assert "empty" in await stage.message("POST", "/containers/new/rename", 400)
    await stage.create("true", name="old")


@staged_test
async def test_a_renamed_container_is_found_by_its_new_name_by_those_who_share_a_network(stage: Stage) -> None:
    for network in ("mine", "other"):
        await stage.post("/networks/create", {"Name": network}, 201)
    inside = {"HostConfig": {"NetworkMode": "mine"}}
    asking = await stage.run(*ENDLESS, **inside)
    elsewhere = await stage.run(*ENDLESS, HostConfig={"NetworkMode": "other"})
    id = await stage.run(*ENDLESS, name="old", **inside)
    (zone,) = stage.networks.zones
    await stage.post("/containers/old/rename", name="new")
    await stage.run(*ENDLESS, name="old", **inside)
    address = (await stage.get(f"/containers/{id}/json"))["NetworkSettings"]["Networks"]["mine"]["IPAddress"]

    def ask(name: str, pod: str, kind: str = "A") -> list[str] | None:
        records = zone(name, kind, Asker("", "", pod))
        return None if records is None else [record.value for record in records]

    assert ask("new", asking) == [address]
    assert ask("new", asking, "AAAA") == []
    assert ask("old", asking) not in (None, [address])
    assert ask("new", elsewhere) is None
    assert ask("nobody", asking) is None
    assert ask("new", "a-build") is None


@staged_test
async def test_a_restart_that_is_waited_for_ends_with_its_policy(stage: Stage) -> None:
    id = await stage.run("false", HostConfig={"RestartPolicy": {"Name": "always"}})
    await stage.post(f"/containers/{id}/update", {"RestartPolicy": {"Name": "no"}}, 200)
    assert await state(stage, id) == "exited"


@staged_test
async def test_where_no_container_can_run_making_one_says_why(stage: Stage) -> None:
    stage.engine.why_not = "containers need root's rights"
    assert await stage.create("true", expect=501) == "containers need root's rights"
    assert (await stage.get("/info"))["Warnings"] == ["containers need root's rights"]


@staged_test
async def test_an_image_that_is_not_there_is_404_and_the_client_pulls(stage: Stage) -> None:
    assert await stage.create("true", Image="nosuch", expect=404) == "No such image: nosuch:latest"
    assert await stage.create("true", Image="", expect=400) == "no image specified"


# ------------------------------------------------------------------------------------------------------------ lists


@staged_test
async def test_the_list_shows_what_runs_or_everything(stage: Stage) -> None:
    running = await stage.run(*ENDLESS, name="running", Labels={"a": "b"}, HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    created = await stage.create("sh", "-c", "echo a b", name="created")
    (only,) = await stage.get("/containers/json")
    assert only["Id"] == running
    assert (only["Names"], only["Image"], only["State"], only["Labels"]) == (["/running"], "busybox", "running", {"a": "b"})
    assert only["Ports"] == [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]
    assert only["Status"].startswith("Up ")
    assert only["Command"] == "sleep 1000"
    assert only["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    everything = await stage.get("/containers/json", all="True", size=1)
    assert [each["Id"] for each in everything] == [created, running]
    assert (everything[0]["Status"], everything[0]["Command"], everything[0]["SizeRw"]) == ("Created", "sh -c 'echo a b'", 42)
    assert [each["Id"] for each in await stage.get("/containers/json", limit=1)] == [created]


@staged_test
async def test_filters_of_lists(stage: Stage) -> None:
    stage.images.add("child:latest", ExecConfig(cmd=("sleep", "1000")), parent=stage.images.resolve("busybox").id)
    await stage.post("/networks/create", {"Name": "mine"}, 201)
    ids = {
        "ended": (await stage.ran("sh", "-c", "exit 3", name="ended", Labels={"tier": "back"}))[0],
        "web-1": await stage.run(
            *ENDLESS, name="web-1", HostConfig={"NetworkMode": "mine", "PortBindings": {"80/tcp": [{"HostPort": "8081"}]}}
        ),
        "web-2": await stage.run(name="web-2", Image="child", HostConfig={"Binds": ["data:/srv"]}, ExposedPorts={"443/tcp": {}}),
        "sick": await stage.run(*ENDLESS, name="sick", Healthcheck={"Test": ["CMD", "false"], "Interval": 5_000_000, "Retries": 1}),
        "paused": await stage.run(*ENDLESS, name="paused", Labels={"tier": "front"}),
        "made": await stage.create("true", name="made"),
    }
    await stage.post("/containers/paused/pause")

    async def found(all: int = 1, **filters: Any) -> set[str]:
        listed = await stage.get("/containers/json", all=all, filters=json.dumps(filters))
        return {each["Names"][0][1:] for each in listed}

    async def is_sick() -> bool:
        return await found(health=["unhealthy"]) == {"sick"}

    await until(is_sick)
    assert await found(name=["^web-"]) == {"web-1", "web-2"}
    assert await found(name={"/web-1": True, "made": True}) == {"web-1", "made"}
    assert await found(0, status=["exited", "created"]) == {"ended", "made"}
    assert await found(status={"paused": True}) == {"paused"}
    assert await found(label=["tier"]) == {"ended", "paused"}
    assert await found(label=["tier=back"]) == {"ended"}
    assert await found(id=[ids["sick"][:12]]) == {"sick"}
    assert await found(exited=["3"]) == {"ended"}
    assert await found(exited=["0"]) == set()
    assert await found(ancestor=["child"]) == {"web-2"}
    assert await found(ancestor=["busybox"]) == set(ids)
    assert await found(ancestor=["nosuch"]) == set()
    assert await found(network=["mine"]) == {"web-1"}
    assert await found(volume=["data"]) == await found(volume=["/srv"]) == {"web-2"}
    assert await found(publish=["8081"]) == await found(publish=["8000-9000/tcp"]) == await found(expose=["80/tcp"]) == {"web-1"}
    assert await found(publish=["8081/udp"]) == set()
    assert await found(expose=["443"]) == {"web-2"}
    assert await found(before=["web-2"]) == {"ended", "web-1"}
    assert await found(since=["sick"]) == {"paused", "made"}
    assert await found(health=["none"]) == set(ids) - {"sick"}
    assert await found(**{"is-task": ["true"]}) == set()
    assert await found(isolation=["default"]) == set(ids)
    for wrong in (
        {"wibble": ["1"]},
        {"status": ["wibble"]},
        {"exited": ["x"]},
        {"publish": ["80:80"]},
        {"health": ["fine"]},
        {"is-task": ["x"]},
    ):
        await stage.message("GET", "/containers/json", 400, filters=json.dumps(wrong))
    await stage.message("GET", "/containers/json", 404, filters='{"before": ["nosuch"]}')


@pytest.mark.parametrize(
    ("seconds", "sentence"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5401, "2 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (100 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_read_as_dockers(seconds: float, sentence: str) -> None:
    assert human_duration(seconds) == sentence


# ---------------------------------------------------------------------------------------------------------- inspect


@staged_test
async def test_inspect_knows_what_clients_look_for(stage: Stage) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 5_000_000}
    host = {"Binds": ["data:/srv:ro"], "PortBindings": {"80/tcp": [{"HostPort": ""}]}, "Memory": 64 << 20}
    id = await stage.run(*ENDLESS, name="web", HostConfig=host, Healthcheck=check, ExposedPorts={"443/tcp": {}})

    async def healthy() -> bool:
        return bool((await stage.get("/containers/web/json"))["State"]["Health"]["Status"] == "healthy")

    await until(healthy)
    found = await stage.get("/containers/web/json", size=1)
    assert found["State"]["Health"]["Log"][0]["ExitCode"] == 0
    assert found["Path"] == "sleep"
    assert found["Args"] == ["1000"]
    assert found["HostConfig"]["Memory"] == 64 << 20
    ports = found["NetworkSettings"]["Ports"]
    assert ports["443/tcp"] is None
    assert int(ports["80/tcp"][0]["HostPort"]) > 1024
    assert ports["80/tcp"][0]["HostIp"] == "0.0.0.0"
    bridge = found["NetworkSettings"]["Networks"]["bridge"]
    assert bridge["IPAddress"] == found["NetworkSettings"]["IPAddress"] != ""
    (mount,) = found["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"], mount["Driver"]) == ("volume", "data", "/srv", False, "local")
    assert (found["SizeRw"], found["SizeRootFs"]) == (42, 1042)
    assert found["Image"] == stage.images.resolve("busybox").id
    assert (await stage.get("/containers/json"))[0]["Status"].endswith("(healthy)")
    await stage.post("/containers/web/kill")
    await stage.post("/containers/web/wait", expect=200)
    found = await stage.get(f"/containers/{id}/json")
    assert found["NetworkSettings"]["Ports"] == {}
    assert found["NetworkSettings"]["IPAddress"] == ""


# ------------------------------------------------------------------------------------------------- changing and removing


@staged_test
async def test_update_changes_limits_and_restart_policy(stage: Stage) -> None:
    id = await stage.run(*ENDLESS, HostConfig={"Memory": 64 << 20})
    assert await stage.post(
        f"/containers/{id}/update", {"Memory": 128 << 20, "NanoCpus": 10**9, "RestartPolicy": {"Name": "always"}}, 200
    ) == {"Warnings": []}
    host = (await stage.get(f"/containers/{id}/json"))["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) == (128 << 20, 10**9, "always")
    limits = stage.driver.records.containers[id].spec.resources
    assert (limits.memory, limits.cpu_quota) == (128 << 20, 100_000)
    await stage.message("POST", f"/containers/{id}/update", 400, {"Memory": 1})
    await stage.message("POST", f"/containers/{id}/update", 501, {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 1}]})
    await stage.message("POST", f"/containers/{id}/update", 409, {"CpuQuota": 5000})


@staged_test
async def test_removing_takes_anonymous_volumes_when_asked(stage: Stage) -> None:
    id = await stage.run(*ENDLESS, Volumes={"/a": {}}, HostConfig={"Binds": ["named:/n"], "Mounts": [{"Type": "volume", "Target": "/m"}]})
    other = await stage.run(*ENDLESS, Volumes={"/a": {}})
    assert len(stage.volumes.all()) == 4
    assert (await stage.ask("DELETE", f"/containers/{id}", {"force": 1, "v": 1}))[0] == 204
    assert len(stage.volumes.all()) == 2
    assert (await stage.ask("DELETE", f"/containers/{other}", {"force": 1}))[0] == 204
    assert len(stage.volumes.all()) == 2
    assert "link" in await stage.message("DELETE", f"/containers/{await stage.create('true')}", 400, link=1)


@staged_test
async def test_prune_removes_what_has_ended(stage: Stage) -> None:
    running = await stage.run(*ENDLESS)
    kept = await stage.create("true", Labels={"keep": ""})
    ended, _ = await stage.ran("true")
    assert (await stage.post("/containers/prune", expect=200, filters='{"until": ["24h"]}'))["ContainersDeleted"] is None
    pruned = await stage.post("/containers/prune", expect=200, filters='{"label!": ["keep"]}')
    assert pruned == {"ContainersDeleted": [ended], "SpaceReclaimed": 42}
    assert {each["Id"] for each in await stage.get("/containers/json", all=1)} == {running, kept}


@staged_test
async def test_removal_by_two_at_once_and_of_one_that_runs(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    answers = await asyncio.gather(*(stage.ask("DELETE", f"/containers/{id}", {"force": 1}) for _ in range(3)))
    assert sorted(status for status, _ in answers)[0] == 204
    assert {status for status, _ in answers} <= {204, 404, 409}
    assert stage.driver.records.pods == {}


# ------------------------------------------------------------------------------------------------------------ files


def tar_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), 0o4750
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@staged_test
async def test_files_go_in_and_out(stage: Stage) -> None:
    id = await stage.create("true")
    status, _, _ = await stage.raw("PUT", f"/containers/{id}/archive", {"path": "/tmp"}, tar_of("f", b"content"))
    assert status == 200
    status, headers, data = await stage.raw("HEAD", f"/containers/{id}/archive", {"path": "/tmp/f"})
    found = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
    assert (status, data, found["name"], found["size"]) == (200, b"", "f", 7)
    assert found["mode"] & 0o777 == 0o750
    status, headers, data = await stage.raw("GET", f"/containers/{id}/archive", {"path": "/tmp/f"})
    assert headers["content-type"] == "application/x-tar"
    assert "x-docker-container-path-stat" in headers
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.extractfile("f").read() == b"content"  # type: ignore[union-attr]
    assert {"Path": "/tmp/f", "Kind": 1} in await stage.get(f"/containers/{id}/changes")
    with tarfile.open(fileobj=io.BytesIO((await stage.raw("GET", f"/containers/{id}/export"))[2])) as tar:
        assert any(name.endswith("tmp/f") for name in tar.getnames())
    for method in ("GET", "HEAD"):
        status, _, _ = await stage.raw(method, f"/containers/{id}/archive", {"path": "/no"})
        assert status == 404
    status, answer = await stage.ask("GET", f"/containers/{id}/archive", {"path": "/no"})
    assert (status, answer["message"]) == (404, f"Could not find the file /no in container {id}")
    assert (await stage.raw("GET", f"/containers/{id}/archive"))[0] == 400
    assert (await stage.raw("PUT", f"/containers/{id}/archive", {"path": "/no"}, tar_of("f", b"")))[0] == 404


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o100644, 0o644),
        (0o040755, 0o755 | 1 << 31),
        (0o120777, 0o777 | 1 << 27),
        (0o104755, 0o755 | 1 << 23),
        (0o041777, 0o777 | 1 << 31 | 1 << 20),
    ],
)
def test_modes_are_go_modes(mode: int, expected: int) -> None:
    assert go_mode(mode) == expected


@staged_test
async def test_commit_makes_an_image_of_what_was_written(stage: Stage) -> None:
    id = await stage.run(*ENDLESS, name="web", Env=["A=b"])
    made = await stage.post(
        "/commit", {"User": "me"}, 201, container="web", repo="mine", tag="1", author="who", comment="why", changes='CMD ["x"]'
    )
    ((base, config, references),) = stage.images.commits
    assert (made["Id"], base) == (stage.images.resolve(references[0]).id, stage.images.resolve("busybox").id)
    assert config.config.cmd == ("x",)
    assert config.config.user == "me"
    assert "A=b" in (config.config.env or ())
    assert (config.author, config.history[-1].comment) == ("who", "why")
    assert await state(stage, id) == "running"
    assert await stage.message("POST", "/commit", 404, container="nosuch") == "No such container: nosuch"


# ------------------------------------------------------------------------------------------------------------- stats


@staged_test
async def test_top_and_stats(stage: Stage) -> None:
    id = await stage.run(*ENDLESS, name="web")
    top = await stage.get("/containers/web/top", ps_args="aux")
    assert "sleep 1000" in top["Processes"][0]
    assert "CMD" in top["Titles"]
    once = await stage.get("/containers/web/stats", stream=0, **{"one-shot": 1})
    assert (once["id"], once["name"], once["preread"]) == (id, "/web", "0001-01-01T00:00:00Z")
    assert once["cpu_stats"]["online_cpus"] == 1
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    twice = await stage.get("/containers/web/stats", stream="false")
    assert twice["precpu_stats"]["system_cpu_usage"] < twice["cpu_stats"]["system_cpu_usage"]
    connection = await Connection.open(stage.path / "docker.sock")
    connection.send(b"GET /containers/web/stats HTTP/1.1\r\nHost: d\r\n\r\n")
    await connection.head()
    chunks = connection.chunks()
    first, second = json.loads(await anext(chunks)), json.loads(await anext(chunks))
    assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert second["preread"] == first["read"]
    await connection.close()
    await stage.post("/containers/web/kill")
    await stage.post("/containers/web/wait", expect=200)
    assert (await stage.get("/containers/web/stats", stream=0))["memory_stats"] == {}


# ------------------------------------------------------------------------------------------------------------ events


async def events(stage: Stage, **query: Any) -> list[dict[str, Any]]:
    _, _, data = await stage.raw("GET", "/events", {"until": f"{time.time():.6f}", "since": "0.1", **query})
    return [json.loads(line) for line in data.splitlines()]


@staged_test
async def test_events_tell_a_life_in_order(stage: Stage) -> None:
    id = await stage.run(*STOPS, name="web", Labels={"tier": "back"})
    await stage.post("/containers/web/kill", signal="CONT")
    await stage.post("/containers/web/stop")
    await stage.post("/containers/web/rename", name="other")
    await stage.ask("DELETE", "/containers/other")
    told = [event for event in await events(stage) if event["Type"] == "container"]
    assert [event["Action"] for event in told] == ["create", "start", "kill", "kill", "die", "stop", "rename", "destroy"]
    assert [event["timeNano"] for event in told] == sorted(event["timeNano"] for event in told)
    die = told[4]
    assert (die["status"], die["id"], die["from"], die["scope"]) == ("die", id, "busybox", "local")
    assert die["Actor"]["Attributes"] | {"execDuration": "0"} == {
        "image": "busybox",
        "name": "web",
        "tier": "back",
        "exitCode": "3",
        "execDuration": "0",
    }
    for filters, count in (
        ({"event": ["die"]}, 1),
        ({"container": ["web"]}, 6),
        ({"container": [id[:10]]}, 8),
        ({"label": ["tier=back"]}, 8),
        ({"type": ["image"]}, 0),
        ({"image": ["busybox"]}, 8),
    ):
        assert len([e for e in await events(stage, filters=json.dumps(filters)) if e["Type"] != "network"]) == count, filters
    await stage.message("GET", "/events", 400, filters='{"wibble": ["1"]}')
    await stage.message("GET", "/events", 400, since="20", until="10")


@staged_test
async def test_events_are_told_as_they_happen_until_the_time_is_over(stage: Stage) -> None:
    connection = await Connection.open(stage.path / "docker.sock")
    connection.send(f"GET /events?until={time.time() + 0.6:.3f} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    assert (await asyncio.wait_for(connection.head(), 2))[0] == 200
    id = await stage.create("true")
    chunks = connection.chunks()
    assert json.loads(await anext(chunks))["id"] == id
    assert [chunk async for chunk in chunks] == []
    assert stage.api.events.listeners == 0
    await connection.close()


# ------------------------------------------------------------------------------------------------------------ restart


@pytest.mark.parametrize(
    ("name", "retries", "code", "restarts", "stopped", "again", "at_boot"),
    [
        ("no", 0, 1, 0, False, False, False),
        ("", 0, 1, 0, False, False, False),
        ("always", 0, 0, 9, False, True, True),
        ("always", 0, 0, 0, True, False, True),
        ("unless-stopped", 0, 0, 0, False, True, True),
        ("unless-stopped", 0, 0, 0, True, False, False),
        ("on-failure", 0, 1, 99, False, True, True),
        ("on-failure", 0, 0, 0, False, False, False),
        ("on-failure", 2, 1, 1, False, True, True),
        ("on-failure", 2, 1, 2, False, False, False),
    ],
)
def test_restart_policies(name: str, retries: int, code: int, restarts: int, stopped: bool, again: bool, at_boot: bool) -> None:
    policy = RestartPolicy(name=name, maximum_retry_count=retries)
    assert restart.wanted(policy, exit_code=code, restarts=restarts, stopped=stopped) is again
    assert restart.wanted_at_boot(policy, exit_code=code, restarts=restarts, stopped=stopped) is at_boot


def test_the_delay_doubles_to_a_minute_and_begins_anew_after_a_long_run() -> None:
    delays = [restart.next_delay(0, 0)]
    while len(delays) < 12:
        delays.append(restart.next_delay(delays[-1], 1.0))
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert restart.next_delay(60.0, 10.0) == 0.1


@staged_test
async def test_a_failing_container_is_started_again_as_often_as_it_may(stage: Stage) -> None:
    id = await stage.run("sh", "-c", "echo run; exit 1", HostConfig={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    assert await state(stage, id) == "restarting"
    (listed,) = await stage.get("/containers/json")
    assert listed["Status"].startswith("Restarting (1) ")
    found = (await stage.get(f"/containers/{id}/json"))["State"]
    assert (found["Running"], found["Restarting"]) == (True, True)
    assert "is restarting" in await stage.message("POST", f"/containers/{id}/exec", 409, {"Cmd": ["true"]})

    async def over() -> bool:
        return await state(stage, id) == "exited"

    await until(over)
    assert (await stage.get(f"/containers/{id}/json"))["RestartCount"] == 2
    _, _, data = await stage.raw("GET", f"/containers/{id}/logs", {"stdout": 1})
    assert data.count(b"run\n") == 3


@staged_test
async def test_stopping_ends_the_restarts(stage: Stage) -> None:
    id = await stage.run("sh", "-c", "exit 1", name="loop", HostConfig={"RestartPolicy": {"Name": "always"}})
    await stage.post("/containers/loop/stop")
    assert await state(stage, id) == "exited"
    await asyncio.sleep(0.25)
    assert await state(stage, id) == "exited"
    await stage.post("/containers/loop/start")
    assert (await stage.ask("DELETE", "/containers/loop", {"force": 1}))[0] == 204
    await asyncio.sleep(0.25)
    assert await stage.get("/containers/json", all=1) == []
    running = await stage.run(*STOPS, HostConfig={"RestartPolicy": {"Name": "always"}})
    await stage.post(f"/containers/{running}/kill")
    await stage.post(f"/containers/{running}/wait", expect=200)
    await asyncio.sleep(0.25)
    assert await state(stage, running) == "exited"


@staged_test
async def test_a_new_daemon_goes_on_with_what_the_old_one_had(stage: Stage) -> None:
    policies = {"always": {"Name": "always"}, "unless": {"Name": "unless-stopped"}, "no": {"Name": "no"}}
    ids = {name: await stage.run(*STOPS, name=name, HostConfig={"RestartPolicy": policy}) for name, policy in policies.items()}
    runs = await stage.run(*STOPS, name="runs", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    gone = await stage.run(*ENDLESS, HostConfig={"AutoRemove": True})
    fails = await stage.run("sh", "-c", "sleep 0.3; exit 1", name="fails", HostConfig={"RestartPolicy": {"Name": "on-failure"}})
    for name in ("always", "unless"):
        await stage.post(f"/containers/{name}/stop")
    started = (await stage.get("/containers/runs/json"))["State"]["StartedAt"]
    await stage.close()
    stage.machine.containers[gone].signal(9)
    stage.machine.containers[ids["no"]].signal(9)
    await asyncio.sleep(0.5)
    await stage.open()
    found = await stage.get("/containers/runs/json")
    assert (found["State"]["Status"], found["State"]["StartedAt"]) == ("running", started)
    assert found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8080"

    async def settled() -> bool:
        states = {each["Id"]: each["State"] for each in await stage.get("/containers/json", all=1)}
        return (
            states.get(ids["always"]) == "running"
            and states[ids["unless"]] == states[ids["no"]] == "exited"
            and gone not in states
            and states[fails] in ("running", "restarting")
        )

    await until(settled)
    assert (await stage.get("/containers/fails/json"))["RestartCount"] >= 1
    await stage.post("/containers/runs/stop")
    assert (await stage.get(f"/containers/{runs}/json"))["State"]["ExitCode"] == 3


def test_sizes() -> None:
    assert [size_of(text) for text in ("1", "1k", "1.5m", "2GB", "1 KiB")] == [1, 1024, 3 << 19, 2 << 30, 1024]
    for text in ("", "x", "-1", "1x"):
        with pytest.raises(InvalidArgument):
            size_of(text)
