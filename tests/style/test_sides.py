"""The two sides of the engine (docs/decisions/0008-engine-host.md): what runs with root's rights in the host, and what runs in the daemon.

Modules called `host` or `host_…` are the root side, and so are the host's own. The daemon's side imports none of them, not even by way of another module:
the first import on such a way would be one of these. The root side imports of the daemon's what is data or pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
ENGINE = SOURCE / "cloudstead" / "engine"
OF_BOTH = {
    f"cloudstead.engine.host.{name}" for name in ("channel", "client", "commands", "delegation", "layout", "messages", "subordinate")
}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def is_of_root(module: str) -> bool:
    room, _, name = module.rpartition(".")
    if not module.startswith("cloudstead.engine.") or module in OF_BOTH or name == "__init__":
        return False
    return room == "cloudstead.engine.host" or name == "host" or name.startswith("host_") or module == "cloudstead.engine.volumes.mounting"


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """What a module imports, also behind TYPE_CHECKING and in functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (inside & known) or {node.module}


MODULES = {dotted(path): path for path in SOURCE.rglob("*.py")}


def test_the_daemons_side_imports_nothing_of_the_root_side() -> None:
    wrong = [
        (module, imported)
        for module, path in MODULES.items()
        if not is_of_root(module)
        for imported in imports(path, set(MODULES))
        if is_of_root(imported)
    ]
    assert wrong == []


def test_the_root_side_knows_no_store_no_images_and_no_http() -> None:
    far = ("cloudstead.kernel", "cloudstead.http", "cloudstead.engine.images", "cloudstead.engine.build", "cloudstead.engine.dockerapi")
    wrong = [
        (module, imported)
        for module, path in MODULES.items()
        if is_of_root(module)
        for imported in imports(path, set(MODULES))
        if imported.startswith(far)
    ]
    assert wrong == []


def test_there_is_a_root_side_to_look_at() -> None:
    assert sum(map(is_of_root, MODULES)) > 40
