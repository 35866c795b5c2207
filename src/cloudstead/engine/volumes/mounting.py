"""mount(2) with the options that mount(8) and Docker's local driver take: some are flags, the rest goes to the file system."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import Failed, NotFound, Unsupported

# linux/mount.h: option -> (flag, whether the option clears it)
FLAGS = {
    "defaults": (0, False),
    "ro": (1, False),
    "rw": (1, True),
    "nosuid": (2, False),
    "suid": (2, True),
    "nodev": (4, False),
    "dev": (4, True),
    "noexec": (8, False),
    "exec": (8, True),
    "sync": (16, False),
    "async": (16, True),
    "remount": (32, False),
    "mand": (64, False),
    "nomand": (64, True),
    "dirsync": (128, False),
    "noatime": (1024, False),
    "atime": (1024, True),
    "nodiratime": (2048, False),
    "diratime": (2048, True),
    "bind": (4096, False),
    "rbind": (4096 | 16384, False),
    "relatime": (1 << 21, False),
    "norelatime": (1 << 21, True),
    "strictatime": (1 << 24, False),
    "nostrictatime": (1 << 24, True),
}
PROPAGATION = {
    "unbindable": 1 << 17,
    "runbindable": (1 << 17) | 16384,
    "private": 1 << 18,
    "rprivate": (1 << 18) | 16384,
    "slave": 1 << 19,
    "rslave": (1 << 19) | 16384,
    "shared": 1 << 20,
    "rshared": (1 << 20) | 16384,
}
RDONLY, REMOUNT, BIND, REC = linux.MS_RDONLY, linux.MS_REMOUNT, linux.MS_BIND, linux.MS_REC


class Options(NamedTuple):
    flags: int
    propagation: int
    data: str


def parse(options: str) -> Options:
    """`rw,nosuid,size=100m` as flags, a propagation and what the file system reads."""
    flags, propagation, data = 0, 0, []
    for option in options.split(","):
        if option in FLAGS:
            flag, clears = FLAGS[option]
            flags = flags & ~flag if clears else flags | flag
        elif option in PROPAGATION:
            propagation = PROPAGATION[option]
        elif option:
            data.append(option)
    return Options(flags, propagation, ",".join(data))


def mount(kind: str, device: str, target: str, options: str) -> None:
    """Mount as `mount -t kind -o options device target` would, without running it. A bind mount gets its other flags by a second call,
    since the kernel takes none with the first: mount(2).

    Raises:
        NotFound: the device or folder is not there.
        Unsupported: the kernel has no such file system.
        Failed: whatever else the kernel says.
    """
    flags, propagation, data = parse(options)
    _call(kind, device, target, flags & ~(RDONLY if flags & BIND else 0), data)
    if flags & BIND and flags & ~(BIND | REC):
        _call("", "", target, (flags & ~REC) | REMOUNT, "")
    if propagation:
        _call("", "", target, propagation, "")


def unmount(target: str) -> None:
    """Take everything that is mounted there away, also when somebody is still in it."""
    with contextlib.suppress(OSError):
        linux.unmount_all(target)


def _call(kind: str, device: str, target: str, flags: int, data: str) -> None:
    try:
        linux.mount(device or "none", target, kind, flags, data)
        return
    except OSError as error:
        number = error.errno or 0
    said = f"failed to mount local storage: mount {device}:{target}, flags: 0x{flags:x}, data: {data}: {os.strerror(number).lower()}"
    if number == 2:
        raise NotFound(said)
    if number == 19:  # ENODEV
        raise Unsupported(f"{said}: this kernel has no file system {kind}; its module is not loaded, or not there")
    raise Failed(said)
