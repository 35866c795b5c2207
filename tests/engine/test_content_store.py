"""The content store: whole or not at all, resumed, checked, kept as long as needed."""

# ruff: noqa: PT012 - what must fail is a whole block that writes, as its user would have it

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from image_support import collected, run

from cloudstead.engine.errors import Conflict, EngineError, Failed, InvalidArgument, NoSpace, NotFound
from cloudstead.engine.images import ingest as ingests
from cloudstead.engine.images.content import ContentStore
from cloudstead.engine.images.ingest import DigestMismatch


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def names(store: ContentStore) -> list[str]:
    """Everything that lies in it."""
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


async def write(store: ContentStore, data: bytes, size: int = 10_000, *, key: str = "") -> str:
    async with store.ingest(key) as opened:
        for start in range(0, len(data), size):
            await opened.write(data[start : start + size])
        return await opened.commit(sha256(data), len(data))


def test_what_is_written_in_pieces_is_read_by_its_digest(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        data = random.Random(1).randbytes(5_000_003)
        digest = await write(store, data)
        assert digest == sha256(data)
        assert store.size(digest) == len(data)
        assert await collected(store.stream(digest)) == data
        assert await collected(store.stream(digest, 4_999_999)) == data[4_999_999:]
        assert await store.read(digest, 1 << 30) == data
        assert names(store) == [digest[7:]]
        assert store.path(digest).stat().st_mode & 0o777 == 0o444
        await store.settle()

    run(story())


def test_very_many_very_small_pieces_are_written_too(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        data = random.Random(9).randbytes(2_300_001)
        assert await store.read(await write(store, data, 300), 1 << 30) == data

    run(story())


def test_an_empty_blob_is_a_blob(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        digest = await store.put(b"")
        assert digest == sha256(b"")
        assert await store.read(digest) == b""

    run(story())


def test_a_blob_may_have_a_digest_of_sha512(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        wanted = "sha512:" + hashlib.sha512(b"content").hexdigest()
        async with store.ingest() as opened:  # whoever uploads may tell the digest's kind at the end only
            await opened.write(b"content")
            assert await opened.commit(wanted) == wanted
        assert await store.read(wanted) == b"content"
        assert await store.put(b"content", wanted) == wanted
        with pytest.raises(DigestMismatch):
            async with store.ingest(algorithm="sha512") as opened:
                await opened.write(b"other")
                await opened.commit(wanted)
        assert names(store) == [wanted[7:]]

    run(story())


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../../../etc/passwd",
        "sha256:" + "../" * 21 + "a",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "a" * 64 + "\n",
        "../uploads:" + "a" * 64,
        "md5:" + "a" * 32,
        "a" * 64,
        "sha256:" + "a" * 63 + "\0",
        "sha256:" + "\u0661" * 64,
    ],
)
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    store = ContentStore(tmp_path)
    for use in (store.path, store.size, store.open, store.remove, store.claim):
        with pytest.raises(InvalidArgument):
            use(digest)
    with pytest.raises(InvalidArgument):
        run(store.read(digest))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["../x", "a/b", ".", "..", "a" * 129, "a\0b", "a\n", ".hidden"])
def test_the_name_of_an_upload_leads_nowhere_else(tmp_path: Path, key: str) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        with pytest.raises(InvalidArgument):
            await store.open_ingest(key)
        with pytest.raises(InvalidArgument):
            store.upload_size(key)

    run(story())


def test_what_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        with pytest.raises(RuntimeError):
            async with store.ingest() as opened:
                await opened.write(b"x" * 3_000_000)
                raise RuntimeError
        assert names(store) == []

    run(story())


def test_a_wrong_digest_or_size_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        for digest, size in ((sha256(b"b"), None), (sha256(b"a"), 2), ("", 0)):
            with pytest.raises(DigestMismatch):
                async with store.ingest() as opened:
                    await opened.write(b"a")
                    await opened.commit(digest, size)
        with pytest.raises(InvalidArgument):
            await store.put(b"a", sha256(b"b"))
        assert names(store) == []

    run(story())


def test_an_upload_with_a_key_is_gone_on_with(tmp_path: Path) -> None:
    async def story() -> None:
        data = random.Random(2).randbytes(3_500_000)
        store = ContentStore(tmp_path)
        async with store.ingest("up1") as opened:
            await opened.write(data[:1_700_001])
        assert store.upload_size("up1") == 1_700_001
        async with store.ingest("up1") as opened:  # its hash is still known
            assert opened.offset == 1_700_001
            await opened.write(data[1_700_001:2_000_000])
        store = ContentStore(tmp_path)  # a restart
        assert store.upload_size("up1") == 2_000_000
        async with store.ingest("up1") as opened:
            assert opened.offset == 2_000_000
            await opened.write(data[2_000_000:])
            assert await opened.commit(sha256(data)) == sha256(data)
        assert store.upload_size("up1") is None
        assert await store.read(sha256(data), 1 << 30) == data

    run(story())


def test_an_upload_that_somebody_else_has_changed_is_read_again(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        async with store.ingest("up1") as opened:
            await opened.write(b"abcdef")
        os.truncate(store.uploads / "up1", 3)  # as a machine may that lost its power
        async with store.ingest("up1") as opened:
            assert opened.offset == 3
            await opened.write(b"xyz")
            await opened.commit(sha256(b"abcxyz"))

    run(story())


def test_a_blob_is_on_disk_before_it_has_its_name_and_its_folder_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        done.append("sync " + ("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"))
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    async def story() -> None:
        store = ContentStore(tmp_path)
        store.prepare()
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        await store.put(b"content")
        assert done == ["sync file", "rename"]
        await store.settle()
        assert set(done[2:]) == {"sync folder"}
        done.clear()
        await store.settle()
        assert done == [], "nothing is new"

    run(story())


def test_an_upload_that_failed_to_match_can_still_be_gone_on_with_or_discarded(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        async with store.ingest("up1") as opened:
            await opened.write(b"ab")
            with pytest.raises(DigestMismatch):
                await opened.commit(sha256(b"abc"))
        async with store.ingest("up1") as opened:
            await opened.write(b"c")
            await opened.commit(sha256(b"abc"))
        async with store.ingest("up2") as opened:
            await opened.write(b"ab")
        await store.discard_upload("up2")
        assert store.upload_size("up2") is None

    run(story())


def test_two_cannot_write_one_upload_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        async with store.ingest("up1"):
            with pytest.raises(Conflict):
                await store.open_ingest("up1")
        async with store.ingest("up1"):
            pass

    run(story())


def test_many_write_the_same_blob_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        data = random.Random(3).randbytes(2_200_000)
        assert set(await asyncio.gather(*(write(store, data, 90_000) for _ in range(12)))) == {sha256(data)}
        assert names(store) == [sha256(data)[7:]]
        await asyncio.gather(*(store.settle() for _ in range(12)))

    run(story())


def test_more_than_was_allowed_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        with pytest.raises(InvalidArgument, match="larger than 10 bytes"):
            async with store.ingest(limit=10) as opened:
                await opened.write(b"12345678")
                await opened.write(b"9ab")
        with pytest.raises(InvalidArgument):
            await store.read(await store.put(b"x" * 100), 99)

    run(story())


def test_damage_on_disk_is_noticed_when_a_document_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        digest = await store.put(b'{"a": 1}')
        store.path(digest).chmod(0o644)
        store.path(digest).write_bytes(b'{"a": 2}')
        with pytest.raises(Failed, match="damaged"):
            await store.read(digest)

    run(story())


def test_a_link_in_the_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        store.prepare()
        digest = sha256(b"secret")
        (tmp_path / "secret").write_bytes(b"secret")
        store.path(digest).symlink_to(tmp_path / "secret")
        with pytest.raises(EngineError):
            await store.read(digest)
        (store.uploads / "up").symlink_to(tmp_path / "secret")
        with pytest.raises(Failed):
            await store.open_ingest("up")
        assert (tmp_path / "secret").read_bytes() == b"secret"

    run(story())


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingests, "RESERVE", 1 << 60)

    async def story() -> None:
        store = ContentStore(tmp_path)
        with pytest.raises(NoSpace):
            async with store.ingest() as opened:
                for _ in range(3):
                    await opened.write(b"x" * ingests.BATCH)
                await opened.commit()
        assert names(store) == []

    run(story())


def test_after_a_write_that_failed_the_upload_knows_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(4).randbytes(4 * ingests.BATCH)

    async def story() -> None:
        store = ContentStore(tmp_path)
        with pytest.raises(NoSpace):
            async with store.ingest("up") as opened:
                await opened.write(data[: ingests.BATCH])
                await opened.pause()
            async with store.ingest("up") as opened:
                monkeypatch.setattr(ingests, "RESERVE", 1 << 60)
                monkeypatch.setattr(ingests, "RESERVE_CHECK", 0)
                await opened.write(data[ingests.BATCH : 2 * ingests.BATCH])
                await opened.write(data[2 * ingests.BATCH :])
        monkeypatch.undo()
        async with store.ingest("up") as opened:
            assert opened.offset == ingests.BATCH
            await opened.write(data[opened.offset :])
            await opened.commit(sha256(data))

    run(story())


def test_giving_up_in_the_middle_closes_everything(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        data = random.Random(5).randbytes(8 << 20)

        async def endless() -> None:
            async with store.ingest() as opened:
                while True:
                    await opened.write(data)

        for delay in (0.0, 0.001, 0.003, 0.01, 0.02, 0.05):
            task = asyncio.create_task(endless())
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert names(store) == []

    run(story())


def test_a_reader_that_stops_early_leaves_no_descriptor(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        digest = await store.put(b"x" * 3_000_000)
        stream = store.stream(digest)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    run(story())


def test_what_is_leased_or_claimed_is_not_removed(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        leased, claimed, free = [await store.put(data) for data in (b"1", b"2", b"3")]
        with store.lease(leased):
            assert store.claim(claimed)
            assert not store.claim(sha256(b"nothing"))
            assert [store.remove(each) is not None for each in (leased, claimed, free)] == [False, False, True]
        store.unclaim(claimed)
        assert store.remove(leased) is not None
        assert store.remove(claimed) is not None
        assert store.remove(claimed) is None
        with pytest.raises(NotFound):
            store.open(free)
        assert await store.empty_trash() == 3
        assert names(store) == []

    run(story())


def test_old_blobs_and_uploads_are_told_from_young_ones(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        old, refreshed, young = [await store.put(data) for data in (b"1", b"2", b"3")]
        for digest in (old, refreshed):
            os.utime(store.path(digest), (1000, 1000))
        store.refresh(refreshed)
        assert await store.old_blobs(time.time() - 60) == [old]
        for key in ("stale", "busy", "fresh"):
            async with store.ingest(key) as opened:
                await opened.write(b"part")
        for key in ("stale", "busy"):
            os.utime(store.uploads / key, (1000, 1000))
        async with store.ingest("busy"):
            assert await store.drop_old_uploads(time.time() - 60) == ["stale"]
        assert store.upload_size("stale") is None
        assert store.upload_size("fresh") == 4
        assert store.has(young)

    run(story())


KILLED = """
import asyncio, os, sys
from pathlib import Path
from cloudstead.engine.images.content import ContentStore
async def main():
    store = ContentStore(Path(sys.argv[1]))
    seed = int(sys.argv[2])
    while True:
        seed += 1
        async with store.ingest() as opened:
            for part in range(20):
                await opened.write(bytes([seed % 256]) * 30_000 + str(seed * part).encode())
            digest = await opened.commit()
        await store.settle()
        os.write(1, digest.encode() + b"\\n")
asyncio.run(main())
"""


def test_a_killed_writer_leaves_only_whole_blobs_and_all_it_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    for number in range(4):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(number * 1000)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        first = process.stdout.readline()  # it has begun
        time.sleep(0.01 + 0.03 * number)
        process.send_signal(signal.SIGKILL)
        told += [first.decode().strip(), *(line for line in process.stdout.read().decode().split("\n") if len(line) == 71)]
        process.wait()
        process.stdout.close()
    store = ContentStore(tmp_path)
    here = [f"sha256:{path.name}" for path in (store.root / "sha256").iterdir()]
    assert set(told) <= set(here)
    assert len(told) >= 4
    for digest in here:
        assert sha256(store.path(digest).read_bytes()) == digest

    async def story() -> None:
        await store.drop_old_uploads(time.time() + 60)
        await store.empty_trash()
        assert len(names(store)) == len(here)

    run(story())


async def _noise(stop: asyncio.Event) -> AsyncIterator[float]:
    """How late the loop is."""
    while not stop.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        yield time.perf_counter() - begun


def test_the_loop_goes_on_while_much_is_hashed(tmp_path: Path) -> None:
    async def story() -> None:
        store = ContentStore(tmp_path)
        stop = asyncio.Event()
        late: list[float] = []

        async def watch() -> None:
            async for delay in _noise(stop):
                late.append(delay)

        task = asyncio.create_task(watch())
        block = b"x" * (256 << 10)
        async with store.ingest() as opened:
            for _ in range(400):
                await opened.write(block)
            await opened.commit()
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # Hashing 100 MiB in the loop would hold it for more than 50 ms at a time; a busy machine may do so once in a while.
        assert sorted(late)[len(late) // 2] < 0.03

    run(story())
