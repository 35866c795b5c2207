"""What a task definition needs: the attributes that a container instance must have, and the launch types for which it is right.

The attributes are those by which the agent of ECS says what it can do. The numbers are versions of Docker's API: the one in which came what the
definition uses (read-only roots came with 1.17, ulimits with 1.18, …).
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-capabilities.html, and agent/app/agent_capability.go of the agent's source
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudstead.services.ecs.definition import ContainerDefinition, Definition, LogConfiguration
from cloudstead.services.ecs.validation import fargate
from cloudstead.services.ecs.validation.sources import is_parameter

DOCKER = "com.amazonaws.ecs.capability.docker-remote-api."
OLD = "com.amazonaws.ecs.capability."
NEW = "ecs.capability."
_LOG_DRIVER_VERSIONS = {"json-file": "1.18", "syslog": "1.18", "journald": "1.19", "gelf": "1.20", "fluentd": "1.20", "splunk": "1.22"}


def attributes(definition: Definition) -> tuple[str, ...]:
    """The names of the attributes, each once."""
    found: dict[str, None] = {}
    for each in definition.container_definitions:
        found.update(dict.fromkeys(_container(definition, each)))
    found.update(dict.fromkeys(_task(definition)))
    found.update(dict.fromkeys(_volumes(definition)))
    return tuple(found)


def compatibilities(definition: Definition) -> tuple[str, ...]:
    """The launch types for which it could run."""
    if definition.mode != "awsvpc":
        return ("EXTERNAL", "EC2")
    found = ["EC2"]
    if definition.cpu is not None and definition.memory is not None:
        found.append("MANAGED_INSTANCES")
    if next(fargate.problems(definition), None) is None:
        found.append("FARGATE")
    return tuple(found)


def _container(definition: Definition, each: ContainerDefinition) -> Iterator[str]:
    role = definition.execution_role_arn is not None
    if each.log_configuration is not None:
        yield from _log(each.log_configuration, role)
    if fargate.is_ecr(each.image or ""):
        yield f"{OLD}ecr-auth"
        if role:
            yield f"{NEW}execution-role-ecr-pull"
    for needed, name in (
        (each.repository_credentials, f"{NEW}private-registry-authentication.secretsmanager"),
        (each.privileged, f"{OLD}privileged-container"),
        (each.readonly_root_filesystem, f"{DOCKER}1.17"),
        (each.docker_labels or each.ulimits, f"{DOCKER}1.18"),
        (each.system_controls, f"{DOCKER}1.24"),
        (each.health_check, f"{NEW}container-health-check"),
        (each.health_check is not None and each.health_check.start_period, f"{DOCKER}1.29"),
        (each.depends_on or each.start_timeout or each.stop_timeout, f"{NEW}container-ordering"),
        (each.environment_files, f"{NEW}env-files.s3"),
        (each.restart_policy is not None and each.restart_policy.enabled, f"{NEW}container-restart-policy"),
        (any(port.container_port_range for port in each.port_mappings or ()), f"{NEW}network.container-port-range"),
    ):
        if needed:
            yield name
    yield from _linux(each)
    yield from _secrets(each)
    if each.firelens_configuration is not None:
        yield f"{NEW}firelens.{each.firelens_configuration.type}"
        kind = (each.firelens_configuration.options or {}).get("config-file-type")
        if kind is not None:
            yield f"{NEW}firelens.options.config.{kind}"


def _log(log: LogConfiguration, role: bool) -> Iterator[str]:
    options = log.options or {}
    yield f"{OLD}logging-driver.{log.log_driver}"
    if log.log_driver in _LOG_DRIVER_VERSIONS:
        yield DOCKER + _LOG_DRIVER_VERSIONS[log.log_driver]
    if log.log_driver == "awslogs":
        if role:
            yield f"{NEW}execution-role-awslogs"
        yield f"{DOCKER}1.19"
        if "mode" in options or "max-buffer-size" in options:
            yield f"{DOCKER}1.28"
        if "awslogs-create-group" in options:
            yield f"{DOCKER}1.29"
    for secret in log.secret_options or ():
        yield f"{NEW}secrets.{'ssm' if is_parameter(secret) else 'asm'}.bootstrap.log-driver"


def _linux(each: ContainerDefinition) -> Iterator[str]:
    linux = each.linux
    if linux.shared_memory_size is not None or linux.tmpfs:
        yield f"{DOCKER}1.22"
    if linux.init_process_enabled:
        yield f"{DOCKER}1.25"
    for option in each.docker_security_options or ():
        if option.startswith("apparmor:"):
            yield f"{OLD}apparmor"
        elif option.startswith("label:"):
            yield f"{OLD}selinux"


def _secrets(each: ContainerDefinition) -> Iterator[str]:
    for secret in each.secrets or ():
        yield f"{NEW}secrets.{'ssm' if is_parameter(secret) else 'asm'}.environment-variables"


def _task(definition: Definition) -> Iterator[str]:
    awsvpc = definition.mode == "awsvpc"
    for needed, name in (
        (definition.task_role_arn, f"{OLD}task-iam-role"),
        (definition.task_role_arn and definition.mode == "host", f"{OLD}task-iam-role-network-host"),
        (awsvpc or definition.cpu or definition.memory, f"{DOCKER}1.18"),
        (awsvpc, f"{NEW}task-eni"),
        (definition.pid_mode or definition.ipc_mode, f"{NEW}pid-ipc-namespace-sharing"),
        (definition.proxy_configuration, f"{NEW}aws-appmesh"),
        (definition.ephemeral_storage, f"{NEW}extensible-ephemeral-storage"),
        (definition.enable_fault_injection, f"{NEW}fault-injection"),
    ):
        if needed:
            yield name


def _volumes(definition: Definition) -> Iterator[str]:
    for volume in definition.volumes or ():
        docker, efs = volume.docker_volume_configuration, volume.efs_volume_configuration
        if docker is not None:
            yield f"{NEW}docker-plugin.{docker.driver or 'local'}"
        if efs is not None:
            yield f"{NEW}efsAuth" if efs.authorization_config is not None or efs.transit_encryption == "ENABLED" else f"{NEW}efs"
        if volume.configured_at_launch:
            yield f"{NEW}storage.ebs-task-attach"
