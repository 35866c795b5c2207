"""Reading conmon's log files: from anywhere, across rotated ones, while they grow."""

from __future__ import annotations

import asyncio
import calendar
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.engine.pods import logfile
from cloudstead.engine.pods.following import Following
from cloudstead.engine.pods.inotify import Growth
from cloudstead.engine.pods.states import LogRecord
from cloudstead.kernel.clock import SystemClock

EPOCH = calendar.timegm((2026, 1, 2, 3, 4, 5, 0, 0, 0))


def line(second: float, text: str, stream: str = "stdout", tag: str = "F") -> bytes:
    minutes, seconds = divmod(int(second), 60)
    fraction = f"{second - int(second):.9f}"[1:]
    return f"2026-01-02T03:{minutes:02}:{seconds:02}{fraction}+00:00 {stream} {tag} {text}\n".encode()


def written(path: Path, *lines: bytes) -> int:
    path.write_bytes(b"".join(lines))
    return os.open(path, os.O_RDONLY)


def rest(files: list[int], place: logfile.Place) -> list[LogRecord]:
    number, offset = place
    reader, records = logfile.Reader(), []
    for file in files[number:]:
        records += reader.feed(os.pread(file, 1 << 30, offset))
        offset = 0
    return records


def texts(records: list[LogRecord]) -> list[bytes]:
    return [record.data for record in records]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-01-02T03:04:05.678901234+00:00", 0.678901234),
        ("2026-01-02T03:04:05.678901234Z", 0.678901234),
        ("2026-01-02T03:04:05Z", 0.0),
        ("2026-01-02T05:04:05.500000000+02:00", 0.5),
        ("2026-01-01T21:34:05.500000000-05:30", 0.5),
    ],
)
def test_times_are_read_in_every_zone(stamp: str, seconds: float) -> None:
    record = logfile.Reader().parse(f"{stamp} stderr F text".encode())
    assert record is not None
    assert record.time == pytest.approx(EPOCH + seconds, abs=1e-6)
    assert (record.stream, record.data) == ("stderr", b"text\n")


def test_a_partial_record_has_no_line_end_and_spaces_stay() -> None:
    records = logfile.Reader().feed(line(1, "  two  spaces ") + line(2, "begin", tag="P") + line(3, "", tag="F"))
    assert texts(records) == [b"  two  spaces \n", b"begin", b"\n"]


def test_what_is_no_record_is_passed_over() -> None:
    rubbish = b"no record\n\n2026 stdout F x\n2026-01-02T03:04:05Z stdin F x\n2026-01-02T03:04:05Z stdout X x\n\xff\xfe\n"
    assert texts(logfile.Reader().feed(rubbish + line(1, "good") + rubbish)) == [b"good\n"]


def test_pieces_of_any_size_give_the_same_records() -> None:
    data = b"".join(line(n, f"line {n}") for n in range(20))
    for size in (1, 7, 64, 1000):
        reader = logfile.Reader()
        records = [record for at in range(0, len(data), size) for record in reader.feed(data[at : at + size])]
        assert texts(records) == [f"line {n}\n".encode() for n in range(20)]


def test_something_endless_takes_no_memory() -> None:
    reader = logfile.Reader()
    for _ in range(50):
        reader.feed(b"x" * logfile.LONGEST)
    assert len(reader._rest) <= logfile.LONGEST
    assert texts(reader.feed(b"\n" + line(1, "good"))) == [b"good\n"]


def test_the_last_lines_are_found_without_reading_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "log", *(line(n / 1000, "x" * 200) for n in range(20_000)), line(60, "last"))
    read = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    place = logfile.start_of([file], tail=2)
    assert read <= 2 * logfile.BLOCK
    monkeypatch.undo()
    assert texts(rest([file], place)) == [b"x" * 200 + b"\n", b"last\n"]
    os.close(file)


def test_a_stretch_of_time_is_found_by_bisection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "log", *(line(n / 10, "x" * 200) for n in range(20_000)))
    calls = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal calls
        calls += 1
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    place = logfile.start_of([file], since=EPOCH - 245 + 1234.56)
    assert calls < 40
    monkeypatch.undo()
    records = rest([file], place)
    assert len(records) == 20_000 - 12_346
    os.close(file)


def test_a_line_in_pieces_counts_once_and_comes_whole(tmp_path: Path) -> None:
    file = written(
        tmp_path / "log",
        line(1, "first"),
        line(2, "between", "stderr"),
        line(2, "begin ", tag="P"),
        line(2, "middle ", tag="P"),
        line(3, "end"),
        line(4, "open", tag="P"),
    )
    whole = [b"first\n", b"between\n", b"begin ", b"middle ", b"end\n", b"open"]
    for tail, count in [(1, 1), (2, 4), (3, 5), (4, 6), (5, 6)]:
        assert texts(rest([file], logfile.start_of([file], tail=tail))) == whole[-count:]
    os.close(file)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(st.lists(st.tuples(st.integers(0, 3), st.text("ab c", max_size=30)), max_size=12), min_size=1, max_size=4),
    tail=st.integers(0, 40),
    since=st.integers(0, 400).map(lambda eighths: eighths / 8),
)
def test_any_tail_and_time_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, str]]], tail: int, since: float
) -> None:
    folder, now, opened, everything = tmp_path_factory.mktemp("logs"), 0.0, [], []
    for number, lines in enumerate(files):
        data = []
        for step, text in lines:
            now += step / 4
            data.append(line(now, text))
            everything.append((now, text.encode() + b"\n"))
        opened.append(written(folder / str(number), *data))
    base = EPOCH - 245
    try:
        last = texts(rest(opened, logfile.start_of(opened, tail=tail)))
        assert last == [text for _, text in everything][len(everything) - min(tail, len(everything)) :]
        later = texts(rest(opened, logfile.start_of(opened, since=base + since)))
        assert later == [text for when, text in everything if when >= since]
    finally:
        for file in opened:
            os.close(file)


