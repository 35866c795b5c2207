"""What a registry has: rows and files agree, whatever is pushed, deleted, swept, refused by the disk or interrupted, in whichever order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from image_support import make_image, run
from registry_rooms import OWN, REGISTRY, Both, both, rules

from cloudstead.engine.errors import EngineError
from cloudstead.engine.images.api import Credentials
from cloudstead.engine.registry import catalog
from cloudstead.engine.registry.errors import BlobUnknown, ImageReferenced, ManifestBlobUnknown
from cloudstead.engine.registry.model import BLOBS, IMAGES, TAGS, Repository
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.store.backend import Batch
from cloudstead.kernel.store.failures import WriteFailed

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLACE = Repository(REGISTRY, "app")
AWS = "Basic QVdTOnJpZ2h0"  # AWS:right


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(data: bytes, media_type: str = "application/octet-stream") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def manifest_of(config: bytes, *layers: bytes) -> bytes:
    told = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(config), "layers": [describe(layer) for layer in layers]}
    return json.dumps(told).encode()


async def upload(here: Both, *blobs: bytes, repository: str = "app") -> None:
    for data in blobs:
        await here.own.api.uploads.whole(Repository(REGISTRY, repository), digest_of(data), data)


async def push(here: Both, tag: str, config: bytes, *layers: bytes, repository: str = "app") -> str:
    await upload(here, config, *layers, repository=repository)
    put = await here.catalog.put(rules(repository), manifest_of(config, *layers), MANIFEST, tag=tag)
    await here.shop.store.settled()
    return put.image.digest


def needed(here: Both) -> set[str]:
    store = here.shop.store
    return {row.digest for row in store.table(BLOBS).scan()} | {row.digest for row in store.table(IMAGES).scan()}


def agree(here: Both) -> None:
    """No row speaks of what is not there."""
    store = here.shop.store
    missing = needed(here) - set(here.files())
    assert not missing, f"rows speak of {missing}"
    for image in store.table(IMAGES).scan():
        for blob in image.blobs:
            assert here.catalog.blob(image.place, blob.digest) is not None
        for child in image.children:
            assert here.catalog.image(image.place, child.digest) is not None
    for tag in store.table(TAGS).scan():
        assert here.catalog.image(Repository(tag.registry, tag.repository), tag.digest) is not None


# ------------------------------------------------------------------------------------------------------- the disk refuses


class Disk:
    """Stands before the store's backend; refuses, or holds, what is written."""

    def __init__(self, here: Both) -> None:
        self._backend = here.shop.store._backend
        self._write = self._backend.write
        self.refuses = False
        self._backend.write = self._guarded  # type: ignore[method-assign]

    def _guarded(self, batch: Batch) -> None:
        if self.refuses:
            raise WriteFailed("no space left on device", transient=False)
        self._write(batch)


async def ask(here: Both, method: str, path: str, body: bytes = b"", **headers: str) -> HttpResponse:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await here.own.answer(HttpRequest.of(method, path, [("Host", OWN), ("Authorization", AWS), *named], body))


def test_nobody_is_told_of_what_the_disk_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await push(here, "1", b"config", b"layer")
            disk = Disk(here)
            disk.refuses = True
            blob = b"blob"
            whole = f"/v2/app/blobs/uploads/?digest={digest_of(blob)}"
            refused = [
                await ask(here, "POST", whole, blob),
                await ask(here, "PUT", "/v2/app/manifests/2", manifest_of(b"config", b"layer"), Content_Type=MANIFEST),
                await ask(here, "DELETE", f"/v2/app/manifests/{digest_of(manifest_of(b'config', b'layer'))}"),
            ]
            assert [answer.status for answer in refused] == [503, 503, 503]
            assert here.catalog.tags_of(PLACE) == ["1"]
            assert here.catalog.blob(PLACE, digest_of(blob)) is None
            agree(here)
            disk.refuses = False
            assert (await ask(here, "POST", whole, blob)).status == 201
            agree(here)

    run(story())


