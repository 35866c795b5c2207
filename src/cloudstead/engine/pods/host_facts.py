"""What this host can do with containers."""

from __future__ import annotations

import os
import shutil
import socket

from cloudstead.engine import linux
from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.programs import PATH, find
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import cgroups, commands
from cloudstead.engine.pods.host_bundle import available_capabilities, find_init
from cloudstead.engine.pods.limits import Kernel

WITHOUT = {
    "CAP_SYS_RESOURCE": "the host lacks CAP_SYS_RESOURCE: hard ulimits cannot be raised, and oom_score_adj cannot be lowered",
    "CAP_SYS_ADMIN": "the host lacks CAP_SYS_ADMIN: nothing can be mounted, so no container can run",
    "CAP_NET_ADMIN": "the host lacks CAP_NET_ADMIN: containers have no network",
}
WITHOUT_ROOT = (
    "without root, hard ulimits cannot be raised, and oom_score_adj cannot be lowered",
    "without root, addresses of containers are not reached from this machine; published ports are",
    "without root, no devices can be made: those of images are left out",
)


@handles(commands.DescribeHost)
async def describe_host(host: Host, command: commands.DescribeHost, descriptors: list[int]) -> commands.HostFacts:
    kernel = cgroups.tree().kernel
    lacks = [sentence for name, sentence in WITHOUT.items() if name not in available_capabilities()]
    lacks += [f"no limits, no pausing, no common PID namespaces: {kernel.none}"] if kernel.none else _missing_controllers(kernel)
    if linux.in_user_namespace():
        lacks += WITHOUT_ROOT
        if not any(name.startswith("tap") for _, name in socket.if_nameindex()):
            lacks.append("containers reach nothing outside: slirp4netns is not installed, or cannot open /dev/net/tun")
    runtimes = _runtimes(host)
    if not (seccomp := _has_seccomp()):
        lacks.append("this kernel has no seccomp filters: containers may call everything")
    if host.runtime not in runtimes:
        lacks.append(f"the OCI runtime {host.runtime} is not installed")
    return commands.HostFacts(
        cgroup_version=1 if kernel.version == 1 else 2,
        controllers=tuple(sorted(name for name in kernel.controllers if not name.startswith("name="))),
        runtime=host.runtime,
        runtimes=runtimes,
        runtime_version=await _version(host, [runtimes.get(host.runtime, ""), "--version"], lacks),
        monitor_version=await _version(host, ["conmon", "--version"], lacks),
        init=_init(host, lacks),
        swap_limit=kernel.swap,
        user_namespaces=False,
        seccomp=seccomp,
        no_cgroups=kernel.none,
        lacks=tuple(lacks),
    )


def _has_seccomp() -> bool:
    return os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def _missing_controllers(kernel: Kernel) -> list[str]:
    said = [f"control groups cannot limit {name} here" for name in ("cpu", "cpuset", "memory", "pids") if name not in kernel.controllers]
    if not kernel.controllers & {"io", "blkio"}:
        said.append("control groups cannot limit block I/O here")
    if not kernel.swap:
        said.append("control groups do not count swap here: memory is limited without it")
    return said


def _runtimes(host: Host) -> dict[str, str]:
    wanted = {host.runtime: host.options.get(f"runtime.{host.runtime}", host.runtime)}
    wanted |= {name.removeprefix("runtime."): path for name, path in host.options.items() if name.startswith("runtime.")}
    return {name: path for name, program in wanted.items() if (path := shutil.which(program, path=PATH)) is not None}


async def _version(host: Host, program: list[str], lacks: list[str]) -> str:
    """The last word of the first line: `runc version 1.1.5`."""
    if not program[0]:
        return ""
    try:
        find(program[0])
        said = (await host.run(program, within=10.0)).stdout.decode(errors="replace").strip()
    except EngineError as error:
        lacks.append(error.message)
        return ""
    return said.splitlines()[0].split()[-1] if said else ""


def _init(host: Host, lacks: list[str]) -> str:
    try:
        return find_init(host)
    except EngineError as error:
        lacks.append(error.message)
        return ""
