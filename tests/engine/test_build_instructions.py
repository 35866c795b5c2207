"""What instructions mean, as far as nothing has to run for it: words, files, configurations, stages, what is told."""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from build_support import context_tar, stream, tree_of, tree_of_tar
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.engine.build import configs, copying, globs, modes, mounts, parsing, planning, tars, variables, words
from cloudstead.engine.build.api import Output
from cloudstead.engine.build.context import take_in
from cloudstead.engine.build.copying import Plan, Selection
from cloudstead.engine.build.expanding import expanded
from cloudstead.engine.build.placing import Destination, members, tar_of
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.telling import KEPT, Narrator
from cloudstead.engine.errors import InvalidArgument, NotFound, NotPermitted, Unsupported
from cloudstead.engine.images.api import ExecConfig, Platform
from cloudstead.engine.tar.reader import FILE, SYMLINK
from cloudstead.engine.tar.writer import END

ENV = {"PWD": "/home", "SHELL": "bash", "EMPTY": "", "x": "a b", "path": "/a/b/c.tar.gz", "STAR": "a*b", "ü": "umlaut"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he'llo$PWD'", "hello$PWD"),
        ('he"llo$PWD"', "hello/home"),
        ("hell\\o", "hello"),
        ("hello\\", "hello"),
        ('"hello\\\\"', "hello\\"),
        ('"a\\b\\$c\\""', 'a\\b$c"'),
        ("$", "$"),
        ("$PWD", "/home"),
        ("$PWD-x", "/home-x"),
        ("$PWD_x", ""),
        ("${PWD}_x", "/home_x"),
        ("\\$PWD", "$PWD"),
        ("$1$a", ""),
        ("$ü", "umlaut"),
        ("${NONE:-def}", "def"),
        ("${EMPTY:-def}", "def"),
        ("${EMPTY-def}", ""),
        ("${NONE-def}", "def"),
        ("${PWD:-def}", "/home"),
        ("${PWD:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${NONE+alt}", ""),
        ("${NONE:-${PWD:+in}}", "in"),
        ("${NONE:-'a b'\\}}", "a b}"),
        ("${PWD:?message}", "/home"),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path#/?/}", "b/c.tar.gz"),
        ("${path#nothing}", "/a/b/c.tar.gz"),
        ("${path/b/X}", "/a/X/c.tar.gz"),
        ("${path/a*c/X}", "/X.tar.gz"),
        ("${path//\\//-}", "-a-b-c.tar.gz"),
        ("${STAR/\\*/x}", "axb"),
        ("${STAR#a\\*}", "b"),
        ("${STAR//?/-}", "---"),
        ("'$PWD'\"$PWD\"$PWD", "$PWD/home/home"),
    ],
)
def test_words_are_expanded_as_buildkit_does(text: str, result: str) -> None:
    assert words.expand(text, ENV) == result


@pytest.mark.parametrize(
    "text",
    [
        "'",
        '"',
        "${",
        "${}",
        "${:x}",
        "${PWD",
        "${PWD:-",
        "${PWD:#x}",
        "${PWD!x}",
        "${NONE:?}",
        "${NONE?why}",
        "${EMPTY:?}",
        "${PWD/x}",
        "${PWD/\\x/}",
    ],
)
def test_what_cannot_be_expanded_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="failed to process"):
        words.expand(text, ENV)


def test_the_message_of_a_variable_that_must_be_there_is_told() -> None:
    with pytest.raises(InvalidArgument, match="NONE: set it"):
        words.expand("${NONE:?set it}", ENV)
    with pytest.raises(InvalidArgument, match="NONE: is not allowed to be unset"):
        words.expand("${NONE?}", ENV)


def test_words_are_split_after_variables_were_put_in() -> None:
    assert words.split('$x "$x" c', ENV) == ["a", "b", "a b", "c"]
    assert words.split("  ", ENV) == []


def test_growth_and_depth_are_limited() -> None:
    with pytest.raises(InvalidArgument, match="longer than"):
        words.expand("$a" * 100, {"a": "x" * 10_000})
    with pytest.raises(InvalidArgument, match="longer than"):
        words.expand("${a//x/$b}", {"a": "x" * 10_000, "b": "y" * 100})
    with pytest.raises(InvalidArgument, match="deep"):
        words.expand("${a:-" * 5000 + "}" * 5000, {})


