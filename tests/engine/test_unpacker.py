"""Layers as they are: every kind of tar and compression that makes them, and what the folders look like afterwards."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from snapshot_support import (
    Ground,
    folder,
    gzipped,
    hardlink,
    member,
    module_ground,
    needs_host,
    octal,
    symlink,
    tar,
    tree,
)
from snapshot_support import ground as ground

from cloudstead.engine.errors import InvalidArgument, NotFound

pytestmark = needs_host
__all__ = ["ground", "module_ground"]

PLAIN = tar(folder("etc"), member("etc/passwd", b"root:x:0:0\n"), symlink("link", "etc/passwd"), member("big", bytes(range(256)) * 5000))


def skippable(data: bytes) -> bytes:
    """A frame that zstd reads over."""
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(
    "compressed",
    [
        PLAIN,
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:700]) + gzip.compress(PLAIN[700:9000]) + gzip.compress(b"") + gzip.compress(PLAIN[9000:]),
        gzip.compress(PLAIN) + bytes(2000),
        zstandard.compress(PLAIN),
        zstandard.compress(PLAIN[:5000]) + skippable(b"between") + zstandard.compress(PLAIN[5000:]),
        skippable(b"before") + zstandard.compress(PLAIN),
        bz2.compress(PLAIN),
        lzma.compress(PLAIN),
    ],
    ids=["plain", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames", "zstd skippable", "bzip2", "xz"],
)
def test_however_a_layer_is_compressed_its_diff_id_and_files_are_the_same(ground: Ground, compressed: bytes) -> None:
    unpacked = ground.unpack(compressed)
    assert unpacked.diff_id == ground.unpack(PLAIN, diff_id=unpacked.diff_id).diff_id
    root = ground.folder(unpacked.chain_id)
    assert (root / "etc/passwd").read_bytes() == b"root:x:0:0\n"
    assert (root / "big").read_bytes() == bytes(range(256)) * 5000
    assert (unpacked.size, unpacked.entries) == (11 + 256 * 5000, 4)
    ground.run(ground.snapshots.remove_snapshot(unpacked.chain_id))


def test_the_diff_id_is_the_digest_of_all_that_comes_out(ground: Ground) -> None:
    import hashlib

    padded = PLAIN + bytes(10240)
    assert ground.unpack(gzipped(padded)).diff_id == "sha256:" + hashlib.sha256(padded).hexdigest()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
def test_what_python_writes_in_every_format_is_read(ground: Ground, form: int) -> None:
    name = "d" * 90 + "/" + "e" * (60 if form == tarfile.USTAR_FORMAT else 120) + "/" + "f" * 90
    uid = 3_000_000 if form != tarfile.USTAR_FORMAT else 30_000
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.uid, info.gid, info.mtime = 5, 0o640, uid, 12, 1_700_000_000
        file.addfile(info, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "x" * (100 if form == tarfile.USTAR_FORMAT else 300)
        file.addfile(link)
    root = ground.unpacked(out.getvalue())
    status = (root / name).lstat()
    assert ((root / name).read_text(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == ("hello", 0o640, uid, 12)
    assert status.st_mtime == 1_700_000_000
    assert os.readlink(root / "link") == link.linkname


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes_in_every_format_is_read(ground: Ground, tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "file").write_text("content")
    (source / "a" / "file").chmod(0o4711)
    os.link(source / "a" / "file", source / "a" / "b" / "again")
    (source / "link").symlink_to("a/file")
    if form != "v7":
        os.mkfifo(source / "pipe")
    if form in ("gnu", "oldgnu", "posix"):
        long = source / ("n" * 120) / ("m" * 150)
        long.mkdir(parents=True)
        (long / "deep").write_text("deep")
    subprocess.run(["tar", "-C", source, f"--format={form}", "--sort=name", "-cf", tmp_path / "x.tar", "."], check=True)
    assert tree(ground.unpacked((tmp_path / "x.tar").read_bytes())) == tree(source)


def test_times_are_kept_to_the_nanosecond_also_those_of_folders(ground: Ground) -> None:
    root = ground.unpacked(
        tar(
            member("d", kind=b"5", pax={b"mtime": b"1234567890.123456789"}),
            member("d/f", b"x", pax={b"mtime": b"-1.5"}),
            member("d/e", kind=b"5", mtime=77),
            member("d/e/g", b"y", pax={b"mtime": b"1700000000.1"}),
            member("l", kind=b"2", link="d", mtime=99),
        )
    )
    times = {name: (root / name).lstat().st_mtime_ns for name in ("d", "d/f", "d/e", "d/e/g", "l")}
    assert times == {
        "d": 1234567890_123456789,
        "d/f": -1_500_000_000,
        "d/e": 77_000_000_000,
        "d/e/g": 1700000000_100000000,
        "l": 99_000_000_000,
    }


def test_the_member_for_the_root_gives_the_root_its_attributes(ground: Ground) -> None:
    unpacked = ground.unpack(tar(folder("./", 0o750, uid=3, gid=4, mtime=5), member("a", b"")))
    status = ground.folder(unpacked.chain_id).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o750, 3, 4, 5)
    above = ground.unpack(tar(member("b", b"")), parent=unpacked.chain_id)
    status = ground.folder(above.chain_id).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o750, 3, 4), (
        "a layer that does not name it leaves it as it was"
    )


def test_folders_that_no_member_names_look_like_those_below(ground: Ground) -> None:
    capability = {b"SCHILY.xattr.user.note": b"n"}
    base = ground.unpack(
        tar(folder("srv", 0o2770, uid=5, gid=6, mtime=7), member("srv/www", kind=b"5", mode=0o1700, uid=8, pax=capability))
    )
    top = ground.unpack(tar(member("srv/www/new/x", b"x")), parent=base.chain_id)
    root = ground.folder(top.chain_id)
    assert tree(root) == {
        "srv": "drwxrws--- 5:6",
        "srv/www": "drwx-----T 8:0",
        "srv/www/new": "drwxr-xr-x 0:0",
        "srv/www/new/x": "-rw-r--r-- 0:0 x",
    }
    assert (root / "srv").stat().st_mtime == 7
    assert os.getxattr(root / "srv/www", "user.note") == b"n"


def test_hard_links_within_a_layer_share_their_file(ground: Ground) -> None:
    root = ground.unpacked(
        tar(member("a", b"one"), hardlink("sub/b", "a"), hardlink("c", "./sub/b"), member("c2", b"old"), hardlink("c2", "/a"))
    )
    assert len({(root / name).stat().st_ino for name in ("a", "sub/b", "c", "c2")}) == 1


def test_a_hard_link_to_a_file_of_a_layer_below_copies_it_up(ground: Ground) -> None:
    base = ground.unpack(
        tar(folder("bin", uid=4), member("bin/su", b"program", mode=0o4755, uid=0, gid=5, pax={b"SCHILY.xattr.user.k": b"v"}))
    )
    middle = ground.unpack(tar(member("other", b"o")), parent=base.chain_id)
    top = ground.unpack(tar(hardlink("bin/sudo", "bin/su")), parent=middle.chain_id)
    root = ground.folder(top.chain_id)
    assert tree(root) == {"bin": "drwxr-xr-x 4:0", "bin/su": "-rwsr-xr-x 0:5 program", "bin/sudo": "-rwsr-xr-x 0:5 program"}
    assert (root / "bin/su").stat().st_nlink == 2
    assert os.getxattr(root / "bin/sudo", "user.k") == b"v"
    assert top.size == 7


def test_a_hard_link_to_a_file_that_a_layer_between_removed_is_refused(ground: Ground) -> None:
    base = ground.unpack(tar(member("a", b"x"), member("d/b", b"x")))
    middle = ground.unpack(tar(member(".wh.a"), member("d/.wh..wh..opq")), parent=base.chain_id)
    ground.refused(tar(hardlink("new", "a")), InvalidArgument, parent=middle.chain_id)
    ground.refused(tar(hardlink("new", "d/b")), InvalidArgument, parent=middle.chain_id)
    ground.refused(tar(member(".wh.x"), hardlink("new", "x")), InvalidArgument, parent=base.chain_id)


def test_whiteouts_become_what_overlayfs_knows(ground: Ground) -> None:
    root = ground.unpacked(tar(member("a/.wh.gone"), folder("b"), member("b/.wh..wh..opq"), member("b/new", b"n"), member(".wh.top")))
    for name in ("a/gone", "top"):
        assert (stat.S_ISCHR((root / name).lstat().st_mode), (root / name).lstat().st_rdev) == (True, 0)
    assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(root / "b")) == ["new"]


def test_many_opaque_folders_are_made_too(ground: Ground) -> None:
    root = ground.unpacked(tar(*(one for number in range(200) for one in (folder(f"d{number}"), member(f"d{number}/.wh..wh..opq")))))
    assert {os.getxattr(root / f"d{number}", "trusted.overlay.opaque") for number in range(200)} == {b"y"}


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
def test_a_whiteout_hides_only_what_lies_below(ground: Ground, order: int) -> None:
    # image-spec, layer.md: files of the same layer are not hidden by its whiteouts.
    base = ground.unpack(tar(folder("d"), member("d/old", b"o"), member("f", b"old")))
    members = [member(".wh.d"), member(".wh.f")], [folder("d"), member("d/new", b"n"), member("f", b"new")]
    top = ground.unpack(tar(*(one for part in members[::order] for one in part)), parent=base.chain_id)
    where = Path(ground.run(ground.snapshots.mount(f"hides{order}", (base.chain_id, top.chain_id), skeleton=False)))
    assert tree(where) == {"d": "drwxr-xr-x 0:0", "d/new": "-rw-r--r-- 0:0 n", "f": "-rw-r--r-- 0:0 new"}
    ground.run(ground.snapshots.remove(f"hides{order}"))


def test_a_whiteout_gives_way_to_a_folder_that_no_member_names(ground: Ground) -> None:
    base = ground.unpack(tar(folder("w"), member("w/old", b"o")))
    for members in ([member(".wh.w"), member("w/sub/new", b"n")], [member("w/sub/new", b"n"), member(".wh.w")]):
        top = ground.unpack(tar(*members), parent=base.chain_id)
        where = Path(ground.run(ground.snapshots.mount("gives-way", (base.chain_id, top.chain_id), skeleton=False)))
        assert tree(where) == {"w": "drwxr-xr-x 0:0", "w/sub": "drwxr-xr-x 0:0", "w/sub/new": "-rw-r--r-- 0:0 n"}
        ground.run(ground.snapshots.remove("gives-way"))


def test_a_layer_may_be_empty(ground: Ground) -> None:
    assert ground.unpack(tar()).entries == 0
    assert ground.unpack(b"").size == 0


def test_a_layer_over_a_chain_that_is_not_there_is_refused(ground: Ground) -> None:
    ground.refused(tar(member("a", b"x")), NotFound, parent="sha256:" + "1" * 64)


def test_pax_takes_the_last_of_two_records_and_reads_over_what_it_does_not_know(ground: Ground) -> None:
    root = ground.unpacked(
        tar(
            member("global", b"13 path=evil\n", kind=b"g"),
            member("a", b"x", pax={b"comment": b"hello", b"VENDOR.thing": b"1", b"uname": b"root", b"atime": b"1"}),
        )
    )
    assert sorted(os.listdir(root)) == ["a"]


def test_numbers_in_base_256_are_read(ground: Ground) -> None:
    big = b"\x80" + (5_000_000).to_bytes(7, "big")
    raw = bytearray(member("a", b"x"))
    raw[108:116] = big
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    assert (ground.unpacked(tar(bytes(raw))) / "a").stat().st_uid == 5_000_000


def test_blank_and_space_padded_numbers_of_old_tars_are_read(ground: Ground) -> None:
    raw = bytearray(member("a", b"x", magic=b"\0" * 8, mtime=b"  7346545000"))
    raw[100:108] = b"   644 \0"
    raw[108:116] = b" " * 8
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    status = (ground.unpacked(tar(bytes(raw))) / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o644, 0, int(octal(b"7346545000", 12), 8))


def test_large_files_go_through_in_pieces(ground: Ground) -> None:
    data = os.urandom(7_000_001)
    unpacked = ground.unpack(zstandard.compress(tar(member("small", b"s"), member("large", data), member("after", b"a"))))
    root = ground.folder(unpacked.chain_id)
    assert (root / "large").read_bytes() == data
    assert (root / "after").read_text() == "a"
    ground.run(ground.snapshots.remove_snapshot(unpacked.chain_id))


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_a_real_tree_comes_out_as_gnu_tar_unpacks_it(ground: Ground, tmp_path: Path) -> None:
    source = Path(os.__file__).parent / "asyncio"
    whole = subprocess.run(["tar", "-C", source.parent, "--xattrs", "-cf", "-", source.name], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", tmp_path, "-xf", "-"], input=whole, check=True)
    unpacked = ground.unpacked(gzipped(whole))
    assert tree(unpacked) == tree(tmp_path)
    assert [path.lstat().st_mtime for path in sorted(unpacked.rglob("*"))] == [
        path.lstat().st_mtime for path in sorted(tmp_path.rglob("*"))
    ]
