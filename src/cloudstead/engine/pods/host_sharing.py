"""One PID namespace for a pod: a process that does nothing holds it, in a container of its own without anything in it.

The first process of a PID namespace takes all others with it when it ends, so it must be none of the pod's containers. The holder is made with the
first container that shares, and goes with the last.
"""

from __future__ import annotations

import hashlib
import os
import time

import msgspec

from cloudstead.engine.host.processes import boot
from cloudstead.engine.pods import cgroups, seccomp
from cloudstead.engine.pods.host_bundle import available_capabilities, find_init, lowest_oom_score, namespace_of
from cloudstead.engine.pods.host_cleanup import remove, undo
from cloudstead.engine.pods.host_mounts import Sources
from cloudstead.engine.pods.host_records import Files, Record, look
from cloudstead.engine.pods.host_start import let_go, run_monitor, runtime_path
from cloudstead.engine.pods.host_state import Pods
from cloudstead.engine.pods.oci_spec import Surroundings, runtime_config
from cloudstead.engine.pods.specs import ContainerSpec, LogSpec

HOLDERS = ("catatonit",)  # of the static inits, the one that can do nothing (-P)


def holder_of(pods: Pods, pod: str) -> str:
    """The id of the container that holds a pod's namespaces."""
    return hashlib.sha256(f"{pods.host.layout.instance} {pod}".encode()).hexdigest()


async def pod_pids(pods: Pods, pod: str, sources: Sources) -> str:
    """The path of the pod's PID namespace, held open by `sources`.

    Raises:
        Unsupported: this host has no program that does nothing.
    """
    holder = holder_of(pods, pod)
    async with pods.alone(holder):
        files = Files(pods.host.layout, holder)
        record = files.read()
        if record is None or look(files, record).state != "running":
            await remove(pods, files)
            await _hold(pods, pod, files)
    return namespace_of(pods.host, holder, "pid", sources)


async def _hold(pods: Pods, pod: str, files: Files) -> None:
    host = pods.host
    program = find_init(host, HOLDERS)
    rootfs = files.bundle / "rootfs"
    rootfs.mkdir(mode=0o755, parents=True)
    spec = ContainerSpec(
        id=files.folder.name,
        name="holder",
        layers=(),
        args=("/hold", "-P"),
        cap_drop=("ALL",),
        read_only=True,
        no_new_privileges=True,
        ipc_mode="none",
        log=LogSpec(driver="none"),
    )
    record = Record(
        id=spec.id,
        pod=pod,
        boot=boot(),
        created=time.time(),
        runtime=runtime_path(host, ""),
        cgroup=f"{host.layout.cgroup}/{pod}/{spec.id}",
        rootfs=str(rootfs),
        log=spec.log,
        holder=True,
    )
    _write_config(spec, record, files, program)
    try:
        record = await run_monitor(host, spec, files, record)
        await let_go(files, record)
        pods.watch(record, files)
    except BaseException:
        await undo(pods, files, record)
        files.delete()
        raise


def _write_config(spec: ContainerSpec, record: Record, files: Files, program: str) -> None:
    around = Surroundings(
        rootfs=record.rootfs,
        cgroup=record.cgroup,
        kernel=cgroups.tree().kernel,
        machine=seccomp.this_machine(),
        hostname="holder",
        files={spec.args[0]: os.path.realpath(program)},
        available=available_capabilities(),
        lowest_oom_score=lowest_oom_score(),
    )
    files.config.write_bytes(msgspec.json.encode(runtime_config(spec, around)))


async def release_pids(pods: Pods, pod: str) -> None:
    """Let the holder go when no container of the pod shares any more."""
    holder = holder_of(pods, pod)
    files = Files(pods.host.layout, holder)
    if files.bundle.is_dir():
        async with pods.alone(holder):
            if not _shared(pods, pod):
                await remove(pods, files)


def _shared(pods: Pods, pod: str) -> bool:
    """A container of the pod shares, or is about to."""
    return bool(pods.making[pod]) or any(each.record.pod == pod and each.record.shared_pids for each in pods.watched.values())
