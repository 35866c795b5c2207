"""Collecting: what nothing refers to goes, what anything is about to refer to stays, also when the process is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_support import Shop, collected, make_image, needs_registry, pieces, registry, run, shop, tar_of

from cloudstead.engine.errors import Unavailable
from cloudstead.engine.images import collection
from cloudstead.engine.images.api import ImageConfig, RootFs
from cloudstead.kernel.clock import VirtualClock


def age(here: Shop, seconds: float = 3600.0) -> None:
    """Make every blob old."""
    then = time.time() - seconds
    for path in (here.data / "blobs").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def needed_by(here: Shop) -> set[str]:
    return {
        digest for image in here.images.all() for digest in (image.id, image.manifest.digest, *(layer.digest for layer in image.layers))
    }


def test_what_nothing_refers_to_goes_when_it_is_old(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            await make_image(here.images, "app:1", {"a": b"1"})
            stray = await here.images.content.put(b"stray")
            assert await here.images.collect() == 0
            assert stray in here.blobs(), "it may be about to be named"
            age(here)
            assert await here.images.collect() == 5
            assert here.blobs() == needed_by(here)
            assert await here.images.sweep() == []
            stray = await here.images.content.put(b"stray")
            age(here)
            assert await here.images.sweep() == [f"removed blob {stray}, which nothing refers to"]

    run(story())


def test_what_other_rooms_refer_to_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a", clock=VirtualClock()) as here:
            kept, stray = await here.images.content.put(b"kept"), await here.images.content.put(b"stray")
            image = await make_image(here.images, "app:1", {"a": b"1"}, {"b": b"2"})
            chains = await here.images.layers_of(image.id)
            roots = {kept, *image_blobs(image), *chains}
            here.images.add_roots(lambda: roots)
            age(here)
            removal = await here.images.remove("app:1")
            assert removal.deleted == (image.id,)
            await here.images.collect()
            here.images._room.clock.advance(10_000)  # type: ignore[attr-defined]
            await here.images.collect()
            assert here.blobs() == {kept, *image_blobs(image)}
            assert set(here.snapshots.chains) == set(chains)
            assert stray not in here.blobs()
            roots.clear()
            age(here)
            await here.images.collect()
            assert here.blobs() == set()

    run(story())


def image_blobs(image: object) -> set[str]:
    return {image.id, image.manifest.digest, *(layer.digest for layer in image.layers)}  # type: ignore[attr-defined]


def test_a_snapshot_goes_when_it_was_not_needed_for_a_while(tmp_path: Path) -> None:
    async def story() -> None:
        clock = VirtualClock()
        async with shop(tmp_path / "a", clock=clock) as here:
            image = await make_image(here.images, "app:1", {"a": b"1"})
            (chain,) = await here.images.layers_of(image.id)
            here.snapshots.chains |= {"sha256:" + "1" * 64: 10, "sha256:" + "2" * 64: 20, "sha256:" + "3" * 64: 40}
            assert await here.images.collect() == 0
            clock.advance(collection.GRACE - 1)
            del here.snapshots.chains["sha256:" + "3" * 64]
            assert await here.images.collect() == 0
            here.snapshots.mounted.add("sha256:" + "2" * 64)
            here.snapshots.chains["sha256:" + "3" * 64] = 40  # made again: its time begins anew
            clock.advance(2)
            assert await here.images.collect() == 10
            assert set(here.snapshots.chains) == {chain, "sha256:" + "2" * 64, "sha256:" + "3" * 64}
            here.snapshots.mounted.clear()
            with here.images.content.lease("sha256:" + "3" * 64):
                clock.advance(collection.GRACE)
                assert await here.images.collect() == 20
                clock.advance(collection.GRACE)
                assert await here.images.collect() == 0
            assert await here.images.collect() == 40

    run(story())


def test_an_image_waits_for_the_removal_of_the_snapshot_that_it_needs(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            await make_image(here.images, "old:1", {"a": b"1"})
            remove, begun, go_on = here.snapshots.remove_snapshot, asyncio.Event(), asyncio.Event()

            async def slowly(chain: str) -> int:
                begun.set()
                await go_on.wait()
                return await remove(chain)

            here.snapshots.remove_snapshot = slowly  # type: ignore[method-assign]
            removing = asyncio.create_task(here.images.remove("old:1"))
            await begun.wait()
            making = asyncio.create_task(make_image(here.images, "new:1", {"a": b"1"}))
            await asyncio.sleep(0.1)
            go_on.set()
            await removing
            image = await making
            assert set(here.snapshots.chains) == set(await here.images.layers_of(image.id))
            assert len(here.snapshots.unpacked) == 2

    run(story())


def test_rows_are_written_after_the_folders_of_their_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            done: list[str] = []
            settle, keep = here.images.content.settle, here.images._room.records.keep

            async def noted_settle() -> None:
                await settle()
                done.append("settled")

            def noted_keep(*arguments: object) -> bool:
                assert here.images.content._settled == here.images.content._commits
                done.append("row")
                return keep(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(here.images.content, "settle", noted_settle)
            monkeypatch.setattr(here.images._room.records, "keep", noted_keep)
            await make_image(here.images, "a:1", {"a": b"1"})
            data = await collected(here.images.save(("a:1",)))
            await here.images.remove("a:1")
            await here.images.load(pieces(data))
            assert done == ["settled", "row"] * 2

    run(story())


def test_a_layer_that_was_just_added_survives_until_its_image_is_made(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            # The same layer is in an image that goes between the two calls of a builder.
            await make_image(here.images, "old:1", {"a": b"1"})
            layer, diff_id = await here.images.add_layer(pieces(tar_of({"a": b"1"})))
            age(here)
            await here.images.remove("old:1")
            await here.images.collect()
            await here.images.put_image(ImageConfig(rootfs=RootFs((diff_id,))), (layer,), references=("new:1",))
            await here.images.remove("new:1")
            assert here.blobs() == set()

    run(story())


@needs_registry
def test_nothing_goes_from_under_a_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Collections without any grace, and removals of images with the same layers, while pulls come and go."""
    monkeypatch.setattr(collection, "GRACE", -10.0)

    async def story(address: str) -> None:
        async with shop(tmp_path / "maker") as maker:
            shared = [{f"shared{number}": random.Random(number).randbytes(60_000)} for number in range(3)]
            names = [f"{address}/app:{number}" for number in range(4)]
            for number, name in enumerate(names):
                await make_image(maker.images, name, *shared[: number % 3 + 1], {"own": name.encode()})
                await maker.images.push(name)
        async with shop(tmp_path / "a") as here:
            over = False

            async def collect() -> None:
                while not over:
                    await collection.sweep(here.images._room, {}, -10.0)
                    await asyncio.sleep(0)

            async def pull(name: str) -> None:
                for turn in range(12):
                    image = await here.images.pull(name)
                    for digest in image_blobs(image):
                        assert here.images.content.has(digest)
                    assert set(await here.images.layers_of(image.id)) <= set(here.snapshots.chains)
                    if turn % 3 != 2:
                        await here.images.remove(name)

            collecting = asyncio.create_task(collect())
            await asyncio.gather(*(pull(name) for name in names))
            over = True
            await collecting
            assert here.blobs() >= needed_by(here)
            assert len(here.images.all()) == 4

    with registry(tmp_path / "registry") as address:
        run(story(address))


