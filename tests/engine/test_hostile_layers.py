"""Layers that were made to do harm: refused with a sentence, or harmless; never a file outside, never anything left."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import resource
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from snapshot_support import (
    BLOCK,
    CHARACTER,
    FIFO,
    Ground,
    folder,
    ground_in,
    gzipped,
    hardlink,
    member,
    module_ground,
    needs_host,
    symlink,
    tar,
    tree,
)
from snapshot_support import ground as ground

from cloudstead.engine import linux
from cloudstead.engine.errors import InvalidArgument, NoSpace, NotPermitted, Unsupported
from cloudstead.engine.host import forked
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.server import prepare
from cloudstead.engine.snapshots.host_confine import Bind, confine
from cloudstead.engine.snapshots.host_shelf import Shelf

pytestmark = needs_host
__all__ = ["ground", "module_ground"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A host that allows little."""
    with ground_in(
        tmp_path_factory.mktemp("small"), layer_bytes="3000000", layer_entries="50", layer_ratio="20", layer_free_ratio="100000"
    ) as made:
        yield made


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "..", "a/..", "/../../evil", "./../evil", "a/b/../../../evil"])
def test_a_name_with_dots_that_lead_up_is_refused(ground: Ground, name: str) -> None:
    assert "out of the folder" in ground.refused(tar(folder("a"), folder("a/b"), member(name, b"x")), NotPermitted)


@pytest.mark.parametrize("name", ["../evil", "a/../../../../../etc/evil"])
def test_dots_in_a_pax_path_are_refused_too(ground: Ground, name: str) -> None:
    ground.refused(tar(member("harmless", b"x", pax={b"path": name.encode()})), NotPermitted)
    ground.refused(tar(member("././@LongLink", name.encode() + b"\0", kind=b"L"), member("harmless", b"x")), NotPermitted)


def test_an_absolute_name_is_taken_from_the_layers_root(ground: Ground) -> None:
    root = ground.unpacked(tar(member(f"{ground.outside}/secret", b"evil"), member("//etc///passwd", b"inside")))
    assert (root / "etc/passwd").read_text() == "inside"
    assert (root / str(ground.outside).lstrip("/") / "secret").read_text() == "evil"


def test_a_write_through_a_linked_parent_stays_inside(ground: Ground) -> None:
    outside = str(ground.outside)
    root = ground.unpacked(
        tar(symlink("link", outside), member("link/secret", b"evil"), symlink("up", "../../../../../.."), member("up/new", b"n"))
    )
    assert os.readlink(root / "link") == outside
    assert (root / outside.lstrip("/") / "secret").read_text() == "evil"
    assert (root / "new").read_text() == "n"


def test_a_file_does_not_go_through_a_link_of_its_name(ground: Ground) -> None:
    root = ground.unpacked(tar(symlink("secret", f"{ground.outside}/secret"), member("secret", b"mine")))
    assert tree(root) == {"secret": "-rw-r--r-- 0:0 mine"}


def test_a_whiteout_through_a_link_removes_nothing_outside(ground: Ground) -> None:
    # CVE-2020-27833 and its kin: `link -> /outside`, then `link/.wh.secret`.
    root = ground.unpacked(tar(symlink("link", str(ground.outside)), member("link/.wh.secret")))
    hidden = (root / str(ground.outside).lstrip("/") / "secret").lstat()
    assert (stat.S_ISCHR(hidden.st_mode), hidden.st_rdev) == (True, 0)
    root = ground.unpacked(tar(symlink("again", str(ground.outside)), member("again/.wh..wh..opq")))
    assert not os.listxattr(ground.outside)


def test_a_hard_link_through_a_link_reaches_nothing_outside(ground: Ground) -> None:
    # CVE-2020-27833: a symlink, a hard link through it, then a write through the hard link.
    evil = tar(symlink("link", str(ground.outside)), hardlink("mine", "link/secret"), member("mine", b"evil"))
    assert "not there" in ground.refused(evil, InvalidArgument)
    ground.refused(tar(hardlink("mine", str(ground.outside / "secret"))), InvalidArgument)
    ground.refused(tar(hardlink("mine", "../../../../../etc/passwd")), NotPermitted)
    ground.refused(tar(member("mine", kind=b"1", pax={b"linkpath": b"a/../../x"})), NotPermitted)


def test_a_hard_link_to_a_symlink_is_one_to_the_link_itself(ground: Ground) -> None:
    root = ground.unpacked(tar(symlink("link", str(ground.outside / "secret")), hardlink("again", "link")))
    assert os.readlink(root / "again") == str(ground.outside / "secret")
    assert (root / "again").lstat().st_nlink == 2


