"""Network namespaces: made, entered for a moment, bound to names.

The process is single-threaded, so it may change its own namespace (setns(2), 1 µs) as long as it is back before anything else runs: `inside` never
contains an `await`. A namespace lives while a descriptor, a bound name, a socket or a process holds it; the kernel removes its links then.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)
_home = -1


def home() -> int:
    """The namespace of the host, as a descriptor. Opened at the first use, before anything else is entered."""
    global _home
    if _home < 0:
        _home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return _home


def make() -> int:
    """A new one, as a descriptor: whoever drops the last hold of it ends it."""
    back = home()
    _check(_libc.unshare(CLONE_NEWNET), "unshare")
    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _check(_libc.setns(back, CLONE_NEWNET), "setns")


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    back = home()
    _check(_libc.setns(namespace, CLONE_NEWNET), "setns")
    try:
        yield
    finally:
        _check(_libc.setns(back, CLONE_NEWNET), "setns")


def bind(namespace: int, path: Path) -> None:
    """Give it a name that outlives this process."""
    path.touch(mode=0o600)
    _check(_libc.mount(f"/proc/self/fd/{namespace}".encode(), os.fsencode(path), None, MS_BIND, None), f"bind {path.name}")


def unbind(path: Path) -> None:
    """Take the name away; without effect when there is none."""
    while _libc.umount2(os.fsencode(path), MNT_DETACH) == 0:
        pass
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise OSError(ctypes.get_errno(), f"unmount {path.name}: {os.strerror(ctypes.get_errno())}")
    path.unlink(missing_ok=True)


def open_bound(path: Path) -> int | None:
    """The namespace bound to a name, as a descriptor; None when nothing is (a reboot leaves the plain file, if it leaves any)."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    if os.fstat(found).st_dev == os.fstat(home()).st_dev:
        return found
    os.close(found)
    return None


def write_settings(settings: dict[str, str], *, optional: bool = False) -> None:
    """Sysctls of the namespace that the process is in: names as paths below /proc/sys."""
    for name, value in settings.items():
        try:
            with open(f"/proc/sys/{name}", "wb", buffering=0) as file:
                file.write(value.encode())
        except OSError:
            if not optional:
                raise


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def is_bound(path: Path) -> bool:
    found = open_bound(path)
    if found is not None:
        os.close(found)
    return found is not None
