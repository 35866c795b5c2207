"""The runtime's config.json of a container: from what is wanted, and what was found out about the host and the image. Pure.

What isolates a container is decided here, with Docker's defaults: namespaces, capabilities, the seccomp profile, masked and read-only paths, the devices it may
open. See the OCI runtime-spec (config.md, config-linux.md) and, for the defaults, moby's daemon/pkg/oci.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.pods import capabilities, oci_mounts, seccomp
from cloudstead.engine.pods.limits import Kernel, oci_resources
from cloudstead.engine.pods.specs import ContainerSpec, Mount, Ulimit

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = "/sbin/docker-init"
LONGEST_HOSTNAME = 64
LONGEST_PATH = 4095  # bytes; the kernel takes no longer ones, and conmon waits for ever for a runtime that repeats much longer ones in what it complains of

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

IPC_SYSCTLS = frozenset(f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"))
NETWORK_SYSCTLS = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}
"""Docker's: ping and ports below 1024 without rights. They belong to the network namespace, and hurt nobody outside it."""

LARGEST_GID = 2**31 - 1

ULIMITS = frozenset(
    (
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)


class User(NamedTuple):
    """Who the first process is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  # supplementary


ROOT = User()


class DeviceNode(NamedTuple):
    path: str  # inside
    kind: str  # "c" or "b"
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was found out for one container before its config.json can be written."""

    rootfs: str
    cgroup: str
    kernel: Kernel
    machine: seccomp.Machine
    user: User = ROOT
    hostname: str = ""
    domainname: str = ""
    mounts: Sequence[tuple[Mount, str]] = ()  # with the host's path of each, in the order that they were asked for
    files: Mapping[str, str] = field(default_factory=dict)  # /etc/hosts and the like: inside, on the host
    devices: Sequence[DeviceNode] = ()
    network: str | None = ""  # path of the namespace; "": a new one; None: the host's
    pids: str | None = ""
    ipc: str | None = ""
    shm: str = ""  # the host's path of a /dev/shm that is shared with others
    sysctls: Mapping[str, str] = field(default_factory=dict)
    init: str = ""  # the host's path of a static init; empty: none
    available: frozenset[str] = frozenset(capabilities.NAMES)  # capabilities that the host has
    hard_limits: Mapping[str, int] | None = None  # of the host, where it cannot raise them; None: it can
    usual_limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # soft and hard, where nothing else is asked for
    lowest_oom_score: int = -1000  # that the host may give
    masked_further: tuple[str, ...] = ()  # paths of this machine's
    read_only_recursively: bool = True  # the runtime and the kernel can
    user_namespace: bool = False  # the host is root in one only
    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # options that mounts of the host's must keep there, by path
    largest_gid: int = 2**32 - 2  # that there is


def runtime_config(spec: ContainerSpec, around: Surroundings) -> dict[str, Any]:
    """config.json.

    Raises:
        InvalidArgument, Unsupported: what the spec asks for makes no sense, or cannot be had here.
    """
    granted = capabilities.of_container(spec.cap_add, spec.cap_drop, privileged=spec.privileged, available=around.available)
    linux: dict[str, Any] = {
        **({} if around.kernel.none else {"cgroupsPath": around.cgroup}),  # without one, runc goes on where it may make none
        "namespaces": _namespaces(spec, around),
        "resources": {"devices": _device_rules(spec, around), **oci_resources(spec.resources, around.kernel)},
        "devices": [_device(device) for device in around.devices],
        "sysctl": _sysctls(spec, around),
        "maskedPaths": _masked(spec, around),
        "readonlyPaths": _read_only(spec),
    }
    if profile := _seccomp(spec, granted, around.machine):
        linux["seccomp"] = profile
    if propagation := oci_mounts.propagation([mount for mount, _ in around.mounts]):
        linux["rootfsPropagation"] = propagation
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(spec, around, granted),
        "root": {"path": around.rootfs, "readonly": spec.read_only},
        "mounts": oci_mounts.mounts(
            spec,
            around.mounts,
            around.files,
            shm=around.shm,
            recursively=around.read_only_recursively,
            locked=around.locked,
            bound_proc=around.user_namespace and around.pids is None,
            cgroups=not around.kernel.none,
        ),
        "linux": linux,
    }
    for mount in config["mounts"]:
        _require_short(mount["destination"], mount.get("source", ""), ",".join(mount.get("options", ())))
    if around.init and _has_own_pids(around):
        config["mounts"].append({"destination": INIT, "type": "bind", "source": around.init, "options": ["bind", "ro"]})
    if spec.uts_mode != "host":
        config["hostname"] = _hostname(around.hostname)
        if around.domainname:
            if around.user_namespace:
                raise Unsupported("a domain name cannot be given where Cloudstead runs without root")
            linux["sysctl"] = {"kernel.domainname": around.domainname, **linux["sysctl"]}
    return config


