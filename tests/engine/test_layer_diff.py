"""What a container wrote: as a layer's tar that makes the same again elsewhere, as a list of changes, in bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from snapshot_support import (
    Ground,
    collect,
    content_of,
    folder,
    hardlink,
    member,
    members_of,
    module_ground,
    needs_host,
    symlink,
    tar,
    tree,
    until,
)
from snapshot_support import ground as ground

from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import Change

pytestmark = needs_host
__all__ = ["ground", "module_ground"]

BASE = tar(
    folder("etc", 0o755),
    member("etc/passwd", b"root"),
    member("etc/group", b"root"),
    folder("var"),
    folder("var/lib", 0o711, uid=3),
    member("var/lib/a", b"a"),
    member("var/lib/b", b"b"),
    folder("var/lib/sub"),
    member("var/lib/sub/c", b"c"),
    symlink("lib", "var/lib"),
    member("twin", b"t"),
    hardlink("twin2", "twin"),
)


class Written:
    """A writable over BASE, and what the tests ask of it."""

    def __init__(self, ground: Ground, key: str, skeleton: bool = False) -> None:
        self.ground, self.key = ground, key
        self.base = ground.unpack(BASE).chain_id
        ground.run(ground.snapshots.remove(key))
        self.root = Path(ground.run(ground.snapshots.mount(key, (self.base,), skeleton=skeleton)))

    def diff(self) -> bytes:
        return self.ground.run(collect(self.ground.snapshots.diff(self.key)))

    def changes(self) -> dict[str, str]:
        return {change.path: change.kind for change in self.ground.run(self.ground.snapshots.changes(self.key))}


@pytest.fixture
def written(ground: Ground) -> Iterator[Written]:
    yield Written(ground, "diff")
    ground.run(ground.snapshots.remove("diff"))


def test_nothing_written_is_an_empty_layer(written: Written) -> None:
    assert written.diff() == bytes(1024)
    assert written.changes() == {}
    assert written.ground.run(written.ground.snapshots.usage("diff")) == 0


def test_the_places_that_a_runtime_mounts_on_are_in_no_diff(ground: Ground) -> None:
    written = Written(ground, "diff", skeleton=True)
    assert sorted(os.listdir(written.root)) == [".dockerenv", "dev", "etc", "lib", "proc", "sys", "twin", "twin2", "var"]
    assert sorted(os.listdir(written.root / "etc")) == ["group", "hostname", "hosts", "mtab", "passwd", "resolv.conf"]
    assert written.changes() == {}
    (written.root / "etc/new").write_text("n")
    assert list(members_of(written.diff())) == ["etc", "etc/new"]
    ground.run(ground.snapshots.remove("diff"))


def test_a_diff_unpacked_over_the_same_layers_shows_the_same_files(written: Written) -> None:
    root = written.root
    (root / "etc/passwd").write_text("root and others")
    os.chmod(root / "etc/group", 0o4750)
    os.chown(root / "etc/group", 12, 13)
    shutil.rmtree(root / "var/lib/sub")
    (root / "var/lib/sub").mkdir()
    (root / "var/lib/sub/new").write_text("n")
    (root / "var/lib/a").unlink()
    (root / "var/lib/b").rename(root / "moved")
    (root / "lib").unlink()
    (root / "lib").mkdir()
    os.link(root / "moved", root / "lib/linked")
    os.mkfifo(root / "pipe", 0o620)
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.setxattr(root / "etc/passwd", "user.note", b"\0\xff=\n")
    os.setxattr(root / "var", "user.on-folder", b"1")
    (root / ("n" * 200)).write_text("long")
    (root / ("d" * 99)).mkdir()
    (root / ("d" * 99) / ("e" * 100)).write_text("split")
    (root / "to").symlink_to("t" * 150)
    os.utime(root / "moved", ns=(0, 1234567890_987654321))
    os.chown(root / "to", 3_000_000, 4, follow_symlinks=False)
    layer = written.diff()
    ground = written.ground
    above = ground.unpack(layer, parent=written.base)
    again = Path(ground.run(ground.snapshots.mount("again", (written.base, above.chain_id), skeleton=False)))
    try:
        assert tree(again) == tree(root)
        assert (again / "moved").stat().st_mtime_ns == 1234567890_987654321
        assert os.getxattr(again / "etc/passwd", "user.note") == b"\0\xff=\n"
        assert os.getxattr(again / "var", "user.on-folder") == b"1"
        assert (again / "moved").stat().st_ino == (again / "lib/linked").stat().st_ino
        assert [path.lstat().st_mtime_ns for path in sorted(again.rglob("*"))] == [
            path.lstat().st_mtime_ns for path in sorted(root.rglob("*"))
        ]
    finally:
        ground.run(ground.snapshots.remove("again"))


def test_removed_things_are_whiteouts_and_replaced_folders_opaque(written: Written) -> None:
    (written.root / "etc/group").unlink()
    shutil.rmtree(written.root / "var/lib")
    (written.root / "var/lib").mkdir()
    (written.root / "var/lib/z").write_text("z")
    names = list(members_of(written.diff()))
    assert names == ["etc", "etc/.wh.group", "var", "var/lib", "var/lib/.wh..wh..opq", "var/lib/z"]


def test_the_same_files_give_the_same_bytes(written: Written) -> None:
    def write(names: list[str]) -> None:
        for name in names:
            (written.root / name).write_text(name)
            os.utime(written.root / name, ns=(0, 5_000_000_000))
        os.utime(written.root, ns=(0, 6))

    write(["b", "a", "c"])
    first = written.diff()
    time.sleep(0.01)
    for name in "abc":
        (written.root / name).unlink()
    write(["c", "b", "a"])
    assert written.diff() == first
    assert list(members_of(first)) == ["a", "b", "c"]
    info = members_of(first)["a"]
    assert (info.uname, info.gname, info.mtime) == ("", "", 5)


def test_gnu_tar_reads_what_is_written(written: Written, tmp_path: Path) -> None:
    (written.root / ("x" * 150)).write_text("long name")
    (written.root / "etc/passwd").write_text("changed")
    os.utime(written.root / "etc/passwd", ns=(0, 1_600_000_000_500_000_000))
    (written.root / "umlaut-ü").write_text("u")
    subprocess.run(["tar", "-C", tmp_path, "-xf", "-"], input=written.diff(), check=True)
    assert (tmp_path / ("x" * 150)).read_text() == "long name"
    assert (tmp_path / "umlaut-ü").read_text() == "u"
    assert (tmp_path / "etc/passwd").stat().st_mtime_ns == 1_600_000_000_500_000_000


def test_names_that_are_no_utf_8_go_there_and_back(written: Written) -> None:
    raw = os.fsencode(written.root)
    for name in (b"\xff\xfe", b"\x80" * 130):
        with open(raw + b"/" + name, "wb") as file:
            file.write(b"x")
    os.symlink(b"\xc0" * 120, raw + b"/l")
    root = written.ground.unpacked(written.diff())
    assert sorted(os.listdir(os.fsencode(root))) == [b"l", b"\x80" * 130, b"\xff\xfe"]
    assert os.readlink(os.fsencode(root / "l")) == b"\xc0" * 120


def test_sockets_are_left_out(written: Written) -> None:
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(written.root)
    listener.bind("sock")
    os.chdir(here)
    listener.close()
    (written.root / "file").write_text("f")
    assert list(members_of(written.diff())) == ["file"]


def test_a_changed_root_folder_is_in_the_layer(written: Written) -> None:
    os.chmod(written.root, 0o711)
    info = members_of(written.diff())["."]
    assert (info.isdir(), info.mode) == (True, 0o711)


def test_a_file_that_shrinks_or_grows_meanwhile_keeps_its_announced_size(written: Written) -> None:
    (written.root / "big").write_bytes(b"x" * 3_000_000)
    stream = written.ground.snapshots.diff("diff")

    async def shrink() -> bytes:
        data = await anext(stream)
        (written.root / "big").write_bytes(b"short")
        return data + b"".join([piece async for piece in stream])

    assert len(content_of(written.ground.run(shrink()), "big")) == 3_000_000


def test_changes_are_what_docker_diff_would_say(written: Written) -> None:
    root = written.root
    (root / "etc/passwd").write_text("changed")
    (root / "etc/new").write_text("n")
    (root / "var/lib/a").unlink()
    shutil.rmtree(root / "var/lib/sub")
    (root / "top").mkdir()
    (root / "top/inner").write_text("i")
    (root / "twin").unlink()
    assert written.changes() == {
        "/etc": "modified",
        "/etc/new": "added",
        "/etc/passwd": "modified",
        "/top": "added",
        "/top/inner": "added",
        "/twin": "deleted",
        "/var": "modified",
        "/var/lib": "modified",
        "/var/lib/a": "deleted",
        "/var/lib/sub": "deleted",
    }
    assert written.ground.run(written.ground.snapshots.changes("diff"))[0] == Change("/etc", "modified")


def test_a_replaced_folder_tells_what_is_gone_from_it(written: Written) -> None:
    shutil.rmtree(written.root / "var/lib")
    (written.root / "var/lib/sub").mkdir(parents=True)
    (written.root / "var/lib/b").write_text("another")
    assert written.changes() == {
        "/var": "modified",
        "/var/lib": "modified",
        "/var/lib/a": "deleted",
        "/var/lib/b": "modified",
        "/var/lib/sub": "modified",
        "/var/lib/sub/c": "deleted",
    }
    shutil.rmtree(written.root / "var/lib")
    (written.root / "var/lib").write_text("a file now")
    assert written.changes() == {
        "/var": "modified",
        "/var/lib": "modified",
        "/var/lib/a": "deleted",
        "/var/lib/b": "deleted",
        "/var/lib/sub": "deleted",
    }


def test_what_was_made_and_removed_again_is_no_change_of_its_own(written: Written) -> None:
    (written.root / "tmp").write_text("t")
    (written.root / "tmp").unlink()
    assert written.changes() == {}
    with open(written.root / "etc/passwd", "r+b"):
        pass
    assert written.changes() == {}, "opened for writing and left as it was"


def test_usage_counts_each_file_once(written: Written) -> None:
    (written.root / "a").write_bytes(bytes(1000))
    os.link(written.root / "a", written.root / "b")
    (written.root / "etc/passwd").write_bytes(bytes(50))
    assert written.ground.run(written.ground.snapshots.usage("diff")) == 1050


def test_what_is_kept_is_the_chain_that_its_tar_would_have_made(ground: Ground) -> None:
    written = Written(ground, "kept")
    (written.root / "etc/group").unlink()
    (written.root / "new").write_text("new")
    layer = written.diff()
    kept = ground.run(ground.snapshots.keep("kept", written.base))
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    assert kept.diff_id == digest
    assert kept.chain_id == "sha256:" + hashlib.sha256(f"{written.base} {digest}".encode()).hexdigest()
    assert ground.run(collect(ground.snapshots.layer_of(kept.chain_id))) == layer
    assert not written.root.exists()
    assert ground.run(ground.snapshots.list_writables()) == ()
    assert ground.unpack(layer, parent=written.base, diff_id=digest).chain_id == kept.chain_id
    above = Path(ground.run(ground.snapshots.mount("above", (written.base, kept.chain_id))))
    assert ((above / "new").read_text(), (above / "etc/group").exists()) == ("new", False)
    ground.run(ground.snapshots.remove("above"))


def test_what_is_kept_twice_is_one_chain(ground: Ground) -> None:
    chains = set()
    for key in ("one", "two"):
        written = Written(ground, key)
        (written.root / "same").write_text("same")
        os.utime(written.root / "same", ns=(0, 0))
        chains.add(ground.run(ground.snapshots.keep(key, written.base)).chain_id)
    assert len(chains) == 1


def test_what_is_kept_lies_over_what_it_was_mounted_over(ground: Ground) -> None:
    written = Written(ground, "wrong")
    with pytest.raises(InvalidArgument):
        ground.run(ground.snapshots.keep("wrong", ""))
    with pytest.raises(NotFound):
        ground.run(ground.snapshots.keep("nobody", written.base))
    ground.run(ground.snapshots.remove("wrong"))
    ground.run(ground.snapshots.mount("scratch", (), skeleton=False))
    assert ground.run(ground.snapshots.keep("scratch", "")).entries == 0


def test_who_stops_reading_a_diff_ends_it(written: Written) -> None:
    (written.root / "big").write_bytes(os.urandom(20_000_000))
    before = written.ground.descriptors()

    async def some() -> int:
        stream = written.ground.snapshots.diff("diff")
        size = len(await anext(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        return size

    assert 0 < written.ground.run(some()) <= 1 << 20
    written.ground.settled()
    written.ground.run(until(lambda: written.ground.descriptors() <= before))


def test_layers_and_writables_that_are_not_there_are_told_of(ground: Ground) -> None:
    for stream in (ground.snapshots.layer_of("sha256:" + "5" * 64), ground.snapshots.diff("nobody")):
        with pytest.raises(NotFound):
            ground.run(collect(stream))
    with pytest.raises(NotFound):
        ground.run(ground.snapshots.changes("nobody"))
    with pytest.raises(NotFound):
        ground.run(ground.snapshots.usage("nobody"))
