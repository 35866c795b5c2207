""".dockerignore. The tables are what moby/patternmatcher's own tests and Docker's reference say."""

from __future__ import annotations

import time
from asyncio import run
from pathlib import Path
from typing import Any

import pytest
from build_support import tree_of

from cloudstead.engine.build import context, globs, ignore
from cloudstead.engine.build.copying import walk
from cloudstead.engine.errors import InvalidArgument

MATCHES = [
    ("**", "file", True),
    ("**", "dir/file", True),
    ("**/", "file", True),
    ("**/", "dir/dir/file", True),
    ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("**/dir", "dir", True),
    ("**/dir", "dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/*", "dir/dir2/dir2/file", True),
    ("**file", "file", True),
    ("**file", "dir/file", True),
    ("**file", "dir/dir/file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt**", "a/file.txt", True),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abcdef", False),
    ("a\\\\", "a\\", True),
    ("**/foo/bar", "foo/bar", True),
    ("**/foo/bar", "dir/foo/bar", True),
    ("abc/**", "abc", False),
    ("abc/**", "abc/def", True),
    ("**/.foo", "bar/.foo", True),
    ("**/.foo", ".foo", True),
    ("a(b)c/def", "a(b)c/def", True),
    ("a(b)c/def", "a(b)c/xyz", False),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", True),
    ("*a**/b", "xa/b", True),
    ("*a**/b", "xaa/b", True),
    ("*a**/b", "xaab", True),
    ("x**y**z", "xa/ya/z", True),
    ("x**y**z", "xyz", True),
    ("x**y**z", "xay", False),
]


@pytest.mark.parametrize(("pattern", "path", "matches"), MATCHES)
def test_patterns_match_as_gos_do(pattern: str, path: str, matches: bool) -> None:
    assert ignore.read(pattern)(path) is matches


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        ("*\n!a", "a", False),
        ("*\n!a", "b", True),
        ("dir\n!dir/keep", "dir/keep", False),
        ("dir\n!dir/keep", "dir/other", True),
        ("!a\n*", "a", True),
        ("docs\n!docs/*.md\ndocs/secret.md", "docs/secret.md", True),
        ("docs\n!docs/*.md\ndocs/secret.md", "docs/x.md", False),
        ("/rooted", "rooted", True),
        ("  spaced  ", "spaced", True),
        ("# comment\n#also", "#also", False),
        ("./a/../b/", "b", True),
        ("**\n!a/b\na", "a/b", False),
        ("foo/*\n!foo/bar", "foo/bar/x", False),
        ("\ufefffirst", "first", True),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: str, path: str, ignored: bool) -> None:
    assert ignore.read(patterns)(path) is ignored


@pytest.mark.parametrize("pattern", ["[", "a[", "[]a]", "[-]", "[a-]", "a\\", "!"])
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        ignore.read(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["**/" * 20 + "x", "*a" * 60, "a**" * 30, "**a*" * 20 + "z", "[a-z]*" * 50 + "!", "*" * 2000],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    matcher = globs.IgnorePattern(ignore.clean(pattern), exclusion=False)
    path = "/".join(["a" * 200] * 15) + "b"
    began = time.process_time()
    for _ in range(3):
        matcher.match(path)
    assert time.process_time() - began < 1.0


def names_after(files: dict[str, Any], folder: Path, dockerfile: str = "Dockerfile") -> set[str]:
    tree = run(tree_of({"Dockerfile": "FROM a", **files}, folder))
    context._leave_out(tree, dockerfile)
    found = {entry.path for entry in tree.below("")}
    tree.close()
    return found


def test_what_is_ignored_is_not_in_the_context(tmp_path: Path) -> None:
    files = {"a/x": "", "a/y": "", "b/keep/z": "", "b/lose/z": "", ".dockerignore": "a/y\nb\n!b/keep\nDockerfile\n"}
    assert names_after(files, tmp_path) == {"a", "a/x", "b", "b/keep", "b/keep/z", ".dockerignore"}


def test_a_dockerfile_may_have_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    files = {"x": "", "y": "", "f/Other": "FROM a", ".dockerignore": "x", "f/Other.dockerignore": "y"}
    assert {"x", "y"} & names_after(files, tmp_path) == {"y"}
    assert {"x", "y"} & names_after(files, tmp_path, "f/Other") == {"x"}


def test_a_folder_without_anything_left_goes_with_its_content(tmp_path: Path) -> None:
    tree = run(tree_of({"d/a": "", "e/b": ""}, tmp_path))
    kept = {entry.path for entry in walk(tree, "", ignore.read("*\n!e/*"))}
    tree.close()
    assert kept == {"e", "e/b"}
