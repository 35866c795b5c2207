"""Writables: an upper folder over a stack of snapshots, mounted by overlayfs where the container's bundle has its root file system.

Names in the mount's options are relative to the folder of the snapshots (the process goes there for the call): the kernel takes one page
of options, and this way some 500 layers, as many as overlayfs allows, fit; and nothing in the data directory's path can be mistaken for an option.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.host.server import Host
from cloudstead.engine.snapshots.host_shelf import Shelf, Stack
from cloudstead.engine.snapshots.host_skeleton import fill
from cloudstead.engine.snapshots.host_unmount import unmount

MOST_LAYERS = 500  # OVL_MAX_STACK
MOST_OPTIONS = 4095


def shelf_of(host: Host) -> Shelf:
    shelf = host.parts.get("snapshots")
    if shelf is None:
        shelf = host.parts["snapshots"] = Shelf(host.layout)
    assert isinstance(shelf, Shelf)
    return shelf


def mount_writable(host: Host, key: str, layers: tuple[str, ...], size: int = 0, *, skeleton: bool = True) -> Path:
    """Mount a writable over a stack of chains (the lowest first), making it when there is none. Where, for a bundle's `root.path`.

    Raises:
        NotFound: a layer is not unpacked.
        Conflict: there is one of that name over other layers.
        Unsupported: a size, where the file system cannot hold a folder to one.
    """
    shelf = shelf_of(host)
    folder = shelf.writable(key)
    target = folder / "rootfs"
    try:
        stack = shelf.stack(key)
    except NotFound:
        stack = _make(host, shelf, key, Stack(layers=layers, size=size, skeleton=skeleton))
    else:
        if stack.layers != layers:
            raise Conflict(f"the root file system {key} lies over other layers")
        (folder / "borrowed").unlink(missing_ok=True)  # it stays mounted now
        if os.path.ismount(target):
            return target
    _mount(host, shelf, key, stack)
    return target


def unmount_writable(host: Host, key: str, *, now: bool = False) -> None:
    """What was written stays. Without effect when it is not mounted.

    While a call reads it, it stays mounted until that has ended, unless it is to be deleted (`now`): an export that begins when a container ends
    would find an empty folder.
    """
    if not now and shelf_of(host).borrowers.get(key):
        (host.layout.containers / key / "borrowed").touch()
        return
    unmount(host, host.layout.containers / key / "rootfs")


@contextlib.contextmanager
def borrowed(host: Host, key: str) -> Iterator[None]:
    """Mounted for the time, if it is not anyway."""
    shelf = shelf_of(host)
    stack = shelf.stack(key)
    mark = shelf.writable(key) / "borrowed"
    if not os.path.ismount(shelf.writable(key) / "rootfs"):
        mark.touch()
        _mount(host, shelf, key, stack)
    shelf.borrowers[key] = shelf.borrowers.get(key, 0) + 1
    try:
        yield
    finally:
        shelf.borrowers[key] -= 1
        if not shelf.borrowers[key]:
            del shelf.borrowers[key]
            if mark.exists():
                unmount_writable(host, key)
                mark.unlink()


def _make(host: Host, shelf: Shelf, key: str, stack: Stack) -> Stack:
    if stack.size:
        raise Unsupported("a container's storage cannot be limited here: the data directory's file system has no project quotas")
    if len(stack.layers) > MOST_LAYERS:
        raise InvalidArgument(f"a root file system of {len(stack.layers)} layers: overlayfs takes {MOST_LAYERS}")
    require_overlay(shelf)
    top = lower_of(host, shelf, stack)[0]
    folder = shelf.writable(key)
    folder.mkdir(mode=0o711, exist_ok=True)
    for name in ("rootfs", "work", "upper"):
        (folder / name).mkdir(mode=0o755, exist_ok=True)
    # The root of an overlay looks like its upper folder: give that what the image says of its own.
    copy_attributes(shelf.folder / top, folder / "upper")
    new = folder / "stack.new"
    new.write_bytes(msgspec.json.encode(stack))
    new.rename(folder / "stack")
    return stack


def require_overlay(shelf: Shelf) -> None:
    """
    Raises:
        Unsupported: the data directory lies on a file system that overlayfs cannot write to.
    """
    if linux.filesystem_type(str(shelf.folder)) == linux.OVERLAYFS:
        raise Unsupported(
            "the data directory lies on an overlay file system, as in a container without a volume: overlayfs cannot be put on top of it; "
            "put the data directory on a volume (ext4 or xfs)"
        )


def copy_attributes(source: Path, target: Path) -> None:
    """Owner, mode and times of a folder of ours."""
    found = os.lstat(source)
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    os.chmod(target, found.st_mode & 0o7777)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def lower_folders(shelf: Shelf, layers: tuple[str, ...]) -> list[str]:
    """Names as overlayfs wants them: the topmost first."""
    return [shelf.find(chain).folder for chain in reversed(layers)]


def lower_of(host: Host, shelf: Shelf, stack: Stack) -> list[str]:
    """All that lies below a writable."""
    folders = lower_folders(shelf, stack.layers) or ["empty"]
    return [_skeleton(host, shelf, folders), *folders] if stack.skeleton else folders


def _skeleton(host: Host, shelf: Shelf, folders: list[str]) -> str:
    name = shelf.skeleton(folders[0])
    if (shelf.folder / name).is_dir():
        return name
    new = shelf.temporary("new")
    try:
        for folder in (new, new / "upper", new / "work", new / "merged"):
            folder.mkdir(mode=0o755)
        copy_attributes(shelf.folder / folders[0], new / "upper")
        overlay(shelf, new / "merged", [*overlay_options(folders), f"upperdir={new.name}/upper,workdir={new.name}/work"])
        before = os.umask(0o022)
        root = os.open(new / "merged", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fill(root)
        finally:
            os.close(root)
            os.umask(before)
            unmount(host, new / "merged")
        copy_attributes(shelf.folder / folders[0], new / "upper")
        (new / "upper").rename(shelf.folder / name)
    finally:
        shelf.making.discard(new.name)
        shutil.rmtree(new, ignore_errors=True)
    return name


def _mount(host: Host, shelf: Shelf, key: str, stack: Stack) -> None:
    folder = shelf.writable(key)
    options = overlay_options(lower_of(host, shelf, stack))
    options.append(f"upperdir=../containers/{key}/upper,workdir=../containers/{key}/work")
    if host.options.get("overlay-volatile") == "yes":
        options.append("volatile")
    _forgive_volatile(folder / "work")
    overlay(shelf, folder / "rootfs", options)


def overlay(shelf: Shelf, target: Path, options: list[str], flags: int = 0) -> None:
    """Mount, with names relative to the snapshots' folder."""
    data = ",".join(options)
    if len(data) > MOST_OPTIONS:
        raise InvalidArgument(f"too many layers for one mount: {len(data)} bytes of options")
    with working_in(shelf.folder):
        try:
            linux.mount("overlay", str(target), "overlay", flags, data)
        except OSError as error:
            raise _explain(error) from None
    linux.mount("", str(target), "", linux.MS_PRIVATE)


