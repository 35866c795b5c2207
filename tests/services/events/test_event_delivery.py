"""Delivery: from events to targets, on virtual time; retries, dead letters, restarts, schedules, replays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloudstead.kernel.clock import NEW_YEAR_2026, VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError, Unavailable
from cloudstead.kernel.events import Bus, event
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.simulation import Simulation
from cloudstead.kernel.store import MemoryBackend, Store
from cloudstead.services import SERVICES
from cloudstead.services.events import api
from cloudstead.services.events.model import DELIVERIES, FIRINGS
from support import context_in

QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
LOST = "arn:aws:sqs:us-east-1:000000000000:lost"
HOUR, DAY = 3600.0, 86_400.0


class Missing(ServiceError):
    code = "AWS.SimpleQueueService.NonExistentQueue"


class Companion:
    """Remembers the calls; fails as it is told."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.calls: list[tuple[float, str, Mapping[str, Any]]] = []
        self.failing: dict[str, Exception] = {}  # queue name -> what it answers
        self.attempts: list[float] = []

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        name = str(parameters.get("QueueUrl", "")).rpartition("/")[2]
        self.attempts.append(self.clock.time())
        await asyncio.sleep(0)
        if name in self.failing:
            raise self.failing[name]
        self.calls.append((self.clock.time(), f"{service}:{operation}", parameters))
        return {}

    def bodies(self, queue: str = "q") -> list[Any]:
        return [json.loads(told["MessageBody"]) for _, _, told in self.calls if str(told.get("QueueUrl")).endswith(f"/{queue}")]


class World:
    """What outlives the daemon."""

    def __init__(self, sim: Simulation, path: Path) -> None:
        self.sim, self.path = sim, path
        self.backend = MemoryBackend()
        self.companion = Companion(sim.clock)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Cloud]:
        """One run of the daemon."""
        store = Store.in_memory(self.backend, clock=self.sim.clock)
        bus = Bus(store, self.sim.clock)
        cloud = Cloud(data=self.path, store=store, clock=self.sim.clock, bus=bus, registry=Registry(SERVICES))
        cloud.companion = self.companion
        await cloud.ready("events")
        try:
            yield cloud
        finally:
            await cloud.close()
            await bus.close()
            await store.close()


def run(tmp_path: Path, scenario: Any) -> None:
    async def whole(sim: Simulation) -> None:
        await scenario(World(sim, tmp_path))

    Simulation(1).run(whole)


async def put_rule(ctx: Context, *targets: api.Target, name: str = "r", pattern: Any = None, **more: Any) -> str:
    text = json.dumps(pattern or {"source": ["shop"]}) if "schedule_expression" not in more else None
    arn = (await ctx.call(api.PutRuleRequest(name=name, event_pattern=text, **more))).rule_arn
    if targets:
        await ctx.call(api.PutTargetsRequest(rule=name, targets=list(targets), event_bus_name=more.get("event_bus_name")))
    return str(arn)


async def put_event(ctx: Context, detail: Any = None, **more: Any) -> str:
    entry = api.PutEventsRequestEntry(source="shop", detail_type="Order", detail=json.dumps(detail or {}), **more)
    answer = await ctx.call(api.PutEventsRequest(entries=[entry]))
    assert answer.failed_entry_count == 0
    return str(answer.entries[0].event_id)


