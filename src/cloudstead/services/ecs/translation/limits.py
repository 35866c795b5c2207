"""What a container and a task may use of the machine."""

from __future__ import annotations

import platform
import re

from cloudstead.engine.pods.specs import Device, Resources, Ulimit
from cloudstead.services.ecs.definition import ContainerDefinition, Definition

MIB = 1 << 20
PERIOD = 100_000  # microseconds, the kernel's default
FEWEST_SHARES = 2  # what the kernel gives at least; ECS says it for 0 and 1
FARGATE_NOFILE = 65_535
FARGATE_STORAGE = 20  # GiB
ARCHITECTURE = "ARM64" if platform.machine() in ("aarch64", "arm64") else "X86_64"
_RIGHTS = {"read": "r", "write": "w", "mknod": "m"}
_SIZE = re.compile(r"([0-9]{1,15})([bkmg]?)", re.ASCII | re.IGNORECASE)


def of_task(definition: Definition) -> Resources:
    """The hard limits of all containers together."""
    memory = int(definition.memory or 0) * MIB
    quota = int(definition.cpu or 0) * PERIOD // 1024
    return Resources(memory=memory, memory_swap=memory, cpu_quota=quota, cpu_period=PERIOD if quota else 0)


def of_container(definition: Definition, each: ContainerDefinition, *, alone: bool) -> Resources:
    """
    Args:
        alone: it is in a pod of its own, so that the task's limits can only be held by its containers.
    """
    task = of_task(definition) if alone else Resources()
    memory = (each.memory or 0) * MIB or task.memory
    linux = each.linux
    swap = memory + (linux.max_swap or 0) * MIB if memory else 0  # instances have no swap but what is given to a container
    return Resources(
        memory=memory,
        memory_reservation=(each.memory_reservation or 0) * MIB,
        memory_swap=swap,
        memory_swappiness=linux.swappiness if linux.max_swap is not None else None,
        cpu_shares=max(FEWEST_SHARES, each.cpu or 0),
        cpu_quota=task.cpu_quota,
        cpu_period=task.cpu_period,
    )


def ulimits(each: ContainerDefinition, *, fargate: bool) -> tuple[Ulimit, ...]:
    found = {ulimit.name: Ulimit(name=ulimit.name, soft=ulimit.soft_limit, hard=ulimit.hard_limit) for ulimit in each.ulimits or ()}
    if fargate and "nofile" not in found:
        found["nofile"] = Ulimit(name="nofile", soft=FARGATE_NOFILE, hard=FARGATE_NOFILE)
    return tuple(found.values())


def devices(each: ContainerDefinition) -> tuple[Device, ...]:
    return tuple(
        Device(
            path=device.host_path,
            container_path=device.container_path or "",
            permissions="".join(_RIGHTS[right] for right in dict.fromkeys(device.permissions or ())) or "rwm",
        )
        for device in each.linux.devices or ()
    )


def shm_size(each: ContainerDefinition) -> int:
    return (each.linux.shared_memory_size or 64) * MIB


def storage(definition: Definition, *, fargate: bool) -> int:
    """Bytes that a container may write; only Fargate limits that."""
    if not fargate:
        return 0
    return (FARGATE_STORAGE if definition.ephemeral_storage is None else definition.ephemeral_storage.size_in_gi_b) << 30


def bytes_of(text: str) -> int:
    """A size as Docker's log options say it: 10m. 0 for what is none."""
    found = _SIZE.fullmatch(text)
    return 0 if found is None else int(found[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