def overlay_options(lower: list[str]) -> list[str]:
    """The lower folders, and what must not be on however the kernel was built: layers are made from upper folders as they are."""
    return [f"lowerdir={':'.join(lower)}", *_switches()]


@functools.cache
def _switches() -> tuple[str, ...]:
    wanted = {"index": "index=off", "redirect_dir": "redirect_dir=off", "metacopy": "metacopy=off", "xino_auto": "xino=auto"}
    own: tuple[str, ...] = ()
    if linux.in_user_namespace():
        wanted["redirect_dir"] = "redirect_dir=nofollow"  # the same, and the only one that userxattr goes with
        own = ("userxattr",)
    return (*own, *(option for name, option in wanted.items() if os.path.exists(f"/sys/module/overlay/parameters/{name}")))


def _explain(error: OSError) -> Exception:
    if error.errno == errno.ENODEV:
        return Unsupported("this kernel has no overlayfs")
    if error.errno == errno.EINVAL:
        return Unsupported(
            "overlayfs does not take the data directory's file system (it must have extended attributes and whiteouts); use ext4 or xfs"
        )
    return Failed(f"overlayfs: {error.strerror}")


def _forgive_volatile(work: Path) -> None:
    """A volatile overlay refuses its second mount, for fear that the machine went down in between; here that is the user's choice."""
    shutil.rmtree(work / "work" / "incompat", ignore_errors=True)


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """This process has one thread, so nobody else looks at its working folder meanwhile."""
    before = os.open(".", linux.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)