# ---------------------------------------------------------------------------------------------------------------- the process


def _process(spec: ContainerSpec, around: Surroundings, granted: Iterable[str]) -> dict[str, Any]:
    if not spec.args or not spec.args[0]:
        raise InvalidArgument("no command specified")
    _require_short(spec.args[0], spec.cwd)
    if not spec.cwd.startswith("/"):
        raise InvalidArgument(f"the working directory '{spec.cwd}' is invalid, it needs to be an absolute path")
    names = list(granted)
    args = [INIT, "--", *spec.args] if around.init and _has_own_pids(around) else list(spec.args)
    process: dict[str, Any] = {
        "terminal": spec.tty,
        "user": user_of(around.user),
        "args": args,
        "env": environment(spec.env, hostname="" if spec.uts_mode == "host" else around.hostname, tty=spec.tty),
        "cwd": spec.cwd,
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": spec.no_new_privileges,
        "rlimits": _rlimits(spec, around),
    }
    score = spec.oom_score_adj
    if not -1000 <= score <= 1000:
        raise InvalidArgument(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    if score >= around.lowest_oom_score:
        process["oomScoreAdj"] = score
    elif score:
        raise Unsupported(f"an oom_score_adj of {score} cannot be given: the engine host lacks CAP_SYS_RESOURCE here")
    return process


def _require_short(*paths: str) -> None:
    for path in paths:
        if len(path.encode(errors="replace")) > LONGEST_PATH:
            raise InvalidArgument(f'"{path[:100]}…": file name too long')


def user_of(user: User) -> dict[str, Any]:
    """`process.user`; the group itself is among the supplementary ones, as Docker has it."""
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(dict.fromkeys((user.gid, *user.groups)))}


def environment(wanted: Sequence[str], *, hostname: str, tty: bool, base: Sequence[str] = ()) -> list[str]:
    """Docker's defaults, replaced by what is wanted. A name without `=` takes a default away. `base` stands instead of the defaults (exec)."""
    given = list(base) or [f"PATH={DEFAULT_PATH}", *([f"HOSTNAME={hostname}"] if hostname else [])]
    if tty and not any(entry.startswith("TERM=") for entry in given):
        given.append("TERM=xterm")
    values = {entry.partition("=")[0]: entry for entry in given}
    for entry in wanted:
        if "\0" in entry or entry.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {entry!r}")
        name, equals, _ = entry.partition("=")
        if equals:
            values[name] = entry
        else:
            values.pop(name, None)
    return list(values.values())


def _rlimits(spec: ContainerSpec, around: Surroundings) -> list[dict[str, Any]]:
    asked = {limit.name for limit in spec.ulimits}
    usual = [Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in around.usual_limits.items() if name not in asked]
    return [_rlimit(limit, around.hard_limits) for limit in (*usual, *spec.ulimits)]


def _rlimit(limit: Ulimit, hard_limits: Mapping[str, int] | None) -> dict[str, Any]:
    if limit.name not in ULIMITS:
        raise InvalidArgument(f"invalid ulimit type: {limit.name}")
    soft, hard = _unsigned(limit.soft), _unsigned(limit.hard)
    if soft > hard:
        raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {limit.name}={limit.soft}:{limit.hard}")
    if hard_limits is not None and hard > _unsigned(most := hard_limits.get(limit.name, -1)):
        raise Unsupported(f"the ulimit {limit.name} cannot be raised above {most}: the engine host lacks CAP_SYS_RESOURCE here")
    return {"type": f"RLIMIT_{limit.name.upper()}", "soft": soft, "hard": hard}


def _unsigned(value: int) -> int:
    """-1 is RLIM_INFINITY."""
    if value < -1:
        raise InvalidArgument(f"a ulimit of {value} makes no sense")
    return 2**64 - 1 if value == -1 else value


