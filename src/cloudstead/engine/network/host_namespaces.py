"""Network namespaces: made, entered for a moment, bound to names.

The process is single-threaded, so it may change its own namespace (setns(2), 1 µs) as long as it is back before anything else runs: `inside` never
contains an `await`. A namespace lives while a descriptor, a bound name, a socket or a process holds it; the kernel removes its links then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cloudstead.engine.linux import CLONE_NEWNET, MS_BIND, enter_namespace, mount, unmount_all, unshare

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
    unshare(CLONE_NEWNET)
    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        enter_namespace(back, CLONE_NEWNET)


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    back = home()
    enter_namespace(namespace, CLONE_NEWNET)
    try:
        yield
    finally:
        enter_namespace(back, CLONE_NEWNET)


def bind(namespace: int, path: Path) -> None:
    """Give it a name that outlives this process."""
    path.touch(mode=0o600)
    mount(f"/proc/self/fd/{namespace}", str(path), "", MS_BIND)


def unbind(path: Path) -> None:
    """Take the name away; without effect when there is none."""
    unmount_all(str(path))
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


def is_bound(path: Path) -> bool:
    found = open_bound(path)
    if found is not None:
        os.close(found)
    return found is not None