@pytest.mark.parametrize("pattern", ["*a" * 200, "?*" * 500, "*" * 2000, "a*" * 500 + "b"])
def test_no_substitution_takes_long(pattern: str) -> None:
    value = "a" * 100_000
    began = time.process_time()
    for longest in (True, False):
        globs.without_prefix(pattern, value, longest=longest)
        globs.without_suffix(pattern, value, longest=longest)
    globs.replace(pattern, value, "x", everywhere=True)
    assert time.process_time() - began < 3.0


@given(st.text(alphabet="ab*?", max_size=6), st.text(alphabet="abc", max_size=8), st.booleans())
def test_prefixes_and_suffixes_are_what_trying_all_of_them_finds(pattern: str, value: str, longest: bool) -> None:
    def matches(text: str) -> bool:
        return bool(globs.path_pattern(pattern).match(text))

    ends = [n for n in range(len(value) + 1) if matches(value[:n])]
    expected = value[(max if longest else min)(ends) :] if ends else value
    assert globs.without_prefix(pattern, value, longest=longest) == expected
    starts = [n for n in range(len(value) + 1) if matches(value[n:])]
    expected = value[: (min if longest else max)(starts)] if starts else value
    assert globs.without_suffix(pattern, value, longest=longest) == expected


def test_which_instructions_take_variables() -> None:
    def after(text: str) -> Any:
        return expanded(parsing.parse(f"FROM a\n{text}").stages[0].commands[0], {"v": "1", "w": "x y"}, "\\")

    assert after("ENV $v=${v}2 b='$v'").pairs == (("1", "12"), ("b", "$v"))
    assert after('LABEL a="$w"').pairs == (("a", "x y"),)
    assert after("COPY --chown=$v:$v --chmod=$v $v$v /$w/").sources == ("11",)
    assert after("COPY --chown=$v:2 a b").chown == "1:2"
    assert after("EXPOSE $v $w").ports == ("1", "x", "y")
    assert after("USER $v").user == "1"
    assert after("WORKDIR /$v").path == "/1"
    assert after("VOLUME /$v").paths == ("/1",)
    assert after("STOPSIGNAL $v").signal == "1"
    assert after("RUN echo $v").args == ("echo $v",)
    assert after("CMD echo $v").args == ("echo $v",)
    assert after("ONBUILD RUN $v").trigger == "RUN $v"
    file = after("COPY <<E <<'F' /x/\n$v \"q\"\nE\n$v\nF").files
    assert [one.text for one in file] == ['1 "q"\n', "$v\n"]


# ---------------------------------------------------------------------------------------------------------------- arguments


def test_arguments_are_seen_from_their_arg_on() -> None:
    used: set[str] = set()
    arguments = variables.Arguments({"given": "g", "HTTP_PROXY": "p"}, {"outer": "o", "TARGETARCH": "arm64"}, "\\", used)
    command = parsing.parse("FROM a\nARG given=1 outer own=${given}-x TARGETARCH none").stages[0].commands[0]
    assert arguments.visible({}) == {}
    assert arguments.declare(command, {"e": "1"}) == "ARG given=g outer own=g-x TARGETARCH none"  # type: ignore[arg-type]
    assert arguments.visible({"own": "env"}) == {"given": "g", "outer": "o", "own": "env", "TARGETARCH": "arm64"}
    assert arguments.of_run({"own": "env"}) == {"given": "g", "outer": "o", "TARGETARCH": "arm64"}
    assert arguments.proxies() == {"HTTP_PROXY": "p"}
    assert used == {"given", "outer", "own", "TARGETARCH", "none"}


def test_the_platform_is_an_argument() -> None:
    found = variables.platform_arguments(Platform(architecture="arm", variant="v7"), Platform())
    assert found["TARGETPLATFORM"] == "linux/arm/v7"
    assert found["BUILDPLATFORM"] == "linux/amd64"


# ---------------------------------------------------------------------------------------------------------------- stages


def plan(text: str, target: str = "", **arguments: str) -> planning.Plan:
    return planning.make(parsing.parse(text), target, arguments, {"BUILDPLATFORM": "linux/amd64"})


