"""What Fargate does not have. A definition that has no problem here is compatible with it, whether or not it requires it.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudstead.services.ecs.definition import ContainerDefinition, Definition
from cloudstead.services.ecs.validation import sizes

LOG_DRIVERS = ("awslogs", "splunk", "awsfirelens")
CAPABILITIES = ("SYS_PTRACE",)
LONGEST_STOP = 120
_ECR = re.compile(r"\d{12}\.dkr[.-]ecr[a-z-]*\.[a-z0-9.-]+(:\d+)?/.+")


def is_ecr(image: str) -> bool:
    return _ECR.fullmatch(image) is not None


def problems(definition: Definition) -> Iterator[str]:
    """Sentences, the first of which AWS would answer."""
    if definition.mode != "awsvpc":
        yield "Fargate only supports network mode \u2018awsvpc\u2019."
    yield from _size(definition)
    yield from _task(definition)
    for each in definition.container_definitions:
        yield from _role(definition, each)
        yield from _container(each)
        yield from _linux(each)
    yield from _volumes(definition)


def _size(definition: Definition) -> Iterator[str]:
    for name, value in (("cpu", definition.cpu), ("memory", definition.memory)):
        if value is None:
            yield f"Fargate requires that '{name}' be defined at the task level."
    if definition.cpu is None or definition.memory is None:
        return
    cpu, memory = sizes.cpu_units(definition.cpu), sizes.memory_mib(definition.memory)
    if not sizes.fargate_has(cpu, memory):
        yield (
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. "
            "See the Amazon ECS documentation for the valid values."
        )


def _task(definition: Definition) -> Iterator[str]:
    if definition.placement_constraints:
        yield "Fargate compatible task definitions do not support constraints"
    if definition.ipc_mode is not None:
        yield "Fargate compatible task definitions do not support ipcMode"
    if definition.pid_mode == "host":
        yield "Tasks using the Fargate launch type do not support pidMode 'host'"


def _role(definition: Definition, each: ContainerDefinition) -> Iterator[str]:
    if definition.execution_role_arn:
        return
    wants = "Fargate requires task definition to have execution role ARN to support"
    if is_ecr(each.image or ""):
        yield f"{wants} ECR images."
    if each.log_configuration is not None and each.log_configuration.log_driver in ("awslogs", "splunk"):
        yield f"{wants} log driver {each.log_configuration.log_driver}."


def _container(each: ContainerDefinition) -> Iterator[str]:
    if each.privileged:
        yield "Fargate requires that the 'privileged' setting be 'false'."
    if each.docker_security_options:
        yield "Fargate compatible task definitions do not support dockerSecurityOptions"
    if each.stop_timeout is not None and each.stop_timeout > LONGEST_STOP:
        yield "Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds."
    if any(wanted.type == "GPU" for wanted in each.resource_requirements or ()):
        yield "Tasks using the Fargate launch type do not support GPU resource requirements"
    log = each.log_configuration
    if log is not None and log.log_driver not in LOG_DRIVERS:
        yield f"{log.log_driver} is not a valid log driver. Must be one of [{', '.join(LOG_DRIVERS)}]"
    if log is not None and log.log_driver == "awslogs" and not (log.options or {}).get("awslogs-stream-prefix"):
        yield "Fargate requires log configuration options to include awslogs-stream-prefix to support log driver awslogs."
    firelens = each.firelens_configuration
    if firelens is not None and (firelens.options or {}).get("config-file-type") == "s3":
        yield "Fargate launch type does not support FirelensConfiguration config file from 's3'"


def _linux(each: ContainerDefinition) -> Iterator[str]:
    linux = each.linux
    for name in (linux.capabilities.add or ()) if linux.capabilities is not None else ():
        if name not in CAPABILITIES:
            yield f"{name} is not allowed on Fargate."
    for member, given in (
        ("devices", linux.devices),
        ("sharedMemorySize", linux.shared_memory_size is not None),
        ("maxSwap", linux.max_swap is not None),
        ("swappiness", linux.swappiness is not None),
    ):
        if given:
            yield f"Fargate compatible task definitions do not support {member}"


def _volumes(definition: Definition) -> Iterator[str]:
    for volume in definition.volumes or ():
        if volume.host is not None and volume.host.source_path is not None:
            yield "Fargate compatible task definitions do not support sourcePath"
        if volume.docker_volume_configuration is not None:
            yield "Fargate compatible task definitions do not support dockerVolumeConfiguration"
