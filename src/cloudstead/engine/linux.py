"""System calls that Python has no name for: mounts, namespaces, capabilities, inotify, and openat2, which keeps a path inside a folder.

The numbers of openat2 and mount_setattr are the same on every architecture; pivot_root's are not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import platform
import resource
import signal
import struct

from cloudstead.engine.errors import Unsupported

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
IN_MODIFY, IN_CREATE, IN_ONLYDIR = 0x2, 0x100, 0x1000000
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 2, 4, 16
O_PATH: int = os.O_PATH
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 28, 36, 38
SECBIT_NO_SETUID_FIXUP, SECBIT_NOROOT = 1 << 2, 1 << 0
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SYS_ADMIN, CAP_MKNOD, CAP_SETFCAP = 0, 1, 3, 4, 21, 27, 31
MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 2, 4, 8
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
OVERLAYFS = 0x794C7630
_OPENAT2, _MOUNT_SETATTR = 437, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_how = struct.Struct("QQQ")
_event = struct.Struct("iIII")  # of inotify, before its name


def _check(result: int, what: str | bytes = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise Unsupported("this kernel is too old to keep paths inside a folder: Linux 5.6 is needed")
        raise OSError(number, os.strerror(number), what or None)
    return result


class Resolver:
    """openat2(2) with fixed flags: made once, since making the structure costs as much as the call."""

    __slots__ = ("_how", "_number")

    def __init__(self, flags: int, resolve: int, mode: int = 0) -> None:
        self._how = ctypes.create_string_buffer(_how.pack(flags | os.O_CLOEXEC, mode, resolve), _how.size)
        self._number = ctypes.c_long(_OPENAT2)

    def __call__(self, folder: int, path: bytes) -> int:
        """A descriptor. OSError as open(2); ELOOP where a link was met that the flags forbid."""
        while True:
            fd = _syscall(self._number, folder, path, self._how, ctypes.c_size_t(_how.size))
            if fd >= 0:
                return int(fd)
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: something was renamed meanwhile, so `..` could not be judged
                return _check(-1, path)


folder_in_root = Resolver(os.O_RDONLY | os.O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
"""A folder, links followed inside the root."""
path_in_root = Resolver(O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
"""Anything; a link as the last component is not followed."""
target_in_root = Resolver(O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
"""Anything; links followed inside the root."""
plain_folder = Resolver(os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
"""A folder on a path without links."""
plain_path = Resolver(O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
"""Anything on a path without links."""
plain_file = Resolver(os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
"""A file to read, on a path without links."""


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), os.fsencode(data) or None),
        target,
    )


def unmount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def unmount_all(target: str) -> None:
    """Everything that is mounted there, one over the other, also when somebody is still in it; without effect when nothing is."""
    try:
        while True:
            unmount(target, MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def enter_namespace(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind))


def pivot_root_here() -> None:
    """Make the current folder, a mount, the root of this mount namespace, and let go of everything else."""
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise Unsupported(f"the number of pivot_root on {platform.machine()} is not known")
    _check(_syscall(ctypes.c_long(number), b".", b"."))
    unmount(".", MNT_DETACH)
    os.chdir("/")


def set_mount_flags(target: str, attributes: int) -> None:
    """Add MOUNT_ATTR_* to a mount and all below it (Linux 5.12)."""
    structure = ctypes.create_string_buffer(struct.pack("QQQQ", attributes, 0, 0, 0), 32)
    _check(
        _syscall(ctypes.c_long(_MOUNT_SETATTR), AT_FDCWD, os.fsencode(target), ctypes.c_uint(AT_RECURSIVE), structure, ctypes.c_size_t(32)),
        target,
    )


def keep_capabilities(*kept: int) -> None:
    """Be nobody who may signal others, with root's view of files and only these capabilities, which no program can get back.

    Files are judged and made as root's (fsuid 0); signals are judged by the other ids.
    """
    mask = sum(1 << number for number in kept)
    for number in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EINVAL:
            break
    _check(_libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT, 0, 0, 0))
    os.setgroups([])
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _libc.setfsuid(0)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), 8)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _check(_libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", low, low, 0, high, high, 0), 24)))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


@functools.cache
def in_user_namespace() -> bool:
    """Whether this process is root only in a namespace of its own. There the kernel keeps devices, attributes `trusted.*`, limits above its own and much
    of /proc/sys from it."""
    return _id_map("uid") != [(0, 0, 0xFFFFFFFF)]


@functools.cache
def largest_id(kind: str) -> int:
    """Of the "uid"s or "gid"s there are in this user namespace."""
    return max((inside + count - 1 for inside, _, count in _id_map(kind)), default=0)


def _id_map(kind: str) -> list[tuple[int, int, int]]:
    """user_namespaces(7): first id inside, first id outside, how many."""
    with open(f"/proc/self/{kind}_map") as file:
        return [(int(inside), int(outside), int(count)) for inside, outside, count in map(str.split, file)]


NOBODY = min(0x7FFFFFF0, largest_id("uid"))
"""An id that nothing on the machine runs as; in a user namespace the last that there is. Found out now: where it is needed there is no /proc."""
OVERLAY = "user.overlay." if in_user_namespace() else "trusted.overlay."
"""How overlayfs' own attributes begin (overlayfs.rst, "userxattr")."""


def filesystem_type(path: str) -> int:
    """`f_type` of statfs(2): its magic number."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.statfs(os.fsencode(path), buffer), path)
    return int(ctypes.c_long.from_buffer(buffer).value)


def sync_filesystem(fd: int) -> None:
    """syncfs(2): one call for all that was written, instead of one for each file."""
    _check(_libc.syncfs(fd))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends. Changing ids and capabilities took that back; if it ended meanwhile, end now."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of processes whose parents end, so as to learn how they end (PR_SET_CHILD_SUBREAPER)."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def close_from(first: int) -> None:
    """Close this descriptor and all above it."""
    if hasattr(_libc, "close_range"):
        _libc.close_range(first, 0xFFFFFFFF, 0)
    else:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.closerange(first, min(soft, 1 << 20))


class Inotify:
    """inotify(7): what happens to files, told through a descriptor. One for many files, since a user may have only 128."""

    def __init__(self) -> None:
        self.fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def add(self, path: str | bytes, mask: int) -> int | None:
        """The watch's number, the same for the same file; None: it may not be read, or the user has no watch left (fs.inotify.max_user_watches)."""
        number = int(_libc.inotify_add_watch(self.fd, os.fsencode(path), mask))
        return number if number >= 0 else None

    def remove(self, number: int) -> None:
        _libc.inotify_rm_watch(self.fd, number)

    def read(self) -> list[tuple[int, bytes]]:
        """Watches to which something has happened, each with the name of what is in the folder."""
        found: list[tuple[int, bytes]] = []
        with contextlib.suppress(BlockingIOError, InterruptedError):
            data = os.read(self.fd, 64 << 10)
            at = 0
            while at < len(data):
                number, _, _, length = _event.unpack_from(data, at)
                at += _event.size + length
                found.append((number, data[at - length : at].rstrip(b"\0")))
        return found

    def close(self) -> None:
        os.close(self.fd)
