"""Chains and writables: mounted, removed, in use, made by two at once, found again after crashes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from snapshot_support import (
    Ground,
    children,
    collect,
    folder,
    ground_in,
    gzipped,
    member,
    members_of,
    module_ground,
    needs_host,
    pieces,
    symlink,
    tar,
    tree,
    until,
)
from snapshot_support import ground as ground

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound, NotPermitted, Unavailable, Unsupported

pytestmark = needs_host
__all__ = ["ground", "module_ground"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Ground]:
    """A host of the test's own, to be killed."""
    with ground_in(tmp_path) as made:
        yield made


def mount(ground: Ground, key: str, *chains: str, skeleton: bool = False) -> Path:
    return Path(ground.run(ground.snapshots.mount(key, chains, skeleton=skeleton)))


def stacked(ground: Ground, *layers: bytes) -> list[str]:
    chains: list[str] = []
    for layer in layers:
        chains.append(ground.unpack(layer, parent=chains[-1] if chains else "").chain_id)
    return chains


# writables


def test_a_stack_shows_the_uppermost_of_each_name(ground: Ground) -> None:
    chains = stacked(
        ground,
        tar(member("a", b"1"), folder("d"), member("d/x", b"1"), member("d/y", b"1"), folder("gone"), member("gone/f", b"")),
        tar(member("a", b"2"), member("d/.wh.x"), member(".wh.gone")),
        tar(folder("d"), member("d/.wh..wh..opq"), member("d/z", b"3")),
    )
    where = mount(ground, "stack", *chains)
    assert tree(where) == {"a": "-rw-r--r-- 0:0 2", "d": "drwxr-xr-x 0:0", "d/z": "-rw-r--r-- 0:0 3"}
    ground.run(ground.snapshots.remove("stack"))


def test_what_is_written_stays_over_unmounting_and_is_no_one_elses(ground: Ground) -> None:
    chains = stacked(ground, tar(member("a", b"1")))
    one, two = mount(ground, "one", *chains), mount(ground, "two", *chains)
    (one / "a").write_text("changed")
    assert (two / "a").read_text() == "1"
    ground.run(ground.snapshots.unmount("one"))
    ground.run(ground.snapshots.unmount("one"))
    assert os.listdir(one) == []
    assert mount(ground, "one", *chains) == one == mount(ground, "one", *chains)
    assert (one / "a").read_text() == "changed"
    assert len(ground.mounts()) == 2
    for key in ("one", "two", "one"):
        ground.run(ground.snapshots.remove(key))
    assert (ground.mounts(), os.listdir(ground.layout.containers)) == ([], [])
    assert ground.unpack(tar(member("a", b"1"))).chain_id == chains[0], "the layer itself was not touched"
    assert (ground.folder(chains[0]) / "a").read_text() == "1"


def test_a_root_file_system_without_layers_is_empty(ground: Ground) -> None:
    where = mount(ground, "scratch")
    assert os.listdir(where) == []
    (where / "file").write_text("x")
    ground.run(ground.snapshots.remove("scratch"))
    assert sorted(os.listdir(mount(ground, "scratch", skeleton=True))) == [".dockerenv", "dev", "etc", "proc", "sys"]
    ground.run(ground.snapshots.remove("scratch"))


def test_the_root_has_the_attributes_that_the_image_gives_it(ground: Ground) -> None:
    chains = stacked(ground, tar(folder("./", 0o711, uid=5, gid=6)), tar(member("a", b"")))
    for skeleton in (False, True):
        status = mount(ground, "root", *chains, skeleton=skeleton).stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o711, 5, 6)
        ground.run(ground.snapshots.remove("root"))


def test_a_skeleton_does_not_follow_links_of_the_image_out(ground: Ground) -> None:
    out = str(ground.outside)
    chains = stacked(ground, tar(symlink("etc", out), symlink("dev", "/../../../../.." + out), symlink("proc", "/nowhere")))
    where = mount(ground, "skeleton", *chains, skeleton=True)
    assert sorted(os.listdir(where / out.lstrip("/"))) == ["hostname", "hosts", "mtab", "resolv.conf"]
    assert sorted(os.listdir(where / "dev")) == ["console", "pts", "shm"], "the runtime goes there by its path: it is no link any more"
    assert all((where / name).is_dir() and not (where / name).is_symlink() for name in ("dev", "proc", "sys"))
    assert os.listdir(ground.outside) == ["secret"]
    ground.run(ground.snapshots.remove("skeleton"))