# --------------------------------------------------------------------------------------------------------------- following


class Log:
    """A log that grows and is rotated, as the host would give it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newest = folder / "log"
        self.newest.touch()
        self.opened = 0

    def write(self, *lines: bytes) -> None:
        with self.newest.open("ab") as file:
            file.write(b"".join(lines))

    def rotate(self) -> None:
        number = len(list(self.folder.iterdir()))
        self.newest.rename(self.folder / f"log.{999 - number}")
        self.newest.touch()

    async def open(self) -> list[int]:
        self.opened += 1
        older = sorted((path for path in self.folder.iterdir() if path != self.newest), reverse=True)
        return [os.open(path, os.O_RDONLY) for path in (*older, self.newest)]


def follow(tmp_path: Path, play: Callable[[Log, Following, list[bytes]], Awaitable[None]], growth: Growth | None = None) -> list[bytes]:
    """What a follower has seen when `play` has ended the container."""

    async def run() -> list[bytes]:
        log = Log(tmp_path)
        log.write(line(1, "before"))
        following = Following(log.open, growth or Growth(), SystemClock(), live=True)
        seen: list[bytes] = []

        async def read() -> None:
            async for record in following.read(since=0, until=0, tail=None):
                seen.append(record.data)

        reading = asyncio.ensure_future(read())
        before = len(os.listdir("/proc/self/fd"))
        await play(log, following, seen)
        async with asyncio.timeout(10):
            await reading
        assert len(os.listdir("/proc/self/fd")) <= before
        return seen

    return asyncio.run(run())


async def until(seen: list[bytes], count: int) -> None:
    async with asyncio.timeout(10):
        while len(seen) < count:  # noqa: ASYNC110  (a list tells nobody)
            await asyncio.sleep(0.005)


def test_what_is_written_while_one_reads_is_read_and_the_end_too(tmp_path: Path) -> None:
    async def play(log: Log, following: Following, seen: list[bytes]) -> None:
        await until(seen, 1)
        log.write(line(2, "while"))
        await until(seen, 2)
        log.write(line(3, "at the end"))
        following.ended()

    assert follow(tmp_path, play) == [b"before\n", b"while\n", b"at the end\n"]


def test_half_a_record_waits_for_its_rest(tmp_path: Path) -> None:
    async def play(log: Log, following: Following, seen: list[bytes]) -> None:
        whole = line(2, "in two pieces")
        log.write(whole[:30])
        await asyncio.sleep(0.05)
        log.write(whole[30:])
        await until(seen, 2)
        following.ended()

    assert follow(tmp_path, play) == [b"before\n", b"in two pieces\n"]


def test_reading_goes_on_in_the_next_file_with_nothing_twice_and_nothing_missed(tmp_path: Path) -> None:
    async def play(log: Log, following: Following, seen: list[bytes]) -> None:
        await until(seen, 1)
        for number in range(5):
            log.write(line(number + 2, f"last of {number}"))
            log.rotate()
            log.write(line(number + 2.5, f"first after {number}"))
            following.turned()
            if number % 2:
                await until(seen, 3 + number * 2)
        following.ended()

    wanted = [text for number in range(5) for text in (f"last of {number}\n".encode(), f"first after {number}\n".encode())]
    assert follow(tmp_path, play) == [b"before\n", *wanted]


def test_where_files_cannot_be_watched_they_are_looked_at_again(tmp_path: Path) -> None:
    class Blind(Growth):
        def watch(self, descriptor: int, grown: Callable[[], None]) -> None:
            return None

    async def play(log: Log, following: Following, seen: list[bytes]) -> None:
        await until(seen, 1)
        log.write(line(2, "unseen"))
        await until(seen, 2)
        following.ended()

    assert follow(tmp_path, play, Blind()) == [b"before\n", b"unseen\n"]


def test_many_readers_share_one_watch_and_leave_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        log, growth = Log(tmp_path), Growth()
        before = len(os.listdir("/proc/self/fd"))
        followings = [Following(log.open, growth, SystemClock(), live=True) for _ in range(200)]

        async def read(following: Following) -> list[bytes]:
            return [record.data async for record in following.read(since=0, until=0, tail=None)]

        reading = [asyncio.ensure_future(read(following)) for following in followings]
        await asyncio.sleep(0.3)
        log.write(line(1, "for all"))
        await asyncio.sleep(0.1)
        reading[0].cancel()
        for following in followings:
            following.ended()
        results = await asyncio.gather(*reading, return_exceptions=True)
        assert results[1:] == [[b"for all\n"]] * 199
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(run())


def test_a_quiet_log_costs_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        log = Log(tmp_path)
        following = Following(log.open, Growth(), SystemClock(), live=True)

        async def read() -> None:
            async for _ in following.read(since=0, until=0, tail=None):
                pass

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.2)
        before = os.times().user + os.times().system
        await asyncio.sleep(0.5)
        assert os.times().user + os.times().system - before < 0.1
        following.ended()
        await reading

    asyncio.run(run())
