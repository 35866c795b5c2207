"""What containers say of one another: dependsOn, links, volumesFrom. None of the three may go round in a circle."""

from __future__ import annotations

from collections.abc import Mapping

from cloudstead.services.ecs.checks import NAME, refused
from cloudstead.services.ecs.definition import ContainerDefinition, Definition


def check(definition: Definition) -> None:
    containers = {each.called: each for each in definition.container_definitions}
    for each in containers.values():
        _depends(each, containers)
        _volumes_from(each, containers)
        _links(each, containers)
    if has_circle({name: [other.container_name for other in each.depends_on or ()] for name, each in containers.items()}):
        refused("Container dependencies should not have a cycle")
    if has_circle({name: [link.partition(":")[0] for link in each.links or ()] for name, each in containers.items()}):
        refused("Container links should not have a cycle")
    if has_circle({name: [str(other.source_container) for other in each.volumes_from or ()] for name, each in containers.items()}):
        refused("Container volumesFrom should not have a cycle")


def _depends(each: ContainerDefinition, containers: Mapping[str, ContainerDefinition]) -> None:
    for dependency in each.depends_on or ():
        other = containers.get(dependency.container_name)
        if other is None:  # the plus sign is AWS's
            refused(f"Cannot depend on container + '{dependency.container_name}' because it does not exist")
        if dependency.condition in ("SUCCESS", "COMPLETE") and other.essential is not False:
            refused("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
        if dependency.condition == "HEALTHY" and (other.health_check is None or other.health_check.command[0] == "NONE"):
            refused("A dependency container with HEALTHY condition must have health check configured")


def _volumes_from(each: ContainerDefinition, containers: Mapping[str, ContainerDefinition]) -> None:
    for source in each.volumes_from or ():
        if source.source_container not in containers:
            refused(f"Invalid 'volumesFrom' setting. Unknown container: '{source.source_container or ''}'.")


def _links(each: ContainerDefinition, containers: Mapping[str, ContainerDefinition]) -> None:
    for link in each.links or ():
        name, colon, alias = link.partition(":")
        if name not in containers:
            refused(f"Invalid 'links' setting. Unknown container: '{name}'.")
        if colon and not NAME.fullmatch(alias):
            refused(f"Invalid 'links' setting. Invalid alias: '{alias}'.")


def has_circle(edges: Mapping[str, list[str]]) -> bool:
    """Whether one can come back to where one started."""
    left = {name: set(others) for name, others in edges.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return bool(left)