def test_a_skeleton_leaves_what_the_image_has(ground: Ground) -> None:
    chains = stacked(
        ground, tar(folder("etc", 0o700, uid=9), member("etc/hosts", b"mine"), symlink("etc/resolv.conf", "../run/resolv.conf"))
    )
    where = mount(ground, "has", *chains, skeleton=True)
    assert (where / "etc/hosts").read_text() == "mine"
    assert os.readlink(where / "etc/resolv.conf") == "../run/resolv.conf"
    assert (where / "etc").stat().st_uid == 9
    ground.run(ground.snapshots.remove("has"))


def test_more_than_a_hundred_layers_are_mounted(ground: Ground) -> None:
    chains = stacked(ground, *(tar(member(f"layer{number}", b"x")) for number in range(130)))
    where = mount(ground, "tall", *chains, skeleton=True)
    assert sum(name.startswith("layer") for name in os.listdir(where)) == 130
    ground.run(ground.snapshots.remove("tall"))
    for chain in reversed(chains):
        ground.run(ground.snapshots.remove_snapshot(chain))


def test_a_key_is_one_name_over_one_stack(ground: Ground) -> None:
    chains = stacked(ground, tar(member("a", b"1")), tar(member("b", b"2")))
    mount(ground, "key", *chains)
    with pytest.raises(Conflict):
        mount(ground, "key", chains[0])
    ground.run(ground.snapshots.remove("key"))
    for bad in ("../key", "a/b", "", ".", "-x"):
        with pytest.raises(InvalidArgument):
            mount(ground, bad)
    with pytest.raises(NotFound):
        mount(ground, "key", "sha256:" + "9" * 64)
    with pytest.raises(InvalidArgument):
        mount(ground, "key", "sha256:../../etc")
    assert os.listdir(ground.layout.containers) == []


def test_a_size_that_cannot_be_held_is_refused(ground: Ground) -> None:
    with pytest.raises(Unsupported, match="quota"):
        ground.run(ground.snapshots.mount("sized", (), size=1 << 20))
    assert os.listdir(ground.layout.containers) == []


def test_mounting_is_quick_and_unmounting_waits_for_no_disk(ground: Ground) -> None:
    chains = stacked(ground, tar(member("a", b"1")))
    mount(ground, "warm", *chains, skeleton=True)
    (mount(ground, "dirty", *chains) / "big").write_bytes(bytes(60_000_000))
    began = time.monotonic()
    mount(ground, "quick", *chains, skeleton=True)
    ground.run(ground.snapshots.unmount("dirty"))
    ground.run(ground.snapshots.unmount("quick"))
    assert time.monotonic() - began < 0.1
    for key in ("warm", "dirty", "quick"):
        ground.run(ground.snapshots.remove(key))


def test_a_volatile_writable_can_be_mounted_again(tmp_path: Path) -> None:
    with ground_in(tmp_path, overlay_volatile="yes") as volatile:
        (mount(volatile, "v") / "f").write_text("f")
        assert "volatile" in Path("/proc/self/mountinfo").read_text().split("/containers/v/rootfs", 1)[1].splitlines()[0]
        volatile.run(volatile.snapshots.unmount("v"))
        assert (mount(volatile, "v") / "f").read_text() == "f"