def test_an_event_reaches_each_target_of_each_matching_rule(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            ctx = context_in(cloud)
            await put_rule(ctx, api.Target(id="a", arn=QUEUE), api.Target(id="b", arn=QUEUE.replace(":q", ":p")))
            await put_rule(ctx, api.Target(id="a", arn=QUEUE), name="two", pattern={"detail": {"n": [1]}})
            await put_rule(ctx, api.Target(id="a", arn=QUEUE), name="three", pattern={"detail": {"n": [2]}})
            id = await put_event(ctx, {"n": 1})
            await world.sim.clock.sleep(1)
            assert [one["id"] for one in world.companion.bodies()] == [id, id]
            assert len(world.companion.bodies("p")) == 1
            assert len(ctx.table(DELIVERIES)) == 0

    run(tmp_path, scenario)


def test_an_event_that_nobody_wants_writes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            ctx = context_in(cloud)
            await put_rule(ctx, api.Target(id="a", arn=QUEUE), pattern={"source": ["other"]})
            await cloud.store.settled()
            writes = 0
            write = world.backend.write

            def counted(batch: Any) -> None:
                nonlocal writes
                writes += 1
                write(batch)

            world.backend.write = counted  # type: ignore[method-assign]
            await put_event(ctx)
            await cloud.store.settled()
            assert writes == 0
            await put_rule(ctx, name="mine")
            await cloud.store.settled()
            writes = 0
            await put_event(ctx)  # a rule without targets
            await cloud.store.settled()
            assert writes == 0

    run(tmp_path, scenario)


def test_each_target_gets_what_its_kind_asks_for(tmp_path: Path) -> None:
    role = "arn:aws:iam::000000000000:role/r"
    there = "us-east-1:000000000000"
    targets = [
        api.Target(id="1", arn=QUEUE + ".fifo", sqs_parameters=api.SqsParameters(message_group_id="g")),
        api.Target(id="2", arn=f"arn:aws:sns:{there}:topic", input='{"a":1}'),
        api.Target(
            id="3",
            arn=f"arn:aws:kinesis:{there}:stream/s",
            role_arn=role,
            kinesis_parameters=api.KinesisParameters(partition_key_path="$.detail.k"),
        ),
        api.Target(id="4", arn=f"arn:aws:firehose:{there}:deliverystream/d", role_arn=role, input_path="$.detail"),
        api.Target(id="5", arn=f"arn:aws:states:{there}:stateMachine:m", role_arn=role, input_path="$.detail"),
    ]

    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            await put_rule(context_in(cloud), *targets)
            id = await put_event(context_in(cloud), {"k": "key"})
            await world.sim.clock.sleep(1)
            told = {operation: parameters for _, operation, parameters in world.companion.calls}
            assert told["sqs:SendMessage"]["MessageGroupId"] == "g"
            assert told["sns:Publish"] == {"TopicArn": f"arn:aws:sns:{there}:topic", "Message": '{"a":1}'}
            assert told["kinesis:PutRecord"]["PartitionKey"] == "key"
            assert json.loads(told["kinesis:PutRecord"]["Data"])["id"] == id
            assert told["firehose:PutRecord"] == {"DeliveryStreamName": "d", "Record": {"Data": b'{"k":"key"}'}}
            assert told["states:StartExecution"]["input"] == '{"k":"key"}'
            assert told["states:StartExecution"]["name"].startswith(id)

    run(tmp_path, scenario)


def test_a_target_that_is_away_for_hours_gets_its_events_when_it_is_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.companion.failing["q"] = Unavailable("away")
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE))
            await put_event(context_in(cloud), {"n": 1})
            await world.sim.clock.sleep(2 * HOUR)
            pauses = [b - a for a, b in zip(world.companion.attempts, world.companion.attempts[1:], strict=False)]
            assert pauses[0] <= 1.01
            assert all(later <= 600.01 for later in pauses)
            assert pauses[-1] > 299
        async with world.life():  # a restart in between
            world.companion.failing.clear()
            await world.sim.clock.sleep(700)
            assert [one["detail"] for one in world.companion.bodies()] == [{"n": 1}]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("failure", "policy", "attributes"),
    [
        (Missing("gone"), None, {"ERROR_CODE": "NO_RESOURCE", "RETRY_ATTEMPTS": "0"}),
        (Unavailable("away"), api.RetryPolicy(maximum_retry_attempts=2),
         {"ERROR_CODE": "ERROR_FROM_TARGET", "RETRY_ATTEMPTS": "2", "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts"}),
        (Unavailable("away"), api.RetryPolicy(maximum_event_age_in_seconds=60),
         {"ERROR_CODE": "ERROR_FROM_TARGET", "EXHAUSTED_RETRY_CONDITION": "MaximumEventAgeInSeconds"}),
        (OSError("no route"), api.RetryPolicy(maximum_retry_attempts=0), {"ERROR_CODE": "CONNECTION_FAILURE", "ERROR_MESSAGE": "no route"}),
    ],
)  # fmt: skip
def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(
    tmp_path: Path, failure: Exception, policy: api.RetryPolicy | None, attributes: dict[str, str]
) -> None:
    async def scenario(world: World) -> None:
        world.companion.failing["q"] = failure
        async with world.life() as cloud:
            dead = api.DeadLetterConfig(arn=LOST)
            arn = await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE, retry_policy=policy, dead_letter_config=dead))
            id = await put_event(context_in(cloud), {"n": 1})
            await world.sim.clock.sleep(HOUR)
            assert [one["id"] for one in world.companion.bodies("lost")] == [id]
            told = {name: value["StringValue"] for name, value in world.companion.calls[-1][2]["MessageAttributes"].items()}
            assert told["RULE_ARN"] == arn
            assert told["TARGET_ARN"] == QUEUE
            assert told | attributes == told
            assert len(context_in(cloud).table(DELIVERIES)) == 0

    run(tmp_path, scenario)


