"""What happens between two steps: a root file system that goes while it is read, a removal that somebody mounts into."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from host_support import Stage

from cloudstead.engine.errors import Conflict, Failed, NotFound
from cloudstead.engine.host import forked
from cloudstead.engine.pods import commands
from cloudstead.engine.pods.host_mounts import copy_tree
from cloudstead.engine.pods.specs import Mount
from cloudstead.engine.snapshots import commands as snapshot_commands
from engine_support import why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "-")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "data")
    try:
        yield stage
    finally:
        stage.close()


def test_a_folder_of_the_host_is_not_taken_for_one_of_an_unmounted_root(tmp_path: Path) -> None:
    """The path of an open folder whose mount was taken away begins at that mount's root: the same name on the host is another folder."""
    from cloudstead.engine import linux

    inner, into, place = tmp_path / "root", tmp_path / "into", tmp_path / "place"
    for folder in (inner, into, place):
        folder.mkdir()
    linux.mount("none", str(inner), "tmpfs", 0, "size=64k")
    (inner / "etc").mkdir()
    source = os.open(inner / "etc", os.O_PATH | os.O_DIRECTORY)
    linux.unmount(str(inner), linux.MNT_DETACH)
    try:
        assert os.readlink(f"/proc/self/fd/{source}") == "/etc"
        with pytest.raises(Conflict):
            asyncio.run(forked.call(copy_tree, (source, str(into), str(place)), [source]))
        assert os.listdir(into) == []
    finally:
        os.close(source)


def test_who_looks_at_a_container_does_not_hinder_its_removal(stage: Stage) -> None:
    """Each look mounts the root of a container that does not run, and so does each archive."""

    async def looked(id: str) -> None:
        try:
            await stage.host.call(commands.FindViews(id=id, mounts=(Mount(type="bind", source="/tmp", target="/mnt"),)))
            await stage.host.call(snapshot_commands.StatPath(key=id, path="/bin"))
        except (NotFound, Conflict, Failed):  # it was removed meanwhile
            pass

    async def test(ids: list[str]) -> None:
        looks = [asyncio.ensure_future(looked(id)) for id in ids for _ in range(6)]
        for id in ids:
            await asyncio.sleep(0.002)
            await stage.host.call(snapshot_commands.RemoveWritable(key=id))
        await asyncio.gather(*looks)

    ids = [stage.create("true") for _ in range(6)]
    for id in ids:
        stage.wait(id)
        stage.call(commands.CleanUpContainer(id=id))
    stage.run(test(ids))
    for id in ids:
        assert not (stage.layout.containers / id / "upper").exists()


def test_what_a_call_reads_stays_mounted_until_it_has_ended(tmp_path: Path) -> None:
    """A container is cleaned up when it ends, and an export may just have found its root mounted: it must not be left with an empty folder."""
    from cloudstead.engine import linux
    from cloudstead.engine.host.layout import Layout
    from cloudstead.engine.snapshots.host_mounts import shelf_of, unmount_writable

    host: Any = SimpleNamespace(layout=Layout(tmp_path), parts={}, options={})
    folder = tmp_path / "engine" / "containers" / "abc"
    (folder / "rootfs").mkdir(parents=True)
    (tmp_path / "engine" / "snapshots").mkdir()
    linux.mount("none", str(folder / "rootfs"), "tmpfs", 0, "size=64k")
    try:
        shelf_of(host).borrowers["abc"] = 1
        unmount_writable(host, "abc")
        assert os.path.ismount(folder / "rootfs")
        assert (folder / "borrowed").exists()  # the last who reads it takes it away
    finally:
        linux.unmount(str(folder / "rootfs"), linux.MNT_DETACH)
