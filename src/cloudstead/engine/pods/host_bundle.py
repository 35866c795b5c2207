"""A container's bundle: everything that its config.json needs is found out, and written."""

from __future__ import annotations

import functools
import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.engine import linux
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.host.processes import Process, alive
from cloudstead.engine.host.programs import PATH
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import capabilities, cgroups, commands, seccomp
from cloudstead.engine.pods.host_devices import find_devices
from cloudstead.engine.pods.host_mounts import Sources
from cloudstead.engine.pods.host_records import Files
from cloudstead.engine.pods.host_rootfs import find_user
from cloudstead.engine.pods.oci_spec import ULIMITS, Surroundings, runtime_config
from cloudstead.engine.pods.specs import ContainerSpec

INITS = ("docker-init", "tini-static", "catatonit")  # Debian: tini, catatonit
RECURSIVE_READ_ONLY = (5, 12)  # Linux: mount_setattr
_encode = msgspec.json.Encoder().encode


async def write_bundle(
    host: Host,
    command: commands.CreateContainer,
    files: Files,
    rootfs: Path,
    sources: Sources,
    *,
    shared_pids: str,
    usual_limits: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    """Write config.json and the files that it mounts. What `sources` holds must stay open until the runtime has read it.

    Args:
        shared_pids: path of the PID namespace that the pod shares; empty: it shares none.
        usual_limits: for what the spec does not name.

    Raises:
        InvalidArgument, Unsupported, NotFound, Conflict, Failed
    """
    spec = command.spec
    hostname = os.uname().nodename if spec.uts_mode == "host" else command.hostname or spec.id[:12]
    pids = shared_pids or _mode(host, spec.pid_mode, "pid", "PID", sources, private=("", "private"))
    ipc = _mode(host, spec.ipc_mode, "ipc", "IPC", sources, private=("", "none", "private", "shareable"))
    around = Surroundings(
        rootfs=str(rootfs),
        cgroup=f"{host.layout.cgroup}/{command.pod}/{spec.id}",
        kernel=cgroups.tree().kernel,
        largest_gid=linux.largest_id("gid"),
        user_namespace=linux.in_user_namespace(),
        machine=seccomp.this_machine(),
        user=find_user(rootfs, spec.user, spec.groups),
        hostname=hostname,
        domainname=command.domainname,
        mounts=(mounts := await sources.find()),
        locked={source: _locked(source) for _, source in mounts if source} if linux.in_user_namespace() else {},
        files=_write_files(command, files, hostname),
        devices=find_devices(spec.devices, privileged=spec.privileged),
        network=_network(host, command.network, sources),
        pids=pids,
        ipc=ipc,
        shm=_shm(host, spec, files, sources),
        sysctls=command.sysctls,
        init=find_init(host) if spec.init else "",
        available=available_capabilities(),
        hard_limits=hard_limits(),
        usual_limits=usual_limits,
        lowest_oom_score=lowest_oom_score(),
        masked_further=_thermal_paths(),
        read_only_recursively=seccomp.this_machine().kernel >= RECURSIVE_READ_ONLY,
    )
    config = runtime_config(spec, around)
    files.config.write_bytes(_encode(config))
    return config


def _write_files(command: commands.CreateContainer, files: Files, hostname: str) -> dict[str, str]:
    found = {}
    for name, text in (("hosts", command.hosts), ("resolv.conf", command.resolv_conf), ("hostname", f"{hostname}\n")):
        if text is not None:
            write_file(files, name, text)
            found[f"/etc/{name}"] = str(files.bundle / name)
    return found


def write_file(files: Files, name: str, text: str) -> None:
    """In place, since the file itself is what is mounted."""
    path = files.bundle / name
    path.write_text(text)
    path.chmod(0o644)


# ---------------------------------------------------------------------------------------------------------------- namespaces


def _network(host: Host, wanted: commands.NetworkNamespace, sources: Sources) -> str | None:
    if wanted.kind == "host":
        return None
    if wanted.kind == "container":
        return namespace_of(host, wanted.name, "net", sources)
    if wanted.kind == "named":
        if "/" in wanted.name or wanted.name.startswith("."):
            raise InvalidArgument(f"{wanted.name} is no name of a network namespace")
        try:
            return sources.hold(os.open(host.layout.netns / wanted.name, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise NotFound(f"there is no network namespace {wanted.name}") from None
    return ""


def _mode(host: Host, mode: str, kind: str, name: str, sources: Sources, *, private: tuple[str, ...]) -> str | None:
    """The path of a namespace: empty for a new one, None for the host's."""
    if mode in private:
        return ""
    if mode == "host":
        return None
    before, colon, container = mode.partition(":")
    if before != "container" or not colon:
        raise InvalidArgument(f"invalid {name} mode: {mode}")
    return namespace_of(host, container, kind, sources)


def namespace_of(host: Host, container: str, kind: str, sources: Sources) -> str:
    """That of a running container, held open so that it stays this one."""
    process = process_of(host, container)
    try:
        fd = os.open(f"/proc/{process.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Conflict(f"cannot join the {kind} namespace of a non running container: {container}") from None
    path = sources.hold(fd)
    if not alive(process):
        raise Conflict(f"cannot join the {kind} namespace of a non running container: {container}")
    return path


def process_of(host: Host, container: str) -> Process:
    """The first process of a container that runs."""
    if not container.isalnum():
        raise InvalidArgument(f"{container} is no container id")
    record = Files(host.layout, container).read()
    if record is None:
        raise NotFound(f"No such container: {container}")
    if not alive(record.init):
        raise Conflict(f"container {container} is not running")
    return record.init


def _locked(source: str) -> tuple[str, ...]:
    """Options of a mount of the machine's, which a user namespace may not take away when it changes others: mount_namespaces(7)."""
    flags = os.statvfs(source).f_flag
    return tuple(word for bit, word in ((os.ST_NOSUID, "nosuid"), (os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec")) if flags & bit)


def _shm(host: Host, spec: ContainerSpec, files: Files, sources: Sources) -> str:
    """A /dev/shm that others have too is mounted on the host, and bound into each."""
    if spec.ipc_mode == "host":
        return "/dev/shm"
    if spec.ipc_mode == "shareable":
        files.shm.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("shm", str(files.shm), "tmpfs", flags, f"mode=1777,size={max(spec.shm_size, 0)}")
        sources.mounted.append(str(files.shm))
        return str(files.shm)
    if spec.ipc_mode.startswith("container:"):
        other = Files(host.layout, spec.ipc_mode.partition(":")[2])
        if not os.path.ismount(other.shm):
            raise InvalidArgument(
                f"cannot join IPC of a non-shareable container {other.folder.name} (hint: use IpcMode:shareable for the donor container)"
            )
        return str(other.shm)
    return ""


# ---------------------------------------------------------------------------------------------------------------- of this host


def find_init(host: Host, names: tuple[str, ...] = INITS) -> str:
    """Raises Unsupported: there is none."""
    for name in (host.options.get("init", ""), *names):
        path = shutil.which(name, path=PATH) if name else None
        if path is not None:
            return os.path.realpath(path)
    raise Unsupported("a container with an init needs tini or catatonit on this host (Debian packages tini, catatonit)")


@functools.cache
def available_capabilities() -> frozenset[str]:
    """Those of this process: nobody can give more."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return frozenset(capabilities.from_mask(int(line.split()[1], 16)))
    return frozenset()


def may_exceed_limits() -> bool:
    """In a user namespace the capability does not count."""
    return "CAP_SYS_RESOURCE" in available_capabilities() and not linux.in_user_namespace()


def hard_limits() -> dict[str, int] | None:
    if may_exceed_limits():
        return None
    return {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        for name in ULIMITS
        if hasattr(resource, f"RLIMIT_{name.upper()}")
    }


def lowest_oom_score() -> int:
    if may_exceed_limits():
        return -1000
    return int(Path("/proc/self/oom_score_adj").read_text())


@functools.cache
def _thermal_paths() -> tuple[str, ...]:
    """They tell what other containers do (GHSA-6fw5-f8r9-fgfm)."""
    return tuple(sorted(map(str, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle"))))
