"""Rules of the code that no linter knows. docs/architecture.md and docs/decisions/0001-layout.md say why."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "cloudstead"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "api.py")  # api.py is generated
MOST_LINES = 400  # most have less than 300
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def imports(path: Path) -> Iterator[str]:
    """What a module imports, as dotted names: `from a.b import c` gives a.b.c."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_a_service_knows_of_another_only_its_api() -> None:
    found = []
    for path in (SOURCE / "services").glob("*/**/*.py"):
        own = path.relative_to(SOURCE / "services").parts[0]
        for name in imports(path):
            other = re.match(r"cloudstead\.services\.(\w+)(?:\.(\w+))?", name)
            if other and other[1] != own and other[2] != "api":
                found.append(f"{named(path)} imports {name}")
    assert found == []


def test_modules_are_short_enough_to_read() -> None:
    lengths = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [named(path) for path in MODULES if VAGUE & set(path.relative_to(SOURCE).with_suffix("").parts)] == []


def test_every_module_says_what_it_is() -> None:
    assert [named(path) for path in MODULES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_services_take_the_time_from_the_clock() -> None:
    """Else the simulation and virtual time do not reach them. Measuring durations (perf_counter, monotonic) is no question of the time of day."""
    found = []
    for path in (SOURCE / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            call = ast.unparse(node.func)
            if call == "asyncio.sleep" and ast.unparse(node.args[0]) == "0":
                continue  # lets others run; no time passes
            if call in (
                "time.time",
                "time.time_ns",
                "time.sleep",
                "asyncio.sleep",
                "datetime.now",
                "datetime.datetime.now",
                "datetime.utcnow",
            ):
                found.append(f"{named(path)}:{node.lineno} {call}")
    assert found == []


@pytest.mark.parametrize("folder", ["src", "tests", "docs", "tools", "benchmarks", "models"])
def test_no_path_of_somebodys_machine_is_written_down(folder: str) -> None:
    """Tests make their folders; documents speak of ~."""
    own = re.compile(r"/(?:home|Users)/(?!you\b)[a-z]\w*/|/wo" + r"rk/")  # in two parts, so that this line is no finding
    files = (path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".toml", ".sh"))
    assert [str(path.relative_to(ROOT)) for path in files if own.search(path.read_text())] == []


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by it, and would take one for the other."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
