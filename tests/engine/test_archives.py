"""Files copied out of and into root file systems, as `docker cp` does it."""

from __future__ import annotations

import bz2
import lzma
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from snapshot_support import (
    Ground,
    collect,
    content_of,
    folder,
    gzipped,
    hardlink,
    member,
    members_of,
    module_ground,
    needs_host,
    pieces,
    symlink,
    tar,
    tree,
)
from snapshot_support import ground as ground

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound, NotPermitted
from cloudstead.engine.snapshots.api import View

pytestmark = needs_host
__all__ = ["ground", "module_ground"]

BASE = tar(
    folder("srv"),
    folder("srv/www", 0o2750, uid=7),
    member("srv/www/index", b"hello", mtime=1_600_000_000),
    symlink("srv/link", "www/index"),
    symlink("home", "srv/www"),
    symlink("abs", "/srv/www/index"),
    symlink("out", "../../../../../../etc/passwd"),
    symlink("nowhere", "/not/there"),
    symlink("loop", "loop"),
    hardlink("srv/www/twin", "srv/www/index"),
)


class Box:
    """A root file system to copy out of and into."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.snapshots = ground.snapshots
        self.base = ground.unpack(BASE).chain_id
        self.root = Path(ground.run(ground.snapshots.mount("box", (self.base,), skeleton=False)))

    def get(self, path: str, pid: int = 0) -> bytes:
        return self.ground.run(collect(self.snapshots.archive("box", path, pid=pid)))

    def names(self, path: str) -> list[str]:
        return list(members_of(self.get(path)))

    def put(self, path: str, data: bytes, **options: object) -> None:
        self.ground.run(self.snapshots.unarchive("box", path, pieces(data), **options))  # type: ignore[arg-type]

    def refused(self, kind: type[EngineError], path: str, data: bytes, **options: object) -> str:
        with pytest.raises(kind) as caught:
            self.put(path, data, **options)
        self.ground.look()
        return caught.value.message


@pytest.fixture
def box(ground: Ground) -> Iterator[Box]:
    yield Box(ground)
    ground.run(ground.snapshots.remove("box"))


# out


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/www", ["www", "www/index", "www/twin"]),
        ("srv/www", ["www", "www/index", "www/twin"]),
        ("/srv/www/", ["www", "www/index", "www/twin"]),
        ("/srv/www/.", [".", "./index", "./twin"]),
        ("/srv/../srv/./www/index", ["index"]),
        ("/home", ["home"]),
        ("/home/", ["home", "home/index", "home/twin"]),
        ("/home/.", [".", "./index", "./twin"]),
        ("/home/index", ["index"]),
        ("/../../srv/link", ["link"]),
    ],
)
def test_a_path_is_archived_under_its_base_name(box: Box, path: str, expected: list[str]) -> None:
    assert box.names(path) == expected


def test_a_link_is_archived_as_a_link_unless_a_slash_follows(box: Box) -> None:
    info = members_of(box.get("/home"))["home"]
    assert (info.issym(), info.linkname) == (True, "srv/www")
    assert members_of(box.get("/home/"))["home"].isdir()


def test_what_is_archived_has_content_owner_mode_and_time(box: Box) -> None:
    data = box.get("/srv/www")
    found = members_of(data)
    assert content_of(data, "www/index") == b"hello"
    assert (found["www"].mode, found["www"].uid) == (0o2750, 7)
    assert (found["www/index"].mode, found["www/index"].mtime) == (0o644, 1_600_000_000)
    assert (found["www/twin"].islnk(), found["www/twin"].linkname) == (True, "www/index")


def test_the_whole_root_is_archived_with_names_from_the_slash(box: Box) -> None:
    os.utime(box.root, (0, 0))
    raw = box.get("/")
    assert raw.startswith(b"/\0")
    assert b"\0/srv/www/index\0" in raw


@pytest.mark.parametrize("path", ["/nothing", "/srv/nothing/x", "/srv/www/index/x", "/nowhere/x", "/srv/www/index/"])
def test_what_is_not_there_is_not_found(box: Box, path: str) -> None:
    for asked in (lambda: box.get(path), lambda: box.ground.run(box.snapshots.stat("box", path))):
        with pytest.raises(NotFound, match="Could not find the file"):
            asked()


def test_links_in_a_circle_are_no_path(box: Box) -> None:
    with pytest.raises(InvalidArgument):
        box.get("/loop/x")


def test_a_link_that_would_lead_out_leads_to_the_root(box: Box) -> None:
    found = box.ground.run(box.snapshots.stat("box", "/out"))
    assert found.link_target == "/etc/passwd"
    with pytest.raises(NotFound):
        box.get("/out/")
    (box.root / "etc").mkdir()
    (box.root / "etc/passwd").write_text("the container's own")
    (box.root / "d").symlink_to("../../../../../etc")
    assert content_of(box.get("/d/passwd"), "passwd") == b"the container's own"


@pytest.mark.parametrize(
    ("path", "name", "kind", "size", "target"),
    [
        ("/srv/www/index", "index", stat.S_IFREG, 5, ""),
        ("/srv/link", "link", stat.S_IFLNK, 9, "/srv/www/index"),
        ("/abs", "abs", stat.S_IFLNK, 14, "/srv/www/index"),
        ("/home", "home", stat.S_IFLNK, 7, "/srv/www"),
        ("/nowhere", "nowhere", stat.S_IFLNK, 10, "/not/there"),
        ("/home/", "home", stat.S_IFDIR, None, ""),
        ("/", "/", stat.S_IFDIR, None, ""),
    ],
)
def test_stat_tells_what_lies_at_a_path(box: Box, path: str, name: str, kind: int, size: int | None, target: str) -> None:
    found = box.ground.run(box.snapshots.stat("box", path))
    assert (found.name, stat.S_IFMT(found.mode), found.link_target) == (name, kind, target)
    assert size is None or found.size == size


def test_stat_tells_time_and_mode(box: Box) -> None:
    found = box.ground.run(box.snapshots.stat("box", "/srv/www/index"))
    assert (found.mtime, stat.S_IMODE(found.mode)) == (1_600_000_000, 0o644)


def test_export_is_the_whole_root_with_plain_names(box: Box) -> None:
    data = box.ground.run(collect(box.snapshots.export("box")))
    assert list(members_of(data))[:4] == ["abs", "home", "loop", "nowhere"]
    assert content_of(data, "srv/www/index") == b"hello"


def test_a_pipe_is_not_opened_and_a_device_not_read(box: Box) -> None:
    os.mkfifo(box.root / "pipe")
    os.mknod(box.root / "disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    assert members_of(box.get("/pipe"))["pipe"].isfifo()
    assert members_of(box.get("/disk"))["disk"].isblk()


# in


def test_files_are_put_into_a_folder(box: Box) -> None:
    box.put("/srv", tar(folder("new", 0o700, uid=3), member("new/file", b"data", mode=0o640, gid=4), member("www/index", b"changed")))
    found = tree(box.root / "srv")
    assert found["new"] == "drwx------ 3:0"
    assert found["new/file"] == "-rw-r----- 0:4 data"
    assert found["www/index"] == "-rw-r--r-- 0:0 changed"
    assert found["www"] == "drwxr-s--- 7:0", "a folder that the tar does not name stays as it was"


@pytest.mark.parametrize("path", ["/home", "/home/", "/home/.", "/srv/../home", "/srv/www"])
def test_links_to_the_folder_are_followed(box: Box, path: str) -> None:
    box.put(path, tar(member("f", b"1")))
    assert (box.root / "srv/www/f").read_text() == "1"
    assert (box.root / "home").is_symlink()


@pytest.mark.parametrize("compress", [gzipped, zstandard.compress, bz2.compress, lzma.compress], ids=["gzip", "zstd", "bzip2", "xz"])
def test_a_compressed_tar_is_unpacked_too(box: Box, compress: type) -> None:
    box.put("/srv", compress(tar(member("f", b"x" * 5000))))
    assert (box.root / "srv/f").stat().st_size == 5000


def test_a_file_is_no_place_to_put_things(box: Box) -> None:
    assert box.refused(InvalidArgument, "/srv/www/index", tar(member("f", b""))) == "extraction point is not a directory"
    assert "Could not find the file" in box.refused(NotFound, "/srv/none", tar(member("f", b"")))


def test_a_folder_may_replace_a_file_unless_it_is_forbidden(box: Box) -> None:
    assert "cannot overwrite non-directory" in box.refused(InvalidArgument, "/srv/www", tar(folder("index")), no_overwrite_dir_non_dir=True)
    assert "cannot overwrite directory" in box.refused(InvalidArgument, "/srv", tar(member("www", b"")), no_overwrite_dir_non_dir=True)
    assert (box.root / "srv/www/index").is_file()
    box.put("/srv/www", tar(folder("index"), member("index/x", b"x")))
    box.put("/srv", tar(member("www", b"now a file")))
    assert (box.root / "srv/www").read_text() == "now a file"


def test_an_owner_that_is_given_replaces_what_the_tar_says(box: Box) -> None:
    box.put("/srv", tar(member("f", b"", uid=1), folder("d", uid=2), symlink("l", "f"), folder("www")), owner=(123, 456))
    assert {(box.root / "srv" / name).lstat().st_uid for name in ("f", "d", "l", "www")} == {123}
    assert {(box.root / "srv" / name).lstat().st_gid for name in ("f", "d", "l", "www")} == {456}


def test_whiteouts_are_plain_names_here(box: Box) -> None:
    box.put("/srv/www", tar(member(".wh.index", b"kept"), member(".wh..wh..opq", b"")))
    assert sorted(os.listdir(box.root / "srv/www")) == [".wh..wh..opq", ".wh.index", "index", "twin"]


@pytest.mark.parametrize(
    "evil",
    [
        tar(member("../evil", b"x")),
        tar(symlink("a", "/"), member("a/../../evil", b"x")),
        tar(hardlink("a", "../../etc/passwd")),
        tar(hardlink("a", "/etc/passwd")),
        tar(member("a", b"x", size=-1 & 0o77777777777)),
    ],
)
def test_hostile_archives_are_refused_here_too(box: Box, evil: bytes) -> None:
    before = tree(box.root)
    box.refused((InvalidArgument, NotPermitted), "/srv", evil)  # type: ignore[arg-type]
    assert {name for name in tree(box.root) if name not in before} <= {"srv/a"}


def test_a_write_through_a_link_of_the_container_stays_in_the_container(box: Box) -> None:
    (box.root / "evil").symlink_to(box.ground.outside)
    box.put("/", tar(member("evil/secret", b"x")))
    assert (box.root / str(box.ground.outside).lstrip("/") / "secret").read_text() == "x"
    with pytest.raises(NotFound):
        box.get("/evil/other")


def test_one_that_is_not_mounted_is_mounted_for_the_time(box: Box) -> None:
    box.ground.run(box.snapshots.unmount("box"))
    assert box.names("/srv/link") == ["link"]
    box.put("/srv", tar(member("while-down", b"1")))
    assert box.ground.mounts() == []
    box.ground.run(box.snapshots.mount("box", (box.base,), skeleton=False))
    assert (box.root / "srv/while-down").read_text() == "1"


def test_one_that_is_mounted_meanwhile_stays_so(box: Box) -> None:
    box.ground.run(box.snapshots.unmount("box"))

    async def story() -> None:
        stream = box.snapshots.archive("box", "/srv")
        await anext(stream)
        await box.snapshots.mount("box", (box.base,), skeleton=False)
        await collect(stream)

    box.ground.run(story())
    assert (box.root / "srv").is_dir()


def test_volumes_of_one_that_is_not_mounted_are_seen_where_they_belong(box: Box, tmp_path: Path) -> None:
    volume, other = tmp_path / "volume", tmp_path / "other"
    for path in (volume, other):
        path.mkdir()
    (volume / "kept").write_text("k")
    (tmp_path / "file").write_text("bound")
    box.ground.run(box.snapshots.unmount("box"))
    views = (
        View(str(volume), "/data/inner"),
        View(str(other), "/home/ro", read_only=True),  # /home is a link of the image's
        View(str(tmp_path / "file"), "/srv/www/index"),
        View(str(volume), "/out/../escape"),
    )
    run, snapshots = box.ground.run, box.snapshots
    assert content_of(run(collect(snapshots.archive("box", "/data/inner/kept", mounts=views))), "kept") == b"k"
    assert content_of(run(collect(snapshots.archive("box", "/srv/www", mounts=views))), "www/index") == b"bound"
    assert run(snapshots.stat("box", "/srv/www/ro", mounts=views)).name == "ro"
    run(snapshots.unarchive("box", "/data/inner", pieces(tar(member("put", b"p"))), mounts=views))
    assert (volume / "put").read_text() == "p"
    assert "Read-only" in box.refused(NotPermitted, "/home/ro", tar(member("put", b"p")), mounts=views)
    assert os.listdir(other) == []
    with pytest.raises(NotFound, match="is not there"):
        run(snapshots.stat("box", "/", mounts=(View("/not/there", "/data"),)))
    assert box.ground.mounts() == []


def test_a_tar_that_breaks_off_at_its_maker_is_the_makers_error(box: Box) -> None:
    async def broken():  # type: ignore[no-untyped-def]
        yield tar(member("a", b"x" * 100))[:300]
        raise ValueError("the client went away")

    with pytest.raises(ValueError, match="went away"):
        box.ground.run(box.snapshots.unarchive("box", "/srv", broken()))
    box.ground.settled()


def test_who_is_refused_early_need_not_send_everything(box: Box) -> None:
    sent = 0

    async def endless():  # type: ignore[no-untyped-def]
        nonlocal sent
        yield member("../evil", b"x")
        while True:
            sent += 1
            yield bytes(65536)

    with pytest.raises(NotPermitted):
        box.ground.run(box.snapshots.unarchive("box", "/srv", endless()))
    assert sent < 100


# inside a running container


@pytest.fixture
def running(box: Box) -> Iterator[int]:
    """A process that has the root file system as its root, and a tmpfs in it that only it sees, as a container would."""
    for name in ("bin", "proc", "volume", "dev"):
        (box.root / name).mkdir()
    subprocess.run(["cp", "/bin/busybox", box.root / "bin/busybox"], check=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter(box.root)
            os.dup2(writing, 1)
            os.execv("/bin/busybox", ["busybox", "sh", "-c", "echo in the volume >/volume/file; echo ready; exec /bin/busybox sleep 100"])
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as said:
        assert said.readline() == b"ready\n"
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def enter(root: Path) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("none", str(root / "volume"), "tmpfs")
    linux.mount("none", str(root / "proc"), "proc")
    os.chdir(root)
    linux.pivot_root_here()


needs_busybox = pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="needs busybox-static")


@needs_busybox
def test_a_running_containers_mounts_are_seen_through_its_process(box: Box, running: int) -> None:
    assert content_of(box.get("/volume/file", pid=running), "file") == b"in the volume\n"
    with pytest.raises(NotFound):
        box.get("/volume/file")
    box.put("/volume", tar(member("put", b"p")), pid=running)
    assert Path(f"/proc/{running}/root/volume/put").read_text() == "p"
    assert box.ground.run(box.snapshots.stat("box", "/volume/put", pid=running)).size == 1
    assert not (box.root / "volume/put").exists()


@needs_busybox
def test_file_systems_of_the_kernel_are_not_copied(box: Box, running: int) -> None:
    names = box.get("/", pid=running)
    found = [info.name.lstrip("/") for info in members_of(names).values()]
    assert "proc" in found
    assert not [name for name in found if name.startswith("proc/")]
    assert "volume/file" in found


@needs_busybox
def test_a_process_of_nobody_or_of_another_is_not_entered(box: Box, running: int) -> None:
    for pid in (1, os.getpid(), 4_000_000):
        with pytest.raises(Conflict):
            box.get("/etc", pid=pid)
    box.ground.run(box.snapshots.mount("other", (box.base,)))
    with pytest.raises(Conflict):
        box.ground.run(box.snapshots.stat("other", "/", pid=running))
    box.ground.run(box.snapshots.remove("other"))
