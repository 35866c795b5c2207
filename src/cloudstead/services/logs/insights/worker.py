"""The process in which one query runs: reads a Job from its standard input, writes an Outcome to its standard output.

It reads the archive's files itself. A query therefore takes no time from the daemon, uses another core, and can be stopped in the middle of
a regular expression. Files may be sorted or merged away under it; then it says so and is started again with a new list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloudstead.services.logs.files import Files
from cloudstead.services.logs.insights.language import parse
from cloudstead.services.logs.insights.rows import Row
from cloudstead.services.logs.insights.stages import MOST_ROWS, Pipeline
from cloudstead.services.logs.journal import Batch
from cloudstead.services.logs.merge import Merge, Source
from cloudstead.services.logs.runs import LAST, Run, pointer
from cloudstead.services.logs.segments import Segment, SegmentSource

_ROWS_AT_ONCE = 1000


class JobGroup(msgspec.Struct):
    """A log group that is queried."""

    uid: int
    label: str  # as @log shows it: "<account>:<name>"
    segments: list[Segment]
    batches: list[Batch]
    streams: dict[int, str]  # uid -> name of those that exist
    since: int = 0  # ms; older events have expired


class Job(msgspec.Struct):
    folder: str
    query: str
    start: int  # ms, inclusive
    end: int  # ms, inclusive
    groups: list[JobGroup]
    limit: int = MOST_ROWS


class Outcome(msgspec.Struct):
    rows: list[dict[str, str]] = []
    matched: float = 0.0
    scanned: float = 0.0
    scanned_bytes: float = 0.0
    stale: bool = False  # a file was gone: try again


class _OfGroup:
    """A source whose runs remember their group: streams are told apart by uid, so a run's stream says which."""

    def __init__(self, group: JobGroup, files: Files) -> None:
        wanted = frozenset(group.streams)
        self.sources: list[Source] = [SegmentSource(files, segment, wanted) for segment in group.segments]
        for batch in group.batches:
            if batch.stream in wanted:
                batch.files = files
                self.sources.append(batch)


def run(job: Job) -> Outcome:
    """Run a query to its end.

    Raises:
        FileNotFoundError: a file was sorted or merged away.
    """
    files = Files(Path(job.folder))
    pipeline = Pipeline(parse(job.query), job.limit)
    groups = {stream: group for group in job.groups for stream in group.streams}
    sources = [source for group in job.groups for source in _OfGroup(group, files).sources]
    merge = Merge(sources, (job.start - 1, LAST[1]), (job.end + 1, 0), descending=True)
    outcome = Outcome()
    rows: list[Row] = []
    for part, start, stop in merge:
        group = groups[part.stream]
        outcome.scanned += stop - start
        rows += _rows(group, part, start, stop)
        if len(rows) >= _ROWS_AT_ONCE:
            pipeline.take(rows)
            rows = []
            if pipeline.done:
                break
    pipeline.take(rows)
    outcome.rows = pipeline.finish()
    outcome.matched = float(pipeline.matched)
    outcome.scanned_bytes = float(merge.scanned)
    return outcome


def _rows(group: JobGroup, part: Run, start: int, stop: int) -> Iterator[Row]:
    stream = group.streams[part.stream]
    for i in reversed(range(start, stop)):
        stamp = part.stamps[i]
        if stamp < group.since:
            return
        message = part.message(i)
        yield Row(
            {
                "@timestamp": stamp,
                "@message": message.decode("utf-8", "replace"),
                "@logStream": stream,
                "@log": group.label,
                "@ingestionTime": part.ingested[i],
                "@ptr": pointer(group.uid, part.stream, part.key(i)),
            },
            message,
        )


def main() -> None:
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    try:
        outcome = run(job)
    except FileNotFoundError:
        outcome = Outcome(stale=True)
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcome))


if __name__ == "__main__":
    main()
