"""Long blobs are written past the page cache: what is read back is what was given, wherever it was cut, and where a file system has no such thing."""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.errors import NoSpace
from cloudstead.engine.images import direct, ingest
from cloudstead.engine.images.content import ContentStore

MIB = 1 << 20


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "DIRECT_FROM", MIB)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where direct writing began, each time that it did."""
    begun: list[int] = []
    original = direct.DirectWriter.__init__

    def init(self: direct.DirectWriter, path: Path, start: int) -> None:
        original(self, path, start)
        begun.append(start)

    monkeypatch.setattr(direct.DirectWriter, "__init__", init)
    return begun


async def written(store: ContentStore, data: bytes, piece: int, pauses: tuple[int, ...] = ()) -> str:
    at = 0
    for end in (*pauses, len(data)):
        async with store.ingest("upload") as going:
            while at < end:
                some = data[at : min(at + piece, end)]
                await (going.write(some) if at % 2 else going.write_all([some[:100], some[100:]]))
                at += len(some)
            if end == len(data):
                return await going.commit()
    raise AssertionError


def check(store: ContentStore, data: bytes, digest: str) -> None:
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert store.path(digest).read_bytes() == data


@pytest.mark.parametrize("piece", [4096, 65_537, 999_999, 3 * MIB])
@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB + 1, 6 * MIB - 1])
@in_loop
async def test_a_long_blob_is_what_was_given(tmp_path: Path, opened: list[int], size: int, piece: int) -> None:
    store, data = ContentStore(tmp_path), os.urandom(size)
    check(store, data, await written(store, data, piece))
    assert len(opened) == 1
    assert opened[0] % direct.BLOCK == 0


@in_loop
async def test_an_upload_that_was_paused_goes_on_from_any_byte(tmp_path: Path, opened: list[int]) -> None:
    store, data = ContentStore(tmp_path), os.urandom(9 * MIB)
    check(store, data, await written(store, data, 70_001, (3 * MIB + 17, 6 * MIB + 4095)))
    assert len(opened) == 3


@in_loop
async def test_a_paused_upload_is_in_its_file_to_the_last_byte(tmp_path: Path, opened: list[int]) -> None:
    store, data = ContentStore(tmp_path), os.urandom(4 * MIB + 5)
    async with store.ingest("upload") as going:
        await going.write(data[: 2 * MIB])
        await going.write(data[2 * MIB :])
        await asyncio.sleep(0)
    assert store.upload_size("upload") == len(data)
    assert (store.uploads / "upload").read_bytes() == data
    assert opened


@in_loop
async def test_short_blobs_go_through_the_cache(tmp_path: Path, opened: list[int]) -> None:
    store, data = ContentStore(tmp_path), os.urandom(MIB)
    check(store, data, await written(store, data, 10_000))
    assert not opened


@pytest.mark.parametrize("fails", ["open", "write"])
@in_loop
async def test_a_file_system_without_direct_writes_is_written_in_the_usual_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "no such thing here")

    monkeypatch.setattr(direct.DirectWriter, "__init__" if fails == "open" else "_spill", refuse)
    if fails == "open":
        monkeypatch.setattr(direct.DirectWriter, "close", lambda self: None)
    store, data = ContentStore(tmp_path), os.urandom(5 * MIB + 3)
    check(store, data, await written(store, data, 100_000))


@in_loop
async def test_what_came_before_the_disk_was_full_is_kept_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, data = ContentStore(tmp_path), os.urandom(8 * MIB)
    original, calls = direct.DirectWriter._spill, []

    def full(self: direct.DirectWriter, size: int) -> None:
        calls.append(size)
        if len(calls) == 5:
            self._filled = 0
            raise OSError(errno.ENOSPC, "full")
        original(self, size)

    monkeypatch.setattr(direct.DirectWriter, "_spill", full)
    with pytest.raises(NoSpace):
        await written(store, data, MIB)
    monkeypatch.setattr(direct.DirectWriter, "_spill", original)
    kept = store.upload_size("upload")
    assert kept
    async with store.ingest("upload") as going:
        assert going.offset == kept
        await going.write(data[kept:])
        check(store, data, await going.commit())