def test_a_data_directory_on_an_overlay_is_refused_with_a_reason(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    linux.mount(
        "overlay", str(tmp_path / "merged"), "overlay", 0, f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    )
    try:
        with ground_in(tmp_path / "merged") as nested:
            assert "put the data directory on a volume" in nested.refused(tar(), Unsupported)
            with pytest.raises(Unsupported, match="put the data directory on a volume"):
                mount(nested, "nested")
            assert os.listdir(nested.layout.containers) == []
    finally:
        linux.unmount(str(tmp_path / "merged"), linux.MNT_DETACH)


# chains


def test_chains_are_listed_with_their_sizes_and_removed_from_the_top(ground: Ground) -> None:
    low, high = stacked(ground, tar(member("low", bytes(1000))), tar(member("high", bytes(50))))
    assert ground.run(ground.snapshots.has(low))
    found = ground.run(ground.snapshots.list_snapshots())
    assert (found[low], found[high]) == (1000, 50)
    with pytest.raises(Conflict, match="lie over"):
        ground.run(ground.snapshots.remove_snapshot(low))
    assert ground.run(ground.snapshots.remove_snapshot(high)) == 50
    assert ground.run(ground.snapshots.remove_snapshot(low)) == 1000
    with pytest.raises(NotFound):
        ground.run(ground.snapshots.remove_snapshot(low))
    assert not ground.run(ground.snapshots.has(low))


def test_a_chain_under_a_container_is_not_removed(ground: Ground) -> None:
    (chain,) = stacked(ground, tar(member("used", b"x")))
    mount(ground, "user", chain, skeleton=True)
    for _ in range(2):
        with pytest.raises(Conflict, match="user lies over"):
            ground.run(ground.snapshots.remove_snapshot(chain))
        ground.run(ground.snapshots.unmount("user"))
    ground.run(ground.snapshots.remove("user"))
    ground.run(ground.snapshots.remove_snapshot(chain))


def test_two_at_once_for_one_chain_unpack_it_once(ground: Ground) -> None:
    data = tar(*(member(f"f{number}", os.urandom(100)) for number in range(500)))
    diff_id = ground.unpack(data).diff_id
    ground.run(ground.snapshots.remove_snapshot(diff_id))
    folders = set(os.listdir(ground.layout.snapshots))

    async def both() -> list[str]:
        with ground.blob(data) as one, ground.blob(gzipped(data)) as two, ground.blob(b"nonsense") as three:
            tasks = [ground.snapshots.unpack(fd, media_type="", parent="", diff_id=diff_id) for fd in (one, two, three)]
            return [unpacked.chain_id for unpacked in await asyncio.gather(*tasks)]

    assert ground.run(both()) == [diff_id] * 3
    assert len(set(os.listdir(ground.layout.snapshots)) - folders) == 1


def test_who_waits_for_another_goes_on_when_that_one_fails_or_goes_away(ground: Ground) -> None:
    data = tar(*(member(f"g{number}", os.urandom(1000)) for number in range(2000)))
    diff_id = ground.unpack(data).diff_id
    ground.run(ground.snapshots.remove_snapshot(diff_id))

    async def story() -> None:
        with ground.blob(b"damaged") as bad, ground.blob(data) as good:
            first = asyncio.ensure_future(ground.snapshots.unpack(bad, media_type="", parent="", diff_id=diff_id))
            second = asyncio.ensure_future(ground.snapshots.unpack(good, media_type="", parent="", diff_id=diff_id))
            third = asyncio.ensure_future(ground.snapshots.unpack(good, media_type="", parent="", diff_id=diff_id))
            with pytest.raises(InvalidArgument):
                await first
            await asyncio.sleep(0.01)
            second.cancel()
            assert (await third).diff_id == diff_id

    ground.run(story())
    ground.settled()


def test_an_unpacking_that_is_cancelled_leaves_nothing(ground: Ground) -> None:
    data = tar(*(member(f"h{number}", os.urandom(1000)) for number in range(5000)))
    before = ground.descriptors()

    async def story() -> None:
        with ground.blob(data) as fd:
            task = asyncio.ensure_future(ground.snapshots.unpack(fd, media_type="", parent=""))
            await until(lambda: bool(children(ground.pid)))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: not any(name.startswith(("new-", "gone-")) for name in os.listdir(ground.layout.snapshots)))

    ground.run(story())
    ground.settled()
    ground.run(until(lambda: ground.descriptors() <= before))


def test_nothing_of_the_host_grows_with_what_it_does(ground: Ground) -> None:
    def round_() -> None:
        chains = stacked(ground, tar(member("grow", b"x")), tar(member("grow2", b"y")))
        where = mount(ground, "grow", *chains, skeleton=True)
        (where / "new").write_text("n")
        ground.run(ground.snapshots.changes("grow"))
        ground.run(collect(ground.snapshots.archive("grow", "/new")))
        ground.run(ground.snapshots.unarchive("grow", "/", pieces(tar(member("put", b"p")))))
        ground.refused(tar(member("../x", b"")), NotPermitted)
        kept = ground.run(ground.snapshots.keep("grow", chains[-1]))
        for chain in (kept.chain_id, *reversed(chains)):
            ground.run(ground.snapshots.remove_snapshot(chain))
        ground.settled()

    for _ in range(2):
        round_()
    ground.run(asyncio.sleep(0.1))  # unmounted file systems are let go of a moment later
    ground.settled()
    before = (ground.descriptors(), set(os.listdir(ground.layout.snapshots)), len(ground.mounts()))
    for _ in range(10):
        round_()
    ground.run(until(lambda: ground.descriptors() <= before[0]))
    assert (set(os.listdir(ground.layout.snapshots)), len(ground.mounts())) == before[1:]


# crashes


