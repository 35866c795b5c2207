"""What a task definition says of the task as a whole."""

from __future__ import annotations

import re

from cloudstead.services.ecs.checks import NAME, invalid, refused, unsupported
from cloudstead.services.ecs.definition import Definition, ProxyConfiguration
from cloudstead.services.ecs.validation import sizes

MOST_CONTAINERS = 10
_IPC_SYSCTLS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)
_PROXY = {
    "ProxyIngressPort": "Ingress port not found",
    "ProxyEgressPort": "Egress port not found",
    "AppPorts": "App ports not found",
    "EgressIgnoredIPs": "Egress ignored IPs not found",
}
_NUMBER = re.compile(r"[0-9]+", re.ASCII)


def check(definition: Definition) -> None:
    _family(definition)
    if definition.windows:
        unsupported("The operating system of Windows containers")
    if definition.inference_accelerators:
        unsupported("Elastic Inference (inferenceAccelerators)")
    if definition.trusted_execution_configuration is not None:
        unsupported("trustedExecutionConfiguration")
    cpu = None if definition.cpu is None else sizes.cpu_units(definition.cpu)
    memory = None if definition.memory is None else sizes.memory_mib(definition.memory)
    _within(definition, cpu, memory)
    if definition.ephemeral_storage is not None:
        _storage(definition)
    if definition.proxy_configuration is not None:
        _proxy(definition, definition.proxy_configuration)
    _constraints(definition)


def _family(definition: Definition) -> None:
    if not definition.family:
        refused("Family should not be null or empty.")
    if not NAME.fullmatch(definition.family):
        refused("Family contains invalid characters.")
    if not definition.container_definitions:
        refused("Container list cannot be empty.")
    if len(definition.container_definitions) > MOST_CONTAINERS:
        refused("Too many containers.")


def _within(definition: Definition, cpu: int | None, memory: int | None) -> None:
    """The containers fit into the task."""
    containers = definition.container_definitions
    if cpu is not None and sum(each.cpu or 0 for each in containers) > cpu:
        refused("The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.")
    if memory is None:
        return
    for each in containers:
        if (each.memory or 0) > memory:
            refused(f"The 'memory' setting for container '{each.name}' is greater than for the task.")
        if (each.memory_reservation or 0) > memory:
            refused(f"The 'memoryReservation' setting for container '{each.name}' is greater than for the task.")
    reserved = sum(each.memory_reservation if each.memory_reservation is not None else each.memory or 0 for each in containers)
    if reserved > memory:
        refused("The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.")


def _storage(definition: Definition) -> None:
    assert definition.ephemeral_storage is not None
    if "FARGATE" not in (definition.requires_compatibilities or ("FARGATE",)):
        refused("Tasks using the EC2 launch type do not support EphemeralStorage.")
    size = definition.ephemeral_storage.size_in_gi_b
    if size < 21:
        refused("EphemeralStorage size should be at least 21.")
    if size > 200:
        refused("EphemeralStorage size should be at most 200.")


def _proxy(definition: Definition, proxy: ProxyConfiguration) -> None:
    if proxy.type not in (None, "APPMESH"):
        refused("The proxy configuration type should be APPMESH.")
    if definition.mode != "awsvpc":
        refused("APPMESH proxy configuration is only supported in networkMode=awsvpc.")
    if definition.container(proxy.container_name) is None:
        refused(f"Proxy container [{proxy.container_name}] does not exist")
    said = {each.name: each.value or "" for each in proxy.properties or ()}
    for name, sentence in _PROXY.items():
        if name not in said:
            refused(sentence)
    if "IgnoredUID" not in said and "IgnoredGID" not in said:
        refused("IgnoredUID or IgnoredGID should be specified.")
    for name in ("ProxyIngressPort", "ProxyEgressPort"):
        if not _NUMBER.fullmatch(said[name]) or not 1 <= int(said[name][:6]) <= 65535:
            refused(f"Invalid {name}: {said[name]}")


def _constraints(definition: Definition) -> None:
    constraints = definition.placement_constraints or ()
    if len(constraints) > 10:
        invalid("placementConstraints can have at most 10 items.")
    for each in constraints:
        if each.type != "memberOf":
            refused("The type of a task definition's placement constraint must be memberOf.")
        if not each.expression:
            refused("The expression of a placement constraint should not be null or empty.")


def is_ipc_sysctl(name: str) -> bool:
    return name in _IPC_SYSCTLS or name.startswith("fs.mqueue.")
