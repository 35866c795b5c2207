"""A cloud with a log group and a log stream, for tests of the operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import Unavailable
from cloudstead.services.logs import api
from cloudstead.services.logs.controller import Logs
from support import context_in, local_cloud

DAY = 86_400_000
GROUP, STREAM = "/aws/lambda/thumbs", "2026/01/01/[$LATEST]0123"
ARN = f"arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:ship"
KINESIS = "arn:aws:kinesis:us-east-1:000000000000:stream/ship"
ROLE = "arn:aws:iam::000000000000:role/logs"


class ShiftedClock(SystemClock):
    """The machine's clock, set forward by some seconds."""

    shift = 0.0

    def time(self) -> float:
        return super().time() + self.shift


class Recorder:
    """A companion that notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Mapping[str, Any]]] = []
        self.fail = False

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        fail = self.fail  # as it was when the call came: a test that sees the call may change it at once
        self.calls.append((service, operation, parameters))
        await asyncio.sleep(0)  # as any call of another process, it lets others run
        if fail:
            raise Unavailable("away")
        return {}

    def of(self, operation: str) -> list[Mapping[str, Any]]:
        return [parameters for _, name, parameters in self.calls if name == operation]


class Bench:
    """A cloud with one group and one stream, and short words for what tests do most."""

    def __init__(self, cloud: Cloud, clock: ShiftedClock) -> None:
        self.cloud = cloud
        self.clock = clock
        self.ctx = context_in(cloud)
        self.companion = Recorder()
        cloud.companion = self.companion

    @property
    def logs(self) -> Logs:
        logs: Logs = self.cloud.parts["logs"]
        return logs

    @property
    def now(self) -> int:
        return int(self.clock.time() * 1000)

    async def call(self, request: Any) -> Any:
        return await self.ctx.call(request)

    async def put(self, *events: tuple[int, str], group: str = GROUP, stream: str = STREAM) -> api.PutLogEventsResponse:
        answer: api.PutLogEventsResponse = await self.call(
            api.PutLogEventsRequest(
                log_group_name=group,
                log_stream_name=stream,
                log_events=[api.InputLogEvent(timestamp=stamp, message=message) for stamp, message in events],
            )
        )
        return answer

    async def get(self, **how: Any) -> api.GetLogEventsResponse:
        how = {"log_group_name": GROUP, "log_stream_name": STREAM, **how}
        answer: api.GetLogEventsResponse = await self.call(api.GetLogEventsRequest(**how))
        return answer

    async def filter(self, **how: Any) -> api.FilterLogEventsResponse:
        how = {"log_group_name": GROUP, **how}
        answer: api.FilterLogEventsResponse = await self.call(api.FilterLogEventsRequest(**how))
        return answer

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 — what is waited for happens in several places
                await asyncio.sleep(0.02)


@asynccontextmanager
async def bench(data: Path, *, bare: bool = False) -> AsyncIterator[Bench]:
    clock = ShiftedClock()
    async with local_cloud(data, clock=clock) as cloud:
        made = Bench(cloud, clock)
        if not bare:
            await made.call(api.CreateLogGroupRequest(log_group_name=GROUP))
            await made.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        await cloud.ready("logs")
        yield made


def messages(events: list[Any] | None) -> list[str]:
    return [event.message for event in events or ()]


async def subscribe(b: Bench, name: str = "f", destination: str = FUNCTION, pattern: str = "", **more: Any) -> None:
    await b.call(
        api.PutSubscriptionFilterRequest(
            log_group_name=GROUP, filter_name=name, filter_pattern=pattern, destination_arn=destination, **more
        )
    )
