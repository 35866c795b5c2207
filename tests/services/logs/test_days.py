"""Days of log events on virtual time: retention, and deliveries to a destination that is often away."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from logs_bench import GROUP, KINESIS, ROLE, STREAM

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.simulation import DAY, HOUR, Simulation
from cloudstead.services.logs import api
from support import context_in, local_cloud


class Flaky:
    """A Kinesis that is away half of the time, also after it has taken a record."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.calm = True
        self.taken: Counter[str] = Counter()

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if not self.calm and self._sim.random.random() < 0.4:
            raise Unavailable("away")
        message = json.loads(gzip.decompress(parameters["Data"]))
        if message["messageType"] == "DATA_MESSAGE":
            self.taken.update(event["message"] for event in message["logEvents"])
        if not self.calm and self._sim.random.random() < 0.1:
            raise Unavailable("the answer was lost")
        return {}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_is_delivered_and_expires(tmp_path: Path, seed: int) -> None:
    async def scenario(sim: Simulation) -> None:
        async with local_cloud(tmp_path, clock=sim.clock, in_memory=True) as cloud:
            kinesis = cloud.companion = Flaky(sim)
            ctx = context_in(cloud)
            await ctx.call(api.CreateLogGroupRequest(log_group_name=GROUP))
            await ctx.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
            await ctx.call(api.PutRetentionPolicyRequest(log_group_name=GROUP, retention_in_days=3))
            await ctx.call(
                api.PutSubscriptionFilterRequest(
                    log_group_name=GROUP, filter_name="f", filter_pattern="", destination_arn=KINESIS, role_arn=ROLE
                )
            )
            kinesis.calm = False
            put = 0
            for _ in range(100):
                count = sim.random.randint(1, 5)
                stamp = int(sim.clock.time() * 1000)
                events = [api.InputLogEvent(timestamp=stamp, message=f"event {put + i}") for i in range(count)]
                await ctx.call(api.PutLogEventsRequest(log_group_name=GROUP, log_stream_name=STREAM, log_events=events))
                put += count
                await sim.clock.sleep(sim.random.uniform(0, 3 * HOUR))
            kinesis.calm = True
            await sim.clock.sleep(HOUR)
            assert set(kinesis.taken) == {f"event {i}" for i in range(put)}
            shown = await ctx.call(api.FilterLogEventsRequest(log_group_name=GROUP))
            assert 0 < len(shown.events) < put
            assert min(event.timestamp for event in shown.events) >= (sim.clock.time() - 3 * DAY) * 1000
            assert list((tmp_path / "logs" / "groups").glob("*/*.segment"))
            await sim.clock.sleep(5 * DAY)
            assert not list((tmp_path / "logs" / "groups").glob("*/*.segment"))
            assert (await ctx.call(api.FilterLogEventsRequest(log_group_name=GROUP))).events == []

    Simulation(seed).run(scenario)