def test_a_hard_link_to_a_folder_or_to_itself_is_refused(ground: Ground) -> None:
    ground.refused(tar(folder("a"), hardlink("b", "a")), NotPermitted)
    ground.refused(tar(hardlink("b", "./")), InvalidArgument)
    ground.refused(tar(hardlink("b", "b")), InvalidArgument)
    ground.refused(tar(member("b", b"x"), hardlink("./b", "/b")), InvalidArgument)


def test_a_long_chain_of_links_does_not_lead_out(ground: Ground) -> None:
    # CVE-2025-4517: os.path.realpath gave up on paths longer than PATH_MAX and let what followed pass; here the kernel resolves.
    long = "d" * 247
    members, path = [], ""
    for letter in "abcdefghijklmnop":
        members += [folder(path + long), symlink(path + letter, long)]
        path += letter + "/"
    members.append(symlink("/".join("abcdefghijklmnop") + "/" + "l" * 254, "../" * 16))
    members.append(symlink("escape", "/".join("abcdefghijklmnop") + "/" + "l" * 254 + f"/../../..{ground.outside}"))
    assert "too long" in ground.refused(tar(*members, member("escape/secret", b"evil")), InvalidArgument)
    members.append(folder(str(ground.outside)))
    root = ground.unpacked(tar(*members, member("escape/secret", b"evil")))
    assert (root / str(ground.outside).lstrip("/") / "secret").read_text() == "evil"
    root = ground.unpacked(tar(*members, member("escape/secret", b"x"), hardlink("flaglink", "escape/secret"), member("flaglink", b"evil")))
    assert (root / "flaglink").read_text() == "evil"


def test_links_in_a_circle_are_told_of(ground: Ground) -> None:
    assert "links" in ground.refused(tar(symlink("a", "b"), symlink("b", "a"), member("a/x", b"x")), InvalidArgument)
    assert "links" in ground.refused(tar(symlink("a", "a"), member("a/x", b"x")), InvalidArgument)
    assert "links" in ground.refused(tar(symlink("a", "a/a"), member("a/x", b"x")), InvalidArgument)


def test_more_links_than_the_kernel_follows_are_told_of(ground: Ground) -> None:
    chain = [symlink(f"l{number}", f"l{number + 1}") for number in range(60)]
    assert "links" in ground.refused(tar(folder("l60"), *chain, member("l0/x", b"x")), InvalidArgument)


def test_a_link_that_leads_nowhere_yet_is_followed_inside(ground: Ground) -> None:
    root = ground.unpacked(tar(symlink("run", "/var/run"), member("run/lock/pid", b"1")))
    assert (root / "var/run/lock/pid").read_text() == "1"
    root = ground.unpacked(tar(symlink("a", "../../../x/../y"), member("a/f", b"2")))
    assert (root / "y/f").read_text() == "2"


def test_devices_and_pipes_are_kept_where_they_can_do_nothing(ground: Ground) -> None:
    root = ground.unpacked(
        tar(
            member("null", kind=CHARACTER, device=(1, 3), mode=0o666),
            member("disk", kind=BLOCK, device=(254, 0), mode=0o660, gid=6),
            member("pipe", kind=FIFO, mode=0o600, uid=5),
            member("big", kind=CHARACTER, device=(4095, 1048575)),
        )
    )
    null, disk, pipe = ((root / name).lstat() for name in ("null", "disk", "pipe"))
    assert stat.filemode(null.st_mode) == "crw-rw-rw-"
    assert null.st_rdev == os.makedev(1, 3)
    assert (stat.filemode(disk.st_mode), disk.st_rdev, disk.st_gid) == ("brw-rw----", os.makedev(254, 0), 6)
    assert (stat.filemode(pipe.st_mode), pipe.st_uid) == ("prw-------", 5)


def test_a_device_number_that_the_kernel_does_not_have_is_refused(ground: Ground) -> None:
    ground.refused(tar(member("x", kind=CHARACTER, device=(4096, 0))), NotPermitted)
    ground.refused(tar(member("x", kind=BLOCK, device=(1, 1 << 20))), NotPermitted)


def test_set_user_id_bits_are_kept(ground: Ground) -> None:
    root = ground.unpacked(tar(member("su", b"x", mode=0o4755, uid=7, gid=8), folder("shared", 0o2775, gid=9), folder("tmp", 0o1777)))
    assert tree(root) == {"su": "-rwsr-xr-x 7:8 x", "shared": "drwxrwsr-x 0:9", "tmp": "drwxrwxrwt 0:0"}


