"""Docker's images over HTTP: the images are real, what unpacks their layers only checks them, containers are simulated."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from image_support import CheckingSnapshots, basic_auth, make_image, needs_registry, registry, tar_of

from cloudstead.engine.images.api import ExecConfig, HealthConfig
from cloudstead.engine.images.images import LocalImages
from cloudstead.kernel.clock import SystemClock
from docker_stage import Connection, Stage

CONFIG = ExecConfig(
    user="app",
    exposed_ports={"80/tcp": {}},
    env=("A=b",),
    entrypoint=("/bin/web",),
    cmd=("serve",),
    volumes={"/data": {}},
    working_dir="/srv",
    labels={"a": "b"},
    stop_signal="SIGINT",
    healthcheck=HealthConfig(test=("CMD", "true"), interval=1_000_000_000),
)


class Shelf(Stage):
    """A stage with images that are more than names."""

    images: LocalImages  # type: ignore[assignment]

    async def open(self) -> None:
        await super().open()
        await self.server.stop(0.1)
        await self.api.stop()
        images = LocalImages(self.path, self.store, self.clock, CheckingSnapshots())  # type: ignore[arg-type]
        await images.start()
        self.images = self.engine.images = images  # type: ignore[assignment]
        from cloudstead.engine.dockerapi.api import LIMITS, DockerApi
        from cloudstead.http.server import Server

        self.api = DockerApi(self.engine)
        await self.api.start()
        self.server = Server(self.api, limits=LIMITS)
        await self.server.listen_unix(self.path / "docker.sock")

    async def close(self) -> None:
        await super().close()
        await self.images.stop()

    async def lines(
        self, path: str, query: dict[str, Any] | None = None, body: bytes | None = None, expect: int = 200, **headers: str
    ) -> list[Any]:
        """The JSON lines that a POST answers."""
        status, _, data = await self.raw("POST", path, query, body, **headers)
        assert status == expect, data
        return [json.loads(line) for line in data.splitlines() if line.strip()]

    def told(self) -> list[tuple[str, str]]:
        return [(event.action, event.actor.attributes.get("name", "")) for event in self.api.events.since(0) if event.kind == "image"]


@contextlib.asynccontextmanager
async def shelved() -> AsyncIterator[Shelf]:
    with tempfile.TemporaryDirectory(prefix="shelf-") as folder:
        shelf = Shelf(Path(folder), SystemClock())
        await shelf.open()
        try:
            yield shelf
        finally:
            await shelf.close()


def play(story: Callable[[Shelf], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), shelved() as shelf:
            await story(shelf)

    asyncio.run(run())


def header(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def filtered(**filters: list[str]) -> str:
    return json.dumps(filters)


# ------------------------------------------------------------------------------------------------------------------ looking


def test_an_image_is_listed_and_inspected_as_docker_tells_it() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x" * 100}, {"b": b"y"}, config=CONFIG, author="me")
        row = (await s.get("/v1.41/images/json"))[0]
        assert row == {
            "Containers": -1,
            "Created": 1767323045,
            "Id": image.id,
            "Labels": {"a": "b"},
            "ParentId": "",
            "RepoDigests": row["RepoDigests"],
            "RepoTags": ["web:1"],
            "SharedSize": -1,
            "Size": image.size,
            "VirtualSize": image.size,
        }
        found = await s.get("/images/web:1/json")
        assert (found["Id"], found["Author"], found["Os"], found["Created"]) == (image.id, "me", "linux", "2026-01-02T03:04:05Z")
        assert found["RootFS"] == {"Type": "layers", "Layers": list(image.config.rootfs.diff_ids)}
        config = found["Config"]
        assert (config["User"], config["Env"], config["Cmd"], config["Entrypoint"]) == ("app", ["A=b"], ["serve"], ["/bin/web"])
        assert (config["ExposedPorts"], config["Volumes"], config["StopSignal"]) == ({"80/tcp": {}}, {"/data": {}}, "SIGINT")
        assert config["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 1_000_000_000}
        for name in (image.id, image.id[7:19], "docker.io/library/web:1"):
            assert (await s.get(f"/images/{name}/json"))["Id"] == image.id
        assert await s.message("GET", "/images/ghost/json", 404) == "No such image: ghost:latest"

    play(story)


def test_names_with_slashes_and_ports_are_found() -> None:
    async def story(s: Shelf) -> None:
        await make_image(s.images, "localhost:5000/team/web:1.0", {"a": b"x"})
        assert (await s.get("/images/localhost:5000/team/web:1.0/json"))["RepoTags"] == ["localhost:5000/team/web:1.0"]
        assert (await s.get("/v1.41/images/localhost:5000/team/web:1.0/history"))[0]["Tags"] == ["localhost:5000/team/web:1.0"]

    play(story)


def test_history_tells_each_step_the_newest_first() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x" * 100}, {"b": b"y"})
        rows = await s.get("/images/web:1/history")
        assert [(row["Id"], row["CreatedBy"], row["Tags"]) for row in rows] == [
            (image.id, "step 1", ["web:1"]),
            ("<missing>", "step 0", None),
        ]
        assert rows[0]["Created"] == 1767323045

    play(story)


def test_filters_choose_among_images() -> None:
    async def story(s: Shelf) -> None:
        base = await make_image(s.images, "base:1", {"a": b"1"}, config=ExecConfig(labels={"kind": "base"}))
        await make_image(s.images, "team/web:1", {"a": b"2"})
        await make_image(s.images, "team/web:2", {"a": b"3"}, config=ExecConfig(labels={"kind": "web"}))
        nameless = await make_image(s.images, "", {"a": b"4"})

        async def tags(**filters: list[str]) -> list[str]:
            rows = await s.get("/images/json", filters=filtered(**filters))
            return sorted(tag for row in rows for tag in row["RepoTags"])

        assert await tags(reference=["base"]) == ["base:1"]
        assert await tags(reference=["team/*"]) == ["team/web:1", "team/web:2"]
        assert await tags(reference=["*/*:2"]) == ["team/web:2"]
        assert await tags(reference=["*"]) == ["base:1"]  # a star takes no slash
        assert await tags(label=["kind"]) == ["base:1", "team/web:2"]
        assert await tags(label=["kind=web"]) == ["team/web:2"]
        assert await tags(dangling=["true"]) == ["<none>:<none>"]
        assert await tags(dangling=["false"]) == ["base:1", "team/web:1", "team/web:2"]
        assert await tags(before=[base.id]) == await tags(since=["base:1"]) == []  # all are of the same moment
        assert [row["Id"] for row in await s.get("/images/json", filter="base")] == [base.id]
        assert nameless.id in [row["Id"] for row in await s.get("/images/json")]
        assert "No such image" in await s.message("GET", "/images/json", 404, filters=filtered(before=["ghost"]))
        assert "syntax error in pattern" in await s.message("GET", "/images/json", 400, filters=filtered(reference=["[a"]))
        assert "invalid filter 'x'" in await s.message("GET", "/images/json", 400, filters=filtered(x=["y"]))

    play(story)


def test_steps_on_the_way_to_an_image_are_shown_only_when_all_are_asked_for() -> None:
    async def story(s: Shelf) -> None:
        step = await make_image(s.images, "", {"a": b"1"})
        await make_image(s.images, "web:1", {"a": b"1"}, {"b": b"2"}, parent=step.id)
        assert [row["RepoTags"] for row in await s.get("/images/json")] == [["web:1"]]
        assert len(await s.get("/images/json", all="1")) == 2
        assert (await s.get("/images/web:1/json"))["Parent"] == step.id

    play(story)


def test_shared_sizes_are_counted_when_asked_for() -> None:
    async def story(s: Shelf) -> None:
        await make_image(s.images, "one:1", {"a": b"x" * 5000}, {"b": b"1"})
        await make_image(s.images, "two:1", {"a": b"x" * 5000}, {"b": b"2"})
        rows = await s.get("/images/json", **{"shared-size": "1"})
        assert [row["SharedSize"] > 0 for row in rows] == [True, True]
        assert all(row["SharedSize"] < row["Size"] for row in rows)

    play(story)


# ------------------------------------------------------------------------------------------------------------------ names


def test_tagging_gives_another_name() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x"})
        await s.post("/images/web:1/tag", expect=201, repo="localhost:5000/web", tag="2")
        await s.post("/images/web:1/tag", expect=201, repo="again")
        await s.post(f"/images/{image.id[7:20]}/tag", expect=201, repo="cut:old", tag="new")
        assert set((await s.get("/images/web:1/json"))["RepoTags"]) == {"web:1", "localhost:5000/web:2", "again:latest", "cut:new"}
        assert await s.message("POST", "/images/ghost/tag", 404, repo="x") == "No such image: ghost:latest"
        assert "invalid reference format" in await s.message("POST", "/images/web:1/tag", 400, repo="a b")
        assert "invalid reference format" in await s.message("POST", "/images/web:1/tag", 400, repo="web", tag="!")
        assert "must be lowercase" in await s.message("POST", "/images/web:1/tag", 400, repo="team/Web")
        digest = f"web@sha256:{'0' * 64}"
        assert await s.message("POST", "/images/web:1/tag", 400, repo=digest) == "refusing to create a tag with a digest reference"
        assert ("tag", "again:latest") in s.told()

    play(story)


def test_removing_takes_the_name_and_with_the_last_one_the_image() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x"})
        await s.post("/images/web:1/tag", expect=201, repo="web", tag="2")
        assert await s.ask("DELETE", "/images/web:2") == (200, [{"Untagged": "web:2"}])
        status, answer = await s.ask("DELETE", "/images/web:1")
        assert (status, {"Untagged": "web:1"} in answer, {"Deleted": image.id} in answer) == (200, True, True)
        assert await s.message("DELETE", "/images/web:1", 404) == "No such image: web:1"
        assert {"untag", "delete"} <= {action for action, _ in s.told()}

    play(story)


def test_an_image_that_a_container_needs_stays() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x"})
        id = await s.create("sleep", "1000", Image="web:1")
        short = image.id[7:19]
        assert await s.message("DELETE", "/images/web:1", 409) == (
            f'conflict: unable to remove repository reference "web:1" (must force) - container {id[:12]} is using its referenced image {short}'
        )
        await s.post(f"/containers/{id}/start")
        assert await s.message("DELETE", f"/images/{short}", 409, force="1") == (
            f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container {id[:12]}"
        )
        assert (await s.post("/images/prune", expect=200, filters=filtered(dangling=["false"])))["ImagesDeleted"] is None
        assert (await s.ask("DELETE", f"/containers/{id}", {"force": "1"}))[0] == 204
        assert (await s.ask("DELETE", "/images/web:1"))[0] == 200

    play(story)


def test_pruning_takes_what_has_no_name_or_what_nobody_needs() -> None:
    async def story(s: Shelf) -> None:
        await make_image(s.images, "web:1", {"a": b"1"})
        await make_image(s.images, "kept:1", {"a": b"2"}, config=ExecConfig(labels={"keep": ""}))
        nameless = await make_image(s.images, "", {"a": b"3"})
        first = await s.post("/images/prune", expect=200)
        assert {"Deleted": nameless.id} in first["ImagesDeleted"]
        assert first["SpaceReclaimed"] > 0
        assert [row["RepoTags"] for row in await s.get("/images/json")] != []
        await s.post("/images/prune", expect=200, filters=filtered(dangling=["0"], **{"label!": ["keep"]}))
        assert [row["RepoTags"] for row in await s.get("/images/json")] == [["kept:1"]]

    play(story)


# ------------------------------------------------------------------------------------------------------------------ files


def test_a_root_file_system_is_imported_with_changes() -> None:
    async def story(s: Shelf) -> None:
        changes = ['CMD ["/bin/web"]', 'ENV A=b C="d e"', "EXPOSE 80", "LABEL x=y", "WORKDIR /srv", "USER 7", "VOLUME /data"]
        query = [("fromSrc", "-"), ("repo", "made"), ("tag", "1"), ("message", "by hand"), *(("changes", change) for change in changes)]
        lines = await s.lines("/images/create", query, tar_of({"bin/web": b"x"}))  # type: ignore[arg-type]
        image = await s.get("/images/made:1/json")
        assert lines == [{"status": image["Id"]}]
        config = image["Config"]
        assert (config["Cmd"], config["Env"], config["ExposedPorts"]) == (["/bin/web"], ["A=b", "C=d e"], {"80/tcp": {}})
        assert (config["Labels"], config["WorkingDir"], config["User"], config["Volumes"]) == ({"x": "y"}, "/srv", "7", {"/data": {}})
        assert (await s.get("/images/made:1/history"))[0]["Comment"] == "by hand"
        assert await s.message("POST", "/images/create", 400, fromSrc="-", changes="RUN true") == "RUN is not a valid change command"
        assert "fetching it from an address" in await s.message("POST", "/images/create", 501, fromSrc="http://example.org/x.tar")
        assert "neither fromImage nor fromSrc" in await s.message("POST", "/images/create", 400)

    play(story)


def test_images_are_saved_and_loaded_again() -> None:
    async def story(s: Shelf) -> None:
        image = await make_image(s.images, "web:1", {"a": b"x" * 300_000}, {"b": b"y"})
        other = await make_image(s.images, "other:1", {"c": b"z"})
        status, headers, archive = await s.raw("GET", "/images/get", [("names", "web:1"), ("names", other.id)])  # type: ignore[arg-type]
        assert (status, headers["content-type"]) == (200, "application/x-tar")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())
        for name in ("web:1", "other:1"):
            assert (await s.ask("DELETE", f"/images/{name}"))[0] == 200
        lines = await s.lines("/images/load", {"quiet": "1"}, archive)
        assert {line["stream"] for line in lines} == {"Loaded image: web:1\n", f"Loaded image ID: {other.id}\n"}
        assert (await s.get("/images/web:1/json"))["Id"] == image.id
        lines = await s.lines("/images/load", {"quiet": "0"}, archive)
        assert lines[-1]["stream"].startswith("Loaded image")
        one = (await s.raw("GET", "/images/web:1/get"))[2]
        assert (await s.lines("/images/load", None, one)) == [{"stream": "Loaded image: web:1\n"}]

    play(story)


def test_saving_what_is_not_there_is_an_error_and_no_broken_tar() -> None:
    async def story(s: Shelf) -> None:
        assert await s.message("GET", "/images/ghost/get", 404) == "No such image: ghost:latest"
        assert await s.message("GET", "/images/get", 404, names="ghost:1") == "No such image: ghost:1"
        assert await s.message("GET", "/images/get", 400) == "no images are named"

    play(story)


@pytest.mark.parametrize("body", [b"", b"no tar at all", tar_of({"manifest.json": b"[{}]"}), tar_of({"manifest.json": b"nonsense"})])
def test_what_is_no_archive_of_images_is_refused(body: bytes) -> None:
    async def story(s: Shelf) -> None:
        status, _, data = await s.raw("POST", "/images/load", None, body)
        answer = json.loads(data.splitlines()[-1])
        assert status >= 400 or "errorDetail" in answer, answer
        assert "bug" not in str(answer)
        assert "inside Cloudstead" not in str(answer)
        assert await s.get("/images/json") == []

    play(story)


def test_a_client_that_leaves_in_the_middle_leaves_nothing() -> None:
    async def story(s: Shelf) -> None:
        await make_image(s.images, "web:1", {"a": b"x" * 3_000_000}, compress=False)
        archive = (await s.raw("GET", "/images/web:1/get"))[2]
        await s.ask("DELETE", "/images/web:1")
        client = await Connection.open(s.path / "docker.sock")
        client.send(
            f"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n".encode() + archive[: len(archive) // 2]
        )
        await asyncio.sleep(0.05)
        await client.close()
        for _ in range(200):
            if not s.server.connections and not s.server._leaving:
                break
            await asyncio.sleep(0.01)
        assert not s.server.connections
        assert await s.get("/images/json") == []
        left = [path for name in ("uploads", "trash") for path in (s.path / "blobs" / name).iterdir()]
        assert left == []

    play(story)


# ------------------------------------------------------------------------------------------------------------------ registries


@needs_registry
def test_an_image_is_pushed_and_pulled_with_what_the_client_shows(tmp_path: Path) -> None:
    async def story(s: Shelf, address: str) -> None:
        await make_image(s.images, f"{address}/team/web:1", {"a": b"x" * 100_000}, {"b": b"y"})
        name = f"{address}/team/web"
        lines = await s.lines(f"/images/{name}/push", {"tag": "1"})
        assert lines[0] == {"status": f"The push refers to repository [{name}]"}
        aux = lines[-1]["aux"]
        assert (aux["Tag"], aux["Digest"][:7], aux["Size"] > 0) == ("1", "sha256:", True)
        assert lines[-2] == {"status": f"1: digest: {aux['Digest']} size: {aux['Size']}"}

        remote = await s.get(f"/distribution/{name}:1/json")
        assert remote["Descriptor"]["digest"] == aux["Digest"]
        assert remote["Platforms"] == [{"architecture": "amd64", "os": "linux"}]

        await s.ask("DELETE", f"/images/{name}:1")
        assert await s.get("/images/json") == []
        lines = await s.lines("/images/create", {"fromImage": name, "tag": "1"})
        assert lines[0] == {"status": "Pulling from team/web", "progressDetail": {}, "id": "1"}
        assert lines[-2:] == [{"status": f"Digest: {aux['Digest']}"}, {"status": f"Status: Downloaded newer image for {name}:1"}]
        assert {"Pulling fs layer", "Download complete", "Pull complete"} <= {line["status"] for line in lines}
        row = (await s.get("/images/json"))[0]
        assert (row["RepoTags"], row["RepoDigests"]) == ([f"{name}:1"], [f"{name}@{aux['Digest']}"])
        lines = await s.lines("/images/create", {"fromImage": name, "tag": aux["Digest"]})
        assert lines[-1]["status"] == f"Status: Image is up to date for {name}@{aux['Digest']}"
        actions = {action for action, _ in s.told()}
        assert {"push", "pull"} <= actions

        # without a tag, all that there are of the repository
        await s.post(f"/images/{name}:1/tag", expect=201, repo=name, tag="2")
        lines = await s.lines(f"/images/{name}/push")
        assert [line["aux"]["Tag"] for line in lines if "aux" in line] == ["1", "2"]

    with registry(tmp_path) as address:
        play(lambda s: story(s, address))


@needs_registry
def test_what_cannot_be_pulled_or_pushed_says_so_with_its_status(tmp_path: Path) -> None:
    async def story(s: Shelf, address: str) -> None:
        assert "not found" in await s.message("POST", "/images/create", 404, fromImage=f"{address}/ghost", tag="1")
        assert f"repository {address}/ghost not found" in await s.message("POST", "/images/create", 404, fromImage=f"{address}/ghost")
        assert "invalid reference format" in await s.message("POST", "/images/create", 400, fromImage="a//b", tag="1")
        assert "platform" in await s.message("POST", "/images/create", 400, fromImage="a", tag="1", platform="a/b/c/d")
        message = await s.message("POST", f"/images/{address}/ghost/push", 404, tag="1")
        assert message == f"An image does not exist locally with the tag: {address}/ghost"
        assert "not found" in await s.message("GET", f"/distribution/{address}/ghost:1/json", 404)
        assert "index" in await s.message("GET", "/images/search", 501, term="x")

    with registry(tmp_path) as address:
        play(lambda s: story(s, address))


@needs_registry
def test_a_registry_with_passwords_is_logged_in_to(tmp_path: Path) -> None:
    async def story(s: Shelf, address: str) -> None:
        good = {"username": "me", "password": "secret", "serveraddress": address}
        assert await s.post("/auth", good, 200) == {"IdentityToken": "", "Status": "Login Succeeded"}
        assert await s.message("POST", "/auth", 401, {**good, "password": "wrong"})
        await make_image(s.images, f"{address}/web:1", {"a": b"x"})
        refused = await s.raw("POST", f"/images/{address}/web/push", {"tag": "1"})
        assert b"errorDetail" in refused[2]
        assert refused[0] == 200
        lines = await s.lines(f"/images/{address}/web/push", {"tag": "1"}, None, 200, **{"X-Registry-Auth": header(good)})
        assert "aux" in lines[-1]
        encoded = {"auth": base64.b64encode(b"me:secret").decode(), "serveraddress": address}
        await s.ask("DELETE", f"/images/{address}/web:1")
        query = {"fromImage": f"{address}/web", "tag": "1"}
        assert (await s.raw("POST", "/images/create", query))[0] in (401, 404, 500)
        lines = await s.lines("/images/create", query, None, 200, **{"X-Registry-Auth": header(encoded)})
        assert lines[-1]["status"].startswith("Status: Downloaded newer image")
        assert (
            "X-Registry-Auth"
            in json.loads((await s.raw("POST", "/images/create", query, None, **{"X-Registry-Auth": "!!!"}))[2])["message"]
        )

    auth = basic_auth(tmp_path / "auth", "me", "secret")
    with registry(tmp_path / "registry", auth=auth) as address:
        play(lambda s: story(s, address))


# ------------------------------------------------------------------------------------------------------------------ room


def test_disk_usage_counts_everything() -> None:
    async def story(s: Shelf) -> None:
        await make_image(s.images, "web:1", {"a": b"x" * 9000})
        id = await s.create("true", Image="web:1", HostConfig={"Binds": ["data:/data"]})
        told = await s.get("/v1.41/system/df")
        assert told["LayersSize"] > 9000
        image = told["Images"][0]
        assert (image["RepoTags"], image["Containers"], image["SharedSize"]) == (["web:1"], 1, 0)
        container = told["Containers"][0]
        assert (container["Id"], container["SizeRw"], container["SizeRootFs"]) == (id, 42, 42 + image["Size"])
        assert told["Volumes"][0]["UsageData"] == {"RefCount": 1, "Size": -1}
        assert told["BuildCache"] == []
        assert await s.get("/system/df", type="volume") == {**told, "LayersSize": 0, "Images": [], "Containers": []}
        assert await s.message("GET", "/system/df", 400, type="x") == "unknown object type: x"

    play(story)