def test_without_an_engine_host_blobs_are_collected_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "app:1", {"a": b"1"})
            stray = await here.images.content.put(b"stray")

            async def nobody(*arguments: object) -> int:
                raise Unavailable("the engine host has ended")

            here.snapshots.list_snapshots = nobody  # type: ignore[assignment,method-assign]
            here.snapshots.remove_snapshot = nobody  # type: ignore[method-assign]
            age(here)
            assert await here.images.sweep() == [f"removed blob {stray}, which nothing refers to"]
            assert (await here.images.remove("app:1")).deleted == (image.id,)
            assert here.blobs() == set()

    run(story())


def test_uploads_that_nobody_goes_on_with_are_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            for key in ("old", "young"):
                async with here.images.content.ingest(key) as opened:
                    await opened.write(b"part")
            then = time.time() - collection.UPLOADS_KEPT - 60
            os.utime(here.data / "blobs" / "uploads" / "old", (then, then))
            assert await here.images.sweep() == ["removed upload old, which nobody went on with"]
            assert [Path(each).name for each in here.leftovers()] == ["young"]

    run(story())


KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from image_support import collected, make_image, pieces, shop

async def main():
    async with shop(Path(sys.argv[1])) as here:
        number = int(sys.argv[3])
        while True:
            number += 1
            name = f"app:{number}"
            await make_image(here.images, name, {"shared": b"s" * 50_000}, {"own": name.encode() * 1000})
            data = await collected(here.images.save((name,)))
            print(name, flush=True)
            if number % 3 == 0:
                print("-" + name, flush=True)
                await here.images.remove(name)
            elif number % 3 == 1:
                await here.images.load(pieces(data))

asyncio.run(main())
"""


def test_a_killed_daemon_has_no_row_without_its_blobs(tmp_path: Path) -> None:
    told: set[str] = set()
    begun: set[str] = set()
    for turn in range(4):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "a"), str(Path(__file__).parent), str(turn * 1000)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline().decode().strip()
        time.sleep(0.02 + 0.07 * turn)
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout.read().decode().split()]
        process.wait()
        process.stdout.close()
        told |= {line for line in lines if not line.startswith("-")}
        begun |= {line[1:] for line in lines if line.startswith("-")}

    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            tags = {tag for image in here.images.all() for tag in image.tags}
            assert tags >= told - begun, "what was told to be there is there"
            for image in here.images.all():
                for digest in image_blobs(image):
                    assert here.images.content.has(digest)
                await here.images.layers_of(image.id)  # which reads and checks each layer
            age(here, 100_000)
            await here.images.collect()
            assert here.blobs() == needed_by(here)
            assert not here.leftovers()

    run(story())
    assert len(told) >= 4
