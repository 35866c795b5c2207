"""The end of a run, and of a container: processes, the runtime's state, cgroups, mounts.

What the runtime keeps on disk and the cgroups are removed by the host itself, which saves running the runtime once more; other runtimes than runc are asked
in the proper way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from msgspec.structs import replace

from cloudstead.engine.errors import EngineError, Failed
from cloudstead.engine.host.processes import Process, open_pidfd, process
from cloudstead.engine.host.waiting import until_readable
from cloudstead.engine.pods import cgroups
from cloudstead.engine.pods.host_mounts import unmount_all
from cloudstead.engine.pods.host_records import Files, Record, look
from cloudstead.engine.pods.host_state import Pods, note_oom
from cloudstead.engine.snapshots.host import unmount_writable

END_WITHIN = 10.0  # seconds for killed processes to be gone


async def remove(pods: Pods, files: Files) -> None:
    record = files.read()
    if record is not None:
        if look(files, record).monitored:
            await end(pods, record)
        await clean_up(pods, files, record)
    pods.unwatch(files.folder.name)
    unmount_all((str(files.content), str(files.shm)))
    unmount_writable(pods.host, files.folder.name)
    files.delete()


async def end(pods: Pods, record: Record) -> None:
    """SIGKILL, and wait until conmon has noted it. One whose creation was cut off has a runtime that may still be at work: it goes first."""
    if not record.init.pid:
        await end_family(record.monitor)
    monitor = open_pidfd(record.monitor)
    try:
        await kill_all(record.cgroup)
        kill_process(record.init)
        if monitor is not None and not await until_readable(monitor, END_WITHIN):
            kill_process(record.monitor)
            await until_readable(monitor, END_WITHIN)
    finally:
        if monitor is not None:
            os.close(monitor)
    if (watched := pods.watched.get(record.id)) is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await asyncio.shield(watched.ended)


def kill_process(named: Process) -> None:
    fd = open_pidfd(named)
    if fd is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


async def kill_all(group: str) -> None:
    """Every process of a cgroup, frozen or not.

    Raises:
        Failed: one does not end.
    """
    tree = cgroups.tree()
    deadline = time.monotonic() + END_WITHIN
    pause = 0.001
    while not cgroups.kill(tree, group):
        if cgroups.is_to_freeze(tree, group):
            cgroups.freeze(tree, group, False)
        if time.monotonic() > deadline:
            raise Failed(f"processes in the cgroup {group} do not end after SIGKILL")
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.1)


async def clean_up(pods: Pods, files: Files, record: Record) -> None:
    """Everything of the kernel's from a run that has ended. A second time it does nothing."""
    if record.cleaned:
        return
    note_oom(files, record)
    await _take_away(pods, files, record)
    if files.bundle.is_dir():
        files.write(replace(record, cleaned=True))


async def _take_away(pods: Pods, files: Files, record: Record) -> None:
    host = pods.host
    await kill_all(record.cgroup)
    if Path(record.runtime).name == "runc":
        shutil.rmtree(files.state, ignore_errors=True)
    elif files.state.exists():
        await host.run([record.runtime, "--root", str(host.layout.runtime), "delete", "--force", record.id], check=False)
    await remove_group(record.cgroup)
    remove_outer(pods, record.pod)
    unmount_all(record.mounts)
    unmount_writable(host, record.id)
    for name in ("ctl", "winsz", "attach"):
        (files.bundle / name).unlink(missing_ok=True)


async def remove_group(group: str) -> None:
    """A cgroup is busy for a moment after its last process ended."""
    tree = cgroups.tree()
    pause = 0.001
    while not cgroups.remove(tree, group):
        if pause > 1:
            raise Failed(f"the cgroup {group} cannot be removed")
        await asyncio.sleep(pause)
        pause *= 2


def remove_outer(pods: Pods, pod: str) -> None:
    """The pod's cgroup and ours, when nothing is in them and nothing is about to be: a runtime makes its own with all above, and must not find one
    gone in between."""
    tree, ours = cgroups.tree(), pods.host.layout.cgroup
    if not pods.making[pod] and not cgroups.children(tree, f"{ours}/{pod}"):
        cgroups.remove(tree, f"{ours}/{pod}")
    if not pods.making.total() and not cgroups.children(tree, ours):
        cgroups.remove(tree, ours)


async def undo(pods: Pods, files: Files, record: Record) -> None:
    """Take away what a failed creation left, once nobody adds to it any more."""
    pods.unwatch(record.id)
    there = files.read()
    if there is not None and there.monitor.pid:
        await end_family(there.monitor)
    with contextlib.suppress(EngineError, OSError):
        await _take_away(pods, files, record)
    files.forget_run()


async def end_family(monitor: Process) -> None:
    """conmon, the runtime that it started, and what that has made so far. They are gone when this returns."""
    family = [fd for named in (monitor, *descendants(monitor.pid)) if (fd := open_pidfd(named)) is not None]
    for fd in family:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    for fd in family:
        try:
            await until_readable(fd, END_WITHIN)
        finally:
            os.close(fd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(monitor.pid, os.WNOHANG)  # noqa: ASYNC222 (it has ended)


def descendants(pid: int) -> list[Process]:
    """Children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        for child in children.get(pending.pop(), ()):
            pending.append(child)
            found.append(process(child))
    return found
