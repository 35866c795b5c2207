"""`docker logs`: what a container has written, and with follow what it writes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

from cloudstead.engine.dockerapi.answers import closing, stream_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.frames import RAW_STREAM, frames
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.parameters import whole
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import InvalidArgument, NotFound, Unsupported
from cloudstead.engine.pods.states import LogRecord
from cloudstead.http.messages import HttpResponse


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    stdout: bool
    stderr: bool
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    since: float = 0.0
    until: float = 0.0
    tail: int | None = None


@route("GET", "/containers/{name}/logs")
async def container_logs(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    now = api.engine.clock.time()
    wanted = Wanted(
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
        details=request.flag("details"),
        since=request.parameters.moment("since", now),
        until=request.parameters.moment("until", now),
        tail=_tail(request.text("tail")),
    )
    if not wanted.stdout and not wanted.stderr:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    if row.host_config.log_config.type == "none":
        raise Unsupported("configured logging driver does not support reading")
    return stream_answer(lines(api, row, wanted), RAW_STREAM)


def _tail(text: str) -> int | None:
    if text in ("", "all"):
        return None
    count = whole("tail", text)
    return None if count < 0 else count


async def lines(api: DockerApi, row: DockerContainer, wanted: Wanted) -> AsyncIterator[bytes]:
    """As it goes over the wire."""
    records = api.engine.pods.logs(row.id, follow=wanted.follow, since=wanted.since, until=wanted.until, tail=wanted.tail)
    begun = {"stdout": True, "stderr": True}  # whether the next record of a stream begins a line
    async with closing(records):
        async for record in _while_there(records):
            if not (wanted.stdout if record.stream == "stdout" else wanted.stderr):
                continue
            data = _prefix(record, wanted) + record.data if begun[record.stream] else record.data
            begun[record.stream] = record.data.endswith(b"\n")
            yield data if row.tty else frames(record.stream, data)


async def _while_there(records: AsyncIterator[LogRecord]) -> AsyncIterator[LogRecord]:
    """The log of a container that is removed meanwhile just ends."""
    with contextlib.suppress(NotFound):
        async for record in records:
            yield record


def _prefix(record: LogRecord, wanted: Wanted) -> bytes:
    prefix = b""
    if wanted.timestamps:
        prefix += f"{fixed_date(record.time)} ".encode()
    if wanted.details:
        prefix += b" "  # labels and variables that a log option names would stand before it
    return prefix


def fixed_date(seconds: float) -> str:
    """With nine digits behind the point, always, so that lines stay aligned. Cut, not rounded: `--since` a line's own time gives that line too."""
    microseconds = int(seconds % 1 * 1e6)  # the fraction alone: the product of the whole could be rounded up
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{microseconds:06d}000Z"
