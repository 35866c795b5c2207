"""How a Dockerfile's text is read. Docker's own parser is the oracle, where its Python package can be installed."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
from typing import Any

import pytest

from cloudstead.engine.build import arguments, instructions, lines, parsing
from cloudstead.engine.errors import EngineError, InvalidArgument, Unsupported

ORACLE = """
import json, sys, dockerfile
found = []
for text in json.load(sys.stdin):
    try:
        found.append([
            [c.cmd or "", c.sub_cmd, c.json, list(c.flags), list(c.value), [[h.name, h.file_descriptor, h.content] for h in c.heredocs], c.start_line, c.end_line]
            for c in dockerfile.parse_string(text)
        ])
    except Exception as error:
        found.append(str(error))
json.dump(found, sys.stdout)
"""


def only(text: str) -> Any:
    """The one instruction after FROM."""
    return parsing.parse(f"FROM a\n{text}").stages[0].commands[0]


def test_directives_come_first_and_once() -> None:
    assert parsing.parse("# escape=`\nFROM a\nRUN x `\n y").escape == "`"
    assert parsing.parse("# comment\n# escape=`\nFROM a").escape == "\\"
    assert parsing.parse("#syntax=docker/dockerfile:1.7-labs\n# ESCAPE = `\nFROM a").escape == "`"
    with pytest.raises(InvalidArgument, match="only one escape parser directive can be used"):
        parsing.parse("# escape=`\n# escape=`\nFROM a")
    with pytest.raises(InvalidArgument, match="invalid escape token 'x'"):
        parsing.parse("# escape=x\nFROM a")
    with pytest.raises(Unsupported, match="frontend"):
        parsing.parse("# syntax=example.com/my/frontend\nFROM a")


def test_lines_go_on_over_comments_and_empty_lines() -> None:
    dockerfile = parsing.parse("FROM a\nRUN one \\\n# a comment\n\n  two\nRUN three")
    run, other = dockerfile.stages[0].commands
    assert isinstance(run, instructions.Run)
    assert run.args == ("one   two",)
    assert other.line == 6
    assert dockerfile.warnings == ("Empty continuation line found in: RUN one   two",)


def test_the_windows_escape_leaves_backslashes_alone() -> None:
    copy = parsing.parse("# escape=`\nFROM a\nCOPY a `\n c:\\\\").stages[0].commands[0]
    assert isinstance(copy, instructions.Copy)
    assert copy.dest == "c:\\\\"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("RUN <<EOF\nx\nEOF", [("EOF", True, False, "x\n")]),
        ("RUN <<-'EOF'\n\tx\n\tEOF", [("EOF", False, True, "\tx\n")]),
        ('RUN 3<<"E F"\nx\nE F', [("E F", False, False, "x\n")]),
        ("RUN cat <<A && cat <<B\n1\nA\n2\nB", [("A", True, False, "1\n"), ("B", True, False, "2\n")]),
        ("COPY <<one /x\nEOF\none", [("one", True, False, "EOF\n")]),
        ('RUN ["a", "<<EOF"]', []),
        ("RUN echo '<<EOF'", []),
        ("RUN x <<< y", []),
    ],
)
def test_heredocs(text: str, names: list[tuple[str, bool, bool, str]]) -> None:
    command = only(text)
    assert [(file.name, file.expand, file.chomp, file.content) for file in command.files] == names


def test_a_heredoc_must_end() -> None:
    with pytest.raises(InvalidArgument, match="dockerfile parse error on line 2: unterminated heredoc"):
        parsing.parse("FROM a\nRUN <<EOF\nx")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "file with no instructions"),
        ("RUN x", "dockerfile parse error on line 1: no build stage in current context"),
        ("FROM a\nFOO x", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a AS 1x", 'invalid name for build stage: "1x", name can\'t start with a number or contain symbols'),
        ("FROM a\nENV x", "ENV must have two arguments"),
        ("FROM a\nENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("FROM a\nCOPY x", "COPY requires at least two arguments, but only one was provided"),
        ("FROM a\nCOPY --chonw=x a b", "unknown flag: --chonw"),
        ("FROM a\nCOPY --from=a --from=b x y", "duplicate flag specified: --from"),
        ("FROM a\nCOPY --from x y", "missing a value on flag: --from"),
        ("FROM a\nCOPY --link=maybe x y", "expecting boolean value for flag --link, not: maybe"),
        ("FROM a\nCOPY x <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
        ("FROM a\nHEALTHCHECK FOO x", 'Unknown type "FOO" in HEALTHCHECK'),
        ("FROM a\nHEALTHCHECK --interval=1 CMD x", 'time: missing unit in duration "1"'),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("FROM a\nONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nSHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nWORKDIR", "WORKDIR requires exactly one argument"),
        ('FROM a\nVOLUME [""]', "VOLUME specified can not be an empty string"),
        ("FROM a\nRUN --network=bridge x", 'invalid network mode "bridge"'),
        ("FROM a\nRUN --mount=from=$x,target=/y z", "'from' doesn't support variable expansion"),
        ("FROM a\nENV x=\0", "it is no text"),
        ("FROM a\nCMD [1]", "arrays must be comprised of strings only"),
    ],
)
def test_mistakes_are_told_as_docker_tells_them(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(sentence)):
        parsing.parse(text)


def test_what_is_not_done_is_named() -> None:
    for text in ("RUN --security=insecure x", "RUN --mount=type=ssh x", "RUN --device=x y", "ADD --keep-git-dir a b"):
        with pytest.raises(Unsupported, match="line 2"):
            parsing.parse(f"FROM a\n{text}")


def test_flags_arguments_and_forms() -> None:
    copy = only('COPY --from=b --chown="a b" --chmod=u+x --link --exclude=*.a --exclude=*.b ["x y", "/z"]')
    assert (copy.stage, copy.chown, copy.chmod, copy.link, copy.excludes) == ("b", "a b", "u+x", True, ("*.a", "*.b"))
    assert (copy.sources, copy.dest) == (("x y",), "/z")
    health = only("HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --retries=4 CMD curl -f x").health
    assert (health.test, health.interval, health.timeout, health.retries) == (("CMD-SHELL", "curl -f x"), 90 * 10**9, 1_500_000_000, 4)
    assert only('ENV a=b c="d e" f=g\\ h').pairs == (("a", "b"), ("c", '"d e"'), ("f", "g\\ h"))
    assert only("ENV a b c").pairs == (("a", "b c"),)
    assert only("ARG a=1 b").pairs == (("a", "1"), ("b", None))
    assert only('RUN ["a"]').shell is False
    assert only("RUN ['a']").args == ("['a']",)
    assert only("ONBUILD COPY a b").trigger == "COPY a b"
    assert only("ONBUILD RUN <<EOF\nx\nEOF").trigger == "RUN <<EOF\nx\nEOF"


def test_a_dockerfile_of_many_stages() -> None:
    dockerfile = parsing.parse("ARG v=1\nFROM a:$v AS One\nRUN x\nFROM --platform=linux/arm64 one\n")
    assert [stage.start.name for stage in dockerfile.stages] == ["one", ""]
    assert dockerfile.stages[1].start.platform == "linux/arm64"
    assert dockerfile.args[0].pairs == (("v", "1"),)


# ---------------------------------------------------------------------------------------------------------------- the oracle

WORDS = [
    *("RUN ", "COPY ", "ENV ", "FROM ", "ARG ", "LABEL ", "HEALTHCHECK ", "CMD ", "run ", "VOLUME ", "EXPOSE ", "WORKDIR "),
    *("a", "b=c", "=", '"', "'", "\\", "\\\n", "`", "`\n", "\n", "\n", "\n", " ", "\t", "#", "# x\n", "--f=1 ", "--g ", "-- "),
    *('["a","b"]\n', "[1]\n", '["a"', "<<EOF", '<<-"E F"', "3<<X", "EOF\n", "X\n", "$a", "${b}", "# escape=`\n", "é", "  ", "a b c"),
    *("CMD x", "NONE", "\r\n"),
]


MAYBE_JSON = ("COPY", "ADD", "VOLUME", "RUN", "CMD")


def as_the_oracle(text: str) -> Any:
    try:
        source = lines.read(text)
        return [
            [
                line.keyword,
                line.keyword in MAYBE_JSON and lines.is_json(line.rest),
                list(line.flags),
                values(line, source.escape),
                [[heredoc.name, heredoc.descriptor, heredoc.content] for heredoc in line.heredocs],
                line.start,
                line.end,
            ]
            for line in source.lines
        ]
    except EngineError as error:
        return error.message


def values(line: lines.Line, escape: str) -> list[str] | None:
    """What the parser's package calls the value; None for what it does not know."""
    rest = line.rest
    match line.keyword:
        case "ENV" | "LABEL":
            return [part for pair in arguments.pairs(without_flags(line), escape) for part in pair] if rest else []
        case "FROM" | "EXPOSE":
            return list(arguments.blank_separated(rest))
        case "COPY" | "ADD" | "VOLUME":
            return list(arguments.listed(rest))
        case "RUN" | "CMD":
            return list(arguments.command_line(rest)[0])
        case "ARG":
            return arguments.words(rest, escape)
        case "HEALTHCHECK":
            kind, *more = re.split(r"\s+", rest, maxsplit=1)
            return ([kind] if kind else []) + (list(arguments.command_line(more[0])[0]) if more and more[0] else [])
        case "WORKDIR":
            return [rest] if rest else []
    return None


