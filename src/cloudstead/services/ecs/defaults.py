"""What AWS fills in where a task definition says nothing, so that what it answers can be compared with what it is told the next time."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.definition import ContainerDefinition, Definition, HealthCheck, PortMapping
from cloudstead.services.ecs.validation import sizes


def fill(definition: Definition) -> Definition:
    """A definition that was found to be right, with AWS's defaults."""
    return replace(
        definition,
        container_definitions=tuple(_container(definition.mode, each) for each in definition.container_definitions),
        volumes=definition.volumes or (),
        placement_constraints=definition.placement_constraints or (),
        cpu=None if definition.cpu is None else str(sizes.cpu_units(definition.cpu)),
        memory=None if definition.memory is None else str(sizes.memory_mib(definition.memory)),
    )


def _container(mode: str, each: ContainerDefinition) -> ContainerDefinition:
    return replace(
        each,
        cpu=each.cpu or 0,
        essential=each.essential is not False,
        port_mappings=tuple(_port(mode, mapping) for mapping in each.port_mappings or ()),
        environment=each.environment or (),
        mount_points=each.mount_points or (),
        volumes_from=each.volumes_from or (),
        system_controls=each.system_controls or (),
        health_check=None if each.health_check is None else _health(each.health_check),
    )


def _port(mode: str, mapping: PortMapping) -> PortMapping:
    host = mapping.host_port
    if host is None and mapping.container_port is not None:
        host = mapping.container_port if mode in ("awsvpc", "host") else 0
    return replace(mapping, host_port=host, protocol=mapping.protocol or "tcp")


def _health(health: HealthCheck) -> HealthCheck:
    return replace(
        health,
        interval=30 if health.interval is None else health.interval,
        timeout=5 if health.timeout is None else health.timeout,
        retries=3 if health.retries is None else health.retries,
    )