def test_attributes_are_kept_but_not_those_of_overlayfs(ground: Ground) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    root = ground.unpacked(
        tar(
            member("ping", b"x", pax={b"SCHILY.xattr.security.capability": capability, b"SCHILY.xattr.user.a=b": b"c\0d"[:1]}),
            member("folder", kind=b"5", pax={b"SCHILY.xattr.trusted.overlay.opaque": b"y", b"SCHILY.xattr.trusted.mine": b"1"}),
            member("redirected", kind=b"5", pax={b"SCHILY.xattr.trusted.overlay.redirect": b"/etc"}),
            member("meta", b"", pax={b"SCHILY.xattr.trusted.overlay.metacopy": b"", b"SCHILY.xattr.user.ok": b"\xff\0\n="}),
        )
    )
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert os.listxattr(root / "folder") == ["trusted.mine"]
    assert os.listxattr(root / "redirected") == []
    assert {name: os.getxattr(root / "meta", name) for name in os.listxattr(root / "meta")} == {"user.ok": b"\xff\0\n="}


def test_a_device_is_not_opened_to_give_it_attributes(ground: Ground) -> None:
    # A watchdog would begin to count. This device has no driver, so whoever opened it would fail.
    root = ground.unpacked(tar(member("device", kind=CHARACTER, device=(4000, 1), pax={b"SCHILY.xattr.trusted.mine": b"1"})))
    assert os.getxattr(root / "device", "trusted.mine") == b"1"


def test_an_attribute_that_cannot_be_is_refused(ground: Ground) -> None:
    ground.refused(tar(member("x", b"", pax={b"SCHILY.xattr.user.big": b"x" * 70_000})), InvalidArgument)
    ground.refused(tar(member("x", b"", pax={b"SCHILY.xattr.nonsense": b"x"})), InvalidArgument)
    ground.refused(tar(member("x", b"", pax={b"SCHILY.xattr.user.a\0b": b"x"})), NotPermitted)
    ground.refused(tar(member("x", b"", pax={b"SCHILY.xattr.security.capability": b"nonsense"})), InvalidArgument)


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh.", "a/.wh..", "a/.wh...", ".wh..wh.evil", "a/.wh..wh..wh..opq"])
def test_a_whiteout_of_a_name_that_none_can_have_is_refused(ground: Ground, name: str) -> None:
    assert "whiteout" in ground.refused(tar(folder("a"), member(name)), NotPermitted)


@pytest.mark.parametrize("name", [".wh.a/b", ".wh.a/.wh.b", "x/.wh..wh..opq/y", ".wh.a/b/c"])
def test_what_lies_below_a_whiteout_is_refused(ground: Ground, name: str) -> None:
    assert "whiteout" in ground.refused(tar(member(name)), NotPermitted)


def test_files_of_aufs_itself_are_left_out(ground: Ground) -> None:
    root = ground.unpacked(
        tar(folder(".wh..wh.plnk"), member(".wh..wh.plnk/1.2", b"x"), member(".wh..wh.aufs"), folder(".wh..wh.orph"), member("real", b"r"))
    )
    assert tree(root) == {"real": "-rw-r--r-- 0:0 r"}


def test_a_layer_that_is_not_what_its_diff_id_says_is_refused(ground: Ground) -> None:
    assert "uncompressed, not" in ground.refused(tar(member("a", b"x")), InvalidArgument, diff_id="sha256:" + "0" * 64)


@pytest.mark.parametrize("cut", [1, 100, 512, 700, 1030, 1500])
def test_a_tar_that_is_cut_off_is_refused(ground: Ground, cut: int) -> None:
    whole = member("a", b"x" * 1000) + member("b", b"y" * 10)
    ground.refused(whole[:cut], InvalidArgument)


