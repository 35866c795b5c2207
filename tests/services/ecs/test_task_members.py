"""No member of a task definition is lost: rows have all that the API has, and something acts on each of them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import msgspec
import pytest

from cloudstead.services import ecs
from cloudstead.services.ecs import api, definition
from cloudstead.services.ecs.definition import Definition, Part

PARTS = [kind for _, kind in inspect.getmembers(definition, inspect.isclass) if issubclass(kind, Part) and kind not in (Part, Definition)]
FOLDER = Path(inspect.getfile(ecs)).parent

# Members that no translation reads, and who is to act on them: `essential` and its like are for what watches over containers.
LATER = {
    "ContainerDefinition.depends_on": "the order of starts",
    "ContainerDefinition.essential": "whether the task ends with it",
    "ContainerDefinition.image": "pulling",
    "ContainerDefinition.linux_parameters": "read as `linux`",
    "ContainerDefinition.repository_credentials": "pulling",
    "ContainerDefinition.restart_policy": "restarts",
    "ContainerDefinition.secrets": "fetched before the start",
    "ContainerDefinition.start_timeout": "the order of starts",
    "ContainerDefinition.version_consistency": "digests of deployments",
}
# Refused by `validation`, so that no row has them.
REFUSED = {
    "ContainerDefinition.credential_specs",
    "Volume.fsx_windows_file_server_volume_configuration",
    "Volume.s3files_volume_configuration",
}


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_a_part_of_a_row_has_the_members_of_the_api_s_structure(kind: type[Part]) -> None:
    assert kind.__struct_fields__ == getattr(api, kind.__name__).__struct_fields__


def test_a_definition_has_the_members_of_a_registration() -> None:
    request = set(api.RegisterTaskDefinitionRequest.__struct_fields__)
    assert set(Definition.__struct_fields__) == request - {"tags"}


def attributes(folder: str) -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (FOLDER / folder).glob("*.py")]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize(
    "kind", [definition.ContainerDefinition, definition.LinuxParameters, definition.Volume, definition.MountPoint, definition.Device]
)
def test_each_member_is_translated_or_somebody_is_named_who_acts_on_it(kind: type[Part]) -> None:
    read = attributes("translation")
    left = {f"{kind.__name__}.{field.name}" for field in msgspec.structs.fields(kind) if field.name not in read}
    assert left - REFUSED <= set(LATER)


def test_whoever_is_named_is_still_needed() -> None:
    known = {f"{kind.__name__}.{name}" for kind in PARTS for name in kind.__struct_fields__}
    assert set(LATER) | REFUSED <= known
