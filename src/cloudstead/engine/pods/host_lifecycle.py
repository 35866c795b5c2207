"""A container's runs: create, start, clean up, remove."""

from __future__ import annotations

import asyncio
import os
import time

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, Unsupported
from cloudstead.engine.host.handlers import With, handles
from cloudstead.engine.host.processes import boot
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import cgroups, commands, limits
from cloudstead.engine.pods.host_bundle import write_bundle
from cloudstead.engine.pods.host_cleanup import clean_up, end, remove, remove_outer, undo
from cloudstead.engine.pods.host_grace import begin_grace
from cloudstead.engine.pods.host_mounts import Sources
from cloudstead.engine.pods.host_records import Files, Record, look
from cloudstead.engine.pods.host_rootfs import keep_inside
from cloudstead.engine.pods.host_sharing import pod_pids, release_pids
from cloudstead.engine.pods.host_start import attached, let_go, run_monitor, runtime_path
from cloudstead.engine.pods.host_state import Pods, files_of, is_live, pods_of
from cloudstead.engine.snapshots.host import mount_writable, unmount_writable


@handles(commands.CreateContainer)
async def create_container(host: Host, command: commands.CreateContainer, descriptors: list[int]) -> With[commands.Created]:
    pods, files = pods_of(host), files_of(host, command.spec.id)
    kernel = cgroups.tree().kernel
    limits.check(command.spec.resources, kernel)
    limits.check(command.pod_resources, kernel)
    if kernel.none and (command.share_pids or command.spec.pid_mode not in ("", "private")):
        raise Unsupported(f"processes of several containers cannot be told apart in a common PID namespace: {kernel.none}")
    async with pods.alone(command.spec.id):
        record = files.read()
        if record is not None:
            if is_live(look(files, record)):
                raise Conflict(f"container {record.id} is already running")
            await clean_up(pods, files, record)
        try:
            return await _create(pods, command, files)
        except BaseException:
            remove_outer(pods, command.pod)
            raise


async def _create(pods: Pods, command: commands.CreateContainer, files: Files) -> With[commands.Created]:
    host = pods.host
    record = _new_record(host, command, files)
    sending: list[int] = []
    async with pods.making_in(command.pod):
        begin_grace(pods)
        sources = None
        try:
            files.bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.forget_run()
            rootfs = mount_writable(host, record.id, command.spec.layers, command.spec.storage_size)
            keep_inside(rootfs)
            sources = Sources(host, command.spec, files, rootfs)
            shared = await pod_pids(pods, command.pod, sources) if command.share_pids else ""
            await write_bundle(host, command, files, rootfs, sources, shared_pids=shared, usual_limits=pods.usual_limits)
            _limit_pod(host, command)
            record = replace(record, mounts=tuple(sources.mounted))
            record = await run_monitor(host, command.spec, files, record)
            if command.attach:
                sending.append(await attached(files, record))
            started = await let_go(files, record) if command.start else 0.0
            pods.watch(record, files)
        except BaseException:
            _close(sending)
            if sources is not None:
                record = replace(record, mounts=tuple(sources.mounted))
            await asyncio.shield(undo(pods, files, record))
            raise
        finally:
            if sources is not None:
                sources.close()
    answer = commands.Created(pid=record.init.pid, monitor=record.monitor.pid, created=record.created, started=started)
    return With(answer, sending)


def _new_record(host: Host, command: commands.CreateContainer, files: Files) -> Record:
    return Record(
        id=command.spec.id,
        pod=command.pod,
        boot=boot(),
        created=time.time(),
        runtime=runtime_path(host, command.spec.runtime),
        cgroup=f"{host.layout.cgroup}/{command.pod}/{command.spec.id}",
        rootfs=str(files.folder / "rootfs"),
        log=command.spec.log,
        tty=command.spec.tty,
        shared_pids=command.share_pids,
    )


def _limit_pod(host: Host, command: commands.CreateContainer) -> None:
    """The outer cgroup, where it has limits. It is there before the first process is, so nothing of the pod is ever outside."""
    tree = cgroups.tree()
    if writes := limits.files(command.pod_resources, tree.kernel):
        cgroups.make(tree, f"{host.layout.cgroup}/{command.pod}", writes)


# ---------------------------------------------------------------------------------------------------------------- start


@handles(commands.StartContainer)
async def start_container(host: Host, command: commands.StartContainer, descriptors: list[int]) -> float:
    pods = pods_of(host)
    async with pods.alone(command.id):
        files, record = pods.require(command.id)
        found = look(files, record)
        if found.state != "created":
            raise Conflict(f"container {command.id} is not created, but {found.state}")
        pods.watch(record, files)
        return await let_go(files, record)


# ---------------------------------------------------------------------------------------------------------------- the end


@handles(commands.CleanUpContainer)
async def clean_up_container(host: Host, command: commands.CleanUpContainer, descriptors: list[int]) -> None:
    pods, files = pods_of(host), files_of(host, command.id)
    async with pods.alone(command.id):
        record = files.read()
        if record is None:
            unmount_writable(host, command.id)
            return
        found = look(files, record)
        if found.state == "running":
            raise Conflict(f"container {command.id} is running")
        if found.monitored:
            await end(pods, record)
        await clean_up(pods, files, record)
        await release_pids(pods, record.pod)


@handles(commands.RemoveContainer)
async def remove_container(host: Host, command: commands.RemoveContainer, descriptors: list[int]) -> None:
    pods, files = pods_of(host), files_of(host, command.id)
    async with pods.alone(command.id):
        record = files.read()
        await remove(pods, files)
        if record is not None:
            await release_pids(pods, record.pod)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
