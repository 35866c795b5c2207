"""The archive of log events: nothing acknowledged is lost, everything comes out in the order of time, memory and descriptors stay bounded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.logs import archive as archives
from cloudstead.services.logs import journal as journals
from cloudstead.services.logs.archive import Archive, Page
from cloudstead.services.logs.index import plan_merge
from cloudstead.services.logs.merge import Merge
from cloudstead.services.logs.runs import FIRST, LAST, Entry, Key, Run, event_id, key_of
from cloudstead.services.logs.segments import Segment, segments_of

GROUP, STREAM = 7, 11


@asynccontextmanager
async def opened(
    folder: Path, *, rotate_bytes: int = 1 << 20, alive: Callable[[int, int], bool] = lambda group, stream: True
) -> AsyncIterator[Archive]:
    archive = Archive(folder, alive, rotate_bytes)
    await archive.start()
    try:
        yield archive
    finally:
        await archive.close()


async def everything(archive: Archive, group: int = GROUP, streams: frozenset[int] | None = None, **how: object) -> list[Entry]:
    """All pages of a reading."""
    found: list[Entry] = []
    descending = bool(how.get("descending"))
    where: dict[str, Key] = {}
    while True:
        page = await archive.read(group, streams, **how, **where)  # type: ignore[arg-type]
        found += page.entries
        if not page.more:
            return found
        assert page.position is not None
        where = {"before" if descending else "after": page.position}


async def sorted_out(archive: Archive) -> None:
    """Wait until finished journals are sorted and merged."""
    archive.rotate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        await asyncio.sleep(0.005)
        if archive._sorting is not None and archive._sorting.done() and not archive._unsorted and len(archive._journal.numbers) == 1:
            return
    raise AssertionError("the journals were not sorted in time")


def texts(entries: list[Entry]) -> list[bytes]:
    return [entry.message for entry in entries]


async def test_events_come_out_in_the_order_of_time_whatever_the_order_of_their_coming(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 100, [30, 40], [b"c", b"d"])
        await archive.append(GROUP, STREAM, 101, [10, 35], [b"a", b"c2"])
        await archive.append(GROUP, STREAM, 102, [30], [b"c-later"])
        for descending in (False, True):
            found = texts(await everything(archive, descending=descending))
            assert found == [b"a", b"c", b"c-later", b"c2", b"d"][:: -1 if descending else 1]
        await sorted_out(archive)
        assert texts(await everything(archive)) == [b"a", b"c", b"c-later", b"c2", b"d"]
        assert [entry.ingested for entry in await everything(archive)] == [101, 100, 102, 101, 100]


async def test_streams_of_a_group_interleave_and_groups_stay_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, 1, 0, [1, 3, 5], [b"1", b"3", b"5"])
        await archive.append(GROUP, 2, 0, [2, 4], [b"2", b"4"])
        await archive.append(8, 1, 0, [1], [b"other group"])
        for _ in range(2):
            assert texts(await everything(archive)) == [b"1", b"2", b"3", b"4", b"5"]
            assert texts(await everything(archive, streams=frozenset((2,)))) == [b"2", b"4"]
            assert texts(await everything(archive, 8)) == [b"other group"]
            assert texts(await everything(archive, 9)) == []
            await sorted_out(archive)


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 5, [1, 2], [b"a", "ü".encode()])
        seq = archive.last_seq
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"a", "ü".encode()]
        assert archive.last_seq >= seq
        await archive.append(GROUP, STREAM, 6, [3], [b"c"])
        known = archive.contents(GROUP).streams[STREAM]
        assert (known.low, known.high, known.ingested, known.count, known.size) == (1, 3, 6, 3, 4)
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"a", "ü".encode(), b"c"]


@pytest.mark.parametrize("cut", [1, 5, 30])
async def test_a_torn_tail_is_cut_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1], [b"whole"])
        await archive.append(GROUP, STREAM, 0, [2], [b"torn" * 20])
    journal = next((tmp_path / "journal").glob("*.journal"))
    os.truncate(journal, journal.stat().st_size - cut)
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"whole"]
        await archive.append(GROUP, STREAM, 0, [3], [b"after"])
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"whole", b"after"]


async def test_garbage_at_the_end_of_a_journal_is_no_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1], [b"whole"])
    journal = next((tmp_path / "journal").glob("*.journal"))
    with journal.open("ab") as file:
        file.write(random.Random(1).randbytes(5000))
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"whole"]


async def test_a_damaged_journal_that_is_not_the_last_keeps_its_rest_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "_sort_soon", lambda self: None)
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1], [b"first"])
        await archive.append(GROUP, STREAM, 0, [2], [b"second"])
        archive.rotate()
        await archive.append(GROUP, STREAM, 0, [3], [b"third"])
    first = min((tmp_path / "journal").glob("*.journal"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"first", b"third"]
    assert list((tmp_path / "journal").glob("*.damaged"))


async def test_a_crash_between_sorting_and_deleting_the_journal_shows_no_event_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1, 2], [b"a", b"b"])
        first = next((tmp_path / "journal").glob("*.journal"))
        kept = first.read_bytes()
        await sorted_out(archive)
    first.write_bytes(kept)  # as if it had never been deleted
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"a", b"b"]
        await sorted_out(archive)
        assert texts(await everything(archive)) == [b"a", b"b"]


async def test_a_crash_between_merging_and_deleting_what_was_merged_shows_no_event_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        for i in range(7):
            await archive.append(GROUP, STREAM, 0, [i], [b"%d" % i])
            await sorted_out(archive)
        place = tmp_path / "groups" / f"{GROUP:016x}"
        kept = {path: path.read_bytes() for path in place.iterdir()}
        await archive.append(GROUP, STREAM, 0, [7], [b"7"])
        await sorted_out(archive)
        assert len(list(place.iterdir())) == 1
    for path, data in kept.items():
        path.write_bytes(data)
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"%d" % i for i in range(8)]
    assert len(list(place.iterdir())) == 1


async def test_a_damaged_segment_is_left_out_and_the_rest_is_readable(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        for i in range(2):
            await archive.append(GROUP, STREAM, 0, [i], [b"%d" % i])
            await sorted_out(archive)
    path = min((tmp_path / "groups" / f"{GROUP:016x}").iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"1"]


async def test_a_damaged_block_costs_its_own_events_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, 1, 0, [1], [b"lost"])
        await archive.append(GROUP, 2, 0, [2], [b"kept"])
        await sorted_out(archive)
        archive.files.close()
        path = next((tmp_path / "groups" / f"{GROUP:016x}").iterdir())
        data = bytearray(path.read_bytes())
        data[4] ^= 0xFF
        path.write_bytes(data)
        assert texts(await everything(archive)) == [b"kept"]


async def test_whole_segments_expire(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1, 2], [b"old", b"old too"])
        await sorted_out(archive)
        await archive.append(GROUP, STREAM, 0, [100], [b"young"])
        await sorted_out(archive)
        assert archive.expire(GROUP, 2) == 0
        assert archive.expire(GROUP, 3) == 1
        assert texts(await everything(archive)) == [b"young"]
        assert archive.contents(GROUP).streams[STREAM].low == 100
        assert len(list((tmp_path / "groups" / f"{GROUP:016x}").iterdir())) == 1


async def test_a_deleted_group_leaves_nothing_and_a_deleted_stream_goes_with_the_next_sorting(tmp_path: Path) -> None:
    gone: set[int] = set()
    async with opened(tmp_path, alive=lambda group, stream: stream not in gone) as archive:
        await archive.append(GROUP, 1, 0, [1], [b"stays"])
        await archive.append(GROUP, 2, 0, [2], [b"goes"])
        gone.add(2)
        archive.delete_stream(GROUP, 2)
        await sorted_out(archive)
        assert texts(await everything(archive)) == [b"stays"]
        await archive.delete_group(GROUP)
        assert texts(await everything(archive)) == []
        assert not (tmp_path / "groups" / f"{GROUP:016x}").exists()


async def test_events_on_their_way_when_their_stream_is_deleted_leave_no_trace(tmp_path: Path) -> None:
    gone: set[int] = set()
    async with opened(tmp_path, alive=lambda group, stream: stream not in gone) as archive:
        await archive.append(GROUP, 1, 0, [1], [b"stays"])
        late = asyncio.create_task(archive.append(GROUP, 2, 0, [2], [b"goes"]))
        of_a_dead_group = asyncio.create_task(archive.append(GROUP + 1, 3, 0, [2], [b"goes"]))
        await asyncio.sleep(0)
        gone |= {2, 3}
        archive.delete_stream(GROUP, 2)
        await archive.delete_group(GROUP + 1)
        await asyncio.gather(late, of_a_dead_group)
        assert archive.count(GROUP, 1) == 1
        assert archive.count(GROUP, 2) == archive.count(GROUP + 1, 3) == 0
        assert archive.contents(GROUP).size == len(b"stays")
        assert texts(await everything(archive)) == [b"stays"]
        assert GROUP + 1 not in archive.index._batches
    async with opened(tmp_path, alive=lambda group, stream: stream not in gone) as archive:
        assert archive.contents(GROUP).size == len(b"stays")


async def test_what_a_deleted_stream_left_in_segments_does_not_count(tmp_path: Path) -> None:
    gone: set[int] = set()
    async with opened(tmp_path, alive=lambda group, stream: stream not in gone) as archive:
        await archive.append(GROUP, 1, 0, [1], [b"stays"])
        await archive.append(GROUP, 2, 0, [2], [b"goes"])
        await sorted_out(archive)
        gone.add(2)
        archive.delete_stream(GROUP, 2)
        assert archive.contents(GROUP).size == len(b"stays")
    async with opened(tmp_path, alive=lambda group, stream: stream not in gone) as archive:
        assert archive.contents(GROUP).size == len(b"stays")


async def test_a_page_holds_at_most_a_megabyte_and_so_many_events(tmp_path: Path) -> None:
    async with opened(tmp_path, rotate_bytes=32 << 20) as archive:
        for i in range(4):
            await archive.append(GROUP, STREAM, 0, [i] * 10, [b"x" * 50_000] * 10)
        page = await archive.read(GROUP)
        assert page.more
        assert len(page.entries) == (1 << 20) // 50_026
        assert len((await archive.read(GROUP, limit=3)).entries) == 3
        assert len(await everything(archive)) == 40
        assert len(await everything(archive, descending=True)) == 40
        last = await archive.read(GROUP, limit=40)
        assert not (await archive.read(GROUP, after=(3, 0), limit=10)).more
        assert last.more


async def test_an_event_larger_than_a_page_is_still_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1, 2], [b"y" * (1 << 20), b"small"])
        assert len((await archive.read(GROUP)).entries) == 1
        assert len(await everything(archive)) == 2


async def test_a_search_that_finds_nothing_gives_up_after_a_while_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SCAN_BYTES", 1000)
    async with opened(tmp_path) as archive:
        for i in range(50):
            await archive.append(GROUP, i % 3, 0, [i], [b"%04d" % i * 50])
        pages = 0
        after = FIRST
        found: list[Entry] = []
        while True:
            page = await archive.read(GROUP, after=after, test=lambda message: message.startswith(b"0049"), needle=b"0049")
            found += page.entries
            pages += 1
            if not page.more:
                break
            assert page.position is not None
            assert page.position > after
            after = page.position
        assert pages > 5
        assert [entry.timestamp for entry in found] == [49]


async def test_ten_thousand_streams_need_few_descriptors_and_files(tmp_path: Path) -> None:
    async with opened(tmp_path, rotate_bytes=256 << 10) as archive:
        before = len(os.listdir("/proc/self/fd"))
        for start in range(0, 10_000, 500):
            await asyncio.gather(
                *(archive.append(GROUP, stream, 0, [stream], [b"hello from a stream"]) for stream in range(start, start + 500))
            )
        await sorted_out(archive)
        assert len(archive.contents(GROUP).streams) == 10_000
        assert len(os.listdir("/proc/self/fd")) <= before + 70
        assert len(list((tmp_path / "groups" / f"{GROUP:016x}").iterdir())) < 40
        assert texts(await everything(archive, streams=frozenset((4321,)))) == [b"hello from a stream"]
        assert [entry.stream for entry in await everything(archive)] == list(range(10_000))
        assert archive.files.open_count <= 64


async def test_concurrent_callers_share_fsyncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        syncs.append(fd)
        time.sleep(0.002)
        real(fd)

    monkeypatch.setattr(journals.os, "fdatasync", counted)
    async with opened(tmp_path) as archive:
        await asyncio.gather(*(archive.append(group, STREAM, 0, [1], [b"x"]) for group in range(300)))
        assert len(syncs) < 30


async def test_a_disk_that_is_full_refuses_the_events_and_takes_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(GROUP, STREAM, 0, [1], [b"before"])
        real = os.fdatasync

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(journals.os, "fdatasync", full)
        with pytest.raises(OSError, match="No space"):
            await archive.append(GROUP, STREAM, 0, [2], [b"refused"])
        monkeypatch.setattr(journals.os, "fdatasync", real)
        await archive.append(GROUP, STREAM, 0, [3], [b"after"])
        assert texts(await everything(archive)) == [b"before", b"after"]
    async with opened(tmp_path) as archive:
        assert texts(await everything(archive)) == [b"before", b"after"]


async def test_reading_goes_on_while_files_are_sorted_and_merged_away(tmp_path: Path) -> None:
    async with opened(tmp_path, rotate_bytes=2000) as archive:
        written = 0

        async def write() -> None:
            nonlocal written
            for i in range(300):
                await archive.append(GROUP, i % 5, 0, [i], [b"%05d" % i * 20])
                written = i + 1

        async def read() -> None:
            while not writer.done():
                known = written
                found = [entry.timestamp for entry in await everything(archive)]
                assert found == sorted(set(found))
                assert found[:known] == list(range(known))

        writer = asyncio.create_task(write())
        await asyncio.gather(writer, read(), read())
        assert len(await everything(archive)) == 300


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.lists(st.integers(0, 50), min_size=1, max_size=8).map(sorted)),
        st.tuples(st.just("sort"), st.just(0), st.just([])),
        st.tuples(st.just("restart"), st.just(0), st.just([])),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(OPERATIONS, st.integers(-1, 51), st.integers(-1, 51), st.integers(1, 7))
def test_reading_is_what_sorting_a_list_would_be(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, list[int]]], low: int, high: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    expected: list[tuple[int, int, int, bytes]] = []

    async def run() -> None:
        archive = Archive(folder, lambda group, stream: True)
        await archive.start()
        number = 0
        for operation, stream, stamps in operations:
            if operation == "append":
                messages = [b"%d" % (number + i) for i in range(len(stamps))]
                await archive.append(GROUP, stream, 0, stamps, messages)
                expected.extend((stamp, number + i, stream, messages[i]) for i, stamp in enumerate(stamps))
                number += len(stamps)
            elif operation == "sort" and archive._journal._batches:
                await sorted_out(archive)
            elif operation == "restart":
                await archive.close()
                archive = Archive(folder, lambda group, stream: True)
                await archive.start()
        for streams in (None, frozenset((2,)), frozenset((1, 3))):
            wanted = [
                message for stamp, _, stream, message in sorted(expected) if low <= stamp < high and (streams is None or stream in streams)
            ]
            after, before = (low - 1, LAST[1]), (high, 0)
            for descending in (False, True):
                found = await everything_between(archive, streams, after, before, limit, descending)
                assert texts(found) == (wanted[::-1] if descending else wanted)
        await archive.close()

    asyncio.run(run())


async def everything_between(
    archive: Archive, streams: frozenset[int] | None, after: Key, before: Key, limit: int, descending: bool
) -> list[Entry]:
    found: list[Entry] = []
    while True:
        page: Page = await archive.read(GROUP, streams, after=after, before=before, descending=descending, limit=limit)
        assert len(page.entries) <= limit
        found += page.entries
        if not page.more:
            return found
        assert page.position is not None
        if descending:
            before = page.position
        else:
            after = page.position


async def test_a_group_is_read_with_few_blocks_in_memory() -> None:
    alive = most = 0

    class Block:
        def __init__(self, low: int) -> None:
            self.low, self.high = low, low + 9

        def open(self) -> Run:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            n = 10
            return Run(1, range(self.low, self.low + n), (0,) * n, range(self.low, self.low + n), range(1, n + 1), b"x" * n)

    count = 0
    for run, start, stop in Merge([Block(low) for low in range(0, 10_000, 10)]):
        count += stop - start
        if stop == len(run.stamps):
            alive -= 1
    assert count == 10_000
    assert most <= 2


def test_an_event_id_has_56_digits_and_sorts_as_the_events_do() -> None:
    keys = [(0, 0), (0, 1), (1396035378988, 5), (1396035378988, 1 << 40), (1396035378989, 1), (1 << 42, 1)]
    ids = [event_id(key) for key in keys]
    assert ids == sorted(ids)
    assert all(len(each) == 56 for each in ids)
    assert [key_of(each) for each in ids] == keys
    for wrong in ("", "1" * 55, "x" * 56, "٣" * 56):
        with pytest.raises(ValueError):
            key_of(wrong)


def segment(number: int, length: int, high_seq: int = 0) -> Segment:
    return Segment(GROUP, number, number, 0, 0, 0, 0, high_seq, length)


def test_neighbouring_small_segments_are_merged_and_large_ones_left() -> None:
    small = [segment(i, 1000) for i in range(8)]
    assert plan_merge(small, LAST[1]) == small
    assert plan_merge(small[:7], LAST[1]) == []
    assert plan_merge([*small[:4], segment(4, 100 << 20), *small[4:]], LAST[1]) == []
    middle = [segment(i, 2 << 20) for i in range(8)]
    assert plan_merge(middle, LAST[1]) == middle
    assert plan_merge([segment(i, 1000, high_seq=i) for i in range(8)], 6) == []


def test_a_segment_within_another_does_not_count(tmp_path: Path) -> None:
    place = tmp_path / "groups" / f"{GROUP:016x}"
    place.mkdir(parents=True)
    for first, last in ((1, 1), (1, 4), (3, 4), (5, 5), (6, 9), (9, 9)):
        (place / f"{first:010d}-{last:010d}.segment").touch()
    (place / "0000000007-0000000007.writing").touch()
    (place / "unrelated").touch()
    assert list(segments_of(tmp_path, GROUP)) == [(1, 4), (5, 5), (6, 9)]


WRITER = """
import asyncio, sys
from pathlib import Path
from cloudstead.services.logs.archive import Archive

