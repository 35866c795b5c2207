"""Images built for real: containers, snapshots, blobs."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from build_support import Builds, builder_on, building, context_tar, said, stream

from cloudstead.engine.build.api import BuildContext, BuildOptions, Built, Output, StepFailed
from cloudstead.engine.errors import InvalidArgument, NotFound, NotPermitted, Unsupported
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import ContainerSpec, PodSpec, Resources
from engine_support import running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One engine for all tests of this module; each call runs a scenario on it."""
    loop = asyncio.new_event_loop()
    context = building(tmp_path_factory.mktemp("build"))
    builds = loop.run_until_complete(context.__aenter__())

    def play(scenario: Callable[[Builds], Coroutine[Any, Any, None]]) -> None:
        loop.run_until_complete(scenario(builds))

    try:
        yield play
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


def test_what_run_writes_is_in_the_image_and_what_it_says_is_told(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox
            RUN echo one > /one; echo out; echo err >&2
            RUN cat /one > /two
            """,
            tags=("real:1",),
        )
        files = await b.files(image)
        assert said(files["/two"]) == "one\n"
        assert Output("out\n") in b.events
        assert Output("err\n", "stderr") in b.events
        assert image.tags == ("real:1",)
        assert "Successfully built " + image.id[7:19] in b.text
        assert b.text.endswith("Successfully tagged real:1\n")
        assert Built(image.id) in b.events
        assert len(image.layers) == 3

    real(scenario)


def test_the_steps_are_told_as_dockers_classic_builder_tells_them(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build('FROM busybox\nRUN echo steps\nCMD ["x"]')
        lines = b.text.splitlines()
        assert lines[0] == "Step 1/3 : FROM busybox"
        assert lines[1].startswith(" ---> ")
        assert len(lines[1]) == 18
        assert lines[2] == "Step 2/3 : RUN echo steps"
        assert lines[3].startswith(" ---> Running in ")
        assert lines[4] == "steps"
        assert lines[5] == " ---> Removed intermediate container " + lines[3][-12:]
        assert lines[7] == 'Step 3/3 : CMD ["x"]'

    real(scenario)


def test_what_run_does_not_change_makes_no_layer(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("FROM busybox\nRUN true")
        assert len(image.layers) == 1
        assert image.config.history[-1].empty_layer

    real(scenario)


def test_a_failed_command_is_told_as_docker_does(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        with pytest.raises(StepFailed) as caught:
            await b.build("FROM busybox\nRUN echo before; exit 7\nRUN echo never")
        assert caught.value.message == "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7"
        assert caught.value.exit_code == 7
        assert Output("before\n") in b.events
        assert "never\n" not in [event.text for event in b.events if isinstance(event, Output)]
        assert b.engine.pods.list_pods("build") == []

    real(scenario)


def test_a_command_that_is_not_there_fails_with_a_sentence(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        with pytest.raises(Exception, match="nothing-of-that-name"):
            await b.build('FROM busybox\nRUN ["nothing-of-that-name"]')

    real(scenario)


def test_environment_arguments_user_and_folder_reach_the_command(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox
            ARG a=1
            ARG b
            ENV c=3 a2=$a
            USER nobody
            WORKDIR /made/deep
            RUN echo "$a $b $c $a2 $(id -u) $(pwd)" > out
            """,
            build_args={"b": "2"},
        )
        files = await b.files(image)
        assert said(files["/made/deep/out"]) == "1 2 3 1 65534 /made/deep\n"
        assert files["/made/deep"].uid == 65534
        env = image.config.config.env or ()
        assert "c=3" in env
        assert not any(variable.startswith(("a=", "b=")) for variable in env)
        assert image.config.history[-1].created_by.startswith("|2 a=1 b=2 /bin/sh -c echo")

    real(scenario)


