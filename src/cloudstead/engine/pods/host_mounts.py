"""Where the content of a container's mounts lies on the host: found, made, filled.

A path that a container may change at the same time (inside a volume) is opened once, links followed only inside, and what was opened is mounted at a
place of ours until the runtime has mounted it from there: whatever is renamed meanwhile, it is that very folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NotFound
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods.host_records import Files
from cloudstead.engine.pods.oci_mounts import target_of
from cloudstead.engine.pods.specs import ContainerSpec, Mount
from cloudstead.engine.volumes.host import volume_path

SPARE = 1 << 20  # bytes of a tmpfs with secrets beyond what they take
MOST_CONTENT = 64 << 20


class Sources:
    """Finds them for one container; `close` when the runtime has mounted them."""

    def __init__(self, host: Host, spec: ContainerSpec, files: Files, rootfs: Path) -> None:
        self._host = host
        self._spec = spec
        self._files = files
        self._rootfs = rootfs
        self._open: list[int] = []
        self._passing: list[str] = []  # mounted until the runtime has it
        self.mounted: list[str] = []  # for the record

    async def find(self) -> list[tuple[Mount, str]]:
        """Each mount with its path on the host.

        Raises:
            InvalidArgument, NotFound, Failed
        """
        found = []
        for number, mount in enumerate(self._spec.mounts):
            if mount.type == "bind":
                found.append((mount, bind_source(mount)))
            elif mount.type == "volume":
                found.append((mount, await self._volume(mount)))
            elif mount.type == "content":
                found.append((mount, self._content(mount, number)))
            else:
                found.append((mount, ""))
        return found

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())
        unmount_all(tuple(self._passing))
        self._passing.clear()

    def hold(self, fd: int) -> str:
        """A path that means this open file, for another process."""
        self._open.append(fd)
        return f"/proc/{os.getpid()}/fd/{fd}"

    async def _volume(self, mount: Mount) -> str:
        path = volume_path(self._host, mount.source)
        if not mount.no_copy and not mount.subpath and _is_empty(path):
            await self._fill(path, target_of(mount))
        if not mount.subpath:
            return str(path)
        return self._pass(open_inside(path, mount.subpath))

    def _pass(self, fd: int) -> str:
        """A path at which the runtime finds an open folder or file. It cannot have the descriptor: nothing is bound from another mount namespace."""
        place = self._host.layout.run / "passing" / f"{self._spec.id}-{len(self._passing)}"
        place.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                place.mkdir(exist_ok=True)
            else:
                place.touch()
            self._passing.append(str(place))
            linux.mount(f"/proc/self/fd/{fd}", str(place), "", linux.MS_BIND | linux.MS_REC)
        finally:
            os.close(fd)
        return str(place)

    async def _fill(self, volume: Path, target: str) -> None:
        """What the image has at the mount's place."""
        try:
            source = open_inside(self._rootfs, target)
        except NotFound:
            return
        try:
            if stat.S_ISDIR(os.fstat(source).st_mode):
                await self._host.fork(copy_tree, source, str(volume), str(self._host.layout.run), descriptors=[source])
        finally:
            os.close(source)

    def _content(self, mount: Mount, number: int) -> str:
        folder = self._files.content
        if str(folder) not in self.mounted:
            total = sum(len(other.content) + 4096 for other in self._spec.mounts if other.type == "content")
            if total > MOST_CONTENT:
                raise InvalidArgument(f"the contents of mounts take more than {MOST_CONTENT} bytes")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            linux.mount("tmpfs", str(folder), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, f"size={total + SPARE},mode=700")
            self.mounted.append(str(folder))
        path = folder / str(number)
        path.write_bytes(mount.content)
        os.chown(path, mount.uid, mount.gid)
        path.chmod(mount.mode & 0o7777)
        return str(path)


def bind_source(mount: Mount) -> str:
    """A path of the host's, which the caller may choose freely: who may do that is root on it."""
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise InvalidArgument(f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' mount path must be absolute")
    if os.path.exists(mount.source):
        return os.path.realpath(mount.source)
    if not mount.create_source:
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')
    try:
        previous = os.umask(0o022)
        try:
            os.makedirs(mount.source, exist_ok=True)
        finally:
            os.umask(previous)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise Failed(f"error while creating mount source path '{mount.source}': mkdir {mount.source}: {reason}") from None
    return os.path.realpath(mount.source)


def open_inside(root: Path, path: str) -> int:
    """A folder or file below `root`, links followed inside it only.

    Raises:
        NotFound
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.target_in_root(folder, os.fsencode(path))
    except OSError as error:
        raise NotFound(f"cannot access path {path}: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        os.close(folder)


def unmount_all(paths: tuple[str, ...]) -> None:
    """And remove the empty folders and files that they were mounted on."""
    for path in paths:
        with contextlib.suppress(OSError):
            while True:  # a host that was killed half-way may have mounted twice
                linux.unmount(path, linux.MNT_DETACH | linux.UMOUNT_NOFOLLOW)
        with contextlib.suppress(OSError):
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


# ---------------------------------------------------------------------------------------------------------------- filling a volume


def copy_tree(source: int, target: str, place: str) -> None:
    """In a child: copy a folder's content and its own owner and mode.

    Another container may have the volume already and put links in the way. So the child first goes where nothing but the two folders is: a link leads
    nowhere else.
    """
    path = os.readlink(f"/proc/self/fd/{source}")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    # Opened again: a descriptor from before leads to a mount of the other namespace, which cannot be bound in this one.
    given, source = os.fstat(source), os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    if not os.path.samestat(given, os.fstat(source)):  # of what was unmounted, the path is one of the host's
        raise Conflict("the root file system was taken away meanwhile")
    into = os.open(target, os.O_PATH | os.O_DIRECTORY)
    linux.mount("tmpfs", place, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
    for name, fd in (("from", source), ("to", into)):
        os.mkdir(f"{place}/{name}")
        linux.mount(f"/proc/self/fd/{fd}", f"{place}/{name}", "", linux.MS_BIND)
    os.chroot(place)
    os.chdir("/")
    os.umask(0)
    _copy_folder("/from", "/to", {})


def _copy_folder(source: str, target: str, linked: dict[tuple[int, int], str]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(entry.path, f"{target}/{entry.name}", entry.stat(follow_symlinks=False), linked)
    _copy_attributes(source, target, os.lstat(source))


def _copy_entry(source: str, target: str, found: os.stat_result, linked: dict[tuple[int, int], str]) -> None:
    key = (found.st_dev, found.st_ino)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(target, 0o700)
        _copy_folder(source, target, linked)
        return
    if found.st_nlink > 1 and key in linked:
        os.link(linked[key], target, follow_symlinks=False)
        return
    linked[key] = target
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(found.st_mode):
        with open(source, "rb") as read, open(target, "xb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
    elif stat.S_ISSOCK(found.st_mode):
        return
    else:
        os.mknod(target, found.st_mode, found.st_rdev)
    _copy_attributes(source, target, found)


def _copy_attributes(source: str, target: str, found: os.stat_result) -> None:
    os.lchown(target, found.st_uid, found.st_gid)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if not name.startswith(linux.OVERLAY):
            with contextlib.suppress(OSError):  # a file system without them
                os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
