"""Device nodes of the host that a container gets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.oci_spec import DeviceNode
from cloudstead.engine.pods.specs import Device

SKIPPED = ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console")  # of /dev: a container has its own
DEEPEST = 8


def find_devices(wanted: Sequence[Device], *, privileged: bool) -> list[DeviceNode]:
    """Those asked for, and all of the host's when privileged. A folder stands for the devices in it.

    Raises:
        InvalidArgument: there is none at that path.
    """
    found = {node.path: node for node in (_all("/dev", "/dev", "rwm") if privileged else ())}
    for device in wanted:
        permissions = "rwm" if privileged else device.permissions
        if not permissions or set(permissions) - set("rwm"):
            raise InvalidArgument(f"invalid device mode: {device.permissions}")
        for node in _named(device, permissions):
            found[node.path] = node
    return list(found.values())


def _named(device: Device, permissions: str) -> Iterator[DeviceNode]:
    inside = device.container_path or device.path
    if not inside.startswith("/"):
        raise InvalidArgument(f"{inside} is not an absolute path")
    path = os.path.realpath(device.path)
    node = _node(path, inside, permissions)
    if node is not None:
        yield node
        return
    nodes = list(_all(path, inside, permissions)) if os.path.isdir(path) else []
    if not nodes:
        raise InvalidArgument(f'error gathering device information while adding custom device "{device.path}": no such file or directory')
    yield from nodes


def _all(folder: str, inside: str, permissions: str, depth: int = 0) -> Iterator[DeviceNode]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink() or entry.name in SKIPPED:
            continue
        if entry.is_dir():
            if depth < DEEPEST:
                yield from _all(entry.path, f"{inside}/{entry.name}", permissions, depth + 1)
        elif (node := _node(entry.path, f"{inside}/{entry.name}", permissions)) is not None:
            yield node


def _node(path: str, inside: str, permissions: str) -> DeviceNode | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        return None
    rdev = found.st_rdev
    return DeviceNode(inside, kind, os.major(rdev), os.minor(rdev), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, permissions)