async def main():
    archive = Archive(Path(sys.argv[1]), lambda group, stream: True, 20_000)
    await archive.start()
    async def write(stream):
        n = int(sys.argv[2])
        while True:
            await archive.append(stream % 3, stream, 0, [n, n], [b"%d a" % n, b"%d b" % n])
            print(stream, n, flush=True)
            n += 1
    await asyncio.gather(*(write(stream) for stream in range(8)))

asyncio.run(main())
"""


def killed_while_writing(folder: Path, start: int, seconds: float) -> list[tuple[int, int]]:
    """What a process that writes until it is killed said was acknowledged: (stream, number)."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(start)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines = [first, *process.stdout.read().splitlines()]
    process.wait()
    return [(int(parts[0]), int(parts[1])) for line in lines if len(parts := line.split()) == 2]


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(4)
    acknowledged: dict[int, set[int]] = {}
    for start in range(0, 6_000_000, 1_000_000):
        for stream, number in await asyncio.to_thread(killed_while_writing, tmp_path / "logs", start, chance.uniform(0.05, 0.4)):
            acknowledged.setdefault(stream, set()).add(number)
        async with opened(tmp_path / "logs", rotate_bytes=20_000) as archive:
            for stream, numbers in acknowledged.items():
                found = texts(await everything(archive, stream % 3, frozenset((stream,))))
                assert len(found) == len(set(found))
                missing = {b"%d %s" % (n, each) for n in numbers for each in (b"a", b"b")} - set(found)
                assert not missing
    assert sum(map(len, acknowledged.values())) > 100
