"""awslogs: what the containers of a task write becomes events of a log stream, `<prefix>/<container>/<task>`.

A follower for each container reads what the engine keeps and sends it in batches, in the name of the execution role. How far it is stands in a row,
so that a new daemon goes on from there; what was sent and not yet noted when the old one died is sent again.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.api import Driver
from cloudstead.engine.pods.states import LogRecord
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ecs.definition import ContainerDefinition
from cloudstead.services.ecs.tasks.model import LOG_POSITIONS, LogPosition, Task
from cloudstead.services.ecs.tasks.roles import CannotAssume
from cloudstead.services.logs import api as logs_api

log = logging.getLogger(__name__)

LONGEST: Final = 256 * 1024 - 26  # bytes of an event
MOST_EVENTS: Final = 1000  # of a batch
MOST_BYTES: Final = 512 << 10
GATHER: Final = 0.25  # seconds
ATTEMPTS: Final = 5


class Target(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    stream: str
    region: str
    create: bool
    begins: str = ""  # the pattern with which an event of several lines begins


def target_of(row: Task, each: ContainerDefinition, container: str) -> Target | None:
    """None: it has another log driver, or none."""
    configuration = each.log_configuration
    if configuration is None or configuration.log_driver != "awslogs":
        return None
    options = configuration.options or {}
    prefix = options.get("awslogs-stream-prefix", "")
    return Target(
        group=options.get("awslogs-group", ""),
        stream=f"{prefix}/{each.called}/{row.id}" if prefix else container,
        region=options.get("awslogs-region", row.region),
        create=options.get("awslogs-create-group", "false").lower() == "true",
        begins=options.get("awslogs-multiline-pattern", "") or of_dates(options.get("awslogs-datetime-format", "")),
    )


def of_dates(format: str) -> str:
    """The pattern of a date in strftime's words, as the awslogs driver makes it."""
    words = {
        "%A": r"\w+",
        "%a": r"\w{3}",
        "%B": r"\w+",
        "%b": r"\w{3}",
        "%p": r"[AP]M",
        "%Z": r"[A-Z]+",
        "%z": r"[+-]\d{4}",
        "%Y": r"\d{4}",
        "%%": "%",
    }
    words |= {"%f": r"\d{6}", "%j": r"\d{3}", "%L": r"\.\d{3}", "%w": r"\d", "%-d": r"\d{1,2}"}
    pieces = re.split(r"(%-?.)", format)
    return "".join(words.get(piece, r"\d{2}" if piece.startswith("%") else re.escape(piece)) for piece in pieces)


async def make_stream(ctx: Context, target: Target) -> None:
    """Raises ServiceError."""
    ctx = ctx.replace(region=target.region)
    if target.create:
        with contextlib.suppress(logs_api.ResourceAlreadyExistsException):
            await ctx.call(logs_api.CreateLogGroupRequest(log_group_name=target.group))
    with contextlib.suppress(logs_api.ResourceAlreadyExistsException):
        await ctx.call(logs_api.CreateLogStreamRequest(log_group_name=target.group, log_stream_name=target.stream))


class Lines:
    """Records become events: a line each, or several where a pattern says what begins one. Pure."""

    def __init__(self, begins: str = "") -> None:
        try:
            self._begins = re.compile(begins) if begins else None
        except re.error:
            self._begins = None
        self._open: dict[str, tuple[float, bytes]] = {}  # lines without an end yet, by stream
        self._event: tuple[float, str] | None = None  # that may have more lines

    def take(self, record: LogRecord) -> list[tuple[float, str]]:
        since, known = self._open.pop(record.stream, (record.time, b""))
        data = known + record.data
        if not data.endswith(b"\n") and len(data) < LONGEST:
            self._open[record.stream] = (since, data)
            return []
        return self._line(since, data.rstrip(b"\r\n").decode(errors="replace"))

    def _line(self, time: float, line: str) -> list[tuple[float, str]]:
        if self._begins is None:
            return [(time, line)] if line else []
        if self._event is not None and not self._begins.search(line):
            self._event = (self._event[0], f"{self._event[1]}\n{line}")
            return []
        done, self._event = self._event, (time, line)
        return [done] if done is not None else []

    def rest(self) -> list[tuple[float, str]]:
        found = [event for time, data in self._open.values() for event in self._line(time, data.decode(errors="replace"))]
        self._open.clear()
        if self._event is not None:
            found.append(self._event)
            self._event = None
        return found


class Follower:
    """One container's output on its way."""

    def __init__(self, cloud: Cloud, driver: Driver, container: str, target: Target, context: Callable[[], Awaitable[Context]]) -> None:
        self._cloud = cloud
        self._driver = driver
        self._container = container
        self._target = target
        self._context = context
        self._waiting: list[tuple[float, str]] = []
        self._position = (0.0, 0)  # behind what was read last
        self._any = asyncio.Event()
        self._ended = False
        self._room = asyncio.Event()
        self._room.set()
        self._task = asyncio.ensure_future(self._live())

    async def over(self) -> None:
        """All that was written is delivered, or given up."""
        await asyncio.wait([self._task])

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _live(self) -> None:
        reading = asyncio.ensure_future(self._read())
        try:
            while not self._ended or self._waiting:
                await self._any.wait()
                if not self._ended:
                    await self._cloud.clock.sleep(GATHER)
                self._any.clear()
                while self._waiting:
                    await self._send()
                if self._ended:
                    self._any.set()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the output of container %s is not delivered any more", self._container)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self) -> None:
        lines = Lines(self._target.begins)
        known = self._cloud.store.table(LOG_POSITIONS).get((self._container,))
        since, skip = (known.time, known.count) if known is not None else (0.0, 0)
        try:
            async for record in self._driver.logs(self._container, follow=True, since=since):
                if record.time == since and skip:
                    skip -= 1
                    continue
                self._position = (record.time, self._position[1] + 1 if record.time == self._position[0] else 1)
                self._take(lines.take(record))
                await self._room.wait()
        except EngineError as error:
            log.warning("the output of container %s cannot be read: %s", self._container, error)
        finally:
            self._take(lines.rest())
            self._ended = True
            self._any.set()

    def _take(self, events: list[tuple[float, str]]) -> None:
        self._waiting += [(time, line.encode()[:LONGEST].decode(errors="ignore")) for time, line in events if line]
        if self._waiting:
            self._any.set()
        if len(self._waiting) >= 10 * MOST_EVENTS:
            self._room.clear()

    def _batch(self) -> list[tuple[float, str]]:
        size, count = 0, 0
        for _, line in self._waiting[:MOST_EVENTS]:
            size += len(line) * 4 + 26
            if count and size > MOST_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _send(self) -> None:
        position = self._position
        batch = self._batch()
        latest = 0
        events = []
        for time, line in batch:
            latest = max(latest, int(time * 1000))
            events.append(logs_api.InputLogEvent(timestamp=latest, message=line))
        request = logs_api.PutLogEventsRequest(log_group_name=self._target.group, log_stream_name=self._target.stream, log_events=events)
        for attempt in range(ATTEMPTS):
            try:
                await (await self._context()).replace(region=self._target.region).call(request)
                break
            except (ServiceError, CannotAssume) as error:
                log.warning("the output of container %s is refused: %s", self._container, error)
                await self._cloud.clock.sleep(min(5.0, 0.5 * 2**attempt))
        if not self._waiting:
            self._room.set()
            with self._cloud.store.transaction() as tx:
                tx.put(LOG_POSITIONS, LogPosition(container=self._container, time=position[0], count=position[1]))