def _hostname(name: str) -> str:
    if len(name) > LONGEST_HOSTNAME:
        raise InvalidArgument(f'hostname "{name}" is too long (maximum {LONGEST_HOSTNAME} bytes)')
    return name


# ---------------------------------------------------------------------------------------------------------------- isolation


def _has_own_pids(around: Surroundings) -> bool:
    return around.pids == ""


def _namespaces(spec: ContainerSpec, around: Surroundings) -> list[dict[str, str]]:
    if spec.userns == "private":
        raise Unsupported(
            "user namespaces need a root file system with mapped ids, which the OCI runtime of this host does not offer yet; "
            "leave the user namespace to the host's"
        )
    found = [{"type": "mount"}]
    for kind, path in (("network", around.network), ("pid", around.pids), ("ipc", around.ipc)):
        if path is not None:
            found.append({"type": kind, "path": path} if path else {"type": kind})
    if spec.uts_mode not in ("", "private", "host"):
        raise InvalidArgument(f"invalid UTS mode: {spec.uts_mode}")
    if spec.uts_mode != "host":
        found.append({"type": "uts"})
    if spec.cgroupns_mode not in ("", "private", "host"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {spec.cgroupns_mode}")
    if (spec.cgroupns_mode or ("private" if around.kernel.version == 2 else "host")) == "private" and not around.kernel.none:
        found.append({"type": "cgroup"})
    return found


def _seccomp(spec: ContainerSpec, granted: tuple[str, ...], machine: seccomp.Machine) -> dict[str, Any] | None:
    if spec.seccomp == "unconfined" or (spec.privileged and not spec.seccomp):
        return None
    if spec.seccomp:
        return seccomp.custom_profile(spec.seccomp, granted, machine)
    return seccomp.default_profile(frozenset(granted), machine)


def _masked(spec: ContainerSpec, around: Surroundings) -> list[str]:
    if spec.masked_paths is not None:
        return _absolute(spec.masked_paths)
    return [] if spec.privileged else [*MASKED, *around.masked_further]


def _read_only(spec: ContainerSpec) -> list[str]:
    if spec.readonly_paths is not None:
        return _absolute(spec.readonly_paths)
    return [] if spec.privileged else list(READ_ONLY)


def _absolute(paths: Sequence[str]) -> list[str]:
    for path in paths:
        _require_short(path)
        if not path.startswith("/"):
            raise InvalidArgument(f"{path} is not an absolute path")
    return list(paths)


def _sysctls(spec: ContainerSpec, around: Surroundings) -> dict[str, str]:
    """Only those that belong to a namespace of the container's own: any other would change the host."""
    _require_short(*around.sysctls)
    for name in around.sysctls:
        if name.startswith("net."):
            if around.network is None:
                raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
        elif name in IPC_SYSCTLS or name.startswith("fs.mqueue."):
            if around.ipc is None:
                raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")
        elif name == "kernel.domainname":
            if spec.uts_mode == "host":
                raise InvalidArgument(f"sysctl '{name}' not allowed in host uts namespace")
        else:
            raise InvalidArgument(f"sysctl '{name}' is not in a separate kernel namespace")
    own = dict(NETWORK_SYSCTLS) if around.network is not None else {}
    if own and around.largest_gid < LARGEST_GID:
        own["net.ipv4.ping_group_range"] = f"0 {around.largest_gid}"
    return {**own, **around.sysctls}


# ---------------------------------------------------------------------------------------------------------------- devices


def _device_rules(spec: ContainerSpec, around: Surroundings) -> list[dict[str, Any]]:
    """What the device cgroup lets through: Docker's few, the devices asked for, further rules; everything when privileged."""
    if spec.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for device in around.devices:
        rules.append({"allow": True, "type": device.kind, "major": device.major, "minor": device.minor, "access": device.access})
    rules += [_device_rule(rule) for rule in spec.device_rules]
    return rules


def _device_rule(text: str) -> dict[str, Any]:
    """`c 10:* rwm`"""
    words = text.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    if (
        len(numbers) != 2
        or words[0] not in ("a", "b", "c")
        or not all(number == "*" or number.isdecimal() for number in numbers)
        or not words[2]
        or set(words[2]) - set("rwm")
    ):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    rule: dict[str, Any] = {"allow": True, "type": words[0], "access": words[2]}
    for name, number in zip(("major", "minor"), numbers, strict=True):
        if number != "*":
            rule[name] = int(number)
    return rule


def _device(device: DeviceNode) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }
