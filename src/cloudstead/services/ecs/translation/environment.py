"""The variables of a container, and the files that hold some of them.

What counts, the first that has a name: what ECS adds, secrets, `environment`, the environment files from the first to the last, the image.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/use-environment-file.html
"""

from __future__ import annotations

from cloudstead.services.ecs.definition import ContainerDefinition
from cloudstead.services.ecs.translation.supplies import Image, Supplies


def of(each: ContainerDefinition, image: Image, supplies: Supplies) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for pair in image.env:
        name, _, value = pair.partition("=")
        found[name] = value
    for file in reversed(supplies.environment_files.get(each.called, ())):
        found.update(file)
    found.update((str(pair.name), pair.value or "") for pair in each.environment or ())
    found.update(supplies.secrets.get(each.called, {}))
    found.update(supplies.environment.get(each.called, {}))
    return tuple(f"{name}={value}" for name, value in found.items())


def of_file(text: str) -> dict[str, str]:
    """What an environment file says: NAME=value on each line, taken as it stands; lines that begin with # say nothing, as those without a name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and not name.lstrip().startswith("#"):
            found[name.strip()] = value.rstrip("\r")
    return found
