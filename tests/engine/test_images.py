"""Images as rows: found, named, made, committed, removed as Docker does it, counted."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from image_support import CheckingSnapshots, Shop, collected, make_image, pieces, run, shop, tar_of

from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from cloudstead.engine.images.api import (
    Descriptor,
    ExecConfig,
    HealthConfig,
    HistoryEntry,
    ImageConfig,
    ImageEvent,
    Images,
    RootFs,
)
from cloudstead.engine.images.images import LocalImages
from cloudstead.engine.images.records import rfc3339, timestamp
from cloudstead.kernel.clock import SystemClock, VirtualClock
from cloudstead.kernel.store import MemoryBackend, Store


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as refused:
        call()
    return refused.value.message


async def refused(here: Shop, name: str, *, force: bool = False, user: str = "") -> str:
    """What is said when an image should go."""
    with pytest.raises(Conflict) as conflict:
        await here.images.remove(name, force=force, used_by=lambda image: user)
    return conflict.value.message


def names(here: Shop) -> list[str]:
    return sorted(tag for image in here.images.all() for tag in image.tags)


# ---------------------------------------------------------------------------------------------------------------- finding


def test_an_image_is_found_by_its_names_and_by_parts_of_its_id(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "debian:12", {"a": b"1"})
            other = await make_image(here.images, "other", {"b": b"2"})
            digits = image.id[7:]
            for name in (
                "debian:12",
                "docker.io/library/debian:12",
                "library/debian:12",
                image.id,
                digits,
                digits[:12],
                f"sha256:{digits[:9]}",
            ):
                assert here.images.resolve(name).id == image.id, name
            assert here.images.resolve("other:latest").id == other.id
            for name, message in (
                ("debian", "No such image: debian:latest"),
                ("debian:13", "No such image: debian:13"),
                ("docker.io/none", "No such image: none:latest"),
                ("f" * 64, f"No such image: {'f' * 64}"),
                (f"sha256:{'f' * 64}", f"No such image: sha256:{'f' * 64}"),
                ("a b", "invalid reference format"),
                ("", "invalid reference format"),
            ):
                assert refusal(lambda name=name: here.images.resolve(name)) == message
            # A name that looks like an id is a name first; an ambiguous prefix is no image's.
            here.images.tag("other", digits[:6])
            assert here.images.resolve(digits[:6]).id == other.id
            while image.id[7] != other.id[7]:
                other = await make_image(here.images, "", {"b": os.urandom(8)})
            assert refusal(lambda: here.images.resolve(f"sha256:{digits[0]}")) == f"No such image: sha256:{digits[0]}"

    run(story())


def test_an_image_of_another_process_is_known_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(
                here.images, "app:1", {"a": b"1"}, config=ExecConfig(cmd=("x",), healthcheck=HealthConfig(test=("CMD", "x")))
            )
            chains = await here.images.layers_of(image.id)
            snapshots = here.snapshots
        async with shop(tmp_path / "a") as here:
            assert here.images.resolve("app:1") == image
            # Its snapshots are gone (somebody deleted them): they are made again when they are needed.
            assert here.snapshots.chains == {}
            assert await here.images.layers_of(image.id) == chains
            assert here.snapshots.chains == snapshots.chains
            with pytest.raises(NotFound):
                await here.images.layers_of("sha256:" + "0" * 64)

    run(story())


def test_it_is_what_the_interface_says() -> None:
    checked: type[Images] = LocalImages
    assert checked is LocalImages


# ---------------------------------------------------------------------------------------------------------------- making


def test_a_layer_is_compressed_the_same_way_each_time_or_not_at_all(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            plain = tar_of({"a": os.urandom(300_000) + bytes(3_000_000)})
            first, diff_id = await here.images.add_layer(pieces(plain, 50_001))
            second, _ = await here.images.add_layer(pieces(plain, 50_001))
            assert first == second
            assert first.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
            assert diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
            packed = await collected(here.images.content.stream(first.digest))
            assert gzip.decompress(packed) == plain
            assert packed[4:8] == bytes(4), "the time in a gzip header would make each run another"
            assert first.size == len(packed) < 500_000
            kept, same = await here.images.add_layer(pieces(plain), compress=False)
            assert (kept.media_type, kept.digest, kept.size, same) == (
                "application/vnd.oci.image.layer.v1.tar",
                diff_id,
                len(plain),
                diff_id,
            )

    run(story())


def test_an_image_is_made_of_layers_that_are_here(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            layer, diff_id = await here.images.add_layer(pieces(tar_of({"a": b"1"})))
            config = ImageConfig(created="2026-01-02T03:04:05.678901234Z", rootfs=RootFs((diff_id,)), config=ExecConfig(labels={"a": "b"}))
            image = await here.images.put_image(config, (layer,), references=("app:1", "localhost:5000/app"))
            assert image.tags == ("app:1", "localhost:5000/app:latest")
            assert image.config == config
            assert image.created == timestamp("2026-01-02T03:04:05.678901Z")
            written = json.loads(await here.images.raw(image.id))
            assert written["os"] == "linux"
            assert written["architecture"] == "amd64"
            assert written["rootfs"] == {"type": "layers", "diff_ids": [diff_id]}
            assert written["config"] == {"Labels": {"a": "b"}}
            manifest = json.loads(await here.images.raw(image.manifest.digest))
            assert manifest["config"]["digest"] == image.id
            assert manifest["mediaType"] == image.manifest.media_type
            assert (await here.images.put_image(config, (layer,))).id == image.id
            missing = Descriptor(layer.media_type, "sha256:" + "0" * 64, 5)
            for layers, settings, references in (
                ((missing,), config, ()),
                ((layer, layer), config, ()),
                ((), config, ()),
                ((layer,), config, ("A b",)),
                ((layer,), config, (f"a@{layer.digest}",)),
                ((layer,), ImageConfig(rootfs=RootFs(("sha256:" + "0" * 64,))), ("wrong:1",)),
            ):
                with pytest.raises(InvalidArgument):
                    await here.images.put_image(settings, layers, references=references)
            with pytest.raises(NotFound):
                await here.images.put_image(config, (layer,), parent="sha256:" + "0" * 64)
            assert len(here.images.all()) == 1

    run(story())


def test_an_image_without_layers_is_an_image(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await here.images.put_image(ImageConfig(config=ExecConfig(cmd=("x",))), (), references=("scratch-like",))
            assert (image.size, await here.images.layers_of(image.id)) == (0, ())
            data = await collected(here.images.save(("scratch-like",)))
            await here.images.remove("scratch-like")
            assert await here.images.load(pieces(data)) == ("scratch-like:latest",)

    run(story())


def test_a_commit_adds_a_layer_and_a_line_of_history(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            base = await make_image(here.images, "base:1", {"a": b"1"}, {"b": b"2"}, variant="v2")
            config = ImageConfig(
                author="me",
                created="2026-02-03T04:05:06Z",
                config=ExecConfig(cmd=("run",)),
                history=(HistoryEntry(created_by="/bin/sh", comment="by hand"),),
            )
            diff = tar_of({"c": b"3" * 100})
            image = await here.images.commit(base.id, pieces(diff), config, references=("new:1",))
            assert image.layers[:2] == base.layers
            assert image.config.rootfs.diff_ids == (*base.config.rootfs.diff_ids, "sha256:" + hashlib.sha256(diff).hexdigest())
            assert (image.config.author, image.config.config.cmd, image.config.variant) == ("me", ("run",), "v2")
            assert (image.parent, image.tags) == (base.id, ("new:1",))
            assert image.size == base.size + len(diff)
            last = HistoryEntry(created="2026-02-03T04:05:06Z", created_by="/bin/sh", comment="by hand")
            assert image.config.history == (*base.config.history, last)
            assert [(line[0], line[2], line[3]) for line in here.images.history("new:1")] == [
                (image.id, len(diff), ("new:1",)),
                (base.id, 10240, ("base:1",)),
                ("<missing>", 10240, ()),
            ]
            empty = await here.images.commit(image.id, None, ImageConfig(config=ExecConfig(cmd=("other",))))
            assert empty.layers == image.layers
            assert empty.config.history[-1].empty_layer
            assert here.images.history(empty.id)[0][2] == 0
            first = await here.images.commit("", pieces(diff), ImageConfig())
            assert (first.parent, len(first.layers), len(first.config.history)) == ("", 1, 1)
            with pytest.raises(NotFound):
                await here.images.commit("sha256:" + "0" * 64, None, ImageConfig())

    run(story())


def test_the_history_of_an_image_that_came_from_elsewhere_has_no_ids_but_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            added = [await here.images.add_layer(pieces(tar_of({name: name.encode() * 100}))) for name in "ab"]
            entries = (
                HistoryEntry(created_by="ADD a"),
                HistoryEntry(created_by="ENV x", empty_layer=True),
                HistoryEntry(created_by="RUN b"),
                HistoryEntry(created_by="CMD y", empty_layer=True),
            )
            config = ImageConfig(rootfs=RootFs(tuple(diff_id for _, diff_id in added)), history=entries)
            image = await here.images.put_image(config, tuple(layer for layer, _ in added))
            lines = here.images.history(image.id)
            assert [line[0] for line in lines] == [image.id, "<missing>", "<missing>", "<missing>"]
            assert [line[1].created_by for line in lines] == ["CMD y", "RUN b", "ENV x", "ADD a"]
            assert [line[2] for line in lines] == [0, 10240, 0, 10240]
            bare = await here.images.put_image(ImageConfig(rootfs=config.rootfs), image.layers)
            assert [(line[0], line[2]) for line in here.images.history(bare.id)] == [(bare.id, 10240), ("<missing>", 10240)]

    run(story())


# ---------------------------------------------------------------------------------------------------------------- names


def test_a_tag_goes_from_one_image_to_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            one = await make_image(here.images, "app:1", {"a": b"1"})
            two = await make_image(here.images, "app:2", {"a": b"2"})
            here.images.tag("app:2", "app:1")
            here.images.tag(two.id, "app:1")
            assert here.images.resolve("app:1").id == two.id
            assert here.images.resolve(one.id).tags == ()
            assert names(here) == ["app:1", "app:2"]
            assert refusal(lambda: here.images.tag("none", "x")) == "No such image: none:latest"
            assert (
                refusal(lambda: here.images.tag("app:1", "X")) == "invalid reference format: repository name (library/X) must be lowercase"
            )
            assert refusal(lambda: here.images.tag("app:1", f"x@{one.id}")) == "refusing to create a tag with a digest reference"

    run(story())


def test_when_an_image_was_last_tagged_is_known() -> None:
    async def story() -> None:
        clock = VirtualClock()
        store = Store.in_memory(MemoryBackend(), clock=clock)
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            images = LocalImages(Path(folder), store, clock, CheckingSnapshots())  # type: ignore[arg-type]
            await images.start()
            await make_image(images, "a:1", {"a": b"1"})
            begun = clock.time()
            assert images.resolve("a:1").last_tagged == begun
            clock.advance(100)
            images.tag("a:1", "a:1")
            assert images.resolve("a:1").last_tagged == begun
            images.tag("a:1", "a:2")
            assert images.resolve("a:1").last_tagged == begun + 100
            await images.stop()
        await store.close()

    run(story())


def test_what_happens_to_images_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            told: list[ImageEvent] = []
            end = here.images.subscribe(told.append)
            image = await make_image(here.images, "a:1", {"a": b"1"})
            here.images.tag("a:1", "a:2")
            data = await collected(here.images.save(("a:1",)))
            await here.images.load(pieces(data))
            imported = await here.images.import_tar(pieces(tar_of({"b": b"2"})), reference="i:1")
            await here.images.remove("a:2")
            await here.images.remove("a:1")
            assert [(event.action, event.image, event.name) for event in told] == [
                ("tag", image.id, "a:1"),
                ("tag", image.id, "a:2"),
                ("save", image.id, image.id),
                ("load", image.id, "a:1"),
                ("tag", imported.id, "i:1"),
                ("import", imported.id, "i:1"),
                ("untag", image.id, image.id),
                ("untag", image.id, image.id),
                ("delete", image.id, image.id),
            ]
            end()
            end()
            await here.images.remove("i:1")
            assert len(told) == 9

    run(story())


# ---------------------------------------------------------------------------------------------------------------- removing


def test_the_last_name_takes_the_image_along(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "app:1", {"a": b"1"}, {"b": b"2"})
            here.images.tag("app:1", "app:2")
            chains = await here.images.layers_of(image.id)
            removal = await here.images.remove("app:2")
            assert (removal.untagged, removal.deleted, removal.reclaimed) == (("app:2",), (), 0)
            removal = await here.images.remove("docker.io/library/app:1")
            assert removal.untagged == ("app:1",)
            assert removal.deleted == (image.id, chains[1], chains[0])
            assert removal.reclaimed > image.size
            assert here.images.all() == []
            assert here.blobs() == set()
            assert here.snapshots.chains == {}
            assert not here.leftovers()
            with pytest.raises(NotFound, match="No such image: app:1"):
                await here.images.remove("app:1")

    run(story())


def test_what_others_share_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            one = await make_image(here.images, "one:1", {"shared": b"s"}, {"a": b"1"})
            two = await make_image(here.images, "two:1", {"shared": b"s"}, {"b": b"2"})
            chains = await here.images.layers_of(one.id)
            removal = await here.images.remove("one:1")
            assert removal.deleted == (one.id, chains[1])
            assert set(here.snapshots.chains) == set(await here.images.layers_of(two.id))
            assert here.blobs() == {two.id, two.manifest.digest, *(layer.digest for layer in two.layers)}

    run(story())


def test_by_id_all_tags_of_one_repository_are_not_one_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "app:1", {"a": b"1"})
            short = image.id[7:19]
            here.images.tag("app:1", "app:2")
            conflict = f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            assert await refused(here, short) == conflict
            here.images.tag("app:1", "other:1")
            assert await refused(here, image.id) == conflict
            assert names(here) == ["app:1", "app:2", "other:1"]
            removal = await here.images.remove(short, force=True)
            assert removal.untagged == ("app:1", "app:2", "other:1")
            assert removal.deleted[0] == image.id
            assert here.images.all() == []
            await make_image(here.images, "app:1", {"a": b"1"})
            removal = await here.images.remove(short)
            assert removal.untagged == ("app:1",)
            assert here.images.all() == []

    run(story())


def test_digests_of_a_repository_go_with_its_last_tag(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "app:1", {"a": b"1"})
            records = here.images._room.records
            from cloudstead.engine.images.references import parse

            def pulled(*repositories: str) -> None:
                for repository in repositories:
                    records.name(parse(f"{repository}@{image.manifest.digest}"), image.id, image.manifest)

            pulled("app", "x.io/other")
            removal = await here.images.remove("app:1")
            digest = f"app@{image.manifest.digest}"
            assert removal.untagged == ("app:1", digest)
            assert removal.deleted == ()
            removal = await here.images.remove(f"x.io/other@{image.manifest.digest}")
            assert removal.untagged == (f"x.io/other@{image.manifest.digest}",)
            assert removal.deleted[0] == image.id
            # By id: one tag and the digest of its repository are one name, a digest of another is not.
            image = await make_image(here.images, "app:1", {"a": b"1"})
            pulled("app")
            assert (await here.images.remove(image.id)).untagged == ("app:1", digest)
            image = await make_image(here.images, "app:1", {"a": b"1"})
            pulled("x.io/other")
            assert "multiple repositories" in await refused(here, image.id)

    run(story())


def test_a_container_keeps_its_image(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "app:1", {"a": b"1"})
            short, identifier = image.id[7:19], "abcdef0123456789"
            stopped, running = f"container {identifier} is using it", f"running container {identifier} is using it"
            for user in (stopped, running):
                assert await refused(here, "app:1", user=user) == (
                    'conflict: unable to remove repository reference "app:1" (must force) - '
                    f"container abcdef012345 is using its referenced image {short}"
                )
            assert await refused(here, short, user=stopped) == (
                f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container abcdef012345"
            )
            for force in (False, True):
                assert await refused(here, short, user=running, force=force) == (
                    f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container abcdef012345"
                )
            assert names(here) == ["app:1"]
            # With a second name the first may go; by force the last one may, and the image of a running container stays without a name.
            here.images.tag("app:1", "app:2")
            assert (await here.images.remove("app:2", used_by=lambda image: running)).deleted == ()
            removal = await here.images.remove("app:1", force=True, used_by=lambda image: running)
            assert (removal.untagged, removal.deleted) == (("app:1",), ())
            assert [each.id for each in here.images.all()] == [image.id]
            here.images.tag(image.id, "app:1")
            here.snapshots.mounted.update(await here.images.layers_of(image.id))
            removal = await here.images.remove(image.id, force=True, used_by=lambda image: stopped)
            assert removal.deleted == (image.id,), "the snapshot that is mounted stays"
            assert here.snapshots.chains

    run(story())


def test_an_image_that_others_were_built_from_stays_until_they_go(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            base = await make_image(here.images, "", {"a": b"1"})
            middle = await here.images.commit(base.id, pieces(tar_of({"b": b"2"})), ImageConfig(created="2026-01-01T00:00:00Z"))
            top = await here.images.commit(
                middle.id, pieces(tar_of({"c": b"3"})), ImageConfig(created="2026-01-01T00:00:01Z"), references=("top:1",)
            )
            sibling = await here.images.commit(base.id, None, ImageConfig(created="2026-01-01T00:00:02Z"), references=("sibling:1",))
            for name in (base.id, middle.id):
                for force in (False, True):
                    assert await refused(here, name, force=force) == (
                        f"conflict: unable to delete {name[7:19]} (cannot be forced) - image has dependent child images"
                    )
            chains = await here.images.layers_of(top.id)
            removal = await here.images.remove("top:1")
            assert removal.deleted == (top.id, middle.id, chains[2], chains[1])
            assert {image.id for image in here.images.all()} == {base.id, sibling.id}
            removal = await here.images.remove("sibling:1", prune=False)
            assert removal.deleted == (sibling.id,)
            assert {image.id for image in here.images.all()} == {base.id}
            here.images.tag(base.id, "base:1")
            child = await here.images.commit(base.id, None, ImageConfig(created="2026-01-01T00:00:03Z"))
            assert (await here.images.remove(child.id)).deleted == (child.id,), "a parent with a name stays"

    run(story())


def test_prune_takes_what_has_no_name_or_what_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            named = await make_image(here.images, "named:1", {"a": b"1"})
            dangling = await make_image(here.images, "", {"b": b"2"})
            base = await make_image(here.images, "", {"c": b"3"})
            child = await here.images.commit(base.id, None, ImageConfig(created="2026-01-01T00:00:00Z"), references=("child:1",))
            kept = await make_image(here.images, "", {"d": b"4"})
            removal = await here.images.prune(keep=lambda image: image.id == kept.id)
            assert removal.untagged == ()
            assert removal.deleted[0] == dangling.id
            assert removal.reclaimed > 0
            assert {image.id for image in here.images.all()} == {named.id, base.id, child.id, kept.id}
            here.images.tag("named:1", "named:2")
            removal = await here.images.prune(dangling=False, keep=lambda image: image.id == kept.id)
            assert set(removal.untagged) == {"named:1", "named:2", "child:1"}
            assert {each for each in removal.deleted if each in (named.id, base.id, child.id)} == {named.id, base.id, child.id}
            assert [image.id for image in here.images.all()] == [kept.id]
            assert (await here.images.prune()).deleted[0] == kept.id
            assert here.blobs() == set()

    run(story())


def test_disk_usage_counts_shared_layers_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            assert await here.images.disk_usage() == (0, {})
            one = await make_image(here.images, "one:1", {"shared": bytes(100_000)}, {"a": b"1"})
            two = await make_image(here.images, "two:1", {"shared": bytes(100_000)}, {"b": bytes(20_000)})
            alone = await make_image(here.images, "three:1", {"c": b"1"})
            total, shared = await here.images.disk_usage()
            first = here.snapshots.chains[(await here.images.layers_of(one.id))[0]]
            assert shared == {one.id: first, two.id: first, alone.id: 0}
            assert total == one.size + two.size + alone.size - first

    run(story())


def test_times_are_read_and_written_as_go_does() -> None:
    assert rfc3339(1_767_225_600.25) == "2026-01-01T00:00:00.250000000Z"
    assert timestamp("2026-01-01T00:00:00.25Z") == 1_767_225_600.25
    assert timestamp("2026-01-01T02:00:00.123456789+02:00") == pytest.approx(1_767_225_600.123456)
    for text in ("", "yesterday", "0001-01-01T00:00:00Z", "9999-99-99T00:00:00Z", "2026-01-01"):
        assert isinstance(timestamp(text), float)


# ---------------------------------------------------------------------------------------------------------------- many at once


def test_images_come_and_go_at_once_without_harm_to_each_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            shared = {"shared": os.urandom(50_000)}

            async def live(number: int) -> None:
                for turn in range(6):
                    name = f"app{number}:{turn}"
                    await make_image(here.images, name, shared, {"own": name.encode()})
                    data = await collected(here.images.save((name,)))
                    await here.images.remove(name)
                    await here.images.load(pieces(data))
                    assert len(await here.images.layers_of(here.images.resolve(name).id)) == 2
                    if turn % 2:
                        await here.images.remove(name)

            await asyncio.gather(*(live(number) for number in range(6)))
            assert len(here.images.all()) == 18
            for image in here.images.all():
                for digest in (image.id, image.manifest.digest, *(layer.digest for layer in image.layers)):
                    assert here.images.content.has(digest)
                assert set(await here.images.layers_of(image.id)) <= set(here.snapshots.chains)
            await here.images.prune(dangling=False)
            assert here.blobs() == set()
            assert here.snapshots.chains == {}

    run(story())


def test_what_the_disk_refuses_is_not_said_to_be_there(tmp_path: Path) -> None:
    from cloudstead.kernel.errors import Unavailable

    async def story() -> None:
        backend = MemoryBackend()
        clock = SystemClock()
        store = Store.in_memory(backend, clock=clock)
        images = LocalImages(tmp_path, store, clock, CheckingSnapshots())  # type: ignore[arg-type]
        await images.start()
        layer, diff_id = await images.add_layer(pieces(tar_of({"a": b"1"})))

        def refuse(writes: object) -> None:
            raise OSError(28, "No space left on device")

        backend.write, write = refuse, backend.write  # type: ignore[assignment,method-assign]
        with pytest.raises(Unavailable):
            await images.put_image(ImageConfig(rootfs=RootFs((diff_id,))), (layer,), references=("a:1",))
        assert images.all() == []
        backend.write = write  # type: ignore[method-assign]
        await images.put_image(ImageConfig(rootfs=RootFs((diff_id,))), (layer,), references=("a:1",))
        assert images.resolve("a:1")
        await images.stop()
        await store.close()

    run(story())