@pytest.mark.parametrize("compress", [gzipped, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_stream_that_is_cut_off_is_refused(ground: Ground, compress: type) -> None:
    whole = compress(tar(member("a", os.urandom(5000))))
    for cut in (3, 15, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        ground.refused(whole[:cut], InvalidArgument)


@pytest.mark.parametrize("compress", [gzipped, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_stream_that_is_damaged_is_refused(ground: Ground, compress: type) -> None:
    whole = bytearray(compress(tar(member("a", os.urandom(5000)))))
    whole[len(whole) // 2] ^= 0xFF
    if compress is gzipped:
        ground.refused(bytes(whole), InvalidArgument)
    else:  # without a checksum in its frame zstd cannot know; then the diff_id does
        ground.refused(bytes(whole), InvalidArgument, diff_id="sha256:" + "0" * 64)


def test_a_gzip_bomb_is_refused_before_it_fills_the_disk(small: Ground) -> None:
    bomb = gzip.compress(member("zeros", size=1 << 30) + bytes(50 << 20), 9)
    began = time.monotonic()
    assert "times its size" in small.refused(bomb, NotPermitted)
    assert time.monotonic() - began < 5


def test_a_zstd_bomb_is_refused_before_it_fills_the_disk(small: Ground) -> None:
    bomb = zstandard.compress(member("zeros", size=1 << 30) + bytes(200 << 20))
    assert len(bomb) < 30_000
    assert "larger than 3000000 bytes" in small.refused(bomb, NotPermitted)


def test_a_bomb_in_the_free_part_of_the_ratio_is_stopped_by_the_size(small: Ground) -> None:
    assert "larger than 3000000 bytes" in small.refused(tar(member("big", os.urandom(4_000_000))), NotPermitted)


def test_a_zstd_window_that_takes_too_much_memory_is_refused(ground: Ground) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    ground.refused(compressor.compress(tar(member("a", bytes(100_000)))) + compressor.flush(), InvalidArgument)


def test_zeros_after_the_end_are_counted_too(small: Ground) -> None:
    assert "times its size" in small.refused(gzip.compress(tar() + bytes(100 << 20), 9), NotPermitted)


def test_too_many_members_are_refused(small: Ground) -> None:
    assert "more than 50 members" in small.refused(tar(*(member(f"f{number}") for number in range(51))), NotPermitted)


def test_a_disk_that_is_nearly_full_stays_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.system(f"mount -t tmpfs -o size=20m none {data}")
    try:
        with ground_in(tmp_path) as full:
            assert "full" in full.refused(tar(member("a", bytes(20_200_000))), NoSpace)
            assert "full" in full.refused(tar(member("a", bytes(30_000_000))), NoSpace)
            assert full.unpack(tar(member("a", bytes(1_000_000)))).size == 1_000_000
    finally:
        os.system(f"umount {data}")


def test_a_huge_pax_header_is_refused(ground: Ground) -> None:
    assert "header" in ground.refused(tar(member("a", b"", pax={b"comment": b"x" * (2 << 20)})), NotPermitted)
    assert "header" in ground.refused(tar(member("pax", b"", kind=b"x", size=1 << 40)), NotPermitted)
    assert "header" in ground.refused(tar(member("long", b"", kind=b"L", size=1 << 40)), NotPermitted)


@pytest.mark.parametrize(
    "records", [b"x", b"5 a=", b"99 path=x\n", b"0 a=b\n", b"-5 a=b\n", b"6 path\n", b"9 path=x\n\n", b"7 =aaa\n", b"1_0 pat=x\n"]
)
def test_pax_records_that_contradict_themselves_are_refused(ground: Ground, records: bytes) -> None:
    assert "pax" in ground.refused(tar(member("pax", records, kind=b"x"), member("a", b"")), InvalidArgument)


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"-0000000001\0",
        b"0000000000x\0",
        b"\xff" + b"\0" * 11,
        b"00000000009\0",
        b"+0000000001\0",
        b"0o000000001\0",
    ],
)
def test_a_size_that_is_none_is_refused(ground: Ground, size: bytes) -> None:
    ground.refused(tar(member("a", b"", size=size)), (InvalidArgument, NotPermitted))


@pytest.mark.parametrize("size", [b"-1", b"99999999999999999999999", b"9223372036854775807", b"1e3", b"0x10", b" 1", b"1.5"])
def test_a_pax_size_that_is_none_is_refused(ground: Ground, size: bytes) -> None:
    ground.refused(tar(member("a", b"", pax={b"size": size})), (InvalidArgument, NotPermitted))


@pytest.mark.parametrize("key", [b"uid", b"gid"])
def test_an_owner_that_is_none_is_refused(ground: Ground, key: bytes) -> None:
    ground.refused(tar(member("a", b"", pax={key: b"4294967295"})), NotPermitted)
    ground.refused(tar(member("a", b"", pax={key: b"-1"})), NotPermitted)


def test_a_time_beyond_all_clocks_does_no_harm(ground: Ground) -> None:
    ground.unpack(tar(member("a", b"", mtime=b"\x80\0\0\0" + b"\x3f" * 8)))
    ground.unpack(tar(member("b", b"", pax={b"mtime": b"-99999999999.5"})))
    ground.refused(tar(member("c", b"", pax={b"mtime": b"nan"})), NotPermitted)
    ground.refused(tar(member("c", b"", pax={b"mtime": b"1." + b"9" * 5 + b"x"})), NotPermitted)
    ground.refused(tar(member("c", b"", mtime=b"\x80" + b"\xff" * 11)), NotPermitted)


def test_the_later_of_two_members_of_a_name_wins(ground: Ground) -> None:
    root = ground.unpacked(tar(member("a", b"first", mode=0o4755), member("a", b"second", mode=0o600), member("./a", b"third")))
    assert tree(root) == {"a": "-rw-r--r-- 0:0 third"}


def test_a_file_and_a_folder_of_the_same_name_take_each_others_place(ground: Ground) -> None:
    root = ground.unpacked(tar(member("a", b"x"), folder("a"), member("a/b", b"y"), folder("c"), member("c/d", b"z"), member("c", b"w")))
    assert tree(root) == {"a": "drwxr-xr-x 0:0", "a/b": "-rw-r--r-- 0:0 y", "c": "-rw-r--r-- 0:0 w"}


def test_a_link_that_takes_a_folders_place_is_followed_from_then_on(ground: Ground) -> None:
    # An unpacker that remembers open folders by name must forget them here.
    root = ground.unpacked(tar(folder("d"), member("d/a", b"1"), folder("other"), symlink("d", "other"), member("d/b", b"2")))
    assert (sorted(os.listdir(root / "other")), (root / "d").is_symlink()) == (["b"], True)
    outside = str(ground.outside)
    root = ground.unpacked(
        tar(folder("d"), member("d/a", b"1"), symlink("d", outside), member("d/secret", b"evil"), folder("d"), member("d/c", b"3"))
    )
    assert tree(root)["d/c"] == "-rw-r--r-- 0:0 3"


def test_something_below_a_file_is_refused(ground: Ground) -> None:
    assert "no folder" in ground.refused(tar(member("a", b"x"), member("a/b", b"y")), InvalidArgument)
    assert "no folder" in ground.refused(tar(member("p", kind=FIFO), member("p/b/c", b"y")), InvalidArgument)


def test_a_name_with_a_nul_is_refused_or_ends_there(ground: Ground) -> None:
    assert "NUL" in ground.refused(tar(member("a", b"x", pax={b"path": b"a\0b"})), NotPermitted)
    assert "nowhere" in ground.refused(tar(member("a", kind=b"2", pax={b"linkpath": b"a\0b"})), InvalidArgument)
    assert tree(ground.unpacked(tar(member(b"a\0/../b", b"x")))) == {"a": "-rw-r--r-- 0:0 x"}


def test_a_name_that_is_no_utf_8_is_kept_byte_for_byte(ground: Ground) -> None:
    root = ground.unpacked(tar(member(b"\xff\xfe\x80", b"x"), member(b"pax", b"y", pax={b"path": b"d\xc0/\xf5"}), symlink("l", b"\xff")))
    assert sorted(os.listdir(os.fsencode(root))) == [b"d\xc0", b"l", b"\xff\xfe\x80"]
    assert os.readlink(os.fsencode(root / "l")) == b"\xff"


def test_names_that_are_too_long_are_told_of(ground: Ground) -> None:
    assert "too long" in ground.refused(tar(member("a", b"", pax={b"path": b"x" * 256})), InvalidArgument)
    assert "too long" in ground.refused(tar(member("a", b"", pax={b"path": b"d/" * 3000 + b"x"})), InvalidArgument)
    assert "too long" in ground.refused(tar(member("a", kind=b"2", pax={b"linkpath": b"x" * 5000})), InvalidArgument)


def test_folders_nested_as_deep_as_paths_go_are_unpacked_and_removed(ground: Ground) -> None:
    deep = b"d/" * 2000 + b"x"
    unpacked = ground.unpack(tar(member("a", b"x", pax={b"path": deep})))
    assert ground.run(ground.snapshots.remove_snapshot(unpacked.chain_id)) == 1
    # A link to the deepest folder lets one go deeper than any path.
    deeper = tar(
        folder("x", pax={b"path": b"d/" * 2000}),
        member("l", kind=b"2", pax={b"linkpath": b"d/" * 1999 + b"d"}),
        member("y", b"", pax={b"path": b"l/" + b"e/" * 1000 + b"x"}),
    )
    unpacked = ground.unpack(deeper)
    ground.run(ground.snapshots.remove_snapshot(unpacked.chain_id))


def test_a_member_without_a_name_is_refused(ground: Ground) -> None:
    ground.refused(tar(member("", b"x")), NotPermitted)
    ground.refused(tar(member("/", b"x")), NotPermitted)
    ground.refused(tar(symlink("./", "/etc")), NotPermitted)


def test_a_wrong_checksum_is_no_tar(ground: Ground) -> None:
    assert "no tar" in ground.refused(member("a", b"x", checksum=1234), InvalidArgument)
    assert "no tar" in ground.refused(os.urandom(2000), InvalidArgument)
    assert "no tar" in ground.refused(b"<html>not found</html>" * 100, InvalidArgument)


@pytest.mark.parametrize("kind", [b"S", b"M", b"D", b"Z"])
def test_kinds_of_members_that_are_not_supported_are_refused(ground: Ground, kind: bytes) -> None:
    assert "not supported" in ground.refused(tar(member("a", b"", kind=kind)), Unsupported)


def test_sparse_files_of_pax_are_refused(ground: Ground) -> None:
    ground.refused(tar(member("a", b"x", pax={b"GNU.sparse.major": b"1", b"GNU.sparse.realsize": b"99999999999"})), Unsupported)


def test_an_encrypted_layer_is_refused_by_its_type(ground: Ground) -> None:
    ground.refused(tar(), Unsupported, media_type="application/vnd.oci.image.layer.v1.tar+gzip+encrypted")


def test_a_header_that_announces_a_member_must_have_one(ground: Ground) -> None:
    ground.refused(tar(member("pax", b"9 path=x\n"[:9], kind=b"x")), InvalidArgument)
    ground.refused(member("././@LongLink", b"name\0", kind=b"L"), InvalidArgument)


def probe(shelf: Shelf, new: Path, host: int) -> dict[str, str]:
    """In a child: what is left to who has taken it over."""
    confine(shelf, [Bind("new", new, writable=True), Bind("below", new)], lower=[])
    os.mknod("/new/disk", stat.S_IFBLK | 0o666, os.makedev(254, 0))
    tries: dict[str, Callable[[], object]] = {
        "see": lambda: sorted(os.listdir("/")),
        "files": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "signal": lambda: os.kill(host, 0),
        "root": lambda: os.setresuid(0, 0, 0),
        "mount": lambda: linux.mount("none", "/new", "tmpfs"),
        "unmount": lambda: linux.unmount("/new"),
        "namespace": lambda: linux.unshare(linux.CLONE_NEWNS),
        "chroot": lambda: os.chroot("/new"),
        "device": lambda: os.open("/new/disk", os.O_RDONLY),
        "lower": lambda: os.mkdir("/below/x"),
        "network": lambda: socket.socket().connect(("127.0.0.1", 1)),
        "host name": lambda: socket.sethostname("evil"),
        "attributes": lambda: os.setxattr("/new", "trusted.overlay.opaque", b"y"),
        "memory": lambda: bytes(3 << 30),
        "limits": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
        "write": lambda: os.close(os.open("/new/x", os.O_CREAT | os.O_WRONLY)),
    }
    found = {}
    for name, attempt in tries.items():
        try:
            found[name] = str(attempt())
        except (OSError, MemoryError, ValueError) as error:
            found[name] = type(error).__name__ + (f" {errno.errorcode[error.errno]}" if isinstance(error, OSError) and error.errno else "")
    return found


def test_the_confined_child_has_no_rights_and_sees_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    prepare(layout)
    new = layout.snapshots / "new"
    new.mkdir(mode=0o755)
    found = asyncio.run(forked.call(probe, (Shelf(layout), new, os.getpid()), ()))
    shutil.rmtree(layout.run, ignore_errors=True)
    assert found == {
        "see": "['below', 'lower', 'new']",
        "files": "FileNotFoundError ENOENT",
        "signal": "PermissionError EPERM",
        "root": "PermissionError EPERM",
        "mount": "PermissionError EPERM",
        "unmount": "PermissionError EPERM",
        "namespace": "PermissionError EPERM",
        "chroot": "PermissionError EPERM",
        "device": "PermissionError EACCES",
        "lower": "OSError EROFS",
        "network": "OSError ENETUNREACH",
        "host name": "PermissionError EPERM",
        "attributes": "PermissionError EPERM",
        "memory": "MemoryError",
        "limits": "ValueError",
        "write": "None",
    }
