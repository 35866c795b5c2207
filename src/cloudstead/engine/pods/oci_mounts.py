"""`mounts` of the runtime's config.json: Docker's own, the pod's files, and those that were asked for. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.specs import ContainerSpec, Mount

OPPOSITES = {
    "exec": "noexec",
    "suid": "nosuid",
    "dev": "nodev",
    "rw": "ro",
    "async": "sync",
    "atime": "noatime",
    "diratime": "nodiratime",
    "relatime": "norelatime",
}
TMPFS_WORDS = {*OPPOSITES, *OPPOSITES.values(), "strictatime", "nostrictatime"}
TMPFS_VALUES = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"))
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
NEVER_READ_ONLY = ("/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev")


def mounts(
    spec: ContainerSpec,
    wanted: Sequence[tuple[Mount, str]],
    files: Mapping[str, str],
    *,
    shm: str,
    recursively: bool,
    locked: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    bound_proc: bool = False,
    cgroups: bool = True,
) -> list[dict[str, Any]]:
    """In the order in which they are to be made: an outer one before what lies in it.

    Args:
        wanted: mounts with their path on the host.
        files: of the pod's, by their path inside.
        shm: a /dev/shm of somebody else's; empty: a new one.
        recursively: read-only may mean mounts below too.
        locked: options that mounts of the host's must keep, by path.
        bound_proc: /proc is the host's own, since it shows processes of a namespace that cannot be mounted here.
        cgroups: there are any.

    Raises:
        InvalidArgument
    """
    targets = [target_of(mount) for mount, _ in wanted]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidArgument(f"Duplicate mount point: {target}")
    own = [mount for mount in _defaults(spec, shm, bound_proc, cgroups) if not _replaced(mount["destination"], targets)]
    if spec.read_only:
        for mount in own:
            if mount["destination"] not in NEVER_READ_ONLY and "ro" not in mount["options"]:
                mount["options"].append("ro")
    own += [_bind(source, target, ["rbind", "rprivate"]) for target, source in files.items() if target not in targets]
    asked = sorted(wanted, key=lambda entry: target_of(entry[0]).count("/"))
    return own + [_wanted(mount, source, recursively, locked.get(source, ())) for mount, source in asked]


def target_of(mount: Mount) -> str:
    """Where, without `..` and double slashes."""
    if not mount.target.startswith("/") or "\0" in mount.target:
        raise InvalidArgument(
            f"invalid mount config for type '{mount.type}': invalid mount path: '{mount.target}' mount path must be absolute"
        )
    target = posixpath.normpath(mount.target).replace("//", "/")
    if target == "/":
        raise InvalidArgument(f"invalid specification: destination can't be '/': {mount.target}")
    return target


def propagation(wanted: Iterable[Mount]) -> str:
    """Of the root file system: a mount can only receive what its parent lets through."""
    kinds = {mount.propagation.removeprefix("r") for mount in wanted}
    return "shared" if "shared" in kinds else "rslave" if "slave" in kinds else ""


def _replaced(destination: str, targets: Sequence[str]) -> bool:
    return destination in targets or ("/dev" in targets and destination.startswith("/dev/"))


def _defaults(spec: ContainerSpec, shm: str, bound_proc: bool, cgroups: bool) -> list[dict[str, Any]]:
    """moby, daemon/pkg/oci/defaults.go."""
    writable = [] if spec.privileged else ["ro"]
    found = [
        _bind("/proc", "/proc", ["rbind", "rprivate"]) if bound_proc else _mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", *writable]),
        *([_mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", *writable])] if cgroups else []),
        _mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ]
    if shm:
        found.append(_bind(shm, "/dev/shm", ["rbind", "rprivate", "nosuid", "noexec", "nodev"]))
    elif spec.ipc_mode != "none":
        if spec.shm_size < 0:
            raise InvalidArgument("SHM size can not be less than 0")
        found.append(_mount("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", f"size={spec.shm_size}"]))
    return found


def _wanted(mount: Mount, source: str, recursively: bool, locked: tuple[str, ...]) -> dict[str, Any]:
    target = target_of(mount)
    if mount.type == "tmpfs":
        return _mount(target, "tmpfs", "tmpfs", tmpfs_options(mount))
    if mount.propagation and mount.propagation not in PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation: {mount.propagation}")
    options = ["rbind" if mount.recursive else "bind", mount.propagation or "rprivate"]
    if mount.read_only:
        options += ["rro"] if recursively and mount.recursive else ["ro", *locked]
    return _bind(source, target, options)


def tmpfs_options(mount: Mount) -> list[str]:
    """Docker's defaults, and the user's over them: `exec` takes `noexec` away.

    Raises:
        InvalidArgument: an option that tmpfs does not have.
    """
    if mount.tmpfs_size < 0:
        raise InvalidArgument(f"the size of the tmpfs at {mount.target} is below zero")
    options = ["noexec", "nosuid", "nodev"]
    values = {"mode": f"{mount.tmpfs_mode:o}"}
    if mount.tmpfs_size:
        values["size"] = str(mount.tmpfs_size)
    for option in (*mount.options, *(["ro"] if mount.read_only else [])):
        name, equals, value = option.partition("=")
        if equals and name in TMPFS_VALUES and value and "," not in value:
            values[name] = value
        elif not equals and option in TMPFS_WORDS:
            opposite = OPPOSITES.get(option) or next((word for word, other in OPPOSITES.items() if other == option), "")
            options = [kept for kept in options if kept not in (option, opposite)]
            options.append(option)
        else:
            raise InvalidArgument(f"invalid tmpfs option {option!r}")
    return options + [f"{name}={value}" for name, value in values.items()]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _bind(source: str, target: str, options: list[str]) -> dict[str, Any]:
    return _mount(target, "bind", source, options)
