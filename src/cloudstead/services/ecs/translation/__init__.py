"""A task definition as the engine is told it: pods and containers.

`task_spec` is pure. What had to be found out before (what the image says, the values of secrets, addresses, host ports) comes in as `Supplies`, so that it
can be tested as a table, and so that the same task gives the same specs when the daemon looks again.

With awsvpc and host all containers of a task share one network, so they are one pod. With bridge and none each has its own, as Docker would give
it: a pod for each container. A task's cpu and memory limit a pod; where a task is several pods, they limit each of its containers.

    supplies        what comes in: images, values, addresses
    environment     variables, and the files that hold them
    mounts          volumes, tmpfs, what is taken from other containers
    limits          cpu, memory, ulimits, devices
    network         ports, names, hosts
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import ContainerSpec, HealthCheck, LogSpec, PodSpec, Resources
from cloudstead.services.ecs.definition import ContainerDefinition, Definition
from cloudstead.services.ecs.translation import environment, limits, mounts, network
from cloudstead.services.ecs.translation.mounts import NeededVolume
from cloudstead.services.ecs.translation.supplies import Image, Supplies, Unsupported

__all__ = ["Image", "NeededVolume", "Pod", "Supplies", "Task", "Unsupported", "task_spec"]

STOP_SECONDS = 30.0
LOG_BYTES, LOG_FILES = 16 << 20, 2  # what is kept on disk of a container's output where nobody says


class Pod(msgspec.Struct, frozen=True):
    spec: PodSpec
    containers: tuple[ContainerSpec, ...]


class Task(msgspec.Struct, frozen=True):
    pods: tuple[Pod, ...]
    volumes: tuple[NeededVolume, ...]  # to be there before the first container


def task_spec(definition: Definition, supplies: Supplies) -> Task:
    """
    Raises:
        Unsupported: the definition asks for what this engine cannot do; the message is for `stoppedReason`.
    """
    _refuse(definition)
    containers = definition.container_definitions
    shared = definition.mode in ("awsvpc", "host")
    groups = [containers] if shared else [(each,) for each in containers]
    pods = tuple(_pod(definition, supplies, group, alone=None if shared else number) for number, group in enumerate(groups))
    return Task(pods=pods, volumes=mounts.needed(definition, supplies))


def _refuse(definition: Definition) -> None:
    if definition.proxy_configuration is not None:
        raise Unsupported("App Mesh proxies are not supported by Cloudstead.")
    if definition.enable_fault_injection:
        raise Unsupported("Fault injection is not supported by Cloudstead.")
    platform = definition.runtime_platform
    if platform is not None and (platform.cpu_architecture or "X86_64") != limits.ARCHITECTURE:
        raise Unsupported(f"Containers of the architecture {platform.cpu_architecture} do not run on this machine.")
    for each in definition.container_definitions:
        log = each.log_configuration
        if each.firelens_configuration is not None or (log is not None and log.log_driver not in ("awslogs", "json-file")):
            raise Unsupported(f"The log driver of container '{each.name}' is not supported by Cloudstead.")
        for option in each.docker_security_options or ():
            if not option.startswith("no-new-privileges"):
                raise Unsupported(f"The security option {option} is not supported by Cloudstead.")
        if each.resource_requirements:
            raise Unsupported("GPUs are not supported by Cloudstead.")


def _pod(definition: Definition, supplies: Supplies, group: tuple[ContainerDefinition, ...], *, alone: int | None) -> Pod:
    """
    Args:
        alone: where each container has its own pod, which of the task's containers it is.
    """
    pod_id = f"ecs-{supplies.task_id}" if alone is None else f"ecs-{supplies.task_id}-{alone}"  # names differ in case, ids of pods do not
    share = definition.pid_mode == "task" and alone is None
    spec = PodSpec(
        id=pod_id,
        owner="ecs",
        network=_network(definition, supplies, group),
        hostname=supplies.hostname if alone is None else group[0].hostname or "",
        resources=limits.of_task(definition) if alone is None else Resources(),
        share_pids=share,
        sysctls={str(control.namespace): control.value or "" for each in group for control in each.system_controls or ()},
    )
    return Pod(spec, tuple(_container(definition, supplies, each, alone=alone is not None) for each in group))


def _network(definition: Definition, supplies: Supplies, group: tuple[ContainerDefinition, ...]) -> PodNetwork:
    return network.of_pod(definition.mode, supplies, group[0])


def _container(definition: Definition, supplies: Supplies, each: ContainerDefinition, *, alone: bool) -> ContainerSpec:
    name = each.called
    image = supplies.images[name]
    linux = each.linux
    capabilities = linux.capabilities
    return ContainerSpec(
        id=supplies.ids[name],
        name=name,
        layers=image.layers,
        args=_args(each, image),
        env=environment.of(each, image, supplies),
        cwd=each.working_directory or image.cwd or "/",
        user=each.user or image.user,
        tty=bool(each.pseudo_terminal),
        stdin=bool(each.interactive),
        mounts=mounts.of(definition, supplies, each),
        devices=limits.devices(each),
        resources=limits.of_container(definition, each, alone=alone),
        ulimits=limits.ulimits(each, fargate=supplies.fargate),
        shm_size=limits.shm_size(each),
        privileged=bool(each.privileged),
        cap_add=tuple(capabilities.add or ()) if capabilities is not None else (),
        cap_drop=tuple(capabilities.drop or ()) if capabilities is not None else (),
        no_new_privileges=any(option in ("no-new-privileges", "no-new-privileges:true") for option in each.docker_security_options or ()),
        read_only=bool(each.readonly_root_filesystem),
        pid_mode=_pid_mode(definition, supplies, name, alone=alone),
        ipc_mode=_ipc_mode(definition, supplies, name),
        init=bool(linux.init_process_enabled),
        stop_signal=image.stop_signal or "SIGTERM",
        stop_timeout=STOP_SECONDS if each.stop_timeout is None else float(each.stop_timeout),
        health=_health(each),
        log=_log(each),
        storage_size=limits.storage(definition, fargate=supplies.fargate),
        labels={**(each.docker_labels or {}), **supplies.labels, "com.amazonaws.ecs.container-name": name},
    )


def _args(each: ContainerDefinition, image: Image) -> tuple[str, ...]:
    """As Docker: who gives another entry point does without the image's command."""
    if each.entry_point:
        return (*each.entry_point, *(each.command or ()))
    return (*image.entrypoint, *(each.command or image.cmd))


