"""What a build finds done already, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from build_support import Builds, builder_on, building, said

from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.kernel.store import Store
from engine_support import running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine())

TEN = """
FROM busybox
ENV a=1
WORKDIR /app
COPY f /app/
RUN echo one > one
RUN cat one f > two
COPY d d
RUN ls d > three
USER nobody
CMD ["cat", "three"]
"""
FILES = {"f": "file\n", "d/x": "x"}


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One engine for all; each test uses names of its own."""
    loop = asyncio.new_event_loop()
    context = building(tmp_path_factory.mktemp("cache"))
    builds = loop.run_until_complete(context.__aenter__())

    def play(scenario: Callable[[Builds], Coroutine[Any, Any, None]]) -> None:
        loop.run_until_complete(scenario(builds))

    try:
        yield play
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


def test_the_same_again_is_the_same_image_without_running_anything(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        first = await b.build(TEN, FILES, tags=("same:1",))
        assert b.cached == 0
        second = await b.build(TEN, FILES, mtime=1000, tags=("same:2",))
        assert b.cached == 9
        assert "Running in" not in b.text
        assert second.id == first.id
        assert set(second.tags) == {"same:1", "same:2"}

    cached(scenario)


def test_a_cached_build_takes_no_time(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build(TEN, FILES)
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(3):
            began = loop.time()
            await b.build(TEN, FILES)
            times.append(loop.time() - began)
        assert min(times) < 0.15

    cached(scenario)


def test_no_cache_runs_everything(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build("FROM busybox\nRUN echo nocache > /x")
        await b.build("FROM busybox\nRUN echo nocache > /x", no_cache=True)
        assert b.cached == 0
        assert "Running in" in b.text

    cached(scenario)


@pytest.mark.parametrize(
    "files",
    [{"f": "other\n"}, {"f": ("file\n", 0o600)}, {"f": ("link", "d/x")}],
    ids=["bytes", "mode", "kind"],
)
def test_a_change_of_a_copied_file_is_seen(cached: Any, files: dict[str, Any]) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = "FROM busybox\nCOPY f /f\nRUN cat /f > /g"
        await b.build(dockerfile, FILES)
        await b.build(dockerfile, {**FILES, **files})
        assert b.cached == 0
        await b.build(dockerfile, {**FILES, "unrelated": "x"})
        assert b.cached == 2

    cached(scenario)


def test_arguments_count_where_they_are_seen(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = "FROM busybox\nRUN echo before > /b\nARG who\nRUN echo $who > /w"
        image = await b.build(dockerfile, build_args={"who": "one"})
        assert said((await b.files(image))["/w"]) == "one\n"
        image = await b.build(dockerfile, build_args={"who": "two"})
        assert b.cached == 2
        assert b.text.count("Running in") == 1
        assert said((await b.files(image))["/w"]) == "two\n"
        await b.build(dockerfile, build_args={"who": "one"})
        assert b.cached == 3
        await b.build(dockerfile, build_args={"who": "one", "HTTP_PROXY": "http://x"})
        assert b.cached == 3
        await b.build(dockerfile, build_args={"who": "one", "unused": "1"})
        assert "[Warning] One or more build-args [unused] were not consumed" in b.text

    cached(scenario)


def test_labels_do_not_make_commands_run_again(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        first = await b.build("FROM busybox\nLABEL v=1\nRUN date > /when")
        second = await b.build("FROM busybox\nLABEL v=2\nRUN date > /when")
        assert b.cached == 1
        assert first.layers[-1] == second.layers[-1]
        assert first.id != second.id

    cached(scenario)


def test_environment_user_and_folder_do(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        await b.build("FROM busybox\nRUN env > /tmp/env")
        for line in ("ENV x=1", "USER nobody", "WORKDIR /tmp", 'SHELL ["/bin/ash", "-c"]'):
            await b.build(f"FROM busybox\n{line}\nRUN env > /tmp/env")
            assert "Running in" in b.text, line

    cached(scenario)


def test_a_secret_is_in_no_key(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s > /n"
        await b.build(dockerfile, secrets={"s": b"one"})
        image = await b.build(dockerfile, secrets={"s": b"three"})
        assert b.cached == 1
        assert said((await b.files(image))["/n"]) == "3\n"

    cached(scenario)


def test_mounted_files_count(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = "FROM busybox\nRUN --mount=type=bind,source=f,target=/f cat /f > /g"
        await b.build(dockerfile, FILES)
        await b.build(dockerfile, {**FILES, "d/x": "changed"})
        assert b.cached == 1
        image = await b.build(dockerfile, {"f": "changed"})
        assert b.cached == 0
        assert said((await b.files(image))["/g"]) == "changed"

    cached(scenario)


def test_another_stage_that_gives_the_same_is_the_same(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = (
            "FROM busybox AS made\nARG n\nRUN echo $n > /n; echo same > /out\nFROM busybox\nCOPY --from=made /out /out\nRUN cat /out"
        )
        await b.build(dockerfile, build_args={"n": "1"})
        await b.build(dockerfile, build_args={"n": "2"})
        assert b.text.count("Running in") == 1
        assert b.cached >= 2

    cached(scenario)


def test_a_failed_command_is_not_remembered(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        for _ in range(2):
            with pytest.raises(Exception, match="non-zero code: 3"):
                await b.build("FROM busybox\nRUN echo try; exit 3")
            assert "try\n" in b.text

    cached(scenario)


def test_two_builds_of_the_same_run_its_commands_once(cached: Any) -> None:
    async def scenario(b: Builds) -> None:
        others = [Builds(b.engine, b.builder) for _ in range(3)]
        dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c,id=once sleep 0.3; echo x >> /c/times; cat /c/times > /times"
        images = await asyncio.gather(*(other.build(dockerfile) for other in others))
        assert len({image.id for image in images}) == 1
        assert said((await b.files(images[0]))["/times"]) == "x\n"

    cached(scenario)


def test_images_that_were_pulled_are_no_cache_unless_they_are_named(cached: Any, tmp_path: Path) -> None:
    async def scenario(b: Builds) -> None:
        dockerfile = "FROM busybox\nCOPY f /f\nRUN echo made > /made\nENV x=1"
        async with running_engine(tmp_path) as other:
            elsewhere = await builder_on(other)
            made = await elsewhere.build(dockerfile, FILES, tags=("from:cache",))
            tar = b"".join([piece async for piece in other.images.save(("from:cache", "busybox:latest"))])
            await elsewhere.builder.stop()
        await b.engine.images.load(_once(tar))
        await b.build(dockerfile, FILES, cache_from=("from:cache",), tags=("from:named",))
        assert b.cached >= 2
        assert "Running in" not in b.text
        named = b.engine.images.resolve("from:named")
        assert [layer.digest for layer in named.layers] == [layer.digest for layer in made.layers]
        await b.build(dockerfile, FILES)
        assert "Running in" in b.text

    cached(scenario)


async def _once(data: bytes) -> Any:
    yield data


def test_the_cache_outlives_the_daemon_and_the_image(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store.open(tmp_path)
        async with running_engine(tmp_path, store=store) as engine:
            b = await builder_on(engine)
            first = await b.build(TEN, FILES, tags=("outlives:1",))
            await engine.images.remove("outlives:1")
            with pytest.raises(NotFound):
                engine.images.resolve(first.id)
            await b.builder.stop()
        await store.close()
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            second = await b.build(TEN, FILES, tags=("outlives:2",))
            assert b.cached == 9
            assert second.id == first.id
            assert said((await b.files(second))["/app/three"]) == "x\n"
            await b.builder.stop()

    asyncio.run(scenario())


def test_pruning_takes_what_no_image_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            await b.build("FROM busybox\nRUN head -c 100000 /dev/zero > /kept", tags=("kept:1",))
            await b.build("FROM busybox\nRUN head -c 200000 /dev/zero > /lost", tags=("lost:1",))
            await b.build(
                "FROM busybox AS side\nRUN --mount=type=cache,target=/c head -c 300000 /dev/zero > /c/f; echo > /s\nFROM side",
                tags=("side:1",),
            )
            await engine.images.remove("lost:1")
            records = await b.builder.records()
            sizes = {record.size: record for record in records}
            assert sizes[100000].shared
            assert not sizes[200000].shared
            assert sizes[300000].kind == "exec.cachemount"
            pruned = await b.builder.prune()
            assert pruned.reclaimed == 500000
            await b.build("FROM busybox\nRUN head -c 100000 /dev/zero > /kept")
            assert b.cached == 1
            await b.build("FROM busybox\nRUN head -c 200000 /dev/zero > /lost")
            assert b.cached == 0
            await b.builder.prune(all=True)
            assert await b.builder.records() == []
            image = engine.images.resolve("kept:1")
            assert "/kept" in await b.files(image)
            await b.build("FROM busybox\nRUN head -c 100000 /dev/zero > /kept")
            assert b.cached == 0
            await b.builder.stop()

    asyncio.run(scenario())


def test_pruning_can_keep_what_was_used_last(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            for n in range(3):
                await b.build(f"FROM busybox\nRUN head -c 100000 /dev/zero > /{n}", tags=("one:1",))
            await engine.images.remove("one:1")
            await engine.images.prune()
            pruned = await b.builder.prune(keep_bytes=150000)
            assert pruned.reclaimed == 200000
            assert len(await b.builder.records()) == 1
            assert (await b.builder.prune(unused_for=3600)).records == ()
            await b.builder.stop()

    asyncio.run(scenario())


def test_a_snapshot_that_is_gone_is_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            image = await b.build("FROM busybox\nRUN echo > /x\nRUN echo > /y")
            chains = await engine.images.layers_of(image.id)
            await engine.images.remove(image.id)
            await engine.snapshots.remove_snapshot(chains[-1])
            again = await b.build("FROM busybox\nRUN echo > /x\nRUN echo > /y")
            assert b.cached == 1
            assert "/y" in await b.files(again)
            await b.builder.stop()

    asyncio.run(scenario())


def test_the_collection_of_images_leaves_the_cache(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_engine(tmp_path) as engine:
            b = await builder_on(engine)
            await b.build("FROM busybox AS made\nRUN echo > /x\nFROM scratch\nCOPY --from=made /x /x", tags=("left:1",))
            await engine.images.remove("left:1")
            await engine.images.collect()
            await b.build("FROM busybox AS made\nRUN echo > /x\nFROM scratch\nCOPY --from=made /x /x")
            assert b.cached == 2
            with pytest.raises(InvalidArgument):
                await b.build("FROM scratch")
            await b.builder.stop()

    asyncio.run(scenario())
