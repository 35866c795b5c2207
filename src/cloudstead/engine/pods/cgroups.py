"""Control groups of v1, v2 and the two at once ("hybrid": v1 has the controllers, v2 is only a tree of processes).

A group is named by its path below the roots: `/cloudstead/<instance>/<pod>/<container>`. The OCI runtime makes a container's, with its limits; the host makes
a pod's outer one before, reads and changes both, and takes them away. On v1 a group is one folder in each hierarchy, on v2 one folder in all.

See cgroups(7), and the kernel's admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import signal
from collections.abc import Sequence
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, Unsupported
from cloudstead.engine.host import delegation
from cloudstead.engine.pods.limits import KEPT, Kernel, Write, numbers

NOT_OURS = "Cloudstead runs without root here, and no cgroup (v2) was delegated to it"


class Tree(NamedTuple):
    """Where the hierarchies are mounted."""

    mounts: dict[str, str]  # v1: by controller (or "name=systemd"); empty on v2
    unified: str  # the v2 hierarchy; empty: none
    kernel: Kernel

    @property
    def roots(self) -> list[str]:
        """Each hierarchy once."""
        return list(dict.fromkeys([*self.mounts.values(), *([self.unified] if self.unified else [])]))

    def folder(self, controller: str, group: str) -> str:
        """Where a controller's files of a group are."""
        return (self.mounts[controller] if self.kernel.version == 1 else self.unified) + group


@functools.cache
def tree() -> Tree:
    """This machine's. Where they are not this user's to change, there are none: limits are refused, and containers run without.

    Raises:
        Unsupported: no cgroups are mounted.
    """
    with open("/proc/self/mountinfo") as file:
        found = read_tree(file.read())
    if not linux.in_user_namespace() or all(os.access(root, os.W_OK) for root in found.roots):
        return found
    if above := delegation.above_leaf():
        controllers = frozenset(_text(f"{found.unified}{above}/cgroup.controllers").split())
        return found._replace(kernel=found.kernel._replace(controllers=controllers))
    return Tree({}, "", found.kernel._replace(version=2, controllers=frozenset(), swap=False, io_weight=False, none=NOT_OURS))


def read_tree(mountinfo: str) -> Tree:
    """From the text of /proc/self/mountinfo: `id parent major:minor root target options … - type source options`, see proc(5)."""
    mounts: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        target, kind, options = left.split()[4], right.split()[0], right.split()[-1].split(",")
        if kind == "cgroup2":
            unified = unified or target
        elif kind == "cgroup":
            for option in options:
                if option.startswith("name=") or option in V1_CONTROLLERS:
                    mounts.setdefault(option, target)
    if not mounts and not unified:
        raise Unsupported("no control groups are mounted: containers need cgroup v1 or v2 at /sys/fs/cgroup")
    return Tree(mounts, unified, _kernel(mounts, unified))


V1_CONTROLLERS = frozenset(
    (
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "blkio",
        "pids",
        "devices",
        "freezer",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    )
)


def _kernel(mounts: dict[str, str], unified: str) -> Kernel:
    cpus = frozenset(numbers(_text("/sys/devices/system/cpu/online")))
    if any(not name.startswith("name=") for name in mounts):
        memory = mounts.get("memory", "")
        weight = os.path.exists(f"{mounts.get('blkio', '')}/blkio.bfq.weight") or os.path.exists("/sys/module/bfq")
        swap = os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")
        return Kernel(1, frozenset(mounts), swap, weight, len(cpus), cpus)
    controllers = frozenset(_text(f"{unified}/cgroup.controllers").split())
    return Kernel(2, controllers, _limits_swap(unified), "io" in controllers, len(cpus), cpus)


def _limits_swap(unified: str) -> bool:
    """Whether groups of v2 have `memory.swap.max`: not in a kernel without CONFIG_SWAP, or that was started with swapaccount=0. The root has no limits,
    so one of those below it is asked; where there is none with a limit of memory yet, swap tells."""
    try:
        with os.scandir(unified) as entries:
            folders = [unified, *(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))]
    except OSError:
        folders = []
    for folder in folders:
        if os.path.exists(f"{folder}/memory.max"):
            return os.path.exists(f"{folder}/memory.swap.max")
    return os.path.exists("/proc/swaps")


# ---------------------------------------------------------------------------------------------------------------- making, writing


def make(cgroups: Tree, group: str, writes: Sequence[Write]) -> None:
    """Make a group that is to hold others, with limits. On v1 only where a limit is: the runtime makes the rest.

    Raises:
        Unsupported, InvalidArgument, Failed: as `write`
    """
    if cgroups.kernel.version == 2:
        _make_unified(cgroups, group)
    else:
        for controller in dict.fromkeys(write.controller for write in writes):
            os.makedirs(cgroups.folder(controller, group), mode=0o755, exist_ok=True)
            if controller == "cpuset":
                _inherit_cpuset(cgroups.mounts["cpuset"], group)
    write(cgroups, group, writes)


def _make_unified(cgroups: Tree, group: str) -> None:
    """Each level must hand its controllers down by `cgroup.subtree_control` before the next has their files."""
    folder = cgroups.unified
    for part in group.strip("/").split("/"):
        available = _text(f"{folder}/cgroup.controllers").split()
        enabled = _text(f"{folder}/cgroup.subtree_control").split()
        for controller in available:
            if controller not in enabled:
                with contextlib.suppress(OSError):  # one that cannot be handed down (a real-time cpu) is missed when a limit needs it
                    _write_file(f"{folder}/cgroup.subtree_control", f"+{controller}")
        folder = f"{folder}/{part}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755)