def test_only_what_the_target_reaches_is_planned() -> None:
    text = """FROM a AS one
FROM b AS two
FROM c AS unused
RUN x
FROM one AS four
COPY --from=two x y
RUN --mount=type=bind,from=one,target=/x y
COPY --from=image:tag x y
"""
    made = plan(text)
    assert sorted(made.bases) == [0, 1, 3]
    assert made.waits[3] == {0, 1}
    assert made.bases[3].stage == 0
    assert made.steps == 6
    assert made.first_steps() == {0: 1, 1: 2, 3: 3}
    assert sorted(plan(text, "two").bases) == [1]
    assert sorted(plan(text, "2").bases) == [2]


def test_bases_may_be_arguments() -> None:
    made = plan("ARG v=1\nARG w=${v}2\nFROM --platform=$BUILDPLATFORM a:$w", v="3")
    assert made.bases[0] == planning.Base(image="a:32", platform="linux/amd64")
    with pytest.raises(InvalidArgument, match=r"base name \(\$none\) should not be blank"):
        plan("FROM $none")


def test_a_stage_cannot_take_from_itself_or_a_later_one() -> None:
    with pytest.raises(InvalidArgument, match="refers to current build stage"):
        plan("FROM a\nCOPY --from=0 x y")
    with pytest.raises(InvalidArgument, match="index out of bounds"):
        plan("FROM a\nCOPY --from=1 x y\nFROM b", "0")
    assert plan("FROM a AS x\nCOPY --from=x y z").waits[0] == set()  # then it is an image's name
    with pytest.raises(NotFound, match="failed to reach build target none"):
        plan("FROM a", "none")


# ---------------------------------------------------------------------------------------------------------------- configurations


def applied(config: ExecConfig, text: str, **options: bool) -> tuple[ExecConfig, str]:
    return configs.apply(config, parsing.parse(f"FROM a\n{text}").stages[0].commands[0], **options)


def test_configurations_follow_the_instructions() -> None:
    config, text = applied(ExecConfig(env=("A=1", "B=2")), "ENV A=3 C=4")
    assert (config.env, text) == (("A=3", "B=2", "C=4"), "ENV A=3 C=4")
    config, text = applied(ExecConfig(working_dir="/a"), "WORKDIR ../b/./c")
    assert (config.working_dir, text) == ("/b/c", "WORKDIR /b/c")
    config, text = applied(ExecConfig(shell=("/bin/bash", "-c")), 'CMD echo "x"')
    assert (config.cmd, text) == (("/bin/bash", "-c", 'echo "x"'), 'CMD ["/bin/bash" "-c" "echo \\"x\\""]')
    config, _ = applied(ExecConfig(cmd=("inherited",)), 'ENTRYPOINT ["x"]')
    assert (config.entrypoint, config.cmd) == (("x",), None)
    config, _ = applied(ExecConfig(cmd=("own",)), 'ENTRYPOINT ["x"]', has_cmd=True)
    assert config.cmd == ("own",)
    config, text = applied(ExecConfig(exposed_ports={"1/tcp": {}}), "EXPOSE 80/UDP 90-91")
    assert (set(config.exposed_ports or {}), text) == ({"1/tcp", "80/udp", "90/tcp", "91/tcp"}, "EXPOSE 80/udp 90/tcp 91/tcp")
    config, _ = applied(ExecConfig(healthcheck=None), "HEALTHCHECK NONE")
    assert config.healthcheck is not None
    assert config.healthcheck.test == ("NONE",)
    assert configs.created_by(ExecConfig(), " ENV a=b") == "/bin/sh -c #(nop)  ENV a=b"
    assert configs.with_path(ExecConfig(env=("PATH=/x",))).env == ("PATH=/x",)


@pytest.mark.parametrize("text", ["EXPOSE 70000", "EXPOSE a", "EXPOSE 5-4", "EXPOSE 1/x", "STOPSIGNAL SIGNONE", "STOPSIGNAL 99"])
def test_configurations_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidArgument):
        applied(ExecConfig(), text)


