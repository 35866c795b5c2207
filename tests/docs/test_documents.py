"""What the documents say is there, and what is there is in the documents."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstead.cli.main import build_parser
from cloudstead.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, blanks to hyphens, punctuation gone."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (
            fragment and fragment not in {anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", target.read_text()))}
        ):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_the_repository_that_is_named_is_there(document: Path) -> None:
    """In code quotes, with a folder before it: `tools/lock.sh`. Names with a placeholder or of the data directory do not count."""
    named = re.findall(r"`((?:src|tests|tools|docs|benchmarks|models|kernel|edge|services|cli)/[\w./-]*\w)`", document.read_text())
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "src" / "cloudstead" / name).exists()]
    assert missing == []


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def section(command: str) -> str:
    return re.split(r"^## ", COMMAND_LINE, flags=re.MULTILINE)[[*sections()].index(command) + 1]


def sections() -> list[str]:
    return re.findall(r"^## (\S+)", COMMAND_LINE, re.MULTILINE)


@pytest.mark.parametrize("command", [name for name, _ in commands()])
def test_every_command_and_option_is_documented(command: str) -> None:
    parser = dict(commands())[command]
    text = section(command)
    for action in parser._actions:
        if action.help in (argparse.SUPPRESS, "show this help message and exit") or action.dest == "data":
            continue
        for option in action.option_strings:
            assert f"`{option}" in text, f"{command} {option}"


def test_no_documented_option_is_invented() -> None:
    for command, parser in commands():
        known = {option for action in parser._actions for option in action.option_strings}
        for option in re.findall(r"`(-{1,2}[a-z][a-z-]*)", section(command)):
            elsewhere = any(option in action.option_strings for _, other in commands() for action in other._actions)
            assert option in known or elsewhere, f"{command} {option}"
    assert "`--data DIR`" in COMMAND_LINE


def test_every_setting_is_documented() -> None:
    text = COMMAND_LINE.partition("## Settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", text)) == {field.name for field in dataclasses.fields(Settings)}


def test_every_environment_variable_of_ours_is_documented() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get)?[\[(]\s*"((?:CLOUDSTEAD|NO)_[A-Z_]+)"', code))
    assert read
    for name in read:
        assert f"`{name}`" in COMMAND_LINE.partition("## Environment")[2]


def test_the_two_commands_of_the_readme_are_there() -> None:
    shown = re.findall(r"^\$ (\./\S+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert shown[:2] == ["./cloudstead", "./test"]
    for name in {*shown, ".ci/run"}:
        assert os.access(ROOT / name, os.X_OK), name


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = (
        project["project"]["dependencies"] + project["project"]["optional-dependencies"]["companion"] + project["dependency-groups"]["dev"]
    )
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9_-]+", requirement)
        assert name is not None
        assert name[0] in reasons, name[0]


def test_the_locks_are_made_of_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = (ROOT / "requirements-dev.lock").read_text()
    for requirement in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        name = re.split(r"[\[=<>~!]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}==", locked, re.MULTILINE), f"{name}: run tools/lock.sh"


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_nothing_that_is_not_ours_is_in_the_repository() -> None:
    """No virtual environment, cache, or data."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert not [name for name in tracked if re.search(r"(^|/)(\.venv|__pycache__|\.cache|node_modules)/|\.pyc$", name)]
