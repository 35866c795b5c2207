"""Docker's volumes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from docker_stage import Stage, staged


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with staged() as stage:
            await story(stage)

    asyncio.run(run())


def test_a_volume_is_told_as_docker_tells_it() -> None:
    async def story(s: Stage) -> None:
        made = await s.post("/v1.41/volumes/create", {"Name": "data", "Driver": "local", "Labels": {"a": "b"}, "DriverOpts": {}}, 201)
        assert made.pop("CreatedAt").endswith("Z")
        assert made == {"Driver": "local", "Labels": {"a": "b"}, "Mountpoint": "", "Name": "data", "Options": None, "Scope": "local"}
        assert (await s.get("/volumes/data"))["Name"] == "data"
        listed = await s.get("/volumes")
        assert [row["Name"] for row in listed["Volumes"]] == ["data"]
        assert await s.ask("DELETE", "/volumes/data") == (204, None)
        assert await s.message("GET", "/volumes/data", 404) == "get data: no such volume"

    play(story)


def test_a_volume_without_a_name_gets_one_and_is_marked_as_anonymous() -> None:
    async def story(s: Stage) -> None:
        made = await s.post("/volumes/create", {}, 201)
        assert len(made["Name"]) == 64
        assert made["Labels"] == {"com.docker.volume.anonymous": ""}

    play(story)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": "a", "Driver": "local"}, 400, "volume name is too short"),
        ({"Name": "../x"}, 400, "includes invalid characters"),
        ({"Name": "xy", "Driver": "nfs"}, 404, 'plugin "nfs" not found'),
        ({"Name": "xy", "DriverOpts": {"size": "1g"}}, 400, 'invalid option: "size"'),
        ({"Name": "xy", "ClusterVolumeSpec": {"Group": "g"}}, 400, "ClusterVolumeSpec is not supported"),
        ({"Name": 3}, 400, "invalid JSON"),
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, object], status: int, message: str) -> None:
    async def story(s: Stage) -> None:
        assert message in await s.message("POST", "/volumes/create", status, body)
        assert (await s.get("/volumes"))["Volumes"] == []

    play(story)


def test_filters_choose_by_name_label_driver_and_use() -> None:
    async def story(s: Stage) -> None:
        await s.post("/volumes/create", {"Name": "one", "Labels": {"kind": "x"}}, 201)
        await s.post("/volumes/create", {"Name": "two", "Labels": {"kind": "y"}}, 201)
        await s.create("true", HostConfig={"Binds": ["two:/data"]})

        async def names(filters: str) -> list[str]:
            return [row["Name"] for row in (await s.get("/volumes", filters=filters))["Volumes"]]

        assert await names('{"name":{"on":true}}') == ["one"]
        assert await names('{"label":["kind=y"]}') == ["two"]
        assert await names('{"dangling":["true"]}') == ["one"]
        assert await names('{"dangling":["0"]}') == ["two"]
        assert await names('{"driver":["nfs"]}') == []
        assert "invalid filter 'colour'" in await s.message("GET", "/volumes", 400, filters='{"colour":["red"]}')

    play(story)


def test_a_volume_that_a_container_mounts_cannot_be_removed_until_that_is_gone() -> None:
    async def story(s: Stage) -> None:
        id = await s.create("true", HostConfig={"Binds": ["data:/data"]})
        assert await s.message("DELETE", "/volumes/data", 409) == f"remove data: volume is in use - [{id}]"
        assert await s.message("DELETE", "/volumes/data", 409, force="1")
        assert (await s.ask("DELETE", f"/containers/{id}"))[0] == 204
        assert (await s.ask("DELETE", "/volumes/data"))[0] == 204
        assert (await s.ask("DELETE", "/volumes/data"))[0] == 404
        assert (await s.ask("DELETE", "/volumes/data", {"force": "1"}))[0] == 204

    play(story)


def test_pruning_takes_what_no_container_has() -> None:
    """API 1.41, as Docker before 23: named ones too."""

    async def story(s: Stage) -> None:
        await s.post("/volumes/create", {"Name": "used"}, 201)
        await s.create("true", HostConfig={"Binds": ["used:/data"]})
        await s.post("/volumes/create", {"Name": "kept", "Labels": {"keep": ""}}, 201)
        await s.post("/volumes/create", {"Name": "gone"}, 201)
        assert await s.post("/v1.41/volumes/prune", expect=200, filters='{"label!":["keep"]}') == {
            "VolumesDeleted": ["gone"],
            "SpaceReclaimed": 0,
        }
        assert "invalid filter 'all'" in await s.message("POST", "/v1.41/volumes/prune", 400, filters='{"all":["1"]}')
        assert (await s.post("/volumes/prune", expect=200))["VolumesDeleted"] == ["kept"]
        assert (await s.post("/volumes/prune", expect=200))["VolumesDeleted"] is None

    play(story)


def test_what_happens_to_volumes_is_told_as_events() -> None:
    async def story(s: Stage) -> None:
        began = s.clock.time()
        await s.post("/volumes/create", {"Name": "data"}, 201)
        await s.post("/volumes/create", {"Name": "data"}, 201)
        await s.ask("DELETE", "/volumes/data")
        told = [(event.action, event.actor.id) for event in s.api.events.since(began) if event.kind == "volume"]
        assert told == [("create", "data"), ("destroy", "data")]

    play(story)
