"""What a forked child gives up before it reads a byte of a stranger's.

It gets a mount namespace in which there is nothing but the folders that it works on (bound below an empty root, without devices, programs or
set-user-id), network, IPC and UTS namespaces of its own, ids that may signal nobody, a few capabilities over files, limits on memory, CPU and the size of
files, and no way back (no_new_privs, an empty bounding set). What a hole in a decompressor could then reach is the folder that is being unpacked.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, NotFound, Unsupported
from cloudstead.engine.snapshots.api import View
from cloudstead.engine.snapshots.host_mounts import overlay, overlay_options
from cloudstead.engine.snapshots.host_shelf import Shelf
from cloudstead.engine.snapshots.host_source import DEFAULT, Limits
from cloudstead.engine.snapshots.host_tree import Tree, clean

CAPABILITIES = (linux.CAP_CHOWN, linux.CAP_DAC_OVERRIDE, linux.CAP_FOWNER, linux.CAP_FSETID, linux.CAP_MKNOD, linux.CAP_SETFCAP)
READING = (linux.CAP_DAC_OVERRIDE,)
READING_LAYERS = (linux.CAP_DAC_OVERRIDE, linux.CAP_SYS_ADMIN)  # overlayfs' own attributes are shown to nobody else
HARMLESS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


KERNELS_OWN = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "nsfs")
)


class Bind(NamedTuple):
    """A folder that stays to be seen, as "/<name>"."""

    name: str
    source: Path
    writable: bool = False


def confine(
    shelf: Shelf,
    binds: list[Bind],
    *,
    lower: list[str] | None = None,
    views: tuple[View, ...] = (),
    limits: Limits = DEFAULT,
    capabilities: tuple[int, ...] = CAPABILITIES,
) -> None:
    """After this the process sees "/<name>" for each bind, and as "/lower" what is stacked of the named snapshot folders (the topmost first).
    `views` are mounted in the first of the binds."""
    memory = _address_space()
    os.umask(0)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    root, merged = shelf.folder / "empty", shelf.folder / "confined"
    if lower is not None:
        binds = [*binds, Bind("lower", merged)]
    if lower:
        overlay(shelf, merged, overlay_options([*dict.fromkeys([*lower, "empty"])]), HARMLESS | linux.MS_RDONLY)
    linux.mount("none", str(root), "tmpfs", HARMLESS, "size=64k,mode=755")
    for bind in binds:
        target = root / bind.name
        target.mkdir(mode=0o755)
        linux.mount(str(bind.source), str(target), "", linux.MS_BIND)
        read_only = 0 if bind.writable else linux.MS_RDONLY
        linux.mount("", str(target), "", linux.MS_BIND | linux.MS_REMOUNT | HARMLESS | read_only)
    for view in views:
        _mount_view(root / binds[0].name, view)
    linux.mount("", str(root), "", linux.MS_REMOUNT | linux.MS_RDONLY | HARMLESS)
    os.chdir(root)
    linux.pivot_root_here()
    _give_up(memory + limits.memory, limits, capabilities)


def _mount_view(root: Path, view: View) -> None:
    """Mount it where its target leads inside the root; the place is made when it is not there, as the runtime would."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        target = clean(os.fsencode(os.path.normpath("/" + view.target)))
        with _place(fd, target, make=os.path.isdir(view.source)) as place:
            linux.mount(view.source, place, "", linux.MS_BIND | linux.MS_REC)
        with _place(fd, target) as place:  # what is mounted there now
            linux.mount("", place, "", linux.MS_BIND | linux.MS_REMOUNT | HARMLESS | (linux.MS_RDONLY if view.read_only else 0))
    except FileNotFoundError:
        raise NotFound(f"the mount of {view.source} at {view.target} is not there") from None
    finally:
        os.close(fd)


@contextlib.contextmanager
def _place(root: int, path: bytes, *, make: bool = False) -> Iterator[str]:
    """A path that means what `path` leads to inside the root, whatever its links are."""
    if make:
        tree = Tree(root)
        tree.folder(path)
        tree.forget()
    fd = linux.target_in_root(root, path)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def confine_to_process(key: str, pid: int, limits: Limits = DEFAULT, capabilities: tuple[int, ...] = CAPABILITIES) -> frozenset[int]:
    """See what a process of a container sees, with its mounts, and nothing else. Devices there cannot be opened.

    Returns:
        The file systems in it that hold no files of anybody's (/proc, /dev …), by st_dev.

    Raises:
        Conflict: the process is none of that container's (any more).
    """
    memory = _address_space()
    os.umask(0)
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        mounts = Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape")
    except OSError:  # it has ended, or is none that even root may look at
        raise Conflict(f"the container {key} is not running") from None
    if not any(line.split()[4] == "/" and f"/{key}/upper" in line for line in mounts.splitlines()):
        raise Conflict(f"the process {pid} is not one of the container {key}")
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
    linux.enter_namespace(namespace, linux.CLONE_NEWNS)  # the root and the current folder are that namespace's now
    linux.unshare(linux.CLONE_NEWNS)  # and go along into the copy: a descriptor from before would not, and nothing can be mounted there
    os.close(namespace)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    try:
        linux.set_mount_flags("/", linux.MOUNT_ATTR_NODEV | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NOEXEC)
    except (OSError, Unsupported):
        raise Unsupported("copying from and to a running container needs Linux 5.12") from None
    _give_up(memory + limits.memory, limits, capabilities)
    return frozenset(_without_files(mounts))


def _without_files(mounts: str) -> Iterator[int]:
    """From lines of mountinfo; see proc(5)."""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        _, _, device, _, where, *_ = fields.split()
        if rest.split()[0] in KERNELS_OWN or where == "/dev":
            major, _, minor = device.partition(":")
            yield os.makedev(int(major), int(minor))


def _give_up(memory: int, limits: Limits, capabilities: tuple[int, ...]) -> None:
    """Rights and room."""
    sys.setrecursionlimit(20_000)  # of pure Python calls; a path has at most 2,048 components
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, limits.bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError):
            resource.setrlimit(what, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    parent = os.getppid()
    linux.keep_capabilities(*capabilities)
    linux.die_with_parent(parent)


def _address_space() -> int:
    """Bytes that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
