"""What can be done with a container that runs: signals, freezing, limits, its terminal, its streams, its files of names."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import time
from pathlib import Path

from cloudstead.engine.errors import Conflict, Failed
from cloudstead.engine.host.handlers import With, handles
from cloudstead.engine.host.processes import Process, open_pidfd
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import cgroups, commands, limits
from cloudstead.engine.pods.host_bundle import write_file
from cloudstead.engine.pods.host_cleanup import remove_outer
from cloudstead.engine.pods.host_records import Record, look
from cloudstead.engine.pods.host_sharing import release_pids
from cloudstead.engine.pods.host_start import attached, executed
from cloudstead.engine.pods.host_state import files_of, is_live, pods_of

FROZEN_WITHIN = 10.0
CONNECT_WITHIN = 10.0


@handles(commands.SignalContainer)
async def signal_container(host: Host, command: commands.SignalContainer, descriptors: list[int]) -> None:
    files, record = pods_of(host).require_running(command.id)
    if files.started.exists():
        await executed(record)
    if not signal_to(record.init, command.signal):
        raise Conflict(f"container {command.id} is not running")


def signal_to(named: Process, number: int) -> bool:
    """To exactly this process, whoever has its number by now. False: it has ended."""
    fd = open_pidfd(named)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


@handles(commands.PauseContainer)
async def pause_container(host: Host, command: commands.PauseContainer, descriptors: list[int]) -> None:
    pods = pods_of(host)
    async with pods.alone(command.id):
        _, record = pods.require_running(command.id)
        await executed(record)
        tree = cgroups.tree()
        if cgroups.is_frozen(tree, record.cgroup):
            raise Conflict(f"Container {command.id} is already paused")
        if _is_runc(record):
            await _freeze(record, True)
        else:
            await host.run([record.runtime, "--root", str(host.layout.runtime), "pause", record.id])


@handles(commands.ResumeContainer)
async def resume_container(host: Host, command: commands.ResumeContainer, descriptors: list[int]) -> None:
    pods = pods_of(host)
    async with pods.alone(command.id):
        _, record = pods.require_running(command.id)
        if not cgroups.is_to_freeze(cgroups.tree(), record.cgroup):
            raise Conflict(f"Container {command.id} is not paused")
        if _is_runc(record):
            await _freeze(record, False)
        else:
            await host.run([record.runtime, "--root", str(host.layout.runtime), "resume", record.id])


def _is_runc(record: Record) -> bool:
    return Path(record.runtime).name in ("runc", "crun")


async def _freeze(record: Record, frozen: bool) -> None:
    """v1 needs to be told again while a process of the group forks (cgroup-v1/freezer-subsystem).

    There a thread that is just executing a program waits for the others of its process, which are frozen already and so never end: they are let go
    from time to time, as runc does.
    """
    tree = cgroups.tree()
    deadline = time.monotonic() + FROZEN_WITHIN
    pause = 0.0005
    while True:
        cgroups.freeze(tree, record.cgroup, frozen)
        if cgroups.is_frozen(tree, record.cgroup) == frozen:
            return
        if time.monotonic() > deadline:
            cgroups.freeze(tree, record.cgroup, not frozen)
            raise Failed(f"the processes of container {record.id} did not {'stop' if frozen else 'go on'} within {FROZEN_WITHIN:g} seconds")
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.05)
        if frozen and tree.kernel.version == 1 and pause > 0.005:
            cgroups.freeze(tree, record.cgroup, False)
            await asyncio.sleep(0.005)


@handles(commands.UpdateContainer)
async def update_container(host: Host, command: commands.UpdateContainer, descriptors: list[int]) -> None:
    pods = pods_of(host)
    tree = cgroups.tree()
    limits.check(command.resources, tree.kernel, update=True)
    async with pods.alone(command.id):
        files = files_of(host, command.id)
        record = files.read()  # of one that was never started there is none
        if record is not None and is_live(look(files, record)):
            cgroups.write(tree, record.cgroup, limits.files(command.resources, tree.kernel, update=True))


@handles(commands.UpdatePod)
async def update_pod(host: Host, command: commands.UpdatePod, descriptors: list[int]) -> None:
    tree = cgroups.tree()
    limits.check(command.resources, tree.kernel, update=True)
    group = f"{host.layout.cgroup}/{command.pod}"
    if cgroups.exists(tree, group):
        cgroups.make(tree, group, limits.files(command.resources, tree.kernel, update=True))


@handles(commands.RemovePod)
async def remove_pod(host: Host, command: commands.RemovePod, descriptors: list[int]) -> None:
    pods = pods_of(host)
    inside = [each.record.id for each in pods.watched.values() if each.record.pod == command.pod and not each.record.holder]
    if inside:
        raise Conflict(f"pod {command.pod} has the running container {inside[0]}")
    await release_pids(pods, command.pod)
    remove_outer(pods, command.pod)


@handles(commands.WriteNetworkFiles)
async def write_network_files(host: Host, command: commands.WriteNetworkFiles, descriptors: list[int]) -> None:
    files, _ = pods_of(host).require(command.id)
    for name, text in (("hosts", command.hosts), ("resolv.conf", command.resolv_conf)):
        if text is not None and (files.bundle / name).exists():
            write_file(files, name, text)


@handles(commands.ResizeContainer)
async def resize_container(host: Host, command: commands.ResizeContainer, descriptors: list[int]) -> None:
    files, record = pods_of(host).require_running(command.id)
    if record.tty:
        tell_monitor(files.bundle / "ctl", f"1 {command.rows} {command.columns}\n")


def tell_monitor(fifo: Path, line: str) -> None:
    """A line for conmon's control FIFO. Raises Conflict: nobody reads it."""
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            raise Conflict("the container is not running") from None
        raise
    try:
        with contextlib.suppress(BlockingIOError):
            os.write(fd, line.encode())
    finally:
        os.close(fd)


@handles(commands.AttachContainer)
async def attach_container(host: Host, command: commands.AttachContainer, descriptors: list[int]) -> With[None]:
    files, record = pods_of(host).require_running(command.id)
    deadline = time.monotonic() + CONNECT_WITHIN
    while True:
        try:
            return With(None, [await attached(files, record)])
        except BlockingIOError:  # conmon takes ten that wait
            if time.monotonic() > deadline:
                raise Failed(f"the monitor of container {command.id} takes no connections") from None
            await asyncio.sleep(0.01)