def test_a_killed_host_leaves_only_what_the_sweep_takes_away(own: Ground) -> None:
    kept = own.unpack(tar(member("kept", b"k"))).chain_id
    where = mount(own, "alive", kept)
    (where / "written").write_text("w")
    data = tar(*(member(f"f{number}", os.urandom(5000)) for number in range(4000)))

    async def crash() -> None:
        with own.blob(data) as fd:
            task = asyncio.ensure_future(own.snapshots.unpack(fd, media_type="", parent=""))
            await until(lambda: any(name.startswith("new-") for name in os.listdir(own.layout.snapshots)))
            os.kill(own.pid, 9)
            with pytest.raises(Unavailable):
                await task

    own.run(crash())
    own.kill_host()
    own.start()
    assert any(name.startswith("new-") for name in os.listdir(own.layout.snapshots))
    told = own.run(own.snapshots.sweep())
    assert [sentence.startswith("removed the snapshot folder new-") for sentence in told] == [True]
    own.look()
    assert own.run(own.snapshots.sweep()) == []
    assert (where / "written").read_text() == "w", "what is mounted goes on"
    assert own.run(own.snapshots.list_snapshots()) == {kept: 1}
    assert own.run(own.snapshots.list_writables()) == ("alive",)


def test_the_sweep_takes_folders_that_no_chain_names_and_halves_of_writables(own: Ground) -> None:
    chain = own.unpack(tar(member("a", b""))).chain_id
    mount(own, "whole", chain, skeleton=True)
    own.run(own.snapshots.unmount("whole"))
    own.run(own.host.close())
    (own.layout.snapshots / "abcdef" / "deep").mkdir(parents=True)
    (own.layout.snapshots / "abcdef-").mkdir()
    (own.layout.snapshots / "gone-1-2-3").mkdir()
    (own.layout.snapshots / "chains" / "half.new").write_text("{")
    (own.layout.snapshots / "chains" / ("7" * 64)).write_text("{")
    (own.layout.containers / "half" / "upper").mkdir(parents=True)
    (own.layout.containers / "half" / "config.json").write_text("the runtime's")
    own.start()
    assert len(own.run(own.snapshots.sweep())) == 4
    own.look()
    assert os.listdir(own.layout.snapshots / "chains") == [chain.removeprefix("sha256:")]
    assert os.listdir(own.layout.containers / "half") == ["config.json"]
    assert (mount(own, "whole", chain, skeleton=True) / "a").exists()


def test_a_mount_for_a_call_that_a_crash_cut_off_is_taken_away(own: Ground) -> None:
    chain = own.unpack(tar(member("big", os.urandom(30_000_000)))).chain_id
    mount(own, "cut", chain)
    own.run(own.snapshots.unmount("cut"))

    async def crash() -> None:
        stream = own.snapshots.archive("cut", "/big")
        await anext(stream)
        os.kill(own.pid, 9)
        with pytest.raises(Unavailable):
            await collect(stream)

    own.run(crash())
    own.kill_host()
    assert len(own.mounts()) == 1
    own.start()
    assert ["unmounted" in sentence for sentence in own.run(own.snapshots.sweep())] == [True]
    assert own.mounts() == []


def test_what_was_not_on_the_disk_when_the_machine_went_down_is_not_believed(own: Ground) -> None:
    low = own.unpack(tar(member("low", b"l")))
    high = own.unpack(tar(member("high", b"h")), parent=low.chain_id)
    assert all(record["boot"] for record in own.records().values())
    own.run(own.host.close())
    path = own.layout.snapshots / "chains" / low.chain_id.removeprefix("sha256:")
    path.write_text(path.read_text().replace('"boot":"', '"boot":"another-'))
    own.start()
    assert own.run(own.snapshots.list_snapshots()) == {}, "nor what lies over it"
    assert len(own.run(own.snapshots.sweep())) == 2
    again = own.unpack(tar(member("low", b"l")), diff_id=low.diff_id)
    assert own.unpack(tar(member("high", b"h")), parent=again.chain_id).chain_id == high.chain_id


def test_what_is_on_the_disk_is_marked_so(own: Ground) -> None:
    own.unpack(tar(member("a", b"a")))
    own.run(until(lambda: not any(record.get("boot") for record in own.records().values())))
    assert len(own.records()) == 1


def test_layers_are_unpacked_by_a_host_that_knows_nothing_of_the_daemons_folders(ground: Ground) -> None:
    data = gzipped(tar(member("a", b"through a descriptor")))
    assert list(members_of(ground.run(collect(ground.snapshots.layer_of(ground.unpack(data).chain_id))))) == ["a"]