def test_without_a_dead_letter_queue_an_event_is_given_up_after_a_day(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.companion.failing["q"] = Unavailable("away")
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE))
            await put_event(context_in(cloud))
            await world.sim.clock.sleep(20 * HOUR)
            assert len(context_in(cloud).table(DELIVERIES)) == 1
            await world.sim.clock.sleep(4 * HOUR)
            assert len(context_in(cloud).table(DELIVERIES)) == 0
            assert len(world.companion.attempts) <= 186

    run(tmp_path, scenario)


def test_a_target_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.companion.failing["q"] = Unavailable("away")
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE), api.Target(id="b", arn=QUEUE.replace(":q", ":p")))
            for n in range(100):
                await put_event(context_in(cloud), {"n": n + 1})
            await world.sim.clock.sleep(2)
            assert sorted(one["detail"]["n"] for one in world.companion.bodies("p")) == list(range(1, 101))

    run(tmp_path, scenario)


def test_events_of_a_target_that_was_removed_are_not_sent_any_more(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.companion.failing["q"] = Unavailable("away")
        async with world.life() as cloud:
            ctx = context_in(cloud)
            await put_rule(ctx, api.Target(id="a", arn=QUEUE))
            await put_event(ctx)
            await world.sim.clock.sleep(10)
            await ctx.call(api.RemoveTargetsRequest(rule="r", ids=["a"]))
            world.companion.failing.clear()
            await world.sim.clock.sleep(HOUR)
            assert world.companion.calls == []
            assert len(ctx.table(DELIVERIES)) == 0

    run(tmp_path, scenario)


def test_what_happens_in_a_service_is_an_event_of_the_default_bus(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            ctx = context_in(cloud)
            await put_rule(ctx, api.Target(id="a", arn=QUEUE), pattern={"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}})
            cloud.bus.publish(event(ctx, "aws.ecs", "ECS Task State Change", {"lastStatus": "STOPPED"}, ["arn:task"]))
            cloud.bus.publish(event(ctx, "aws.ecs", "ECS Task State Change", {"lastStatus": "RUNNING"}))
            cloud.bus.publish(event(context_in(cloud, region="eu-west-1"), "aws.ecs", "ECS Task State Change", {"lastStatus": "STOPPED"}))
            await world.sim.clock.sleep(1)
            (told,) = world.companion.bodies()
            assert (told["source"], told["detail-type"], told["resources"], told["account"]) == (
                "aws.ecs",
                "ECS Task State Change",
                ["arn:task"],
                ctx.account,
            )

    run(tmp_path, scenario)


def test_what_happened_while_events_could_not_hear_it_is_heard_after_the_restart(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE), pattern={"source": ["aws.ecs"]})
            await cloud.store.settled()
            cloud.bus.publish(event(context_in(cloud), "aws.ecs", "x", {}))
            await cloud.bus.close()
        assert world.companion.calls == []
        async with world.life():
            await world.sim.clock.sleep(1)
            assert len(world.companion.bodies()) == 1

    run(tmp_path, scenario)


def test_a_bus_passes_events_on_unchanged_but_not_for_ever(tmp_path: Path) -> None:
    def bus(name: str) -> str:
        return f"arn:aws:events:us-east-1:000000000000:event-bus/{name}"

    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            ctx = context_in(cloud)
            for name in ("a", "b"):
                await ctx.call(api.CreateEventBusRequest(name=name))
            await put_rule(ctx, api.Target(id="a", arn=bus("a")))
            await put_rule(ctx, api.Target(id="b", arn=bus("b")), event_bus_name="a", name="onward")
            await put_rule(ctx, api.Target(id="a", arn=bus("a")), api.Target(id="q", arn=QUEUE), event_bus_name="b", name="back")
            id = await put_event(ctx, {"n": 1})
            await world.sim.clock.sleep(HOUR)
            told = world.companion.bodies()
            assert 1 < len(told) < 20
            assert {one["id"] for one in told} == {id}
            assert len(ctx.table(DELIVERIES)) == 0

    run(tmp_path, scenario)


def test_another_account_s_bus_gets_events_of_the_account_they_came_from_and_sends_them_to_no_third(tmp_path: Path) -> None:
    def bus(account: str) -> str:
        return f"arn:aws:events:us-east-1:{account}:event-bus/default"

    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            one, two, three = (context_in(cloud, account=account) for account in ("111111111111", "222222222222", "333333333333"))
            await put_rule(one, api.Target(id="a", arn=bus(two.account)))
            await put_rule(two, api.Target(id="a", arn=bus(three.account)), api.Target(id="q", arn=QUEUE))
            await put_rule(three, api.Target(id="p", arn=QUEUE.replace(":q", ":p")))
            await put_event(one)
            await world.sim.clock.sleep(HOUR)
            assert [told["account"] for told in world.companion.bodies()] == [one.account]
            assert world.companion.bodies("p") == []

    run(tmp_path, scenario)


# -- schedules


def moments(world: World) -> list[str]:
    return [one["time"] for one in world.companion.bodies()]


def test_a_scheduled_rule_fires_for_years_and_across_restarts_but_makes_up_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            arn = await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE), schedule_expression="cron(0 12 1 * ? *)")
            await world.sim.clock.sleep(400 * DAY)
            assert len(moments(world)) == 14
            assert moments(world)[:2] == ["2026-01-01T12:00:00Z", "2026-02-01T12:00:00Z"]
            first = world.companion.bodies()[0]
            assert first["source"] == "aws.events"
            assert first["detail-type"] == "Scheduled Event"
            assert first["resources"] == [arn]
            assert first["detail"] == {}
        await world.sim.clock.sleep(100 * DAY)  # down: March, April and May are missed
        async with world.life() as cloud:
            await world.sim.clock.sleep(30 * DAY)
            assert moments(world)[14:] == ["2027-06-01T12:00:00Z"]
            (firing,) = context_in(cloud).table(FIRINGS).scan()
            assert datetime.fromtimestamp(firing.at, UTC).isoformat() == "2027-07-01T12:00:00+00:00"

    run(tmp_path, scenario)


def test_a_rate_keeps_its_beat_across_a_restart_and_starts_anew_when_enabled(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        clock = world.sim.clock
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE), schedule_expression="rate(10 minutes)")
            await clock.sleep(1500)
        await clock.sleep(60)
        async with world.life() as cloud:
            await clock.sleep(600)
            assert moments(world) == ["2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z", "2026-01-01T00:30:00Z"]
            ctx = context_in(cloud)
            await ctx.call(api.DisableRuleRequest(name="r"))
            await clock.sleep(HOUR)
            assert len(moments(world)) == 3
            assert len(ctx.table(FIRINGS)) == 0
            enabled = clock.time()
            await ctx.call(api.EnableRuleRequest(name="r"))
            await clock.sleep(601)
            last = datetime.fromisoformat(moments(world)[-1]).timestamp()
            assert last == pytest.approx(enabled + 600, abs=1)
            await ctx.call(api.RemoveTargetsRequest(rule="r", ids=["a"]))
            await ctx.call(api.DeleteRuleRequest(name="r"))
            await clock.sleep(HOUR)
            assert len(moments(world)) == 4
            assert len(ctx.table(FIRINGS)) == 0

    run(tmp_path, scenario)