@pytest.mark.parametrize(
    ("text", "before", "folder", "after"),
    [
        ("755", 0o644, False, 0o755),
        ("04711", 0o644, False, 0o4711),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a-w,u+w", 0o666, False, 0o644),
        ("go=", 0o777, False, 0o700),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("g=u", 0o740, False, 0o770),
        ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("u=rw+x", 0o000, False, 0o700),
    ],
)
def test_modes_change_as_chmod_changes_them(text: str, before: int, folder: bool, after: int) -> None:
    assert modes.parse(text)(before, folder) == after


@pytest.mark.parametrize("text", ["99", "10000", "u", "x+r", "u+q", "u+r,", "rw"])
def test_modes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid chmod parameter"):
        modes.parse(text)


# ---------------------------------------------------------------------------------------------------------------- mounts


def mount(text: str) -> mounts.RunMount:
    return mounts.parse(text, lambda word: words.expand(word, {"v": "value"}))


def test_mounts_are_read() -> None:
    assert mount("target=/x") == mounts.RunMount(kind="bind", target="/x", read_only=True)
    assert mount("type=bind,from=a,src=/s,dst=/x,rw") == mounts.RunMount(kind="bind", stage="a", source="/s", target="/x")
    assert mount("type=cache,target=/x/,sharing=locked,mode=0770,uid=1,gid=2") == mounts.RunMount(
        kind="cache", target="/x/", id="/x", sharing="locked", mode=0o770, uid=1, gid=2
    )
    assert mount("type=cache,id=$v,target=/$v").id == "value"
    assert mount("type=tmpfs,target=/x,size=1.5m").size == 3 << 19
    assert mount("type=secret,id=a").target == "/run/secrets/a"
    assert mount("type=secret,id=a,env=A,required") == mounts.RunMount(kind="secret", id="a", env="A", required=True)
    assert mount("type=secret,target=/x/name").id == "name"
    assert mount('"target=/x,y"').target == "/x,y"


@pytest.mark.parametrize(
    "text",
    [
        "type=none,target=/x",
        "type=bind",
        "type=tmpfs,target=/x,id=1",
        "type=secret",
        "type=cache,target=/x,sharing=x",
        "target=/x,foo",
        "target=/x,mode=755",
    ],
)
def test_mounts_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidArgument):
        mount(text)


def test_no_agent_is_there_for_ssh() -> None:
    with pytest.raises(Unsupported):
        mount("type=ssh")


# ---------------------------------------------------------------------------------------------------------------- archives


def raw(*entries: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        raw(("../out", tarfile.REGTYPE, "")),
        raw(("a/../../out", tarfile.REGTYPE, "")),
        raw(("link", tarfile.SYMTYPE, "/etc"), ("link/passwd", tarfile.REGTYPE, "")),
        raw(("hard", tarfile.LNKTYPE, "../../etc/passwd")),
    ],
)
def test_archives_that_lead_out_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises((NotPermitted, InvalidArgument)):
        asyncio.run(tree_of_tar(data, tmp_path))


@pytest.mark.parametrize("data", [b"no tar at all" * 100, context_tar({"a": "x" * 5000})[:3000], b"\x1f\x8b\x08" + b"x" * 600])
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        asyncio.run(tree_of_tar(data, tmp_path))


def test_names_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="deep"):
        asyncio.run(tree_of({"/".join(["a"] * 1500): ""}, tmp_path))


def test_a_tree_follows_links_inside_it(tmp_path: Path) -> None:
    files = {
        "d/f": "content",
        "l": ("link", "d"),
        "abs": ("link", "/d/f"),
        "up": ("link", "../../d/f"),
        "loop": ("link", "loop"),
        "h": ("hard", "d/f"),
    }
    tree = asyncio.run(tree_of(files, tmp_path))

    def content(path: str) -> bytes | None:
        entry = tree.find(path)
        return None if entry is None else tree.read(entry, 100)

    assert content("l/f") == content("abs") == content("up") == content("h") == content("d/../l/./f") == b"content"
    assert content("../../../l/f") == b"content"
    assert content("d/f/x") is None
    with pytest.raises(InvalidArgument, match="too many levels"):
        tree.find("loop")
    tree.close()


