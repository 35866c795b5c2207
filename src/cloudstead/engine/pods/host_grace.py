"""Having the kernel ready for a process to enter a cgroup.

The first write to a `cgroup.procs` after a pause waits for an RCU grace period (8 to 14 ms: cgroup_threadgroup_rwsem, a percpu_rw_semaphore); those that
follow within some milliseconds do not. The runtime comes to its write about that long after it was started. So when a container's creation
begins, a shell that does nothing else writes itself into the cgroup where it is already, and the wait passes while the runtime starts.
"""

from __future__ import annotations

import contextlib
import os
import signal

from cloudstead.engine.pods import cgroups
from cloudstead.engine.pods.host_state import Pods

SHELL = "/bin/sh"
SCRIPT = 'while read -r line; do echo 0 > "$0"; done 2>/dev/null'
KEY = "grace"


class Grace:
    """The shell, and the pipe by which it is told. It ends when this process does."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(reading, True)
        try:
            self._pid = os.posix_spawn(
                SHELL,
                ["sh", "-c", SCRIPT, own_procs()],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
                ],
                setsigmask=[],
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)

    def begin(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, b"\n")

    def close(self) -> None:
        os.close(self._pipe)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def own_procs() -> str:
    """The `cgroup.procs` of the cgroup in which this process is, in any hierarchy: the lock is one for all."""
    tree = cgroups.tree()
    with open("/proc/self/cgroup") as file:
        groups = {name: path for line in file.read().splitlines() for _, name, path in [line.split(":", 2)]}
    root = tree.unified or next(iter(tree.mounts.values()))
    name = "" if tree.unified else next(names for names in groups if set(names.split(",")) & set(tree.mounts))
    return f"{root}{groups.get(name, '/').rstrip('/')}/cgroup.procs"


def begin_grace(pods: Pods) -> None:
    """A container is about to be created. While others are, the kernel is ready."""
    if pods.making.total() > 1 or not cgroups.tree().roots:
        return
    if KEY not in pods.extra:
        grace = pods.extra[KEY] = Grace() if os.access(SHELL, os.X_OK) else None
        if grace is not None:
            pods.host.closing.append(grace.close)
    if pods.extra[KEY] is not None:
        pods.extra[KEY].begin()