def test_what_the_disk_did_not_let_go_of_stays_in_the_content_store(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            digest = await push(here, "1", b"config", b"layer")
            before, disk = here.files(), Disk(here)
            disk.refuses = True
            image = here.catalog.image(PLACE, digest)
            assert image is not None
            with pytest.raises(Unavailable):
                await here.catalog.delete(rules("app"), [image])
            with pytest.raises(Unavailable):
                await here.catalog.delete_repository(PLACE, rules("app"))
            assert here.files() == before
            assert here.catalog.tags_of(PLACE) == ["1"]
            disk.refuses = False
            await here.catalog.delete_repository(PLACE, rules("app"))
            assert here.files() == {}

    run(story())


def test_a_blob_stays_until_the_deletion_of_its_rows_is_on_the_disk(tmp_path: Path) -> None:
    """A crash in between would bring back rows of what is not there any more."""

    async def story() -> None:
        async with both(tmp_path / "a") as here:
            digest = await push(here, "1", b"config", b"layer")
            image = await make_image(here.shop.images, "mine:1", {"a": b"1"})
            here.age()
            store, before = here.shop.store, here.files()
            held: list[Any] = []
            write = store._writer.write
            store._writer.write = lambda *arguments: held.append(arguments)  # type: ignore[method-assign]
            row = here.catalog.image(PLACE, digest)
            assert row is not None
            going = [
                asyncio.create_task(here.catalog.delete(rules("app"), [row])),
                asyncio.create_task(here.shop.images.remove("mine:1")),
            ]
            await asyncio.sleep(0.01)
            assert here.catalog.image(PLACE, digest) is None
            sweeping = asyncio.create_task(here.shop.images.sweep())
            assert await here.shop.images.release([*before]) == 0
            await asyncio.sleep(0.05)
            assert here.files() == before
            assert image.id in before
            store._writer.write = write  # type: ignore[method-assign]
            for arguments in held:
                write(*arguments)
            await asyncio.gather(*going, sweeping)
            assert here.files() == {}

    run(story())


def test_whoever_deletes_may_go_away_before_it_is_on_the_disk(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            digest = await push(here, "1", b"config", b"layer")
            row = here.catalog.image(PLACE, digest)
            assert row is not None
            deleting = asyncio.create_task(here.catalog.delete(rules("app"), [row]))
            await asyncio.sleep(0)
            deleting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await deleting
            await here.shop.store.settled()
            await asyncio.sleep(0.01)
            here.age()
            await here.shop.images.collect()
            assert here.files() == {}

    run(story())


# ---------------------------------------------------------------------------------------------------------------- at once


def test_a_blob_that_is_not_there_is_not_linked(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            with pytest.raises(BlobUnknown):
                await here.catalog.link(PLACE, (digest_of(b"nowhere"), 7))
            assert here.catalog.blob(PLACE, digest_of(b"nowhere")) is None

    run(story())


def test_what_is_being_linked_is_not_collected(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            digest = await here.shop.images.content.put(b"layer")
            here.age()
            linking = asyncio.create_task(here.catalog.link(PLACE, (digest, 5)))
            await asyncio.sleep(0)
            await asyncio.gather(linking, here.shop.images.sweep(), here.shop.images.release([digest]))
            agree(here)
            assert here.catalog.blob(PLACE, digest) is not None

    run(story())


def test_an_image_and_its_deletion_at_once_leave_all_or_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            for number in range(30):
                config, layer = f"config {number}".encode(), f"layer {number}".encode()
                digest = await push(here, "old", config, layer)
                row = here.catalog.image(PLACE, digest)
                assert row is not None
                again = asyncio.create_task(here.catalog.put(rules("app"), manifest_of(config, layer), MANIFEST, tag="new"))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                await here.catalog.delete(rules("app"), [row])
                try:
                    await again
                except ManifestBlobUnknown:
                    assert here.catalog.image(PLACE, digest) is None
                agree(here)

    run(story())


def test_a_blob_that_an_image_needs_is_not_deleted_by_its_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            await push(here, "1", b"config", b"layer")
            row = here.catalog.blob(PLACE, digest_of(b"layer"))
            assert row is not None
            with pytest.raises(ImageReferenced):
                await here.catalog.delete_blob(row)
            agree(here)

    run(story())


def test_a_pull_of_what_is_deleted_meanwhile_does_not_bring_it_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path / "a") as here:
            digest = await push(here, "1", b"config", b"layer")
            row = here.catalog.image(PLACE, digest)
            assert row is not None
            here.catalog.noted(row, pulled=5.0)
            found = here.catalog.image(PLACE, digest)
            assert found is not None
            assert found.pulled == 5.0
            await here.catalog.delete(rules("app"), [row])
            here.catalog.noted(row, pulled=6.0)
            assert here.catalog.image(PLACE, digest) is None
            assert await here.catalog.delete(rules("app"), [row]) == 0, "who deletes it once more deletes nothing"

    run(story())


# ------------------------------------------------------------------------------------------------------------- collection


def test_what_was_uploaded_waits_an_hour_for_its_image(tmp_path: Path) -> None:
    async def story() -> None:
        clock = VirtualClock()
        async with both(tmp_path / "a", clock=clock) as here:
            await upload(here, b"config", b"layer", b"stray")
            clock.advance(catalog.UNREFERENCED_SECONDS - 10)
            here.age()
            assert await here.catalog.sweep() == []
            await here.shop.images.collect()
            await here.catalog.put(rules("app"), manifest_of(b"config", b"layer"), MANIFEST, tag="1")
            clock.advance(20)
            assert await here.catalog.sweep() == [f"let go of blob {digest_of(b'stray')} in app, which no image speaks of"]
            assert await here.catalog.sweep() == []
            await here.shop.images.collect()
            assert set(here.files()) == needed(here)
            assert len(here.files()) == 3

    run(story())


def test_a_sweep_passes_over_any_number_of_blobs_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        clock = VirtualClock()
        async with both(tmp_path / "a", clock=clock) as here:
            monkeypatch.setattr(catalog, "AT_ONCE", 3)
            blobs = [f"blob {number}".encode() for number in range(20)]
            await upload(here, *blobs)
            await push(here, "1", b"config", blobs[4], blobs[13])
            clock.advance(catalog.UNREFERENCED_SECONDS + 1)
            assert len(await here.catalog.sweep()) == 18
            assert {row.digest for row in here.shop.store.table(BLOBS).scan()} == {
                digest_of(each) for each in (b"config", blobs[4], blobs[13])
            }

    run(story())


def test_who_was_told_of_a_blob_may_count_on_it(tmp_path: Path) -> None:
    async def story() -> None:
        clock = VirtualClock()
        async with both(tmp_path / "a", clock=clock) as here:
            digest = await push(here, "1", b"config", b"layer")
            clock.advance(catalog.UNREFERENCED_SECONDS + 1)
            assert (await ask(here, "HEAD", f"/v2/app/blobs/{digest_of(b'layer')}")).status == 200
            row = here.catalog.image(PLACE, digest)
            assert row is not None
            await here.catalog.delete(rules("app"), [row])
            await here.catalog.sweep()
            here.age()
            await here.shop.images.collect()
            assert set(here.files()) == {digest_of(b"layer")}
            await push(here, "2", b"other", b"layer")
            agree(here)

    run(story())


# ------------------------------------------------------------------------------------------------------------- simulation


class Life:
    """Random deeds of several clients, of the engine's owner, and of time."""

    def __init__(self, here: Both, clock: VirtualClock, seed: int) -> None:
        self.here = here
        self.clock = clock
        self.chance = random.Random(seed)
        self.contents = [f"content {number}".encode() for number in range(8)]  # few, so that much is shared
        self.repositories = ("app", "other")

    async def live(self, deeds: int) -> None:
        choices: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (8, self.push), (3, self.index), (4, self.delete), (2, self.upload), (2, self.delete_blob), (1, self.delete_repository),
            (3, self.engine), (2, self.sweep), (3, self.wait), (2, self.collect),
        ]  # fmt: skip
        weights, acts = zip(*choices, strict=True)
        for _ in range(deeds):
            together = self.chance.choices(acts, weights, k=self.chance.randint(1, 5))
            await asyncio.gather(*(self._gently(act) for act in together))
            agree(self.here)

    async def _gently(self, act: Callable[[], Awaitable[None]]) -> None:
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(0)
        await act()

    def place(self) -> Repository:
        return Repository(REGISTRY, self.chance.choice(self.repositories))

    async def push(self) -> None:
        repository = self.place().name
        config, *layers = self.chance.sample(self.contents, self.chance.randint(1, 4))
        with contextlib.suppress(ManifestBlobUnknown):  # somebody deleted one of them by its name, or the repository
            await push(self.here, self.chance.choice(("a", "b", "c", "")), config, *layers, repository=repository)

    async def index(self) -> None:
        place = self.place()
        images = list(self.here.catalog.images_of(place))
        chosen = self.chance.sample(images, min(2, len(images)))
        children = [{"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in chosen]
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
        with contextlib.suppress(ManifestBlobUnknown):
            await self.here.catalog.put(rules(place.name), data, INDEX, tag="index")

    async def delete(self) -> None:
        place = self.place()
        free = [image for image in self.here.catalog.images_of(place) if not self.here.catalog.parents(place, image.digest)]
        await self.here.catalog.delete(rules(place.name), self.chance.sample(free, min(len(free), 2)))

    async def upload(self) -> None:
        await upload(self.here, self.chance.choice(self.contents), repository=self.place().name)

    async def delete_blob(self) -> None:
        row = self.here.catalog.blob(self.place(), digest_of(self.chance.choice(self.contents)))
        if row is not None:
            with contextlib.suppress(ImageReferenced):
                await self.here.catalog.delete_blob(row)

    async def delete_repository(self) -> None:
        place = self.place()
        await self.here.catalog.delete_repository(place, rules(place.name))

    async def engine(self) -> None:
        """The other side of the store: an image is made and pushed, or removed."""
        images, name = self.here.shop.images, f"{OWN}/app:{self.chance.choice('xyz')}"
        if self.chance.random() < 0.4:
            for image in images.all():
                await images.remove(image.id, force=True)
            return
        await make_image(images, name, {"file": self.chance.choice(self.contents)})
        try:
            await images.push(name, credentials=Credentials("AWS", "right"))
        except EngineError as error:  # its blobs were deleted by name between its steps, or another act has removed the image
            if not any(word in error.message for word in ("unknown", "not here", "tag does not exist")):
                raise

    async def sweep(self) -> None:
        await self.here.catalog.sweep()

    async def wait(self) -> None:
        self.clock.advance(self.chance.choice((1.0, 1000.0, 4000.0)))

    async def collect(self) -> None:
        self.here.age(self.chance.choice((0.0, 7200.0)))
        await self.here.shop.images.sweep()


@pytest.mark.parametrize("seed", range(6))
def test_rows_and_files_agree_whatever_happens(tmp_path: Path, seed: int) -> None:
    async def story() -> None:
        clock = VirtualClock()
        async with both(tmp_path / "a", clock=clock) as here:
            life = Life(here, clock, seed)
            await life.live(60)
            # When all has come to rest, nothing stays that nothing needs.
            images = here.shop.images
            for image in images.all():
                await images.remove(image.id, force=True)
            clock.advance(2 * catalog.UNREFERENCED_SECONDS)
            await here.catalog.sweep()
            here.age()
            await images.sweep()
            agree(here)
            assert set(here.files()) == needed(here)
            rows = here.shop.store.table(BLOBS).scan()
            spoken = {(row.registry, row.repository, blob.digest) for row in here.shop.store.table(IMAGES).scan() for blob in row.blobs}
            assert {(row.registry, row.repository, row.digest) for row in rows} == spoken
            assert here.shop.leftovers() == []
            assert not images._room.leaving

    run(story())


# ---------------------------------------------------------------------------------------------------- the content store's


def test_settling_does_not_wait_for_those_who_come_later(tmp_path: Path) -> None:
    """With many clients somebody always commits; each waits for the folders to be synced once or twice."""

    async def story() -> None:
        async with both(tmp_path / "a") as here:
            store = here.shop.images.content
            busy = True

            async def others() -> None:
                while busy:
                    store.committed()
                    await asyncio.sleep(0)

            pushing = asyncio.create_task(others())
            await asyncio.wait_for(store.settle(), 10)
            busy = False
            await pushing
            await store.settle()

    run(story())


def test_the_folders_are_synced_once_for_what_a_killed_process_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been killed between a rename and its sync; a row that is written now must not outlive the name in a power cut."""
    synced: list[str] = []
    monkeypatch.setattr("cloudstead.engine.images.content._sync", lambda folder: synced.append(folder.name))

    async def story() -> None:
        async with both(tmp_path / "a") as here:
            here.shop.images.content.prepare()
            synced.clear()
            folder = tmp_path / "a" / "blobs" / "sha256"
            (folder / digest_of(b"left").removeprefix("sha256:")).write_bytes(b"left")
            await here.catalog.link(PLACE, (digest_of(b"left"), 4))
            assert synced == ["sha256", "sha512"]
            await here.catalog.link(Repository(REGISTRY, "other"), (digest_of(b"left"), 4))
            assert len(synced) == 2

    run(story())


def test_an_upload_whose_process_was_killed_in_its_last_moment_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def as_not_root(path: Any, flags: int, *mode: Any, **more: Any) -> int:
        if flags & os.O_RDWR and os.path.exists(path) and not os.stat(path).st_mode & 0o200:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *mode, **more)

    async def story() -> None:
        async with both(tmp_path / "a") as here:
            uploads = here.own.api.uploads
            upload_id = uploads.begin(PLACE)
            await uploads.append(PLACE, upload_id, b"all of it")
            (left,) = (tmp_path / "a" / "blobs" / "uploads").iterdir()
            left.chmod(0o444)  # as a blob is, before it has its name
            monkeypatch.setattr(os, "open", as_not_root)
            digest, size = await uploads.complete(PLACE, upload_id, digest_of(b"all of it"))
            assert (digest, size) == (digest_of(b"all of it"), 9)
            assert os.stat(here.shop.images.content.path(digest)).st_mode & 0o777 == 0o444
            assert time.time() - os.stat(here.shop.images.content.path(digest)).st_mtime < 60

    run(story())