def test_every_form_of_compression_is_a_context(tmp_path: Path) -> None:
    import bz2
    import gzip
    import lzma

    from cloudstead.engine.build.api import BuildContext
    from cloudstead.engine.images.transport import Transport
    from cloudstead.kernel.clock import SystemClock

    async def opened(data: bytes) -> str:
        found = await take_in(BuildContext(tar=stream(data)), "Dockerfile", tmp_path, Transport(SystemClock()))
        found.tree.close()
        return found.dockerfile.stages[0].start.base

    tar = context_tar({"Dockerfile": "FROM it"})
    for compress in (
        lambda data: data,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    ):
        assert asyncio.run(opened(compress(tar))) == "it"


@given(
    name=st.text(alphabet=st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=150),
    uid=st.integers(0, 2**31),
    link=st.text(alphabet="ab/", max_size=200),
)
def test_written_tars_are_read_by_others(name: str, uid: int, link: str) -> None:
    kind = SYMLINK if link else FILE
    data = tars.header(name, kind=kind, mode=0o4755, uid=uid, size=0, mtime=5, link=link, xattrs={b"user.x": b"y"}) + END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.uid, member.linkname, member.mode, member.mtime) == (name, uid, link, 0o4755, 5)
    assert member.pax_headers["SCHILY.xattr.user.x"] == "y"


# ---------------------------------------------------------------------------------------------------------------- copying

FILES = {"a.txt": "a", "b.txt": "b", "d/x": "x", "d/s/y": ("y", 0o600), "d/s/skip.md": "", "l": ("link", "d"), "star*": "s", "e/.keep": ""}


NEW = Destination("/", ("to",))


def selected(folder: Path, *patterns: str, **options: Any) -> Plan:
    made = Plan()
    tree = asyncio.run(tree_of(FILES, folder))
    copying.select(made, tree, Selection(patterns=patterns, **options))
    copying.finish(made)
    return made


def placed(made: Plan, *, dest: Destination = NEW, is_folder: bool = False) -> list[str]:
    return [member.name for member in members(made, dest, None, None, is_folder=is_folder)]


def test_what_sources_name(tmp_path: Path) -> None:
    def names(*patterns: str, **options: Any) -> list[str]:
        return [item.name for item in selected(tmp_path, *patterns, **options).items]

    assert names("a.txt") == ["a.txt"]
    assert names("/a.txt", "./b.txt") == ["a.txt", "b.txt"]
    assert names("*.txt") == ["a.txt", "b.txt"]
    assert names("d") == names("l") == names("d/") == names("./d/../d") == ["s", "s/skip.md", "s/y", "x"]
    assert names("d/*") == ["skip.md", "y", "x"]
    assert names("l/x") == ["x"]
    assert names("*/x") == ["x", "x"]
    assert names("star\\*") == ["star*"]
    assert names("d", excludes=("**/*.md",)) == ["s", "s/y", "x"]
    assert names("d", excludes=("s", "!s/y")) == ["s", "s/y", "x"]
    assert names("d/s/y", parents=True) == ["d", "d/s", "d/s/y"]
    assert names("d/./s/y", parents=True) == ["s", "s/y"]
    assert names("**/*.md", parents=True) == ["d", "d/s", "d/s/skip.md"]


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"COPY failed: file not found in build context or excluded by \.dockerignore: stat none"):
        selected(tmp_path, "none")
    with pytest.raises(InvalidArgument, match="forbidden path outside the build context"):
        selected(tmp_path, "../x")
    assert selected(tmp_path, "none*").sources == 0


def test_where_it_goes(tmp_path: Path) -> None:
    one, folder, many = selected(tmp_path, "a.txt"), selected(tmp_path, "d"), selected(tmp_path, "*.txt")
    assert placed(one) == ["to"]
    assert placed(one, is_folder=True) == ["to", "to/a.txt"]
    assert placed(one, dest=Destination("/to", (), True)) == ["a.txt"]
    assert placed(one, dest=Destination("/", ("to",), is_file=True)) == ["to"]
    assert placed(one, dest=Destination("/", ("new", "to"))) == ["new", "new/to"]
    assert placed(folder) == ["to", "to/s", "to/s/skip.md", "to/s/y", "to/x"]
    assert placed(folder, dest=Destination("/to", (), True)) == ["s", "s/skip.md", "s/y", "x"]
    assert placed(many) == ["to", "to/a.txt", "to/b.txt"]
    with pytest.raises(InvalidArgument, match="cannot copy to non-directory: /to"):
        placed(folder, dest=Destination("/", ("to",), is_file=True))


