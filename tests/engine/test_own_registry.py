"""Our engine and our own registries: one content store, so nothing is sent, while who may what is asked as ever."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from image_support import Told, make_image, run
from registry_rooms import OWN, PASSWORD, REGISTRY, Both, both, rules

from cloudstead.edge.own_registries import OwnNames
from cloudstead.engine.errors import EngineError, NotFound, Unauthorized
from cloudstead.engine.images import content, own
from cloudstead.engine.images.api import Credentials, Descriptor
from cloudstead.engine.registry.model import Repository
from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse

AWS = Credentials("AWS", PASSWORD)
PLACE = Repository(REGISTRY, "app")
NAME = f"{OWN}/app:1"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No blob is streamed, and none but manifests and configurations is written or read."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("bytes were moved")

    monkeypatch.setattr(content.ContentStore, "open_ingest", refuse)
    monkeypatch.setattr(own.StoredBlob, "next", refuse)
    monkeypatch.setattr(own.OwnResponse, "_next", _only_small(own.OwnResponse._next))


def _only_small(read):  # type: ignore[no-untyped-def]
    async def read_small(self: own.OwnResponse) -> bytes:
        assert not isinstance(self._body, FileRegion), "a blob was read"
        piece: bytes = await read(self)
        return piece

    return read_small


async def pushed(here: Both, *layers: dict[str, bytes]) -> Descriptor:
    await make_image(here.shop.images, NAME, *(layers or ({"a": b"1"}, {"b": os.urandom(9 << 20)})))
    return await here.shop.images.push(NAME, credentials=AWS)


def test_a_push_to_our_own_registry_moves_no_byte(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            made = await make_image(here.shop.images, NAME, {"a": b"1"}, {"b": os.urandom(9 << 20)})
            request.getfixturevalue("nothing_is_read")
            before, told = here.files(), Told()
            descriptor = await here.shop.images.push(NAME, credentials=AWS, tell=told)
            assert here.files() == before
            assert descriptor == made.manifest
            assert told.statuses() == [
                f"The push refers to repository [{OWN}/app]",
                "Preparing",
                "Pushed",
                f"1: digest: {descriptor.digest} size: {descriptor.size}",
            ]
            image = here.catalog.resolve(PLACE, "1")
            assert image is not None
            assert (image.digest, image.layers) == (made.manifest.digest, made.layers)
            again = Told()
            await here.shop.images.push(NAME, credentials=AWS, tell=again)
            assert "Layer already exists" in again.statuses()
            assert "Pushed" not in again.statuses()

    run(story())


def test_a_pull_from_our_own_registry_moves_no_byte(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            descriptor = await pushed(here)
            removal = await here.shop.images.remove(NAME)
            assert len(removal.deleted) == 3, "the image and the snapshots of its layers"
            request.getfixturevalue("nothing_is_read")
            before, told = here.files(), Told()
            image = await here.shop.images.pull(NAME, credentials=AWS, tell=told)
            assert here.files() == before
            assert image.manifest == descriptor
            assert image.digests == (f"{OWN}/app@{descriptor.digest}",)
            assert "Downloading" not in told.statuses()
            assert told.statuses()[-1] == f"Status: Downloaded newer image for {NAME}"
            assert len(await here.shop.images.layers_of(image.id)) == 2

    run(story())


def test_our_own_registry_asks_for_its_password_as_it_would_by_a_connection(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await here.shop.images.check_credentials(OWN, AWS)
            await here.shop.images.check_credentials(f"http://{OWN}/v2/", AWS)
            for wrong in (Credentials("AWS", "wrong"), Credentials("root", PASSWORD), Credentials()):
                with pytest.raises(Unauthorized, match=f"login attempt to {OWN} failed: unauthorized: authentication required"):
                    await here.shop.images.check_credentials(OWN, wrong)
            await pushed(here)
            images, before = here.shop.images, here.files()
            for refused in (Credentials("AWS", "wrong"), None):
                with pytest.raises(NotFound, match="pull access denied for localhost:4566/app, repository does not exist or may require"):
                    await images.pull(NAME, credentials=refused)
                with pytest.raises(NotFound, match="pull access denied"):
                    await images.remote_tags(f"{OWN}/app", credentials=refused)
                images.tag(NAME, f"{OWN}/app:2")
                with pytest.raises(Unauthorized):
                    await images.push(f"{OWN}/app:2", credentials=refused)
            assert here.catalog.tags_of(PLACE) == ["1"]
            assert here.files() == before
            assert await images.remote_tags(f"{OWN}/app", credentials=AWS) == ("1",)
            target, platforms = await images.inspect_remote(NAME, credentials=AWS)
            assert target.digest == images.resolve(NAME).manifest.digest
            assert [each.os for each in platforms] == ["linux"]

    run(story())


@pytest.mark.parametrize("doing", ["upload-start", "upload-complete", "manifest-put"])
def test_who_may_not_push_leaves_nothing(tmp_path: Path, doing: str) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await make_image(here.shop.images, NAME, {"a": b"1"})
            here.gate.denied = {doing}  # type: ignore[assignment]
            with pytest.raises(Unauthorized, match=f"not authorized to perform: {doing}"):
                await here.shop.images.push(NAME, credentials=AWS)
            assert here.catalog.count(PLACE) == 0
            assert doing == "manifest-put" or not any(here.catalog.blob(PLACE, digest) for digest in here.files())

    run(story())


def test_who_may_have_the_manifest_but_no_layers_pulls_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await pushed(here)
            await here.shop.images.remove(NAME)
            here.gate.denied = {"blob-get"}
            with pytest.raises(NotFound, match=r"pull access denied for localhost:4566/app, .*not authorized to perform: blob-get"):
                await here.shop.images.pull(NAME, credentials=AWS)
            assert here.shop.images.all() == []

    run(story())


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            name = f"{OWN}/ghost:1"
            await make_image(here.shop.images, name, {"a": b"1"})
            with pytest.raises(EngineError, match="name unknown: The repository with name 'ghost' does not exist"):
                await here.shop.images.push(name, credentials=AWS)
            with pytest.raises(NotFound, match="repository localhost:4566/ghost not found: name unknown: "):
                await here.shop.images.pull(name, credentials=AWS)
            with pytest.raises(NotFound, match="manifest for localhost:4566/app:nine not found"):
                await here.shop.images.pull(f"{OWN}/app:nine", credentials=AWS)

    run(story())


# -------------------------------------------------------------------------------------------------------------- deleting


def test_what_the_registry_deletes_stays_for_the_engine(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await pushed(here)
            image = here.catalog.resolve(PLACE, "1")
            assert image is not None
            before = here.files()
            assert await here.catalog.delete(rules("app"), [image]) == 0
            here.age()
            await here.catalog.sweep()
            await here.shop.images.collect()
            assert here.files() == before
            assert len(await here.shop.images.layers_of(here.shop.images.resolve(NAME).id)) == 2
            with pytest.raises(NotFound):
                await here.shop.images.pull(NAME, credentials=AWS)
            await here.shop.images.push(NAME, credentials=AWS)
            assert here.catalog.tags_of(PLACE) == ["1"]

    run(story())


def test_what_the_engine_deletes_stays_for_the_registry(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await pushed(here)
            before = here.files()
            await here.shop.images.remove(NAME)
            here.age()
            await here.shop.images.collect()
            assert here.files() == before
            image = here.catalog.resolve(PLACE, "1")
            assert image is not None
            await here.catalog.manifest(image)
            await here.catalog.delete_repository(PLACE, rules("app"))
            assert here.files() == {}, "the last who needed them has gone"

    run(story())


def test_what_both_delete_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await pushed(here)
            await here.catalog.delete_repository(PLACE, rules("app"))
            removal = await here.shop.images.remove(NAME)
            assert here.files() == {}
            assert removal.reclaimed > 9 << 20

    run(story())


def test_a_layer_that_two_repositories_have_stays_until_both_have_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await pushed(here)
            here.shop.images.tag(NAME, f"{OWN}/other:1")
            await here.shop.images.push(f"{OWN}/other:1", credentials=AWS)
            for name in (NAME, f"{OWN}/other:1"):
                await here.shop.images.remove(name)
            before = here.files()
            await here.catalog.delete_repository(PLACE, rules("app"))
            assert here.files() == before
            await here.catalog.delete_repository(Repository(REGISTRY, "other"), rules("other"))
            assert here.files() == {}

    run(story())


# ---------------------------------------------------------------------------------------------------------------- indexes


async def multi(here: Both, *architectures: str) -> Descriptor:
    """An index over images for several architectures, in the registry under "app:multi"; the engine keeps none of them."""
    children = []
    for architecture in architectures:
        name = f"{OWN}/app:{architecture}"
        made = await make_image(here.shop.images, name, {"arch": architecture.encode()}, architecture=architecture)
        await here.shop.images.push(name, credentials=AWS)
        await here.shop.images.remove(name)
        platform = {"os": "linux", "architecture": architecture}
        children.append(
            {"mediaType": made.manifest.media_type, "digest": made.manifest.digest, "size": made.manifest.size, "platform": platform}
        )
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
    put = await here.catalog.put(rules("app"), data, INDEX, tag="multi")
    return Descriptor(INDEX, put.image.digest, len(data))


def test_an_index_is_pushed_with_all_its_platforms_when_they_are_here(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            index = await multi(here, "amd64", "arm64", "s390x")
            await here.shop.images.pull(f"{OWN}/app:multi", credentials=AWS)
            here.shop.images.tag(f"{OWN}/app:multi", f"{OWN}/other:all")
            before, told = here.files(), Told()
            assert await here.shop.images.push(f"{OWN}/other:all", credentials=AWS, tell=told) == index
            assert here.files() == before
            assert told[-1].status == f"all: digest: {index.digest} size: {index.size}"
            other = Repository(REGISTRY, "other")
            found = here.catalog.resolve(other, "all")
            assert found is not None
            assert found.digest == index.digest
            assert here.catalog.count(other) == 4
            assert here.shop.images.resolve(f"{OWN}/other:all").digests == (
                f"{OWN}/app@{index.digest}",
                f"{OWN}/other@{index.digest}",
            )

    run(story())


def test_of_an_index_that_is_here_in_part_the_image_alone_is_pushed(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await multi(here, "amd64", "arm64")
            image = await here.shop.images.pull(f"{OWN}/app:multi", credentials=AWS)
            here.shop.images.tag(f"{OWN}/app:multi", f"{OWN}/other:part")
            await here.catalog.delete_repository(PLACE, rules("app"))
            assert await here.shop.images.push(f"{OWN}/other:part", credentials=AWS) == image.manifest
            found = here.catalog.resolve(Repository(REGISTRY, "other"), "part")
            assert found is not None
            assert found.digest == image.manifest.digest

    run(story())


# ------------------------------------------------------------------------------------------------------------------ names


async def nobody(request: HttpRequest) -> HttpResponse:
    raise AssertionError


@pytest.mark.parametrize(
    ("domain", "ours"),
    [
        ("localhost:4566", True),
        ("127.0.0.1:4566", True),
        ("127.8.8.8:4566", True),
        ("[::1]:4566", True),
        ("000000000000.dkr.ecr.us-east-1.localhost:4566", True),
        ("public.ecr.localhost:4566", True),
        ("111111111111.dkr.ecr.eu-west-1.cloud.test:4566", True),
        ("cloud.test:4566", True),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com", True),
        ("000000000000.dkr.ecr-fips.us-east-1.amazonaws.com:443", True),
        ("000000000000.dkr-ecr.us-east-1.on.aws", True),
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("999999999999.dkr.ecr.us-east-1.amazonaws.com", False),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com:4567", False),
        ("public.ecr.aws", False),
        ("docker.io", False),
        ("localhost:5000", False),
        ("localhost", False),
        ("10.0.0.1:4566", False),
        ("other.test:4566", False),
        ("localhost.test:4566", False),
    ],
)
def test_which_names_mean_this_process(domain: str, ours: bool) -> None:
    names = OwnNames(nobody, lambda account, region: (account, region) == ("000000000000", "us-east-1"), "cloud.test", secure=False)
    names.port = 4566
    assert names.serves(domain) is ours


def test_before_it_listens_no_port_is_its_own() -> None:
    names = OwnNames(nobody, lambda account, region: False, "127.0.0.1", secure=False)
    assert not names.serves("localhost")
    assert not names.serves("localhost:4566")
    names.port = 80
    assert names.serves("localhost")
    assert not names.serves("not a name:1")
