"""Volumes: made, used, mounted, removed; against a real engine host where there may be one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.errors import Conflict, EngineError, Failed, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.host.client import HostClient, needs_root
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.volumes import commands
from cloudstead.engine.volumes.model import USES, VOLUMES
from cloudstead.engine.volumes.volumes import Volumes
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.store import MemoryBackend, Store

needs_host = pytest.mark.skipif(bool(needs_root()), reason="mounting needs root")


def with_host(tmp_path: Path, story: Callable[[Volumes, Store, HostClient], Awaitable[None]]) -> None:
    """Tell a story with a host of its own, and leave nothing behind."""

    async def run() -> None:
        layout = Layout(tmp_path / "data")
        host = HostClient(layout)
        await host.start()
        store = Store.in_memory(clock=SystemClock())
        volumes = Volumes(store, SystemClock(), host)
        try:
            await story(volumes, store, host)
        finally:
            for row in store.table(VOLUMES).scan():
                for user in volumes.users(row.name):
                    await volumes.release(row.name, user)
                await volumes.remove(row.name)
            await host.close()
            shutil.rmtree(layout.run, ignore_errors=True)

    asyncio.run(run())


def without_host(story: Callable[[Volumes, Store], Awaitable[None]], backend: MemoryBackend | None = None) -> None:
    async def run() -> None:
        store = Store.in_memory(backend, clock=SystemClock())
        await story(Volumes(store, SystemClock(), None), store)

    asyncio.run(run())


def mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def fill(folder: Path) -> None:
    for number in range(1000):
        (folder / str(number)).touch()


async def refused(kind: type[EngineError], waiting: Awaitable[Any]) -> str:
    with pytest.raises(kind) as caught:
        await waiting
    return caught.value.message


@needs_host
def test_a_volume_is_a_folder_that_its_removal_takes_away(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        row = await volumes.create("data", labels={"a": "b"})
        folder = Path(volumes.mountpoint("data"))
        assert (row.labels, row.anonymous, folder) == ({"a": "b"}, False, host.layout.volumes / "data" / "_data")
        assert os.lstat(folder).st_mode & 0o777 == 0o755
        assert folder.parent.parent.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x" * 1000)
        os.link(folder / "deep" / "file", folder / "again")
        assert (await volumes.usage())["data"].size == 1000
        await volumes.remove("data")
        assert not folder.parent.exists()
        assert await refused(NotFound, volumes.remove("data")) == "get data: no such volume"

    with_host(tmp_path, story)


def test_a_volume_without_a_name_gets_one_of_64_digits_and_is_anonymous() -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        row = await volumes.create()
        assert len(row.name) == 64
        assert int(row.name, 16)
        assert row.anonymous
        assert row.labels == {"com.docker.volume.anonymous": ""}

    without_host(story)


def test_a_name_that_is_there_is_found_again_as_it_was() -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        first = await volumes.create("data", labels={"a": "b"})
        assert await volumes.create("data", labels={"c": "d"}) == first

    without_host(story)


@pytest.mark.parametrize("name", ["../up", "a/b", "-x", ".hidden", "a b", "a\n", "é!"])
def test_a_name_that_is_no_single_folder_is_refused(name: str) -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        assert "includes invalid characters for a local volume name" in await refused(InvalidArgument, volumes.create(name))

    without_host(story)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "1g"}, 'invalid option: "size"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "tmpfs"}, 'missing required option: "type"'),
        ({"o": "ro"}, 'missing required option: "type"'),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        assert await refused(InvalidArgument, volumes.create("data", options=options)) == message
        assert volumes.all() == []

    without_host(story)


def test_a_volume_that_a_container_has_stays_until_that_is_gone() -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        await volumes.create("data")
        await volumes.use("data", "c1")
        await volumes.use("data", "c1")
        await volumes.use("data", "c2")
        assert await refused(Conflict, volumes.remove("data")) == "remove data: volume is in use - [c1, c2]"
        await volumes.release("data", "c1")
        await volumes.release("data", "c1")
        assert await volumes.release_all("c2") == ["data"]
        await volumes.remove("data")

    without_host(story)


def test_uses_and_volumes_are_known_after_a_restart() -> None:
    backend = MemoryBackend()

    async def before(volumes: Volumes, store: Store) -> None:
        await volumes.create("data", options={"type": "tmpfs", "device": "tmpfs"})
        await volumes.use("data", "c1")
        await store.settled()

    async def after(volumes: Volumes, store: Store) -> None:
        assert volumes.get("data").options == {"type": "tmpfs", "device": "tmpfs"}
        assert volumes.users("data") == ["c1"]

    without_host(before, backend)
    without_host(after, backend)


def test_pruning_takes_what_nobody_named_and_nobody_has() -> None:
    async def story(volumes: Volumes, store: Store) -> None:
        await volumes.create("named")
        used = await volumes.create()
        await volumes.use(used.name, "c1")
        unused = await volumes.create()
        kept = await volumes.create(labels={"keep": "yes"})
        assert (await volumes.prune(keep=lambda row: "keep" in row.labels)).names == (unused.name,)
        assert set((await volumes.prune(anonymous_only=False)).names) == {"named", kept.name}
        assert [row.name for row in volumes.all()] == [used.name]

    without_host(story)


@needs_host
def test_a_tmpfs_is_mounted_with_its_first_use_and_gone_with_its_last(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        await volumes.create("fast", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,noexec,uid=1000"})
        folder = volumes.mountpoint("fast")
        assert folder not in mounts()
        await volumes.use("fast", "c1")
        await volumes.use("fast", "c2")
        assert mounts().count(folder) == 1
        stat = os.statvfs(folder)
        assert (stat.f_blocks * stat.f_frsize, bool(stat.f_flag & os.ST_NOEXEC), os.stat(folder).st_uid) == (1 << 20, True, 1000)
        await volumes.release("fast", "c1")
        assert folder in mounts()
        await volumes.release("fast", "c2")
        assert folder not in mounts()

    with_host(tmp_path, story)


@needs_host
def test_a_folder_of_the_host_is_bound_and_survives_the_volume(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        source = tmp_path / "source"
        source.mkdir()
        (source / "kept").write_text("here")
        await volumes.create("bound", options={"type": "none", "device": str(source), "o": "bind,ro"})
        await volumes.use("bound", "c1")
        content = Path(volumes.mountpoint("bound"))
        assert (content / "kept").read_text() == "here"
        with pytest.raises(OSError, match="Read-only"):
            (content / "new").write_text("x")
        await volumes.release("bound", "c1")
        await volumes.remove("bound")
        assert (source / "kept").read_text() == "here"

    with_host(tmp_path, story)


@needs_host
def test_removing_while_it_is_still_mounted_never_deletes_what_is_mounted(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        source = tmp_path / "source"
        source.mkdir()
        (source / "kept").write_text("here")
        await volumes.create("bound", options={"type": "none", "device": str(source), "o": "bind"})
        await volumes.use("bound", "c1")
        with store.transaction() as tx:  # as if the use had been lost
            tx.delete(USES, ("bound", "c1"))
        await volumes.remove("bound")
        assert (source / "kept").read_text() == "here"
        assert not [mount for mount in mounts() if mount.startswith(str(tmp_path))]

    with_host(tmp_path, story)


@needs_host
@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"type": "none", "device": "/does/not/exist", "o": "bind"}, NotFound, "no such file or directory"),
        ({"type": "nosuchfs", "device": "x"}, Unsupported, "this kernel has no file system nosuchfs"),
        ({"type": "nfs", "device": ":/x", "o": "addr=host.invalid"}, Failed, "error resolving passed in network volume address"),
    ],
)
def test_what_cannot_be_mounted_says_why_and_is_used_by_nobody(
    tmp_path: Path, options: dict[str, str], kind: type[EngineError], said: str
) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        await volumes.create("bad", options=options)
        assert said in await refused(kind, volumes.use("bad", "c1"))
        assert volumes.users("bad") == []

    with_host(tmp_path, story)


@needs_host
def test_a_removal_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        await volumes.create("half")
        await volumes.create("whole")
        folder = host.layout.volumes
        (folder / ".removed-older").mkdir()
        (folder / ".removed-older" / "file").touch()
        (folder / "empty-stray" / "_data").mkdir(parents=True)
        (folder / "full-stray" / "_data").mkdir(parents=True)
        (folder / "full-stray" / "_data" / "precious").touch()
        with store.transaction() as tx:
            tx.update(VOLUMES, volumes.get("half"), removing=True)
        assert await volumes.sweep() == ["the volume half, whose removal was cut off"]
        assert sorted(path.name for path in folder.iterdir()) == ["full-stray", "whole"]
        assert await volumes.sweep() == []

    with_host(tmp_path, story)


@needs_host
def test_a_volume_may_be_removed_and_swept_at_once(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        for number in range(4):
            await volumes.create(name := f"large-{number}")
            fill(Path(volumes.mountpoint(name)))
            removing = asyncio.ensure_future(volumes.remove(name))
            while not removing.done():
                await host.call(commands.SweepVolumes(keep=(name,)))
            await removing
        assert list(host.layout.volumes.iterdir()) == []

    with_host(tmp_path, story)


@needs_host
def test_many_at_once_for_one_name_make_one_volume(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        rows = await asyncio.gather(*(volumes.create("data") for _ in range(20)), *(volumes.create() for _ in range(5)))
        assert len({row.name for row in rows}) == 6
        assert volumes._locks == {}

    with_host(tmp_path, story)


@needs_host
def test_what_a_container_had_that_is_no_more_is_released_when_it_is_met_twice(tmp_path: Path) -> None:
    async def story(volumes: Volumes, store: Store, host: HostClient) -> None:
        await volumes.create("data")
        await volumes.use("data", "c1")
        await volumes.use("data", "c2")
        assert await volumes.release_strays({"c2"}) == []
        assert await volumes.release_strays({"c2"}) == ["the volumes of the container c1, which is no more"]
        assert volumes.users("data") == ["c2"]

    with_host(tmp_path, story)
