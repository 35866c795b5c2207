"""What there is: containers found again by a new host or daemon, and strays removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.processes import boot, process
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import cgroups, commands
from cloudstead.engine.pods.host_cleanup import clean_up, end, end_family, kill_all, remove, remove_group, remove_outer
from cloudstead.engine.pods.host_mounts import unmount_all
from cloudstead.engine.pods.host_records import Files, Record, look
from cloudstead.engine.pods.host_sharing import release_pids
from cloudstead.engine.pods.host_state import Pods, is_live, note_oom, pods_of

CONMON = b"conmon"
AT_A_TIME = 20


@handles(commands.ListContainers)
async def list_containers(host: Host, command: commands.ListContainers, descriptors: list[int]) -> list[commands.FoundContainer]:
    """With hundreds of them others have their turn in between."""
    pods = pods_of(host)
    found = []
    for number, files in enumerate(_named(host, command.only) or all_files(host)):
        record = files.read()
        if record is not None:
            record = adopt(pods, files, record)
            if not record.holder:
                found.append(_found(files, record))
        if number % AT_A_TIME == AT_A_TIME - 1:
            await asyncio.sleep(0)
    return found


def _named(host: Host, containers: tuple[str, ...]) -> list[Files]:
    return [Files(host.layout, container) for container in containers]


def all_files(host: Host) -> list[Files]:
    """Containers with anything of this room on disk."""
    return [Files(host.layout, entry.name) for entry in os.scandir(host.layout.containers) if (Path(entry.path) / "bundle").is_dir()]


def adopt(pods: Pods, files: Files, record: Record) -> Record:
    """Watch one that runs. A creation that was cut off when the runtime had made it is made good."""
    if not record.init.pid and record.boot == boot() and not pods.busy(record.id) and (init := process(files.noted_pid())).pid:
        record = replace(record, init=init)
        files.write(record)
    if is_live(look(files, record)):
        pods.watch(record, files)
    elif not record.cleaned and record.boot == boot():
        note_oom(files, record)
    return record


def _found(files: Files, record: Record) -> commands.FoundContainer:
    found = look(files, record)
    paused = found.state == "running" and cgroups.is_to_freeze(cgroups.tree(), record.cgroup)
    return commands.FoundContainer(
        id=record.id,
        pod=record.pod,
        state="paused" if paused else found.state,
        pid=record.init.pid if is_live(found) else 0,
        exit_code=found.exit_code,
        oom_killed=files.oom_killed.exists(),
        created=record.created,
        started=found.started,
        finished=found.finished,
        cleaned=record.cleaned,
    )


# ---------------------------------------------------------------------------------------------------------------- strays


@handles(commands.SweepContainers)
async def sweep_containers(host: Host, command: commands.SweepContainers, descriptors: list[int]) -> list[str]:
    """All lists are made before anything is waited for: what is created from then on is not in them."""
    pods = pods_of(host)
    containers, groups = set(command.containers), set(command.pods)
    there = [(files, files.read()) for files in all_files(host)]
    monitors = find_monitors(host, {record.monitor.pid for _, record in there if record is not None}) if not pods.making.total() else []
    idle = [(files, record) for files, record in there if not pods.busy(files.folder.name)]
    strays = [files for files, record in idle if files.folder.name not in containers and not _is_holder(record, groups)]
    ended = [files for files, record in idle if files not in strays and _was_cut_off(files, record)]
    stray_pods = cgroups.children(cgroups.tree(), host.layout.cgroup) - groups - set(pods.making)
    said: list[str] = []
    for pid in monitors:
        with _said(said, f"ended process {pid}, the monitor of a container that is not there"):
            await end_family(process(pid))
    for files in strays:
        with _said(said, f"removed container {files.folder.name}, which nobody knows"):
            async with pods.alone(files.folder.name):
                await remove(pods, files)
    for files in ended:
        with _said(said, f"took mounts and cgroups of container {files.folder.name} away, which had ended"):
            await _clean_leftovers(pods, files)
    for pod in sorted(stray_pods):
        if not cgroups.exists(cgroups.tree(), f"{host.layout.cgroup}/{pod}"):
            continue
        with _said(said, f"removed the cgroup of pod {pod}, which nobody knows"):
            await release_pids(pods, pod)
            if cgroups.exists(cgroups.tree(), group := f"{host.layout.cgroup}/{pod}"):
                await kill_all(group)
                await remove_group(group)
        remove_outer(pods, pod)
    return said + _unmount_strays(pods)


@contextlib.contextmanager
def _said(said: list[str], sentence: str) -> Iterator[None]:
    try:
        yield
    except (EngineError, OSError) as error:
        said.append(f"failed: {sentence}: {error}")
    else:
        said.append(sentence)


def _is_holder(record: Record | None, pods: set[str]) -> bool:
    return record is not None and record.holder and record.pod in pods


def _was_cut_off(files: Files, record: Record | None) -> bool:
    """Its creation, with the host that was killed."""
    return record is not None and not record.cleaned and look(files, record).state == "incomplete"


async def _clean_leftovers(pods: Pods, files: Files) -> None:
    async with pods.alone(files.folder.name):
        record = files.read()
        if record is not None and look(files, record).state == "incomplete":
            if look(files, record).monitored:
                await end(pods, record)
            await clean_up(pods, files, record)
            files.forget_run()


def find_monitors(host: Host, known: set[int]) -> list[int]:
    """Processes of conmon for bundles of this instance that no record names."""
    bundles = f"{host.layout.containers}/".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) in known:
            continue
        try:
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == CONMON and any(word.startswith(bundles) for word in words):
            found.append(int(entry.name))
    return found


def _unmount_strays(pods: Pods) -> list[str]:
    """Secrets and shared memory of containers that are not there, and what a runtime was to find."""
    said = []
    for folder in (pods.host.layout.run / name for name in ("content", "shm", "passing")):
        for path in folder.iterdir() if folder.is_dir() else ():
            container = path.name.partition("-")[0]
            record = Files(pods.host.layout, container).read()
            if not pods.busy(container) and (record is None or record.cleaned or str(path) not in record.mounts):
                unmount_all((str(path),))
                said.append(f"unmounted {path}, which no container uses")
    return said