def test_heredocs_are_scripts_programs_and_input(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox
            RUN <<EOF
            echo script > /script
            echo more >> /script
            EOF
            RUN <<EOF
            #!/bin/awk -f
            BEGIN { print "awk" > "/awk" }
            EOF
            RUN cat <<A > /a && cat <<'B' > /b
            $HOME text
            A
            $HOME stays
            B
            COPY <<one <<-"two" /inline/
            hello $x
            one
            \thello $x
            two
            """,
            build_args={},
        )
        files = await b.files(image)
        assert said(files["/script"]) == "script\nmore\n"
        assert said(files["/awk"]) == "awk\n"
        assert said(files["/a"]) == "/root text\n"
        assert said(files["/b"]) == "$HOME stays\n"
        assert said(files["/inline/one"]) == "hello \n"
        assert said(files["/inline/two"]) == "hello $x\n"
        assert "/dev/pipes" not in files

    real(scenario)


def test_stages_run_side_by_side_and_only_those_that_are_needed(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("""
            FROM busybox AS one
            RUN sleep 1; echo 1 > /one
            FROM busybox AS two
            RUN sleep 1; echo 2 > /two
            FROM busybox AS never
            RUN exit 1
            FROM scratch
            COPY --from=one /one /one
            COPY --from=two /two /two
            """)
        files = await b.files(image)
        assert said(files["/one"]) == "1\n"
        assert said(files["/two"]) == "2\n"
        assert "/bin" not in files
        assert "Step 7/7 : COPY --from=two /two /two" in b.text
        first, second = (b.text.index(f"Step {n}/7") for n in (2, 4))
        assert first < second
        assert "exit 1" not in b.text

    real(scenario)


def test_a_target_stops_at_its_stage(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("FROM busybox AS one\nENV x=1\nFROM one\nENV x=2", target="one")
        assert "x=1" in (image.config.config.env or ())
        with pytest.raises(NotFound, match="failed to reach build target three in Dockerfile"):
            await b.build("FROM busybox", target="three")

    real(scenario)


def test_copy_goes_where_docker_would_put_it(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        files = {"f": ("f", 0o640), "d/a": "a", "d/sub/b": "b", "d/link": ("link", "a"), "x1.txt": "1", "x2.txt": "2"}
        image = await b.build(
            """
            FROM busybox
            RUN mkdir -p /real && ln -s /real /linked && ln -s ../../../../etc/target /out && mkdir /there
            WORKDIR /w
            COPY f /named
            COPY f /folder/
            COPY f /there
            COPY f relative
            COPY d /new
            COPY d /there/
            COPY x*.txt /many/
            COPY f /linked/in
            COPY --chown=nobody:nogroup --chmod=u+x f /owned
            COPY --chown=5 f /five
            COPY --chmod=0700 d /modes/
            """,
            files,
        )
        found = await b.files(image)
        assert found["/named"].mode == 0o640
        assert (found["/named"].uid, found["/named"].gid) == (0, 0)
        for name in (
            "/folder/f",
            "/there/f",
            "/w/relative",
            "/new/a",
            "/new/sub/b",
            "/there/a",
            "/many/x1.txt",
            "/many/x2.txt",
            "/real/in",
        ):
            assert name in found
        assert found["/linked"].issym()
        assert found["/new/link"].linkname == "a"
        assert (found["/owned"].uid, found["/owned"].gid, found["/owned"].mode) == (65534, 65534, 0o740)
        assert (found["/five"].uid, found["/five"].gid) == (5, 5)
        assert found["/modes/sub"].mode == 0o700

    real(scenario)


def test_links_lead_nowhere_outside(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        files = {"up": ("link", "../../../../../../etc/passwd"), "etc/passwd": "mine", "abs": ("link", "/etc/passwd")}
        image = await b.build(
            """
            FROM busybox
            RUN ln -s ../../../../../../root /up && ln -s /root/nowhere /dangling
            COPY up /a
            COPY abs /b
            COPY abs /up/cloudstead-test-secret
            COPY etc/passwd /dangling
            """,
            files,
        )
        found = await b.files(image)
        assert said(found["/a"]) == said(found["/b"]) == "mine"
        assert said(found["/root/cloudstead-test-secret"]) == "mine"
        assert said(found["/root/nowhere"]) == "mine"
        assert "cloudstead-test-secret" not in os.listdir("/root")

    real(scenario)


def test_copying_from_stages_keeps_owners_and_takes_links_and_patterns(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("""
            FROM busybox AS made
            RUN mkdir -p /out/sub && echo a > /out/a.txt && echo b > /out/b.txt && echo c > /out/c.bin && chown 7:8 /out/a.txt
            RUN ln -s a.txt /out/link.txt && ln -s /out/sub /to && echo deep > /out/sub/deep && mkfifo /out/sub/pipe
            FROM scratch
            COPY --from=made /out/*.txt /txt/
            COPY --from=0 /to /linked
            COPY --from=made --parents /out/./sub/deep /parents/
            COPY --from=busybox /etc/passwd /passwd
            """)
        found = await b.files(image)
        assert (found["/txt/a.txt"].uid, found["/txt/a.txt"].gid) == (7, 8)
        assert "/txt/c.bin" not in found
        assert said(found["/txt/link.txt"]) == "a\n"
        assert said(found["/linked/deep"]) == "deep\n"
        assert found["/linked/pipe"].isfifo()
        assert said(found["/parents/sub/deep"]) == "deep\n"
        assert "root:x" in said(found["/passwd"])

    real(scenario)


def test_add_takes_archives_apart(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as tar:
            info = tarfile.TarInfo("in/file")
            info.size, info.uid, info.gid = 3, 11, 12
            tar.addfile(info, io.BytesIO(b"abc"))
        files = {"a.data": inner.getvalue(), "plain.gz": b"\x1f\x8bnot really"}
        image = await b.build("FROM scratch\nADD a.data /x\nADD plain.gz /y/\nCOPY a.data /z\nADD --unpack=false a.data /w", files)
        found = await b.files(image)
        assert said(found["/x/in/file"]) == "abc"
        assert (found["/x/in/file"].uid, found["/x/in/file"].gid) == (11, 12)
        assert found["/y/plain.gz"].isfile()
        assert found["/z"].isfile()
        assert found["/w"].isfile()

    real(scenario)


def test_add_fetches_what_lies_elsewhere_and_checks_it(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            if request.startswith(b"GET /old "):
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /file.txt\r\nContent-Length: 0\r\n\r\n")
            elif request.startswith(b"GET /file.txt "):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\nhello")
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        try:
            image = await b.build(f"FROM scratch\nADD {address}/old /d/\nADD --checksum=sha256:{sha} --chmod=644 {address}/file.txt /f")
            found = await b.files(image)
            assert said(found["/d/file.txt"]) == "hello"
            assert found["/d/file.txt"].mode == 0o600
            assert found["/d/file.txt"].mtime == 1445412480
            assert found["/f"].mode == 0o644
            with pytest.raises(InvalidArgument, match="digest mismatch"):
                await b.build(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {address}/file.txt /f")
            with pytest.raises(NotFound, match="404"):
                await b.build(f"FROM scratch\nADD {address}/nothing /f")
        finally:
            server.close()
            await server.wait_closed()

    real(scenario)


def test_mounts_bring_files_and_leave_no_trace(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox AS made
            RUN mkdir /data && echo from-stage > /data/f && ln -s /etc/passwd /data/evil
            FROM busybox
            WORKDIR /w
            RUN --mount=type=bind,source=src,target=/src cat /src/in > /a && ! touch /src/new 2>/dev/null
            RUN --mount=type=bind,source=src,target=/src,rw touch /src/new && ls /src | wc -l > /b
            RUN --mount=from=made,source=/data,target=/m cat /m/f > /c
            RUN --mount=from=made,target=/all cat /all/data/f > /d
            RUN --mount=type=tmpfs,target=/fast,size=1m df -k /fast | tail -1 | awk '{print $2}' > /e && touch /fast/x
            RUN --mount=type=secret,id=pass,target=/deep/down/pass cat /deep/down/pass | wc -c > /f
            RUN --mount=type=secret,id=pass,env=PASS test ${#PASS} = 11
            RUN --mount=type=bind,source=src/in,target=/one/file cat /one/file > /g
            """,
            {"src/in": "context\n"},
            secrets={"pass": b"s3cr3t-w0rd"},
        )
        found = await b.files(image)
        texts = {name: said(found[name]).strip() for name in ("/a", "/b", "/c", "/d", "/e", "/f", "/g")}
        assert texts == {"/a": "context", "/b": "2", "/c": "from-stage", "/d": "from-stage", "/e": "1024", "/f": "11", "/g": "context"}
        for name in ("/src", "/m", "/all", "/fast", "/deep", "/one", "/dev/pipes"):
            assert name not in found
        assert b"s3cr3t-w0rd" not in b"".join([_blob(b, layer.digest) for layer in image.layers])
        assert "s3cr3t-w0rd" not in repr(image.config)

    real(scenario)


def _blob(b: Builds, digest: str) -> bytes:
    data = (b.engine.data / "blobs" / "sha256" / digest[7:]).read_bytes()
    return gzip.decompress(data)


def test_a_secret_that_is_required_must_be_there(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build("FROM busybox\nRUN --mount=type=secret,id=none test ! -e /run/secrets/none")
        with pytest.raises(InvalidArgument, match="secret none: not found"):
            await b.build("FROM busybox\nRUN --mount=type=secret,id=none,required true")
        with pytest.raises(InvalidArgument, match="no text"):
            await b.build("FROM busybox\nRUN --mount=type=secret,id=s,env=S true", secrets={"s": b"\xff"})

    real(scenario)


def test_cache_mounts_stay_from_build_to_build(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        first = "FROM busybox\nRUN --mount=type=cache,target=/c,id=stays,mode=0770,uid=3 echo kept > /c/file; stat -c '%a %u' /c > /stat"
        image = await b.build(first)
        assert said((await b.files(image))["/stat"]) == "770 3\n"
        for sharing in ("shared", "locked"):
            image = await b.build(f"FROM busybox\nRUN --mount=type=cache,target=/c,id=stays,sharing={sharing} cat /c/file > /{sharing}")
            found = await b.files(image)
            assert said(found[f"/{sharing}"]) == "kept\n"
            assert "/c" not in found
        assert [record.kind for record in await b.builder.records()].count("exec.cachemount") >= 1

    real(scenario)


def test_a_private_cache_that_is_taken_is_another_one(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("""
            FROM busybox AS one
            RUN --mount=type=cache,target=/c,id=alone,sharing=private touch /c/one && sleep 1 && ls /c > /ls
            FROM busybox AS two
            RUN --mount=type=cache,target=/c,id=alone,sharing=private touch /c/two && sleep 1 && ls /c > /ls
            FROM scratch
            COPY --from=one /ls /one
            COPY --from=two /ls /two
            """)
        found = await b.files(image)
        assert said(found["/one"]) == "one\n"
        assert said(found["/two"]) == "two\n"

    real(scenario)


def test_a_bind_of_a_link_shows_nothing_of_the_host(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        with pytest.raises(InvalidArgument):
            await b.build("""
                FROM busybox AS evil
                RUN ln -s /proc/1/root/etc/hostname /x && ln -s /var/lib /y
                FROM busybox
                RUN --mount=from=evil,source=/y,target=/y ls /y
                """)
        with pytest.raises(InvalidArgument):
            await b.build("FROM busybox\nRUN --mount=type=bind,source=up,target=/y ls /y", {"up": ("link", "../../../../etc")})

    real(scenario)


def test_networks_of_commands(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox
            RUN --network=none ip -o link | wc -l > /none
            RUN ip -o -4 addr show eth0 | wc -l > /default
            RUN grep -c '10.1.2.3' /etc/hosts > /hosts
            """,
            extra_hosts=("example:10.1.2.3",),
        )
        found = await b.files(image)
        assert [said(found[name]) for name in ("/none", "/default", "/hosts")] == ["1\n", "1\n", "1\n"]
        with pytest.raises(NotPermitted):
            await b.build("FROM busybox\nRUN --network=host true")
        await b.build("FROM busybox\nRUN --network=host true", network=PodNetwork(mode="host"))

    real(scenario)


def test_limits_hold_for_commands(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        with pytest.raises(StepFailed) as caught:
            await b.build(
                "FROM busybox\nRUN head -c 200000000 /dev/zero | tail -c 190000000 > /dev/null", resources=Resources(memory=32 << 20)
            )
        assert caught.value.exit_code in (137, 1)
        assert "took more memory" in b.text

    real(scenario)


def test_triggers_of_the_base_run_first(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        base = await b.build("FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cp /f /g\nENV x=1", tags=("onbuild:1",))
        assert base.config.config.on_build == ("COPY f /f", "RUN cp /f /g")
        image = await b.build("FROM onbuild:1\nRUN cat /g > /h", {"f": "trigger"})
        assert said((await b.files(image))["/h"]) == "trigger"
        assert not image.config.config.on_build
        assert "# Executing 2 build triggers" in b.text

    real(scenario)


def test_a_trigger_may_name_a_stage_that_nothing_else_needs(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build("FROM busybox\nONBUILD COPY --from=extra /x /y", tags=("onbuild:stage",))
        image = await b.build("FROM busybox AS extra\nRUN echo extra > /x\nFROM onbuild:stage\nENV z=1")
        assert said((await b.files(image))["/y"]) == "extra\n"

    real(scenario)


def test_what_a_stage_said_that_failed_before_its_turn_is_told(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        with pytest.raises(StepFailed, match="non-zero code: 4"):
            await b.build("""
                FROM busybox AS slow
                RUN sleep 20
                FROM busybox
                RUN echo last words; exit 4
                COPY --from=slow /bin /x
                """)
        assert Output("last words\n") in b.events

    real(scenario)


def test_loud_stages_that_share_a_lock_do_not_wait_for_each_other(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        loud = "RUN --mount=type=cache,target=/c,id=loud,sharing=locked seq 1 400000"
        stages = "\n".join(f"FROM busybox AS s{n}\nENV n={n}\n{loud}" for n in range(4))
        async with asyncio.timeout(60):
            await b.build(stages + "\nFROM busybox\n" + "\n".join(f"COPY --from=s{n} /etc /{n}" for n in range(4)))
        assert b.text.count("\n400000\n") == 4

    real(scenario)


def test_a_quiet_build_tells_its_id_alone_and_everything_when_it_fails(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("FROM busybox\nRUN echo quiet", quiet=True)
        assert b.text == f"{image.id}\n"
        with pytest.raises(StepFailed):
            await b.build("FROM busybox\nRUN echo not so quiet; exit 1", quiet=True)
        assert "not so quiet\n" in b.text

    real(scenario)


def test_files_with_several_names_stay_one_file(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox AS made
            RUN mkdir /d && head -c 50000 /dev/zero > /d/a && ln /d/a /d/b && ln /d/a /d/c
            FROM busybox
            COPY --from=made /d /deep/er/
            COPY one two /twice/
            RUN stat -c %h /deep/er/a > /links
            """,
            {"one": "x" * 100, "two": ("hard", "one")},
        )
        found = await b.files(image)
        assert said(found["/links"]) == "3\n"
        assert sum(layer.size for layer in image.layers[1:]) < 5000

    real(scenario)


def test_names_are_looked_up_by_commands(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build("FROM busybox\nRUN grep -c nameserver /etc/resolv.conf > /n")
        found = await b.files(image)
        assert said(found["/n"]).strip() != "0"
        assert said(found["/etc/resolv.conf"]) == "" if "/etc/resolv.conf" in found else True

    real(scenario)


def test_the_configuration_is_what_the_instructions_say(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        image = await b.build(
            """
            FROM busybox
            LABEL a=1 "b c"="d e"
            EXPOSE 80 90-91/udp
            VOLUME /v ["/w"]
            STOPSIGNAL SIGQUIT
            HEALTHCHECK --interval=5s --retries=2 CMD wget -q localhost
            SHELL ["/bin/ash", "-c"]
            ENTRYPOINT echo
            CMD ["x", "y"]
            USER 1:2
            MAINTAINER somebody
            """,
            labels={"z": "given"},
            platform="linux/amd64",
        )
        config = image.config.config
        assert config.labels == {"a": "1", "b c": "d e", "z": "given"}
        assert config.exposed_ports == {"80/tcp": {}, "90/udp": {}, "91/udp": {}}
        assert config.stop_signal == "SIGQUIT"
        assert config.healthcheck is not None
        assert (config.healthcheck.interval, config.healthcheck.retries) == (5_000_000_000, 2)
        assert config.entrypoint == ("/bin/ash", "-c", "echo")
        assert config.cmd == ("x", "y")
        assert config.user == "1:2"
        assert image.config.author == "somebody"
        assert "LABEL z=given" in b.text

    real(scenario)


def test_a_build_that_is_cancelled_leaves_nothing(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        before = set(await b.engine.snapshots.list_writables())
        task = asyncio.ensure_future(b.build("FROM busybox\nRUN --mount=type=cache,target=/c echo begun; sleep 100"))
        async with asyncio.timeout(20):
            while Output("begun\n") not in b.events:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert b.engine.pods.list_pods("build")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert b.engine.pods.list_pods("build") == []
        after = set(await b.engine.snapshots.list_writables()) - before
        assert all(key.startswith("build-cache-") for key in after)

    real(scenario)


def test_at_whatever_moment_a_build_is_cancelled_nothing_of_it_stays(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = """
            FROM busybox AS made
            COPY f /f
            RUN --mount=type=bind,target=/ctx sleep 0.05; cat /ctx/f > /g
            FROM busybox
            COPY --from=made /g /h
            RUN sleep 5
            """
        before = set(await b.engine.snapshots.list_writables())
        for moment in range(14):
            task = asyncio.ensure_future(b.build(dockerfile, {"f": "x"}, no_cache=True))
            await asyncio.sleep(moment * 0.025)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert b.engine.pods.list_pods("build") == []
            assert set(await b.engine.snapshots.list_writables()) <= before

    real(scenario)


def test_a_listener_that_goes_away_ends_the_build(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        async def gone(event: object) -> None:
            if isinstance(event, Output) and "begun" in event.text:
                raise ConnectionResetError("the client has gone")

        tar = context_tar({"Dockerfile": "FROM busybox\nRUN echo begun gone; sleep 100\n"})
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(20):
                await b.builder.build(BuildContext(tar=stream(tar)), BuildOptions(), gone)
        assert b.engine.pods.list_pods("build") == []

    real(scenario)


def test_no_word_of_a_loud_command_is_lost_on_a_slow_reader(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        heard: list[str] = []

        async def slowly(event: object) -> None:
            if isinstance(event, Output):
                heard.append(event.text)
                await asyncio.sleep(0.002)

        tar = context_tar({"Dockerfile": "FROM busybox\nRUN seq 1 200000\n"})
        await b.builder.build(BuildContext(tar=stream(tar)), BuildOptions(), slowly)
        lines = [line for line in "".join(heard).splitlines() if line.isdigit()]
        assert lines == [str(n) for n in range(1, 200001)]

    real(scenario)


def test_what_is_refused_is_refused_with_a_sentence(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        for options in ({"squash": True}, {"outputs": ("x",)}, {"cgroup_parent": "/x"}):
            with pytest.raises(Unsupported):
                await b.build("FROM busybox", **options)
        for dockerfile in (
            "FROM busybox\nRUN --mount=type=ssh true",
            "FROM busybox\nADD https://x.y/z.git /",
            "FROM busybox\nRUN --security=insecure true",
        ):
            with pytest.raises(Unsupported):
                await b.build(dockerfile)
        with pytest.raises(InvalidArgument, match="Cannot locate specified Dockerfile: nothing"):
            await b.build("FROM busybox", dockerfile="nothing")
        with pytest.raises(InvalidArgument, match=r"file not found in build context or excluded by \.dockerignore: stat none"):
            await b.build("FROM busybox\nCOPY none /")
        with pytest.raises(InvalidArgument, match="cannot copy to non-directory: /etc/passwd"):
            await b.build("FROM busybox\nCOPY f /etc/passwd/", {"f": ""})
        with pytest.raises(InvalidArgument, match="it is a file"):
            await b.build("FROM busybox\nWORKDIR /etc/passwd")
        with pytest.raises(InvalidArgument, match="can't find user nosuch"):
            await b.build("FROM busybox\nCOPY --chown=nosuch f /", {"f": ""})
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            await b.build("FROM busybox", tags=("A B",))

    real(scenario)


def test_builds_end_without_traces(real: Any) -> None:
    async def scenario(b: Builds) -> None:
        assert b.engine.pods.list_pods("build") == []
        left = [key for key in await b.engine.snapshots.list_writables() if not key.startswith("build-cache-")]
        assert left == []
        assert str(b.engine.data) not in _mounts()
        spools = [link for fd in os.listdir("/proc/self/fd") if str(b.engine.data / "build") in (link := _link(fd))]
        assert spools == []

    real(scenario)


def _mounts() -> str:
    return Path("/proc/mounts").read_text()


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_after_a_crash_the_next_builder_removes_what_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            await b.build("FROM busybox\nRUN true")
            chains = await engine.images.layers_of(engine.images.resolve("busybox").id)
            await engine.snapshots.mount("build-0123456789ab-1", chains, skeleton=False)
            await engine.pods.create_pod(PodSpec(id="build-0123456789ab-cafe", owner="build", network=PodNetwork(mode="none")))
            id = "ab" * 32
            await engine.pods.create_container("build-0123456789ab-cafe", ContainerSpec(id=id, layers=chains, args=("/bin/sleep", "100")))
            await engine.pods.start(id)
            told = await b.builder.sweep()
            assert len(told) == 2
            assert engine.pods.list_pods("build") == []
            assert await engine.snapshots.list_writables() == ()

    asyncio.run(scenario())