def test_a_scheduled_event_is_for_its_own_rule_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.life() as cloud:
            await put_rule(context_in(cloud), api.Target(id="a", arn=QUEUE), name="all", pattern={"source": [{"prefix": ""}]})
            await put_rule(context_in(cloud), api.Target(id="p", arn=QUEUE.replace(":q", ":p")), schedule_expression="rate(1 minute)")
            await world.sim.clock.sleep(61)
            assert len(world.companion.bodies("p")) == 1
            assert world.companion.bodies() == []

    run(tmp_path, scenario)


# -- archives and replays


def test_archived_events_are_replayed_to_the_rules_that_are_named(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        clock = world.sim.clock
        async with world.life() as cloud:
            ctx = context_in(cloud)
            bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
            await ctx.call(
                api.CreateArchiveRequest(archive_name="kept", event_source_arn=bus, event_pattern='{"detail": {"keep": [true]}}')
            )
            for n in range(250):
                await put_event(ctx, {"n": n, "keep": n % 2 == 0}, time=NEW_YEAR_2026 + n)
            await clock.sleep(300)
            archive = await ctx.call(api.DescribeArchiveRequest(archive_name="kept"))
            assert archive.event_count == 125
            assert archive.size_bytes > 125 * 100
        async with world.life() as cloud:
            ctx = context_in(cloud)
            arn = await put_rule(ctx, api.Target(id="a", arn=QUEUE))
            await put_rule(ctx, api.Target(id="p", arn=QUEUE.replace(":q", ":p")), name="other")
            replay = api.StartReplayRequest(
                replay_name="again",
                event_source_arn=str(archive.archive_arn),
                event_start_time=NEW_YEAR_2026 + 10,
                event_end_time=NEW_YEAR_2026 + 240,
                destination=api.ReplayDestination(arn=bus, filter_arns=[arn]),
            )
            assert (await ctx.call(replay)).state == "STARTING"
            await clock.sleep(60)
            told = world.companion.bodies()
            assert sorted(one["detail"]["n"] for one in told) == list(range(10, 240, 2))
            assert {one["replay-name"] for one in told} == {"again"}
            assert world.companion.bodies("p") == []
            described = await ctx.call(api.DescribeReplayRequest(replay_name="again"))
            assert described.state == "COMPLETED"
            assert described.event_last_replayed_time == NEW_YEAR_2026 + 238
            assert (await ctx.call(api.DescribeArchiveRequest(archive_name="kept"))).event_count == 125  # replays are not archived again

    run(tmp_path, scenario)


def test_an_archive_forgets_events_after_its_retention_and_all_when_it_is_deleted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        clock = world.sim.clock
        async with world.life() as cloud:
            ctx = context_in(cloud)
            bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
            for name, days in (("short", 1), ("long", 0)):
                await ctx.call(api.CreateArchiveRequest(archive_name=name, event_source_arn=bus, retention_days=days))
            for _ in range(3):
                await put_event(ctx)
            await clock.sleep(DAY / 2)
            await put_event(ctx)
            await clock.sleep(DAY / 2 + 2 * HOUR)
            counts = [(await ctx.call(api.DescribeArchiveRequest(archive_name=name))).event_count for name in ("short", "long")]
            assert counts == [1, 4]
            assert len(world.backend.archive["events.archived"]) == 5
            await ctx.call(api.DeleteArchiveRequest(archive_name="long"))
            await clock.sleep(10)
            assert len(world.backend.archive["events.archived"]) == 1

    run(tmp_path, scenario)