def without_flags(line: lines.Line) -> lines.Line:
    return lines.Line(keyword=line.keyword, flags=(), rest=line.rest, original=line.original, start=line.start, end=line.end)


@pytest.mark.skipif(importlib.util.find_spec("dockerfile") is None, reason="the package dockerfile has no wheel for this machine")
def test_any_text_is_read_as_dockers_parser_reads_it() -> None:
    source = random.Random(7)
    texts = ["".join(source.choice(WORDS) for _ in range(source.randint(1, 14))) for _ in range(4000)]
    # In a process of its own: the package brings Go's runtime, with its threads and signal handlers.
    ran = subprocess.run([sys.executable, "-P", "-c", ORACLE], input=json.dumps(texts), capture_output=True, text=True, check=True)
    for text, theirs in zip(texts, json.loads(ran.stdout), strict=True):
        ours = as_the_oracle(text)
        if isinstance(ours, str) or isinstance(theirs, str):
            # Blank names are refused by what comes after the parser there.
            assert isinstance(ours, str) == isinstance(theirs, str) or "can not be blank" in ours, (text, ours, theirs)
            continue
        for theirs_line, ours_line in zip(theirs, ours, strict=True):
            keyword, _, is_json, *rest = theirs_line
            known = ours_line[3] is not None
            assert [keyword.upper(), *rest[:1], *(rest[1:2] if known else [None]), *rest[2:]] == [ours_line[0], *ours_line[2:]], text
            assert ours_line[0] not in MAYBE_JSON or is_json == ours_line[1], text