def _pid_mode(definition: Definition, supplies: Supplies, name: str, *, alone: bool) -> str:
    if definition.pid_mode == "host":
        return "host"
    return _of_first(definition, supplies, name) if definition.pid_mode == "task" and alone else ""


def _ipc_mode(definition: Definition, supplies: Supplies, name: str) -> str:
    modes: dict[Literal["host", "task", "none"] | None, str] = {None: "", "host": "host", "none": "none"}
    if definition.ipc_mode != "task":
        return modes[definition.ipc_mode]
    return _of_first(definition, supplies, name) or "shareable"


def _of_first(definition: Definition, supplies: Supplies, name: str) -> str:
    """The namespace of the task's first container, for all but itself."""
    first = definition.container_definitions[0].called
    return "" if name == first else f"container:{supplies.ids[first]}"


def _health(each: ContainerDefinition) -> HealthCheck | None:
    """The definition's. What an image says of its health does not count in ECS."""
    health = each.health_check
    if health is None or health.command[0] == "NONE":
        return None
    interval = float(health.interval or 30)
    return HealthCheck(
        test=health.command,
        interval=interval,
        timeout=float(health.timeout or 5),
        start_period=float(health.start_period or 0),
        start_interval=interval,
        retries=health.retries or 3,
    )


def _log(each: ContainerDefinition) -> LogSpec:
    """All output goes to a file; what the driver is makes who reads it."""
    log = each.log_configuration
    options = (log.options or {}) if log is not None and log.log_driver == "json-file" else {}
    size = limits.bytes_of(options.get("max-size", "")) or LOG_BYTES
    files = options.get("max-file", "")
    return LogSpec(driver="file", max_size=size, max_files=int(files) if files.isascii() and files.isdigit() and int(files) else LOG_FILES)