def test_the_digest_is_of_names_modes_owners_and_bytes_not_of_times(tmp_path: Path) -> None:
    def digest(files: dict[str, Any], mtime: int = 0) -> str:
        made = Plan()
        copying.select(made, asyncio.run(tree_of_tar(context_tar(files, mtime=mtime), tmp_path)), Selection(patterns=("d",)))
        copying.finish(made)
        return made.digest

    same = digest({"d/a": "1", "d/b": "2"})
    assert digest({"d/b": "2", "d/a": "1"}, mtime=99) == same
    for other in (
        {"d/a": "1", "d/b": "3"},
        {"d/a": "1", "d/c": "2"},
        {"d/a": ("1", 0o600), "d/b": "2"},
        {"d/a": "1", "d/b": ("link", "2")},
        {"d/a": "1"},
    ):
        assert digest(other) != same


def test_the_tar_of_a_plan_is_what_was_planned(tmp_path: Path) -> None:
    made = selected(tmp_path, "d")
    chmod = modes.parse("g+w")

    async def written() -> bytes:
        found = members(made, Destination("/", ("to",)), (7, 8), chmod, is_folder=False)
        return b"".join([piece async for piece in tar_of(found, 1)])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(written()))) as tar:
        found = {member.name: member for member in tar}
        assert tar.extractfile("to/s/y").read() == b"y"  # type: ignore[union-attr]
    assert all((member.uid, member.gid) == (7, 8) for member in found.values())
    assert found["to/s/y"].mode == 0o620
    assert found["to"].isdir()


# ---------------------------------------------------------------------------------------------------------------- telling


def test_stages_speak_in_the_order_of_the_file(tmp_path: Path) -> None:
    heard: list[str] = []

    async def scenario() -> None:
        async def tell(event: Any) -> None:
            heard.append(event.text)
            await asyncio.sleep(0)

        narrator = Narrator(tell, lambda: Spool(tmp_path))
        narrator.open([2, 0, 1])
        await narrator.channel(2).say("c1 ")
        await narrator.channel(0).say("a1 ")
        await narrator.channel(1).say("b1 ")
        await narrator.channel(0).say("a2 ")
        narrator.channel(0).finish()
        narrator.channel(2).finish()
        await narrator.channel(1).say("b2 ")
        await narrator.drain()
        await narrator.close()

    asyncio.run(scenario())
    assert "".join(heard) == "a1 a2 b1 b2 c1 "


def test_a_stage_that_waits_for_its_turn_is_not_held_up_and_loses_no_word(tmp_path: Path) -> None:
    heard: list[Output] = []

    async def scenario() -> None:
        async def tell(event: Any) -> None:
            heard.append(event)
            await asyncio.sleep(0)

        narrator = Narrator(tell, lambda: Spool(tmp_path))
        narrator.open([0, 1])
        async with asyncio.timeout(20):
            for n in range(30):
                await narrator.channel(1).say(f"{n} " + "x" * (KEPT // 10), error=n % 2 == 1)
            assert narrator.channel(1).size <= KEPT
            narrator.channel(0).finish()
            for n in range(30, 40):
                await narrator.channel(1).say(f"{n} " + "x" * (KEPT // 10))
            await narrator.drain()
        await narrator.close()

    asyncio.run(scenario())
    assert [event.text.split()[0] for event in heard] == [str(n) for n in range(40)]
    assert heard[29].stream == "stderr"


def test_the_stage_that_speaks_goes_no_faster_than_its_listener(tmp_path: Path) -> None:
    async def scenario() -> None:
        listening = asyncio.Event()

        async def tell(event: Any) -> None:
            await listening.wait()

        narrator = Narrator(tell, lambda: Spool(tmp_path))
        narrator.open([0])
        await narrator.channel(0).say("x" * 2 * KEPT)
        await asyncio.sleep(0)
        await narrator.channel(0).say("x" * 2 * KEPT)
        held = asyncio.ensure_future(narrator.channel(0).say("more"))
        await asyncio.sleep(0.05)
        assert not held.done()
        listening.set()
        async with asyncio.timeout(5):
            await held
            await narrator.drain()
        await narrator.close()

    asyncio.run(scenario())
