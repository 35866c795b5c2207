"""What RunTask changes of a task definition for one run of it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
"""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.definition import ContainerDefinition, Definition, EnvironmentFile, EphemeralStorage, KeyValuePair, Part


class ContainerOverride(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    command: tuple[str, ...] | None = None
    environment: tuple[KeyValuePair, ...] | None = None  # added; the same name again replaces
    environment_files: tuple[EnvironmentFile, ...] | None = None  # in place of the definition's
    cpu: int | None = None
    memory: int | None = None
    memory_reservation: int | None = None


class Overrides(Part, frozen=True, kw_only=True, omit_defaults=True):
    containers: tuple[ContainerOverride, ...] = ()
    cpu: str | None = None
    memory: str | None = None
    task_role_arn: str | None = None
    execution_role_arn: str | None = None
    ephemeral_storage: EphemeralStorage | None = None


def overridden(definition: Definition, overrides: Overrides) -> Definition:
    """The definition as this run has it. Overrides of containers that there are not are the caller's to refuse."""
    by_name = {each.name: each for each in overrides.containers}
    return replace(
        definition,
        container_definitions=tuple(_container(each, by_name.get(each.called)) for each in definition.container_definitions),
        cpu=overrides.cpu or definition.cpu,
        memory=overrides.memory or definition.memory,
        task_role_arn=overrides.task_role_arn or definition.task_role_arn,
        execution_role_arn=overrides.execution_role_arn or definition.execution_role_arn,
        ephemeral_storage=overrides.ephemeral_storage or definition.ephemeral_storage,
    )


def _container(each: ContainerDefinition, override: ContainerOverride | None) -> ContainerDefinition:
    if override is None:
        return each
    environment = {pair.name: pair for pair in (*(each.environment or ()), *(override.environment or ()))}
    return replace(
        each,
        command=each.command if override.command is None else override.command,
        environment=tuple(environment.values()),
        environment_files=each.environment_files if override.environment_files is None else override.environment_files,
        cpu=each.cpu if override.cpu is None else override.cpu,
        memory=each.memory if override.memory is None else override.memory,
        memory_reservation=each.memory_reservation if override.memory_reservation is None else override.memory_reservation,
    )
