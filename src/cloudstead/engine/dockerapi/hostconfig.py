"""From the body of /containers/create to the engine's pod and container. Every field is acted on, or refused by its name; `HANDLING` says where.

UNSUPPORTED, limits.UNSUPPORTED     refused when they are set, with the reason
HANDLING                            acted on, and by what; "told" are those that Docker too only keeps and shows
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import msgspec

from cloudstead.engine.dockerapi import limits, merging, mounts, networking, shapes
from cloudstead.engine.dockerapi.model import MountPoint
from cloudstead.engine.dockerapi.refusals import refuse
from cloudstead.engine.dockerapi.registry import Containers, short
from cloudstead.engine.dockerapi.security import capabilities, security
from cloudstead.engine.dockerapi.sizes import size_of
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods import specs
from cloudstead.engine.pods.signals import number_of

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

UNSUPPORTED = {
    "cgroup": "containers cannot be put into the cgroup of another",
    "links": "put the containers into one network, where they find one another by name; --network-alias gives further names",
}
SHM_SIZE = 64 << 20
LEAST_DURATION = 1_000_000  # nanoseconds
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
RESTART_POLICIES = frozenset({"", "no", "always", "unless-stopped", "on-failure"})
LOG_OPTIONS = frozenset({"max-size", "max-file"})
SIZE_OPTION = "size"


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    pod: specs.PodSpec
    container: specs.ContainerSpec  # without layers; its mounts without the names of volumes that are yet to be made
    mounts: list[mounts.Wanted]
    network: networking.Plan
    path: str
    args: list[str]


def translate(
    api: DockerApi,
    id: str,
    name: str,
    config: shapes.ContainerConfig,
    host: shapes.HostConfig,
    endpoints: shapes.NetworkingConfig | None = None,
) -> Translation:
    """`config` is merged with the image's.

    Raises:
        InvalidArgument, NotFound, Unsupported: where there are such, in Docker's words.
    """
    refuse(host, UNSUPPORTED)
    check_config(config)
    check_console(host)
    check_isolation(host)
    check_restart_policy(host)
    mounts.check_driver(host.volume_driver)
    network = networking.plan(api, id, name, config, host, endpoints or shapes.NetworkingConfig())
    hostname = config.hostname or (socket.gethostname() if network.pod.mode == "host" else short(id))
    check_sysctls(host, network.pod)
    args = [*(merging.words(config.entrypoint) or []), *(merging.words(config.cmd) or [])]
    return Translation(
        pod=specs.PodSpec(
            id=id,
            owner="docker",
            network=network.pod,
            hostname=hostname,
            domainname=config.domainname,
            sysctls=host.sysctls or {},
        ),
        container=container_spec(api, id, config, host, tuple(args), hostname),
        mounts=mounts.plan(config, host, inherited(api, host)),
        network=network,
        path=args[0],
        args=args[1:],
    )


def container_spec(
    api: DockerApi, id: str, config: shapes.ContainerConfig, host: shapes.HostConfig, args: tuple[str, ...], hostname: str
) -> specs.ContainerSpec:
    protection = security(host)
    return specs.ContainerSpec(
        id=id,
        layers=(),
        args=args,
        env=merging.environment(config, hostname),
        cwd=working_dir(config.working_dir),
        user=config.user,
        groups=tuple(host.group_add or ()),
        tty=config.tty,
        stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        devices=devices(host),
        device_rules=tuple(host.device_cgroup_rules or ()),
        resources=limits.resources(host),
        ulimits=ulimits(host),
        shm_size=shm_size(host),
        oom_score_adj=oom_score_adj(host),
        privileged=host.privileged,
        cap_add=capabilities(host.cap_add),
        cap_drop=capabilities(host.cap_drop),
        seccomp=protection.seccomp,
        no_new_privileges=protection.no_new_privileges,
        masked_paths=None if host.masked_paths is None else tuple(host.masked_paths),
        readonly_paths=None if host.readonly_paths is None else tuple(host.readonly_paths),
        read_only=host.readonly_rootfs,
        userns=one_of("UsernsMode", host.userns_mode, "", "host"),  # type: ignore[arg-type]
        pid_mode=joined(api, "PidMode", host.pid_mode, "", "host"),
        ipc_mode=joined(api, "IpcMode", host.ipc_mode, "", "none", "private", "shareable", "host"),
        uts_mode=one_of("UTSMode", host.uts_mode, "", "host"),
        cgroupns_mode=one_of("CgroupnsMode", host.cgroupns_mode, "", "host", "private"),
        init=bool(host.init),
        stop_signal=config.stop_signal or "SIGTERM",
        stop_timeout=10.0 if config.stop_timeout is None else float(config.stop_timeout),
        health=health(config),
        log=log_spec(host.log_config),
        runtime=host.runtime,
        storage_size=storage_size(host),
        labels=config.labels or {},
    )


# of the configuration


def check_config(config: shapes.ContainerConfig) -> None:
    if config.args_escaped:
        raise Unsupported("ArgsEscaped is not supported: it is for Windows only")
    for what, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and not HOSTNAME.fullmatch(value):
            raise InvalidArgument(f"invalid {what} format: {value[:100]}")
    if config.stop_signal:
        number_of(config.stop_signal)
    for word in [*(merging.words(config.entrypoint) or []), *(merging.words(config.cmd) or []), config.user, config.working_dir]:
        if "\0" in word:
            raise InvalidArgument("invalid null byte in the configuration")
    for spelled in config.exposed_ports or {}:
        if not networking.PORT.fullmatch(spelled):
            raise InvalidArgument(f"invalid port specification: {spelled[:100]!r}")


def working_dir(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidArgument(f"the working directory '{path[:200]}' is invalid, it needs to be an absolute path")
    return path or "/"


def health(config: shapes.ContainerConfig) -> specs.HealthCheck | None:
    check = config.healthcheck
    if check is None:
        return None
    names = (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    )
    for name, value in names:
        if value and value < LEAST_DURATION:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if not check.test or check.test == ["NONE"]:
        return None
    if check.test[0] not in ("CMD", "CMD-SHELL"):
        raise InvalidArgument(f"Unknown healthcheck type: {check.test[0][:100]}")
    if len(check.test) < 2:
        raise InvalidArgument("the healthcheck has no command")
    test = tuple(check.test)
    if test[0] == "CMD-SHELL" and config.shell:
        test = ("CMD", *config.shell, *test[1:])
    return specs.HealthCheck(
        test=test,
        interval=check.interval / 1e9 or 30.0,
        timeout=check.timeout / 1e9 or 30.0,
        start_period=check.start_period / 1e9,
        start_interval=check.start_interval / 1e9 or 5.0,
        retries=check.retries or 3,
    )


# of the host's part


def check_restart_policy(host: shapes.HostConfig) -> None:
    policy = host.restart_policy
    if policy.name not in RESTART_POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name[:100]}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def check_sysctls(host: shapes.HostConfig, network: PodNetwork) -> None:
    for name in host.sysctls or {}:
        if not re.fullmatch(r"[a-z0-9_.\-/]{1,200}", name):
            raise InvalidArgument(f"invalid sysctl: {name[:100]}")
        if name.startswith("net.") and network.mode in ("host", "pod"):
            raise InvalidArgument(f'sysctl "{name}" not allowed in {"host" if network.mode == "host" else "shared"} network namespace')


def inherited(api: DockerApi, host: shapes.HostConfig) -> list[MountPoint]:
    """The mounts of the containers in VolumesFrom."""
    found = []
    for text in host.volumes_from or ():
        name, _, mode = text.partition(":")
        words = [word for word in mode.split(",") if word]
        if not name or any(word not in ("ro", "rw", *mounts.NO_EFFECT) for word in words):
            raise InvalidArgument(f"invalid mode: {mode[:100]}")
        for point in api.part(Containers).find(name).mounts:
            if point.type in ("bind", "volume"):
                found.append(msgspec.structs.replace(point, rw=point.rw and "ro" not in words, anonymous=False))
    return found


def devices(host: shapes.HostConfig) -> tuple[specs.Device, ...]:
    found = []
    for each in host.devices or ():
        permissions = each.cgroup_permissions or "rwm"
        inside = each.path_in_container or each.path_on_host
        if not re.fullmatch(r"[rwm]{1,3}", permissions):
            raise InvalidArgument(f"invalid device mode: {permissions[:100]}")
        if not each.path_on_host.startswith("/") or not inside.startswith("/"):
            raise InvalidArgument(
                f"error gathering device information while adding custom device {each.path_on_host[:200]!r}: not a device node"
            )
        found.append(specs.Device(path=each.path_on_host, container_path=inside, permissions=permissions))
    for rule in host.device_cgroup_rules or ():
        if not re.fullmatch(r"[acb] (\d+|\*):(\d+|\*) [rwm]{1,3}", rule):
            raise InvalidArgument(f"invalid device cgroup rule format: '{rule[:100]}'")
    return tuple(found)


def ulimits(host: shapes.HostConfig) -> tuple[specs.Ulimit, ...]:
    found: dict[str, specs.Ulimit] = {}
    for each in host.ulimits or ():
        if not re.fullmatch(r"[a-z]{2,12}", each.name):
            raise InvalidArgument(f"invalid ulimit type: {each.name[:100]}")
        if each.hard != -1 and (each.soft == -1 or each.soft > each.hard):
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {each.soft} > {each.hard}")
        found[each.name] = specs.Ulimit(name=each.name, soft=each.soft, hard=each.hard)
    return tuple(found.values())


def shm_size(host: shapes.HostConfig) -> int:
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    return host.shm_size or SHM_SIZE


def oom_score_adj(host: shapes.HostConfig) -> int:
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    return host.oom_score_adj


def storage_size(host: shapes.HostConfig) -> int:
    options = host.storage_opt or {}
    for name in options:
        if name != SIZE_OPTION:
            raise Unsupported(f"StorageOpt {name[:100]} is not supported: there is only size")
    return size_of(options[SIZE_OPTION]) if options else 0


def log_spec(config: shapes.LogConfig) -> specs.LogSpec:
    options = config.config or {}
    if config.type not in ("", "json-file", "local", "none"):
        raise Unsupported(f"logger: no log driver named '{config.type[:100]}' is registered")
    for name in options:
        if name not in LOG_OPTIONS or config.type == "none":
            raise InvalidArgument(f"unknown log opt '{name[:100]}' for {config.type or 'json-file'} log driver")
    if config.type == "none":
        return specs.LogSpec(driver="none")
    files = options.get("max-file", "1")
    if not files.isascii() or not files.isdigit() or not 1 <= int(files) <= 1000:
        raise InvalidArgument(f"invalid max-file: {files[:100]}")
    size = options.get("max-size", "")  # without it max-file has nothing to count: one file grows, as in Docker
    return specs.LogSpec(max_size=size_of(size) if size and size != "-1" else 0, max_files=int(files))


def one_of(name: str, value: str, *known: str) -> str:
    if value not in known:
        raise InvalidArgument(f"invalid {name}: {value[:100]}")
    return value


def joined(api: DockerApi, name: str, value: str, *known: str) -> str:
    """A namespace of its own, of the host, or of another container, named by its whole id."""
    if value.startswith("container:"):
        return f"container:{api.part(Containers).find(value.removeprefix('container:')).id}"
    return one_of(name, value, *known)


def check_console(host: shapes.HostConfig) -> None:
    if host.console_size is not None and (len(host.console_size) != 2 or not all(0 <= each <= 65535 for each in host.console_size)):
        raise InvalidArgument("invalid ConsoleSize: it is height and width")


def check_isolation(host: shapes.HostConfig) -> None:
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f'invalid isolation "{host.isolation[:100]}" : linux only supports "default"')