def _inherit_cpuset(root: str, group: str) -> None:
    """On v1 a new cpuset is empty and no process may enter it, unless it is filled from the one above."""
    folder = root
    for part in group.strip("/").split("/"):
        above, folder = folder, f"{folder}/{part}"
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not _text(f"{folder}/{file}").strip():
                _write_file(f"{folder}/{file}", _text(f"{above}/{file}").strip())


def write(cgroups: Tree, group: str, writes: Sequence[Write]) -> None:
    """Write limits. What fails is tried once more after the others, since some values only go in an order that depends on what is there.

    Raises:
        Unsupported: there is no such file.
        InvalidArgument: the kernel refuses the value.
    """
    again = []
    for item in writes:
        try:
            _write_one(cgroups, group, item)
        except EngineError:
            again.append(item)
    for item in again:
        _write_one(cgroups, group, item)


def _write_one(cgroups: Tree, group: str, item: Write) -> None:
    if cgroups.kernel.version == 1 and item.controller not in cgroups.mounts:
        raise Unsupported(f"the cgroup controller {item.controller} is not mounted")
    path = f"{cgroups.folder(item.controller, group)}/{item.file}"
    value = _with_kept(path, item.value)
    try:
        _write_file(path, value)
    except FileNotFoundError:
        raise Unsupported(f"this kernel cannot limit that: it has no {item.file}") from None
    except OSError as error:
        if error.errno == errno.EBUSY and item.file == "memory.limit_in_bytes":
            raise InvalidArgument(f"the container uses more memory than {value} bytes and does not give it back") from None
        raise InvalidArgument(f"the kernel does not take {value} for {item.file}: {os.strerror(error.errno or 0)}") from None


def _with_kept(path: str, value: str) -> str:
    """`= 50000` with the part that the file has now."""
    parts = value.split(" ")
    if KEPT not in parts:
        return value
    there = _text(path).split()
    return " ".join(there[index] if part == KEPT and index < len(there) else part for index, part in enumerate(parts))


# ---------------------------------------------------------------------------------------------------------------- processes


def processes(cgroups: Tree, group: str) -> list[int]:
    """All of a group and of the groups that it made inside itself."""
    root = cgroups.unified if cgroups.kernel.version == 2 else next(iter(cgroups.mounts.values()))
    found: list[int] = []
    for folder, _, _ in os.walk(root + group):
        found += map(int, _text(f"{folder}/cgroup.procs").split())
    return found


def kill(cgroups: Tree, group: str) -> bool:
    """SIGKILL for every process of a group. True when there were none. They end a little later."""
    found = processes(cgroups, group)
    if cgroups.kernel.version == 2:
        with contextlib.suppress(OSError):
            _write_file(f"{cgroups.unified}{group}/cgroup.kill", "1")  # Linux 5.14
            return not found
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not found


def remove(cgroups: Tree, group: str) -> bool:
    """Remove a group and those inside it from every hierarchy. False: something still lives in it."""
    gone = True
    for root in cgroups.roots:
        for folder, _, _ in os.walk(root + group, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
    return gone


def exists(cgroups: Tree, group: str) -> bool:
    return any(os.path.isdir(root + group) for root in cgroups.roots)


def children(cgroups: Tree, group: str) -> set[str]:
    """Names of the groups directly inside."""
    found: set[str] = set()
    for root in cgroups.roots:
        with contextlib.suppress(OSError), os.scandir(root + group) as entries:
            found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return found


# ---------------------------------------------------------------------------------------------------------------- freezing


def freeze(cgroups: Tree, group: str, frozen: bool) -> None:
    """Ask for it; `is_frozen` says when it is so.

    Raises:
        Unsupported, Failed
    """
    if not cgroups.roots:
        raise Unsupported(f"a container cannot be paused: {cgroups.kernel.none}")
    try:
        if cgroups.kernel.version == 2:
            _write_file(f"{cgroups.unified}{group}/cgroup.freeze", "1" if frozen else "0")
        else:
            _write_file(f"{cgroups.folder('freezer', group)}/freezer.state", "FROZEN" if frozen else "THAWED")
    except (OSError, KeyError) as error:
        raise Failed(f"the container's cgroup cannot be frozen: {error}") from None


def is_frozen(cgroups: Tree, group: str) -> bool:
    """All of its processes stand still."""
    if cgroups.kernel.version == 2:
        return "frozen 1" in _text(f"{cgroups.unified}{group}/cgroup.events")
    return "freezer" in cgroups.mounts and _text(f"{cgroups.folder('freezer', group)}/freezer.state").strip() == "FROZEN"


def is_to_freeze(cgroups: Tree, group: str) -> bool:
    """Its processes were asked to stand still, whether all of them do or not yet: signals wait until they go on (v1)."""
    if cgroups.kernel.version == 2:
        return _text(f"{cgroups.unified}{group}/cgroup.freeze").strip() == "1"
    return "freezer" in cgroups.mounts and _text(f"{cgroups.folder('freezer', group)}/freezer.state").strip() in ("FREEZING", "FROZEN")


# ---------------------------------------------------------------------------------------------------------------- memory


def oom_kills(cgroups: Tree, group: str) -> int:
    """How many processes of a group the kernel killed for memory."""
    if cgroups.kernel.version == 2:
        text = _text(f"{cgroups.unified}{group}/memory.events")
    elif "memory" in cgroups.mounts:
        text = _text(f"{cgroups.folder('memory', group)}/memory.oom_control")
    else:
        return 0
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


# ---------------------------------------------------------------------------------------------------------------- files


def _text(path: str) -> str:
    """What a file says; nothing when it is not there."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _write_file(path: str, value: str) -> None:
    """One write(2), as the kernel wants it, without making a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def read_lines(path: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in _text(path).splitlines()]
